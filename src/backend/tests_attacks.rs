//! What a stranger, or a bad day of the system, can do to the backend, and what comes of it.

use super::{
    answers::{InterpretReason, LookupDecision},
    job::Job,
    request::{Command, Observation, Request},
    testing::{
        Bench, Gate, With, backend, code_that_ends, config, contract, page, request, tuning,
    },
};
use crate::{
    code::CodeError,
    compiler::{CompileError, Tier},
    config::RuntimeTuning,
    error::Error,
    event::CompilationKind,
    resident::Lookup,
};
use alloy_primitives::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

fn out_of_memory() -> Error {
    Error::Code(CodeError::System {
        call: "mmap",
        errno: libc::ENOMEM,
    })
}

// Limits evict.

#[test]
fn small_programs_without_number_are_evicted_by_number() {
    let tuning = RuntimeTuning {
        resident_code_cache_programs: 16,
        ..tuning()
    };
    let mut bench = Bench::new(tuning, With(page));
    for n in 0..100 {
        let answer = bench.ask(&contract(n));
        bench.settle();
        assert_eq!(answer.wait(), Ok(()));
        assert!(bench.is_resident(&contract(n)), "{n} was refused");
        assert!(bench.stats().resident_entries <= 16);
        bench.pass(1);
    }
    assert!(bench.stats().evicted_over_budget >= 84);
}

#[test]
fn when_the_system_has_no_room_programs_go_and_the_job_is_done() {
    // Room for eight programs, as it seems to the ninth.
    let refusals = Arc::new(AtomicUsize::new(0));
    let count = refusals.clone();
    let last = contract(8).0;
    let mut bench = Bench::new(
        tuning(),
        With(move |job: &Job| {
            if job.key == last && count.fetch_add(1, Relaxed) == 0 {
                return Err(out_of_memory());
            }
            page(job)
        }),
    );
    for n in 0..8 {
        bench.observe(&contract(n));
        bench.settle();
        bench.pass(1);
    }
    let answer = bench.ask(&contract(8));
    bench.settle();
    bench.settle();
    assert_eq!(answer.wait(), Ok(()));
    assert!(bench.is_resident(&contract(8)) && !bench.is_resident(&contract(0)));
    let stats = bench.stats();
    assert_eq!((stats.system_retries, stats.evicted_over_budget), (1, 1));
    assert_eq!((stats.failed, stats.failures_remembered), (0, 0));
}

#[test]
fn the_system_is_not_a_keys_fault() {
    let mut bench = Bench::new(tuning(), With(|_: &_| Err(out_of_memory())));
    let answer = bench.ask(&contract(1));
    bench.settle();
    bench.settle();
    assert_eq!(answer.wait(), Err(out_of_memory()));
    assert!(matches!(bench.get(&contract(1)), Lookup::Miss));
    let stats = bench.stats();
    assert_eq!((stats.failed, stats.failed_system), (1, 1));
    assert_eq!((stats.failures_remembered, stats.system_retries), (0, 1));
    // Not resting: asked for again, it is tried again.
    let again = bench.ask(&contract(1));
    bench.settle();
    bench.settle();
    assert_eq!(again.wait(), Err(out_of_memory()));
}

#[test]
fn where_machine_code_is_forbidden_less_and_less_is_compiled() {
    let forbidden = Error::Code(CodeError::System {
        call: "mprotect",
        errno: libc::EPERM,
    });
    let refuses = Arc::new(AtomicBool::new(false));
    let (refused, answer) = (refuses.clone(), forbidden.clone());
    let tuning = RuntimeTuning {
        failure_retry_delay_max: Duration::from_secs(3600),
        ..tuning()
    };
    let mut bench = Bench::new(
        tuning,
        With(move |job: &Job| match refused.load(Relaxed) {
            // Files may be mapped all the same.
            true if job.kind != CompilationKind::Load => Err(answer.clone()),
            _ => page(job),
        }),
    );
    for n in 0..8 {
        bench.observe(&contract(n));
        bench.settle();
    }
    refuses.store(true, Relaxed);
    let mut compiled = Vec::new();
    for tick in 0..1000 {
        let before = bench.stats().dispatched;
        for n in 8..16 {
            bench.observe(&contract(n));
        }
        for _ in before..bench.stats().dispatched {
            bench.settle();
            compiled.push(tick);
        }
        bench.pass(1);
    }
    // What is resident is not to blame, nor of use.
    assert_eq!(bench.stats().evicted_over_budget, 0);
    assert_eq!(bench.stats().system_retries, 0);
    compiled.dedup();
    assert_eq!(compiled, [0, 10, 30, 70, 150, 310, 630]);
    assert!(bench.stats().refused_by_system > 7000);
    let (key, code) = contract(17);
    bench.runtime.index.insert(key, 1);
    let loads = Request {
        explicit: true,
        ..Observation { key, code }.into()
    };
    bench.runtime.handle(Command::Request(loads));
    bench.settle();
    assert!(bench.is_resident(&contract(17)));
    let before = bench.stats().dispatched;
    bench.observe(&contract(8));
    assert_eq!(bench.stats().dispatched, before);
    // By name it is tried, and once that works others have their turn at once.
    let answer = bench.ask(&contract(16));
    bench.settle();
    assert_eq!(answer.wait(), Err(forbidden));
    refuses.store(false, Relaxed);
    let answer = bench.ask(&contract(16));
    bench.settle();
    assert_eq!(answer.wait(), Ok(()));
    bench.observe(&contract(8));
    bench.settle();
    assert!(bench.is_resident(&contract(8)));
}

