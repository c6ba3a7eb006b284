//! The backend thread's rules, with compilers that fail, dawdle and panic, and a clock that the
//! test moves.

use super::{
    answers::Verdict,
    job::Job,
    testing::{Bench, Gate, With, contract, page, page_over, tuning},
};
use crate::{
    CompilationKind, Error, ProgramKind, RuntimeTuning,
    artifact::loader::max_loaded,
    compiler::{CompileError, Tier},
    resident::Lookup,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::{Sender, channel},
    },
    thread::{self, ThreadId},
    time::Duration,
};

fn verdict<T>(found: Lookup<T, Verdict>) -> Option<Verdict> {
    match found {
        Lookup::Negative(verdict) => Some(verdict),
        _ => None,
    }
}

fn one_tier(tuning: RuntimeTuning) -> RuntimeTuning {
    RuntimeTuning {
        jit_tiered: false,
        ..tuning
    }
}

// Admission.

#[test]
fn an_observed_key_is_compiled_and_published() {
    let mut bench = Bench::new(tuning(), With(page));
    let contract = contract(1);
    bench.observe(&contract);
    bench.settle();
    assert!(bench.is_resident(&contract));
    let stats = bench.stats();
    assert_eq!(
        (stats.dispatched, stats.succeeded, stats.published),
        (1, 1, 1)
    );
    assert_eq!(
        (stats.code_bytes, stats.resident_entries, stats.pending_jobs),
        (4096, 1, 0)
    );
    // What is resident is not compiled again.
    bench.observe(&contract);
    assert_eq!(bench.ask(&contract).wait(), Ok(()));
    assert_eq!(bench.stats().dispatched, 1);
}

#[test]
fn a_wrong_code_is_refused_and_does_not_take_the_keys_turn() {
    let mut bench = Bench::new(tuning(), With(page));
    let (key, code) = contract(1);
    let (_, other) = contract(2);
    bench.observe(&(key, other));
    let stats = bench.stats();
    assert_eq!((stats.hash_mismatches, stats.dispatched), (1, 0));
    assert!(
        matches!(bench.reader.peek(&key), Lookup::Miss),
        "the key was blamed"
    );
    bench.observe(&(key, code.clone()));
    bench.settle();
    assert!(bench.is_resident(&(key, code)));
}

#[test]
fn a_wrong_code_does_not_join_the_right_ones_job() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::new(tuning(), compiler);
    let right = contract(1);
    let wrong = (right.0, contract(2).1);
    let answer = bench.ask(&right);
    gate.entered.recv().unwrap();
    bench.observe(&wrong);
    let refused = bench.ask(&wrong).wait();
    let expected = contract(2).0.code_hash;
    assert_eq!(
        refused,
        Err(Error::CodeHashMismatch {
            key: right.0.code_hash,
            code: expected
        })
    );
    assert_eq!(bench.stats().hash_mismatches, 2);
    gate.release.send(()).unwrap();
    bench.settle();
    assert_eq!(answer.wait(), Ok(()));
}

#[test]
fn requests_join_the_job_under_way_and_all_are_answered() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::new(tuning(), compiler);
    let contract = contract(1);
    bench.observe(&contract);
    gate.entered.recv().unwrap();
    let answers = [
        bench.ask(&contract),
        bench.ask(&contract),
        bench.ask(&contract),
    ];
    bench.observe(&contract);
    gate.release.send(()).unwrap();
    bench.settle();
    for answer in answers {
        assert_eq!(answer.wait(), Ok(()));
    }
    let stats = bench.stats();
    assert_eq!((stats.dispatched, stats.joined), (1, 4));
}

