//! Instructions that the hot paths execute, counted by Valgrind: the same on a busy machine.
//!
//! `cargo bench --bench instructions [-- SECTION] [--json FILE]`; the sections are `lookup`,
//! `compile` and `shared`. The program runs itself under `valgrind --tool=callgrind`, which counts while the
//! function `measured` runs, on the thread that runs it. Where Valgrind is missing, it says so and
//! counts nothing.
//!
//! Counts of lookups are the mean over 64 keys, without the loop around them. The hash is seeded
//! per process, so how far a lookup probes differs from run to run by a fraction of an instruction.
//!
//! The section `shared` counts, by `valgrind --tool=lackey`, the cache lines that two threads write and
//! read while they look up the same keys: a line that one writes and the other touches would travel
//! between processors at every hit. Once in a tick of the coarse clock (100 ms) the first hit writes the
//! entry's line, so that the clock stands still here.
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
    Contract, backend_with, backend_without, backend_without_ticks, contracts as tiny,
    eof_contracts, take, take_borrowed,
};
use harness::report::{Spread, Table};
use revmc_jit::compiler::{CompileOptions, Tier, compile as compile_code};
use revmc_jit::primitives::SpecId;
use revmc_jit::resident::{self, Options};
use revmc_jit::{Chain, JitBackend};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

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

/// A place whose writes stand in the trace between the threads' lookups.
static MARK: AtomicU64 = AtomicU64::new(0);

/// Two threads, one after the other, look every key up in the form that `name` says; before, between
/// and after, [`MARK`] is written. Both have looked up before.
fn look_up_on_two_threads(name: &str) {
    let contracts = tiny(0, 64);
    let backend = backend_without_ticks(&contracts);
    let lookup = |contract: &Contract| match name {
        "lookup_ref" => take(backend.lookup_ref(&contract.key, &contract.code)),
        "lookup_borrowed" => take_borrowed(backend.lookup_borrowed(&contract.key, &contract.code)),
        "lookup_with" => backend.lookup_with(&contract.key, &contract.code, |found| {
            black_box(found.ok().map(|program| program.tier()));
        }),
        // What would be seen if a line were shared.
        _ => drop(black_box(SHARED.fetch_add(1, Relaxed))),
    };
    // In one write, among the lines of the trace.
    let mark = format!("\nmark {:x}\n", (&raw const MARK).addr());
    eprint!("{mark}");
    let turn = [Barrier::new(2), Barrier::new(2)];
    let all = || {
        contracts
            .iter()
            .for_each(|contract| lookup(black_box(contract)))
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            all();
            turn[0].wait();
            MARK.store(1, Relaxed);
            all();
            MARK.store(2, Relaxed);
            turn[1].wait();
        });
        scope.spawn(|| {
            all();
            turn[0].wait();
            turn[1].wait();
            MARK.store(3, Relaxed);
            all();
            MARK.store(4, Relaxed);
        });
    });
}

/// A counter that every thread writes.
static SHARED: AtomicU64 = AtomicU64::new(0);

/// The cache lines, of 64 bytes, that a thread has read and written between two marks.
#[derive(Default)]
struct Lines {
    written: BTreeSet<u64>,
    touched: BTreeSet<u64>,
}

/// Runs [`look_up_on_two_threads`] under Lackey: lines that one thread has written and the other touched,
/// and the writes of one thread to them; all lines that it has written.
fn lackey(name: &str) -> Result<(usize, usize), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new("valgrind")
        .args(["--tool=lackey", "--trace-mem=yes", "--fair-sched=yes"])
        .arg("--log-fd=2")
        .arg(own)
        .args(["threads", name])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let trace = child.stderr.take().ok_or("no output")?;
    let mut mark = None;
    let mut marks = 0;
    let mut threads = [Lines::default(), Lines::default()];
    // Outputs of two writers; a line that is torn in two is none.
    for line in BufReader::new(trace).lines() {
        let line = line.map_err(|error| error.to_string())?;
        if let Some(address) = line.strip_prefix("mark ") {
            mark = u64::from_str_radix(address, 16).ok();
        }
        // " S 04222cac,4": a store; "L" a load, "M" both; instructions begin without a space.
        let Some((kind, place)) = line.strip_prefix(' ').and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let Some((address, size)) = place.split_once(',') else {
            continue;
        };
        let (Ok(address), Ok(size)) = (u64::from_str_radix(address, 16), size.parse::<u64>())
        else {
            continue;
        };
        if Some(address) == mark {
            marks += usize::from(kind != "L");
            continue;
        }
        let lines = match marks {
            1 => &mut threads[0],
            3 => &mut threads[1],
            _ => continue,
        };
        for line in address / 64..=(address + size.max(1) - 1) / 64 {
            lines.touched.insert(line);
            if kind != "L" {
                lines.written.insert(line);
            }
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() || marks != 4 {
        return Err(format!("{status}, {marks} marks"));
    }
    let [first, second] = &threads;
    let shared = first.written.intersection(&second.touched).count()
        + second
            .written
            .difference(&first.written)
            .filter(|line| first.touched.contains(line))
            .count();
    Ok((shared, first.written.len()))
}

fn shared(session: &mut Session) {
    let forms = [
        "a counter of all threads",
        "lookup_ref",
        "lookup_borrowed",
        "lookup_with",
    ];
    if !session.full() {
        return forms.into_iter().for_each(look_up_on_two_threads);
    }
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        println!("\nshared: skipped, as Valgrind cannot be run: {error}");
        return;
    }
    let title = "cache lines in 64 hits on each of two threads, same keys";
    let columns = ["written by one and touched by the other", "written by one"];
    let mut table = Table::new(title, &columns);
    for form in forms {
        match lackey(form) {
            Ok((shared, written)) => {
                let cells = [shared, written].map(|lines| Spread::exact(lines as f64));
                table.row(form, &cells);
            }
            Err(error) => println!("\nshared: {form} skipped, as Valgrind failed: {error}"),
        }
    }
    session.add(table);
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
    if let [threads, form] = &arguments[..]
        && threads == "threads"
    {
        look_up_on_two_threads(form);
        return ExitCode::SUCCESS;
    }
    let sections: [harness::Section; 3] =
        [("lookup", lookup), ("compile", compile), ("shared", shared)];
    harness::run("instructions", &sections)
}
