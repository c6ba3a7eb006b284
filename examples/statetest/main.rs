//! Runs Ethereum's state tests with and without native code.
//!
//! ```text
//! cargo run --release --example statetest -- [--roots=TABLE] tests/statetests [PATH ...]
//! cargo run --example statetest -- --fill tests/statetests
//! ```
//!
//! A path is a file or a folder, which is read with all that is below it. Every test is run on
//! every fork it names, and in any case on Prague, Osaka and Amsterdam, by revm's interpreter and by
//! compiled code in both tiers (everything is compiled before it is run). The root of the state and
//! the hash of the logs are compared with the test's expectation, and everything that native code
//! does with what the interpreter does: result, gas, halt reason, logs, state, what was read.
//!
//! The table has a line for each folder: cases, those without an expectation (compared with the
//! interpreter alone), then how many passed interpreted and natively; frames of contracts that were
//! looked up in the backends, and those for which there was no program. The exit code is 1 if
//! compiled code does anything that the interpreter does not, 2 if a file cannot be read. A test
//! that all three fail is listed, and not counted as a difference.
//!
//! `--roots` names a table (`roots.rs`) of what tests end with whose files do not say.
//!
//! `--fill` writes what the interpreter computes into entries of `post` that have no `hash` yet.

#[path = "../../tests/blocks/mod.rs"]
mod blocks;
mod fixture;
mod root;
mod roots;
mod run;

use blocks::native::blocking;
use fixture::{Case, Fixture};
use revmc_jit::compiler::Tier;
use revmc_jit::{JitBackend, RuntimeStatsSnapshot};
use roots::Roots;
use run::{Outcome, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TIERS: [(&str, Tier); 2] = [("baseline", Tier::Baseline), ("optimized", Tier::Optimized)];

/// What the cases of a folder did.
#[derive(Default)]
struct Counts {
    cases: usize,
    unspecified: usize,
    interpreter: usize,
    native: [usize; 2],
    differences: usize,
    frames: u64,
    interpreted_frames: u64,
    skipped: usize,
}

fn main() -> ExitCode {
    let (flags, paths): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with("--"));
    let fill = flags == ["--fill"];
    let table = match &flags[..] {
        [flag] => flag.strip_prefix("--roots="),
        _ => None,
    };
    if paths.is_empty() || !(fill || flags.is_empty() || table.is_some()) {
        eprintln!("statetest [--fill | --roots=TABLE] PATH ...");
        return ExitCode::from(2);
    }
    let roots = match table.map(|table| read(Path::new(table)).and_then(|text| Roots::parse(&text)))
    {
        None => Roots::default(),
        Some(Ok(roots)) => roots,
        Some(Err(error)) => {
            eprintln!("{}: {error}", table.unwrap_or_default());
            return ExitCode::from(2);
        }
    };
    let mut files = Vec::new();
    for path in &paths {
        if let Err(error) = collect(Path::new(path), &mut files) {
            eprintln!("{path}: {error}");
            return ExitCode::from(2);
        }
    }
    if fill {
        return finish(&files, fill_file);
    }

    let mut backends = Vec::new();
    for (_, tier) in TIERS {
        match blocking(tier) {
            Ok(backend) => backends.push(backend),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        }
    }
    let mut folders = BTreeMap::<PathBuf, Counts>::new();
    let read = finish(&files, |file| {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        compare_file(file, &roots, &backends, folders.entry(folder).or_default())
    });

    let heads = [
        "cases",
        "unspecified",
        "interpreter",
        "baseline",
        "optimized",
        "differences",
    ];
    println!(
        "{} {:>10} {:>10} {:>8}  folder",
        heads.map(|head| format!("{head:>11}")).join(" "),
        "frames",
        "not native",
        "skipped"
    );
    for (folder, counts) in &folders {
        let Counts {
            cases,
            unspecified,
            interpreter,
            native: [baseline, optimized],
            ..
        } = counts;
        for count in [
            cases,
            unspecified,
            interpreter,
            baseline,
            optimized,
            &counts.differences,
        ] {
            print!("{count:>11} ");
        }
        let Counts {
            frames,
            interpreted_frames,
            skipped,
            ..
        } = counts;
        println!(
            "{frames:>10} {interpreted_frames:>10} {skipped:>8}  {}",
            folder.display()
        );
    }
    match folders.values().any(|counts| counts.differences > 0) {
        true => ExitCode::from(1),
        false => read,
    }
}

