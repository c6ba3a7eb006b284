//! Runs real blocks again, by revm's interpreter and by native code of both tiers.
//!
//! ```text
//! cargo run --release --all-features --example replay -- [--interpreter] [--runs N] [FOLDER]
//! ```
//!
//! A folder holds blocks as `tests/blocks/format.rs` describes them; without one, it is the few that
//! come with the crate. Every transaction of every block is run on revm by the interpreter, by tier 1
//! and by tier 2, all contracts compiled before. Result, gas, halt reason, output, logs, every account
//! and slot that the journal has loaded with their flags, and what the database was asked for in which
//! order must be equal; gas used, logs bloom and (from Byzantium on) the receipts root must be the
//! header's.
//!
//! Then the block is timed: the three ways in turn, `N` times (9), each on a fresh state in memory that
//! is made before the clock starts; the least counts. A line for each block, then
//!
//! ```text
//! replay: B blocks, T transactions, D differences; tier 1 X.XX x, tier 2 Y.YY x; native bytes per byte of code U.U / V.V
//! ```
//!
//! with geometric means over the blocks with more than one transaction. The exit code is 1 if anything
//! differs, 2 if something cannot be read or started.
//!
//! `--interpreter` checks and times the interpreter alone.

#[path = "../../tests/blocks/mod.rs"]
mod blocks;
mod check;
mod report;

use blocks::{
    arguments,
    format::Folder,
    native::{Native, times},
};
use check::Checked;
use report::Report;
use revmc_jit::compiler::Tier;
use std::{path::PathBuf, process::ExitCode};

/// How often each way is timed.
const RUNS: usize = 9;

/// The command line.
struct Arguments {
    folder: PathBuf,
    runs: usize,
    interpreter: bool,
}

impl Arguments {
    fn parse(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let (mut runs, mut interpreter) = (RUNS, false);
        let folder = arguments::folder(arguments, |flag, rest| {
            match flag {
                "--interpreter" => interpreter = true,
                "--runs" => runs = arguments::number(rest)?,
                _ => return None,
            }
            Some(())
        })?;
        Some(Self {
            folder,
            runs,
            interpreter,
        })
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("replay [--interpreter] [--runs N] [FOLDER]");
        return ExitCode::from(2);
    };
    match replay(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Returns how many differences there were.
fn replay(arguments: &Arguments) -> Result<usize, String> {
    let folder = Folder::open(&arguments.folder)?;
    let mut tiers = Vec::new();
    if !arguments.interpreter {
        for tier in [Tier::Baseline, Tier::Optimized] {
            tiers.push(Native::new(tier).map_err(|error| error.to_string())?);
        }
    }
    let mut report = Report::new(tiers.len());
    for file in &folder.files {
        let block = folder.read(file)?;
        let Checked {
            gas_used,
            differences,
            refused,
        } = check::check(&block, &mut tiers);
        let times = times(&block, &tiers, arguments.runs);
        report.block(&block, gas_used, &times, &differences, &refused);
    }
    let ratios: Vec<f64> = tiers.iter().map(Native::ratio).collect();
    Ok(report.finish(&ratios))
}
