//! What asking the whole runtime costs: `JitBackend::lookup` and its other forms, for every answer.
//!
//! `cargo bench --bench dispatch [-- SECTION] [--json FILE]`; the sections are `answers`, `threads`
//! and `compiling`. Ratios are to the floor of the same table: one `Arc` of a program-sized value
//! cloned and dropped, which is what a caller who had the program at hand would pay. Times are the
//! thread's processor time; `least` is the ratio of the least turns; `target` is the ratio that this
//! crate means to keep.
//!
//! `lookup` takes the request by value; its callers clone the bytecode's reference count for it,
//! which is measured with it. `lookup_ref` is the same without. The flood makes a key for each of
//! its misses, which is measured with it too.

mod harness;

use harness::backend::{
    Contract, backend_with, backend_without, contracts, eof_contracts, take, take_borrowed,
};
use harness::contender::{Aimed, Contender, compare, contender, floor, scale, take_turns};
use harness::report::Table;
use harness::{Session, processor_time, random};
use revmc_jit::primitives::{B256, Bytes, SpecId};
use revmc_jit::{JitBackend, RuntimeCacheKey};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The size of a program, counted on cache lines of its own.
#[derive(Clone)]
#[repr(align(64))]
struct Value(#[expect(dead_code, reason = "only its size matters")] [u64; 14]);

fn arcs(count: usize) -> Vec<Arc<Value>> {
    (0..count).map(|_| Arc::new(Value([1; 14]))).collect()
}

/// Every form of a lookup that finds a program.
fn hits<'a>(threads: usize, backend: &'a JitBackend, sets: &'a [Vec<Contract>]) -> Vec<Aimed<'a>> {
    let t = threads;
    vec![
        (
            contender!("hit, lookup", t, sets, |c| take(
                backend.lookup(c.request())
            )),
            None,
        ),
        (
            contender!("hit, lookup_ref", t, sets, |c| take(
                backend.lookup_ref(&c.key, &c.code)
            )),
            Some(1.5),
        ),
        (
            contender!("hit, lookup_borrowed", t, sets, |c| take_borrowed(
                backend.lookup_borrowed(&c.key, &c.code)
            )),
            Some(0.6),
        ),
        (
            contender!("hit, lookup_with", t, sets, |c| black_box(
                backend.lookup_with(&c.key, &c.code, |found| found
                    .ok()
                    .map(|program| program.tier()))
            )),
            Some(0.6),
        ),
        (
            contender!("hit, get_compiled_tracked", t, sets, |c| black_box(
                backend.get_compiled_tracked(c.key.code_hash, c.key.spec_id)
            )),
            None,
        ),
    ]
}

fn answers(session: &mut Session) {
    for count in [1, 64, 1024] {
        let count = session.at_most(count);
        let resident = vec![contracts(0, count as u32)];
        let absent = vec![contracts(1 << 20, count as u32)];
        let backend = &backend_with(&resident[0]);
        // The miss counters would cross even the highest threshold in the end: nothing is compiled.
        backend.pause();
        let failed = &backend_without(&absent[0]);
        let disabled = &JitBackend::disabled();
        let arcs = &arcs(count);
        let switched_off = &backend_with(&resident[0][..1]);
        switched_off.set_enabled(false).expect("off always works");
        let eof = vec![eof_contracts(count as u32)];
        let target = |ratio: f64| (count == 64).then_some(ratio);

        let mut all = hits(1, backend, &resident);
        if count != 64 {
            all.iter_mut().for_each(|(_, target)| *target = None);
        }
        all.extend([
            (
                contender!("miss below the threshold, lookup", 1, &absent, |c| {
                    take(backend.lookup(c.request()))
                }),
                None,
            ),
            (
                contender!("miss below the threshold, lookup_ref", 1, &absent, |c| {
                    take(backend.lookup_ref(&c.key, &c.code))
                }),
                target(1.0),
            ),
            (
                contender!("miss below the threshold, lookup_with", 1, &absent, |c| {
                    black_box(backend.lookup_with(&c.key, &c.code, |found| found.err()))
                }),
                None,
            ),
            (flood(backend), None),
            (
                contender!("record_interpreted, 21,000 gas", 1, &absent, |c| {
                    backend.record_interpreted(&c.key, &c.code, 21_000)
                }),
                None,
            ),
            (
                contender!("negative, lookup_ref", 1, &absent, |c| {
                    take(failed.lookup_ref(&c.key, &c.code))
                }),
                None,
            ),
            (
                contender!("ineligible, lookup_ref", 1, &eof, |c| {
                    take(backend.lookup_ref(&c.key, &c.code))
                }),
                None,
            ),
            (
                contender!("disabled, lookup_ref", 1, &resident, |c| {
                    take(disabled.lookup_ref(&c.key, &c.code))
                }),
                target(0.3),
            ),
            (
                contender!("switched off, lookup_ref", 1, &resident, |c| {
                    take(switched_off.lookup_ref(&c.key, &c.code))
                }),
                target(0.3),
            ),
        ]);
        let title = format!("one lookup, {count} keys, 1 thread");
        all.insert(0, (floor(1, arcs), None));
        let table = compare(session.effort, &title, all);
        session.add(table);
    }
}

/// Misses of which no two have the same key.
fn flood(backend: &JitBackend) -> Contender<'_> {
    let code = Bytes::from_static(&[0x00]);
    Contender::new(
        "miss flood, every key new, lookup_ref",
        1,
        Box::new(move |_, start, n| {
            let mut key = RuntimeCacheKey {
                code_hash: B256::ZERO,
                spec_id: SpecId::OSAKA,
            };
            let begin = processor_time();
            for i in start..start + n {
                key.code_hash[..8].copy_from_slice(&random(i as u64).to_le_bytes());
                take(backend.lookup_ref(black_box(&key), &code));
            }
            processor_time() - begin
        }),
    )
}

