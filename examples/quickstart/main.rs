//! Watch contracts move from the interpreter to native code.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
//!
//! Three contracts written in Solidity (`examples/contracts`) are deployed into an in-memory state
//! and called again and again. Each frame asks [`JitBackend::lookup`] how to run; the backend
//! notices what is hot and compiles it in the background, first fast, then optimised. Every call
//! is also made by the interpreter alone on a twin of the state, and everything is compared:
//! result, output, gas, refund, memory, logs, storage, nested calls. The exit code is 1 if
//! anything differs or a contract does not become native.

#[path = "../../tests/common/mod.rs"]
mod common;
mod contracts;
mod with_jit;

use common::driver::{FrameExecutor, Message, Oracle, run_message};
use common::verdict;
use common::world::World;
use contracts::{Scenario, scenarios};
use revmc_jit::{CompilationEvent, JitBackend, RuntimeConfig};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use with_jit::WithJit;

/// How long a contract may take to become native, and then optimised.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut failed = false;
    for scenario in scenarios() {
        if let Err(error) = show(&scenario) {
            println!("{}: {error}", scenario.file);
            failed = true;
        }
    }
    ExitCode::from(failed as u8)
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
    let mut world = scenario.world.clone();

    let until_native = call_until(scenario, &mut world, &backend, |used| used.interpreted == 0)?;
    let until_optimized = call_until(scenario, &mut world, &backend, |used| {
        used.interpreted == 0 && used.optimized == used.native
    })?;

    let Scenario { file, what, .. } = scenario;
    println!("{file}, {what} ({} bytes)", scenario.code().len());
    println!("  native after {until_native} calls, optimised after {until_optimized} more");
    for (name, message) in &scenario.calls {
        let (interpreted, native) = time(&mut world, &backend, message);
        println!(
            "  {name:<26} result and gas equal: yes, interpreter {:>9} ns, native {:>9} ns, {:>4.1} x",
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
                "  compiled {length} bytes of bytecode ({:?}) in {:.1} ms, {mapped} bytes mapped",
                event.tier,
                event.duration.as_secs_f64() * 1e3
            ),
            Err(error) => return Err(format!("compiling {length} bytes: {error}")),
        }
    }
    Ok(())
}

/// Makes the scenario's calls in turn, each compared with the interpreter, until one round of them
/// went as wanted. Returns the calls made.
fn call_until(
    scenario: &Scenario,
    world: &mut World,
    backend: &JitBackend,
    reached: impl Fn(&WithJit<'_>) -> bool,
) -> Result<usize, String> {
    let begin = Instant::now();
    let mut calls = 0;
    loop {
        let mut executor = WithJit::new(backend);
        for (name, message) in &scenario.calls {
            compare(world, &mut executor, message).map_err(|error| format!("{name}: {error}"))?;
            calls += 1;
        }
        if reached(&executor) {
            return Ok(calls);
        }
        if begin.elapsed() > PATIENCE {
            return Err(format!("not there after {calls} calls in {PATIENCE:?}"));
        }
    }
}

/// One call by the interpreter and one through the backend, from the same state.
fn compare(world: &mut World, executor: &mut WithJit<'_>, message: &Message) -> Result<(), String> {
    let checkpoint = world.checkpoint();
    let expected = run_message(&mut Oracle, world, message, true);
    let expected_state = world.state.clone();
    world.revert(checkpoint);
    let found = run_message(executor, world, message, true);
    let verdict = verdict::compare(&expected, &expected_state, &found, &world.state);
    world.revert(checkpoint);
    if !expected.result.is_ok() {
        return Err(format!("the call itself failed: {:?}", expected.result));
    }
    verdict
}

/// The fastest of many calls by the interpreter and of as many natively, in turns.
fn time(world: &mut World, backend: &JitBackend, message: &Message) -> (Duration, Duration) {
    let mut native = WithJit::new(backend);
    let mut fastest = (Duration::MAX, Duration::MAX);
    let begin = Instant::now();
    for round in 0..2_000 {
        if round >= 15 && begin.elapsed() > Duration::from_millis(500) {
            break;
        }
        fastest.0 = fastest.0.min(time_once(&mut Oracle, world, message));
        fastest.1 = fastest.1.min(time_once(&mut native, world, message));
    }
    fastest
}

fn time_once<E: FrameExecutor>(executor: &mut E, world: &mut World, message: &Message) -> Duration {
    let checkpoint = world.checkpoint();
    let begin = Instant::now();
    run_message(executor, world, message, false);
    let time = begin.elapsed();
    world.revert(checkpoint);
    time
}