// Bombs.

#[test]
fn a_bomb_at_the_optimising_tier_is_remembered_beyond_its_programs_life() {
    let paid = Arc::new(AtomicUsize::new(0));
    let count = paid.clone();
    let bomb = With(move |job: &Job| {
        if job.tier == Tier::Optimized {
            count.fetch_add(1, Relaxed);
            let (len, max) = (2, 1);
            return Err(Error::Compile(CompileError::NativeTooLarge { len, max }));
        }
        page(job)
    });
    let tuning = RuntimeTuning {
        idle_evict_duration: Some(Duration::from_secs(5)),
        eviction_sweep_interval: Duration::from_secs(1),
        failure_retry_delay: Duration::from_secs(40),
        failure_retry_delay_max: Duration::from_secs(400),
        ..tuning()
    };
    let mut bench = Bench::new(tuning, bomb);
    let mut returns = 0;
    while bench.tick < 400 {
        // It comes, stays hot for a while, and is evicted.
        bench.observe(&contract(1));
        bench.settle();
        returns += 1;
        for _ in 0..6 {
            assert!(bench.get(&contract(1)).hit().is_some());
            bench.pass(1);
            if bench.stats().pending_jobs > 0 {
                bench.settle();
            }
        }
        while bench.is_resident(&contract(1)) {
            bench.pass(1);
        }
        // Its fast program may come back at any time.
        assert_eq!(bench.verdict(&contract(1)), None);
        assert_eq!(bench.stats().failures_remembered, 1);
    }
    // Rests of 40, 80, 160, 320 ticks, of which the first three end in 400.
    assert!(returns > 30, "{returns}");
    assert_eq!(paid.load(Relaxed), 4);
}

#[test]
fn what_is_hotter_for_its_cost_is_compiled_first() {
    let (gate, compiler) = Gate::new();
    let tuning = RuntimeTuning {
        expected_cpu_base: Duration::from_micros(1),
        expected_cpu_per_byte: Duration::from_micros(1),
        ..tuning()
    };
    let mut bench = Bench::new(tuning, compiler);
    let entered = |gate: &Gate| gate.entered.recv().unwrap().key;
    let occupied = bench.ask(&contract(0));
    assert_eq!(entered(&gate), contract(0).0);
    // In the order of their coming: a long code as hot as a short one, and a hotter short one.
    let long = {
        let code = Bytes::from(vec![0x5b; 20_000]);
        let code_hash = alloy_primitives::keccak256(&code);
        let spec_id = contract(0).0.spec_id;
        (crate::RuntimeCacheKey { code_hash, spec_id }, code)
    };
    for (contract, misses) in [(&long, 10), (&contract(1), 10), (&contract(2), 30)] {
        for _ in 0..misses {
            bench.shared.sketch.record(&contract.0, 256, 512);
        }
        bench.observe(contract);
    }
    let mut order = Vec::new();
    gate.release.send(()).unwrap();
    for _ in 0..3 {
        bench.settle();
        order.push(entered(&gate));
        gate.release.send(()).unwrap();
    }
    bench.settle();
    assert_eq!(order, [contract(2).0, contract(1).0, long.0]);
    assert_eq!(occupied.wait(), Ok(()));
}

#[test]
fn all_new_keys_together_have_an_allowance() {
    let spent = Arc::new(AtomicUsize::new(0));
    let count = spent.clone();
    let tuning = RuntimeTuning {
        new_code_cpu_burst: Duration::from_nanos(1),
        new_code_cpu_per_second: Duration::from_nanos(1),
        jit_tiered: false,
        jit_max_pending_jobs: 100,
        ..tuning()
    };
    let mut bench = Bench::new(
        tuning,
        With(move |job: &Job| {
            count.fetch_add(1, Relaxed);
            page(job)
        }),
    );
    let proven = bench.ask(&contract(0));
    bench.settle();
    assert_eq!(proven.wait(), Ok(()));
    bench.pass(120); // and evicted
    assert!(!bench.is_resident(&contract(0)));
    // The first takes more than there is; the others wait.
    bench.observe(&contract(1));
    bench.settle();
    for n in 2..50 {
        bench.observe(&contract(n));
    }
    // What was asked for does not, nor what made a program before.
    let asked = bench.ask(&contract(60));
    bench.settle();
    assert_eq!(asked.wait(), Ok(()));
    bench.observe(&contract(0));
    bench.settle();
    assert!(bench.is_resident(&contract(0)));
    assert_eq!(spent.load(Relaxed), 4);
    assert_eq!(bench.stats().pending_jobs, 48);
    // One of those that wait, asked for, goes.
    let asked = bench.ask(&contract(2));
    bench.settle();
    assert_eq!(asked.wait(), Ok(()));
}

