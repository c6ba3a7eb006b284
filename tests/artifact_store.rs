//! The directory store: durable, bounded, shared, and precise about what fails.
#![cfg(target_os = "linux")]

mod artifact_support;

use artifact_support::{
    Random, assemble, attempt, build_id, child, io_problem, names, program, read, role, sample,
    sealed, with_fact,
};
use revmc_jit::{
    artifact::{
        ArtifactError, ArtifactKey, ArtifactStore, DirArtifactStore, DirOptions, IoProblem,
        StoreUsage, StoredArtifact, TempArtifactStore,
    },
    compiler::Tier,
};
use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, SystemTime},
};

fn temp(options: DirOptions) -> TempArtifactStore {
    TempArtifactStore::new(options).unwrap()
}

#[test]
fn what_is_stored_comes_back() {
    let temporary = temp(DirOptions::default());
    let path = temporary.path().to_owned();
    let store: Arc<dyn ArtifactStore> = Arc::new(temporary);
    assert_eq!(store.load_all().unwrap().entries.len(), 0);
    let artifacts: Vec<_> = (0..5).map(|i| sample(i, 1000 * (i as usize + 1))).collect();
    for artifact in &artifacts {
        assert_eq!(read(&*store, &artifact.manifest.key()).unwrap(), None);
        store.store(&sealed(artifact)).unwrap();
        assert_eq!(
            read(&*store, &artifact.manifest.key()).unwrap().as_ref(),
            Some(artifact)
        );
    }
    // The same through another handle, as another process would.
    let other = DirArtifactStore::open(&path, DirOptions::default()).unwrap();
    let index = other.load_all().unwrap();
    assert_eq!(index.rejected_count, 0);
    let listed: HashSet<_> = index.entries.iter().map(|entry| entry.key).collect();
    assert_eq!(
        listed,
        artifacts
            .iter()
            .map(|artifact| artifact.manifest.key())
            .collect()
    );
    for entry in &index.entries {
        assert_eq!(
            entry.stored_len,
            fs::metadata(path.join(entry.key.file_name()))
                .unwrap()
                .len()
        );
        assert!(entry.last_used.is_some());
    }
    assert_eq!(
        other.usage(),
        StoreUsage {
            artifacts: 5,
            bytes: index.stored_bytes()
        }
    );

    let mut replacement = artifacts[0].clone();
    replacement.manifest.created += 1;
    store.store(&sealed(&replacement)).unwrap();
    assert_eq!(
        read(&other, &replacement.manifest.key()).unwrap(),
        Some(replacement.clone())
    );

    assert!(store.delete(&replacement.manifest.key()).unwrap());
    assert!(!store.delete(&replacement.manifest.key()).unwrap());
    assert_eq!(read(&other, &replacement.manifest.key()).unwrap(), None);
    assert_eq!(other.clear().unwrap(), 4);
    assert_eq!(names(&path), Vec::<String>::new());
    drop(store);
    assert!(!path.exists());
}

#[test]
fn loaded_programs_outlive_their_artifacts() {
    let store = temp(DirOptions::default());
    store.store(&sealed(&sample(1, 100))).unwrap();
    let loaded = attempt(&*store, program(1)).unwrap().unwrap();
    assert_eq!(loaded.key(), program(1));
    assert_eq!(
        (loaded.tier(), loaded.bytecode_len()),
        (Tier::Optimized, 100)
    );
    assert_eq!(store.clear().unwrap(), 1);
    assert!(attempt(&*store, program(1)).unwrap().is_none());
    // Its code stays mapped: a program that is used after the store was emptied does not crash.
    assert!(loaded.mapped_len() >= 100);
}

#[test]
fn other_builds_are_listed_and_pruned() {
    let store = temp(DirOptions::default());
    let current = sample(1, 100);
    let stale = with_fact(&current.manifest, "crate", "0.0.1");
    let stale = assemble(stale, &[0x0f; 100]);
    store.store(&sealed(&current)).unwrap();
    store.store(&sealed(&stale)).unwrap();
    assert_eq!(store.load_all().unwrap().entries.len(), 2);
    assert_eq!(store.prune(&[build_id()]).unwrap(), 1);
    assert!(attempt(&*store, program(1)).unwrap().is_some());
    assert_eq!(read(&*store, &stale.manifest.key()).unwrap(), None);
}

