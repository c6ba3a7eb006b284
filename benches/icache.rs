//! Instruction-cache misses in EVM code, for each EVM instruction of a block: counted by Valgrind, the same
//! on a busy machine.
//!
//! `cargo bench --bench icache [-- --json FILE]`. `REVMC_JIT_BLOCKS` names a folder of blocks in the format
//! of `tests/blocks`, `REVMC_JIT_BLOCK` one of them by its number; without them it is the block of the
//! repository's that runs the most instructions.
//!
//! The program runs itself under `valgrind --tool=callgrind` three times, once for each way to run the
//! block: a process runs it once, with everything compiled before. Callgrind counts while the function
//! `measured` runs, on the thread that runs it, and simulates an instruction cache of 32 KiB with lines of
//! 64 bytes and eight ways ([`CACHE`]), first cold. Where Valgrind is missing, this says so and counts
//! nothing.
//!
//! # What is EVM code
//!
//! The miss of an instruction fetch belongs to the function that it is in, not to its callers. EVM code is
//! what stands for the contracts' instructions, by the same list for every way to run them:
//!
//! | part | functions |
//! |---|---|
//! | machine code | what is in no file: programs of this crate |
//! | routines and shims | this crate's `frame`, the assembly that programs share, and its shims for boundary instructions and memory |
//! | running a frame | `frame_run` with what is compiled into it: the interpreter's loop, or `run_frame` and the lookup of the program; what else is this crate's |
//! | instructions | `revm_interpreter`, for the interpreter and for machine code that calls it: its instructions, stack, memory and gas; `ruint` |
//!
//! The C library's functions that copy, fill and compare bytes are of the part that calls them. All else is the
//! block's, however its frames are run: journal, database, hashing, precompiles, the making and ending of frames, the
//! allocator. It shares the cache, though; the last row has its misses.
//!
//! An interpreter reads the bytecode as data: those misses are the data cache's, and not counted here. Valgrind
//! offers no AVX-512. Two runs of one program differ by less than a percent, two builds by up to ten, as functions
//! stand elsewhere in the cache.

#[path = "../tests/blocks/mod.rs"]
mod blocks;
mod harness;

use blocks::{
    format::{Block, Folder, OWN},
    frames::{self, Next},
    native::{self, Native},
    run,
};
use harness::{
    Session,
    report::{Spread, Table},
};
use revm::{
    ExecuteCommitEvm, InspectCommitEvm, InspectSystemCallEvm, Inspector, handler::EvmTr,
    interpreter::Interpreter,
};
use revmc_jit::{compiler::Tier, trial::Budget};
use std::{
    collections::HashMap,
    mem,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

/// Bytes, ways, bytes of a line.
const CACHE: &str = "32768,8,64";

/// The ways to run a block.
const SIDES: [&str; 3] = ["interpreter", "tier 1", "tier 2"];

/// Callgrind counts in here and nowhere else.
#[inline(never)]
#[unsafe(no_mangle)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

/// The block that is asked for.
fn block() -> Block {
    let folder = std::env::var_os("REVMC_JIT_BLOCKS").map_or(OWN.into(), PathBuf::from);
    let folder = Folder::open(&folder).expect("a folder of blocks");
    let number = std::env::var("REVMC_JIT_BLOCK").ok();
    let wanted = |file: &&PathBuf| match &number {
        Some(number) => file.file_stem().is_some_and(|stem| stem == &**number),
        None => true,
    };
    let files = folder.files.iter().filter(wanted);
    let blocks = files.map(|file| folder.read(file).expect("a block"));
    blocks
        .max_by_key(instructions)
        .expect("the folder has the block")
}

/// How many EVM instructions the block runs, init code's among them.
fn instructions(block: &Block) -> u64 {
    let mut counted = Steps(0);
    let mut evm = run::evm(block, block.state.clone()).with_inspector(&mut counted);
    for (_, contract, input) in run::system_calls(block) {
        let _ = evm.inspect_one_system_call(contract, input);
        evm.commit_inner();
    }
    for transaction in &block.transactions {
        let _ = evm.inspect_tx_commit(transaction.clone());
    }
    drop(evm);
    counted.0
}

/// Counts instructions.
struct Steps(u64);

impl<CTX> Inspector<CTX> for Steps {
    fn step(&mut self, _: &mut Interpreter, _: &mut CTX) {
        self.0 += 1;
    }
}

/// Compiles what runs in the block, and nothing else happens meanwhile or later: no trial, no tick.
fn compiled(tier: Tier, block: &Block) -> Native {
    let mut config = native::config(tier);
    config.tuning.trial = Budget::Off;
    config.tuning.tick_interval = Duration::from_secs(3600);
    let mut native = Native::with(config).expect("a backend");
    let refused = native.compile(&run::contracts(block), block.spec);
    assert!(refused.is_empty(), "{refused:?}");
    native
}

/// Runs a frame. Callgrind cannot tell what is compiled into a function from the rest of it, and without this
/// it would be a transaction's.
#[inline(never)]
fn frame_run<E: EvmTr>(evm: &mut E) -> Next<E> {
    evm.frame_run()
}

/// What the child process does: the block, once.
fn work(side: &str, block: &Block) {
    let native = match side {
        "tier 1" => Some(compiled(Tier::Baseline, block)),
        "tier 2" => Some(compiled(Tier::Optimized, block)),
        _ => None,
    };
    let mut steps = frames::steps(block);
    match &native {
        None => {
            let mut evm = run::evm(block, block.state.clone());
            measured(&mut || frames::run(&mut evm, mem::take(&mut steps), frame_run));
        }
        Some(native) => {
            let mut evm = native.evm(block, block.state.clone());
            measured(&mut || frames::run(&mut evm, mem::take(&mut steps), frame_run));
        }
    }
}

/// Whose an instruction fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Machine,
    Routines,
    Frames,
    Instructions,
    /// Of who calls it.
    Bytes,
    Rest,
}

