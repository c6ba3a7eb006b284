//! From the first handle to the last: drops from anywhere, forks.

mod runtime_support;

use alloy_primitives::U256;
use revmc_jit::{Error, JitBackend, RuntimeTuning};
use runtime_support::{config, contract, request, run};
use std::sync::Arc;
use std::thread;

#[test]
fn clones_share_one_backend_and_the_last_one_stops_it() {
    let backend = JitBackend::new(config()).unwrap();
    let weak = backend.downgrade();
    let clones: Vec<_> = (0..8).map(|_| backend.clone()).collect();
    drop(backend);
    thread::scope(|scope| {
        for (n, clone) in (0..).zip(clones) {
            scope.spawn(move || clone.compile_jit_sync(request(n)).unwrap());
        }
    });
    assert!(weak.upgrade().is_none());
}

#[test]
fn programs_outlive_their_backend() {
    let backend = JitBackend::new(config()).unwrap();
    backend.compile_jit_sync(request(1)).unwrap();
    let program = backend.lookup(request(1)).program().unwrap();
    drop(backend);
    assert_eq!(run(&program, &contract(1).1), U256::from(1));
    thread::spawn(move || drop(program)).join().unwrap();
}

#[test]
fn a_backend_can_be_dropped_while_it_compiles() {
    for n in 0..20 {
        let backend = JitBackend::new(config()).unwrap();
        for i in 0..10 {
            backend.compile_jit(request(n * 10 + i));
        }
        drop(backend);
    }
}

#[test]
fn starting_from_many_threads_starts_once() {
    let backend = JitBackend::disabled();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| backend.set_enabled(true).unwrap());
        }
    });
    backend.compile_jit_sync(request(1)).unwrap();
    let configured = RuntimeTuning::default().jit_worker_count as u64;
    assert_eq!(backend.stats().workers, configured);
}

#[cfg(unix)]
#[test]
fn a_forked_child_looks_up_and_does_not_hang() {
    let backend = JitBackend::new(config()).unwrap();
    backend.compile_jit_sync(request(1)).unwrap();
    // A thread that sends all the time, so that the fork is likely to happen while the channel's
    // locks are held.
    let noise = backend.clone();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let sender = thread::spawn(move || {
        let mut n = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            // None of those that the child asks for.
            noise.compile_jit(request(1000 + n % 100));
            n += 1;
        }
    });
    for _ in 0..20 {
        // SAFETY: fork(2) has no precondition. The child calls what the test is about and
        // _exit(2); glibc keeps its allocator usable in the child.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: alarm(2) has no precondition. It ends a child that hangs.
            unsafe { libc::alarm(60) };
            let code = i32::from(!child_is_well(backend));
            // SAFETY: _exit(2) has no precondition and runs no handler of the parent's.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `status` is valid for the write; `child` is our child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            "the child ended with {status:#x}"
        );
    }
    // The parent is not impressed.
    backend.compile_jit_sync(request(2)).unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    sender.join().unwrap();
}

/// Everything that is promised of a child; no assertion, as a panic would run the test harness.
#[cfg(unix)]
fn child_is_well(backend: JitBackend) -> bool {
    let hit = backend
        .lookup(request(1))
        .program()
        .is_some_and(|program| run(&program, &contract(1).1) == U256::from(1));
    // Far above the threshold: nothing is sent.
    let misses = (0..1000).all(|_| backend.lookup(request(500)).program().is_none());
    let commands = [
        backend.compile_jit_sync(request(3)),
        backend.clear_resident(),
        backend.clear_all(),
        backend.set_enabled(true),
    ];
    let refused = commands.iter().all(|result| *result == Err(Error::Forked));
    backend.compile_jit(request(4));
    let stats = backend.stats();
    let counted = stats.commands_rejected == 1 && stats.alive == 0 && !backend.enabled();
    backend.pause();
    backend.resume();
    let blocking = backend.lookup_blocking(request(5)).program().is_none();
    let clone = backend.clone();
    drop(backend);
    drop(clone);
    hit && misses && refused && counted && blocking
}
