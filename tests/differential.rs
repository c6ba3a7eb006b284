//! Generated programs by the interpreter and by compiled code at both tiers.
//!
//! `REVMC_JIT_PROGRAMS` sets how many, `REVMC_JIT_SEED` the first seed:
//!
//! ```text
//! REVMC_JIT_PROGRAMS=100000 cargo test --release --test differential -- --nocapture
//! ```

mod common;

use common::generate::{self, Program};
use common::native;
use common::shrink::shrink;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Differences reported before the search ends.
const REPORTED: usize = 5;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, is {text:?}")),
        Err(_) => default,
    }
}

/// A panic in the compiler is a difference too.
fn compare(program: &Program) -> Result<String, String> {
    let case = program.case();
    catch_unwind(AssertUnwindSafe(|| native::compare(&case)))
        .unwrap_or_else(|_| Err("panicked".to_owned()))
        .map(|run| format!("{:?}", run.result.result))
}

#[test]
fn generated_programs() {
    let (first, count) = (
        setting("REVMC_JIT_SEED", 0),
        setting("REVMC_JIT_PROGRAMS", 4_000),
    );
    let next = AtomicU64::new(first);
    let found = Mutex::new((Vec::<String>::new(), BTreeMap::<String, u64>::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    // Only a counter: nothing else is published through it.
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || found.lock().unwrap().0.len() >= REPORTED {
                        break;
                    }
                    let program = generate::program(seed);
                    match compare(&program) {
                        Ok(end) => *found.lock().unwrap().1.entry(end).or_default() += 1,
                        Err(_) => {
                            let report = report(seed, program);
                            found.lock().unwrap().0.push(report);
                        }
                    }
                }
            });
        }
    });
    let (differences, ends) = found.into_inner().unwrap();
    println!("{count} programs from seed {first}, by result: {ends:?}");
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// The difference on the smallest program that still shows one.
fn report(seed: u64, program: Program) -> String {
    let small = shrink(program, |candidate| compare(candidate).is_err());
    let error = compare(&small).expect_err("shrinking keeps the failure");
    format!("seed {seed}: {error}\n{}\n{:?}", small.case(), small.items)
}
