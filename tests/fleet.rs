//! The store of `examples/fleet`, in memory and in a folder: one node compiles, the others load; and a
//! store that is slow, fails, or holds what somebody forged costs no program.
#![cfg(target_os = "linux")]

mod runtime_support;
#[path = "../examples/fleet/store.rs"]
mod store;

use alloy_primitives::U256;
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload,
    local::LocalFileSystem,
    memory::InMemory,
    path::Path,
    throttle::{ThrottleConfig, ThrottledStore},
};
use revmc_jit::aot::{self, BuildOptions};
use revmc_jit::artifact::{
    ArtifactError, ArtifactStore, DirOptions, HeatEntry, HeatList, ManifestKey, TempArtifactStore,
    TrustedStore, Verified,
};
use revmc_jit::compiler::Tier;
use revmc_jit::{Chain, JitBackend, ProgramKind, RuntimeConfig};
use runtime_support::{config, contract, eventually, run};
use std::sync::Arc;
use std::time::Duration;
use store::{FleetStore, Limits};

/// Contracts of each test.
const COUNT: u32 = 6;

fn prefix() -> Path {
    Path::from("a/fleet")
}

fn limits() -> Limits {
    Limits {
        // For slow machines; what waits for longer waits for ever.
        patience: Duration::from_secs(60),
        ..Limits::default()
    }
}

fn open(objects: &Arc<dyn ObjectStore>, limits: Limits) -> FleetStore {
    FleetStore::new(Arc::clone(objects), prefix(), limits).unwrap()
}

fn ours() -> ManifestKey {
    ManifestKey::new(&[1; 32])
}

fn theirs() -> ManifestKey {
    ManifestKey::new(&[2; 32])
}

fn node_with(objects: &Arc<dyn ObjectStore>, limits: Limits, warm: usize) -> JitBackend {
    let store = Arc::new(open(objects, limits));
    let mut config = RuntimeConfig {
        aot: true,
        store: Some(TrustedStore::authenticated(store, ours())),
        ..config()
    };
    config.tuning.warm_start_programs = warm;
    JitBackend::new(config).unwrap()
}

/// A node that loads what it misses.
fn node(objects: &Arc<dyn ObjectStore>) -> JitBackend {
    node_with(objects, limits(), 0)
}

/// Executes each contract until it is native, and compares what it returns.
fn executes(node: &JitBackend) {
    for n in 1..=COUNT {
        let (key, code) = contract(n);
        eventually(node, |_| node.lookup_ref(&key, &code).program().is_some());
        let program = node.lookup_ref(&key, &code).program().unwrap();
        assert_eq!(run(&program, &code), U256::from(n));
    }
}

/// A node that compiles all, stores it, and has ended.
fn fill(objects: &Arc<dyn ObjectStore>) {
    let first = node_with(objects, limits(), 100);
    executes(&first);
    eventually(&first, |stats| stats.artifacts_indexed == u64::from(COUNT));
    let stats = first.stats();
    assert_eq!((stats.artifacts_loaded, stats.artifacts_rejected), (0, 0));
}

fn temp() -> TempArtifactStore {
    TempArtifactStore::new(DirOptions::default()).unwrap()
}

fn in_folder(folder: &TempArtifactStore) -> Arc<dyn ObjectStore> {
    Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())
}

/// Each test here is for both.
fn in_memory_and_in_a_folder(test: impl Fn(&Arc<dyn ObjectStore>)) {
    let in_memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    test(&in_memory);
    let folder = temp();
    test(&in_folder(&folder));
}

#[test]
fn one_node_compiles_and_the_others_load() {
    in_memory_and_in_a_folder(|objects| {
        fill(objects);
        // Several at a time.
        let nodes = [node(objects), node(objects), node(objects)];
        for node in &nodes {
            executes(node);
            let stats = node.stats();
            assert_eq!(stats.artifacts_loaded, u64::from(COUNT));
            assert_eq!((stats.artifacts_stored, stats.trials_passed), (0, 0));
            let (key, code) = contract(1);
            let program = node.lookup_ref(&key, &code).program().unwrap();
            assert_eq!(program.kind(), ProgramKind::Aot);
        }
        drop(nodes);
        // What was hot on one is native on another before it executes anything.
        let warm = node_with(objects, limits(), 100);
        eventually(&warm, |stats| stats.warm_loaded == u64::from(COUNT));
        executes(&warm);
        let stats = warm.stats();
        assert_eq!((stats.misses, stats.negatives), (0, 0));
        // Emptied is empty, for every node that starts then.
        warm.clear_persisted().unwrap();
        let other = node_with(objects, limits(), 100);
        assert_eq!(other.stats().artifacts_indexed, 0);
        executes(&other);
        let stats = other.stats();
        assert_eq!((stats.artifacts_loaded, stats.store_errors), (0, 0));
    });
}

