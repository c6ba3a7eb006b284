//! The runtime with a store that fails, lies, dawdles or holds damaged artifacts: it counts, says
//! so, and goes on without.

mod runtime_support;

use alloy_primitives::U256;
use revmc_jit::artifact::{
    ArtifactError, ArtifactStore, AuthenticationProblem, DirOptions, TempArtifactStore,
    TrustedStore,
};
use revmc_jit::{CompilationEvent, Error, JitBackend, ProgramKind, RuntimeConfig};
use runtime_support::stores::{Before, Call, disk_full, own, slow, temp};
use runtime_support::{aot, config, contract, eventually, request, run};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

fn with_store(store: impl Into<TrustedStore>) -> RuntimeConfig {
    RuntimeConfig {
        store: Some(store.into()),
        ..config()
    }
}

#[test]
fn a_store_that_fails_is_done_without() {
    let events: Arc<Mutex<Vec<CompilationEvent>>> = Arc::default();
    let log = Arc::clone(&events);
    let broken = Before(temp(), |_| Err(disk_full()));
    let backend = JitBackend::new(RuntimeConfig {
        aot: true,
        on_compilation: Some(Arc::new(move |event: &CompilationEvent| {
            log.lock().unwrap().push(event.clone())
        })),
        ..with_store(own(Arc::new(broken)))
    })
    .unwrap();
    assert_eq!(backend.stats().store_errors, 1);
    // What could not be stored runs all the same.
    let program = backend.lookup_blocking(request(1)).program().unwrap();
    assert_eq!(run(&program, &contract(1).1), U256::from(1));
    eventually(&backend, |stats| stats.store_errors == 2);
    let stats = backend.stats();
    assert_eq!((stats.store_errors, stats.artifacts_stored), (2, 0));
    let said = backend.last_store_error().unwrap().to_string();
    assert_eq!(said, disk_full().to_string());
    eventually(&backend, |_| !events.lock().unwrap().is_empty());
    let event = events.lock().unwrap()[0].clone();
    assert!(
        event.success() && event.to_string().contains(&said),
        "{event}"
    );
    assert!(matches!(backend.clear_persisted(), Err(Error::Artifact(_))));
    // The map is cleared although the store is not.
    assert!(backend.clear_all().is_err());
    assert_eq!(backend.stats().resident_entries, 0);
}

/// Changes a bit of each file, and says how many there are.
fn damage(store: &TempArtifactStore) -> usize {
    let files = fs::read_dir(store.path()).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let damaged = paths.map(|path| {
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    });
    damaged.count()
}

#[test]
fn what_is_prepared_again_and_damaged_is_made_anew() {
    let store = temp();
    for artifacts_rejected in [0, 1] {
        let backend = JitBackend::new(with_store(store.clone())).unwrap();
        backend.prepare_aot(aot(1));
        eventually(&backend, |stats| stats.artifacts_stored == 1);
        assert_eq!(backend.stats().artifacts_rejected, artifacts_rejected);
        let program = backend.lookup_blocking(request(1)).program().unwrap();
        assert_eq!(program.kind(), ProgramKind::Aot);
        drop(backend);
        assert_eq!(damage(&store), 1);
    }
}

#[test]
fn a_damaged_artifact_is_refused_and_compiled_afresh() {
    let store = temp();
    let backend = JitBackend::new(with_store(store.clone())).unwrap();
    backend.prepare_aot(aot(1));
    backend.prepare_aot(aot(2));
    eventually(&backend, |stats| stats.published == 2);
    drop(backend);
    assert_eq!(damage(&store), 2);
    let backend = JitBackend::new(with_store(store.clone())).unwrap();
    for n in [1, 2] {
        let program = backend.lookup_blocking(request(n)).program().unwrap();
        assert_eq!(program.kind(), ProgramKind::Jit);
        assert_eq!(run(&program, &contract(n).1), U256::from(n));
    }
    let stats = backend.stats();
    assert_eq!((stats.artifacts_rejected, stats.artifacts_loaded), (2, 0));
    assert_eq!(stats.artifacts_indexed, 0);
    assert!(backend.last_store_error().is_some());
    // Nobody else has to find out again.
    assert_eq!(store.load_all().unwrap().entries, []);
}

