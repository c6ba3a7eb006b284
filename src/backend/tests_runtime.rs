//! The backend thread's rules, with compilers that fail, dawdle and panic, and a clock that the
//! test moves.

use super::{
    answers::Verdict,
    job::Job,
    testing::{Bench, Gate, With, contract, page, tuning},
};
use crate::{Error, RuntimeTuning, compiler::CompileError, resident::Lookup};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::channel,
    },
    thread::{self},
    time::Duration,
};

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
                assert_eq!(bench.verdict(&contract), Some(Verdict::Failed));
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
    assert_eq!(bench.verdict(&contract), Some(Verdict::Failed));
    assert_eq!((bench.stats().panicked, bench.stats().failed), (1, 1));
}

#[test]
fn what_the_compiler_cannot_take_is_ineligible() {
    let refuse = With(|_: &_| Err(Error::Compile(CompileError::Reserved)));
    let mut bench = Bench::new(tuning(), refuse);
    bench.observe(&contract(1));
    bench.settle();
    assert_eq!(bench.verdict(&contract(1)), Some(Verdict::Ineligible));
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
    assert_eq!(bench.verdict(&contract(1)), Some(Verdict::Failed));
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
    assert_eq!(bench.verdict(&contract(1)), Some(Verdict::Failed));
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
    assert!(bench.verdict(&contract(1)).is_some());
    bench.clear();
    assert!(matches!(bench.get(&contract(1)), Lookup::Miss));
    bench.observe(&contract(1));
    bench.settle();
    assert_eq!(bench.stats().failed, 2);
}
