//! What compiling costs, at both tiers, in processor time of the thread that compiles.
//!
//! `cargo bench --bench compile [-- SECTION] [--json FILE] [--svg FILE]`; the sections are `contracts`
//! (those of `examples/contracts`), `sizes` (generated code from 64 bytes to 24 KiB: does the time grow
//! with the length?), `worst` (24 KiB each of what is dear to compile, as a share of the time that
//! `RuntimeTuning` gives one compilation by default; one compilation each), `corpus`: all codes of
//! the JSON files, objects of names and hexadecimal codes, that the environment variable
//! `REVMC_JIT_CODES` lists, separated by colons, one compilation each, with a chart of time by length;
//! and `trials`: what trying the programs of these codes costs beside compiling them, without samples of
//! real calls, and how many of their blocks it covers: with the default budget, or with so many
//! milliseconds each as `REVMC_JIT_TRIAL_MS` says. A difference fails the benchmark. Without such files,
//! the codes are those of the blocks that come with the crate.

#[allow(dead_code)]
#[path = "../tests/common/asm.rs"]
mod asm;
#[path = "../tests/blocks/mod.rs"]
mod blocks;
#[path = "harness/codes.rs"]
mod codes;
#[allow(dead_code)]
#[path = "../examples/quickstart/contracts.rs"]
mod contracts;
mod harness;
#[allow(dead_code)]
#[path = "../tests/common/rng.rs"]
mod rng;
#[allow(dead_code, reason = "other benchmarks draw other charts")]
#[path = "harness/svg.rs"]
mod svg;
#[allow(dead_code, unused_imports, reason = "the tests use more")]
#[path = "../tests/common/types.rs"]
mod types;

use asm::asm;
use harness::report::{Spread, Table};
use harness::{Effort, Session, cpu_time};
use revmc_jit::compiler::{self, CompileError, CompileOptions, Tier};
use revmc_jit::primitives::{Bytes, OptimizationLevel, SpecId, keccak256};
use revmc_jit::{
    Chain, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig, RuntimeTuning, trial,
};
use rng::Rng;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// No further compilation of a code begins after so long, but for the first few.
const PATIENCE: Duration = Duration::from_secs(1);

/// EIP-170.
const MAX_CODE_SIZE: usize = 0x6000;

const TIERS: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

fn patient(session: &Session) -> Effort {
    Effort {
        patience: PATIENCE,
        ..session.effort
    }
}

/// Processor time of one compilation in nanoseconds, and bytes of machine code.
fn compile(code: &[u8], tier: Tier) -> Result<(f64, usize), CompileError> {
    let options = CompileOptions {
        tier,
        // Other chains' contracts are longer than mainnet's may be.
        max_bytecode_len: usize::MAX,
        ..CompileOptions::default()
    };
    let chain = Chain::mainnet();
    let rules = chain.rules(SpecId::OSAKA);
    let (wall, cpu) = (Instant::now(), cpu_time::thread_time());
    let native = compiler::compile(black_box(code), rules, &options)?;
    let spent = match (cpu, cpu_time::thread_time()) {
        (Some(before), Some(after)) => after - before,
        _ => wall.elapsed(),
    };
    Ok((spent.as_nanos() as f64, native.text_len()))
}

/// Both tiers' times in nanoseconds and lengths, in turns.
fn measure(effort: Effort, code: &[u8]) -> Result<[(Spread, usize); 2], CompileError> {
    let (mut samples, mut lengths) = ([Vec::new(), Vec::new()], [0, 0]);
    for _ in effort.rounds() {
        for (i, tier) in TIERS.into_iter().enumerate() {
            let (time, length) = compile(code, tier)?;
            samples[i].push(time);
            lengths[i] = length;
        }
    }
    Ok([0, 1].map(|i| (Spread::of(&samples[i]), lengths[i])))
}

fn table(title: &str) -> Table {
    let columns = [
        "tier 1, ms",
        "tier 2, ms",
        "tier 1, us/byte",
        "tier 2, us/byte",
        "tier 1, native bytes/byte",
        "tier 2, native bytes/byte",
    ];
    Table::new(title, &columns)
}

fn row(effort: Effort, table: &mut Table, name: &str, code: &[u8]) {
    let [first, second] = match measure(effort, code) {
        Ok(measured) => measured,
        Err(error) => {
            println!("{name}: not compiled: {error}");
            return;
        }
    };
    let bytes = code.len() as f64;
    let cells = [
        first.0.times(1e-6),
        second.0.times(1e-6),
        first.0.times(1e-3 / bytes),
        second.0.times(1e-3 / bytes),
        Spread::exact(first.1 as f64 / bytes),
        Spread::exact(second.1 as f64 / bytes),
    ];
    table.row(name, &cells);
}

