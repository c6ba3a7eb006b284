//! The warm start: what was hot in the last run is native before anybody misses it, and whatever the
//! list of it says, nobody waits for it and nothing is lost.
#![cfg(target_os = "linux")]

mod runtime_support;

use alloy_primitives::U256;
use revmc_jit::artifact::{
    ArtifactKey, ArtifactStore, BuildId, HeatEntry, HeatList, TempArtifactStore, TrustedStore,
};
use revmc_jit::{InterpretReason, JitBackend, LookupDecision, ProgramKind, RuntimeConfig};
use runtime_support::stores::{Before, Call, disk_full, hold, own, slow, temp};
use runtime_support::{aot, config, contract, eventually, request, run};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

fn warm(store: impl Into<TrustedStore>) -> RuntimeConfig {
    let mut config = config();
    config.store = Some(store.into());
    config.tuning.warm_start_programs = 100;
    // For slow machines.
    config.tuning.warm_start_time = Duration::from_secs(3600);
    config
}

fn start(store: impl Into<TrustedStore>) -> JitBackend {
    JitBackend::new(warm(store)).unwrap()
}

fn list_of(store: &TempArtifactStore) -> PathBuf {
    store.path().join("heat.list")
}

/// A store with the artifacts of contracts 1 to `count`, all of them as hot.
fn filled(count: u32) -> Arc<TempArtifactStore> {
    let store = temp();
    let backend = start(store.clone());
    for n in 1..=count {
        backend.prepare_aot(aot(n));
    }
    eventually(&backend, |stats| {
        stats.artifacts_indexed == u64::from(count)
    });
    drop(backend);
    assert!(list_of(&store).exists());
    store
}

/// The keys of the artifacts of these contracts.
fn keys(store: &TempArtifactStore, numbers: &[u32]) -> Vec<ArtifactKey> {
    let build = store.load_all().unwrap().entries[0].key.build;
    let key = |n: &u32| ArtifactKey::new(contract(*n).0.code_hash, build);
    numbers.iter().map(key).collect()
}

/// These in this order, the hottest first.
fn list(keys: &[ArtifactKey]) -> HeatList {
    let heats = (0..keys.len() as u32).rev();
    let entries = keys.iter().zip(heats);
    HeatList::new(
        entries
            .map(|(key, heat)| HeatEntry { key: *key, heat })
            .collect(),
    )
}

/// Whether it is resident; counts nothing.
fn is_native(backend: &JitBackend, n: u32) -> bool {
    let (key, _) = contract(n);
    backend.get_compiled(key.code_hash, key.spec_id).is_some()
}

fn is_right(backend: &JitBackend, n: u32) {
    let (key, code) = contract(n);
    let program = backend.lookup_ref(&key, &code).program().unwrap();
    assert_eq!(program.kind(), ProgramKind::Aot);
    assert_eq!(run(&program, &code), U256::from(n));
}

/// Lets so many steps of the backend's clock pass.
fn pass(backend: &JitBackend, ticks: u64) {
    let until = backend.stats().tick + ticks;
    eventually(backend, |stats| stats.tick >= until);
}

#[test]
fn the_second_run_has_what_was_hot_without_a_miss() {
    let store = temp();
    let backend = JitBackend::new(RuntimeConfig {
        aot: true,
        ..warm(store.clone())
    })
    .unwrap();
    for n in 1..=20 {
        let (key, code) = contract(n);
        eventually(&backend, |_| {
            backend.lookup_ref(&key, &code).program().is_some()
        });
    }
    eventually(&backend, |stats| stats.artifacts_stored == 20);
    drop(backend);
    // Then a run in which nobody asks for anything, and it is as hot for the third.
    for _ in 0..2 {
        let backend = start(store.clone());
        eventually(&backend, |stats| stats.warm_loaded == 20);
        let stats = backend.stats();
        assert_eq!((stats.artifacts_loaded, stats.published), (20, 20));
        assert_eq!((stats.failed, stats.heat_rejected), (0, 0));
    }
    let backend = start(store.clone());
    eventually(&backend, |stats| stats.warm_loaded == 20);
    (1..=20).for_each(|n| is_right(&backend, n));
    let stats = backend.stats();
    assert_eq!((stats.hits, stats.misses, stats.negatives), (20, 0, 0));
    assert_eq!(store.load_all().unwrap().rejected_count, 0);
}