fn threads(session: &mut Session) {
    let all = contracts(0, 64);
    let backend = &backend_with(&all);
    let absent = contracts(1 << 20, 64);
    backend.pause();
    let disabled = &JitBackend::disabled();
    let one_key = vec![vec![all[0].clone()]];
    let apart = vec![all[..32].to_vec(), all[32..].to_vec()];
    let missed = vec![absent[..32].to_vec(), absent[32..].to_vec()];
    let misses = |threads| {
        contender!(
            "miss below the threshold, lookup_ref",
            threads,
            &missed,
            |c| { take(backend.lookup_ref(&c.key, &c.code)) }
        )
    };
    let off = |threads| {
        contender!("disabled, lookup_ref", threads, &apart, |c| {
            take(disabled.lookup_ref(&c.key, &c.code))
        })
    };
    for (title, sets) in [("one hot key", &one_key), ("keys apart", &apart)] {
        let arcs = arcs(1);
        let contenders = |threads| {
            let mut contenders = vec![floor(threads, &arcs)];
            let hits = hits(threads, backend, sets).into_iter();
            contenders.extend(hits.map(|(contender, _)| contender));
            contenders.extend([misses(threads), off(threads)]);
            contenders
        };
        let title = format!("two threads at once, {title}");
        let table = scale(session.effort, &title, contenders(1), contenders(2));
        session.add(table);
    }
}

/// Lookups while a worker compiles and the backend thread publishes and evicts.
fn compiling(session: &mut Session) {
    let resident = vec![contracts(0, 64)];
    let absent = vec![contracts(1 << 20, 64)];
    let backend = &backend_with(&resident[0]);
    let arcs = arcs(64);
    let contenders = || {
        let mut contenders = vec![floor(1, &arcs)];
        let hits = hits(1, backend, &resident).into_iter();
        contenders.extend(hits.map(|(contender, _)| contender));
        contenders.push(contender!(
            "miss below the threshold, lookup_ref",
            1,
            &absent,
            |c| take(backend.lookup_ref(&c.key, &c.code))
        ));
        contenders
    };
    // So few turns that no miss is enough.
    let mut idle = contenders();
    take_turns(session.effort, &mut idle);

    let mut busy = contenders();
    let before = backend.stats();
    let begin = Instant::now();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                while backend.stats().pending_jobs > 4 && !done.load(Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if done.load(Relaxed) {
                    break;
                }
                backend.compile_jit(kilobyte(n).request());
            }
        });
        take_turns(session.effort, &mut busy);
        done.store(true, Relaxed);
    });
    let elapsed = begin.elapsed().as_secs_f64();
    let compiled = backend.stats().succeeded - before.succeeded;

    let columns = ["idle, ns", "x floor", "compiling, ns", "x floor then"];
    let mut table = Table::new("while others compile, 64 keys, 1 thread", &columns);
    for (quiet, loud) in idle.iter().zip(&busy) {
        let cells = [
            quiet.median(),
            quiet.ratio_to(&idle[0]),
            loud.median(),
            loud.ratio_to(&busy[0]),
        ];
        table.row(&quiet.name, &cells);
    }
    session.add(table);
    let rate = compiled as f64 / elapsed;
    println!("  {compiled} contracts compiled and published meanwhile, {rate:.0} a second");
}

/// A kilobyte of arithmetic on what the caller sends and on memory: some milliseconds of work for
/// the compiler.
fn kilobyte(n: u32) -> Contract {
    // PUSH4 n, PUSH0 CALLDATALOAD MUL, PUSH1 32 CALLDATALOAD XOR, PUSH0 MLOAD ADD, PUSH0 MSTORE.
    let rest = [
        0x5f, 0x35, 0x02, 0x60, 0x20, 0x35, 0x18, 0x5f, 0x51, 0x01, 0x5f, 0x52,
    ];
    Contract::new([&[0x63][..], &n.to_be_bytes(), &rest].concat().repeat(60))
}

fn main() -> ExitCode {
    harness::run(
        "dispatch",
        &[
            ("answers", answers),
            ("threads", threads),
            ("compiling", compiling),
        ],
    )
}