fn make(n: u32) -> Verified {
    let (key, code) = contract(n);
    let rules = Chain::mainnet().rules(key.spec_id).clone();
    let options = BuildOptions {
        tier: Tier::Optimized,
        debug_assertions: false,
    };
    aot::make(&code, key.spec_id, &rules, options, None).unwrap()
}

/// Puts an object where the artifact of contract `n` is.
fn put(objects: &Arc<dyn ObjectStore>, n: u32, bytes: impl Into<Vec<u8>>) {
    let name = make(n).manifest().key().file_name();
    put_as(objects, &name, bytes);
}

fn put_as(objects: &Arc<dyn ObjectStore>, name: &str, bytes: impl Into<Vec<u8>>) {
    let path = prefix().join(name);
    let payload = PutPayload::from(bytes.into());
    block_on(objects.put(&path, payload)).unwrap();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work)
}

#[test]
fn what_somebody_forged_is_refused_and_compiled() {
    in_memory_and_in_a_folder(|objects| {
        fill(objects);
        let sealed = |n, key: Option<&ManifestKey>| make(n).seal(key).unwrap().bytes().to_vec();
        let genuine = open(objects, limits())
            .load(&make(1).manifest().key())
            .unwrap()
            .unwrap();
        let mut changed = sealed(4, Some(&theirs()));
        *changed.last_mut().unwrap() ^= 1;
        let without_key = sealed(2, None);
        let with_another = sealed(3, Some(&theirs()));
        // Contract 1's own artifact stays; under 6 there is a genuine one of another contract.
        let forged = [
            (2, without_key),
            (3, with_another),
            (4, changed),
            (5, b"not an artifact".to_vec()),
            (6, genuine.to_vec()),
        ];
        for (n, bytes) in forged {
            put(objects, n, bytes);
        }
        put_as(objects, "something else", "that somebody left here");
        let entries = (1..=COUNT).map(|n| HeatEntry {
            key: make(n).manifest().key(),
            heat: n,
        });
        let list = HeatList::new(entries.collect()).to_bytes(Some(&theirs()));
        put_as(objects, "heat.list", list);

        let node = node_with(objects, limits(), 100);
        eventually(&node, |stats| stats.heat_rejected == 1);
        // The object that has no artifact's name.
        assert_eq!(node.stats().artifacts_rejected, 1);
        executes(&node);
        eventually(&node, |stats| stats.artifacts_indexed == u64::from(COUNT));
        let stats = node.stats();
        assert_eq!((stats.artifacts_loaded, stats.warm_loaded), (1, 0));
        assert_eq!((stats.artifacts_rejected, stats.store_errors), (6, 0));
        drop(node);
        // What it compiled is in their place, and its list of what was hot.
        let next = node_with(objects, limits(), 100);
        eventually(&next, |stats| stats.warm_loaded == u64::from(COUNT));
        assert_eq!(next.stats().heat_rejected, 0);
        executes(&next);
    });
}

#[test]
fn an_object_that_is_too_long_is_not_read() {
    in_memory_and_in_a_folder(|objects| {
        fill(objects);
        let small = Limits {
            max_bytes: 100,
            ..limits()
        };
        let store = open(objects, small.clone());
        let found = store.load(&make(1).manifest().key());
        assert!(matches!(
            found,
            Err(ArtifactError::TooLarge { limit: 100, .. })
        ));
        let node = node_with(objects, small, 0);
        executes(&node);
        let stats = node.stats();
        assert_eq!(stats.artifacts_rejected, u64::from(COUNT));
    });
}

/// Far beyond the test's end.
const LONG: Duration = Duration::from_secs(1 << 20);

fn impatient(rest: Duration) -> Limits {
    Limits {
        patience: Duration::from_millis(20),
        rest,
        ..limits()
    }
}

#[test]
fn a_store_that_does_not_answer_costs_no_program() {
    let memory = Arc::new(InMemory::new());
    let filled: Arc<dyn ObjectStore> = memory.clone();
    fill(&filled);
    type Slow = fn(&mut ThrottleConfig);
    let to_list: Slow = |config| config.wait_list_with_delimiter_per_call = LONG;
    let to_read: Slow = |config| config.wait_get_per_call = LONG;
    let to_write: Slow = |config| config.wait_put_per_call = LONG;
    let of_artifacts = |copy: InMemory, slow: Slow| {
        let mut config = ThrottleConfig::default();
        slow(&mut config);
        let objects: Arc<dyn ObjectStore> = Arc::new(ThrottledStore::new(copy, config));
        let node = node_with(&objects, impatient(Duration::from_secs(3600)), 100);
        executes(&node);
        eventually(&node, |stats| stats.store_errors > 0);
        let stats = node.stats();
        assert_eq!((stats.alive, stats.workers), (1, 1));
        assert_eq!((stats.workers_replaced, stats.abandoned), (0, 0));
        stats
    };
    assert_eq!(of_artifacts(memory.fork(), to_list).artifacts_loaded, 0);
    assert_eq!(of_artifacts(memory.fork(), to_read).artifacts_loaded, 0);
    assert_eq!(of_artifacts(InMemory::new(), to_write).artifacts_stored, 0);
}

