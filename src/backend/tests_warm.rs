//! The warm start, job by job.

use super::{
    answers::Verdict,
    job::Job,
    testing::{Bench, Gate, With, contract, page, tuning},
};
use crate::{
    artifact::{ArtifactError, AuthenticationProblem, DirOptions, TempArtifactStore},
    config::{RuntimeConfig, RuntimeTuning},
    error::{Error, Result, StoreError},
    event::CompilationKind,
    key::RuntimeCacheKey,
    program::{CompiledProgram, ProgramKind},
    resident::Lookup,
};
use alloy_primitives::Bytes;
use std::sync::{Mutex, mpsc::channel};

type Contract = (RuntimeCacheKey, Bytes);

fn config() -> RuntimeConfig {
    RuntimeConfig {
        tuning: RuntimeTuning {
            warm_start_programs: 100,
            ..tuning()
        },
        store: Some(
            TempArtifactStore::new(DirOptions::default())
                .unwrap()
                .into(),
        ),
        ..RuntimeConfig::default()
    }
}

/// Artifacts of these contracts are in the store, and were hot: the first most.
fn begin(bench: &mut Bench, contracts: &[Contract]) {
    for (key, _) in contracts {
        bench.runtime.index.insert(*key, 100);
        bench.runtime.vacate(key);
    }
    let heats = (0..contracts.len() as u32).rev();
    let list = contracts.iter().map(|(key, _)| *key).zip(heats);
    bench.runtime.begin_warm_start(list.collect());
}

/// Handles outcomes until so many have come.
fn settle(bench: &mut Bench, succeeded: u64, failed: u64) {
    while (bench.stats().succeeded, bench.stats().failed) != (succeeded, failed) {
        bench.settle();
    }
}

#[test]
fn the_hottest_are_loaded_one_after_the_other() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::with_config(config(), compiler);
    let contracts = [3, 1, 2].map(contract);
    begin(&mut bench, &contracts);
    for (n, (key, _)) in (1..).zip(&contracts) {
        let job = gate.entered.recv().unwrap();
        assert_eq!((job.key, job.kind), (*key, CompilationKind::Load));
        assert_eq!(bench.stats().dispatched, n);
        gate.release.send(()).unwrap();
        settle(&mut bench, n, 0);
    }
    assert!(contracts.iter().all(|contract| bench.is_resident(contract)));
    let stats = bench.stats();
    assert_eq!((stats.warm_loaded, stats.artifacts_loaded), (3, 3));
}

#[test]
fn who_misses_a_program_takes_its_load_over() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::with_config(config(), compiler);
    let occupied = bench.ask(&contract(0));
    gate.entered.recv().unwrap();
    let contracts = [1, 2].map(contract);
    begin(&mut bench, &contracts);
    // Another's miss does not wait for a load that nobody has missed, nor does its own.
    bench.observe(&contract(3));
    gate.release.send(()).unwrap();
    assert_eq!(gate.entered.recv().unwrap().key, contract(3).0);
    settle(&mut bench, 1, 0);
    assert_eq!(occupied.wait(), Ok(()));
    bench.observe(&contract(4));
    bench.observe(&contracts[0]);
    assert_eq!((bench.stats().joined, bench.stats().dispatched), (1, 4));
    // Loading costs less than compiling.
    for next in [contracts[0].0, contract(4).0, contracts[1].0] {
        gate.release.send(()).unwrap();
        let ended = bench.stats().succeeded;
        settle(&mut bench, ended + 1, 0);
        assert_eq!(gate.entered.recv().unwrap().key, next);
    }
    gate.release.send(()).unwrap();
    settle(&mut bench, 5, 0);
    // Only the second one was loaded for nobody.
    let stats = bench.stats();
    assert_eq!((stats.warm_loaded, stats.artifacts_loaded), (1, 2));
}

#[test]
fn half_of_the_workers_are_left_to_others() {
    let (log, entered) = channel();
    let (release, wait) = channel::<()>();
    let (log, wait) = (Mutex::new(log), Mutex::new(wait));
    let mut config = config();
    config.tuning.jit_worker_count = 4;
    let mut bench = Bench::with_config(
        config,
        With(move |job: &Job| {
            log.lock().unwrap().send(job.key).unwrap();
            if job.kind == CompilationKind::Load {
                let _ = wait.lock().unwrap().recv();
            }
            page(job)
        }),
    );
    begin(&mut bench, &[1, 2, 3, 4].map(contract));
    assert_eq!(bench.stats().dispatched, 2);
    let both = [entered.recv().unwrap(), entered.recv().unwrap()];
    assert!(both.contains(&contract(1).0) && both.contains(&contract(2).0));
    // The store does not come back; what is compiled does.
    for n in 5..10 {
        bench.observe(&contract(n));
        settle(&mut bench, u64::from(n - 4), 0);
        bench.pass(1);
    }
    assert_eq!(bench.stats().dispatched, 7);
    drop(release);
    settle(&mut bench, 9, 0);
    assert_eq!(bench.stats().warm_loaded, 4);
}

