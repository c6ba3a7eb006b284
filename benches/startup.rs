//! What starting costs: a backend, a thread's first lookup, and the way to the first native call
//! of a contract, compiled or from a store that an earlier process has filled.
//!
//! `cargo bench --bench startup [-- SECTION] [--json FILE]`
//!
//! | section | question |
//! |---|---|
//! | `startup` | what does each way to the first native call cost? |
//! | `warm` | with ten thousand artifacts, when is the backend back, and when is native what was hot? |
//!
//! Every sample is one whole start; the machine's scheduler is in it wherever threads are.

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
use revmc_jit::aot::{self, BuildOptions};
use revmc_jit::artifact::{
    DirArtifactStore, DirOptions, HeatEntry, HeatList, TempArtifactStore, TrustedStore,
};
use revmc_jit::compiler::Tier;
use revmc_jit::primitives::OptimizationLevel;
use revmc_jit::trial::Budget;
use revmc_jit::{
    AotRequest, Chain, CompiledProgram, InterpretReason, JitBackend, LookupDecision, RuntimeConfig,
};
use std::hint::black_box;
use std::path::Path;
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

fn store(folder: &Path) -> TrustedStore {
    let store = DirArtifactStore::open(folder, DirOptions::default());
    store.expect("the folder is ours").into()
}

/// A backend that loads what is asked for.
fn with_store(folder: &Path) -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    config.store = Some(store(folder));
    config.tuning.warm_start_programs = 0;
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
fn temp() -> TempArtifactStore {
    TempArtifactStore::new(DirOptions::default()).expect("the folder is ours")
}

/// Fills the folder's store.
fn fill(folder: &Path, contracts: &[Contract]) {
    let backend = start(with_store(folder));
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

/// Each start in turn; the unit, and how many of it are in a second.
fn measure(session: &mut Session, title: &str, unit: (&str, f64), starts: &[Start<'_>]) {
    let mut samples = vec![Vec::new(); starts.len()];
    for _ in session.effort.rounds() {
        for ((_, start), samples) in starts.iter().zip(&mut samples) {
            samples.push(start().as_secs_f64() * unit.1);
        }
    }
    let mut table = Table::new(title, &[unit.0]);
    for ((name, _), samples) in starts.iter().zip(&samples) {
        table.row(*name, &[Spread::of(samples)]);
    }
    session.add(table);
}

fn startup(session: &mut Session) {
    let (_, token) = &codes::codes()[0];
    let token = &Contract::new(token.to_vec());
    let (one, many) = (temp(), temp());
    let mut contracts: Vec<_> = (0..session.at_most(OTHERS as usize) as u32)
        .map(Contract::tiny)
        .collect();
    fill(one.path(), std::slice::from_ref(token));
    contracts.push(token.clone());
    fill(many.path(), &contracts);

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
    let loaded = |name, folder: &TempArtifactStore| {
        let path = folder.path().to_owned();
        let start: Box<dyn Fn() -> Duration> = Box::new(move || {
            time(|| {
                let backend = start(with_store(&path));
                (until_native(&backend, token), backend)
            })
        });
        (name, start)
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
        loaded("new until Token.sol is native, store of 1", &one),
        loaded("new until Token.sol is native, store of 1001", &many),
    ];
    measure(session, "starting, one at a time", ("us", 1e6), &starts);
}

/// Artifacts in the store of the warm start.
const MANY: usize = 10_000;

/// How many of them were hot.
const HOT: usize = 1_000;

/// Fills a folder with artifacts of tiny contracts, the first of which were hot; returns these, the
/// hottest first.
fn fill_warm(folder: &Path, count: usize, hot: usize) -> Vec<Contract> {
    let trusted = store(folder);
    let options = BuildOptions {
        tier: Tier::Optimized,
        debug_assertions: false,
    };
    let (mut contracts, mut list) = (Vec::new(), Vec::new());
    for n in 0..count {
        let contract = Contract::tiny(n as u32);
        let spec_id = contract.key.spec_id;
        let rules = Chain::mainnet().rules(spec_id).clone();
        let made = aot::make(&contract.code, spec_id, &rules, options, None);
        let made = made.expect("PUSH4, STOP compiles");
        let sealed = made.seal(None).expect("it is small");
        // Not by the store, which synchronises each.
        let file = folder.join(sealed.key().file_name());
        std::fs::write(file, sealed.bytes()).expect("the folder is ours");
        if n < hot {
            let (key, heat) = (*sealed.key(), (hot - n) as u32);
            list.push(HeatEntry { key, heat });
            contracts.push(contract);
        }
    }
    let stored = trusted.store_heat(&HeatList::new(list));
    stored.expect("the folder is ours");
    contracts
}

fn warm(session: &mut Session) {
    let count = session.at_most(MANY);
    let (empty, folder) = (temp(), temp());
    let hot = fill_warm(folder.path(), count, session.at_most(HOT).min(count));
    let config = |folder: &TempArtifactStore, programs| {
        let mut config = with_store(folder.path());
        config.tuning.warm_start_programs = programs;
        // They were made untried.
        config.tuning.trial = Budget::Off;
        config
    };
    let (none, cold, warm) = (
        config(&empty, 0),
        config(&folder, 0),
        config(&folder, hot.len()),
    );
    let (first, last) = (&hot[0], &hot[hot.len() - 1]);
    // Without a lookup, which would ask for it.
    let resident = |backend: &JitBackend, contract: &Contract| {
        let (hash, spec_id) = (contract.key.code_hash, contract.key.spec_id);
        let begin = Instant::now();
        while backend.get_compiled(hash, spec_id).is_none() {
            assert!(begin.elapsed() < PATIENCE, "{}", contract.key);
            std::thread::yield_now();
        }
    };
    let new = |config: &RuntimeConfig| {
        let config = config.clone();
        move || time(|| start(config))
    };
    let until = |contract| {
        let warm = warm.clone();
        move || {
            time(|| {
                let backend = start(warm);
                resident(&backend, contract);
                backend
            })
        }
    };
    let starts: Vec<Start<'_>> = vec![
        ("new, empty store", Box::new(|| new(&none)())),
        ("new, store of 10,000", Box::new(|| new(&cold)())),
        (
            "new, store of 10,000, warm start",
            Box::new(|| new(&warm)()),
        ),
        (
            "the same, processor time of the caller",
            Box::new(|| {
                let begin = harness::processor_time();
                let backend = start(warm.clone());
                let spent = harness::processor_time() - begin;
                drop(backend);
                spent
            }),
        ),
        (
            "a lookup then, while it loads",
            Box::new(|| {
                let backend = start(warm.clone());
                time(|| backend.lookup_ref(&last.key, &last.code))
            }),
        ),
        (
            "new until the hottest is native, unasked",
            Box::new(|| until(first)()),
        ),
        (
            "new until all 1,000 that were hot are native, unasked",
            Box::new(|| until(last)()),
        ),
    ];
    let title = "starting on ten thousand artifacts";
    measure(session, title, ("ms", 1e3), &starts);
}

fn main() -> ExitCode {
    harness::run("startup", &[("startup", startup), ("warm", warm)])
}
