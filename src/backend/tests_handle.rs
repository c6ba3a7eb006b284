//! The handle's rules that need a compiler under the test's control: waiting, stopping, callbacks.
//! What the public API shows by itself is in `tests/runtime_*.rs`.

use super::{
    JitBackend,
    job::Job,
    request::{Command, Observation, Request, Road, Waiter},
    testing::{Gate, With, backend, code_that_ends, config, contract, page, request},
};
use crate::{
    CompilationEvent, Error, InterpretReason, LookupDecision, LookupRequest, RuntimeConfig,
};
use alloy_primitives::Bytes;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

fn reason(decision: LookupDecision) -> InterpretReason {
    match decision {
        LookupDecision::Interpret(reason) => reason,
        LookupDecision::Compiled(program) => panic!("unexpected {program:?}"),
    }
}

#[test]
fn who_waits_is_told_when_the_backend_stops() {
    let (gate, compiler) = Gate::new();
    let mut config = config("handle");
    config.tuning.shutdown_timeout = Duration::from_millis(10);
    let backend = backend(config, compiler);
    let weak = backend.downgrade();
    // The waiting thread holds no handle, only what `&self` of a handle reaches.
    let core_answer = {
        let core = backend.started().unwrap();
        let (waiter, answer) = Waiter::new();
        let (key, code) = contract(1);
        let request = super::commands::explicit(&key, &code, Road::Jit, 0).unwrap();
        core.send(Command::Request(Request {
            waiter: Some(waiter),
            ..request
        }))
        .unwrap();
        answer
    };
    gate.entered.recv().unwrap();
    drop(backend); // bounded, although the worker is stuck
    assert_eq!(core_answer.wait(), Err(Error::Stopped));
    assert!(weak.upgrade().is_none());
}

#[test]
fn the_last_handle_can_be_dropped_in_a_callback() {
    let slot: Arc<Mutex<Option<JitBackend>>> = Arc::default();
    let (dropped, done) = channel();
    let mut config = config("handle");
    let in_callback = slot.clone();
    let dropped = Mutex::new(dropped);
    config.on_compilation = Some(Arc::new(move |_: &CompilationEvent| {
        let last = in_callback.lock().unwrap().take();
        drop(last);
        dropped
            .lock()
            .unwrap()
            .send(thread::current().name().map(str::to_owned))
            .unwrap();
    }));
    config.thread_name = "last-drop".into();
    let backend = backend(config, With(page));
    let weak = backend.downgrade();
    let mut held = slot.lock().unwrap();
    backend.compile_jit(request(1));
    *held = Some(backend);
    drop(held);
    assert_eq!(done.recv().unwrap().as_deref(), Some("last-drop-0"));
    assert!(weak.upgrade().is_none());
}

#[test]
fn the_last_handle_can_be_dropped_on_the_backend_thread() {
    let (gate, compiler) = Gate::new();
    let mut config = config("handle");
    config.thread_name = "own-thread".into();
    let backend = backend(config, compiler);
    let weak = backend.downgrade();
    let (key, code) = contract(1);
    let (dropped, done) = channel();
    // Keep the worker busy, so that the job table's copy is the last one to go.
    backend.compile_jit(request(2));
    gate.entered.recv().unwrap();
    {
        let core = backend.started().unwrap();
        let mut last = Some(backend.clone());
        let code = code_that_ends(&code, move || {
            drop(last.take());
            let _ = dropped.send(thread::current().name().map(str::to_owned));
        });
        core.send(Command::Request(Observation { key, code }.into()))
            .unwrap();
    }
    // A clear drops the queued job and its code on the backend thread. Sent and not waited for, as
    // the handle must not be held then.
    let (waiter, _answer) = Waiter::new();
    backend
        .started()
        .unwrap()
        .send(Command::ClearResident(waiter))
        .unwrap();
    drop(backend);
    assert_eq!(done.recv().unwrap().as_deref(), Some("own-thread"));
    assert!(weak.upgrade().is_none());
    drop(gate);
}

#[test]
fn a_callback_cannot_wait_for_its_own_backend() {
    let (outcomes, results) = channel();
    let outcomes = Mutex::new(outcomes);
    let slot: Arc<Mutex<Option<super::WeakJitBackend>>> = Arc::default();
    let weak = slot.clone();
    let mut config = config("handle");
    config.on_compilation = Some(Arc::new(move |_: &CompilationEvent| {
        let Some(backend) = weak.lock().unwrap().take().and_then(|weak| weak.upgrade()) else {
            return;
        };
        let sync = backend.compile_jit_sync(request(2));
        let clear = backend.clear_resident();
        let blocking = reason(backend.lookup_blocking(request(2)));
        // Not waiting is fine.
        backend.compile_jit(request(3));
        let (key, code) = contract(1);
        let _ = backend.lookup_ref(&key, &code);
        let dispatched = backend.stats().dispatched;
        outcomes
            .lock()
            .unwrap()
            .send((sync, clear, blocking, dispatched))
            .unwrap();
    }));
    let backend = backend(config, With(page));
    *slot.lock().unwrap() = Some(backend.downgrade());
    backend.compile_jit_sync(request(1)).unwrap();
    let (sync, clear, blocking, dispatched) = results.recv().unwrap();
    assert_eq!(sync, Err(Error::WouldDeadlock));
    assert_eq!(clear, Err(Error::WouldDeadlock));
    assert_eq!(blocking, InterpretReason::NotReady);
    assert!(dispatched >= 1, "{dispatched}");
    // Delivered: joins it or finds it done.
    backend.compile_jit_sync(request(3)).unwrap();
    assert_eq!(backend.stats().commands_rejected, 0);
}