impl Part {
    /// The part of a function, by its object file and its name.
    fn of(object: &str, function: &str) -> Self {
        // `<crate::Type as Trait>::method` is that crate's.
        let path = function.trim_start_matches(['<', '_', '&']);
        let within = |names: &[&str]| names.iter().any(|name| path.starts_with(name));
        if object.is_empty() || object == "???" {
            Self::Machine
        } else if within(&["revmc_jit::frame::"])
            || within(&["revmc_jit::"]) && path.contains("::shims::")
        {
            Self::Routines
        } else if function.ends_with("frame_run") {
            Self::Frames
        } else if within(&["revmc_jit::revm::evm::JitEvm"]) {
            // What it passes on to the EVM that it wraps.
            Self::Rest
        } else if within(&["revmc_jit::"]) {
            Self::Frames
        } else if within(&["revm_interpreter::", "ruint::"]) {
            Self::Instructions
        } else if object.contains("libc") && within(&["mem"]) {
            Self::Bytes
        } else {
            Self::Rest
        }
    }
}

/// Fetches and misses.
type Pair = [u64; 2];

/// What Callgrind has written, summed by part.
fn sums(profile: &str) -> Option<HashMap<Part, Pair>> {
    let mut lines = profile.lines();
    let events = lines.find_map(|line| line.strip_prefix("events: "))?;
    let at = |event| events.split(' ').position(|name| name == event);
    let columns = [at("Ir")?, at("I1mr")?];
    // Behind the line's number; zeros at the end are left out.
    let costs = |line: &str| -> Pair {
        let costs: Vec<u64> = line.split(' ').skip(1).flat_map(str::parse).collect();
        columns.map(|column| costs.get(column).copied().unwrap_or(0))
    };
    let mut names: [HashMap<String, String>; 2] = Default::default();
    let [objects, functions] = &mut names;
    let (mut object, mut function) = (String::new(), String::new());
    let (mut callee_object, mut callee) = (None, String::new());
    let mut sums: HashMap<Part, Pair> = HashMap::new();
    let mut add = |part, pair: Pair| {
        let sum = sums.entry(part).or_default();
        *sum = [sum[0] + pair[0], sum[1] + pair[1]];
    };
    while let Some(line) = lines.next() {
        match line.split_once('=') {
            Some(("ob", name)) => object = resolve(objects, name),
            Some(("fn", name)) => function = resolve(functions, name),
            // Without it, the callee is in the caller's file.
            Some(("cob", name)) => callee_object = Some(resolve(objects, name)),
            Some(("cfn", name)) => callee = resolve(functions, name),
            // The next line is what these calls have cost, with all that the callee has called.
            Some(("calls", _)) => {
                let called = Part::of(&callee_object.take().unwrap_or(object.clone()), &callee);
                let cost = costs(lines.next()?);
                if called == Part::Bytes {
                    add(Part::of(&object, &function), cost);
                }
            }
            None if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) => {
                match Part::of(&object, &function) {
                    Part::Bytes => {}
                    part => add(part, costs(line)),
                }
            }
            _ => {}
        }
    }
    Some(sums)
}

