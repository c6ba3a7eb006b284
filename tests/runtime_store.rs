//! The runtime with a store that fails, lies, dawdles or holds damaged artifacts: it counts, says
//! so, and goes on without.

mod runtime_support;

use revmc::primitives::U256;
use revmc_jit::artifact::{
    ArtifactError, ArtifactIndex, ArtifactKey, ArtifactStore, DirOptions, StoredArtifact,
    TempArtifactStore,
};
use revmc_jit::{AotRequest, CompilationEvent, Error, JitBackend, ProgramKind, RuntimeConfig};
use runtime_support::{config, contract, eventually, request, run};
use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

fn aot(n: u32) -> AotRequest {
    let (key, code) = contract(n);
    AotRequest {
        code_hash: key.code_hash,
        code,
        spec_id: key.spec_id,
    }
}

fn with_store(store: Arc<dyn ArtifactStore>) -> RuntimeConfig {
    RuntimeConfig {
        store: Some(store),
        ..config()
    }
}

fn disk_full() -> ArtifactError {
    ArtifactError::StoreFull {
        what: "bytes",
        limit: 0,
    }
}

/// A store of which nothing works.
#[derive(Debug)]
struct Broken;

impl ArtifactStore for Broken {
    fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
        Err(disk_full())
    }
    fn load(&self, _: &ArtifactKey) -> Result<Option<StoredArtifact>, ArtifactError> {
        Err(disk_full())
    }
    fn store(&self, _: &StoredArtifact) -> Result<u64, ArtifactError> {
        Err(disk_full())
    }
    fn delete(&self, _: &ArtifactKey) -> Result<bool, ArtifactError> {
        Err(disk_full())
    }
    fn clear(&self) -> Result<usize, ArtifactError> {
        Err(disk_full())
    }
}

#[test]
fn a_store_that_fails_is_done_without() {
    let events: Arc<Mutex<Vec<CompilationEvent>>> = Arc::default();
    let log = Arc::clone(&events);
    let backend = JitBackend::new(RuntimeConfig {
        aot: true,
        on_compilation: Some(Arc::new(move |event: &CompilationEvent| {
            log.lock().unwrap().push(event.clone())
        })),
        ..with_store(Arc::new(Broken))
    })
    .unwrap();
    assert_eq!(backend.stats().store_errors, 1);
    // What could not be stored runs all the same.
    let program = backend.lookup_blocking(request(1)).program().unwrap();
    assert_eq!(program.kind, ProgramKind::Jit);
    assert_eq!(run(&program, &contract(1).1), U256::from(1));
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

#[test]
fn a_damaged_artifact_is_refused_and_compiled_afresh() {
    let store = Arc::new(TempArtifactStore::new(DirOptions::default()).unwrap());
    let backend = JitBackend::new(with_store(store.clone())).unwrap();
    backend.prepare_aot(aot(1));
    backend.prepare_aot(aot(2));
    eventually(&backend, |stats| stats.published == 2);
    drop(backend);
    let mut damaged = 0;
    for file in fs::read_dir(store.path()).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        damaged += 1;
    }
    assert_eq!(damaged, 2);
    let backend = JitBackend::new(with_store(store.clone())).unwrap();
    for n in [1, 2] {
        let program = backend.lookup_blocking(request(n)).program().unwrap();
        assert_eq!(program.kind, ProgramKind::Jit);
        assert_eq!(run(&program, &contract(n).1), U256::from(n));
    }
    let stats = backend.stats();
    assert_eq!((stats.artifacts_rejected, stats.artifacts_loaded), (2, 0));
    assert_eq!(stats.artifacts_indexed, 0);
    assert!(backend.last_store_error().is_some());
    // Nobody else has to find out again.
    assert_eq!(store.load_all().unwrap().entries, []);
}

/// A store whose artifacts are refused for a reason that does not lie in them.
#[derive(Debug)]
struct Refusing(TempArtifactStore);

impl ArtifactStore for Refusing {
    fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
        self.0.load_all()
    }
    fn load(&self, _: &ArtifactKey) -> Result<Option<StoredArtifact>, ArtifactError> {
        Err(ArtifactError::CpuFeature {
            missing: "avx1024".into(),
        })
    }
    fn store(&self, artifact: &StoredArtifact) -> Result<u64, ArtifactError> {
        self.0.store(artifact)
    }
    fn delete(&self, key: &ArtifactKey) -> Result<bool, ArtifactError> {
        self.0.delete(key)
    }
    fn clear(&self) -> Result<usize, ArtifactError> {
        self.0.clear()
    }
}