#[test]
fn observed_jobs_are_limited_and_explicit_ones_go_first() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::new(tuning(), compiler);
    bench.observe(&contract(0));
    assert_eq!(gate.entered.recv().unwrap().key, contract(0).0);
    for n in 1..6 {
        bench.observe(&contract(n));
    }
    // The limit is 4: one of them runs, three wait.
    let stats = bench.stats();
    assert_eq!((stats.dispatched, stats.refused_queue_full), (4, 2));
    let answer = bench.ask(&contract(7));
    // An explicit request for a waiting one takes it along.
    let joined = bench.ask(&contract(3));
    // Which makes room for another observed one.
    bench.observe(&contract(8));
    assert_eq!(bench.stats().refused_queue_full, 2);
    gate.release.send(()).unwrap();
    bench.settle();
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(gate.entered.recv().unwrap().key);
        gate.release.send(()).unwrap();
        bench.settle();
    }
    assert_eq!(order, [7, 3, 1, 2, 8].map(|n| contract(n).0));
    assert_eq!((answer.wait(), joined.wait()), (Ok(()), Ok(())));
}

#[test]
fn ineligible_code_is_named() {
    let mut bench = Bench::new(tuning(), With(page));
    let (key, _) = contract(1);
    let refused = bench.ask(&(key, Default::default())).wait();
    assert!(matches!(refused, Err(Error::Ineligible(_))), "{refused:?}");
    assert_eq!(bench.stats().refused_ineligible, 1);
}

// Failures.

#[test]
fn a_bomb_is_paid_once_per_rest() {
    let compiled = Arc::new(AtomicUsize::new(0));
    let count = compiled.clone();
    let bomb = With(move |_: &_| {
        count.fetch_add(1, Relaxed);
        Err(Error::Compile(CompileError::NativeTooLarge {
            len: 2,
            max: 1,
        }))
    });
    let mut bench = Bench::new(tuning(), bomb);
    let contract = contract(1);
    let mut compiled_at = Vec::new();
    for tick in 0..200 {
        // Whoever calls the bomb does so all the time.
        for _ in 0..3 {
            bench.observe(&contract);
            if bench.stats().pending_jobs > 0 || bench.stats().dispatched > compiled_at.len() as u64
            {
                bench.settle();
                compiled_at.push(tick);
                assert_eq!(verdict(bench.get(&contract)), Some(Verdict::Failed));
            }
        }
        bench.pass(1);
    }
    // Rests of 10, 20, 40, 40 … ticks.
    assert_eq!(compiled_at, [0, 10, 30, 70, 110, 150, 190]);
    assert_eq!(compiled.load(Relaxed), 7);
    let stats = bench.stats();
    assert_eq!((stats.failed, stats.over_budget, stats.retries), (7, 7, 6));
    assert_eq!(stats.refused_failed_before, 600 - 7);
    let refused = bench.ask(&contract).wait();
    let expected = Error::RecentlyFailed {
        attempts: 7,
        retry_in: Duration::from_secs(30),
    };
    assert_eq!(refused, Err(expected));
}

#[test]
fn a_panic_is_an_error_and_is_remembered() {
    let mut bench = Bench::new(tuning(), With(|_: &_| panic!("a bug in the compiler")));
    let contract = contract(1);
    let answer = bench.ask(&contract);
    bench.settle();
    assert_eq!(
        answer.wait(),
        Err(Error::Panicked("a bug in the compiler".into()))
    );
    assert_eq!(verdict(bench.get(&contract)), Some(Verdict::Failed));
    assert_eq!((bench.stats().panicked, bench.stats().failed), (1, 1));
}

#[test]
fn what_the_compiler_cannot_take_is_ineligible() {
    let refuse = With(|_: &_| Err(Error::Compile(CompileError::Reserved)));
    let mut bench = Bench::new(tuning(), refuse);
    bench.observe(&contract(1));
    bench.settle();
    assert_eq!(verdict(bench.get(&contract(1))), Some(Verdict::Ineligible));
}

#[test]
fn a_compilation_that_takes_too_long_is_a_failure() {
    let budget = Duration::from_nanos(1);
    let tuning = RuntimeTuning {
        compile_time_base: budget,
        compile_time_per_byte: Duration::ZERO,
        ..tuning()
    };
    let mut bench = Bench::new(tuning, With(page));
    let answer = bench.ask(&contract(1));
    bench.settle();
    let failed = answer.wait();
    assert!(
        matches!(failed, Err(Error::CompileTime { allowed, .. }) if allowed == budget),
        "{failed:?}"
    );
    assert_eq!(verdict(bench.get(&contract(1))), Some(Verdict::Failed));
    assert_eq!(bench.stats().over_budget, 1);
}

