//! Compile bombs: the largest bytecodes that a chain allows, made to be expensive to compile.
//!
//! ```text
//! cargo bench --bench bombs
//! ```
//!
//! For each: processor time, machine code and peak memory at both tiers, without a budget; at the code
//! size of EIP-170, and at the largest that is taken by default. Then all of them are called without
//! pause against a backend with the default budgets, to show what each costs before it is left alone.
//! Figures are of one run; the last table's counts are exact.

#[path = "harness/memory.rs"]
mod memory;

use memory::memory;
use revmc_jit::compiler::{self, CompileOptions, MAX_CODE_LEN};
use revmc_jit::primitives::{Bytes, OptimizationLevel, SpecId, keccak256};
use revmc_jit::{
    Chain, CompilationEvent, CompilationKind, JitBackend, LookupRequest, RuntimeCacheKey,
    RuntimeConfig, RuntimeTuning,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// EIP-170.
const LEN: usize = 0x6000;

/// How long the bombs are called; well below the default rest of ten seconds after a failure.
const SIEGE: Duration = Duration::from_secs(8);

/// A loop around `unit`, again and again, which leaves the height of the stack at one: what the
/// optimising tier takes its time for, unless there is too much of it. Of several lengths the one that it
/// takes the longest for.
fn looped(unit: &[u8], len: usize) -> Vec<u8> {
    let of = |body: usize| {
        let mut code = vec![0x5b, 0x36];
        code.extend(unit.repeat(body / unit.len()));
        code.extend([0x50, 0x36, 0x5f, 0x57]);
        code.resize(len, 0x00);
        code
    };
    let bodies = (1..24).map(|size| size * 256).chain([len / 2, len - 8]);
    let chain = Chain::mainnet();
    let rules = chain.rules(SpecId::OSAKA);
    let time = |code: &Vec<u8>| {
        let begin = Instant::now();
        let compiled = compiler::compile(code, rules, &CompileOptions::default());
        compiled.map_or(Duration::ZERO, |_| begin.elapsed())
    };
    let codes = bodies.map(of);
    codes.max_by_key(time).unwrap_or_default()
}

fn bombs(len: usize) -> Vec<(&'static str, Vec<u8>)> {
    let repeat = |unit: &[u8]| -> Vec<u8> { unit.iter().copied().cycle().take(len).collect() };
    // `start`, then `unit` again and again.
    let after = |start: &[u8], unit: &[u8]| -> Vec<u8> {
        let tail = unit.iter().copied().cycle();
        start.iter().copied().chain(tail).take(len).collect()
    };
    // Loops around loops: as many destinations, then jumps back to each, the last one first.
    let depth = len / 6;
    let mut nested = vec![0x5b; depth];
    for target in (0..depth as u16).rev() {
        let [high, low] = target.to_be_bytes();
        nested.extend([0x36, 0x61, high, low, 0x57]);
    }
    nested.resize(len, 0x00);
    // Small loops, one behind the other.
    let loops: Vec<u8> = (0..len / 10)
        .flat_map(|i| {
            let [high, low] = (i as u16 * 10).to_be_bytes();
            [0x5b, 0x36, 0x36, 0x02, 0x50, 0x36, 0x61, high, low, 0x57]
        })
        .chain([0x00].into_iter().cycle())
        .take(len)
        .collect();
    // Every push, each dropped again.
    let pushes: Vec<u8> = (0x60..=0x7f)
        .flat_map(|push: u8| {
            let operand = vec![0xa5; usize::from(push - 0x5f)];
            [vec![push], operand, vec![0x50]].concat()
        })
        .collect();
    // JUMPI to every place of a ladder of JUMPDESTs, forwards and backwards.
    let ladder: Vec<u8> = (0..len / 6)
        .flat_map(|i| {
            let target = ((i * 7919) % (len / 6) * 6) as u16;
            let [high, low] = target.to_be_bytes();
            [0x5b, 0x36, 0x61, high, low, 0x57]
        })
        .chain([0x00].into_iter().cycle())
        .take(len)
        .collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let random = (0..len)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        })
        .collect();
    let fill: Vec<u8> = (0..1000u16)
        .flat_map(|n| {
            let [high, low] = n.to_be_bytes();
            [0x61, high, low]
        })
        .collect();
    vec![
        ("JUMPDEST", repeat(&[0x5b])),
        ("JUMPDEST, a word live", after(&[0x36], &[0x5b])),
        ("dynamic JUMP", repeat(&[0x5f, 0x35, 0x56, 0x5b])),
        (
            "dynamic JUMPI",
            repeat(&[0x5f, 0x35, 0x36, 0x90, 0x57, 0x5b]),
        ),
        ("static JUMPI ladder", ladder),
        ("every PUSH", repeat(&pushes)),
        ("PUSH0 past the stack", repeat(&[0x5f])),
        ("one block of ADD", after(&[0x36], &[0x80, 0x01])),
        ("one block of MUL", after(&[0x36], &[0x80, 0x02])),
        (
            "one block of DIV",
            after(&[0x36], &[0x80, 0x36, 0x04, 0x04]),
        ),
        (
            "SDIV, SMOD",
            after(&[0x36, 0x34], &[0x80, 0x82, 0x05, 0x90, 0x81, 0x07]),
        ),
        (
            "ADDMOD, MULMOD",
            after(
                &[0x36, 0x34, 0x32],
                &[0x80, 0x82, 0x84, 0x08, 0x81, 0x83, 0x09, 0x50],
            ),
        ),
        ("EXP", after(&[0x36], &[0x80, 0x0a])),
        (
            "SHL, SHR, SAR",
            after(&[0x36, 0x34], &[0x81, 0x1b, 0x81, 0x1c, 0x81, 0x1d]),
        ),
        (
            "SIGNEXTEND, BYTE",
            after(&[0x36, 0x34], &[0x81, 0x0b, 0x80, 0x82, 0x1a, 0x01]),
        ),
        (
            "LT, GT, SLT, SGT, EQ",
            after(
                &[0x36, 0x34],
                &[0x81, 0x10, 0x81, 0x11, 0x81, 0x12, 0x81, 0x13, 0x81, 0x14],
            ),
        ),
        (
            "DUP16, SWAP16",
            after(&[0x36; 17], &[0x8f, 0x9f, 0x01, 0x9e, 0x93]),
        ),
        (
            "1000 words live, ADD",
            after(&fill, &[0x01, 0x80, 0x8f, 0x9f]),
        ),
        ("MLOAD of MLOAD", after(&[0x36], &[0x51])),
        ("MLOAD, MSTORE", repeat(&[0x36, 0x51, 0x34, 0x52])),
        ("MSTORE8, MSIZE", repeat(&[0x59, 0x59, 0x53])),
        ("MCOPY", repeat(&[0x36, 0x34, 0x32, 0x5e])),
        ("KECCAK256", after(&[0x36], &[0x36, 0x20])),
        ("LOG4", repeat(&[0x36, 0x36, 0x36, 0x36, 0x36, 0x36, 0xa4])),
        ("SLOAD, SSTORE", repeat(&[0x36, 0x54, 0x34, 0x55])),
        ("TLOAD, TSTORE", repeat(&[0x36, 0x5c, 0x34, 0x5d])),
        (
            "CALL",
            repeat(&[0x5f, 0x5f, 0x5f, 0x5f, 0x5f, 0x5f, 0x5a, 0xf1, 0x50]),
        ),
        ("CREATE2", repeat(&[0x5f, 0x5f, 0x5f, 0x5f, 0xf5, 0x50])),
        ("GAS in every block", repeat(&[0x5a, 0x5b, 0x01])),
        ("RETURN in every block", repeat(&[0x5b, 0x5f, 0x5f, 0xf3])),
        ("GAS JUMPI", repeat(&[0x5a, 0x57])),
        ("PC PC JUMPI", repeat(&[0x58, 0x58, 0x57])),
        ("MLOAD", repeat(&[0x36, 0x51, 0x50])),
        (
            "SWAP1 MUL SWAP16 POP",
            after(&[0x36; 40], &[0x90, 0x90, 0x02, 0x9f, 0x50, 0x36, 0x36]),
        ),
        ("a loop of ADD", looped(&[0x80, 0x01], len)),
        ("a loop of MUL", looped(&[0x80, 0x02], len)),
        ("a loop of DIV", looped(&[0x80, 0x36, 0x04, 0x04], len)),
        (
            "a loop of ADDMOD, MULMOD",
            looped(&[0x80, 0x80, 0x08, 0x36, 0x36, 0x09], len),
        ),
        ("a loop of SHL, SAR", looped(&[0x36, 0x1b, 0x36, 0x1d], len)),
        ("a loop of SIGNEXTEND", looped(&[0x36, 0x0b], len)),
        ("a loop of SLT, EQ", looped(&[0x36, 0x12, 0x80, 0x14], len)),
        ("a loop of MLOAD", looped(&[0x51], len)),
        ("a loop of MSTORE", looped(&[0x80, 0x80, 0x52], len)),
        ("a loop of CALLDATALOAD", looped(&[0x35], len)),
        ("loops around loops", nested),
        ("small loops", loops),
        ("random bytes", random),
    ]
}

