//! What becomes of a backend whose threads the system refuses. By itself, as the bound is the process's.
#![cfg(target_os = "linux")]

mod runtime_support;

use revmc_jit::{Error, JitBackend, RuntimeConfig, RuntimeTuning};
use runtime_support::{config, request};
use std::{fs, sync::mpsc::channel, thread, time::Duration};

/// Address space that this process has.
fn mapped() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    // SAFETY: sysconf(3) has no precondition.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

/// Bounds this process's address space, or gives it back what it may have.
fn bound(bytes: Option<u64>) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for the write and the read.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut limit), 0);
        limit.rlim_cur = bytes.unwrap_or(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
    }
}

#[test]
fn a_refused_thread_is_an_error_and_leaves_nothing_running() {
    let many = RuntimeConfig {
        tuning: RuntimeTuning {
            jit_worker_count: 16,
            ..config().tuning
        },
        ..config()
    };
    let backend = JitBackend::new(RuntimeConfig {
        tuning: RuntimeTuning {
            jit_worker_count: 1,
            ..many.tuning
        },
        ..many.clone()
    });
    drop(backend.unwrap());

    // Room for the stacks of some of the workers.
    bound(Some(mapped() + (400 << 20)));
    let (tell, told) = channel();
    let starting = thread::spawn({
        let many = many.clone();
        move || {
            tell.send(JitBackend::new(many).map(drop)).unwrap();
        }
    });
    let refused = told.recv_timeout(Duration::from_secs(60));
    bound(None);
    match refused.expect("it does not wait for itself") {
        Err(Error::Spawn { thread, .. }) => assert!(thread.starts_with("revmc-jit"), "{thread}"),
        other => panic!("{other:?}"),
    }
    starting.join().unwrap();
    let names = fs::read_dir("/proc/self/task").unwrap().map(|task| {
        let path = task.unwrap().path().join("comm");
        fs::read_to_string(path).unwrap_or_default()
    });
    let workers = names.filter(|name| name.starts_with("revmc-jit"));
    assert_eq!(workers.count(), 0);

    let backend = JitBackend::new(many).unwrap();
    backend.compile_jit_sync(request(1)).unwrap();
}