/// Many that are called just often enough fill the queue; what is hotter than they are is let in, and waits
/// for no more than the one that is under way.
#[test]
fn a_flood_of_lukewarm_contracts_does_not_keep_hot_ones_out() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::new(tuning(), compiler);
    let heat = |bench: &Bench, n: u32, heat| {
        bench
            .shared
            .sketch
            .record(&contract(n).0, heat, bench.shared.hot);
    };
    bench.observe(&contract(0));
    assert_eq!(gate.entered.recv().unwrap().key, contract(0).0);
    for n in 1..20 {
        heat(&bench, n, 2000 + n);
        bench.observe(&contract(n));
    }
    // Each is a little hotter than the one before. The limit is 4.
    let stats = bench.stats();
    assert_eq!(
        (bench.runtime.jobs.len(), stats.refused_queue_full),
        (4, 16)
    );
    // As hot as those that wait is not enough, and who lies of its code pushes nobody out.
    let before = bench.runtime.pool.queued();
    heat(&bench, 20, 2017);
    bench.observe(&contract(20));
    heat(&bench, 21, 9000);
    bench.observe(&(contract(21).0, contract(22).1));
    assert_eq!(bench.runtime.pool.queued(), before);
    heat(&bench, 23, 9000);
    bench.observe(&contract(23));
    gate.release.send(()).unwrap();
    bench.settle();
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(gate.entered.recv().unwrap().key);
        gate.release.send(()).unwrap();
        bench.settle();
    }
    assert_eq!(order, [23, 19, 18].map(|n| contract(n).0));
    assert_eq!(bench.stats().pending_jobs, 0);
}

/// As many as may be optimised at once wait for a worker; what became hot is let in, and goes first.
#[test]
fn what_is_optimised_does_not_keep_new_contracts_out() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::new(tuning(), compiler);
    let hot: Vec<_> = (0..4).map(contract).collect();
    hot.iter().for_each(|contract| bench.observe(contract));
    for _ in 0..4 {
        gate.entered.recv().unwrap();
        gate.release.send(()).unwrap();
        bench.settle();
    }
    for _ in 0..6 {
        for contract in &hot {
            bench.get(contract);
        }
        bench.pass(1);
    }
    assert_eq!(bench.runtime.jobs.optimizing(), 4);
    assert_eq!(gate.entered.recv().unwrap().kind, CompilationKind::Optimize);
    bench.observe(&contract(9));
    assert_eq!(bench.stats().refused_queue_full, 0);
    gate.release.send(()).unwrap();
    bench.settle();
    assert_eq!(gate.entered.recv().unwrap().key, contract(9).0);
    for _ in 0..4 {
        gate.release.send(()).unwrap();
        bench.settle();
    }
    assert_eq!(bench.stats().optimized, 4);
}

#[test]
fn requests_by_name_are_bounded() {
    let (gate, compiler) = Gate::new();
    let tuning = RuntimeTuning {
        max_requested_jobs: 3,
        ..tuning()
    };
    let mut bench = Bench::new(tuning, compiler);
    let answers: Vec<_> = (0..3).map(|n| bench.ask(&contract(n))).collect();
    assert_eq!(bench.ask(&contract(9)).wait(), Err(Error::QueueFull(3)));
    assert_eq!(bench.stats().refused_queue_full, 1);
    // Who wants the same as another takes no room, and observed ones have their own.
    let joined = bench.ask(&contract(1));
    bench.observe(&contract(8));
    bench.runtime.settle();
    assert_eq!(bench.stats().pending_jobs, 4);
    for _ in 0..4 {
        gate.release.send(()).unwrap();
        bench.settle();
    }
    for answer in answers.into_iter().chain([joined]) {
        assert_eq!(answer.wait(), Ok(()));
    }
}

// The clock.

