//! Threads that are stopped at the worst moment hold up nobody.

use super::{
    JitBackend,
    testing::{With, backend, config, contract, page, request},
};
use crate::resident::windows;
use std::{
    sync::{
        Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

/// Stops the thread of this name in a window, the first time it comes there.
struct Stopped {
    reached: Receiver<()>,
    release: Sender<()>,
}

impl Stopped {
    fn at(thread: &str, window: &'static str) -> Self {
        let (reach, reached) = channel();
        let (release, wait) = channel::<()>();
        let once = Mutex::new(Some((reach, wait)));
        windows::on(thread, move |passed| {
            if passed == window {
                let taken = once.lock().unwrap().take();
                if let Some((reach, wait)) = taken {
                    reach.send(()).unwrap();
                    let _ = wait.recv();
                }
            }
        });
        Self { reached, release }
    }
}

fn make_hot(backend: &JitBackend, n: u32) {
    let (key, code) = contract(n);
    for _ in 0..20 {
        let _ = backend.lookup_ref(&key, &code);
    }
}

#[test]
fn a_thread_stopped_while_it_reports_holds_up_nobody() {
    let backend = backend(config("reports-to"), With(page));
    let stopped = Stopped::at("stops-reporting", "message written");
    let reporting = backend.clone();
    let reporter = thread::Builder::new()
        .name("stops-reporting".into())
        .spawn(move || make_hot(&reporting, 1))
        .unwrap();
    stopped.reached.recv().unwrap();
    // Commands, and what others report, go on.
    for n in 2..50 {
        let (key, code) = contract(n);
        while backend.lookup_ref(&key, &code).program().is_none() {
            thread::yield_now();
        }
        backend.clear_resident().unwrap();
    }
    drop(stopped.release);
    reporter.join().unwrap();
    // Its report was not lost.
    while backend
        .get_compiled(contract(1).0.code_hash, contract(1).0.spec_id)
        .is_none()
    {
        thread::yield_now();
    }
}

#[test]
fn a_backend_thread_stopped_while_it_listens_holds_up_no_lookup() {
    let stopped = Stopped::at("stops-listening", "message taken");
    let backend = backend(config("stops-listening"), With(page));
    backend.compile_jit_sync(request(1)).unwrap();
    make_hot(&backend, 2);
    stopped.reached.recv().unwrap();
    // Far more reports than there is room for, from this thread and from another.
    let looking = backend.clone();
    let look = move || {
        for n in 0..5_000 {
            make_hot(&looking, 100 + n);
            let (key, code) = contract(1);
            assert!(looking.lookup_ref(&key, &code).program().is_some());
        }
    };
    let other = thread::spawn(look.clone());
    look();
    other.join().unwrap();
    assert!(backend.stats().events_dropped > 0);
    drop(stopped.release);
    let (key, code) = contract(2);
    while backend.lookup_ref(&key, &code).program().is_none() {
        thread::yield_now();
    }
}