/// Fails to load: contract 1 and 3 are refused, 2 is gone, the store fails from 5 on.
fn failing(job: &Job) -> Result<CompiledProgram> {
    let wrong = ArtifactError::Authentication(AuthenticationProblem::Wrong);
    let number = (1..10).find(|n| contract(*n).0 == job.key);
    match number {
        _ if job.kind != CompilationKind::Load => page(job),
        Some(1 | 3) => Err(Error::Artifact(StoreError::from(wrong))),
        Some(2) => Err(Error::ArtifactGone(job.key)),
        Some(4) => page(job),
        _ => Err(Error::Artifact(StoreError::from(
            ArtifactError::StoreSilent,
        ))),
    }
}

#[test]
fn what_cannot_be_loaded_is_left_until_somebody_misses_it() {
    let mut bench = Bench::with_config(config(), With(failing));
    let contracts = [1, 2, 3, 4, 5, 6].map(contract);
    begin(&mut bench, &contracts);
    settle(&mut bench, 1, 4);
    // A store that fails once is not asked for the next one.
    bench.pass(1);
    let stats = bench.stats();
    assert_eq!((stats.dispatched, stats.pending_jobs), (5, 0));
    assert!(bench.is_resident(&contracts[3]));
    // The refused ones are forgotten; what the store may have another time is not.
    let verdicts = [0, 1, 2, 4, 5].map(|i| bench.verdict(&contracts[i]));
    let indexed = Some(Verdict::Indexed);
    assert_eq!(verdicts, [None, None, None, indexed, indexed]);
    // A miss has its code compiled, whether it is asked for again or not.
    for i in [0, 4] {
        bench.observe(&contracts[i]);
        while !bench.is_resident(&contracts[i]) {
            bench.settle();
        }
    }
}

#[test]
fn a_miss_during_a_load_that_fails_is_compiled() {
    let (gate, pass) = Gate::before();
    let compiler = With(move |job: &Job| pass(job).and_then(|()| failing(job)));
    let mut bench = Bench::with_config(config(), compiler);
    begin(&mut bench, &[contract(1)]);
    assert_eq!(gate.entered.recv().unwrap().kind, CompilationKind::Load);
    bench.observe(&contract(1));
    gate.release.send(()).unwrap();
    settle(&mut bench, 0, 1);
    assert_eq!(gate.entered.recv().unwrap().kind, CompilationKind::Jit);
    gate.release.send(()).unwrap();
    settle(&mut bench, 1, 1);
    assert!(bench.is_resident(&contract(1)));
    assert_eq!(bench.stats().warm_loaded, 0);
}

#[test]
fn a_miss_with_other_code_than_its_keys_takes_nothing_over() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::with_config(config(), compiler);
    begin(&mut bench, &[contract(1)]);
    gate.entered.recv().unwrap();
    bench.observe(&(contract(1).0, contract(2).1));
    assert_eq!(bench.stats().hash_mismatches, 1);
    gate.release.send(()).unwrap();
    settle(&mut bench, 1, 0);
    assert_eq!(bench.stats().warm_loaded, 1);
}

#[test]
fn a_clear_ends_it() {
    let (gate, compiler) = Gate::new();
    let mut bench = Bench::with_config(config(), compiler);
    let contracts = [1, 2, 3].map(contract);
    begin(&mut bench, &contracts);
    gate.entered.recv().unwrap();
    bench.clear();
    gate.release.send(()).unwrap();
    // The next one that a worker enters is asked for.
    let asked = bench.ask(&contract(9));
    assert_eq!(gate.entered.recv().unwrap().key, contract(9).0);
    gate.release.send(()).unwrap();
    settle(&mut bench, 1, 0);
    assert_eq!(asked.wait(), Ok(()));
    bench.pass(3);
    assert_eq!(bench.stats().dispatched, 2);
    assert!(!contracts.iter().any(|contract| bench.is_resident(contract)));
    assert!(matches!(
        bench.get(&contracts[0]),
        Lookup::Negative(Verdict::Indexed)
    ));
}

#[test]
fn no_more_is_loaded_than_time_number_and_room_allow() {
    let loaded = |change: fn(&mut RuntimeTuning), ticks| {
        let mut config = config();
        change(&mut config.tuning);
        let artifact = |job: &Job| Ok(page(job)?.said_to_be(ProgramKind::Aot));
        let mut bench = Bench::with_config(config, With(artifact));
        begin(&mut bench, &[1, 2, 3, 4].map(contract));
        // One is handed out at once; before each that follows, time passes.
        let mut ended = 0;
        while bench.stats().dispatched > ended {
            bench.pass(ticks);
            ended += 1;
            settle(&mut bench, ended, 0);
        }
        bench.stats().warm_loaded
    };
    assert_eq!(loaded(|_| {}, 0), 4);
    assert_eq!(loaded(|t| t.warm_start_programs = 3, 0), 3);
    let for_ten_ticks = |t: &mut RuntimeTuning| t.warm_start_time = t.tick_interval * 10;
    assert_eq!(loaded(for_ten_ticks, 6), 2);
    // Seven eighths are full with three pages.
    assert_eq!(loaded(|t| t.aot_code_cache_bytes = 12_800, 0), 3);
}