#[test]
fn a_store_that_did_not_answer_rests() {
    let memory = Arc::new(InMemory::new());
    let filled: Arc<dyn ObjectStore> = memory.clone();
    fill(&filled);
    let key = make(1).manifest().key();
    for (rest, is_asked) in [(Duration::from_secs(3600), false), (Duration::ZERO, true)] {
        let objects = Arc::new(ThrottledStore::new(
            memory.fork(),
            ThrottleConfig::default(),
        ));
        objects.config_mut(|config| config.wait_get_per_call = LONG);
        let shared: Arc<dyn ObjectStore> = objects.clone();
        let store = open(&shared, impatient(rest));
        let late = store.load(&key).unwrap_err();
        assert!(matches!(late, ArtifactError::Io { .. }), "{late}");
        objects.config_mut(|config| config.wait_get_per_call = Duration::ZERO);
        match store.load(&key) {
            Err(ArtifactError::StoreSilent) => assert!(!is_asked),
            // Late once more, on a slow machine.
            Ok(Some(_)) | Err(ArtifactError::Io { .. }) => assert!(is_asked),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_store_that_fails_costs_no_program() {
    let folder = temp();
    let objects = in_folder(&folder);
    fill(&objects);
    let node = node_with(&objects, limits(), 0);
    // A file is where the folder was.
    let place = folder.path().join("a");
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::write(&place, "").unwrap();
    executes(&node);
    eventually(&node, |stats| stats.store_errors >= u64::from(COUNT));
    assert_eq!(node.stats().artifacts_loaded, 0);
    assert!(node.clear_persisted().is_err());
    // A node that starts then has no index, says so, and compiles.
    let next = node_with(&objects, limits(), 100);
    executes(&next);
    let stats = next.stats();
    assert!(stats.store_errors > 0);
    assert_eq!((stats.artifacts_indexed, stats.artifacts_loaded), (0, 0));
}

#[test]
fn a_node_may_live_on_a_thread_of_another_runtime() {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    fill(&objects);
    block_on(async {
        let node = node(&objects);
        assert_eq!(node.stats().artifacts_indexed, u64::from(COUNT));
        executes(&node);
        node.clear_persisted().unwrap();
        assert_eq!(node.stats().artifacts_indexed, 0);
    });
}

#[test]
fn each_operation_is_what_the_trait_says() {
    in_memory_and_in_a_folder(|objects| {
        let store = open(objects, limits());
        assert_eq!(store.load_all().unwrap().entries, []);
        assert_eq!(store.load_heat().unwrap(), None);
        let sealed: Vec<_> = (1..=3)
            .map(|n| make(n).seal(Some(&ours())).unwrap())
            .collect();
        for artifact in &sealed {
            assert_eq!(store.load(artifact.key()).unwrap(), None);
            // Twice: the second time in place of the first.
            store.store(artifact).unwrap();
            let stored = store.store(artifact).unwrap();
            assert_eq!(
                (stored.len, stored.removed.len()),
                (artifact.bytes().len() as u64, 0)
            );
            let found = store.load(artifact.key()).unwrap();
            assert_eq!(found.as_ref(), Some(artifact.bytes()));
        }
        let list = HeatList::default().to_bytes(None).into();
        store.store_heat(&list).unwrap();
        assert_eq!(store.load_heat().unwrap(), Some(list));
        let index = store.load_all().unwrap();
        assert_eq!((index.entries.len(), index.rejected_count), (3, 0));
        let bytes: usize = sealed.iter().map(|artifact| artifact.bytes().len()).sum();
        assert_eq!(index.stored_bytes(), bytes as u64);
        assert!(store.delete(sealed[0].key()).unwrap());
        assert_eq!(store.load(sealed[0].key()).unwrap(), None);
        assert_eq!(store.clear().unwrap(), 2);
        assert_eq!(store.load_all().unwrap().entries, []);
        assert_eq!(store.load_heat().unwrap(), None);
        assert_eq!(store.clear().unwrap(), 0);
    });
}
