//! What starting costs: a backend, a thread's first lookup, and the way to the first native call
//! of a contract, compiled or from a store that an earlier process has filled.
//!
//! `cargo bench --bench startup [-- SECTION] [--json FILE]`; the section is `startup`. Every sample
//! is one whole start; the machine's scheduler is in it wherever threads are.

#[path = "../tests/blocks/mod.rs"]
mod blocks;
#[path = "harness/codes.rs"]
mod codes;
#[allow(dead_code)]
#[path = "../examples/quickstart/contracts.rs"]
mod contracts;
mod harness;

use harness::Session;
use harness::backend::Contract;
use harness::report::{Spread, Table};
use revmc_jit::artifact::{DirArtifactStore, DirOptions};
use revmc_jit::primitives::OptimizationLevel;
use revmc_jit::{
    AotRequest, CompiledProgram, InterpretReason, JitBackend, LookupDecision, RuntimeConfig,
};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many other artifacts are in the larger store.
const OTHERS: u32 = 1000;

/// How long a store is given to be filled, and a program to be loaded.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(config: RuntimeConfig) -> JitBackend {
    JitBackend::new(config).expect("the configuration is valid and threads can be had")
}

fn with_level(level: OptimizationLevel) -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    config.tuning.jit_opt_level = level;
    config.tuning.jit_tiered = false;
    config
}

fn with_store(folder: &Path) -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    let store = DirArtifactStore::open(folder, DirOptions::default());
    config.store = Some(store.expect("the folder is ours").into());
    config
}

/// Looks the contract up until it is native; fails to if that takes too long.
fn until_native(backend: &JitBackend, contract: &Contract) -> Arc<CompiledProgram> {
    let begin = Instant::now();
    loop {
        match backend.lookup_ref(&contract.key, &contract.code) {
            LookupDecision::Compiled(program) => return program,
            LookupDecision::Interpret(InterpretReason::NotReady) if begin.elapsed() < PATIENCE => {
                std::thread::yield_now();
            }
            LookupDecision::Interpret(reason) => panic!("{}: {reason}", contract.key),
        }
    }
}

/// A folder for a store, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("revmc-jit-startup-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Fills the folder's store.
    fn fill(&self, contracts: &[Contract]) {
        let backend = start(with_store(&self.0));
        for contract in contracts {
            backend.prepare_aot(AotRequest {
                code_hash: contract.key.code_hash,
                code: contract.code.clone(),
                spec_id: contract.key.spec_id,
            });
        }
        for contract in contracts {
            until_native(&backend, contract);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Times `f`; what it returns is dropped outside.
fn time<R>(f: impl FnOnce() -> R) -> Duration {
    let begin = Instant::now();
    let result = black_box(f());
    let elapsed = begin.elapsed();
    drop(result);
    elapsed
}

/// A name, and a sample's time.
type Start<'a> = (&'static str, Box<dyn Fn() -> Duration + 'a>);

fn startup(session: &mut Session) {
    let (_, token) = &codes::codes()[0];
    let token = &Contract::new(token.to_vec());
    let (one, many) = (&Folder::new("one"), &Folder::new("many"));
    let mut contracts: Vec<_> = (0..session.at_most(OTHERS as usize) as u32)
        .map(Contract::tiny)
        .collect();
    one.fill(std::slice::from_ref(token));
    contracts.push(token.clone());
    many.fill(&contracts);

    let default = RuntimeConfig::default;
    let started = &start(default());
    let new = |config: RuntimeConfig| Box::new(move || time(|| start(config.clone())));
    let compiled = |level| {
        Box::new(move || {
            time(|| {
                let backend = start(with_level(level));
                let compiled = backend.compile_jit_sync(token.request());
                compiled.expect("the example compiles");
                (until_native(&backend, token), backend)
            })
        })
    };
    let loaded = |folder: &'static str, path: &'_ Folder| {
        let path = path.0.clone();
        let start: Box<dyn Fn() -> Duration> = Box::new(move || {
            time(|| {
                let backend = start(with_store(&path));
                (until_native(&backend, token), backend)
            })
        });
        (folder, start)
    };
    let starts: Vec<Start<'_>> = vec![
        (
            "a thread, spawned and joined, for comparison",
            Box::new(|| time(|| std::thread::spawn(|| ()).join())),
        ),
        ("disabled", Box::new(|| time(JitBackend::disabled))),
        ("new", new(default())),
        (
            "drop of a started backend",
            Box::new(|| {
                let backend = start(default());
                time(move || drop(backend))
            }),
        ),
        (
            "first lookup of a thread",
            Box::new(|| {
                let first = || time(|| started.lookup_ref(&token.key, &token.code));
                let thread = std::thread::scope(|scope| scope.spawn(first).join());
                thread.expect("a lookup does not panic")
            }),
        ),
        (
            "new until Token.sol is native, compiled, tier 1",
            compiled(OptimizationLevel::None),
        ),
        (
            "new until Token.sol is native, compiled, tier 2",
            compiled(OptimizationLevel::Default),
        ),
        loaded("new until Token.sol is native, store of 1", one),
        loaded("new until Token.sol is native, store of 1001", many),
    ];
    let mut samples = vec![Vec::new(); starts.len()];
    for _ in session.effort.rounds() {
        for ((_, start), samples) in starts.iter().zip(&mut samples) {
            samples.push(start().as_nanos() as f64 / 1e3);
        }
    }
    let mut table = Table::new("starting, one at a time", &["us"]);
    for ((name, _), samples) in starts.iter().zip(&samples) {
        table.row(*name, &[Spread::of(samples)]);
    }
    session.add(table);
}

fn main() -> ExitCode {
    harness::run("startup", &[("startup", startup)])
}