#[test]
fn a_program_larger_than_the_cache_is_a_failure() {
    let tuning = RuntimeTuning {
        resident_code_cache_bytes: 4095,
        ..tuning()
    };
    let mut bench = Bench::new(tuning, With(page));
    let answer = bench.ask(&contract(1));
    bench.settle();
    assert_eq!(
        answer.wait(),
        Err(Error::LargerThanCache {
            len: 4096,
            max: 4095
        })
    );
    assert_eq!((bench.stats().code_bytes, bench.stats().published), (0, 0));
}

#[test]
fn a_flood_of_failures_is_bounded_in_memory() {
    let tuning = RuntimeTuning {
        max_failures_remembered: 10,
        ..tuning()
    };
    let mut bench = Bench::new(tuning, With(|_: &_| Err(Error::Panicked(String::new()))));
    for n in 0..100 {
        bench.observe(&contract(n));
        bench.settle();
    }
    assert_eq!(bench.stats().failures_remembered, 10);
    assert_eq!(bench.reader.len(), 10);
}

#[cfg(target_os = "linux")]
#[test]
fn a_job_that_does_not_come_back_is_given_up() {
    let limit = Duration::from_millis(20);
    let tuning = RuntimeTuning {
        job_abandon_after: limit,
        ..tuning()
    };
    let (entered, is_entered) = channel();
    let release = Arc::new(AtomicBool::new(false));
    let released = release.clone();
    let bomb = contract(1).0;
    let mut bench = Bench::new(
        tuning,
        With(move |job: &Job| {
            if job.key == bomb {
                entered.send(()).unwrap();
                while !released.load(Relaxed) {}
            }
            page(job)
        }),
    );
    let answer = bench.ask(&contract(1));
    is_entered.recv().unwrap();
    while bench.stats().abandoned == 0 {
        bench.pass(1);
        thread::yield_now();
    }
    assert_eq!(answer.wait(), Err(Error::Abandoned(limit)));
    assert_eq!(verdict(bench.get(&contract(1))), Some(Verdict::Failed));
    let stats = bench.stats();
    assert_eq!(
        (stats.abandoned, stats.workers_replaced, stats.failed),
        (1, 1, 1)
    );
    assert_eq!(stats.over_budget, 1);
    // Another worker does the next job, and the late outcome of the first changes nothing.
    let next = bench.ask(&contract(2));
    bench.settle();
    assert_eq!(next.wait(), Ok(()));
    release.store(true, Relaxed);
    bench.settle();
    assert!(!bench.is_resident(&contract(1)));
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

// Clear.

#[test]
fn a_clear_cancels_what_is_under_way_and_nothing_comes_back() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::new(tuning(), compiler);
    let running = bench.ask(&contract(1));
    gate.entered.recv().unwrap();
    let queued = bench.ask(&contract(2));
    bench.clear();
    assert_eq!(running.wait(), Err(Error::Cleared(contract(1).0)));
    assert_eq!(queued.wait(), Err(Error::Cleared(contract(2).0)));
    // Asked for again while the cancelled job still runs: another job.
    let again = bench.ask(&contract(1));
    gate.release.send(()).unwrap();
    bench.settle();
    assert!(!bench.is_resident(&contract(1)), "resurrected");
    gate.entered.recv().unwrap();
    gate.release.send(()).unwrap();
    bench.settle();
    assert_eq!(again.wait(), Ok(()));
    assert!(bench.is_resident(&contract(1)) && !bench.is_resident(&contract(2)));
    let stats = bench.stats();
    assert_eq!(
        (stats.dispatched, stats.cancelled, stats.published),
        (3, 2, 1)
    );
}

#[test]
fn a_clear_forgets_failures() {
    let mut bench = Bench::new(tuning(), With(|_: &_| Err(Error::Panicked(String::new()))));
    bench.observe(&contract(1));
    bench.settle();
    assert!(verdict(bench.get(&contract(1))).is_some());
    bench.clear();
    assert!(matches!(bench.get(&contract(1)), Lookup::Miss));
    bench.observe(&contract(1));
    bench.settle();
    assert_eq!(bench.stats().failed, 2);
}
