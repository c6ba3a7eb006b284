//! KECCAK256 of short inputs, remembered.
//!
//! Contracts find the slots of their mappings by hashing a key and a number, 64 bytes, and the same few
//! keys over and over: on mainnet half of a block's hashes have been computed earlier in the block, and a
//! hash takes as long as hundreds of other instructions. So each thread keeps the last inputs that it has
//! hashed, and what came out.
//!
//! # Invariants
//!
//! * **M1** A row's hash is that of its input: both are written together, and an answer is given only
//!   where the whole input is the same.
//! * **M2** Nothing but time depends on what is remembered: who fills the table with inputs that fall on
//!   the same row makes others hash again, at the cost of a comparison and a copy.
//!
//! The table takes [`ROWS`] times 128 bytes of a thread that runs machine code with such a hash, and is
//! given back when the thread ends.

use crate::frame::Word;
use alloy_primitives::{U256, keccak256};
use std::cell::RefCell;

/// Inputs that a thread remembers. Of the inputs that repeat within a block of mainnet, 99% are still
/// there.
const ROWS: usize = 1024;

/// Bytes of the longest input that is remembered: besides keys of mappings, the 85 of an address that
/// CREATE2 has given (EIP-1014), by which contracts find others.
pub(super) const MAX_INPUT: usize = 88;

/// Bytes of a mapping's key and number.
const KEY: usize = 64;

/// Words of the longest input.
const WORDS: usize = MAX_INPUT / 8;

/// An input and its hash: two cache lines.
#[derive(Clone)]
#[repr(C, align(128))]
struct Row {
    /// [`Table::tag`]; 0 in a row that is empty.
    tag: u64,
    hash: Word,
    /// As many words as the input's length asks for; zeros follow what is shorter.
    input: [u64; WORDS],
}

impl Row {
    const EMPTY: Self = Self {
        tag: 0,
        hash: [0; 4],
        input: [0; WORDS],
    };
}

/// A thread's rows, once it has any.
struct Table {
    rows: Vec<Row>,
    /// How often the thread has forgotten everything, from 1 on.
    generation: u64,
}

thread_local! {
    static TABLE: RefCell<Table> = const {
        RefCell::new(Table {
            rows: Vec::new(),
            generation: 1,
        })
    };
}

/// The hash of an input of 1 to [`MAX_INPUT`] bytes, as the word that KECCAK256 pushes.
#[inline]
pub(super) fn hash(input: &[u8]) -> Word {
    // A thread that ends has no table any more.
    let known = TABLE.try_with(|table| match table.try_borrow_mut() {
        Ok(mut table) => table.hash(input),
        Err(_) => compute(input),
    });
    known.unwrap_or_else(|_| compute(input))
}

/// Forgets what this thread has hashed.
///
/// A benchmark that runs the same work again does so to begin as a thread does that has not run it. Takes
/// no time.
pub fn forget_hashes() {
    // A thread that ends has forgotten everything.
    let _ = TABLE.try_with(|table| {
        if let Ok(mut table) = table.try_borrow_mut() {
            table.generation += 1;
        }
    });
}

fn compute(input: &[u8]) -> Word {
    U256::from_be_bytes(keccak256(input).0).into_limbs()
}

impl Table {
    /// What a row has whose input is so long and was hashed since the last was forgotten.
    fn tag(&self, len: usize) -> u64 {
        self.generation << 8 | len as u64
    }

    #[inline]
    fn hash(&mut self, input: &[u8]) -> Word {
        if self.rows.is_empty() && !self.fill() {
            return compute(input);
        }
        let mut padded = [0; MAX_INPUT];
        // By far most are words: with a length that is known, copies are a few moves.
        match input.len() {
            64 => padded[..64].copy_from_slice(input),
            32 => padded[..32].copy_from_slice(input),
            len => padded[..len].copy_from_slice(input),
        }
        match input.len() {
            ..=KEY => self.remembered::<{ KEY / 8 }>(input, &padded),
            _ => self.remembered::<WORDS>(input, &padded),
        }
    }

