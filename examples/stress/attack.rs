//! What a stranger can send: programs without number, and distinct bombs, each called until it is hot.

use crate::runtime_support::{contract, request};
use revmc_jit::primitives::{Bytes, keccak256};
use revmc_jit::{
    CompilationEvent, JitBackend, RuntimeCacheKey, RuntimeConfig, RuntimeTuning, code,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Programs that may be resident here: few, so that the limit is met.
const PROGRAMS: usize = 2048;
/// Tiny contracts asked for in one round.
const TINY: u32 = 4;

pub struct Attack {
    pub backend: JitBackend,
    compile_nanos: Arc<AtomicU64>,
    begin: Instant,
}

/// 24 KiB of GAS JUMPI, no two alike.
fn bomb(n: u32) -> (RuntimeCacheKey, Bytes) {
    let mut code = [&[0x63][..], &n.to_be_bytes(), &[0x50]].concat();
    while code.len() + 2 <= 24 * 1024 {
        code.extend([0x5a, 0x57]);
    }
    let spec_id = contract(0).0.spec_id;
    let code_hash = keccak256(&code);
    (RuntimeCacheKey { code_hash, spec_id }, Bytes::from(code))
}

impl Attack {
    pub fn new() -> Self {
        let compile_nanos = Arc::new(AtomicU64::new(0));
        let sum = Arc::clone(&compile_nanos);
        let backend = JitBackend::new(RuntimeConfig {
            thread_name: "attacked".into(),
            tuning: RuntimeTuning {
                resident_code_cache_programs: PROGRAMS,
                new_code_cpu_burst: Duration::from_secs(2),
                ..RuntimeTuning::default()
            },
            on_compilation: Some(Arc::new(move |event: &CompilationEvent| {
                sum.fetch_add(event.cpu_time.as_nanos() as u64, Relaxed);
            })),
            ..RuntimeConfig::default()
        })
        .expect("the configuration is valid");
        Self {
            backend,
            compile_nanos,
            begin: Instant::now(),
        }
    }

    /// Some of everything.
    pub fn strike(&self, round: u32) {
        for n in 0..TINY {
            self.backend
                .compile_jit(request(1_000_000 + round * TINY + n));
        }
        let (key, code) = bomb(round);
        for _ in 0..20 {
            let _ = self.backend.lookup_ref(&key, &code);
        }
    }

    /// How many lookups [`strike`](Self::strike) made in so many rounds.
    pub fn lookups(rounds: u32) -> u64 {
        20 * u64::from(rounds)
    }

    /// Prints what it came to; whether a limit was exceeded.
    pub fn report(&self) -> bool {
        let stats = self.backend.stats();
        let usage = code::usage();
        let compile = self.compile_nanos.load(Relaxed) as f64 / 1e9;
        println!(
            "under attack: compile CPU {compile:.1} s in {:.1} s; programs {} of {PROGRAMS}, evicted {}, \
             over budget {}, waiting {}, failed by the system {}; code {} KiB in {} arenas",
            self.begin.elapsed().as_secs_f64(),
            stats.resident_entries,
            stats.evicted_over_budget,
            stats.over_budget,
            stats.pending_jobs,
            stats.failed_system,
            usage.bytes / 1024,
            usage.arenas,
        );
        stats.resident_entries > PROGRAMS as u64 || stats.failed_system > 0 || stats.alive != 1
    }
}