#[test]
fn a_full_ring_drops_observations_and_they_come_again() {
    // The room is as small as can be, and the backend thread sits in the drop of a caller's
    // buffer, so that nobody empties it.
    let mut config = config("handle");
    config.tuning.observations_per_thread = 1;
    let backend = backend(config, With(page));
    let core = backend.started().unwrap();
    let (key, code) = contract(9);
    let (release, wait) = channel();
    let (blocked, is_blocked) = channel();
    // Wrong code for the key: refused, and dropped, on the backend thread.
    let code = code_that_ends(&[&code[..], &[0]].concat(), move || {
        let _ = blocked.send(());
        let _ = wait.recv();
    });
    core.send(Command::Request(Observation { key, code }.into()))
        .unwrap();
    is_blocked.recv().unwrap();
    // One message fits; the others are dropped at once, and lookups go on.
    let (hot, code) = contract(1);
    for _ in 0..1000 {
        assert_eq!(
            reason(backend.lookup_ref(&hot, &code)),
            InterpretReason::NotReady
        );
        let (other, other_code) = contract(2);
        assert_eq!(
            reason(backend.lookup_ref(&other, &other_code)),
            InterpretReason::NotReady
        );
    }
    let dropped = backend.stats().events_dropped;
    // The threshold is two misses, so each later miss of the key without room reports again.
    assert!(dropped >= 900, "only {dropped} reports were tried");
    release.send(()).unwrap();
    let (other, other_code) = contract(2);
    while backend.lookup_ref(&other, &other_code).program().is_none() {
        thread::yield_now();
    }
    while backend.lookup_ref(&hot, &code).program().is_none() {
        thread::yield_now();
    }
}

#[test]
fn a_panicking_callback_is_contained() {
    let mut config = config("handle");
    config.on_compilation = Some(Arc::new(|_: &CompilationEvent| {
        panic!("a bug in the callback")
    }));
    let backend = backend(config, With(page));
    for n in 0..3 {
        backend.compile_jit_sync(request(n)).unwrap();
    }
    // The third callback may still be running.
    while backend.stats().callback_panics < 3 {
        thread::yield_now();
    }
    assert_eq!(backend.stats().workers, 1);
}

#[test]
fn events_tell_what_happened() {
    let events: Arc<Mutex<Vec<CompilationEvent>>> = Arc::default();
    let log = events.clone();
    let mut config = config("handle");
    config.on_compilation = Some(Arc::new(move |event: &CompilationEvent| {
        log.lock().unwrap().push(event.clone())
    }));
    let fail = contract(2).0;
    let compiler = With(move |job: &Job| {
        if job.key == fail {
            Err(Error::Panicked("no".into()))
        } else {
            page(job)
        }
    });
    let backend = backend(config, compiler);
    backend.compile_jit_sync(request(1)).unwrap();
    backend.compile_jit_sync(request(2)).unwrap_err();
    while events.lock().unwrap().len() < 2 {
        thread::yield_now();
    }
    let events = events.lock().unwrap();
    let [good, bad] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(good.success() && good.outcome == Ok(4096) && good.key == contract(1).0);
    assert!(good.to_string().ends_with("4096 bytes mapped"), "{good}");
    assert!(
        !bad.success() && bad.to_string().ends_with("panicked: no"),
        "{bad}"
    );
}

#[test]
fn blocking_mode_compiles_once_and_remembers_failures() {
    let compiled = Arc::new(AtomicUsize::new(0));
    let count = compiled.clone();
    let fail = contract(2).0;
    let compiler = With(move |job: &Job| {
        count.fetch_add(1, Relaxed);
        if job.key == fail {
            Err(Error::Panicked("no".into()))
        } else {
            page(job)
        }
    });
    let backend = backend(
        RuntimeConfig {
            blocking: true,
            ..config("handle")
        },
        compiler,
    );
    for _ in 0..3 {
        assert!(backend.lookup(request(1)).program().is_some());
        assert_eq!(
            reason(backend.lookup(request(2))),
            InterpretReason::JitFailed
        );
    }
    assert_eq!(compiled.load(Relaxed), 2);
    let stats = backend.stats();
    assert_eq!((stats.misses, stats.hits, stats.negatives), (2, 2, 2));
    // Ineligible code is not sent anywhere.
    let empty = LookupRequest {
        key: contract(5).0,
        code: Bytes::new(),
    };
    let wrong = LookupRequest {
        key: contract(5).0,
        code: contract(6).1,
    };
    assert_eq!(reason(backend.lookup(wrong)), InterpretReason::JitFailed);
    assert_eq!(reason(backend.lookup(empty)), InterpretReason::Ineligible);
    assert_eq!(compiled.load(Relaxed), 2);
}

#[test]
fn a_dropped_backend_leaves_no_compiler_behind() {
    let compiler = Arc::new(());
    let weak = Arc::downgrade(&compiler);
    let keep = With(move |job: &Job| {
        let _held = &compiler;
        page(job)
    });
    let backend = backend(config("handle"), keep);
    backend.compile_jit_sync(request(1)).unwrap();
    let program = backend.lookup(request(1)).program().unwrap();
    drop(backend);
    assert!(weak.upgrade().is_none());
    // What callers hold stays valid.
    assert_eq!(program.key(), contract(1).0);
}

#[test]
fn errors_reach_the_caller_before_anything_is_started() {
    let backend = JitBackend::disabled();
    let wrong = LookupRequest {
        key: contract(1).0,
        code: contract(2).1,
    };
    let refused = backend.compile_jit_sync(wrong.clone());
    assert!(
        matches!(refused, Err(Error::CodeHashMismatch { .. })),
        "{refused:?}"
    );
    backend.compile_jit(wrong);
    assert_eq!(backend.stats().commands_rejected, 1);
}