#[test]
fn the_clock_does_not_stop_after_seven_weeks() {
    let tuning = RuntimeTuning {
        tick_interval: Duration::from_millis(1),
        jit_tiered: false,
        idle_evict_duration: Some(Duration::from_secs(100)),
        ..tuning()
    };
    let mut bench = Bench::new(tuning, With(page));
    bench.observe(&contract(1));
    bench.settle();
    let start = Instant::now();
    let day = Duration::from_secs(24 * 60 * 60);
    for days in [49, 50, 100] {
        bench.runtime.advance(start + days * day);
        bench.runtime.settle();
        assert_eq!(bench.stats().tick / 1000, u64::from(days) * 24 * 60 * 60);
    }
    // Time goes on: what is unused grows old.
    bench.observe(&contract(2));
    bench.settle();
    bench
        .runtime
        .advance(start + 100 * day + Duration::from_secs(99));
    assert!(bench.is_resident(&contract(2)));
    bench
        .runtime
        .advance(start + 100 * day + Duration::from_secs(120));
    assert!(!bench.is_resident(&contract(2)));
}

// A pause.

#[test]
fn who_waits_when_a_pause_begins_is_told() {
    let (gate, compiler) = Gate::new();
    let backend = backend(config("pausing"), compiler);
    let sync = |n| {
        let backend = backend.clone();
        thread::spawn(move || backend.compile_jit_sync(request(n)))
    };
    let running = sync(1);
    gate.entered.recv().unwrap();
    let waiting = sync(2);
    let looking = {
        let backend = backend.clone();
        thread::spawn(move || backend.lookup_blocking(request(3)))
    };
    while backend.stats().pending_jobs < 3 {
        thread::yield_now();
    }
    backend.pause();
    assert_eq!(waiting.join().unwrap(), Err(Error::Paused));
    assert!(matches!(
        looking.join().unwrap(),
        LookupDecision::Interpret(InterpretReason::NotReady)
    ));
    // What has begun ends.
    gate.release.send(()).unwrap();
    assert_eq!(running.join().unwrap(), Ok(()));
    // What was asked for is done after the pause.
    backend.resume();
    for _ in 0..2 {
        gate.entered.recv().unwrap();
        gate.release.send(()).unwrap();
    }
    while backend.stats().published < 3 {
        thread::yield_now();
    }
}

// Panics.

#[test]
fn bytecode_that_panics_when_dropped_ends_nothing() {
    let backend = backend(config("contained"), With(page));
    let core = backend.started().unwrap();
    let mut panics = 0;
    for n in 0..10 {
        // Under a wrong key: refused, and dropped, on the backend thread.
        let key = contract(1000 + n).0;
        let armed = Arc::new(AtomicBool::new(true));
        let code = code_that_ends(&contract(n).1, {
            let armed = armed.clone();
            move || {
                assert!(
                    !armed.swap(false, Relaxed),
                    "a bug in the caller's destructor"
                )
            }
        });
        core.send(Command::Request(Observation { key, code }.into()))
            .unwrap();
        while armed.load(Relaxed) {
            thread::yield_now();
        }
        panics += 1;
        backend.compile_jit_sync(request(n)).unwrap();
    }
    let stats = backend.stats();
    assert_eq!((stats.backend_panics, stats.alive), (panics, 1));
    assert_eq!((stats.workers, stats.published), (1, 10));
    assert!(backend.enabled());
    backend.clear_resident().unwrap();
}

#[test]
fn the_books_are_right_after_a_panic() {
    let mut bench = Bench::new(tuning(), With(page));
    for n in 0..4 {
        bench.observe(&contract(n));
        bench.settle();
    }
    // In the middle of a step: the map has lost one program, the ledger another.
    bench.runtime.contained(|runtime| {
        runtime.writer.remove(&contract(0).0);
        runtime.ledger.remove(&contract(1).0);
        panic!("in the middle");
    });
    bench.runtime.settle();
    let resident: Vec<u32> = (0..4)
        .filter(|n| bench.is_resident(&contract(*n)))
        .collect();
    assert_eq!(resident, [2, 3]);
    let stats = bench.stats();
    assert_eq!((stats.resident_entries, stats.code_bytes), (2, 8192));
    assert_eq!(stats.backend_panics, 1);
    for n in 0..2 {
        bench.observe(&contract(n));
        bench.settle();
        assert!(bench.is_resident(&contract(n)));
    }
}

#[test]
fn a_dead_backend_says_so() {
    let backend = backend(config("dead"), With(page));
    assert_eq!(backend.stats().alive, 1);
    backend.compile_jit_sync(request(1)).unwrap();
    backend.started().unwrap().shared.set_dead();
    assert!(!backend.enabled());
    assert_eq!(backend.stats().alive, 0);
    let (key, code) = contract(2);
    let missing = backend.lookup_ref(&key, &code);
    assert!(matches!(
        missing,
        LookupDecision::Interpret(InterpretReason::Stopped)
    ));
    // What is there is there.
    let (key, code) = contract(1);
    assert!(backend.lookup_ref(&key, &code).program().is_some());
}
