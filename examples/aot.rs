//! Compiles bytecodes ahead of time into a folder of artifacts, and looks after that folder.
//!
//! ```text
//! cargo run --release --example aot -- compile STORE BYTECODES [FORK]
//! cargo run --release --example aot -- list STORE
//! cargo run --release --example aot -- verify STORE
//! cargo run --release --example aot -- delete STORE HASH...
//! cargo run --release --example aot -- prune STORE
//! ```
//!
//! `BYTECODES` is a folder of files with runtime bytecode, as hexadecimal text or raw; `FORK` is
//! `OSAKA` unless given; `HASH` is a code hash or its beginning. `verify` checks all that loading
//! checks and loads each artifact; it ends with an error if one is refused. `prune` removes what
//! other builds of this program made.

use alloy_primitives::hex;
use revmc_jit::{
    Chain, RuntimeCacheKey,
    aot::{self, BuildOptions},
    artifact::{
        ArtifactError, ArtifactStore, BuildId, DirArtifactStore, DirOptions, IndexEntry,
        StoredArtifact, TrustedStore,
    },
    compiler::Tier,
    primitives::SpecId,
    trial,
};
use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

const USAGE: &str = "usage: aot compile STORE BYTECODES [FORK] | list STORE | verify STORE | \
                     delete STORE HASH... | prune STORE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["compile", store, folder] => compile(store, folder, "OSAKA"),
        ["compile", store, folder, fork] => compile(store, folder, fork),
        ["list", store] => list(store),
        ["verify", store] => verify(store),
        ["delete", store, ref hashes @ ..] if !hashes.is_empty() => delete(store, hashes),
        ["prune", store] => prune(store),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Opens a store that is there; only `compile` makes one.
fn existing(path: &str) -> Outcome<DirArtifactStore> {
    fs::symlink_metadata(path).map_err(|error| format!("{path}: {error}"))?;
    Ok(DirArtifactStore::open(path, DirOptions::default())?)
}

fn compile(store: &str, folder: &str, fork: &str) -> Outcome {
    let store = DirArtifactStore::open(store, DirOptions::default())?;
    let spec_id = (0..=SpecId::NEXT as u8)
        .filter_map(SpecId::try_from_u8)
        .find(|spec_id| format!("{spec_id:?}") == fork)
        .ok_or_else(|| format!("no fork is called {fork}"))?;
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|path| path.is_file());
    files.sort();

    let started = Instant::now();
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // Relaxed: only that each file is taken once matters.
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match compile_file(&store, file, spec_id) {
                        Ok(line) => println!("{line}"),
                        Err(error) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            println!("{}: {error}", file.display());
                        }
                    }
                }
            });
        }
    });
    let (elapsed, usage) = (started.elapsed(), store.usage());
    println!(
        "{} bytecodes in {elapsed:.2?} on {threads} threads; the store has {} artifacts, {} KiB",
        files.len(),
        usage.artifacts,
        usage.bytes >> 10
    );
    match failed.into_inner() {
        0 => Ok(()),
        failed => Err(format!("{failed} bytecodes were not compiled").into()),
    }
}

fn compile_file(store: &DirArtifactStore, file: &Path, spec_id: SpecId) -> Outcome<String> {
    let content = fs::read(file)?;
    let bytecode = match std::str::from_utf8(&content).map(|text| hex::decode(text.trim())) {
        Ok(Ok(bytecode)) => bytecode,
        _ => content,
    };
    let started = Instant::now();
    let options = BuildOptions {
        tier: Tier::Optimized,
        debug_assertions: false,
    };
    let (chain, trial) = (Chain::mainnet(), trial::Options::default());
    // Backends take only what was compared with the interpreter, unless they are told otherwise.
    let artifact = aot::make(
        &bytecode,
        spec_id,
        chain.rules(spec_id),
        options,
        Some(&trial),
    )?;
    let elapsed = started.elapsed();
    let stored = store.store(&artifact.seal(None)?)?.len;
    Ok(format!(
        "{}: {} {spec_id:?}, {} bytes, compiled and tried in {elapsed:.1?}, stored as {stored}",
        file.display(),
        artifact.manifest().code_hash,
        bytecode.len(),
    ))
}

