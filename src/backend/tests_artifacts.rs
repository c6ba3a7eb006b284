//! The backend and its store: one compilation for program and artifact, and what is told to the store.

use super::{
    answers::Verdict,
    compile::{Compiler, Engine},
    job::{Job, Made},
    testing::{Bench, Gate, With, contract, page, tuning},
};
use crate::{
    artifact::{
        ArtifactError, ArtifactIndex, ArtifactKey, ArtifactStore, DirOptions, SealedArtifact,
        Stored, TempArtifactStore, TrustedStore,
    },
    config::{RuntimeConfig, RuntimeTuning},
    error::{Error, Result},
    event::CompilationKind,
};
use alloy_primitives::Bytes;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

/// The engine, after something of the test's.
struct Keeps<F>(F, Engine);

impl<F: Fn(&Job) + Send + Sync + 'static> Compiler for Keeps<F> {
    fn compile(&self, job: &Job) -> Result<Made> {
        (self.0)(job);
        self.1.compile(job)
    }
}

fn configured(tuning: RuntimeTuning) -> RuntimeConfig {
    let store = TempArtifactStore::new(DirOptions::default()).unwrap();
    RuntimeConfig {
        tuning,
        store: Some(store.into()),
        ..RuntimeConfig::default()
    }
}

/// A backend thread's state with a store.
fn with_store(tuning: RuntimeTuning, before: impl Fn(&Job) + Send + Sync + 'static) -> Bench {
    Bench::with_engine(configured(tuning), |engine| Keeps(before, engine))
}

#[cfg(target_os = "linux")]
#[test]
fn program_and_artifact_are_one_compilation_whoever_comes_first() {
    let (gate, pass) = Gate::before();
    let mut bench = with_store(tuning(), move |job: &Job| pass(job).unwrap());
    let occupied = bench.ask(&contract(0));
    gate.entered.recv().unwrap();
    // The program is wanted, then the artifact too; and the other way round.
    let program = bench.ask(&contract(1));
    bench.observe(&contract(1));
    let artifact = bench.prepare(&contract(1));
    let other_artifact = bench.prepare(&contract(2));
    let other_program = bench.ask(&contract(2));
    bench.runtime.settle();
    assert_eq!(bench.stats().pending_jobs, 3);
    for _ in 0..3 {
        gate.release.send(()).unwrap();
    }
    // Three outcomes, and two artifacts that are stored.
    for _ in 0..5 {
        bench.settle();
    }
    for answer in [occupied, program, artifact, other_artifact, other_program] {
        assert_eq!(answer.wait(), Ok(()));
    }
    let compiled = gate.entered.try_iter().map(|job| (job.key, job.kind));
    let compiled: Vec<_> = compiled.collect();
    let aot = CompilationKind::Aot;
    assert_eq!(compiled, [(contract(1).0, aot), (contract(2).0, aot)]);
    assert_eq!(bench.stats().artifacts_stored, 2);
}

#[cfg(target_os = "linux")]
#[test]
fn an_artifact_of_a_job_that_was_given_up_counts() {
    let tuning = RuntimeTuning {
        job_abandon_after: Duration::from_millis(20),
        ..tuning()
    };
    let release = Arc::new(AtomicBool::new(false));
    let released = release.clone();
    let mut bench = with_store(tuning, move |_: &Job| while !released.load(Relaxed) {});
    let answer = bench.prepare(&contract(1));
    while bench.stats().abandoned == 0 {
        bench.pass(1);
        thread::yield_now();
    }
    assert!(matches!(answer.wait(), Err(Error::Abandoned(_))));
    release.store(true, Relaxed);
    // The outcome, which nobody waits for, and the artifact.
    bench.settle();
    bench.settle();
    let stats = bench.stats();
    assert_eq!((stats.artifacts_stored, stats.artifacts_indexed), (1, 1));
    assert!(stats.artifact_bytes > 0);
    assert_eq!(bench.verdict(&contract(1)), Some(Verdict::Indexed));
}

#[cfg(target_os = "linux")]
#[test]
fn the_end_of_a_rest_forgets_no_artifact() {
    let mut bench = Bench::with_config(
        configured(tuning()),
        With(|job: &Job| match job.kind {
            CompilationKind::Jit => Err(Error::Panicked("no".into())),
            _ => page(job),
        }),
    );
    bench.observe(&contract(1));
    bench.settle();
    assert_eq!(bench.verdict(&contract(1)), Some(Verdict::Failed));
    // Another backend of the process, say, has stored it meanwhile.
    bench.runtime.index.insert(contract(1).0, 100);
    bench.pass(11);
    assert_eq!(bench.stats().retries, 1);
    assert_eq!(bench.verdict(&contract(1)), Some(Verdict::Indexed));
}

/// A store that keeps nothing, and notes what is said to be in use.
#[derive(Debug)]
struct Renewed(Mutex<Sender<Vec<ArtifactKey>>>);

impl ArtifactStore for Renewed {
    fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
        Ok(ArtifactIndex::default())
    }

    fn load(&self, _: &ArtifactKey) -> Result<Option<Bytes>, ArtifactError> {
        Ok(None)
    }

    fn store(&self, _: &SealedArtifact) -> Result<Stored, ArtifactError> {
        Ok(Stored::default())
    }

    fn renew(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactError> {
        self.0.lock().unwrap().send(keys.to_vec()).unwrap();
        Ok(())
    }

    fn delete(&self, _: &ArtifactKey) -> Result<bool, ArtifactError> {
        Ok(false)
    }

    fn clear(&self) -> Result<usize, ArtifactError> {
        Ok(0)
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_resident_and_used_is_in_use_for_the_store() {
    let (told, is_told) = channel();
    let store = Arc::new(Renewed(Mutex::new(told)));
    let mut config = configured(tuning());
    // SAFETY: T2.
    config.store = Some(unsafe { TrustedStore::promised(store) });
    let mut bench = Bench::with_engine(config, |engine| engine);
    for n in 1..=3 {
        let answer = bench.prepare(&contract(n));
        bench.settle();
        bench.settle();
        assert_eq!(answer.wait(), Ok(()));
    }
    bench.pass(599);
    assert!(is_told.try_recv().is_err());
    let hashes = |keys: Vec<ArtifactKey>| {
        let mut hashes: Vec<_> = keys.iter().map(|key| key.code_hash).collect();
        hashes.sort_unstable();
        hashes
    };
    let of = |numbers: &[u32]| {
        let mut hashes: Vec<_> = numbers.iter().map(|n| contract(*n).0.code_hash).collect();
        hashes.sort_unstable();
        hashes
    };
    // All are new.
    bench.pass(1);
    assert_eq!(hashes(is_told.recv().unwrap()), of(&[1, 2, 3]));
    // Of the next ten minutes only what was used in them, however long before their end.
    bench.pass(1);
    for n in [1, 3] {
        assert!(bench.get(&contract(n)).hit().is_some());
    }
    bench.pass(599);
    assert_eq!(hashes(is_told.recv().unwrap()), of(&[1, 3]));
    // And of none the store is told nothing.
    bench.pass(600);
    assert!(is_told.try_recv().is_err());
}
