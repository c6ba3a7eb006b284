//! What the benchmarks share: contenders that take turns, tables with medians and spreads, a
//! report as text and as JSON. `benches/README.md` says how to run them.
//!
//! Several benchmarks include this module and none uses all of it, hence the one `allow` below.
#![allow(dead_code, unused_imports, unused_macros)]

pub mod backend;
pub mod contender;
#[path = "../../src/cpu_time.rs"]
pub mod cpu_time;
pub mod memory;
pub mod report;

use report::{Report, Table};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often each contender has its turn.
    pub rounds: usize,
    /// How long a turn takes.
    pub turn: Duration,
    /// No further round begins after so long, but for the first few.
    pub patience: Duration,
}

impl Effort {
    /// The numbers of the rounds, until patience is at its end.
    pub fn rounds(self) -> impl Iterator<Item = usize> {
        let begin = Instant::now();
        (0..self.rounds).take_while(move |&round| round < 3 || begin.elapsed() < self.patience)
    }
}

/// One run of a benchmark.
pub struct Session {
    pub effort: Effort,
    /// Where a benchmark that draws a chart of its own puts it.
    pub svg: Option<PathBuf>,
    report: Report,
}

impl Session {
    /// Prints the table and keeps it for the report.
    pub fn add(&mut self, table: Table) {
        println!("\n{table}");
        self.report.tables.push(table);
    }

    /// Whether this is a measurement, and not only a check that the benchmark runs.
    pub fn full(&self) -> bool {
        self.effort.rounds > 1
    }

    /// What the report says of the machine under this name.
    pub fn machine(&self, what: &str) -> &str {
        let mut machine = self.report.machine.iter();
        machine
            .find(|(name, _)| name == what)
            .map_or("", |(_, which)| which)
    }

    /// `count`, or a few if this is only a check.
    pub fn at_most(&self, count: usize) -> usize {
        if self.full() { count } else { count.min(8) }
    }
}

/// A part of a benchmark that can be asked for by name.
pub type Section = (&'static str, fn(&mut Session));

/// Runs a benchmark's sections: those named on the command line, or all.
///
/// Without `--bench`, which `cargo bench` passes and `cargo test --benches` does not, everything
/// runs once and for a moment: a check that it works.
pub fn run(name: &str, sections: &[Section]) -> ExitCode {
    let (mut wanted, mut measure) = (Vec::new(), false);
    let (mut json, mut svg) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => measure = true,
            "--json" | "--svg" => match arguments.next().map(PathBuf::from) {
                Some(file) if argument == "--json" => json = Some(file),
                Some(file) => svg = Some(file),
                None => {
                    eprintln!("{argument} needs a file");
                    return ExitCode::from(2);
                }
            },
            section => wanted.push(section.to_owned()),
        }
    }
    let mut session = Session {
        effort: if measure {
            Effort {
                rounds: 61,
                turn: Duration::from_millis(1),
                patience: Duration::from_secs(3),
            }
        } else {
            Effort {
                rounds: 1,
                turn: Duration::from_micros(10),
                patience: Duration::ZERO,
            }
        },
        svg,
        report: Report::new(name),
    };
    let sections: Vec<_> = sections
        .iter()
        .filter(|(section, _)| wanted.is_empty() || wanted.iter().any(|w| w == section))
        .collect();
    if sections.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{}", session.report);
    for (_, section) in sections {
        section(&mut session);
    }
    match json.map(|file| session.report.save(&file)) {
        Some(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// A well-mixed word for each number (SplitMix64's finaliser): keys that look like hashes.
pub fn random(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The processor time of the calling thread, or the time since the first call where the system does
/// not tell.
pub fn processor_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    cpu_time::thread_time().unwrap_or_else(|| START.elapsed())
}
