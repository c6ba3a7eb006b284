//! Cranelift's checker of register allocation over what the compiler gives it: generated programs, and
//! the contracts of real blocks, with Cranelift for the loops, as on x86-64, and for everything, as on
//! machines without an emitter of their own, by both of its allocators. Which programs have been checked
//! is printed.
//!
//! ```text
//! cargo test --release --test register_allocation -- --nocapture
//! ```
//!
//! `REVMC_JIT_PROGRAMS` says how many programs, `REVMC_JIT_SEED` the first one's seed, `REVMC_JIT_BLOCKS`
//! a folder of blocks (`tests/blocks`) in place of the crate's own.

mod blocks;
mod common;

use blocks::format::{Folder, OWN};
use common::generate;
use revmc_jit::{
    Chain,
    compiler::{self, CompileError, CompileOptions, Tier},
    primitives::SpecId,
};
use std::{env, path::PathBuf};

/// Cranelift for the loops only; for everything by its one allocator; by the other.
const WAYS: [(Tier, bool); 3] = [
    (Tier::Optimized, false),
    (Tier::Optimized, true),
    (Tier::Baseline, true),
];

/// What became of the codes that one way was given.
#[derive(Debug, Default)]
struct Count {
    codes: usize,
    refused: usize,
    native_len: usize,
}

fn check(counts: &mut [Count; 3], code: &[u8], spec_id: SpecId) {
    let chain = Chain::mainnet();
    for ((tier, portable), count) in WAYS.into_iter().zip(counts) {
        let options = CompileOptions {
            tier,
            portable,
            debug_assertions: true,
            ..CompileOptions::default()
        };
        match compiler::compile(code, chain.rules(spec_id), &options) {
            Ok(native) => {
                count.codes += 1;
                count.native_len += native.text_len();
            }
            // By its size, before or after: nothing is known of the allocation, and nothing runs.
            Err(
                CompileError::TooComplex { .. }
                | CompileError::FrameTooLarge { .. }
                | CompileError::NativeTooLarge { .. }
                | CompileError::BytecodeTooLong { .. }
                | CompileError::Reserved,
            ) => count.refused += 1,
            Err(error) => {
                let code = alloy_primitives::hex::encode(code);
                panic!("{tier}, portable: {portable}, {spec_id:?}: {error}\n{code}")
            }
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[test]
fn of_generated_programs_is_right() {
    let (seed, programs) = (
        number("REVMC_JIT_SEED", 0),
        number("REVMC_JIT_PROGRAMS", 100),
    );
    let mut counts = Default::default();
    for seed in seed..seed + programs {
        let case = generate::program(seed).case();
        check(&mut counts, &case.code, case.spec_id);
    }
    println!("{programs} programs: {counts:?}");
    let [loops, ..] = &counts;
    assert_eq!(loops.refused, 0);
}

#[test]
fn of_real_contracts_is_right() {
    // Of the crate's own the small ones: a debug build takes its time.
    let (folder, max_len) = match env::var_os("REVMC_JIT_BLOCKS") {
        Some(folder) => (PathBuf::from(folder), usize::MAX),
        None => (OWN.into(), 4096),
    };
    let folder = Folder::open(&folder).expect("a folder of blocks");
    let codes = folder.codes.values().map(|code| code.original_byte_slice());
    let codes: Vec<_> = codes.filter(|code| code.len() <= max_len).collect();
    let mut counts = Default::default();
    for code in &codes {
        check(&mut counts, code, SpecId::OSAKA);
    }
    println!("{} contracts: {counts:?}", codes.len());
    assert!(codes.len() >= 10);
    assert_eq!(counts[0].codes, codes.len());
}
