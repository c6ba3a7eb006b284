//! Compares two reports of the benchmarks: two commits, or two machines.
//!
//! ```text
//! cargo bench -- --json before.json
//! cargo bench -- --json after.json
//! cargo run --example compare -- before.json after.json
//! ```
//!
//! Lists every cell whose medians differ by more than 10% and by more than both runs' spread, and
//! then how many cells did not, by the kind of column: times tell machines apart, ratios should be
//! the same on all of them.

#[allow(dead_code)]
#[path = "../benches/harness/report.rs"]
mod report;

use report::{Report, Spread};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// A difference below this share is none.
const TOLERANCE: f64 = 0.10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [before, after] = &arguments[..] else {
        eprintln!("usage: compare BEFORE.json AFTER.json");
        return ExitCode::from(2);
    };
    let read = |file: &String| Report::load(Path::new(file));
    match (read(before), read(after)) {
        (Ok(before), Ok(after)) => {
            compare(&before, &after);
            ExitCode::SUCCESS
        }
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the medians differ by more than the tolerance and by more than chance explains.
fn differ(before: Spread, after: Spread) -> bool {
    let apart = after.low > before.high || after.high < before.low;
    apart && (after.median / before.median - 1.0).abs() > TOLERANCE
}

fn compare(before: &[Report], after: &[Report]) {
    // Column: cells within the tolerance, cells that differ, cells in both reports.
    let mut columns: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for new in after {
        let Some(old) = before.iter().find(|old| old.name == new.name) else {
            println!("{}: only in the second report", new.name);
            continue;
        };
        println!("{}\n{}", old, new);
        for table in &new.tables {
            let old = old.tables.iter().find(|old| old.title == table.title);
            let Some(old) = old else {
                println!("  {}: only in the second report", table.title);
                continue;
            };
            for row in &table.rows {
                for (column, cell) in table.columns.iter().zip(&row.cells) {
                    let (Some(after), Some(before)) = (*cell, old.cell(&row.name, column)) else {
                        continue;
                    };
                    let counts = columns
                        .entry(format!("{}: {column}", new.name))
                        .or_default();
                    let change = after.median / before.median - 1.0;
                    counts[0] += usize::from(change.abs() <= TOLERANCE);
                    counts[2] += 1;
                    if differ(before, after) {
                        counts[1] += 1;
                        println!(
                            "  {}; {}; {column}: {before} -> {after} ({:+.0}%)",
                            table.title,
                            row.name,
                            change * 100.0
                        );
                    }
                }
            }
        }
    }
    println!("\ncells within 10%, and beyond 10% and the spread, of those in both reports:");
    for (column, [within, beyond, all]) in columns {
        println!("  {column:48} {within:4} {beyond:4} of {all}");
    }
}
