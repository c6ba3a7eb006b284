//! Many execution threads on one backend: each executes the same blocks, while others throw programs away,
//! switch the backend off and on, pause it and ask for more. Every thread sees what the interpreter does.

mod blocks;

use blocks::{
    compare::difference,
    format::{Block, own},
    native::config,
    receipts::Totals,
    run,
    step::{Recorded, Step},
};
use revmc_jit::{
    JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig, compiler::Tier, revm::JitEvm,
};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

/// Execution threads; more than a small machine has processors, so that some stop anywhere.
const THREADS: usize = 6;
/// How often each executes every block.
const ROUNDS: usize = 4;

/// What the disturbing thread does, at least.
const TURNS: usize = 40;
/// After so many turns the backend is enabled and not paused; the next one waits until native code has run.
const CYCLE: usize = 5;

fn requests(blocks: &[Block]) -> Vec<LookupRequest> {
    let contracts = blocks.iter().flat_map(|block| {
        let spec_id = block.spec;
        let contracts = run::contracts(block).into_iter();
        contracts.map(move |(code_hash, code)| LookupRequest {
            key: RuntimeCacheKey { code_hash, spec_id },
            code,
        })
    });
    contracts.collect()
}

/// Executes every block on each thread while `disturb` goes on, and compares every step.
fn execute(config: RuntimeConfig, disturb: impl Fn(&JitBackend, &[LookupRequest], usize) + Sync) {
    let blocks = own();
    let expected: Vec<_> = blocks.iter().map(run::interpreted).collect();
    let requests = requests(&blocks);
    let backend = JitBackend::new(config).unwrap();
    for request in &requests {
        backend.compile_jit(request.clone());
    }
    // Relaxed, both: nothing is passed on but that it is over, and how far it has come.
    let (over, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let disturber = scope.spawn(|| {
            let mut hits = 0;
            while !over.load(Relaxed) {
                let turn = turns.load(Relaxed);
                // Native code has to run between two clears, however slow the machine compiles.
                if turn % CYCLE == 0 {
                    let found = backend.stats().hits;
                    if found == hits {
                        thread::yield_now();
                        continue;
                    }
                    hits = found;
                }
                disturb(&backend, &requests, turn);
                turns.fetch_add(1, Relaxed);
            }
        });
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (backend, blocks, expected, turns) = (&backend, &blocks, &expected, &turns);
                scope.spawn(move || {
                    // Each begins elsewhere.
                    let enough = |at| at >= thread + ROUNDS * blocks.len();
                    for at in thread.. {
                        if enough(at) && turns.load(Relaxed) >= TURNS {
                            break;
                        }
                        let at = at % blocks.len();
                        check(&blocks[at], &expected[at], backend);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Relaxed);
        disturber.join().unwrap();
        for ended in ended {
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let stats = backend.stats();
    assert!(stats.hits > 0 && stats.misses > 0, "{stats}");
    assert_eq!(
        (stats.alive, stats.backend_panics, stats.panicked),
        (1, 0, 0)
    );
}

fn check(block: &Block, expected: &[Step], backend: &JitBackend) {
    let (db, reads) = Recorded::new(block.state.clone());
    let mut evm = JitEvm::new(run::evm(block, db), backend.clone());
    let found = run::steps(&mut evm, block, &reads);
    assert_eq!(found.len(), expected.len());
    for (expected, found) in expected.iter().zip(&found) {
        if let Some(difference) = difference(expected, found) {
            panic!("{}, {}: {difference}", block.header.number, found.kind);
        }
    }
    let totals = Totals::new(block, &found).unwrap();
    assert_eq!(totals.check(block), [""; 0]);
}

/// Everything is cleared, switched off and on, paused, and asked for again.
#[test]
fn with_clears_and_switches() {
    let mut config = config(Tier::Optimized);
    config.tuning.jit_hot_threshold = 2;
    execute(config, |backend, requests, turn| {
        match turn % CYCLE {
            0 => backend.clear_resident().unwrap(),
            1 => backend.set_enabled(false).unwrap(),
            2 => backend.set_enabled(true).unwrap(),
            3 => backend.pause(),
            _ => backend.resume(),
        }
        let request = &requests[turn % requests.len()];
        backend.compile_jit(request.clone());
        thread::yield_now();
    });
}

/// A cache with room for a few programs: each that comes sends another away.
#[test]
fn with_evictions() {
    let mut config = config(Tier::Baseline);
    config.tuning.jit_hot_threshold = 1;
    config.tuning.resident_code_cache_programs = 4;
    let evicted = AtomicBool::new(false);
    execute(config, |backend, requests, turn| {
        let request = &requests[turn % requests.len()];
        let _ = backend.compile_jit_sync(request.clone());
        if backend.stats().evicted_over_budget > 20 {
            evicted.store(true, Relaxed);
        }
    });
    assert!(evicted.load(Relaxed));
}
