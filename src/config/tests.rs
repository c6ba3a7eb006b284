use super::{RuntimeConfig, RuntimeTuning, tuning::MAX_DURATION};
use crate::{
    error::{ConfigError, Ineligible},
    trial,
};
use std::time::Duration;

const CONFIG: &str = include_str!("mod.rs");
const TUNING: &str = include_str!("tuning.rs");

/// The names of a struct's public fields.
fn fields(source: &'static str, of: &str) -> Vec<&'static str> {
    let start = source
        .find(&format!("pub struct {of} {{"))
        .expect("the struct");
    let body = &source[start..start + source[start..].find("\n}\n").expect("its end")];
    body.lines()
        .filter_map(|line| {
            line.strip_prefix("    pub ")?
                .split_once(':')
                .map(|(name, _)| name)
        })
        .collect()
}

#[test]
fn every_field_has_a_row_in_the_table() {
    let mut found = 0;
    for (source, of) in [(CONFIG, "RuntimeConfig"), (TUNING, "RuntimeTuning")] {
        for field in fields(source, of) {
            let row = format!(" | `{field}` |");
            let rows = source
                .lines()
                .filter(|line| line.contains(&row) && line.starts_with("//"));
            assert_eq!(rows.count(), 1, "rows for {field}");
            found += 1;
        }
    }
    assert!(found > 30, "found only {found}");
}

#[test]
fn what_cannot_work_is_named() {
    let check = |change: fn(&mut RuntimeTuning), expected: ConfigError| {
        let mut config = RuntimeConfig::default();
        change(&mut config.tuning);
        assert_eq!(config.validate(), Err(expected));
    };
    macro_rules! zeros {
        ($($field:ident: $value:expr,)*) => {$(
            check(|t| t.$field = $value, ConfigError::Zero(stringify!($field)));
        )*};
    }
    zeros! {
        channel_capacity: 0,
        jit_worker_count: 0,
        jit_hot_threshold: 0,
        jit_max_pending_jobs: 0,
        resident_code_cache_bytes: 0,
        resident_code_cache_programs: 0,
        max_requested_jobs: 0,
        new_code_cpu_per_second: Duration::ZERO,
        warm_start_time: Duration::ZERO,
        heat_list_interval: Duration::ZERO,
        tick_interval: Duration::ZERO,
        idle_evict_duration: Some(Duration::ZERO),
    }
    check(
        |t| t.observations_per_thread = 1 << 17,
        ConfigError::TooLarge {
            field: "observations_per_thread",
            value: 1 << 17,
            max: 1 << 16,
        },
    );
    check(
        |t| t.warm_start_programs = 20_000,
        ConfigError::TooLarge {
            field: "warm_start_programs",
            value: 20_000,
            max: 16 * 1024,
        },
    );
    check(
        |t| t.hotness_slots = 1000,
        ConfigError::NotAPowerOfTwo {
            field: "hotness_slots",
            value: 1000,
        },
    );
    check(
        |t| t.failure_retry_delay_max = Duration::from_secs(1),
        ConfigError::Below {
            field: "failure_retry_delay_max",
            least: "failure_retry_delay",
        },
    );
    check(
        |t| t.jit_worker_count = 5000,
        ConfigError::TooLarge {
            field: "jit_worker_count",
            value: 5000,
            max: 1024,
        },
    );
    check(
        |t| {
            t.trial = trial::Budget::Share {
                percent: 50,
                least: Duration::ZERO,
            }
        },
        ConfigError::Zero("trial"),
    );
    check(
        |t| t.sampled_inputs = usize::MAX,
        ConfigError::TooLarge {
            field: "sampled_inputs",
            value: usize::MAX as u128,
            max: 1 << 20,
        },
    );
    check(
        |t| t.shutdown_timeout = Duration::MAX,
        ConfigError::TooLarge {
            field: "shutdown_timeout",
            value: Duration::MAX.as_millis(),
            max: MAX_DURATION.as_millis(),
        },
    );
    let config = RuntimeConfig {
        thread_name: "a\0b".into(),
        ..RuntimeConfig::default()
    };
    assert_eq!(
        config.validate(),
        Err(ConfigError::ThreadName("a\0b".into()))
    );
    let config = RuntimeConfig {
        aot: true,
        ..RuntimeConfig::default()
    };
    assert_eq!(config.validate(), Err(ConfigError::AotWithoutStore));
}

#[test]
fn eligibility_names_its_reason() {
    let tuning = RuntimeTuning {
        jit_max_bytecode_len: 4,
        ..RuntimeTuning::default()
    };
    assert_eq!(tuning.check_eligible(&[0; 4]), Ok(()));
    assert_eq!(
        tuning.check_eligible(&[0; 5]),
        Err(Ineligible::TooLong { len: 5, max: 4 })
    );
    assert_eq!(tuning.check_eligible(&[]), Err(Ineligible::Empty));
    assert_eq!(tuning.check_eligible(&[0xef]), Err(Ineligible::Eof));
}

#[test]
fn budgets_grow_with_the_bytecode_and_do_not_overflow() {
    let tuning = RuntimeTuning::default();
    assert_eq!(tuning.compile_time(1000), Duration::from_millis(600));
    assert_eq!(tuning.native_len(1000), 64 * 1024 + 256_000);
    assert!(tuning.compile_time(usize::MAX) > tuning.compile_time(1 << 20));
    assert_eq!(tuning.native_len(usize::MAX), usize::MAX);
    assert_eq!(tuning.ticks(Duration::from_millis(250)), 3);
    assert_eq!(tuning.ticks(Duration::ZERO), 1);
    // Thirty years in ticks of a millisecond.
    let fine = RuntimeTuning {
        tick_interval: Duration::from_millis(1),
        ..tuning
    };
    assert_eq!(fine.ticks(Duration::from_secs(1 << 30)), 1000 << 30);
    assert!(tuning.ticks(Duration::MAX) > u64::from(u32::MAX));
}
