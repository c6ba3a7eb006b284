//! What is resident: tiers, and what goes when.

use super::{
    job::Job,
    testing::{Bench, Gate, With, contract, page, page_over, tuning},
};
use crate::{
    CompilationKind, Error, ProgramKind, RuntimeTuning, artifact::loader::max_loaded,
    compiler::Tier,
};
use std::{
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::{self, ThreadId},
};

fn one_tier(tuning: RuntimeTuning) -> RuntimeTuning {
    RuntimeTuning {
        jit_tiered: false,
        ..tuning
    }
}

// Tiers.

/// A compiler that logs which tier it was asked for; optimising fails if told so.
fn logging(
    fail_optimized: bool,
) -> (
    Arc<std::sync::Mutex<Vec<Tier>>>,
    impl super::compile::Compiler,
) {
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let shared = log.clone();
    let compiler = With(move |job: &Job| {
        shared.lock().unwrap().push(job.tier);
        assert_eq!(
            job.kind == CompilationKind::Optimize,
            job.tier == Tier::Optimized
        );
        if fail_optimized && job.tier == Tier::Optimized {
            return Err(Error::Panicked("no".into()));
        }
        page(job)
    });
    (log, compiler)
}

#[test]
fn what_stays_hot_is_optimised_and_swapped_without_a_miss() {
    let (log, compiler) = logging(false);
    let mut bench = Bench::new(tuning(), compiler);
    let (hot, cold) = (contract(1), contract(2));
    for contract in [&hot, &cold] {
        bench.observe(contract);
        bench.settle();
    }
    let held = bench.get(&hot).hit().unwrap();
    // Publication counts as a use in tick 0; the threshold is 3 ticks.
    bench.pass(1);
    assert!(bench.get(&hot).hit().is_some());
    bench.pass(1);
    assert_eq!(bench.stats().dispatched, 2);
    assert!(bench.get(&hot).hit().is_some());
    bench.pass(1);
    assert_eq!(bench.stats().dispatched, 3);
    assert_eq!(bench.get(&hot).hit().unwrap().tier(), Tier::Baseline);
    bench.settle();
    assert_eq!(bench.get(&hot).hit().unwrap().tier(), Tier::Optimized);
    assert_eq!(bench.get(&cold).hit().unwrap().tier(), Tier::Baseline);
    assert_eq!(held.tier(), Tier::Baseline);
    assert_eq!(
        *log.lock().unwrap(),
        [Tier::Baseline, Tier::Baseline, Tier::Optimized]
    );
    let stats = bench.stats();
    assert_eq!(
        (stats.published, stats.optimized, stats.code_bytes),
        (3, 1, 8192)
    );
    // Once is enough.
    for _ in 0..10 {
        assert!(bench.get(&hot).hit().is_some());
        bench.pass(1);
    }
    assert_eq!(bench.stats().dispatched, 3);
}

#[test]
fn a_failed_optimisation_leaves_the_program_and_rests() {
    let (log, compiler) = logging(true);
    let mut bench = Bench::new(tuning(), compiler);
    bench.observe(&contract(1));
    bench.settle();
    let mut tried_at = Vec::new();
    for tick in 1..=80 {
        assert!(bench.get(&contract(1)).hit().is_some());
        bench.pass(1);
        if bench.stats().pending_jobs > 0 {
            bench.settle();
            tried_at.push(tick);
        }
    }
    // Rests of 10, 20 and 40 ticks.
    assert_eq!(tried_at.len(), 4, "{tried_at:?}");
    let rests: Vec<_> = tried_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        rests[0] >= 10 && rests[1] >= 20 && rests[2] >= 40,
        "{rests:?}"
    );
    assert_eq!(log.lock().unwrap().len(), 5);
    assert_eq!(bench.stats().failures_remembered, 1);
}

#[test]
fn one_tier_only() {
    for (level, tier) in [
        (crate::compiler::OptimizationLevel::None, Tier::Baseline),
        (crate::compiler::OptimizationLevel::Default, Tier::Optimized),
    ] {
        let tuning = RuntimeTuning {
            jit_opt_level: level,
            ..one_tier(tuning())
        };
        let mut bench = Bench::new(tuning, With(page));
        bench.observe(&contract(1));
        bench.settle();
        for _ in 0..10 {
            assert_eq!(bench.get(&contract(1)).hit().unwrap().tier(), tier);
            bench.pass(1);
        }
        assert_eq!(bench.stats().dispatched, 1);
    }
}

