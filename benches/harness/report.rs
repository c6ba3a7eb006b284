//! Tables of medians and spreads, as text and as JSON.
//!
//! A report file holds the last run of each benchmark:
//! `{"benches": {NAME: {"machine": {..}, "tables": [{"title", "columns", "chart", "rows":
//! [{"name", "cells": [[median, low, high] or null, ..]}]}]}}}`.

use serde_json::{Map, Value, json};
use std::fmt;
use std::path::Path;

/// A median with the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Of no samples: not a number.
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: usize| sorted.get(sorted.len() * share / 4).copied();
        let at = |share: usize| at(share).unwrap_or(f64::NAN);
        Self {
            median: at(2),
            low: at(1),
            high: at(3),
        }
    }

    /// A value that is what it is: a size, a count.
    pub fn exact(value: f64) -> Self {
        Self {
            median: value,
            low: value,
            high: value,
        }
    }

    /// Multiplied by a constant, for another unit.
    pub fn times(self, factor: f64) -> Self {
        Self {
            median: self.median * factor,
            low: self.low * factor,
            high: self.high * factor,
        }
    }

    /// Half the distance of the quartiles, as a share of the median.
    pub fn noise(&self) -> f64 {
        (self.high - self.low) / 2.0 / self.median
    }

    fn to_json(self) -> Value {
        json!([self.median, self.low, self.high])
    }

    fn from_json(value: &Value) -> Option<Self> {
        let at = |i: usize| value.get(i)?.as_f64();
        Some(Self {
            median: at(0)?,
            low: at(1)?,
            high: at(2)?,
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = self.median;
        let digits = match median.abs() {
            _ if median.fract() == 0.0 && self.low == self.high => 0,
            1000.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        if self.low == self.high {
            write!(f, "{median:.digits$}")
        } else {
            write!(f, "{median:.digits$} ±{:.0}%", self.noise() * 100.0)
        }
    }
}

/// A row: a name and a cell for each column.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub cells: Vec<Option<Spread>>,
}

/// Rows under one title.
#[derive(Clone, Debug)]
pub struct Table {
    pub title: String,
    pub columns: Vec<String>,
    /// The column that a chart shows.
    pub chart: Option<usize>,
    pub rows: Vec<Row>,
}

impl Table {
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            chart: None,
            rows: Vec::new(),
        }
    }

    pub fn chart(mut self, column: usize) -> Self {
        self.chart = Some(column);
        self
    }

    pub fn row(&mut self, name: impl Into<String>, cells: &[Spread]) {
        let cells = cells.iter().copied().map(Some).collect();
        let name = name.into();
        self.rows.push(Row { name, cells });
    }

    /// The cell of a row and a column, by name.
    pub fn cell(&self, row: &str, column: &str) -> Option<Spread> {
        let column = self.columns.iter().position(|name| name == column)?;
        let row = self.rows.iter().find(|found| found.name == row)?;
        row.cells.get(column).copied().flatten()
    }

    fn to_json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|Row { name, cells }| {
                let cells: Vec<Value> = cells
                    .iter()
                    .map(|cell| cell.map_or(Value::Null, Spread::to_json))
                    .collect();
                json!({ "name": name, "cells": cells })
            })
            .collect();
        let Self {
            title,
            columns,
            chart,
            ..
        } = self;
        json!({ "title": title, "columns": columns, "chart": chart, "rows": rows })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let row = |row: &Value| {
            let cells = row["cells"].as_array()?.iter().map(Spread::from_json);
            Some(Row {
                name: text(&row["name"])?,
                cells: cells.collect(),
            })
        };
        Some(Self {
            title: text(&value["title"])?,
            columns: value["columns"]
                .as_array()?
                .iter()
                .map(text)
                .collect::<Option<_>>()?,
            chart: value["chart"].as_u64().map(|column| column as usize),
            rows: value["rows"]
                .as_array()?
                .iter()
                .map(row)
                .collect::<Option<_>>()?,
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |row: &Row| row.name.chars().count();
        let first = self.rows.iter().map(name).max().unwrap_or(0);
        let text = |row: &Row, i: usize| match row.cells.get(i).copied().flatten() {
            Some(cell) => cell.to_string(),
            None => "-".to_owned(),
        };
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let cells = self.rows.iter().map(|row| text(row, i).chars().count());
                cells
                    .chain([self.columns[i].chars().count()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        write!(f, "{}\n  {:first$}", self.title, "")?;
        for (column, width) in self.columns.iter().zip(&widths) {
            write!(f, "  {column:>width$}")?;
        }
        for row in &self.rows {
            write!(f, "\n  {:first$}", row.name)?;
            for (i, width) in widths.iter().enumerate() {
                write!(f, "  {:>width$}", text(row, i))?;
            }
        }
        Ok(())
    }
}

/// One run of one benchmark.
#[derive(Clone, Debug)]
pub struct Report {
    pub name: String,
    /// Where and of what it was made: (what, which).
    pub machine: Vec<(String, String)>,
    pub tables: Vec<Table>,
}

impl Report {
    /// An empty report of this machine.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            machine: machine(),
            tables: Vec::new(),
        }
    }

    /// Writes the report into the file, over the one of an earlier run of the same benchmark.
    pub fn save(&self, file: &Path) -> Result<(), String> {
        let fail = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
        let mut all = match std::fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| fail(&error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({}),
            Err(error) => return Err(fail(&error)),
        };
        let machine: Map<String, Value> = self
            .machine
            .iter()
            .map(|(what, which)| (what.clone(), which.clone().into()))
            .collect();
        let tables: Vec<Value> = self.tables.iter().map(Table::to_json).collect();
        let object = all
            .as_object_mut()
            .ok_or_else(|| fail(&"not a report"))?
            .entry("benches")
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .ok_or_else(|| fail(&"not a report"))?;
        object.insert(
            self.name.clone(),
            json!({ "machine": machine, "tables": tables }),
        );
        let text = serde_json::to_string_pretty(&all).map_err(|error| fail(&error))?;
        std::fs::write(file, text + "\n").map_err(|error| fail(&error))
    }

    /// Every benchmark's report in the file.
    pub fn load(file: &Path) -> Result<Vec<Self>, String> {
        let fail = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| fail(&error))?;
        let all: Value = serde_json::from_str(&text).map_err(|error| fail(&error))?;
        let benches = all["benches"].as_object();
        let benches = benches.ok_or_else(|| fail(&"not a report"))?;
        let report = |(name, report): (&String, &Value)| {
            let machine = report["machine"].as_object()?.iter();
            let machine =
                machine.map(|(what, which)| Some((what.clone(), which.as_str()?.to_owned())));
            let tables = report["tables"].as_array()?.iter().map(Table::from_json);
            Some(Self {
                name: name.clone(),
                machine: machine.collect::<Option<_>>()?,
                tables: tables.collect::<Option<_>>()?,
            })
        };
        benches
            .iter()
            .map(|bench| report(bench).ok_or_else(|| fail(&format!("{}: not a report", bench.0))))
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        for (what, which) in &self.machine {
            write!(f, " {what} {which};")?;
        }
        write!(f, " median ± half the distance of the quartiles")
    }
}

fn machine() -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(std::env::consts::ARCH.to_owned(), |(_, name)| {
            name.to_owned()
        });
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut machine = vec![
        ("cpu".to_owned(), cpu),
        ("cores".to_owned(), cores.to_string()),
        ("os".to_owned(), std::env::consts::OS.to_owned()),
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let describe = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(std::process::Stdio::null())
        .output();
    let commit = describe.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if let Ok(commit) = commit
        && !commit.is_empty()
    {
        machine.push(("commit".to_owned(), commit));
    }
    // What else ran when this began: above the number of cores, expect noise.
    if let Some(load) = read("/proc/loadavg").split(' ').next()
        && !load.is_empty()
    {
        machine.push(("load".to_owned(), load.to_owned()));
    }
    machine
}