#[test]
fn an_artifact_with_another_key_is_left_to_it() {
    // Refused for a reason that does not lie in them.
    let store = Arc::new(Before(temp(), |call| match call {
        Call::Load => Err(ArtifactError::Authentication(AuthenticationProblem::Wrong)),
        _ => Ok(()),
    }));
    let backend = JitBackend::new(with_store(own(store.clone()))).unwrap();
    backend.prepare_aot(aot(1));
    eventually(&backend, |stats| stats.artifacts_indexed == 1);
    backend.clear_resident().unwrap();
    let program = backend.lookup_blocking(request(1)).program().unwrap();
    assert_eq!(program.kind(), ProgramKind::Jit);
    assert_eq!(backend.stats().artifacts_rejected, 1);
    assert_eq!(store.load_all().unwrap().entries.len(), 1);
}

#[test]
fn an_artifact_that_vanished_is_compiled_afresh() {
    let store = temp();
    let backend = JitBackend::new(with_store(store.clone())).unwrap();
    backend.prepare_aot(aot(1));
    eventually(&backend, |stats| stats.artifacts_indexed == 1);
    backend.clear_resident().unwrap();
    store.clear().unwrap(); // another process, say
    let program = backend.lookup_blocking(request(1)).program().unwrap();
    assert_eq!(program.kind(), ProgramKind::Jit);
    assert_eq!(backend.stats().artifacts_indexed, 0);
}

/// The clear comes while the worker is writing the file, and another artifact waits its turn.
#[test]
fn a_clear_takes_what_is_being_stored_and_what_waits() {
    let (store, is_entered, release) = slow(temp(), Call::Store);
    let backend = JitBackend::new(with_store(own(store.clone()))).unwrap();
    backend.prepare_aot(aot(1));
    is_entered.recv().unwrap();
    backend.pause();
    backend.prepare_aot(aot(2));
    thread::scope(|scope| {
        let clear = scope.spawn(|| backend.clear_persisted());
        // The clear waits for the write; nothing else does.
        let (key, code) = contract(3);
        assert!(backend.lookup_ref(&key, &code).program().is_none());
        drop(release);
        assert_eq!(clear.join().unwrap(), Ok(()));
    });
    backend.resume();
    eventually(&backend, |stats| stats.pending_jobs == 0);
    assert_eq!(store.load_all().unwrap().entries.len(), 0, "resurrected");
    let stats = backend.stats();
    assert_eq!(stats.artifacts_indexed, 0);
    // Of the second nothing was stored.
    assert_eq!(is_entered.try_iter().count(), 0);
    // The store works on: what is asked for after the clear is kept.
    backend.prepare_aot(aot(4));
    eventually(&backend, |stats| stats.artifacts_indexed == 1);
}

#[test]
fn a_clear_of_the_map_does_not_stop_an_artifact_but_keeps_it_out_of_the_map() {
    let (store, is_entered, release) = slow(temp(), Call::Store);
    let backend = JitBackend::new(with_store(own(store))).unwrap();
    backend.prepare_aot(aot(1));
    is_entered.recv().unwrap();
    backend.clear_resident().unwrap();
    release.send(()).unwrap();
    eventually(&backend, |stats| stats.artifacts_indexed == 1);
    let (key, _) = contract(1);
    assert_eq!(backend.stats().resident_entries, 0);
    assert!(backend.get_compiled(key.code_hash, key.spec_id).is_none());
    // It is in the store, and loaded when it is used.
    assert!(backend.lookup_blocking(request(1)).program().is_some());
    drop(release);
}

