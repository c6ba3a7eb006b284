//! What a caller sets.
//!
//! [`RuntimeConfig`] holds the choices, [`RuntimeTuning`] the numbers. Both have defaults that suit
//! a full node; [`JitBackend::new`](crate::JitBackend::new) refuses what cannot work with a
//! [`ConfigError`] that names the field.
//!
//! # Every choice
//!
//! | `RuntimeConfig` | default | meaning |
//! |---|---|---|
//! | `enabled` | `true` | start now, rather than at the first `set_enabled(true)` |
//! | `thread_name` | `"revmc-jit"` | name of the backend thread; workers append `-N` |
//! | `chain` | mainnet | the rules at each fork |
//! | `front_end` | this crate's compiler | what compiles |
//! | `store` | none | where artifacts are kept |
//! | `tuning` | see below | the numbers |
//! | `dump_dir` | none | folder for the compiler's intermediate results (debugging) |
//! | `debug_assertions` | `false` | compile checks of the compiler's own assumptions in |
//! | `aot` | `false` | observed misses become artifacts in the store, not JIT programs |
//! | `blocking` | `false` | a miss compiles before `lookup` returns (tests, fuzzing) |
//! | `symmetric_fences` | `false` | keep the lookup inside Rust's formal memory model; a few ns |
//! | `on_compilation` | none | called on the worker after each compilation |
//!
//! # Every number
//!
//! | `RuntimeTuning` | default | unit | meaning |
//! |---|---|---|---|
//! | `channel_capacity` | 4096 | messages | room for commands to the backend thread |
//! | `observations_per_thread` | 256 | messages | room for what one execution thread reports |
//! | `tick_interval` | 100 ms | time | the coarse clock: resolution of recency, retries, heat |
//! | `jit_hot_threshold` | 8 | misses | a key that missed so often is compiled |
//! | `hot_gas_per_miss` | 100,000 | gas | reported interpreter gas that weighs as much as one miss |
//! | `hotness_slots` | 32,768 | keys | size of the miss counter, 8 bytes a slot |
//! | `hotness_age_interval` | 5 min | time | miss counts are halved so often |
//! | `jit_max_bytecode_len` | 64 KiB | bytes | longer bytecode is not compiled |
//! | `jit_max_pending_jobs` | 2048 | jobs | observed compilations waiting; more are refused |
//! | `max_requested_jobs` | 32,768 | jobs | requested compilations under way; more are refused |
//! | `jit_worker_count` | cores / 4, 1 to 4 | threads | compile threads |
//! | `jit_opt_level` | `Default` | | optimisation of JIT programs (in the end) |
//! | `jit_tiered` | `true` | | fast tier first, optimised when it stays hot |
//! | `jit_optimize_after_ticks` | 16 | ticks | uses in so many ticks make a program "stay hot" |
//! | `aot_opt_level` | `Aggressive` | | optimisation of artifacts |
//! | `resident_code_cache_bytes` | 512 MiB | mapped bytes | JIT code kept; least recently used goes |
//! | `resident_code_cache_programs` | 32,768 | programs | the same in number |
//! | `aot_code_cache_bytes` | 1 GiB | mapped bytes | the same for loaded artifacts |
//! | `idle_evict_duration` | 30 min | time | JIT programs unused for so long go; `None`: never |
//! | `eviction_sweep_interval` | 10 s | time | how often idle programs are looked for |
//! | `failure_retry_delay` | 10 s | time | a failed key rests so long, doubling each time |
//! | `failure_retry_delay_max` | 1 h | time | the longest rest |
//! | `max_failures_remembered` | 65,536 | keys | failed keys kept in mind |
//! | `compile_time_base` | 500 ms | CPU time | budget of one compilation, fixed part |
//! | `compile_time_per_byte` | 100 µs | CPU time / byte | the part per byte of bytecode |
//! | `new_code_cpu_burst` | 30 s | CPU time | allowance of what never made a program: at most |
//! | `new_code_cpu_per_second` | 500 ms | CPU time / s | … and what comes back of it |
//! | `expected_cpu_base` | 500 µs | CPU time | what a compilation is expected to cost, fixed part |
//! | `expected_cpu_per_byte` | 5 µs | CPU time / byte | the part per byte of bytecode |
//! | `native_len_base` | 64 KiB | bytes | machine code one program may have, fixed part |
//! | `native_len_per_byte` | 256 | bytes / byte | the part per byte of bytecode |
//! | `job_abandon_after` | 60 s | CPU time | a compilation that used more and is not back is given up |
//! | `trial` | 1/2, at least 1 ms | of the compilation's CPU time | comparison with the interpreter before a program is published |
//! | `sampled_inputs` | 256 | inputs | call data of interpreted frames kept for that, 640 bytes each |
//! | `shutdown_timeout` | 5 s | time | the last drop waits so long for the threads |