#[test]
fn an_artifact_for_another_machine_is_left_to_it() {
    let store = TempArtifactStore::new(DirOptions::default()).unwrap();
    let store = Arc::new(Refusing(store));
    let backend = JitBackend::new(with_store(store.clone())).unwrap();
    backend.prepare_aot(aot(1));
    eventually(&backend, |stats| stats.published == 1);
    backend.clear_resident().unwrap();
    let program = backend.lookup_blocking(request(1)).program().unwrap();
    assert_eq!(program.kind, ProgramKind::Jit);
    assert_eq!(backend.stats().artifacts_rejected, 1);
    assert_eq!(store.load_all().unwrap().entries.len(), 1);
}

#[test]
fn an_artifact_that_vanished_is_compiled_afresh() {
    let store = Arc::new(TempArtifactStore::new(DirOptions::default()).unwrap());
    let backend = JitBackend::new(with_store(store.clone())).unwrap();
    backend.prepare_aot(aot(1));
    eventually(&backend, |stats| stats.published == 1);
    backend.clear_resident().unwrap();
    store.clear().unwrap(); // another process, say
    let program = backend.lookup_blocking(request(1)).program().unwrap();
    assert_eq!(program.kind, ProgramKind::Jit);
    assert_eq!(backend.stats().artifacts_indexed, 0);
}

/// A store whose `store` says that it was entered and waits to be told to go on.
#[derive(Debug)]
struct Slow {
    inner: TempArtifactStore,
    entered: Mutex<Sender<()>>,
    release: Mutex<Receiver<()>>,
}

impl ArtifactStore for Slow {
    fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
        self.inner.load_all()
    }
    fn load(&self, key: &ArtifactKey) -> Result<Option<StoredArtifact>, ArtifactError> {
        self.inner.load(key)
    }
    fn store(&self, artifact: &StoredArtifact) -> Result<u64, ArtifactError> {
        self.entered.lock().unwrap().send(()).unwrap();
        let _ = self.release.lock().unwrap().recv();
        self.inner.store(artifact)
    }
    fn delete(&self, key: &ArtifactKey) -> Result<bool, ArtifactError> {
        self.inner.delete(key)
    }
    fn clear(&self) -> Result<usize, ArtifactError> {
        self.inner.clear()
    }
}

/// The clear comes while the worker is writing the file, and another artifact waits its turn.
#[test]
fn a_clear_takes_what_is_being_stored_and_what_waits() {
    let (entered, is_entered) = channel();
    let (release, wait) = channel();
    let store = Arc::new(Slow {
        inner: TempArtifactStore::new(DirOptions::default()).unwrap(),
        entered: Mutex::new(entered),
        release: Mutex::new(wait),
    });
    let backend = JitBackend::new(with_store(store.clone())).unwrap();
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
    let (entered, is_entered) = channel();
    let (release, wait) = channel();
    let store = Arc::new(Slow {
        inner: TempArtifactStore::new(DirOptions::default()).unwrap(),
        entered: Mutex::new(entered),
        release: Mutex::new(wait),
    });
    let backend = JitBackend::new(with_store(store)).unwrap();
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
    #[derive(Debug)]
    struct Panics;
    impl ArtifactStore for Panics {
        fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
            Ok(ArtifactIndex::default())
        }
        fn load(&self, _: &ArtifactKey) -> Result<Option<StoredArtifact>, ArtifactError> {
            panic!("a bug in the store")
        }
        fn store(&self, _: &StoredArtifact) -> Result<u64, ArtifactError> {
            panic!("a bug in the store")
        }
        fn delete(&self, _: &ArtifactKey) -> Result<bool, ArtifactError> {
            Ok(false)
        }
        fn clear(&self) -> Result<usize, ArtifactError> {
            Ok(0)
        }
    }
    let backend = JitBackend::new(with_store(Arc::new(Panics))).unwrap();
    backend.prepare_aot(aot(1));
    eventually(&backend, |stats| stats.store_errors == 1);
    // Neither the compiler nor the key is to blame: the program serves this process.
    assert_eq!((backend.stats().panicked, backend.stats().failed), (0, 0));
    assert!(backend.lookup_blocking(request(1)).program().is_some());
    assert_eq!(backend.clear_persisted(), Ok(()));
}