#[test]
fn bounds_hold() {
    let small = temp(DirOptions {
        max_artifact_bytes: 20_000,
        ..DirOptions::default()
    });
    let error = small.store(&sealed(&sample(1, 30_000))).unwrap_err();
    assert!(
        matches!(
            error,
            ArtifactError::TooLarge {
                what: "artifact",
                ..
            }
        ),
        "{error}"
    );
    // A file that grew beyond the bound is listed as such, and not read.
    small.store(&sealed(&sample(1, 100))).unwrap();
    let path = small.path().join(sample(1, 100).manifest.key().file_name());
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert!(matches!(
        attempt(&*small, program(1)),
        Err(ArtifactError::TooLarge { .. })
    ));
    let index = small.load_all().unwrap();
    assert!(matches!(
        index.rejected[0].error,
        ArtifactError::TooLarge { .. }
    ));

    let few = temp(DirOptions {
        max_artifacts: 2,
        ..DirOptions::default()
    });
    few.store(&sealed(&sample(1, 100))).unwrap();
    few.store(&sealed(&sample(2, 100))).unwrap();
    // There is room for a third one only if the first goes.
    let kept = few.store(&sealed(&sample(3, 100))).unwrap();
    assert_eq!(kept.removed, [sample(1, 100).manifest.key()]);
    few.store(&sealed(&sample(3, 200))).unwrap();
    assert_eq!(few.usage().artifacts, 2);
    // Room that another process makes is found.
    let other = DirArtifactStore::open(few.path(), DirOptions::default()).unwrap();
    assert!(other.delete(&sample(2, 100).manifest.key()).unwrap());
    let kept = few.store(&sealed(&sample(4, 100))).unwrap();
    assert_eq!(kept.removed, []);

    let len = sample(1, 100).to_bytes().unwrap().len() as u64;
    let tight = temp(DirOptions {
        max_total_bytes: 2 * len,
        ..DirOptions::default()
    });
    tight.store(&sealed(&sample(1, 100))).unwrap();
    tight.store(&sealed(&sample(2, 100))).unwrap();
    // What does not fit into the empty store is refused, and nothing goes for it.
    assert!(matches!(
        tight.store(&sealed(&sample(3, 30_000))),
        Err(ArtifactError::StoreFull { what: "bytes", .. })
    ));
    assert_eq!(
        tight.usage(),
        StoreUsage {
            artifacts: 2,
            bytes: 2 * len
        }
    );
    let kept = tight.store(&sealed(&sample(3, 100))).unwrap();
    assert_eq!(
        (kept.len, kept.removed),
        (len, vec![sample(1, 100).manifest.key()])
    );
}

/// What was loaded or stored longest ago goes first.
#[test]
fn a_full_store_drops_what_was_used_longest_ago() {
    let store = temp(DirOptions {
        max_artifacts: 10,
        recency: Duration::ZERO,
        ..DirOptions::default()
    });
    let path = |i| store.path().join(sample(i, 100).manifest.key().file_name());
    let age = |i, seconds| {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        let file = fs::File::options().write(true).open(path(i)).unwrap();
        file.set_modified(time).unwrap();
    };
    for i in 0..10 {
        store.store(&sealed(&sample(i, 100))).unwrap();
        age(i, 1000 - i);
    }
    // The two oldest are used: one by this process, one by another after this one has looked.
    assert!(attempt(&*store, program(0)).unwrap().is_some());
    store.load_all().unwrap();
    let other = DirArtifactStore::open(
        store.path(),
        DirOptions {
            recency: Duration::ZERO,
            ..DirOptions::default()
        },
    )
    .unwrap();
    assert!(attempt(&other, program(1)).unwrap().is_some());
    // The third was removed by another process, which nobody told this one.
    assert!(other.delete(&sample(2, 100).manifest.key()).unwrap());
    let mut gone = Vec::new();
    for i in 10..14 {
        gone.extend(store.store(&sealed(&sample(i, 100))).unwrap().removed);
    }
    assert_eq!(gone, [3, 4, 5].map(|i| sample(i, 100).manifest.key()));
    let present: Vec<_> = (0..14).filter(|i| path(*i).exists()).collect();
    assert_eq!(present, [0, 1, 6, 7, 8, 9, 10, 11, 12, 13]);
}

/// What is resident is not loaded again, however hot it is: the store is told.
#[test]
fn what_is_in_use_is_not_the_oldest() {
    let store = temp(DirOptions {
        max_artifacts: 4,
        ..DirOptions::default()
    });
    let key = |i| sample(i, 100).manifest.key();
    for i in 0..4 {
        store.store(&sealed(&sample(i, 100))).unwrap();
        let path = store.path().join(key(i).file_name());
        let file = fs::File::options().write(true).open(path).unwrap();
        let time = SystemTime::now() - Duration::from_secs(10_000 - i);
        file.set_modified(time).unwrap();
    }
    store.load_all().unwrap();
    // One that is not there is no error.
    store.renew(&[key(0), key(2), key(9)]).unwrap();
    let mut gone = Vec::new();
    for i in 4..6 {
        gone.extend(store.store(&sealed(&sample(i, 100))).unwrap().removed);
    }
    assert_eq!(gone, [key(1), key(3)]);
}

