//! What the operator sees: a bar while it runs, a line for each pass, a table, a chart.

use crate::{
    Compiled, Pass,
    blocks::format::Block,
    histogram::Histogram,
    svg::{self, Area},
};
use revmc_jit::{JitBackend, RuntimeStatsSnapshot};
use std::io::{IsTerminal, Write};

/// Of one pass.
struct Line {
    /// Blocks per second without and with the compiler.
    without: f64,
    with: f64,
    /// Part of the frames, and of the gas, that is native.
    frames: f64,
    gas: f64,
}

/// What was counted so far.
pub struct Report {
    blocks: usize,
    transactions: usize,
    passes: usize,
    lines: Vec<Line>,
    /// Of both clients: seconds by the clock on the wall, and the longest transaction's.
    wall: [f64; 2],
    longest: [f64; 2],
    before: RuntimeStatsSnapshot,
    bar: bool,
}

impl Report {
    /// Prints the heads of the columns.
    pub fn new(blocks: &[Block], passes: usize) -> Self {
        let transactions = blocks.iter().map(|block| block.transactions.len()).sum();
        println!("{} blocks, {transactions} transactions", blocks.len());
        println!(
            "{:>4} {:>12} {:>12} {:>8} {:>8} {:>8} {:>9} {:>10} {:>9}",
            "pass",
            "blocks/s",
            "blocks/s",
            "times",
            "native",
            "native",
            "programs",
            "code",
            "compile"
        );
        println!(
            "{:>4} {:>12} {:>12} {:>8} {:>8} {:>8} {:>9} {:>10} {:>9}",
            "", "interpreter", "with JIT", "faster", "frames", "gas", "", "MiB", "CPU s"
        );
        Self {
            blocks: blocks.len(),
            transactions,
            passes,
            lines: Vec::new(),
            wall: [0.0; 2],
            longest: [0.0; 2],
            before: RuntimeStatsSnapshot::default(),
            // Not into files.
            bar: std::io::stderr().is_terminal(),
        }
    }

    /// Draws the bar: of both clients' blocks in this pass, `done` are done.
    pub fn progress(&self, pass: usize, done: usize, backend: &JitBackend) {
        if !self.bar {
            return;
        }
        let all = 2 * self.blocks;
        let filled = 40 * (pass * all + done) / (self.passes * all).max(1);
        let programs = backend.stats().resident_entries;
        let bar = format!("{}{}", "#".repeat(filled), "-".repeat(40 - filled));
        let (pass, passes) = (pass + 1, self.passes);
        eprint!("\r[{bar}] pass {pass}/{passes}, {programs} programs ");
        if filled == 40 {
            eprint!("\r{:70}\r", "");
        }
        let _ = std::io::stderr().flush();
    }

    /// Prints the line of a pass, which the two clients have taken so long for.
    pub fn pass(
        &mut self,
        without: Pass,
        with: Pass,
        backend: &JitBackend,
        compiled: &Compiled,
        gas: f64,
    ) {
        let stats = backend.stats();
        let hits = stats.hits - self.before.hits;
        let others = stats.misses + stats.negatives - self.before.misses - self.before.negatives;
        self.before = stats;
        for (at, pass) in [without, with].into_iter().enumerate() {
            self.wall[at] += pass.time.as_secs_f64();
            self.longest[at] = self.longest[at].max(pass.longest.as_secs_f64());
        }
        let speed = |pass: Pass| self.blocks as f64 / pass.processor.as_secs_f64();
        let line = Line {
            without: speed(without),
            with: speed(with),
            frames: hits as f64 / (hits + others).max(1) as f64,
            gas,
        };
        if self.bar {
            eprint!("\r{:70}\r", "");
        }
        println!(
            "{:>4} {:>12.1} {:>12.1} {:>7.2}x {:>7.1}% {:>7.1}% {:>9} {:>10.2} {:>9.2}",
            self.lines.len() + 1,
            line.without,
            line.with,
            line.with / line.without,
            100.0 * line.frames,
            100.0 * line.gas,
            stats.resident_entries,
            mebibytes(&stats),
            compiled.seconds(),
        );
        self.lines.push(line);
    }

