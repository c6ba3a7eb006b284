//! What running contracts costs: by the interpreter, at both tiers, and from an artifact.
//!
//! `cargo bench --bench execute [-- SECTION] [--json FILE]`; the sections are `contracts`, the
//! calls of `examples/quickstart`, and `fixtures`: the first transaction of every test in the
//! state-test files and folders that the environment variable `REVMC_JIT_FIXTURES` lists,
//! separated by colons.
//!
//! A call is a whole message: its frames are made and ended, and inner calls dispatched, by the
//! same driver for all four. The first row is a contract that stops at once, and shows what the
//! driver costs: where a call costs hardly more, there is nothing to win. Before anything is timed,
//! result, gas and state are compared with the interpreter's.

#[path = "../tests/common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../examples/quickstart/contracts.rs"]
mod contracts;
#[path = "../examples/report/fixture.rs"]
mod fixture;
mod harness;

use common::case::Case;
use common::driver::{FrameExecutor, Message, Oracle, run_message};
use common::native::Native;
use common::verdict;
use common::world::World;
use harness::Session;
use harness::contender::{Contender, take_turns};
use harness::report::Table;
use revmc::primitives::SpecId;
use revmc_jit::engine::Tier;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const COLUMNS: [&str; 7] = [
    "interpreter, ns",
    "tier 1, ns",
    "tier 2, ns",
    "artifact, ns",
    "tier 1, x faster",
    "tier 2, x faster",
    "artifact, x faster",
];

/// Makes the call again and again from the same state.
fn contender<'a, E: FrameExecutor + Send + 'a>(
    name: &str,
    executor: E,
    world: &World,
    message: &'a Message,
) -> Contender<'a> {
    let state = Mutex::new((executor, world.clone()));
    let run = move |_: usize, _: usize, n: usize| {
        let mut state = state.lock().expect("no call panics");
        let (executor, world) = &mut *state;
        let mut elapsed = Duration::ZERO;
        for _ in 0..n {
            let checkpoint = world.checkpoint();
            let begin = Instant::now();
            let run = run_message(executor, world, message, false);
            elapsed += begin.elapsed();
            drop(run);
            world.revert(checkpoint);
        }
        elapsed
    };
    Contender::new(name, 1, Box::new(run))
}

/// Compiles what the call needs and compares the outcome with the interpreter's.
fn check(world: &World, message: &Message, native: &mut Native) -> Result<(), String> {
    let run = |executor: &mut Native| {
        let mut world = world.clone();
        let run = run_message(executor, &mut world, message, true);
        (run, world)
    };
    let mut oracle_world = world.clone();
    let oracle = run_message(&mut Oracle, &mut oracle_world, message, true);
    let (other, other_world) = run(native);
    match native.take_failure() {
        Some(failure) => Err(failure),
        None => verdict::compare(&oracle, &oracle_world.state, &other, &other_world.state),
    }
}

fn call(session: &Session, table: &mut Table, name: &str, world: &World, message: &Message) {
    let mut natives = [
        Native::new(Tier::Baseline),
        Native::new(Tier::Optimized),
        Native::from_artifacts(Tier::Optimized),
    ];
    for native in &mut natives {
        if let Err(error) = check(world, message, native) {
            println!("{name}: not timed: {error}");
            return;
        }
    }
    let mut contenders = vec![contender("interpreter", Oracle, world, message)];
    contenders.extend(natives.map(|native| contender("native", native, world, message)));
    take_turns(session.effort, &mut contenders);
    let [interpreter, native @ ..] = &contenders[..] else {
        unreachable!("four contenders were made");
    };
    let mut cells: Vec<_> = contenders.iter().map(Contender::median).collect();
    cells.extend(native.iter().map(|native| interpreter.ratio_to(native)));
    table.row(name, &cells);
}

fn contracts(session: &mut Session) {
    let mut table = Table::new("one call, contracts of examples/contracts", &COLUMNS).chart(5);
    let stop = Case::asm("STOP");
    call(session, &mut table, "STOP", &stop.world(), &stop.message());
    for scenario in contracts::scenarios() {
        for (name, message) in &scenario.calls {
            let name = format!("{}: {name}", scenario.file);
            call(session, &mut table, &name, &scenario.world, message);
        }
    }
    session.add(table);
}

fn fixtures(session: &mut Session) {
    let Some(paths) = std::env::var_os("REVMC_JIT_FIXTURES") else {
        return;
    };
    let mut table = Table::new("one transaction, state tests", &COLUMNS).chart(5);
    for path in std::env::split_paths(&paths).flat_map(|path| fixture::files(&path)) {
        match fixture::read(&path, SpecId::CANCUN) {
            Ok(fixtures) => {
                for fixture in &fixtures {
                    if let Some(message) = fixture.messages.first() {
                        call(session, &mut table, &fixture.name, &fixture.world, message);
                    }
                }
            }
            Err(error) => println!("not timed: {error}"),
        }
    }
    session.add(table);
}

fn main() -> ExitCode {
    harness::run(
        "execute",
        &[("contracts", contracts), ("fixtures", fixtures)],
    )
}