fn contracts(session: &mut Session) {
    let mut table = table("compiling the contracts of examples/contracts");
    for (file, code) in codes::codes() {
        let name = format!("{file}, {} bytes", code.len());
        row(patient(session), &mut table, &name, &code);
    }
    session.add(table);
}

/// `len` bytes of what compilers of contracts write: functions behind a dispatcher, each with
/// checks that lead to a common revert, arithmetic, memory and storage; arithmetic where no further
/// function fits.
fn generated(len: usize) -> Vec<u8> {
    let mut rng = Rng::new(len as u64);
    let (mut text, mut code) = (String::new(), Vec::new());
    for n in 0.. {
        let constant = rng.next_u64();
        let arithmetic = *rng.pick(&["ADD", "MUL", "SUB", "DIV", "AND", "SHR"]);
        let function = format!(
            "0 CALLDATALOAD 224 SHR PUSH4 {selector} EQ ISZERO @next{n} JUMPI \
             4 CALLDATALOAD DUP1 {constant} GT @revert JUMPI \
             36 CALLDATALOAD {arithmetic} DUP1 0 MSTORE CALLER 32 MSTORE 64 0 KECCAK256 \
             DUP1 SLOAD DUP3 ADD DUP1 DUP4 GT @revert JUMPI SWAP1 SSTORE 0 MSTORE 32 0 RETURN \
             next{n}: ",
            selector = constant >> 32,
        );
        let piece = format!("4 CALLDATALOAD {constant} {arithmetic} 0 MSTORE ");
        let fitting = [function, piece].into_iter().find_map(|more| {
            let longer = format!("{text}{more}");
            let code = asm(&format!("{longer} revert: 0 0 REVERT"));
            (code.len() <= len).then_some((longer, code))
        });
        match fitting {
            Some(longer) => (text, code) = longer,
            None => break,
        }
    }
    // Unreachable, and shorter than a piece.
    code.resize(len, 0x5b);
    code
}

fn sizes(session: &mut Session) {
    let mut table = table("compiling generated code").chart(3);
    for len in [64, 256, 1024, 4096, 12 * 1024, MAX_CODE_SIZE] {
        row(
            patient(session),
            &mut table,
            &format!("{len} bytes"),
            &generated(len),
        );
    }
    session.add(table);
}

/// What fills 24 KiB, and what goes before it: name, first, repeated.
const WORST: [(&str, &str, &str); 14] = [
    ("nothing but JUMPDEST", "", "JUMPDEST"),
    ("dynamic jumps", "", "JUMPDEST CALLDATASIZE JUMP"),
    (
        "conditional dynamic jumps",
        "",
        "JUMPDEST CALLDATASIZE DUP1 JUMPI",
    ),
    (
        "conditional jumps, 16 live words",
        "SIXTEEN",
        "x: SWAP16 DUP1 @x JUMPI",
    ),
    ("MUL", "CALLDATASIZE", "DUP1 MUL"),
    ("MULMOD", "CALLDATASIZE", "DUP1 DUP1 MULMOD"),
    ("SDIV", "CALLDATASIZE", "DUP1 SDIV"),
    ("EXP", "CALLDATASIZE", "DUP1 EXP"),
    ("SAR", "CALLDATASIZE", "DUP1 SAR"),
    ("ADD of 16 live words", "SIXTEEN", "DUP16 ADD SWAP15"),
    ("MLOAD and MSTORE", "CALLDATASIZE", "DUP1 MLOAD DUP2 MSTORE"),
    ("SLOAD and SSTORE", "CALLDATASIZE", "DUP1 SLOAD DUP2 SSTORE"),
    ("GAS", "CALLDATASIZE", "GAS ADD"),
    (
        "calls, each a point to resume at",
        "CALLDATASIZE",
        "DUP1 DUP1 DUP1 DUP1 DUP1 DUP1 CALL",
    ),
];

fn worst_case(first: &str, repeated: &str) -> Vec<u8> {
    let mut text = match first {
        "SIXTEEN" => "CALLDATASIZE ".repeat(17),
        other => other.to_owned(),
    };
    let len = asm(repeated).len();
    for n in 0..MAX_CODE_SIZE.div_ceil(len) {
        text.push(' ');
        text.push_str(
            &repeated
                .replace("x:", &format!("x{n}:"))
                .replace("@x", &format!("@x{n}")),
        );
    }
    let mut code = asm(&text);
    code.truncate(MAX_CODE_SIZE);
    code
}

