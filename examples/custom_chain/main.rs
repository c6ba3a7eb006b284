//! A chain of one's own: an added instruction, a repriced one, a precompile, and forks by other names;
//! compared with its interpreter over generated programs.
//!
//! ```text
//! cargo run --release --example custom_chain -- [PROGRAMS]
//! ```
//!
//! `chain.rs` is what a client of such a chain writes. The exit code is 1 if anything differs.

mod chain;
#[path = "../../tests/common/mod.rs"]
mod common;
mod compare;

use chain::Fork;
use revmc_jit::{JitBackend, RuntimeConfig};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let programs = match (arguments.next().map(|n| n.parse::<u64>()), arguments.next()) {
        (None, _) => 2_000,
        (Some(Ok(programs)), None) => programs,
        _ => {
            eprintln!("custom_chain [PROGRAMS]");
            return ExitCode::from(2);
        }
    };
    match run(programs) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(programs: u64) -> Result<usize, Box<dyn std::error::Error>> {
    let mut config = RuntimeConfig::default();
    config.chain = chain::rules()?;
    // Every program is native at its first frame.
    config.blocking = true;
    let backend = JitBackend::new(config)?;
    let (mut successes, mut differences) = (0, 0);
    for seed in 0..programs {
        let case = compare::program(seed);
        for fork in [Fork::Basalt, Fork::Granite] {
            match compare::compare(&case, fork, &backend) {
                Ok((result, ..)) => {
                    successes += usize::from(result.is_ok_and(|result| result.is_success()));
                }
                Err(difference) => {
                    differences += 1;
                    eprintln!("seed {seed}, {fork:?}: {difference}");
                }
            }
        }
    }
    let frames = backend.stats().hits;
    println!(
        "{programs} programs on two forks: {successes} transactions succeeded, {frames} frames ran \
         natively, {differences} differences"
    );
    Ok(differences)
}