fn list(store: &str) -> Outcome {
    let store = existing(store)?;
    let known = known()?;
    println!(
        "{:18} {:14} {:22} {:>8} {:>8} {:>8} {:>9}  verdict",
        "code hash", "fork", "options", "bytecode", "native", "stored", "used"
    );
    for_each(&store, |entry, artifact| {
        let verdict = artifact.as_ref().map_err(ToString::to_string);
        let verdict = verdict.and_then(|artifact| {
            if !known.iter().any(|(build, ..)| *build == entry.key.build) {
                return Err("another build's".into());
            }
            let manifest = &artifact.manifest;
            let verified = artifact.verify(entry.key.code_hash, &manifest.determinants);
            verified.map(drop).map_err(|error| error.to_string())
        });
        let fact = |name| {
            let artifact = artifact.as_ref().ok()?;
            artifact.manifest.determinants.get(name)
        };
        let (bytecode, native) = match &artifact {
            Ok(StoredArtifact { manifest, .. }) => (
                manifest.bytecode_len.to_string(),
                manifest.text_len.to_string(),
            ),
            Err(_) => Default::default(),
        };
        let age = entry
            .last_used
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        println!(
            "{:18} {:14} {:22} {bytecode:>8} {native:>8} {:>8} {:>9}  {}",
            &hex::encode_prefixed(entry.key.code_hash)[..18],
            fact("rules").unwrap_or_default(),
            fact("options").unwrap_or_default(),
            entry.stored_len,
            age.map_or_else(String::new, short),
            verdict.err().unwrap_or_else(|| "good".into()),
        );
    })
}

fn verify(store: &str) -> Outcome {
    let store = Arc::new(existing(store)?);
    let (trusted, known) = (TrustedStore::from(store.clone()), known()?);
    let chain = Chain::mainnet();
    let (mut good, mut refused, mut others) = (0, 0, 0);
    for entry in store.load_all()?.entries {
        let Some((_, spec_id, options)) = known.iter().find(|known| known.0 == entry.key.build)
        else {
            others += 1;
            continue;
        };
        let program = RuntimeCacheKey {
            code_hash: entry.key.code_hash,
            spec_id: *spec_id,
        };
        let rules = chain.rules(*spec_id);
        let loaded = aot::determinants(*spec_id, rules, *options)
            .and_then(|wanted| trusted.load(program.code_hash, &wanted))
            // What is gone since it was listed is not there.
            .and_then(|found| {
                found
                    .map(|it| aot::load(&it, program, rules, *options))
                    .transpose()
            });
        match loaded {
            Ok(_) => good += 1,
            Err(error) => {
                refused += 1;
                println!("{}: {error}", entry.key);
            }
        }
    }
    println!("{good} good, {refused} refused, {others} of other builds");
    if refused == 0 {
        Ok(())
    } else {
        Err("some artifacts were refused".into())
    }
}

/// What this program could have made.
fn known() -> Outcome<Vec<(BuildId, SpecId, BuildOptions)>> {
    let mut known = Vec::new();
    for tier in [Tier::Baseline, Tier::Optimized] {
        for debug_assertions in [false, true] {
            let options = BuildOptions {
                tier,
                debug_assertions,
            };
            let builds = aot::builds(&Chain::mainnet(), options)?.into_iter();
            known.extend(builds.map(|(spec_id, build)| (build, spec_id, options)));
        }
    }
    Ok(known)
}

fn delete(store: &str, hashes: &[&str]) -> Outcome {
    let store = existing(store)?;
    let index = store.load_all()?;
    for hash in hashes {
        let digits = hash.strip_prefix("0x").unwrap_or(hash).to_lowercase();
        let mut deleted = 0;
        for entry in &index.entries {
            if hex::encode(entry.key.code_hash).starts_with(&digits) {
                deleted += usize::from(store.delete(&entry.key)?);
            }
        }
        println!("{hash}: {deleted} deleted");
    }
    Ok(())
}

fn prune(store: &str) -> Outcome {
    let keep: Vec<_> = known()?.into_iter().map(|(build, ..)| build).collect();
    let removed = existing(store)?.prune(&keep)?;
    println!("{removed} artifacts of other builds removed");
    Ok(())
}

/// Reads every artifact, the one last used last, and names what is in the folder besides.
fn for_each(
    store: &DirArtifactStore,
    mut f: impl FnMut(&IndexEntry, Result<StoredArtifact, ArtifactError>),
) -> Outcome {
    let mut index = store.load_all()?;
    index.entries.sort_by_key(|entry| entry.last_used);
    for entry in &index.entries {
        // What is gone since it was listed is not there.
        if let Some(bytes) = store.load(&entry.key).transpose() {
            let artifact = bytes.and_then(|bytes| StoredArtifact::from_bytes(&bytes, None));
            f(entry, artifact);
        }
    }
    for rejected in index.rejected {
        println!("not used: {}", rejected.error);
    }
    println!(
        "{} artifacts, {} KiB",
        index.entries.len(),
        store.usage().bytes >> 10
    );
    Ok(())
}

fn short(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