/// What must not be believed, and what becomes of it.
#[test]
fn a_list_that_is_refused_is_counted_and_written_anew() {
    let store = filled(3);
    let path = list_of(&store);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let contents = [
        flipped,
        whole[..whole.len() - 1].to_vec(),
        whole[..5].to_vec(),
        Vec::new(),
        b"something else that somebody left here".to_vec(),
        vec![0; HeatList::MAX_LEN + 1],
    ];
    let link = store.path().with_extension("aside");
    type Spoil<'a> = Box<dyn Fn() + 'a>;
    let mut spoilers: Vec<Spoil<'_>> = Vec::new();
    for content in &contents {
        let path = &path;
        spoilers.push(Box::new(move || fs::write(path, content).unwrap()));
    }
    spoilers.push(Box::new(|| {
        fs::write(&link, &whole).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&link, &path).unwrap();
    }));
    spoilers.push(Box::new(|| {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap()
    }));
    for (i, spoil) in spoilers.iter().enumerate() {
        spoil();
        let backend = start(store.clone());
        eventually(&backend, |stats| stats.heat_rejected == 1);
        let stats = backend.stats();
        assert_eq!(
            (stats.store_errors, stats.artifacts_rejected),
            (0, 0),
            "{i}"
        );
        assert!(backend.last_store_error().unwrap().is_refusal(), "{i}");
        // It starts as it did without a list.
        for n in 1..=3 {
            assert!(backend.lookup_blocking(request(n)).program().is_some());
            is_right(&backend, n);
        }
        assert_eq!(backend.stats().warm_loaded, 0, "{i}");
        drop(backend);
        // And the list is one again.
        let backend = start(store.clone());
        eventually(&backend, |stats| stats.warm_loaded == 3);
        assert_eq!(backend.stats().heat_rejected, 0, "{i}");
    }
    fs::remove_file(&link).unwrap();
}

#[cfg(feature = "hmac-manifest")]
#[test]
fn with_a_key_a_list_of_another_is_refused() {
    use revmc_jit::artifact::ManifestKey;
    let with = |store: &Arc<TempArtifactStore>, secret| {
        TrustedStore::authenticated(store.clone(), ManifestKey::new(&[secret; 32]))
    };
    let store = filled(2);
    let forged = list(&keys(&store, &[1, 2]));
    let backend = start(with(&store, 1));
    eventually(&backend, |stats| stats.heat_rejected == 1);
    drop(backend);
    with(&store, 2).store_heat(&forged).unwrap();
    let backend = start(with(&store, 1));
    eventually(&backend, |stats| stats.heat_rejected == 1);
    let said = backend.last_store_error().unwrap().to_string();
    assert!(said.contains("not authentic"), "{said}");
    drop(backend);
    // One of its own is believed, and the artifacts of others are refused all the same.
    with(&store, 1).store_heat(&forged).unwrap();
    let backend = start(with(&store, 1));
    eventually(&backend, |stats| stats.artifacts_rejected == 2);
    assert_eq!(backend.stats().warm_loaded, 0);
}

