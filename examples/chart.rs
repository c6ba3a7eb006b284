//! Draws the benchmarks' report as bars.
//!
//! ```text
//! cargo bench -- --json report.json
//! cargo run --example chart -- report.json benches/report.svg
//! ```
//!
//! Of each table that names a column for it, that column: the median as a bar, the quartiles as a
//! line across its end. The file is plain SVG and reads well on light and dark backgrounds.

#[allow(dead_code)]
#[path = "../benches/harness/report.rs"]
mod report;
#[allow(dead_code)]
#[path = "../benches/harness/svg.rs"]
mod svg;

use report::{Report, Spread, Table};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use svg::text;

const WIDTH: f64 = 860.0;
const NAMES: f64 = 330.0;
const BARS: f64 = 420.0;
const LINE: f64 = 20.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [report, svg, wanted @ ..] = &arguments[..] else {
        eprintln!("usage: chart REPORT.json OUT.svg [BENCHMARK...]");
        return ExitCode::from(2);
    };
    let drawn = Report::load(Path::new(report)).and_then(|mut reports| {
        reports.retain(|report| wanted.is_empty() || wanted.contains(&report.name));
        std::fs::write(svg, draw(&reports)).map_err(|error| format!("{svg}: {error}"))
    });
    match drawn {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn draw(reports: &[Report]) -> String {
    let (mut body, mut y) = (String::new(), 10.0);
    for report in reports {
        let charted = report.tables.iter().filter(|table| table.chart.is_some());
        let mut charted = charted.peekable();
        if charted.peek().is_none() {
            continue;
        }
        let machine: Vec<String> = report
            .machine
            .iter()
            .map(|(what, which)| format!("{what} {which}"))
            .collect();
        y += 24.0;
        text(&mut body, "h", 10.0, y, &report.name);
        y += 16.0;
        text(&mut body, "m", 10.0, y, &machine.join("; "));
        for table in charted {
            y = draw_table(&mut body, y + 30.0, table);
        }
    }
    svg::document(WIDTH, y + 20.0, &body)
}

/// Draws one table from `y` on; returns where it ends.
fn draw_table(out: &mut String, mut y: f64, table: &Table) -> f64 {
    let column = table.chart.unwrap_or(0);
    let unit = table.columns.get(column).map_or("", String::as_str);
    text(out, "t", 10.0, y, &format!("{} ({unit})", table.title));
    y += 8.0;
    let cell = |cells: &[Option<Spread>]| cells.get(column).copied().flatten();
    let medians = table.rows.iter().filter_map(|row| cell(&row.cells));
    let largest = medians.map(|spread| spread.median).fold(0.0, f64::max);
    if largest <= 0.0 || !largest.is_finite() {
        return y;
    }
    let place = |value: f64| NAMES + (value / largest).clamp(0.0, 1.05) * BARS;
    let top = y;
    for row in &table.rows {
        let Some(spread) = cell(&row.cells) else {
            continue;
        };
        let middle = y + LINE / 2.0;
        text(out, "n", NAMES - 8.0, middle + 4.0, &row.name);
        let width = place(spread.median) - NAMES;
        let _ = writeln!(
            out,
            "<rect class=\"b\" x=\"{NAMES}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
            y + 3.0,
            LINE - 6.0
        );
        if spread.low != spread.high {
            let (low, high) = (place(spread.low), place(spread.high));
            let _ = writeln!(
                out,
                "<line class=\"s\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>"
            );
        }
        let label = place(spread.median.max(spread.high)) + 6.0;
        text(out, "v", label, middle + 4.0, &spread.to_string());
        y += LINE;
    }
    // What a ratio is to.
    if unit.starts_with('x') || unit.contains(", x") {
        let one = place(1.0);
        let _ = writeln!(
            out,
            "<line class=\"o\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{top:.1}\" y2=\"{y:.1}\"/>"
        );
    }
    y
}
