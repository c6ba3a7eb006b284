//! A client in small: executes a folder of blocks in order, without a compiler and with one that works
//! in the background at default settings, and shows what its operator would see.
//!
//! ```text
//! cargo run --release --all-features --example node -- [--repeat N] [--svg FILE] [FOLDER]
//! ```
//!
//! A folder holds blocks as `tests/blocks/format.rs` describes them; without one, it is the few that come
//! with the crate. EVMs are made by alloy-evm's factory and by `JitEvmFactory` around it; that is the one
//! line by which the two clients differ. Nothing is compiled before, and no artifact is kept.
//!
//! The folder is executed `N` times (10): what is hot stays compiled, and every block finds its own state
//! before it. Passes of the two clients take turns, so that a neighbour on the machine disturbs both; in
//! the first client's passes compilation is paused, so that the second gets no time that it does not pay
//! for. A pass is timed block by block: making the EVM, the fork's system calls and the transactions;
//! not copying the state before, and not checking the result after. Speeds are by the processor time of
//! the execution thread, which a busy machine does not add to; the table has those by the clock on the
//! wall, too. What compiling costs is a figure of its own.
//!
//! Every block of either client has to have the gas used, logs bloom and (from Byzantium on) receipts root
//! of its header. The exit code is 1 if one has not, 2 if something cannot be read or started.

#[path = "../../tests/blocks/mod.rs"]
mod blocks;
mod client;
#[allow(dead_code)]
#[path = "../../src/cpu_time.rs"]
mod cpu_time;
mod gas;
#[allow(dead_code)]
#[path = "../stress/histogram.rs"]
mod histogram;
mod report;
#[allow(dead_code)]
#[path = "../../benches/harness/svg.rs"]
mod svg;

use alloy_evm::EthEvmFactory;
use blocks::{
    arguments,
    format::{Block, Folder},
};
use client::{Client, Pass};
use report::Report;
use revmc_jit::{CompilationEvent, JitBackend, RuntimeConfig, revm::JitEvmFactory};
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The command line.
struct Arguments {
    folder: PathBuf,
    passes: usize,
    svg: Option<PathBuf>,
}

impl Arguments {
    fn parse(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let (mut passes, mut svg) = (10, None);
        let folder = arguments::folder(arguments, |flag, rest| {
            match flag {
                "--repeat" => passes = arguments::number(rest)?,
                "--svg" => svg = Some(rest.next()?.into()),
                _ => return None,
            }
            Some(())
        })?;
        Some(Self {
            folder,
            passes,
            svg,
        })
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("node [--repeat N] [--svg FILE] [FOLDER]");
        return ExitCode::from(2);
    };
    match node(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(wrong) => {
            eprintln!("{wrong} blocks are not what their headers say");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Processor time of all compilations so far, as the client's callback counts it.
#[derive(Clone, Default)]
pub struct Compiled(Arc<AtomicU64>);

impl Compiled {
    fn note(&self, event: &CompilationEvent) {
        let nanos = u64::try_from(event.cpu_time.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: a sum that stands alone.
        self.0.fetch_add(nanos, Relaxed);
    }

    /// In seconds.
    fn seconds(&self) -> f64 {
        self.0.load(Relaxed) as f64 / 1e9
    }
}

/// Returns how many blocks were wrong.
fn node(arguments: &Arguments) -> Result<usize, String> {
    let folder = Folder::open(&arguments.folder)?;
    let files = folder.files.iter();
    let blocks: Vec<Block> = files
        .map(|file| folder.read(file))
        .collect::<Result<_, _>>()?;

    let compiled = Compiled::default();
    let mut config = RuntimeConfig::default();
    let note = compiled.clone();
    config.on_compilation = Some(Arc::new(move |event: &CompilationEvent| note.note(event)));
    let backend = JitBackend::new(config).map_err(|error| error.to_string())?;

    let plain = EthEvmFactory::default();
    let jit = JitEvmFactory::new(plain, backend.clone()); // the one line
    let mut without = Client::new(plain, None);
    let mut with = Client::new(jit, Some(backend.clone()));

    let mut report = Report::new(&blocks, arguments.passes);
    for pass in 0..arguments.passes {
        backend.pause();
        let first = without.pass(&blocks, |done| report.progress(pass, done, &backend));
        backend.resume();
        let second = with.pass(&blocks, |done| {
            report.progress(pass, blocks.len() + done, &backend)
        });
        let native_gas = gas::native_share(&blocks, &backend)?;
        report.pass(first, second, &backend, &compiled, native_gas);
    }
    let wrong = without.wrong + with.wrong;
    report.finish(&with.lookups, &with.clock, &backend, &compiled);
    if let Some(svg) = &arguments.svg {
        let written = std::fs::write(svg, report.svg());
        written.map_err(|error| format!("{}: {error}", svg.display()))?;
    }
    Ok(wrong)
}
