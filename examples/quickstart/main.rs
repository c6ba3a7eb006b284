//! Watch contracts move from the interpreter to native code.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
//!
//! Three contracts written in Solidity (`examples/contracts`) are deployed into an in-memory state of
//! revm, at Osaka, and called again and again by whole transactions. [`JitEvm`] asks the backend before
//! each frame how to run it; the backend notices what is hot and compiles it in the background, first
//! fast, then optimised. Every transaction is also made by revm's interpreter alone on a twin of the
//! state, and everything is compared: result, output, gas, logs, every account and slot that was
//! loaded, and what the database was asked for. The exit code is 1 if anything differs or a contract
//! does not become native.

#[path = "../../tests/blocks/mod.rs"]
mod blocks;
mod contracts;

use blocks::{
    compare::difference,
    run::Plain,
    step::{Kind, Recorded, Runs, Step},
};
use contracts::{FORK, Scenario, evm, scenarios};
use revm::{context::TxEnv, database::InMemoryDB, primitives::B256};
use revmc_jit::{
    CompilationEvent, JitBackend, RuntimeConfig, RuntimeStatsSnapshot, compiler::Tier, revm::JitEvm,
};
use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// How long a contract may take to become native, and then optimised.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let scenarios = match scenarios() {
        Ok(scenarios) => scenarios,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = false;
    for scenario in scenarios {
        if let Err(error) = show(&scenario) {
            println!("{}: {error}", scenario.file);
            failed = true;
        }
    }
    ExitCode::from(u8::from(failed))
}

fn show(scenario: &Scenario) -> Result<(), String> {
    let compilations = Arc::new(Mutex::new(Vec::<CompilationEvent>::new()));
    let mut config = RuntimeConfig::default();
    config.on_compilation = Some(Arc::new({
        let compilations = compilations.clone();
        move |event| {
            compilations
                .lock()
                .expect("no panic holds it")
                .push(event.clone())
        }
    }));
    let backend = JitBackend::new(config).map_err(|error| error.to_string())?;
    let contracts = contracts(scenario);

    let until_native = call_until(scenario, &backend, |misses| misses == 0)?;
    let until_optimized = call_until(scenario, &backend, |misses| {
        let programs = contracts
            .keys()
            .map(|&hash| backend.get_compiled(hash, FORK));
        misses == 0
            && programs
                .flatten()
                .all(|program| program.tier() == Tier::Optimized)
    })?;

    let bytes: usize = contracts.values().sum();
    println!("{}, {} ({bytes} bytes)", scenario.file, scenario.what);
    println!("  native after {until_native} calls, optimised after {until_optimized} more");
    for (name, transaction) in &scenario.calls {
        let (interpreted, native) = time(scenario, &backend, transaction);
        println!(
            "  {name:<26} everything equal: yes, interpreter {:>9} ns, native {:>9} ns, {:>4.1} x",
            interpreted.as_nanos(),
            native.as_nanos(),
            interpreted.as_secs_f64() / native.as_secs_f64()
        );
    }
    // The last drop waits for the threads, so every event is there.
    drop(backend);
    for event in compilations.lock().expect("no panic holds it").iter() {
        let length = event.bytecode_len;
        match &event.outcome {
            Ok(mapped) => println!(
                "  compiled {length} bytes of bytecode ({}) in {:.1} ms, {mapped} bytes mapped",
                event.tier,
                event.duration.as_secs_f64() * 1e3
            ),
            Err(error) => return Err(format!("compiling {length} bytes: {error}")),
        }
    }
    Ok(())
}

/// The contracts in the scenario's state: hash and length of their code.
fn contracts(scenario: &Scenario) -> BTreeMap<B256, usize> {
    let codes = scenario.state.cache.contracts.iter();
    codes
        .filter(|(_, code)| !code.is_empty())
        .map(|(hash, code)| (*hash, code.original_bytes().len()))
        .collect()
}

/// Makes the scenario's calls in turn, each compared with the interpreter, until `reached` likes one
/// round of them; it is told how many frames found no program. Returns the calls made.
fn call_until(
    scenario: &Scenario,
    backend: &JitBackend,
    reached: impl Fn(u64) -> bool,
) -> Result<usize, String> {
    let begin = Instant::now();
    let mut calls = 0;
    loop {
        let before = backend.stats();
        for (name, transaction) in &scenario.calls {
            compare(scenario, backend, transaction).map_err(|error| format!("{name}: {error}"))?;
            calls += 1;
        }
        let RuntimeStatsSnapshot { misses, hits, .. } = backend.stats();
        if hits > before.hits && reached(misses - before.misses) {
            return Ok(calls);
        }
        if begin.elapsed() > PATIENCE {
            return Err(format!("not there after {calls} calls in {PATIENCE:?}"));
        }
    }
}

/// One transaction by the interpreter and one through the backend, from the same state.
fn compare(scenario: &Scenario, backend: &JitBackend, transaction: &TxEnv) -> Result<(), String> {
    let expected = step(scenario, transaction, |evm| evm);
    let found = step(scenario, transaction, |evm| {
        JitEvm::new(evm, backend.clone())
    });
    if !expected
        .result
        .as_ref()
        .is_ok_and(|result| result.is_success())
    {
        return Err(format!("the call itself failed: {:?}", expected.result));
    }
    difference(&expected, &found).map_or(Ok(()), Err)
}

/// Everything that the transaction does on the EVM that `wrap` makes.
fn step<E: Runs>(
    scenario: &Scenario,
    transaction: &TxEnv,
    wrap: impl FnOnce(Plain<Recorded<InMemoryDB>>) -> E,
) -> Step {
    let (db, reads) = Recorded::new(scenario.state.clone());
    let mut evm = wrap(evm(db));
    let result = evm.transact_one(transaction.clone());
    Step::take(&mut evm, Kind::Transaction(0), result, &reads)
}

/// The fastest of many transactions by the interpreter and of as many natively, in turns.
fn time(scenario: &Scenario, backend: &JitBackend, transaction: &TxEnv) -> (Duration, Duration) {
    let mut interpreted = evm(scenario.state.clone());
    let mut native = JitEvm::new(evm(scenario.state.clone()), backend.clone());
    let mut fastest = (Duration::MAX, Duration::MAX);
    let begin = Instant::now();
    for round in 0..2_000 {
        if round >= 15 && begin.elapsed() > Duration::from_millis(500) {
            break;
        }
        fastest.0 = fastest.0.min(time_once(&mut interpreted, transaction));
        fastest.1 = fastest.1.min(time_once(&mut native, transaction));
    }
    fastest
}

/// One transaction, whose changes are dropped.
fn time_once<E: Runs>(evm: &mut E, transaction: &TxEnv) -> Duration {
    let transaction = transaction.clone();
    let begin = Instant::now();
    let result = std::hint::black_box(evm.transact_one(transaction));
    let time = begin.elapsed();
    drop(result);
    evm.finalize();
    time
}
