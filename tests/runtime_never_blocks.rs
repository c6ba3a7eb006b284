//! Lookups go on with the backend thread suspended, the channel full, and every worker stuck.
//! Alone in its process, as it installs a signal handler. What the lookups cost then is shown by
//! `examples/stress/main.rs`; this shows that they return.
#![cfg(target_os = "linux")]

mod runtime_support;

use revmc_jit::{CompilationEvent, JitBackend, RuntimeConfig, RuntimeTuning};
use runtime_support::suspend::Suspended;
use runtime_support::{config, contract, request, tuning};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[test]
fn lookups_return_when_nothing_else_moves() {
    let workers = 2;
    let (entered, is_entered) = channel();
    let (release, wait) = channel::<()>();
    let (entered, wait) = (Mutex::new(entered), Mutex::new(wait));
    let backend = JitBackend::new(RuntimeConfig {
        thread_name: "suspended".into(),
        tuning: RuntimeTuning {
            channel_capacity: 2,
            jit_worker_count: workers,
            ..tuning()
        },
        // The second worker waits for the lock that the first one holds: both are stuck.
        on_compilation: Some(Arc::new(move |event: &CompilationEvent| {
            if event.key == contract(0).0 {
                return;
            }
            entered.lock().unwrap().send(()).unwrap();
            let _ = wait.lock().unwrap().recv();
        })),
        ..config()
    })
    .unwrap();
    backend.compile_jit_sync(request(0)).unwrap();
    for n in 1..=workers as u32 {
        backend.compile_jit(request(n));
        is_entered.recv().unwrap();
    }
    let suspended = Suspended::new("suspended");

    // Hits, and misses of many keys, each far beyond the threshold.
    let (done, finished) = channel();
    let looking = backend.clone();
    let execution = thread::spawn(move || {
        let mut hits = 0;
        for round in 0..200u32 {
            for n in 0..500 {
                let (key, code) = contract(if n % 2 == 0 { 0 } else { 100 + n });
                hits += u64::from(looking.lookup_ref(&key, &code).program().is_some());
                looking.record_interpreted(&key, &code, u64::from(round));
            }
            assert!(
                looking
                    .get_compiled(contract(0).0.code_hash, contract(0).0.spec_id)
                    .is_some()
            );
            let _ = looking.stats();
            looking.pause();
            looking.resume();
        }
        done.send(hits).unwrap();
    });
    let hits = finished
        .recv_timeout(Duration::from_secs(120))
        .expect("a lookup blocked");
    assert_eq!(hits, 200 * 250);
    let stats = backend.stats();
    assert!(
        stats.events_dropped > 0,
        "the channel was never full: {stats}"
    );
    execution.join().unwrap();

    // Let go, everything goes on, and what was dropped is noticed again.
    drop(suspended);
    drop(release);
    let (key, code) = contract(101);
    while backend.lookup_ref(&key, &code).program().is_none() {
        thread::yield_now();
    }
}