fn worst(session: &mut Session) {
    let tuning = RuntimeTuning::default();
    let budget = tuning.compile_time_base + tuning.compile_time_per_byte * MAX_CODE_SIZE as u32;
    let title = format!("compiling 24 KiB of what is dear; the default budget is {budget:?}");
    let mut table = table(&title);
    table.columns.push("tier 2, share of the budget".to_owned());
    let once = Effort {
        rounds: 1,
        ..session.effort
    };
    for (name, first, repeated) in WORST {
        row(once, &mut table, name, &worst_case(first, repeated));
    }
    for row in &mut table.rows {
        let share = row.cells[1].map(|ms| ms.times(1e-3 / budget.as_secs_f64()));
        row.cells.push(share);
    }
    session.add(table);
}

/// What lies below so many hundredths of the sorted samples.
fn percentile(sorted: &[f64], hundredths: usize) -> Spread {
    let last = sorted.len().saturating_sub(1);
    Spread::exact(
        sorted
            .get(last * hundredths / 100)
            .copied()
            .unwrap_or(f64::NAN),
    )
}

/// The files that `REVMC_JIT_CODES` lists, or the crate's own, and the codes in each.
fn listed() -> Vec<(String, Vec<Bytes>)> {
    let own = format!("{}/codes.json", blocks::format::OWN);
    let paths = std::env::var_os("REVMC_JIT_CODES").unwrap_or(own.into());
    std::env::split_paths(&paths)
        .map(|path| {
            let text = std::fs::read_to_string(&path);
            let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let codes: BTreeMap<String, String> =
                serde_json::from_str(&text).expect("names and codes");
            let codes = codes
                .values()
                .map(|code| alloy_primitives::hex::decode(code).expect("hexadecimal"));
            (path.display().to_string(), codes.map(Bytes::from).collect())
        })
        .collect()
}

/// Tries the programs of codes.
fn trials(session: &mut Session) {
    let fixed = std::env::var("REVMC_JIT_TRIAL_MS").ok();
    let fixed = fixed.map(|ms| Duration::from_millis(ms.parse().expect("milliseconds")));
    let mut differences = 0;
    for (name, codes) in listed() {
        let title = format!("trying the programs of the {} codes of {name}", codes.len());
        let columns = ["median", "p99", "worst", "all"];
        let mut table = Table::new(title, &columns);
        for tier in TIERS {
            let mut config = RuntimeConfig::default();
            config.tuning.trial = trial::Budget::Off;
            config.tuning.jit_tiered = false;
            config.tuning.jit_max_bytecode_len = 1 << 20;
            config.tuning.jit_opt_level = match tier {
                Tier::Baseline => OptimizationLevel::None,
                Tier::Optimized => OptimizationLevel::Default,
            };
            let backend = JitBackend::new(config).expect("a valid configuration");
            let (mut compiling, mut trying, mut covered) = (Vec::new(), Vec::new(), Vec::new());
            let (mut runs, mut blocks) = (Vec::new(), [0.0; 2]);
            for (n, code) in codes[..session.at_most(codes.len())].iter().enumerate() {
                let spec_id = SpecId::OSAKA;
                let code_hash = keccak256(code);
                let key = RuntimeCacheKey { code_hash, spec_id };
                let code = code.clone();
                let request = LookupRequest {
                    key,
                    code: code.clone(),
                };
                let (Ok((time, _)), Ok(())) =
                    (compile(&code, tier), backend.compile_jit_sync(request))
                else {
                    continue;
                };
                let Some(program) = backend.get_compiled(code_hash, spec_id) else {
                    continue;
                };
                let budget = trial::Budget::default();
                let share = budget.time(Duration::from_nanos(time as u64));
                let options = trial::Options {
                    seed: n as u64,
                    time: fixed.or(share).unwrap_or_default(),
                    ..trial::Options::default()
                };
                match trial::run(&program, &code, &options) {
                    Ok(passed) => {
                        let [part, whole] =
                            [passed.blocks_covered, passed.blocks_total].map(f64::from);
                        compiling.push(time * 1e-6);
                        trying.push(passed.time.as_secs_f64() * 1e3);
                        covered.push(100.0 * part / whole.max(1.0));
                        runs.push(passed.runs as f64);
                        blocks = [blocks[0] + part, blocks[1] + whole];
                    }
                    Err(difference) => {
                        differences += 1;
                        println!("{difference}");
                    }
                }
            }
            let sum = |samples: &[f64]| samples.iter().sum();
            for (what, all, mut samples) in [
                ("compiling, ms", sum(&compiling), compiling),
                ("trying, ms", sum(&trying), trying),
                ("runs", sum(&runs), runs),
                ("blocks covered, %", 100.0 * blocks[0] / blocks[1], covered),
            ] {
                samples.sort_by(f64::total_cmp);
                if what.ends_with('%') {
                    // The worst is the least.
                    samples.reverse();
                }
                let [median, p99, worst] = [50, 99, 100].map(|n| percentile(&samples, n));
                let cells = [median, p99, worst, Spread::exact(all)];
                table.row(format!("{tier}, {what}"), &cells);
            }
        }
        session.add(table);
    }
    assert_eq!(differences, 0, "miscompiled");
}