/// Loading renews the time of last use, but does not write each time.
#[test]
fn the_time_of_use_is_renewed_when_it_is_old() {
    let store = temp(DirOptions::default());
    store.store(&sealed(&sample(1, 100))).unwrap();
    let path = store.path().join(sample(1, 100).manifest.key().file_name());
    let used = || fs::metadata(&path).unwrap().modified().unwrap();
    let set = |time| {
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
    };
    let now = SystemTime::now();
    for (time, is_renewed) in [
        (now - Duration::from_secs(10), false),
        (now - Duration::from_secs(10_000), true),
        // The clock was put back.
        (now + Duration::from_secs(10_000), true),
    ] {
        set(time);
        let before = used();
        assert!(attempt(&*store, program(1)).unwrap().is_some());
        assert_eq!(used() != before, is_renewed);
    }
}

/// Without ever having listed the folder, a store finds out that it is full, and no single call
/// looks at more than a part of it.
#[test]
fn a_folder_is_counted_bit_by_bit() {
    const FILES: usize = 500;
    let store = temp(DirOptions {
        max_artifacts: FILES,
        ..DirOptions::default()
    });
    let build = build_id();
    for i in 0..FILES as u64 {
        let key = ArtifactKey::new(program(1_000 + i).code_hash, build);
        fs::write(store.path().join(key.file_name()), [0; 100]).unwrap();
    }
    let mut stored = 0;
    while store.usage() == StoreUsage::default() {
        store.store(&sealed(&sample(stored, 100))).unwrap();
        stored += 1;
        assert!(stored < 100, "the end of the folder was never reached");
    }
    assert!(stored > 5, "the whole folder was read at once");
    let removed: usize = (stored..stored + 60)
        .map(|i| store.store(&sealed(&sample(i, 100))).unwrap().removed.len())
        .sum();
    assert!(removed >= 50, "{removed}");
    assert!(names(store.path()).len() <= FILES + 2 * stored as usize);
}

/// Several processes' worth of handles fill one folder: nothing fails, and the bound holds.
#[test]
fn a_full_folder_is_shared() {
    const FILES: usize = 60;
    let options = DirOptions {
        max_artifacts: FILES,
        ..DirOptions::default()
    };
    let store = temp(options.clone());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (path, options) = (store.path(), options.clone());
            scope.spawn(move || {
                let own = DirArtifactStore::open(path, options).unwrap();
                for i in 0..60 {
                    own.store(&sealed(&sample(1000 * thread + i, 100))).unwrap();
                    attempt(&own, program(1000 * thread + i / 2)).unwrap();
                }
            });
        }
    });
    // Each handle may be a round behind the three others.
    let files = names(store.path()).len();
    assert!((FILES / 4..=FILES * 3 / 2).contains(&files), "{files}");
    // One alone keeps the bound.
    for i in 9_000..9_010 {
        store.store(&sealed(&sample(i, 100))).unwrap();
    }
    assert!(names(store.path()).len() <= FILES);
    assert_eq!(store.load_all().unwrap().rejected_count, 0);
}

#[test]
fn a_vanished_file_is_absent_and_a_vanished_folder_an_error() {
    let store = temp(DirOptions::default());
    store.store(&sealed(&sample(1, 100))).unwrap();
    assert_eq!(store.load_all().unwrap().entries.len(), 1);
    fs::remove_file(store.path().join(sample(1, 100).manifest.key().file_name())).unwrap();
    assert!(attempt(&*store, program(1)).unwrap().is_none());

    fs::remove_dir(store.path()).unwrap();
    assert_eq!(
        io_problem(store.store(&sealed(&sample(1, 100)))),
        IoProblem::Vanished
    );
    assert!(attempt(&*store, program(1)).unwrap().is_none());
    let missing = store.path().join("below");
    assert_eq!(
        io_problem(DirArtifactStore::open(missing, DirOptions::default())),
        IoProblem::Vanished
    );
}

#[test]
fn leftovers_go_when_their_writer_is_dead() {
    let store = temp(DirOptions {
        leftover_age: Duration::from_secs(60),
        ..DirOptions::default()
    });
    let make = |name: &str, age: u64| {
        let file = fs::File::create_new(store.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age))
            .unwrap();
        file
    };
    drop(make(".store-dead", 100));
    drop(make(".store-young", 1));
    let writing = make(".store-writing", 100);
    writing.lock().unwrap();
    store.load_all().unwrap();
    let mut left = names(store.path());
    left.sort();
    assert_eq!(left, [".store-writing", ".store-young"]);
    drop(writing);
    store.clear().unwrap();
    assert_eq!(names(store.path()), [".store-young"]);
}

