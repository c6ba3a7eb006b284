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

use alloy_primitives::{hex, keccak256};
use revmc_jit::{
    Chain, RuntimeCacheKey,
    artifact::{
        self, ArtifactError, ArtifactStore, BuildId, BuildOptions, DirArtifactStore, DirOptions,
        Environment, IndexEntry, StoredArtifact,
    },
    compiler::{self, CompileOptions, Tier},
    primitives::SpecId,
};
use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
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
    let spec_id = forks()
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
    let options = CompileOptions {
        tier: Tier::Optimized,
        ..CompileOptions::default()
    };
    let chain = Chain::mainnet();
    let rules = chain.rules(spec_id);
    let code = compiler::compile(&bytecode, rules, &options)?;
    let elapsed = started.elapsed();
    let program = RuntimeCacheKey {
        code_hash: keccak256(&bytecode),
        spec_id,
    };
    let artifact = artifact::build(program, rules, bytecode.len(), (&options).into(), &code)?;
    let stored = store.store(&artifact)?;
    Ok(format!(
        "{}: {program}, {} bytes, compiled in {elapsed:.1?} to {} bytes, stored as {stored}",
        file.display(),
        bytecode.len(),
        code.text_len(),
    ))
}

fn list(store: &str) -> Outcome {
    let store = existing(store)?;
    println!(
        "{:18} {:14} {:22} {:>8} {:>8} {:>8} {:>9}  verdict",
        "code hash", "fork", "options", "bytecode", "native", "stored", "age"
    );
    for_each(&store, |entry, artifact| {
        let verdict = artifact
            .as_ref()
            .map_err(ToString::to_string)
            .and_then(|artifact| {
                let options = artifact.manifest.options;
                let host = Environment::host().map_err(|error| error.to_string())?;
                let program = entry.key.program();
                let chain = Chain::mainnet();
                let rules = chain.rules(program.spec_id);
                let verified = artifact.verify(&program, rules, options, host);
                verified.map(drop).map_err(|error| error.to_string())
            });
        let (options, bytecode, native) = match &artifact {
            Ok(StoredArtifact { manifest, .. }) => (
                manifest.options.to_string(),
                manifest.bytecode_len.to_string(),
                manifest.text_len.to_string(),
            ),
            Err(_) => Default::default(),
        };
        let age = entry
            .modified
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        println!(
            "{:18} {:14} {options:22} {bytecode:>8} {native:>8} {:>8} {:>9}  {}",
            &hex::encode_prefixed(entry.key.code_hash)[..18],
            format!("{:?}", entry.key.spec_id),
            entry.stored_len,
            age.map_or_else(String::new, short),
            verdict.err().unwrap_or_else(|| "good".into()),
        );
    })
}

fn verify(store: &str) -> Outcome {
    let store = existing(store)?;
    let (mut good, mut refused) = (0, 0);
    for_each(&store, |entry, artifact| {
        let loaded = artifact.and_then(|artifact| {
            let program = entry.key.program();
            let chain = Chain::mainnet();
            let rules = chain.rules(program.spec_id);
            artifact::load(&artifact, program, rules, artifact.manifest.options)
        });
        match loaded {
            Ok(_) => good += 1,
            Err(error) => {
                refused += 1;
                println!("{}: {error}", entry.key);
            }
        }
    })?;
    println!("{good} good, {refused} refused");
    if refused == 0 {
        Ok(())
    } else {
        Err("some artifacts were refused".into())
    }
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
    let chain = Chain::mainnet();
    let mut keep = Vec::new();
    for tier in [Tier::Baseline, Tier::Optimized] {
        let options = BuildOptions {
            tier,
            debug_assertions: false,
        };
        for spec_id in forks() {
            keep.push(BuildId::host(options, chain.rules(spec_id))?);
        }
    }
    let removed = existing(store)?.prune(&keep)?;
    println!("{removed} artifacts of other builds removed");
    Ok(())
}

/// All of mainnet's forks.
fn forks() -> impl Iterator<Item = SpecId> {
    (0..=u8::MAX).map_while(SpecId::try_from_u8)
}

/// Reads every artifact, the newest last, and names what is in the folder besides.
fn for_each(
    store: &DirArtifactStore,
    mut f: impl FnMut(&IndexEntry, Result<StoredArtifact, ArtifactError>),
) -> Outcome {
    let mut index = store.load_all()?;
    index.entries.sort_by_key(|entry| entry.modified);
    for entry in &index.entries {
        // What is gone since it was listed is not there.
        if let Some(artifact) = store.load(&entry.key).transpose() {
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