use crate::{
    artifact::TrustedStore,
    chain::Chain,
    compiler::{MAX_CODE_LEN, OptimizationLevel},
    error::{ConfigError, Ineligible},
    event::CompilationEvent,
    front_end::FrontEnd,
    trial,
};
use std::{fmt, path::PathBuf, sync::Arc, thread, time::Duration};

/// What is called after every compilation; see [`RuntimeConfig::on_compilation`].
pub type OnCompilation = Arc<dyn Fn(&CompilationEvent) + Send + Sync>;

/// The choices behind a [`JitBackend`](crate::JitBackend). The [module](self) has the table.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Whether the threads start, and lookups answer, at once. Otherwise both wait for the first
    /// [`set_enabled(true)`](crate::JitBackend::set_enabled).
    pub enabled: bool,
    /// Name of the backend thread; workers append `-0`, `-1`, … Linux shows the first 15 bytes.
    pub thread_name: String,
    /// The rules at each fork: what instructions cost, and which have their standard meaning.
    pub chain: Chain,
    /// What compiles. Another front end than this crate's compiler makes programs for another EVM's
    /// frames, and no artifacts: it needs `store` to be `None`.
    pub front_end: FrontEnd,
    /// Where artifacts are kept over restarts, and why what comes from there may run. Its index is
    /// read when the backend starts; an
    /// artifact is loaded when it is first used. A store that fails is counted
    /// ([`store_errors`](crate::RuntimeStatsSnapshot::store_errors),
    /// [`last_store_error`](crate::JitBackend::last_store_error)) and otherwise done without.
    pub store: Option<TrustedStore>,
    /// The numbers.
    pub tuning: RuntimeTuning,
    /// Where the compiler writes its intermediate results, for debugging.
    pub dump_dir: Option<PathBuf>,
    /// Whether compiled code checks the compiler's own assumptions as it runs.
    pub debug_assertions: bool,
    /// Whether observed misses become artifacts rather than JIT programs. Needs a store.
    pub aot: bool,
    /// Whether [`lookup`](crate::JitBackend::lookup) compiles a missing program before it returns.
    /// For tests and fuzzing; an execution thread would wait for the compiler.
    pub blocking: bool,
    /// Whether lookups use the symmetric form of the fences
    /// ([`resident`](crate::resident)), also where the cheaper asymmetric one is available.
    pub symmetric_fences: bool,
    /// Called after every compilation, on the worker that did it. A slow callback holds up that
    /// worker and nothing else; a panic in it is contained and counted
    /// ([`callback_panics`](crate::RuntimeStatsSnapshot::callback_panics)).
    ///
    /// To use the backend from inside, capture a [`WeakJitBackend`](crate::WeakJitBackend): a
    /// captured `JitBackend` would keep itself alive.
    pub on_compilation: Option<OnCompilation>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            thread_name: "revmc-jit".to_owned(),
            chain: Chain::mainnet(),
            front_end: FrontEnd::default(),
            store: None,
            tuning: RuntimeTuning::default(),
            dump_dir: None,
            debug_assertions: false,
            aot: false,
            blocking: false,
            symmetric_fences: false,
            on_compilation: None,
        }
    }
}

impl fmt::Debug for RuntimeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeConfig")
            .field("enabled", &self.enabled)
            .field("thread_name", &self.thread_name)
            .field("chain", &self.chain)
            .field("front_end", &self.front_end)
            .field("store", &self.store)
            .field("tuning", &self.tuning)
            .field("dump_dir", &self.dump_dir)
            .field("debug_assertions", &self.debug_assertions)
            .field("aot", &self.aot)
            .field("blocking", &self.blocking)
            .field("symmetric_fences", &self.symmetric_fences)
            .field(
                "on_compilation",
                &self
                    .on_compilation
                    .as_ref()
                    .map(|_| "Fn(&CompilationEvent)"),
            )
            .finish()
    }
}