#[test]
fn a_panicking_store_is_contained() {
    let store = Before(temp(), |call| match call {
        Call::Delete => Ok(()),
        _ => panic!("a bug in the store"),
    });
    let mut config = with_store(own(Arc::new(store)));
    config.enabled = false;
    let idle = JitBackend::new(config.clone()).unwrap();
    assert!(matches!(idle.clear_all(), Err(Error::Artifact(_))));
    config.enabled = true;
    let backend = JitBackend::new(config).unwrap();
    assert_eq!(backend.stats().store_errors, 1);
    // Nothing of what was compiled is lost with what the store does.
    backend.prepare_aot(aot(1));
    eventually(&backend, |stats| {
        stats.published == 1 && stats.store_errors == 2
    });
    let stats = backend.stats();
    assert_eq!((stats.panicked, stats.failed), (0, 0));
    assert_eq!(stats.failures_remembered, 0);
    assert_eq!((stats.published, stats.artifacts_stored), (1, 0));
    assert_eq!(stats.alive, 1);
    let (key, _) = contract(1);
    assert!(backend.get_compiled(key.code_hash, key.spec_id).is_some());
    assert!(matches!(backend.clear_persisted(), Err(Error::Artifact(_))));
    let said = backend.last_store_error().unwrap().to_string();
    assert_eq!(said, "the store panicked: a bug in the store");
}

/// The budget is for the compiler: a store that needs many times as much costs no program.
#[test]
fn what_the_store_takes_is_not_compile_time() {
    // On the processor, over each artifact.
    let store = Arc::new(Before(temp(), |_| {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {}
        Ok(())
    }));
    let mut config = with_store(own(store));
    config.aot = true;
    config.tuning.compile_time_base = Duration::from_secs(1);
    config.tuning.compile_time_per_byte = Duration::ZERO;
    let backend = JitBackend::new(config).unwrap();
    let (key, code) = contract(1);
    eventually(&backend, |_| {
        backend.lookup_ref(&key, &code).program().is_some()
    });
    // It is published before it is stored.
    eventually(&backend, |stats| stats.artifacts_stored == 1);
    let stats = backend.stats();
    assert_eq!((stats.over_budget, stats.failed), (0, 0));
    // Nor is what loading takes.
    backend.clear_resident().unwrap();
    eventually(&backend, |_| {
        backend.lookup_ref(&key, &code).program().is_some()
    });
    let stats = backend.stats();
    assert_eq!((stats.over_budget, stats.failed), (0, 0));
    assert_eq!(stats.artifacts_loaded, 1);
}

#[test]
fn a_full_store_is_counted_and_left_alone() {
    let asked = Arc::new(AtomicUsize::new(0));
    let asks = asked.clone();
    let full = Before(temp(), move |call| match call {
        Call::Store => {
            asks.fetch_add(1, Relaxed);
            Err(disk_full())
        }
        _ => Ok(()),
    });
    let backend = JitBackend::new(with_store(own(Arc::new(full)))).unwrap();
    for n in 1..=20 {
        backend.prepare_aot(aot(n));
    }
    eventually(&backend, |stats| {
        stats.published == 20 && stats.store_full == 20
    });
    let stats = backend.stats();
    assert_eq!((stats.failed, stats.artifacts_stored), (0, 0));
    let before = asked.load(Relaxed);
    assert!(before < 20, "{before}");
    // It is asked at once when it was emptied.
    backend.clear_persisted().unwrap();
    backend.prepare_aot(aot(21));
    eventually(&backend, |stats| stats.store_full == 21);
    assert_eq!(asked.load(Relaxed), before + 1);
}

