//! Instructions that the hot paths execute, counted by Valgrind: the same on a busy machine.
//!
//! `cargo bench --bench instructions [-- SECTION] [--json FILE]`; the sections are `lookup` and
//! `compile`. The program runs itself under `valgrind --tool=callgrind`, which counts while the
//! function `measured` runs, on the thread that runs it. Where Valgrind is missing, it says so and
//! counts nothing.
//!
//! Counts of lookups are the mean over 64 keys, without the loop around them. The hash is seeded
//! per process, so how far a lookup probes differs from run to run by a fraction of an instruction.
//!
//! To see where the instructions are: `valgrind --tool=callgrind --dump-instr=yes
//! --collect-atstart=no --toggle-collect=measured PROGRAM count lookup`, then `callgrind_annotate`.

#[path = "../tests/blocks/mod.rs"]
mod blocks;
#[path = "harness/codes.rs"]
mod codes;
#[allow(dead_code)]
#[path = "../examples/quickstart/contracts.rs"]
mod contracts;
mod harness;

use harness::Session;
use harness::backend::{
    Contract, backend_with, backend_without, contracts as tiny, eof_contracts, take, take_borrowed,
};
use harness::report::{Spread, Table};
use revmc_jit::compiler::{CompileOptions, Tier, compile as compile_code};
use revmc_jit::primitives::SpecId;
use revmc_jit::resident::{self, Options};
use revmc_jit::{Chain, JitBackend};
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Callgrind counts in here and nowhere else.
#[inline(never)]
#[unsafe(no_mangle)]
fn measured(work: &dyn Fn()) {
    work();
}

/// How often each key is looked up.
const ROUNDS: usize = 16;

/// A piece of work: its name goes to the output, in the order of Callgrind's files.
fn count(name: &str, operations: usize, work: &dyn Fn()) {
    println!("{operations} {name}");
    measured(work);
}

fn count_lookups<R>(name: &str, contracts: &[Contract], lookup: impl Fn(&Contract) -> R) {
    // The thread's first lookup is another matter.
    black_box(lookup(&contracts[0]));
    count(name, ROUNDS * contracts.len(), &|| {
        for _ in 0..ROUNDS {
            for contract in contracts {
                black_box(lookup(black_box(contract)));
            }
        }
    });
}

fn lookups() {
    let resident = tiny(0, 64);
    let absent = tiny(1 << 20, 64);
    let eof = eof_contracts(64);
    let backend = backend_with(&resident);
    let failed = backend_without(&absent);
    let disabled = JitBackend::disabled();
    count_lookups("the loop", &resident, |_| ());
    count_lookups("hit, lookup", &resident, |c| {
        take(backend.lookup(c.request()))
    });
    count_lookups("hit, lookup_ref", &resident, |c| {
        take(backend.lookup_ref(&c.key, &c.code))
    });
    count_lookups("hit, lookup_borrowed", &resident, |c| {
        take_borrowed(backend.lookup_borrowed(&c.key, &c.code))
    });
    count_lookups("hit, lookup_with", &resident, |c| {
        backend.lookup_with(&c.key, &c.code, |found| {
            found.ok().map(|program| program.tier())
        })
    });
    count_lookups("miss below the threshold, lookup_ref", &absent, |c| {
        take(backend.lookup_ref(&c.key, &c.code))
    });
    count_lookups("record_interpreted, 21,000 gas", &absent, |c| {
        backend.record_interpreted(&c.key, &c.code, 21_000)
    });
    count_lookups("negative, lookup_ref", &absent, |c| {
        take(failed.lookup_ref(&c.key, &c.code))
    });
    count_lookups("ineligible, lookup_ref", &eof, |c| {
        take(backend.lookup_ref(&c.key, &c.code))
    });
    count_lookups("disabled, lookup_ref", &resident, |c| {
        take(disabled.lookup_ref(&c.key, &c.code))
    });
}

fn compilations() {
    let chain = Chain::mainnet();
    let rules = chain.rules(SpecId::OSAKA);
    for (file, code) in codes::codes() {
        for tier in [Tier::Baseline, Tier::Optimized] {
            let name = format!("{file}, {tier}");
            let options = CompileOptions {
                tier,
                ..CompileOptions::default()
            };
            let compile = || compile_code(&code, rules, &options);
            // What is set up once per process.
            compile().expect("the examples' contracts compile");
            count(&name, code.len(), &|| drop(black_box(compile())));
        }
    }
}

/// What the child process does.
fn work(section: &str) {
    match section {
        "lookup" => lookups(),
        "compile" => compilations(),
        _ => unreachable!("there are two sections"),
    }
}

/// Runs this program's section under Callgrind. What it counted: name, operations, instructions.
fn callgrind(section: &str, folder: &Path) -> Result<Vec<(String, f64, f64)>, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let out = folder.join("callgrind");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .args(["--toggle-collect=measured", "--dump-after=measured"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(own)
        .args(["count", section])
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .enumerate()
        .map(|(i, line)| {
            let (operations, name) = line.split_once(' ').ok_or("no number of operations")?;
            let operations: f64 = operations.parse().map_err(|_| format!("in {line:?}"))?;
            let file = format!("{}.{}", out.display(), i + 1);
            let part = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
            let total = part.lines().find_map(|line| line.strip_prefix("totals: "));
            let total = total.and_then(|total| total.trim().parse().ok());
            let total = total.ok_or_else(|| format!("{file}: no totals"))?;
            Ok((name.to_owned(), operations, total))
        })
        .collect()
}

fn counted(session: &mut Session, section: &str, mut table: Table, with_loop: bool) {
    if !session.full() {
        // A check that the work can be done.
        return work(section);
    }
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        println!("\n{section}: skipped, as Valgrind cannot be run: {error}");
        return;
    }
    let folder =
        std::env::temp_dir().join(format!("revmc-jit-instructions-{}", std::process::id()));
    let made = std::fs::create_dir(&folder).map_err(|error| error.to_string());
    let counted = made.and_then(|()| callgrind(section, &folder));
    let _ = std::fs::remove_dir_all(&folder);
    match counted {
        Ok(counted) => {
            let mut surrounding = None;
            for (name, operations, instructions) in counted {
                let each = instructions / operations;
                let surrounding = *surrounding.get_or_insert(if with_loop { each } else { 0.0 });
                let each = ((each - surrounding) * 10.0).round() / 10.0;
                if !(with_loop && each == 0.0) {
                    table.row(name, &[Spread::exact(each)]);
                }
            }
            session.add(table);
        }
        Err(error) => println!("\n{section}: skipped, as Valgrind failed: {error}"),
    }
}

fn lookup(session: &mut Session) {
    let table = Table::new("instructions for one lookup, 64 keys", &["instructions"]).chart(0);
    counted(session, "lookup", table, true);
}

fn compile(session: &mut Session) {
    let title = "instructions for compiling one byte of bytecode";
    let table = Table::new(title, &["instructions"]);
    counted(session, "compile", table, false);
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [count, section] = &arguments[..]
        && count == "count"
    {
        let (_, reader) = resident::new::<u8, u8, u8>(&Options::default());
        eprintln!("fences: {:?}", reader.fences());
        work(section);
        return ExitCode::SUCCESS;
    }
    harness::run("instructions", &[("lookup", lookup), ("compile", compile)])
}