impl RuntimeConfig {
    /// Checks that the configuration can work.
    ///
    /// # Errors
    ///
    /// The first field found that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.thread_name.contains('\0') {
            return Err(ConfigError::ThreadName(self.thread_name.clone()));
        }
        if self.aot && self.store.is_none() {
            return Err(ConfigError::AotWithoutStore);
        }
        if self.front_end.translator().is_some() && self.store.is_some() {
            return Err(ConfigError::StoreWithoutCompiler);
        }
        self.tuning.validate()
    }
}

/// The numbers behind a [`JitBackend`](crate::JitBackend). The [module](self) has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeTuning {
    /// Commands that fit between the callers and the backend thread; beyond, they wait.
    pub channel_capacity: usize,
    /// Observations of one execution thread that fit between it and the backend thread; beyond, they
    /// are dropped, and counted. Rounded up to a power of two. Their room, some 80 bytes each, is
    /// made when the thread first looks something up.
    pub observations_per_thread: usize,
    /// The coarse clock. Recency, retry delays and heat are counted in its ticks, and an idle
    /// backend wakes so often. What becomes hot is noticed within a tick.
    pub tick_interval: Duration,
    /// Misses after which a key is compiled.
    pub jit_hot_threshold: u32,
    /// Gas of an interpreted run, reported by
    /// [`record_interpreted`](crate::JitBackend::record_interpreted), that weighs as much as one
    /// miss. 0: reports are ignored.
    pub hot_gas_per_miss: u64,
    /// Keys whose misses can be counted at the same time; 8 bytes each. A power of two.
    pub hotness_slots: usize,
    /// How often all miss counts are halved, so that what was warm long ago is cold again.
    pub hotness_age_interval: Duration,
    /// Bytecode longer than this is not compiled.
    pub jit_max_bytecode_len: usize,
    /// Observed compilations, first and optimising ones, that may wait for a worker.
    pub jit_max_pending_jobs: usize,
    /// Compilations under way that callers asked for by name; beyond, a request is refused
    /// ([`Error::QueueFull`](crate::Error::QueueFull)).
    pub max_requested_jobs: usize,
    /// Compile threads.
    pub jit_worker_count: usize,
    /// The optimisation that JIT programs get in the end.
    pub jit_opt_level: OptimizationLevel,
    /// Whether a hot key is compiled fast first, and with `jit_opt_level` when it stays hot. With
    /// `false`, or a `jit_opt_level` that is the fast tier itself, there is only one tier.
    pub jit_tiered: bool,
    /// Ticks in which a fast-tier program has to be used before it is optimised.
    pub jit_optimize_after_ticks: u32,
    /// The optimisation of artifacts.
    pub aot_opt_level: OptimizationLevel,
    /// Bytes of mapped machine code that JIT programs may hold together.
    pub resident_code_cache_bytes: usize,
    /// JIT programs that may be resident, whatever their size: what keeping track of each costs is
    /// not in their bytes.
    pub resident_code_cache_programs: usize,
    /// Bytes of mapped machine code that loaded artifacts may hold together. One that is dropped
    /// is loaded again when it is used again. So are those beyond seven eighths of
    /// [`max_loaded`](crate::artifact::loader::max_loaded), whatever their size.
    pub aot_code_cache_bytes: usize,
    /// JIT programs that were not used for so long are dropped. `None`: never for that reason.
    pub idle_evict_duration: Option<Duration>,
    /// How often idle programs are looked for.
    pub eviction_sweep_interval: Duration,
    /// How long a key rests after its first failure; doubles with each further one.
    pub failure_retry_delay: Duration,
    /// The longest rest.
    pub failure_retry_delay_max: Duration,
    /// Failed keys that are remembered; beyond, the ones that are next to be retried are forgotten.
    pub max_failures_remembered: usize,
    /// Processor time that one compilation may take, the store's part not counted, apart from the length of the bytecode.
    pub compile_time_base: Duration,
    /// Processor time that it may take in addition for each byte of bytecode.
    pub compile_time_per_byte: Duration,
    /// Processor time that compilations nobody asked for, of keys and tiers that never made a program,
    /// may use at once, together: a stranger has codes without number. Beyond, they wait, the hottest
    /// for its cost first.
    pub new_code_cpu_burst: Duration,
    /// How much of that comes back in a second.
    pub new_code_cpu_per_second: Duration,
    /// Processor time that compiling a code is expected to cost, as long as it is not known: the
    /// part apart from the length of the bytecode. Jobs are ordered by heat for expected cost.
    pub expected_cpu_base: Duration,
    /// The part for each byte of bytecode.
    pub expected_cpu_per_byte: Duration,
    /// Bytes of machine code that one program may have, apart from the length of the bytecode.
    pub native_len_base: usize,
    /// Bytes of machine code that it may have in addition for each byte of bytecode.
    pub native_len_per_byte: usize,
    /// A compilation that has used so much processor time and has not come back is given up, and
    /// its worker replaced, as long as no more workers are away than
    /// [`jit_worker_count`](Self::jit_worker_count). Waiting (for a store, for a processor) does not
    /// count, nor do callbacks.
    pub job_abandon_after: Duration,
    /// How long each program is compared with the interpreter, on made-up calls of its contract,
    /// before it is published or stored ([`trial`](mod@trial)). One that differs is not
    /// ([`Error::Miscompiled`](crate::Error::Miscompiled)). The time is not part of the
    /// [compilation's](Self::compile_time_base), but of what strangers' code may
    /// [use](Self::new_code_cpu_burst). An artifact that has not passed one is not loaded, but made
    /// anew. Programs of another [front end](RuntimeConfig::front_end) are not tried.
    pub trial: trial::Budget,
    /// Inputs of interpreted frames that are kept for trials, one for each function of a contract
    /// ([`record_input`](crate::JitBackend::record_input)); their first 512 bytes.
    pub sampled_inputs: usize,
    /// How long the drop of the last handle waits for the threads. A compilation that takes longer
    /// finishes on its own afterwards.
    pub shutdown_timeout: Duration,
}