/// proc(5): writing 5 resets the peak of resident memory. Without it, peaks only grow.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn request(bytecode: &[u8]) -> LookupRequest {
    let code = Bytes::copy_from_slice(bytecode);
    let key = RuntimeCacheKey {
        code_hash: keccak256(&code),
        spec_id: SpecId::OSAKA,
    };
    LookupRequest { key, code }
}

/// A backend that notes its events.
fn backend(tuning: RuntimeTuning) -> (JitBackend, Arc<Mutex<Vec<CompilationEvent>>>) {
    let events: Arc<Mutex<Vec<CompilationEvent>>> = Arc::default();
    let log = Arc::clone(&events);
    let config = RuntimeConfig {
        tuning,
        on_compilation: Some(Arc::new(move |event: &CompilationEvent| {
            log.lock().expect("no panic holds it").push(event.clone());
        })),
        ..RuntimeConfig::default()
    };
    (
        JitBackend::new(config).expect("the configuration is valid"),
        events,
    )
}

fn without_budget(len: usize) {
    let bombs = bombs(len);
    assert!(bombs.iter().all(|(_, bytecode)| bytecode.len() == len));
    let mut rows: Vec<[String; 2]> = vec![Default::default(); bombs.len()];
    let mut worst = [(Duration::ZERO, 0); 2];
    for (column, level) in [OptimizationLevel::None, OptimizationLevel::Default]
        .into_iter()
        .enumerate()
    {
        let (backend, events) = backend(RuntimeTuning {
            jit_opt_level: level,
            jit_tiered: false,
            jit_worker_count: 1,
            compile_time_base: Duration::from_secs(3600),
            native_len_base: 1 << 30,
            ..RuntimeTuning::default()
        });
        for (row, (name, bytecode)) in rows.iter_mut().zip(&bombs) {
            let (before, _) = memory();
            reset_peak();
            let outcome = backend.compile_jit_sync(request(bytecode));
            let peak = memory().1.saturating_sub(before) / 1024;
            // The event comes just after the answer.
            let event = loop {
                if let Some(event) = events.lock().expect("no panic holds it").pop() {
                    break event;
                }
                std::thread::yield_now();
            };
            let (time, memory) = worst[column];
            worst[column] = (time.max(event.cpu_time), memory.max(peak));
            let cpu = event.cpu_time.as_secs_f64() * 1e3;
            row[column] = match event.outcome {
                Ok(mapped) => format!("{cpu:>9.1} {:>8} {peak:>6}", mapped / 1024),
                Err(_) => format!("{cpu:>9.1} {:>8} {peak:>6}", "-"),
            };
            if let Err(error) = outcome {
                eprintln!("{name}: {error}");
            }
            // Each starts with what the machine had.
            backend.clear_resident().expect("it runs");
        }
    }
    println!(
        "{:<24} {:^25}   {:^25}",
        format!("{len} bytes of"),
        "baseline",
        "optimized"
    );
    println!(
        "{:<24} {:>9} {:>8} {:>6}   {:>9} {:>8} {:>6}",
        "", "CPU ms", "code KiB", "MiB", "CPU ms", "code KiB", "MiB"
    );
    for ((name, _), [baseline, optimized]) in bombs.iter().zip(rows) {
        println!("{name:<24} {baseline}   {optimized}");
    }
    println!(
        "{:<24} {:>9.1} {:>8} {:>6}   {:>9.1} {:>8} {:>6}\n",
        "worst",
        worst[0].0.as_secs_f64() * 1e3,
        "",
        worst[0].1,
        worst[1].0.as_secs_f64() * 1e3,
        "",
        worst[1].1
    );
}

