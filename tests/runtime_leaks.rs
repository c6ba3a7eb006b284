//! A thousand backends leave nothing behind. Alone in its process, as it counts the process's
//! threads, mappings and files.
#![cfg(target_os = "linux")]

mod runtime_support;

use revmc_jit::artifact::{DirOptions, TempArtifactStore};
use revmc_jit::{JitBackend, RuntimeConfig};
use runtime_support::maps::mappings;
use runtime_support::{aot, config, eventually, request};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// The process's threads. One that was joined is listed for a moment more: the kernel wakes who
/// waits before it takes the entry away. Patience for that, and a thread that is left stays.
fn threads(expected: usize) -> usize {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let threads = entries("/proc/self/task");
        if threads == expected || Instant::now() > patience {
            return threads;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn live_and_die(n: u32) {
    let store = Arc::new(TempArtifactStore::new(DirOptions::default()).unwrap());
    let folder = store.path().to_owned();
    let backend = JitBackend::new(RuntimeConfig {
        store: Some(store.into()),
        ..config()
    })
    .unwrap();
    // Some do nothing, some compile, some keep an artifact, some are dropped in the middle of it.
    match n % 4 {
        0 => {}
        1 => backend.compile_jit_sync(request(n)).unwrap(),
        2 => {
            backend.prepare_aot(aot(n));
            eventually(&backend, |stats| stats.published == 1);
        }
        _ => backend.compile_jit(request(n)),
    }
    drop(backend);
    assert!(!folder.exists(), "the store outlived its backend");
}

#[test]
fn a_thousand_backends_leave_no_thread_mapping_or_file() {
    let own = entries("/proc/self/task");
    // The allocator and the loader keep a little of the first ones.
    (0..100).for_each(live_and_die);
    assert_eq!(threads(own), own, "threads are left");
    let (files, maps) = (entries("/proc/self/fd"), mappings().len());
    (0..1000).for_each(live_and_die);
    assert_eq!(threads(own), own, "threads are left");
    assert_eq!(entries("/proc/self/fd"), files, "files are left");
    // One leaked mapping per backend would be a thousand; the allocator's own vary by a few.
    assert!(
        mappings().len() < maps + 50,
        "{maps} mappings became {}",
        mappings().len()
    );
}