#[test]
fn what_was_evicted_while_it_was_optimised_does_not_come_back() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::new(tuning(), compiler);
    bench.observe(&contract(1));
    gate.release.send(()).unwrap();
    bench.settle();
    for _ in 0..3 {
        assert!(bench.get(&contract(1)).hit().is_some());
        bench.pass(1);
    }
    assert_eq!(bench.stats().dispatched, 2);
    bench.pass(55); // below the limit for a stuck job
    let (gate_entered, gate_release) = (gate.entered, gate.release);
    for _ in 0..2 {
        // The worker may not have come to the job yet.
        gate_entered.recv().unwrap();
    }
    bench.clear();
    gate_release.send(()).unwrap();
    bench.settle();
    assert!(!bench.is_resident(&contract(1)));
    assert_eq!(bench.stats().resident_entries, 0);
}

// Eviction.

#[test]
fn what_is_not_used_is_evicted() {
    let mut bench = Bench::new(one_tier(tuning()), With(page));
    let (used, idle) = (contract(1), contract(2));
    for contract in [&used, &idle] {
        bench.observe(contract);
        bench.settle();
    }
    for _ in 0..99 {
        bench.pass(1);
        assert!(bench.get(&used).hit().is_some());
    }
    assert!(bench.is_resident(&idle));
    bench.pass(20);
    assert!(!bench.is_resident(&idle) && bench.is_resident(&used));
    let stats = bench.stats();
    assert_eq!(
        (stats.evicted_idle, stats.code_bytes, stats.resident_entries),
        (1, 4096, 1)
    );
    // It comes back when it is hot again.
    bench.observe(&idle);
    bench.settle();
    assert!(bench.is_resident(&idle));
}

#[test]
fn idle_programs_stay_if_told_so() {
    let tuning = RuntimeTuning {
        idle_evict_duration: None,
        ..one_tier(tuning())
    };
    let mut bench = Bench::new(tuning, With(page));
    bench.observe(&contract(1));
    bench.settle();
    bench.pass(1000);
    assert!(bench.is_resident(&contract(1)));
}

#[test]
fn a_full_cache_drops_the_least_recently_used() {
    let tuning = RuntimeTuning {
        resident_code_cache_bytes: 4 * 4096,
        ..one_tier(tuning())
    };
    let mut bench = Bench::new(tuning, With(page));
    for n in 0..4 {
        bench.observe(&contract(n));
        bench.settle();
        bench.pass(1);
    }
    assert!(bench.get(&contract(0)).hit().is_some());
    bench.observe(&contract(4));
    bench.settle();
    // Five pages: down to seven eighths of four means three, the newest and the used among them.
    let resident: Vec<u32> = (0..5)
        .filter(|n| bench.is_resident(&contract(*n)))
        .collect();
    assert_eq!(resident, [0, 3, 4]);
    let stats = bench.stats();
    assert_eq!((stats.evicted_over_budget, stats.code_bytes), (2, 3 * 4096));
}

#[test]
fn no_more_artifacts_are_resident_than_can_be_loaded() {
    let mut bench = Bench::new(
        one_tier(tuning()),
        With(|job: &Job| Ok(page(job)?.said_to_be(ProgramKind::Aot))),
    );
    let limit = bench.runtime.budget(ProgramKind::Aot).programs;
    assert!(limit < max_loaded());
    for n in 0..=limit as u32 {
        assert_eq!(bench.stats().evicted_over_budget, 0);
        bench.observe(&contract(n));
        bench.settle();
    }
    let resident = limit - limit / 8;
    assert_eq!(bench.stats().resident_entries, resident as u64);
    assert_eq!(
        bench.stats().evicted_over_budget as usize,
        limit + 1 - resident
    );
    assert!(bench.is_resident(&contract(limit as u32)));
}

#[test]
fn a_program_in_use_outlives_its_eviction_and_is_freed_here() {
    let (unmapped, freed) = channel();
    let compiler = With(move |job: &_| page_over(job, SaysWhere(unmapped.clone())));
    let mut bench = Bench::new(one_tier(tuning()), compiler);
    bench.observe(&contract(1));
    bench.settle();
    let held = bench.get(&contract(1)).hit().unwrap();
    bench.clear();
    bench.runtime.settle();
    assert_eq!(held.key(), contract(1).0);
    thread::spawn(move || drop(held)).join().unwrap();
    assert!(freed.try_recv().is_err(), "freed by the caller");
    bench.runtime.settle();
    assert_eq!(
        freed.try_recv(),
        Ok(thread::current().id()),
        "not freed by the backend"
    );
}

/// Tells on which thread it is dropped.
struct SaysWhere(Sender<ThreadId>);

impl Drop for SaysWhere {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}
