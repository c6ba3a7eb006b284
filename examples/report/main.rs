//! Compile time, code size and speed of every contract in state-test files.
//!
//! ```text
//! cargo run --release --example report -- FILE_OR_FOLDER...
//! ```
//!
//! For each test the code of the first transaction's target is compiled at both tiers (the fastest
//! of several runs is shown), then the transaction is run by the interpreter and by each tier, in
//! turns. A difference in result, gas or state ends the program with exit code 1.

#[path = "../../tests/common/mod.rs"]
mod common;
mod fixture;

use common::driver::{FrameExecutor, Oracle, Run, Timed, run_message};
use common::native::{Native, TIERS};
use common::verdict;
use common::world::World;
use fixture::Fixture;
use revmc::primitives::SpecId;
use revmc_jit::engine::{self, CompileOptions, Tier};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const COMPILE_RUNS: usize = 5;

/// Rounds of execution, and the time after which no further round begins.
const ROUNDS: usize = 500;
const ROUNDS_END: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let mut files = Vec::new();
    for argument in std::env::args_os().skip(1) {
        files.extend(fixture::files(Path::new(&argument)));
    }
    if files.is_empty() {
        eprintln!("usage: report FILE_OR_FOLDER...");
        return ExitCode::from(2);
    }
    println!(
        "{:<20} {:>6} {:>9} {:>9} {:>9} {:>9} {:>12} {:>7} {:>7}  equal",
        "contract", "bytes", "tier1 ms", "tier2 ms", "native1", "native2", "interp ns", "x1", "x2"
    );
    let mut failed = false;
    for file in files {
        match fixture::read(&file, SpecId::CANCUN) {
            Ok(fixtures) => {
                for fixture in fixtures {
                    if let Err(error) = report(&fixture) {
                        println!("{}: {error}", fixture.name);
                        failed = true;
                    }
                }
            }
            Err(error) => {
                println!("{error}");
                failed = true;
            }
        }
    }
    ExitCode::from(failed as u8)
}

fn report(fixture: &Fixture) -> Result<(), String> {
    let message = fixture.messages.first().ok_or("no transaction")?;
    let account = fixture
        .world
        .account(message.to)
        .ok_or("the target has no account")?;
    let code = account.code.original_bytes();
    let spec_id = fixture.world.spec_id;
    let mut compiled = Vec::new();
    for tier in TIERS {
        compiled.push(compile(&code, spec_id, tier)?);
    }

    let mut tiers = TIERS.map(Native::new);
    let oracle = run(fixture, &mut Oracle);
    for native in &mut tiers {
        let other = run(fixture, native);
        verdict::compare(&oracle.0, &oracle.1.state, &other.0, &other.1.state)?;
        if let Some(failure) = native.take_failure() {
            return Err(failure);
        }
    }

    let [first, second] = &mut tiers;
    let (mut interpreted, mut one, mut two) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        interpreted = interpreted.min(time(fixture, &mut Oracle));
        one = one.min(time(fixture, first));
        two = two.min(time(fixture, second));
        if begin.elapsed() > ROUNDS_END {
            break;
        }
    }
    let times = |native: Duration| interpreted.as_secs_f64() / native.as_secs_f64();
    println!(
        "{:<20} {:>6} {:>9.2} {:>9.2} {:>9} {:>9} {:>12} {:>7.2} {:>7.2}  yes ({:?})",
        fixture.name,
        code.len(),
        compiled[0].0.as_secs_f64() * 1e3,
        compiled[1].0.as_secs_f64() * 1e3,
        compiled[0].1,
        compiled[1].1,
        interpreted.as_nanos(),
        times(one),
        times(two),
        oracle.0.result.result,
    );
    Ok(())
}

/// The fastest compilation's time, and the bytes of machine code.
fn compile(code: &[u8], spec_id: SpecId, tier: Tier) -> Result<(Duration, usize), String> {
    let options = CompileOptions {
        tier,
        ..CompileOptions::default()
    };
    let (mut fastest, mut len) = (Duration::MAX, 0);
    for _ in 0..COMPILE_RUNS {
        let begin = Instant::now();
        let native = engine::compile(code, spec_id, &options).map_err(|e| e.to_string())?;
        fastest = fastest.min(begin.elapsed());
        len = native.text_len();
    }
    Ok((fastest, len))
}

fn run<E: FrameExecutor>(fixture: &Fixture, executor: &mut E) -> (Run, World) {
    let mut world = fixture.world.clone();
    let run = run_message(executor, &mut world, &fixture.messages[0], true);
    (run, world)
}

/// The time spent inside frames, whoever runs them; setting up the call is the same for all.
fn time<E: FrameExecutor>(fixture: &Fixture, executor: &mut E) -> Duration {
    let mut world = fixture.world.clone();
    let mut timed = Timed::new(executor);
    run_message(&mut timed, &mut world, &fixture.messages[0], false);
    timed.spent
}