    /// Prints the table.
    pub fn finish(
        &self,
        lookups: &Histogram,
        clock: &Histogram,
        backend: &JitBackend,
        compiled: &Compiled,
    ) {
        let stats = backend.stats();
        let harmonic = |of: fn(&Line) -> f64| {
            self.lines.len() as f64 / self.lines.iter().map(|line| 1.0 / of(line)).sum::<f64>()
        };
        let (without, with) = (harmonic(|line| line.without), harmonic(|line| line.with));
        let executed = self.blocks * self.lines.len();
        let seconds = executed as f64 / with;
        println!();
        let rows = [
            (
                "blocks, transactions",
                format!("{executed}, {}", self.transactions * self.lines.len()),
            ),
            ("blocks per second, interpreter", format!("{without:.1}")),
            ("blocks per second, with JIT", format!("{with:.1}")),
            (
                "times faster, over all passes",
                format!("{:.2}", with / without),
            ),
            (
                "the same three, by the clock on the wall",
                format!(
                    "{:.1}, {:.1}, {:.2}",
                    executed as f64 / self.wall[0],
                    executed as f64 / self.wall[1],
                    self.wall[0] / self.wall[1]
                ),
            ),
            (
                "times faster, first and last pass",
                format!(
                    "{}, {}",
                    faster(self.lines.first()),
                    faster(self.lines.last())
                ),
            ),
            (
                "native frames, native gas, last pass",
                self.lines.last().map_or_else(String::new, |line| {
                    format!("{:.1}%, {:.1}%", 100.0 * line.frames, 100.0 * line.gas)
                }),
            ),
            (
                "compile CPU; of the time executed with JIT",
                format!(
                    "{:.2} s; {:.1}%",
                    compiled.seconds(),
                    100.0 * compiled.seconds() / seconds
                ),
            ),
            (
                "programs, code memory",
                format!("{}, {:.2} MiB", stats.resident_entries, mebibytes(&stats)),
            ),
            (
                "compilations: made, failed, optimised",
                format!("{}, {}, {}", stats.succeeded, stats.failed, stats.optimized),
            ),
            (
                "longest transaction, interpreter and with JIT",
                format!(
                    "{:.2} ms, {:.2} ms",
                    1e3 * self.longest[0],
                    1e3 * self.longest[1]
                ),
            ),
        ];
        for (name, value) in rows {
            println!("{name:<48} {value}");
        }
        println!();
        println!(
            "{:<28} {:>12} {:>8} {:>8} {:>9} {:>9} {:>11}",
            "ns on the execution thread", "samples", "p50", "p99", "p99.9", "p99.99", "worst"
        );
        println!("{:<28} {lookups}", "a lookup");
        println!("{:<28} {clock}", "nothing (the machine alone)");
    }

    /// The chart.
    pub fn svg(&self) -> String {
        let column = |of: fn(&Line) -> f64| self.lines.iter().map(of).collect::<Vec<_>>();
        let mut body = String::new();
        svg::text(
            &mut body,
            "h",
            10.0,
            24.0,
            "A node with and without the JIT",
        );
        let remark = format!(
            "{} blocks, {} transactions, executed {} times; compiled in the background at default \
             settings",
            self.blocks,
            self.transactions,
            self.lines.len()
        );
        svg::text(&mut body, "m", 10.0, 40.0, &remark);
        let area = Area {
            x: 60.0,
            y: 80.0,
            width: 760.0,
            height: 200.0,
        };
        let (with, without) = (column(|line| line.with), column(|line| line.without));
        let series: [(&str, &[f64]); 2] = [("with JIT", &with), ("interpreter", &without)];
        svg::plot(
            &mut body,
            area,
            "blocks per second of processor time",
            "pass",
            &series,
        );
        let area = Area { y: 370.0, ..area };
        let frames = column(|line| 100.0 * line.frames);
        let gas = column(|line| 100.0 * line.gas);
        let series: [(&str, &[f64]); 2] = [("of frames", &frames), ("of gas", &gas)];
        svg::plot(&mut body, area, "native, %", "pass", &series);
        svg::document(860.0, 620.0, &body)
    }
}

fn faster(line: Option<&Line>) -> String {
    line.map_or_else(String::new, |line| {
        format!("{:.2}", line.with / line.without)
    })
}

fn mebibytes(stats: &RuntimeStatsSnapshot) -> f64 {
    (stats.code_bytes + stats.aot_code_bytes) as f64 / f64::from(1 << 20)
}
