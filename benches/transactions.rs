//! What whole transactions on revm cost, with and without native code.
//!
//! `cargo bench --bench transactions [-- --json FILE]`
//!
//! The calls of `examples/quickstart` as transactions: validation, the journal, gas refunds and
//! nested calls are revm's own in every column, and only call frames differ. The first row, a
//! transfer to an account without code, shows what revm costs where there is nothing to compile.
//! Before anything is timed, result and state are compared with revm alone.
//!
//! Times are of `transact_one`; the state is thrown away after each, so that every call begins in the
//! same one. Transactions from state-test files: `examples/report`.

#[path = "../tests/blocks/mod.rs"]
mod blocks;
#[allow(dead_code)]
#[path = "../examples/quickstart/contracts.rs"]
mod contracts;
mod harness;

use blocks::run::timed;
use blocks::step::Runs;
use contracts::evm;
use harness::Session;
use harness::contender::{Contender, take_turns};
use harness::report::Table;
use revm::ExecuteEvm;
use revm::context::TxEnv;
use revm::database::InMemoryDB;
use revm::primitives::{Address, TxKind};
use revmc_jit::primitives::OptimizationLevel;
use revmc_jit::revm::JitEvm;
use revmc_jit::{JitBackend, RuntimeConfig};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

/// A backend in which whatever was called once is native, at one tier.
fn backend(level: OptimizationLevel) -> JitBackend {
    let mut config = RuntimeConfig::default();
    config.blocking = true;
    config.tuning.jit_tiered = false;
    config.tuning.jit_opt_level = level;
    JitBackend::new(config).expect("a blocking backend")
}

/// The time of `n` transactions from the same state.
fn time<E: Runs>(evm: &mut E, transaction: &TxEnv, n: usize) -> Duration {
    let mut elapsed = Duration::ZERO;
    for _ in 0..n {
        let (time, result) = timed(evm, transaction);
        elapsed += time;
        result.expect("it ran before");
        drop(black_box(evm.finalize()));
    }
    elapsed
}

fn contender<'a>(
    name: &str,
    state: &InMemoryDB,
    transaction: &TxEnv,
    backend: Option<&'a JitBackend>,
) -> Contender<'a> {
    let (state, transaction) = (state.clone(), transaction.clone());
    let run = move |_: usize, _: usize, n: usize| {
        let mut evm = evm(state.clone());
        match backend {
            None => time(&mut evm, &transaction, n),
            Some(backend) => time(&mut JitEvm::new(evm, backend.clone()), &transaction, n),
        }
    };
    Contender::new(name, 1, Box::new(run))
}

/// Compiles what the transaction needs. What differs from revm alone, if anything does.
fn check(state: &InMemoryDB, transaction: &TxEnv, backend: &JitBackend) -> Result<(), String> {
    let plain = evm(state.clone()).transact(transaction.clone());
    let native = JitEvm::new(evm(state.clone()), backend.clone()).transact(transaction.clone());
    match (plain, native) {
        (Ok(plain), Ok(native)) if plain.result != native.result => Err(format!(
            "revm alone: {:?}\nnatively: {:?}",
            plain.result, native.result
        )),
        (Ok(plain), Ok(native)) if plain.state != native.state => Err("another state".to_owned()),
        (Ok(_), Ok(_)) => Ok(()),
        (plain, native) => Err(format!("{:?}, {:?}", plain.err(), native.err())),
    }
}

fn row(session: &Session, table: &mut Table, name: &str, state: &InMemoryDB, transaction: &TxEnv) {
    let backends = [OptimizationLevel::None, OptimizationLevel::Default].map(backend);
    for backend in &backends {
        if let Err(error) = check(state, transaction, backend) {
            println!("{name}: not timed: {error}");
            return;
        }
    }
    let [first, second] = &backends;
    let mut contenders = [
        contender("revm", state, transaction, None),
        contender("tier 1", state, transaction, Some(first)),
        contender("tier 2", state, transaction, Some(second)),
    ];
    take_turns(session.effort, &mut contenders);
    let [plain, native @ ..] = &contenders;
    let mut cells: Vec<_> = contenders.iter().map(Contender::median).collect();
    cells.extend(native.iter().map(|native| plain.ratio_to(native)));
    table.row(name, &cells);
}

fn transactions(session: &mut Session) {
    let columns = [
        "revm, ns",
        "tier 1, ns",
        "tier 2, ns",
        "tier 1, x faster",
        "tier 2, x faster",
    ];
    let title = "one transaction, contracts of examples/contracts";
    let mut table = Table::new(title, &columns).chart(4);
    let scenarios = contracts::scenarios().expect("the examples' contracts are deployed");
    if let Some((_, call)) = scenarios[0].calls.first() {
        let transfer = TxEnv {
            kind: TxKind::Call(Address::repeat_byte(0x77)),
            data: Default::default(),
            ..call.clone()
        };
        let state = &scenarios[0].state;
        row(session, &mut table, "transfer", state, &transfer);
    }
    for scenario in &scenarios {
        for (name, transaction) in &scenario.calls {
            let name = format!("{}: {name}", scenario.file);
            row(session, &mut table, &name, &scenario.state, transaction);
        }
    }
    session.add(table);
}

fn main() -> ExitCode {
    harness::run("transactions", &[("transactions", transactions)])
}