impl Default for RuntimeTuning {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            channel_capacity: 4096,
            observations_per_thread: 256,
            tick_interval: Duration::from_millis(100),
            jit_hot_threshold: 8,
            hot_gas_per_miss: 100_000,
            hotness_slots: 32 * 1024,
            hotness_age_interval: Duration::from_secs(5 * 60),
            jit_max_bytecode_len: MAX_CODE_LEN,
            jit_max_pending_jobs: 2048,
            max_requested_jobs: 32 * 1024,
            jit_worker_count: (cores / 4).clamp(1, 4),
            jit_opt_level: OptimizationLevel::Default,
            jit_tiered: true,
            jit_optimize_after_ticks: 16,
            aot_opt_level: OptimizationLevel::Aggressive,
            resident_code_cache_bytes: 512 << 20,
            resident_code_cache_programs: 32 * 1024,
            aot_code_cache_bytes: 1 << 30,
            idle_evict_duration: Some(Duration::from_secs(30 * 60)),
            eviction_sweep_interval: Duration::from_secs(10),
            failure_retry_delay: Duration::from_secs(10),
            failure_retry_delay_max: Duration::from_secs(60 * 60),
            max_failures_remembered: 64 * 1024,
            compile_time_base: Duration::from_millis(500),
            compile_time_per_byte: Duration::from_micros(100),
            new_code_cpu_burst: Duration::from_secs(30),
            new_code_cpu_per_second: Duration::from_millis(500),
            expected_cpu_base: Duration::from_micros(500),
            expected_cpu_per_byte: Duration::from_micros(5),
            native_len_base: 64 * 1024,
            native_len_per_byte: 256,
            job_abandon_after: Duration::from_secs(60),
            trial: trial::Budget::default(),
            sampled_inputs: 256,
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

/// Above any sensible value of a duration here, and far from overflowing an `Instant`.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl RuntimeTuning {
    /// Whether a bytecode may be compiled at all: it is not empty, not an EOF container, and not
    /// longer than [`jit_max_bytecode_len`](Self::jit_max_bytecode_len).
    ///
    /// # Errors
    ///
    /// What speaks against it.
    ///
    /// ```
    /// use revmc_jit::{Ineligible, RuntimeTuning};
    ///
    /// let tuning = RuntimeTuning::default();
    /// assert_eq!(tuning.check_eligible(&[0x60, 0x00]), Ok(()));
    /// assert_eq!(tuning.check_eligible(&[]), Err(Ineligible::Empty));
    /// assert!(!tuning.should_compile(&[0xef, 0x00]));
    /// ```
    #[inline]
    pub fn check_eligible(&self, bytecode: &[u8]) -> Result<(), Ineligible> {
        match bytecode.first() {
            None => Err(Ineligible::Empty),
            Some(0xef) => Err(Ineligible::Eof),
            Some(_) if bytecode.len() > self.jit_max_bytecode_len => Err(Ineligible::TooLong {
                len: bytecode.len(),
                max: self.jit_max_bytecode_len,
            }),
            Some(_) => Ok(()),
        }
    }