fn corpus(session: &mut Session) {
    let mut points = [Vec::new(), Vec::new()];
    for (name, codes) in listed() {
        // Time in milliseconds, bytes of machine code, and of bytecode; the tiers in turns.
        let mut compiled: [Vec<[f64; 3]>; 2] = Default::default();
        for code in &codes[..session.at_most(codes.len())] {
            for (tier, compiled) in TIERS.into_iter().zip(&mut compiled) {
                match compile(code, tier) {
                    Ok((time, len)) => compiled.push([time * 1e-6, len as f64, code.len() as f64]),
                    Err(error) => println!("{} bytes not compiled: {error}", code.len()),
                }
            }
        }
        let title = format!("compiling the {} codes of {name}", codes.len());
        let columns = ["median", "p99", "worst", "all"];
        let mut table = Table::new(title, &columns);
        for (tier, compiled) in TIERS.into_iter().zip(&compiled) {
            let sum = |at: usize| compiled.iter().map(|figures| figures[at]).sum::<f64>();
            let times = compiled.iter().map(|[time, ..]| *time).collect();
            let native = compiled.iter().map(|[_, len, of]| len / of.max(1.0));
            let kibibyte = compiled
                .iter()
                .map(|[time, _, of]| 1024.0 * time / of.max(1.0));
            for (what, mut samples, all) in [
                ("ms", times, sum(0)),
                (
                    "ms for each KiB",
                    kibibyte.collect(),
                    1024.0 * sum(0) / sum(2),
                ),
                (
                    "native bytes/byte",
                    native.collect::<Vec<_>>(),
                    sum(1) / sum(2),
                ),
            ] {
                samples.sort_by(f64::total_cmp);
                let [median, p99, worst] = [50, 99, 100].map(|n| percentile(&samples, n));
                let cells = [median, p99, worst, Spread::exact(all)];
                table.row(format!("{tier}, {what}"), &cells);
            }
        }
        session.add(table);
        for (points, compiled) in points.iter_mut().zip(&compiled) {
            points.extend(compiled.iter().map(|[time, _, of]| (*of, *time)));
        }
    }
    if let Some(file) = &session.svg {
        std::fs::write(file, chart(&points)).expect("the chart can be written");
    }
}

/// Codes shorter than this are not drawn: the few there are would take a quarter of the chart.
const LEAST_DRAWN: f64 = 20.0;

/// Time of each compilation by the length of the bytecode.
fn chart(points: &[Vec<svg::Point>; 2]) -> String {
    let drawn = |point: &&svg::Point| point.0 >= LEAST_DRAWN;
    let [first, second] = points
        .each_ref()
        .map(|points| points.iter().filter(drawn).copied().collect::<Vec<_>>());
    let (width, height) = (860.0, 470.0);
    let mut body = String::new();
    let head = "Compile time by size of the bytecode";
    svg::text(&mut body, "h", 10.0, 26.0, head);
    let area = svg::Area {
        x: 50.0,
        y: 70.0,
        width: width - 80.0,
        height: 330.0,
    };
    let title = "processor time of one compilation, ms";
    let series = [("tier 1", &first[..]), ("tier 2", &second[..])];
    let guide = ("1 ms per KiB", 1.0 / 1024.0);
    svg::scatter(&mut body, area, title, "bytes of bytecode", guide, &series);
    let remark = format!(
        "{} contracts, each compiled once at each tier; lines: medians of sizes within a factor of two",
        first.len()
    );
    svg::text(&mut body, "m", area.x, 448.0, &remark);
    svg::document(width, height, &body)
}

fn main() -> ExitCode {
    harness::run(
        "compile",
        &[
            ("contracts", contracts),
            ("sizes", sizes),
            ("worst", worst),
            ("corpus", corpus),
            ("trials", trials),
        ],
    )
}