#[test]
fn what_a_list_says_beyond_the_artifacts_is_passed_over() {
    let store = filled(2);
    let [one, two] = keys(&store, &[1, 2])[..] else {
        unreachable!()
    };
    // Of another build, of no artifact, and one that is damaged.
    let other_build: BuildId = {
        let elsewhere = filled(1);
        let mut config = warm(elsewhere.clone());
        config.debug_assertions = true;
        let backend = JitBackend::new(config).unwrap();
        backend.prepare_aot(aot(1));
        eventually(&backend, |stats| stats.artifacts_stored == 1);
        let entries = elsewhere.load_all().unwrap().entries;
        let mut builds = entries.iter().map(|entry| entry.key.build);
        builds.find(|build| *build != one.build).unwrap()
    };
    let foreign = ArtifactKey::new(one.code_hash, other_build);
    let missing = ArtifactKey::new(contract(9).0.code_hash, one.build);
    TrustedStore::from(store.clone())
        .store_heat(&list(&[foreign, missing, one, two]))
        .unwrap();
    let damaged = store.path().join(one.file_name());
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let backend = start(store.clone());
    eventually(&backend, |stats| stats.warm_loaded == 1);
    is_right(&backend, 2);
    let stats = backend.stats();
    assert_eq!((stats.artifacts_rejected, stats.heat_rejected), (1, 0));
    assert_eq!((stats.dispatched, stats.failed), (2, 1));
    // The damaged one is compiled when it is missed.
    assert!(backend.lookup_blocking(request(1)).program().is_some());
}

#[test]
fn the_hottest_are_loaded_and_no_more_than_allowed() {
    let store = filled(6);
    let order = [4, 2, 6, 1, 3, 5];
    let trusted = TrustedStore::from(store.clone());
    trusted.store_heat(&list(&keys(&store, &order))).unwrap();
    let mut config = warm(store.clone());
    config.tuning.warm_start_programs = 3;
    let backend = JitBackend::new(config.clone()).unwrap();
    eventually(&backend, |stats| stats.warm_loaded == 3);
    pass(&backend, 20);
    assert_eq!(backend.stats().warm_loaded, 3);
    for n in order {
        assert_eq!(is_native(&backend, n), [4, 2, 6].contains(&n), "{n}");
    }
    // What was not loaded is remembered all the same, and what is used then is hotter.
    assert!(backend.lookup_blocking(request(5)).program().is_some());
    drop(backend);
    let now = trusted.load_heat().unwrap().unwrap();
    assert_eq!(now.entries().len(), 6);
    assert_eq!(vec![now.entries()[0].key], keys(&store, &[5]));
    // None at all: the list is not touched either.
    config.tuning.warm_start_programs = 0;
    let before = fs::read(list_of(&store)).unwrap();
    let backend = JitBackend::new(config).unwrap();
    assert!(backend.lookup_blocking(request(1)).program().is_some());
    pass(&backend, 20);
    assert_eq!(backend.stats().artifacts_loaded, 1);
    drop(backend);
    assert_eq!(fs::read(list_of(&store)).unwrap(), before);
}

#[test]
fn the_list_is_written_as_the_backend_runs() {
    let store = filled(1);
    fs::remove_file(list_of(&store)).unwrap();
    let mut config = warm(store.clone());
    config.tuning.heat_list_interval = Duration::from_millis(10);
    let backend = JitBackend::new(config).unwrap();
    assert!(backend.lookup_blocking(request(1)).program().is_some());
    eventually(&backend, |stats| stats.heat_stored > 0);
    let written = TrustedStore::from(store.clone()).load_heat().unwrap();
    let names: Vec<_> = written.unwrap().entries().iter().map(|e| e.key).collect();
    assert_eq!(names, keys(&store, &[1]));
    // A clear of the store takes it along.
    backend.clear_persisted().unwrap();
    assert!(!list_of(&store).exists());
}

fn is_interpreted(backend: &JitBackend, n: u32) {
    let (key, code) = contract(n);
    match backend.lookup_ref(&key, &code) {
        LookupDecision::Interpret(InterpretReason::NotReady) => {}
        other => panic!("{other:?}"),
    }
}

