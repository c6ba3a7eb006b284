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

mod store;

use object_store::{ObjectStore, local::LocalFileSystem, memory::InMemory, path::Path};
use revm_interpreter::{
    InputsImpl, Interpreter, InterpreterAction, SharedMemory,
    host::DummyHost,
    instruction_table,
    instructions::gas_table_spec,
    interpreter::{EthInterpreter, ExtBytecode},
};
use revmc_jit::aot::{self, BuildOptions};
use revmc_jit::artifact::{ArtifactStore, ManifestKey, TrustedStore};
use revmc_jit::compiler::Tier;
use revmc_jit::primitives::{B256, Bytecode, Bytes, SpecId, keccak256};
use revmc_jit::{Chain, JitBackend, RuntimeCacheKey, RuntimeConfig, RuntimeStatsSnapshot};
use std::{
    error::Error,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use store::{FleetStore, Limits};

type Failure = Box<dyn Error>;

/// How many contracts are hot.
const CONTRACTS: u16 = 50;

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
        let mut frame = Interpreter::<EthInterpreter>::new(
            SharedMemory::new(),
            ExtBytecode::new_with_hash(Bytecode::new_legacy(code), key.code_hash),
            InputsImpl::default(),
            false,
            key.spec_id,
            1_000_000,
        );
        let (table, gas) = (instruction_table(), gas_table_spec(key.spec_id));
        let mut host = DummyHost::new(key.spec_id);
        match program.run_frame(&mut frame, &table, &gas, &mut host)? {
            InterpreterAction::Return(end) => expect(end.output == word(n), "the result is right")?,
            other => return Err(format!("{other:?}").into()),
        }
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

/// A contract that returns the sum of 1 to 100 and `n`.
fn contract(n: u16) -> (RuntimeCacheKey, Bytes) {
    let [high, low] = n.to_be_bytes();
    let code = Bytes::from(vec![
        0x61, high, low, // PUSH2 n
        0x60, 100,  // PUSH1 100
        0x5b, // 5: JUMPDEST; [sum, i]
        0x80, 0x91, 0x01, // DUP1 SWAP2 ADD; [i, sum + i]
        0x90, // SWAP1
        0x60, 1, 0x90, 0x03, // PUSH1 1 SWAP1 SUB; [sum, i - 1]
        0x80, 0x60, 5, 0x57, // DUP1 PUSH1 5 JUMPI
        0x50, 0x5f, 0x52, // POP PUSH0 MSTORE
        0x60, 32, 0x5f, 0xf3, // PUSH1 32 PUSH0 RETURN
    ]);
    let code_hash = keccak256(&code);
    let spec_id = SpecId::OSAKA;
    (RuntimeCacheKey { code_hash, spec_id }, code)
}

/// What contract `n` returns.
fn word(n: u16) -> Bytes {
    let sum = u64::from(n) + 5050;
    Bytes::copy_from_slice(B256::left_padding_from(&sum.to_be_bytes()).as_slice())
}