/// The files at `path`, sorted.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir()
            || entry
                .extension()
                .is_some_and(|extension| extension == "json")
        {
            collect(&entry, files)?;
        }
    }
    Ok(())
}

/// Does something to each file; what fails is told.
fn finish(files: &[PathBuf], mut each: impl FnMut(&Path) -> Result<(), String>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        if let Err(error) = each(file) {
            println!("{}: {error}", file.display());
            code = ExitCode::from(2);
        }
    }
    code
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| error.to_string())
}

fn compare_file(
    file: &Path,
    roots: &Roots,
    backends: &[JitBackend],
    counts: &mut Counts,
) -> Result<(), String> {
    for fixture in fixture::parse(&read(file)?, roots)? {
        counts.skipped += fixture.skipped;
        for case in &fixture.cases {
            let place = format!(
                "{} {} {}[{}]",
                file.display(),
                fixture.name,
                case.fork,
                case.index
            );
            compare(&fixture, case, backends, counts, &place);
        }
    }
    // A whole collection of tests is more code than a process may map.
    for backend in backends {
        backend
            .clear_resident()
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn compare(
    fixture: &Fixture,
    case: &Case,
    backends: &[JitBackend],
    counts: &mut Counts,
    place: &str,
) {
    let passes = |outcome: &Outcome| match &case.expected {
        Some(expected) => outcome.check(expected),
        None => Ok(()),
    };
    counts.cases += 1;
    counts.unspecified += usize::from(case.expected.is_none());
    let interpreted = run(fixture, case, None);
    match passes(&interpreted) {
        Ok(()) => counts.interpreter += 1,
        Err(error) => println!("{place}: interpreter: {error}"),
    }
    for (((name, _), backend), passed) in TIERS.iter().zip(backends).zip(&mut counts.native) {
        let before = backend.stats();
        let native = run(fixture, case, Some(backend));
        *passed += usize::from(passes(&native).is_ok());
        let after = backend.stats();
        let lookups = |stats: RuntimeStatsSnapshot| stats.hits + stats.misses + stats.negatives;
        counts.frames += lookups(after) - lookups(before);
        counts.interpreted_frames += after.negatives - before.negatives;
        counts.interpreted_frames += after.failed - before.failed;
        if let Err(error) = interpreted.same(&native) {
            println!("{place}: DIFFERENCE, {name}: {error}");
            counts.differences += 1;
        }
    }
}

fn fill_file(file: &Path) -> Result<(), String> {
    let text = read(file)?;
    let mut json: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    for fixture in fixture::parse(&text, &Roots::default())? {
        for case in fixture
            .cases
            .iter()
            .filter(|case| case.expected.is_none() && !case.added)
        {
            let entry = &mut json[&fixture.name]["post"][case.fork][case.index];
            if entry.is_null() {
                return Err("only tests with a post section can be filled".to_owned());
            }
            let outcome = run(&fixture, case, None);
            if let Some(why) = outcome.refused() {
                return Err(format!("{} {}: refused: {why}", fixture.name, case.fork));
            }
            entry["hash"] = outcome.root.to_string().into();
            entry["logs"] = outcome.logs.to_string().into();
        }
    }
    let filled = serde_json::to_string_pretty(&json).map_err(|error| error.to_string())?;
    std::fs::write(file, filled + "\n").map_err(|error| error.to_string())
}