/// All of this happens while the store holds the call.
#[test]
fn nobody_waits_for_it() {
    let files = filled(2);
    for held in [Call::LoadHeat, Call::Load] {
        let (store, is_entered, release) = slow(files.clone(), held);
        let mut config = warm(own(store));
        // One for the list, one for what is in it and missed, one for the rest.
        config.tuning.jit_worker_count = 3;
        let backend = JitBackend::new(config).unwrap();
        is_entered.recv().unwrap();
        // Lookups are answered, what is in the list and what is not.
        is_interpreted(&backend, 1);
        is_interpreted(&backend, 7);
        // What becomes hot becomes native.
        assert!(backend.lookup_blocking(request(8)).program().is_some());
        let (key, code) = contract(9);
        eventually(&backend, |_| {
            backend.lookup_ref(&key, &code).program().is_some()
        });
        assert_eq!(backend.stats().warm_loaded, 0);
        drop(release);
        eventually(&backend, |stats| stats.artifacts_loaded == 2);
        is_right(&backend, 1);
        is_right(&backend, 2);
    }
}

#[test]
fn a_store_that_fails_is_not_asked_for_all_and_loses_nothing() {
    let files = filled(5);
    let loads = Arc::new(AtomicUsize::new(0));
    let loaded = loads.clone();
    let store = Before(files.clone(), move |call| match call {
        Call::Load if loaded.fetch_add(1, Relaxed) == 0 => Err(disk_full()),
        _ => Ok(()),
    });
    let backend = start(own(Arc::new(store)));
    eventually(&backend, |stats| stats.failed == 1);
    pass(&backend, 20);
    let stats = backend.stats();
    assert_eq!((stats.store_errors, stats.artifacts_indexed), (1, 5));
    assert_eq!((loads.load(Relaxed), stats.warm_loaded), (1, 0));
    // It works again.
    for n in 1..=5 {
        assert!(backend.lookup_blocking(request(n)).program().is_some());
        is_right(&backend, n);
    }
    drop(backend);
    let backend = start(files);
    eventually(&backend, |stats| stats.warm_loaded == 5);
}

/// One worker, and a store that does not come back.
#[test]
fn a_load_that_hangs_is_given_up_and_the_last() {
    let (hold, is_entered, release) = hold(Call::Load);
    let loads = Arc::new(AtomicUsize::new(0));
    let loaded = loads.clone();
    let store = Before(filled(3), move |call| {
        hold(call);
        loaded.fetch_add(usize::from(call == Call::Load), Relaxed);
        Ok(())
    });
    let mut config = warm(own(Arc::new(store)));
    config.tuning.warm_start_time = Duration::from_millis(20);
    let backend = JitBackend::new(config).unwrap();
    is_entered.recv().unwrap();
    assert!(backend.lookup_blocking(request(8)).program().is_some());
    let stats = backend.stats();
    assert_eq!((stats.warm_loaded, stats.artifacts_indexed), (0, 3));
    assert_eq!((stats.workers, stats.workers_replaced), (1, 1));
    assert_eq!((stats.store_errors, stats.failed), (1, 1));
    drop(release);
    // It is back: what was in the list is loaded when it is used.
    eventually(&backend, |_| loads.load(Relaxed) == 1);
    pass(&backend, 20);
    for n in 1..=3 {
        assert!(backend.lookup_blocking(request(n)).program().is_some());
        is_right(&backend, n);
    }
    assert_eq!(backend.stats().warm_loaded, 0);
}

#[test]
fn a_pause_is_a_pause_for_it_too() {
    let store = filled(2);
    let mut config = warm(store);
    config.enabled = false;
    let backend = JitBackend::new(config).unwrap();
    backend.pause();
    backend.set_enabled(true).unwrap();
    pass(&backend, 20);
    assert_eq!(backend.stats().dispatched, 0);
    backend.resume();
    eventually(&backend, |stats| stats.warm_loaded == 2);
}
