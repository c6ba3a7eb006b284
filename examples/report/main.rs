//! Compile time, code size and speed of every contract in state-test files.
//!
//! ```text
//! cargo run --release --example report -- FILE_OR_FOLDER...
//! ```
//!
//! For each test the code of the first transaction's target is compiled at both tiers (the fastest
//! of several runs is shown), then the transaction is run as a whole on revm, by the interpreter and
//! by each tier, in turns; the fastest counts. A difference in result, gas, logs, state or reads ends
//! the program with exit code 1.
//!
//! `limit` is the gain if all cost nothing but the transaction without code, the hashes that it computes,
//! its storage and its logs: these are recorded and timed alone, in turns with the rest.

#[path = "../../tests/blocks/mod.rs"]
mod blocks;
#[allow(dead_code, reason = "`statetest` uses all of it")]
#[path = "../statetest/fixture.rs"]
mod fixture;
mod requests;
#[path = "../statetest/root.rs"]
mod root;
#[allow(dead_code, reason = "`statetest` uses all of it")]
#[path = "../statetest/roots.rs"]
mod roots;
#[allow(dead_code, reason = "`statetest` uses all of it")]
#[path = "../statetest/run.rs"]
mod run;

use blocks::{native::blocking, run::timed, step::Runs};
use fixture::{Case, Fixture};
use requests::Requests;
use revm::{
    context::TxEnv,
    primitives::{Bytes, TxKind, hardfork::SpecId},
};
use revmc_jit::{
    Chain,
    compiler::{CompileOptions, Tier, compile},
    revm::JitEvm,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// The newest fork without a cap on a transaction's gas.
const FORK: SpecId = SpecId::PRAGUE;

const TIERS: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

const COMPILE_RUNS: usize = 5;

/// Rounds of execution, and the time after which no further round begins.
const ROUNDS: usize = 500;
const ROUNDS_END: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let mut paths = Vec::new();
    for argument in std::env::args_os().skip(1) {
        paths.extend(files(Path::new(&argument)));
    }
    if paths.is_empty() {
        eprintln!("usage: report FILE_OR_FOLDER...");
        return ExitCode::from(2);
    }
    println!(
        "{:<20} {:>6} {:>9} {:>9} {:>9} {:>9} {:>12} {:>7} {:>7} {:>7}  equal",
        "contract",
        "bytes",
        "tier1 ms",
        "tier2 ms",
        "native1",
        "native2",
        "interp ns",
        "x1",
        "x2",
        "limit"
    );
    let mut failed = false;
    for path in paths {
        let read = fs::read_to_string(&path).map_err(|error| error.to_string());
        let reported = read.and_then(|text| {
            let fixtures = fixture::parse(&text, &roots::Roots::default())?;
            fixtures.iter().try_for_each(|fixture| {
                report(fixture).map_err(|error| format!("{}: {error}", fixture.name))
            })
        });
        if let Err(error) = reported {
            println!("{}: {error}", path.display());
            failed = true;
        }
    }
    ExitCode::from(u8::from(failed))
}

/// The state-test files of a folder, in a fixed order, or the file itself.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return vec![path.to_owned()];
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "json"));
    files.sort();
    files
}

fn report(fixture: &Fixture) -> Result<(), String> {
    let cases = fixture.cases.iter();
    let case = cases.rev().find(|case| case.spec_id == FORK);
    let case = case.ok_or("no transaction")?;
    let transaction = case.transactions.first().ok_or("no transaction")?.clone()?;
    let code = target(fixture, &transaction).ok_or("the target has no code")?;
    let mut compiled = Vec::new();
    let mut backends = Vec::new();
    for tier in TIERS {
        compiled.push(fastest_compilation(&code, tier)?);
        backends.push(blocking(tier).map_err(|error| error.to_string())?);
    }

    let interpreted = run::run(fixture, case, None);
    for backend in &backends {
        interpreted.same(&run::run(fixture, case, Some(backend)))?;
        if backend.stats().failed > 0 {
            return Err("a contract was not compiled".to_owned());
        }
    }

    let asked = Requests::of(run::evm(fixture, case).0, transaction.clone());
    let empty = requests::without_code(&transaction);
    let mut least = [Duration::MAX; 5];
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        least[0] = least[0].min(time(fixture, case, &transaction, |evm| evm));
        for (least, backend) in least[1..].iter_mut().zip(&backends) {
            let wrap = |evm| JitEvm::new(evm, backend.clone());
            *least = (*least).min(time(fixture, case, &transaction, wrap));
        }
        least[3] = least[3].min(time(fixture, case, &empty, |evm| evm));
        least[4] = least[4].min(asked.time(&mut run::evm(fixture, case).0));
        if begin.elapsed() > ROUNDS_END {
            break;
        }
    }
    let times = |native: Duration| least[0].as_secs_f64() / native.as_secs_f64();
    let end = match &interpreted.steps[0].result {
        Ok(result) if result.is_success() => "success",
        Ok(result) if result.is_halt() => "halt",
        Ok(_) => "revert",
        Err(why) => why,
    };
    println!(
        "{:<20} {:>6} {:>9.2} {:>9.2} {:>9} {:>9} {:>12} {:>7.2} {:>7.2} {:>7.2}  yes ({end})",
        fixture.name,
        code.len(),
        compiled[0].0.as_secs_f64() * 1e3,
        compiled[1].0.as_secs_f64() * 1e3,
        compiled[0].1,
        compiled[1].1,
        least[0].as_nanos(),
        times(least[1]),
        times(least[2]),
        times(least[3] + least[4]),
    );
    Ok(())
}

/// The code that the transaction calls.
fn target(fixture: &Fixture, transaction: &TxEnv) -> Option<Bytes> {
    let TxKind::Call(to) = transaction.kind else {
        return None;
    };
    let account = fixture.pre.accounts.get(&to)?.account.as_ref()?;
    let code = account.info.code.as_ref()?.original_bytes();
    (!code.is_empty()).then_some(code)
}

/// The fastest compilation's time, and the bytes of machine code.
fn fastest_compilation(code: &[u8], tier: Tier) -> Result<(Duration, usize), String> {
    let options = CompileOptions {
        tier,
        ..CompileOptions::default()
    };
    let chain = Chain::mainnet();
    let (mut fastest, mut len) = (Duration::MAX, 0);
    for _ in 0..COMPILE_RUNS {
        let begin = Instant::now();
        let native = compile(code, chain.rules(FORK), &options).map_err(|e| e.to_string())?;
        fastest = fastest.min(begin.elapsed());
        len = native.text_len();
    }
    Ok((fastest, len))
}

/// How long the whole transaction takes, on a state of its own that is made before.
fn time<E: Runs>(
    fixture: &Fixture,
    case: &Case,
    transaction: &TxEnv,
    wrap: impl FnOnce(run::Plain) -> E,
) -> Duration {
    let (evm, _) = run::evm(fixture, case);
    let mut evm = wrap(evm);
    timed(&mut evm, transaction).0
}