/// A name that is `(number) name` the first time, and `(number)` from then on.
fn resolve(known: &mut HashMap<String, String>, name: &str) -> String {
    let (number, name) = name.split_once(' ').unwrap_or((name, ""));
    if !name.is_empty() {
        known.insert(number.to_owned(), name.to_owned());
    }
    known.get(number).cloned().unwrap_or_default()
}

/// Runs the block one way under Callgrind.
fn callgrind(side: &str, block: &Block, file: &Path) -> Result<HashMap<Part, Pair>, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--cache-sim=yes",
            "--collect-atstart=no",
        ])
        .arg("--toggle-collect=measured")
        .arg(format!("--I1={CACHE}"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(own)
        .args(["run", side])
        .env("REVMC_JIT_BLOCK", block.header.number.to_string())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let profile = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    sums(&profile).ok_or_else(|| "a profile without I1mr".to_owned())
}

fn icache(session: &mut Session) {
    let block = block();
    if !session.full() {
        // A check that the work can be done.
        return SIDES.iter().for_each(|side| work(side, &block));
    }
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        println!("\nskipped, as Valgrind cannot be run: {error}");
        return;
    }
    let thousands = instructions(&block) as f64 / 1000.0;
    let file = std::env::temp_dir().join(format!("revmc-jit-icache-{}", std::process::id()));
    let counted: Result<Vec<HashMap<Part, Pair>>, String> = SIDES
        .iter()
        .map(|side| callgrind(side, &block, &file))
        .collect();
    let _ = std::fs::remove_file(&file);
    let counted = match counted {
        Ok(counted) => counted,
        Err(error) => return println!("\nskipped, as Valgrind failed: {error}"),
    };
    let title = format!(
        "block {}, {thousands} thousand EVM instructions: misses of an instruction cache ({CACHE})",
        block.header.number
    );
    let mut table = Table::new(title, &SIDES);
    let evm = [
        Part::Machine,
        Part::Routines,
        Part::Frames,
        Part::Instructions,
    ];
    let mut row = |name: &str, parts: &[Part], column: usize, divisor: f64| {
        let cells = counted.iter().map(|sums| {
            let parts = parts.iter().filter_map(|part| sums.get(part));
            let sum: u64 = parts.map(|pair| pair[column]).sum();
            Spread::exact(sum as f64 / divisor)
        });
        table.row(name, &cells.collect::<Vec<_>>());
    };
    row(
        "EVM code, for each thousand EVM instructions",
        &evm,
        1,
        thousands,
    );
    row("EVM code", &evm, 1, 1.0);
    row("  machine code", &evm[..1], 1, 1.0);
    row("  routines and shims", &evm[1..2], 1, 1.0);
    row("  running a frame", &evm[2..3], 1, 1.0);
    row("  instructions", &evm[3..], 1, 1.0);
    row("all else", &[Part::Rest], 1, 1.0);
    row(
        "EVM code: processor instructions for each thousand EVM instructions",
        &evm,
        0,
        thousands,
    );
    session.add(table);
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [run, side] = &arguments[..]
        && run == "run"
    {
        work(side, &block());
        return ExitCode::SUCCESS;
    }
    harness::run("icache", &[("icache", icache)])
}