#[test]
fn threads_and_handles_share_a_folder() {
    let store = temp(DirOptions::default());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let path = store.path();
            scope.spawn(move || {
                let own = DirArtifactStore::open(path, DirOptions::default()).unwrap();
                let mut random = Random::new(thread);
                for _ in 0..40 {
                    let seed = random.next() % 5;
                    match random.next() % 4 {
                        0 => drop(own.delete(&sample(seed, 100).manifest.key()).unwrap()),
                        1 => drop(own.load_all().unwrap()),
                        2 => drop(attempt(&own, program(seed)).unwrap()),
                        _ => drop(
                            own.store(&sealed(&sample(seed, 100 + random.below(9000))))
                                .unwrap(),
                        ),
                    }
                }
            });
        }
    });
    let index = store.load_all().unwrap();
    assert_eq!(index.rejected_count, 0);
    for entry in index.entries {
        let artifact = read(&*store, &entry.key).unwrap().unwrap();
        artifact
            .verify(entry.key.code_hash, &artifact.manifest.determinants)
            .unwrap();
    }
}

/// Kills processes that store in a loop. `REVMC_JIT_KILL_ROUNDS` sets how often.
#[test]
fn killed_writers_leave_whole_artifacts() {
    if let Some(folder) = role() {
        return store_for_ever(&folder);
    }
    let rounds = std::env::var("REVMC_JIT_KILL_ROUNDS").map_or(24, |n| n.parse().unwrap());
    let store = temp(DirOptions {
        leftover_age: Duration::ZERO,
        ..DirOptions::default()
    });
    // Two versions of each artifact, which the children store in turn.
    let mut random = Random::new(7);
    let versions: Vec<_> = (0..16)
        .map(|i| sample(i % 8, 100 + random.below(400_000)))
        .collect();
    let templates = store.path().with_extension("templates");
    fs::create_dir(&templates).unwrap();
    for (i, artifact) in versions.iter().enumerate() {
        fs::write(templates.join(i.to_string()), artifact.to_bytes().unwrap()).unwrap();
    }
    let (mut leftovers, mut whole) = (0, 0);
    for round in 0..rounds {
        let mut children: Vec<_> = (0..1 + round % 2)
            .map(|_| {
                let mut command = child("killed_writers_leave_whole_artifacts", store.path());
                let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
                let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
                // The test harness speaks first.
                assert!(
                    lines.any(|line| line.unwrap().ends_with("storing")),
                    "the child died"
                );
                child
            })
            .collect();
        std::thread::sleep(Duration::from_micros(random.next() % 30_000));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        leftovers += names(store.path())
            .iter()
            .filter(|name| name.starts_with(".store-"))
            .count();
        let index = store.load_all().unwrap();
        assert_eq!(index.rejected_count, 0, "{:?}", index.rejected);
        for entry in &index.entries {
            let artifact = read(&*store, &entry.key).unwrap().unwrap();
            assert!(versions.contains(&artifact), "round {round}: {}", entry.key);
            whole += 1;
        }
        assert!(
            names(store.path())
                .iter()
                .all(|name| name.ends_with(".aot"))
        );
    }
    for artifact in &versions {
        let manifest = &artifact.manifest;
        artifact
            .verify(manifest.code_hash, &manifest.determinants)
            .unwrap();
    }
    fs::remove_dir_all(templates).unwrap();
    println!("{rounds} rounds, {leftovers} kills inside a store, {whole} whole artifacts found");
}

fn store_for_ever(folder: &Path) {
    let store = DirArtifactStore::open(folder, DirOptions::default()).unwrap();
    let versions: Vec<_> = fs::read_dir(folder.with_extension("templates"))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap().into())
        .map(|bytes| StoredArtifact::from_bytes(&bytes, None).unwrap())
        .collect();
    let mut random = Random::new(std::process::id().into());
    println!("storing");
    loop {
        let artifact = &versions[random.below(versions.len())];
        // The parent removes leftovers at once, also a living writer's that has not locked its
        // file yet; the store then begins again.
        match store.store(&sealed(artifact)) {
            Ok(_)
            | Err(ArtifactError::Io {
                problem: IoProblem::Vanished,
                ..
            }) => {}
            Err(error) => panic!("{error}"),
        }
        if random.below(16) == 0 {
            store.delete(&artifact.manifest.key()).unwrap();
        }
    }
}

#[test]
fn keys_name_one_file_each() {
    let build = build_id();
    let names: HashSet<_> = (0..100)
        .map(|i| ArtifactKey::new(program(i).code_hash, build).file_name())
        .collect();
    assert_eq!(names.len(), 100);
}