    /// [`check_eligible`](Self::check_eligible) as a yes or no.
    #[inline]
    pub fn should_compile(&self, bytecode: &[u8]) -> bool {
        self.check_eligible(bytecode).is_ok()
    }

    /// Checks that the numbers can work.
    ///
    /// # Errors
    ///
    /// The first field found that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let counts: [(&'static str, usize, usize); 12] = [
            ("channel_capacity", self.channel_capacity, 1 << 24),
            (
                "observations_per_thread",
                self.observations_per_thread,
                1 << 16,
            ),
            ("max_requested_jobs", self.max_requested_jobs, 1 << 24),
            (
                "jit_hot_threshold",
                self.jit_hot_threshold as usize,
                1 << 20,
            ),
            ("hotness_slots", self.hotness_slots, 1 << 28),
            ("jit_max_bytecode_len", self.jit_max_bytecode_len, 1 << 24),
            ("jit_max_pending_jobs", self.jit_max_pending_jobs, 1 << 24),
            ("jit_worker_count", self.jit_worker_count, 1024),
            (
                "jit_optimize_after_ticks",
                self.jit_optimize_after_ticks as usize,
                usize::MAX,
            ),
            (
                "resident_code_cache_bytes",
                self.resident_code_cache_bytes,
                usize::MAX,
            ),
            (
                "resident_code_cache_programs",
                self.resident_code_cache_programs,
                1 << 24,
            ),
            (
                "aot_code_cache_bytes",
                self.aot_code_cache_bytes,
                usize::MAX,
            ),
        ];
        for (field, value, max) in counts {
            if value == 0 {
                return Err(ConfigError::Zero(field));
            }
            if value > max {
                let (value, max) = (value as u128, max as u128);
                return Err(ConfigError::TooLarge { field, value, max });
            }
        }
        if self.max_failures_remembered == 0 {
            return Err(ConfigError::Zero("max_failures_remembered"));
        }
        if self.sampled_inputs > 1 << 20 {
            return Err(ConfigError::TooLarge {
                field: "sampled_inputs",
                value: self.sampled_inputs as u128,
                max: 1 << 20,
            });
        }
        if self.trial.time(Duration::ZERO) == Some(Duration::ZERO) {
            return Err(ConfigError::Zero("trial"));
        }
        if !self.hotness_slots.is_power_of_two() {
            let value = self.hotness_slots;
            return Err(ConfigError::NotAPowerOfTwo {
                field: "hotness_slots",
                value,
            });
        }
        if self.hotness_slots < crate::hotness::WAYS {
            return Err(ConfigError::Below {
                field: "hotness_slots",
                least: "8 slots",
            });
        }
        if self.native_len_base == 0 && self.native_len_per_byte == 0 {
            return Err(ConfigError::Zero("native_len_base"));
        }
        if self.compile_time_base.is_zero() && self.compile_time_per_byte.is_zero() {
            return Err(ConfigError::Zero("compile_time_base"));
        }
        self.validate_durations()
    }

    fn validate_durations(&self) -> Result<(), ConfigError> {
        let nonzero: [(&'static str, Duration); 8] = [
            ("new_code_cpu_burst", self.new_code_cpu_burst),
            ("new_code_cpu_per_second", self.new_code_cpu_per_second),
            ("tick_interval", self.tick_interval),
            ("hotness_age_interval", self.hotness_age_interval),
            ("eviction_sweep_interval", self.eviction_sweep_interval),
            ("failure_retry_delay", self.failure_retry_delay),
            ("job_abandon_after", self.job_abandon_after),
            (
                "idle_evict_duration",
                self.idle_evict_duration.unwrap_or(Duration::MAX),
            ),
        ];
        if let Some((field, _)) = nonzero.into_iter().find(|(_, value)| value.is_zero()) {
            return Err(ConfigError::Zero(field));
        }
        let least = self.trial.time(Duration::ZERO);
        let bounded: [(&'static str, Duration); 14] = [
            ("trial", least.unwrap_or_default()),
            ("new_code_cpu_burst", self.new_code_cpu_burst),
            ("new_code_cpu_per_second", self.new_code_cpu_per_second),
            ("expected_cpu_base", self.expected_cpu_base),
            ("expected_cpu_per_byte", self.expected_cpu_per_byte),
            ("tick_interval", self.tick_interval),
            ("hotness_age_interval", self.hotness_age_interval),
            ("eviction_sweep_interval", self.eviction_sweep_interval),
            ("failure_retry_delay_max", self.failure_retry_delay_max),
            ("job_abandon_after", self.job_abandon_after),
            (
                "idle_evict_duration",
                self.idle_evict_duration.unwrap_or_default(),
            ),
            ("compile_time_base", self.compile_time_base),
            ("compile_time_per_byte", self.compile_time_per_byte),
            ("shutdown_timeout", self.shutdown_timeout),
        ];
        if let Some((field, value)) = bounded.into_iter().find(|(_, value)| *value > MAX_DURATION) {
            let (value, max) = (value.as_millis(), MAX_DURATION.as_millis());
            return Err(ConfigError::TooLarge { field, value, max });
        }
        if self.failure_retry_delay_max < self.failure_retry_delay {
            let (field, least) = ("failure_retry_delay_max", "failure_retry_delay");
            return Err(ConfigError::Below { field, least });
        }
        if self.tick_interval < Duration::from_millis(1) {
            return Err(ConfigError::Below {
                field: "tick_interval",
                least: "1 ms",
            });
        }
        Ok(())
    }

    /// Processor time that compiling `bytecode_len` bytes may take.
    pub(crate) fn compile_time(&self, bytecode_len: usize) -> Duration {
        let len = u32::try_from(bytecode_len).unwrap_or(u32::MAX);
        self.compile_time_base
            .saturating_add(self.compile_time_per_byte.saturating_mul(len))
    }

    /// Bytes of machine code that a program of `bytecode_len` bytes may have.
    pub(crate) fn native_len(&self, bytecode_len: usize) -> usize {
        self.native_len_base
            .saturating_add(self.native_len_per_byte.saturating_mul(bytecode_len))
    }

    /// `duration` in ticks, at least one.
    pub(crate) fn ticks(&self, duration: Duration) -> u64 {
        let ticks = duration
            .as_nanos()
            .div_ceil(self.tick_interval.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of a struct's public fields, read from this file.
    fn fields(of: &str) -> Vec<&'static str> {
        let source = include_str!("config.rs");
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
        let source = include_str!("config.rs");
        let fields = [fields("RuntimeConfig"), fields("RuntimeTuning")].concat();
        assert!(fields.len() > 30, "found only {fields:?}");
        for field in fields {
            assert!(
                source.contains(&format!("//! | `{field}` |")),
                "no row for {field}"
            );
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        RuntimeConfig::default().validate().unwrap();
    }

    #[test]
    fn what_cannot_work_is_named() {
        let check = |change: fn(&mut RuntimeTuning), expected: ConfigError| {
            let mut config = RuntimeConfig::default();
            change(&mut config.tuning);
            assert_eq!(config.validate(), Err(expected));
        };
        check(
            |t| t.channel_capacity = 0,
            ConfigError::Zero("channel_capacity"),
        );
        check(
            |t| t.jit_worker_count = 0,
            ConfigError::Zero("jit_worker_count"),
        );
        check(
            |t| t.jit_hot_threshold = 0,
            ConfigError::Zero("jit_hot_threshold"),
        );
        check(
            |t| t.jit_max_pending_jobs = 0,
            ConfigError::Zero("jit_max_pending_jobs"),
        );
        check(
            |t| t.resident_code_cache_bytes = 0,
            ConfigError::Zero("resident_code_cache_bytes"),
        );
        check(
            |t| t.resident_code_cache_programs = 0,
            ConfigError::Zero("resident_code_cache_programs"),
        );
        check(
            |t| t.max_requested_jobs = 0,
            ConfigError::Zero("max_requested_jobs"),
        );
        check(
            |t| t.new_code_cpu_per_second = Duration::ZERO,
            ConfigError::Zero("new_code_cpu_per_second"),
        );
        check(
            |t| t.observations_per_thread = 1 << 17,
            ConfigError::TooLarge {
                field: "observations_per_thread",
                value: 1 << 17,
                max: 1 << 16,
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
            |t| t.tick_interval = Duration::ZERO,
            ConfigError::Zero("tick_interval"),
        );
        check(
            |t| t.idle_evict_duration = Some(Duration::ZERO),
            ConfigError::Zero("idle_evict_duration"),
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
}