/// A folder at its bound: contracts become native, artifacts are stored, the oldest go.
#[test]
fn a_full_folder_makes_room() {
    const BOUND: usize = 8;
    let options = DirOptions {
        max_artifacts: BOUND,
        ..DirOptions::default()
    };
    let store = Arc::new(TempArtifactStore::new(options).unwrap());
    let backend = JitBackend::new(with_store(store.clone())).unwrap();
    for n in 1..=20 {
        backend.prepare_aot(aot(n));
        eventually(&backend, |stats| stats.artifacts_stored == u64::from(n));
    }
    let stats = backend.stats();
    assert_eq!(
        (stats.failed, stats.store_errors, stats.store_full),
        (0, 0, 0)
    );
    assert_eq!(
        (stats.artifacts_stored, stats.artifacts_displaced),
        (20, 12)
    );
    assert_eq!(stats.artifacts_indexed, BOUND as u64);
    assert_eq!(store.load_all().unwrap().entries.len(), BOUND);
    for n in 1..=20 {
        let (key, _) = contract(n);
        let program = backend.get_compiled(key.code_hash, key.spec_id).unwrap();
        assert_eq!(program.kind(), ProgramKind::Aot);
    }
    // What went is compiled again when it is wanted, what stayed is loaded.
    backend.clear_resident().unwrap();
    for n in [1, 20] {
        assert!(backend.lookup_blocking(request(n)).program().is_some());
    }
    let stats = backend.stats();
    assert_eq!((stats.artifacts_loaded, stats.failed), (1, 0));
}

/// A store that hangs for good, with all that waits: contracts become native, and the thread that
/// stores is the only one that is lost.
#[test]
fn a_store_that_hangs_costs_no_program_and_no_worker() {
    let (store, is_entered, release) = slow(temp(), Call::Store);
    let mut config = with_store(own(store.clone()));
    config.aot = true;
    config.tuning.jit_worker_count = 1;
    config.tuning.shutdown_timeout = Duration::from_secs(1);
    let backend = JitBackend::new(config).unwrap();
    // More than there is room for: the worker waits in vain once.
    for n in 0..400 {
        backend.prepare_aot(aot(n));
    }
    is_entered.recv().unwrap();
    eventually(&backend, |stats| stats.published == 400);
    let stats = backend.stats();
    assert_eq!((stats.failed, stats.workers), (0, 1));
    assert_eq!((stats.artifacts_stored, stats.workers_replaced), (0, 0));
    assert!(stats.store_errors > 100, "{}", stats.store_errors);
    assert_eq!(
        backend.last_store_error().unwrap().to_string(),
        "the store does not answer"
    );
    let (key, code) = contract(7);
    assert!(backend.lookup_ref(&key, &code).program().is_some());
    // What was on its way is stored when the store comes back.
    drop(release);
    eventually(&backend, |stats| stats.artifacts_stored > 200);
    drop(backend);
}

/// A load that does not come back: the contract is compiled, and so are the others, which are not tried.
#[test]
fn a_load_that_hangs_is_given_up_and_its_contract_compiled() {
    let (store, is_entered, release) = slow(temp(), Call::Load);
    let mut config = with_store(own(store));
    config.tuning.jit_worker_count = 1;
    config.tuning.job_abandon_after = Duration::from_millis(200);
    let backend = JitBackend::new(config).unwrap();
    for n in 1..=3 {
        backend.prepare_aot(aot(n));
    }
    eventually(&backend, |stats| stats.artifacts_indexed == 3);
    backend.clear_resident().unwrap();
    for n in 1..=3 {
        let program = backend.lookup_blocking(request(n)).program().unwrap();
        assert_eq!(run(&program, &contract(n).1), U256::from(n));
    }
    let stats = backend.stats();
    assert_eq!((stats.workers, stats.workers_replaced), (1, 1));
    assert_eq!((stats.abandoned, stats.failures_remembered), (0, 0));
    assert_eq!(is_entered.try_iter().count(), 1);
    // Once it has come back, artifacts are loaded again. Until that is seen, each is compiled instead.
    drop(release);
    eventually(&backend, |stats| {
        backend.prepare_aot(aot(4));
        if stats.artifacts_indexed == 1 {
            backend.clear_resident().unwrap();
            assert!(backend.lookup_blocking(request(4)).program().is_some());
        }
        stats.artifacts_loaded > 0
    });
}