    /// [`hash`](Self::hash) of an input that fits into so many words.
    #[inline]
    fn remembered<const N: usize>(&mut self, input: &[u8], padded: &[u8; MAX_INPUT]) -> Word {
        let (tag, words) = (self.tag(input.len()), words::<N>(padded));
        let row = &mut self.rows[index(&words)];
        // M1: so long an input has so many words. In line, as a call that compares takes longer.
        let pairs = row.input.iter().zip(&words);
        if row.tag != tag || pairs.fold(0, |bits, (a, b)| bits | (a ^ b)) != 0 {
            row.hash = compute(input);
            row.input[..N].copy_from_slice(&words);
            row.tag = tag;
        }
        row.hash
    }

    /// Makes the rows, if there is memory for them.
    #[cold]
    fn fill(&mut self) -> bool {
        if self.rows.try_reserve_exact(ROWS).is_err() {
            return false;
        }
        self.rows.resize(ROWS, Row::EMPTY);
        true
    }
}

/// The first words of an input that zeros follow.
#[inline]
fn words<const N: usize>(padded: &[u8; MAX_INPUT]) -> [u64; N] {
    let (words, _) = padded.as_chunks();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

/// The row of an input. Products of pairs of words, each half of which every bit of the words reaches: keys
/// differ in any of their bytes.
#[inline]
fn index(input: &[u64]) -> usize {
    // Any odd numbers.
    const SEEDS: [u64; WORDS + 1] = [
        0x9e37_79b9_7f4a_7c15,
        0xf39c_c060_5ced_c835,
        0x1082_276b_f3a2_7251,
        0xf86c_6a11_d0c1_8e95,
        0x2767_f0b1_53d2_7b7f,
        0x0347_045b_5bf1_827f,
        0x0188_6f09_2840_3003,
        0xc1d6_4ba4_0f33_5e37,
        0x5851_f42d_4c95_7f2d,
        0x1405_7b7e_f767_814f,
        0x2545_f491_4f6c_dd1d,
        0x9fb2_1c65_1e98_df25,
    ];
    let folded = input.chunks(2).zip(SEEDS.chunks_exact(2));
    let folded = folded.fold(0, |folded, (words, seeds)| {
        let second = words.get(1).copied().unwrap_or_default();
        let product = u128::from(words[0] ^ seeds[0]) * u128::from(second ^ seeds[1]);
        folded ^ product as u64 ^ (product >> 64) as u64
    });
    (folded as usize ^ (folded >> 32) as usize) % ROWS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// M1, M2: lengths and contents that fall on the same row are told apart, and nothing is lost by it.
    #[test]
    fn every_input_has_its_own_hash() {
        forget_hashes();
        let mut inputs: Vec<Vec<u8>> = (1..=MAX_INPUT).map(|len| vec![0; len]).collect();
        for key in 0..5000u32 {
            let mut input = vec![0; MAX_INPUT];
            input[28..32].copy_from_slice(&key.to_be_bytes());
            inputs.push(input);
        }
        for len in [KEY, KEY + 1, MAX_INPUT] {
            for at in 0..len {
                let mut input = vec![0; len];
                input[at] = 0x80;
                inputs.push(input);
            }
        }
        for _ in 0..2 {
            for input in &inputs {
                assert_eq!(hash(input), compute(input), "{input:02x?}");
                assert_eq!(hash(input), compute(input), "{input:02x?}");
            }
        }
    }

    /// M2: what Solidity hashes for mappings is spread over the rows, an address or a small number, and a
    /// small number; and so is what is longer.
    #[test]
    fn inputs_that_differ_in_few_bytes_are_spread() {
        // Thrown at random, as many inputs as there are rows meet 63% of them.
        for at in [15, 31, 47, 63, 84] {
            let rows: std::collections::HashSet<_> = (0..ROWS as u32)
                .map(|n| {
                    let mut input = [0; MAX_INPUT];
                    input[at - 3..=at].copy_from_slice(&n.to_be_bytes());
                    match at {
                        ..KEY => index(&words::<{ KEY / 8 }>(&input)),
                        _ => index(&words::<WORDS>(&input)),
                    }
                })
                .collect();
            let used = rows.len();
            assert!((580..=1024).contains(&used), "byte {at}: {used} rows");
        }
    }

    #[test]
    fn what_is_forgotten_is_hashed_again() {
        let input = [7; 64];
        let first = hash(&input);
        let known = || {
            TABLE.with_borrow(|table| {
                let tag = table.tag(input.len());
                table.rows.iter().filter(|row| row.tag == tag).count()
            })
        };
        assert!(known() > 0);
        forget_hashes();
        assert_eq!(known(), 0);
        assert_eq!(hash(&input), first);
    }
}