fn under_siege(bombs: &[(&str, Vec<u8>)]) {
    let tuning = RuntimeTuning {
        jit_worker_count: 1,
        ..RuntimeTuning::default()
    };
    let (backend, events) = backend(tuning);
    let requests: Vec<_> = bombs
        .iter()
        .map(|(_, bytecode)| request(bytecode))
        .collect();
    let end = Instant::now() + SIEGE;
    let mut calls = 0u64;
    while Instant::now() < end {
        for request in &requests {
            let _ = backend.lookup_ref(&request.key, &request.code);
            calls += 1;
        }
    }
    // Whatever still waits is not compiled any more; what runs ends.
    drop(backend);
    let events = events.lock().expect("no panic holds it");
    let mut jobs: HashMap<_, (usize, usize, Duration)> = HashMap::new();
    for event in events.iter() {
        let entry = jobs.entry(event.key).or_default();
        match event.kind {
            CompilationKind::Optimize => entry.1 += 1,
            _ => entry.0 += 1,
        }
        entry.2 += event.cpu_time;
    }
    println!(
        "{calls} calls in {SIEGE:?}, default budgets, one worker: compilations of each\n{:<24} {:>9} {:>9} {:>9}   outcome",
        "", "baseline", "optimized", "CPU ms"
    );
    let mut most = (0, 0);
    for ((name, _), request) in bombs.iter().zip(&requests) {
        let (baseline, optimized, cpu) = jobs.get(&request.key).copied().unwrap_or_default();
        most = (most.0.max(baseline), most.1.max(optimized));
        let failure = events
            .iter()
            .find(|event| event.key == request.key && !event.success())
            .and_then(|event| event.outcome.clone().err());
        let outcome = match (failure, baseline) {
            (Some(error), _) => error.to_string(),
            (None, 0) => "not reached".to_owned(),
            (None, _) => "native".to_owned(),
        };
        println!(
            "{name:<24} {baseline:>9} {optimized:>9} {:>9.1}   {outcome}",
            cpu.as_secs_f64() * 1e3
        );
    }
    println!("at most {} and {} for one key", most.0, most.1);
    assert!(most.0 <= 1 && most.1 <= 1, "a bomb was paid for twice");
}

fn main() {
    for len in [LEN, MAX_CODE_LEN] {
        without_budget(len);
    }
    under_siege(&bombs(LEN));
}
