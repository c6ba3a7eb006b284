//! Random programs of map operations against `std::collections::HashMap`, with every hasher.
#![cfg(not(loom))]

mod resident_model;

use std::hash::{BuildHasher, RandomState};
use std::panic::catch_unwind;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn program(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let operations = random(&mut state) % if cfg!(miri) { 60 } else { 2000 };
    let mut bytes = Vec::new();
    for _ in 0..operations {
        bytes.extend_from_slice(&random(&mut state).to_le_bytes()[..3]);
    }
    // Every head is met: the first byte follows the seed.
    bytes.insert(0, seed as u8);
    bytes
}

#[test]
fn random_programs_agree_with_a_hash_map() {
    let count = if cfg!(miri) { 16 } else { 256 };
    // Half the seeds are always the same, half are new in each run.
    let base = RandomState::new().hash_one(0u8) & !0xffff;
    for n in 0..count {
        let seed = if n % 2 == 0 { n / 2 } else { base + n / 2 };
        let outcome = catch_unwind(|| resident_model::check(&program(seed)));
        assert!(outcome.is_ok(), "program of seed {seed:#x} failed");
    }
}
