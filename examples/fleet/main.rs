//! A fleet in small: one node compiles, and the others load what it has made.
//!
//! ```text
//! cargo run --release --features hmac-manifest --example fleet [-- FOLDER]
//! ```
//!
//! The nodes share nothing but an object store, in memory or a `FOLDER`, and a key. The first becomes
//! native by what it executes, and stores it. The second starts on that: what was hot is native before
//! it executes anything. Between it and the third, somebody without the key exchanges the objects: the
//! third refuses each, compiles for itself, and mends the store for the fourth. The example ends with an
//! error if a node does otherwise, or returns a wrong result.

#[path = "../../tests/runtime_support/mod.rs"]
mod runtime_support;
mod store;

use alloy_primitives::U256;
use object_store::{ObjectStore, local::LocalFileSystem, memory::InMemory, path::Path};
use revmc_jit::aot::{self, BuildOptions};
use revmc_jit::artifact::{ArtifactStore, ManifestKey, TrustedStore};
use revmc_jit::compiler::Tier;
use revmc_jit::{Chain, JitBackend, RuntimeConfig, RuntimeStatsSnapshot};
use runtime_support::{contract, run};
use std::{
    error::Error,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use store::{FleetStore, Limits};

type Failure = Box<dyn Error>;

/// How many contracts are hot.
const CONTRACTS: u32 = 50;

/// What each node is given to become native.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match fleet() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn fleet() -> Result<(), Failure> {
    let objects: Arc<dyn ObjectStore> = match std::env::args_os().nth(1) {
        Some(folder) => {
            std::fs::create_dir_all(&folder)?;
            Arc::new(LocalFileSystem::new_with_prefix(folder)?)
        }
        None => Arc::new(InMemory::new()),
    };
    let prefix = Path::from("artifacts");
    open(&objects, &prefix)?.clear()?;

    let all = u64::from(CONTRACTS);
    let first = node("first", &objects, &prefix, 0)?;
    expect(first.artifacts_loaded == 0, "the first compiles")?;
    let second = node("second", &objects, &prefix, all)?;
    expect(second.artifacts_stored == 0, "the second compiles nothing")?;
    let missed = second.misses + second.negatives;
    expect(missed == 0, "all is native before it is missed")?;

    println!("somebody without the key exchanges the objects");
    forge(&objects, &prefix)?;
    let third = node("third", &objects, &prefix, 0)?;
    expect(third.artifacts_loaded == 0, "no forged one is loaded")?;
    expect(third.artifacts_rejected == all, "each is refused once")?;
    let fourth = node("fourth", &objects, &prefix, 0)?;
    expect(fourth.artifacts_loaded == all, "the store is whole again")
}

fn expect(holds: bool, what: &str) -> Result<(), Failure> {
    match holds {
        true => Ok(()),
        false => Err(format!("not so: {what}").into()),
    }
}

fn open(objects: &Arc<dyn ObjectStore>, prefix: &Path) -> Result<FleetStore, Failure> {
    let objects = Arc::clone(objects);
    Ok(FleetStore::new(objects, prefix.clone(), Limits::default())?)
}

/// A node's life: it starts, has other things to do until so many programs are there unasked, executes
/// until all is native, and ends.
fn node(
    name: &str,
    objects: &Arc<dyn ObjectStore>,
    prefix: &Path,
    warm: u64,
) -> Result<RuntimeStatsSnapshot, Failure> {
    // A node has it from where it keeps its secrets.
    let key = ManifestKey::new(&[7; 32]);
    let store = Arc::new(open(objects, prefix)?);
    let jit = JitBackend::new(RuntimeConfig {
        aot: true,
        store: Some(TrustedStore::authenticated(store, key)),
        ..RuntimeConfig::default()
    })?;
    let begin = Instant::now();
    while jit.stats().warm_loaded < warm && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    for n in 0..CONTRACTS {
        let (key, code) = contract(n);
        let program = loop {
            match jit.lookup_ref(&key, &code).program() {
                Some(program) => break program,
                None if begin.elapsed() > PATIENCE => return Err("never native".into()),
                // It would be interpreted here.
                None => std::thread::yield_now(),
            }
        };
        expect(run(&program, &code) == U256::from(n), "the result is right")?;
    }
    let elapsed = begin.elapsed();
    // What it has made is stored when it ends; what is on its way is waited for.
    while jit.stats().artifacts_indexed < u64::from(CONTRACTS) && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let stats = jit.stats();
    println!(
        "{name} node: all native after {elapsed:?}; loaded {} ({} before they were missed), \
         stored {}, refused {}",
        stats.artifacts_loaded,
        stats.warm_loaded,
        stats.artifacts_stored,
        stats.artifacts_rejected + stats.heat_rejected,
    );
    Ok(stats)
}

/// Puts artifacts of the same contracts under the same names, made with another key.
fn forge(objects: &Arc<dyn ObjectStore>, prefix: &Path) -> Result<(), Failure> {
    let key = ManifestKey::new(&[8; 32]);
    let store = TrustedStore::authenticated(Arc::new(open(objects, prefix)?), key);
    let options = BuildOptions {
        tier: Tier::Optimized,
        debug_assertions: false,
    };
    for n in 0..CONTRACTS {
        let (key, code) = contract(n);
        let rules = Chain::mainnet().rules(key.spec_id).clone();
        store.store(&aot::make(&code, key.spec_id, &rules, options, None)?)?;
    }
    Ok(())
}
