//! The default hasher: fast, keyed, for keys an attacker may choose.
//!
//! Input words are summed as NH (Black, Halevi, Krawczyk, Krovetz and Rogaway, "UMAC: Fast and
//! Secure Message Authentication", 1999): `sum of (w[2i] + k[2i]) * (w[2i+1] + k[2i+1])` in 128 bits,
//! with secret `k`. For keys of at most a 32-byte block and a tail of eight bytes, two inputs chosen
//! without knowledge of `k` collide in that sum with probability at most 2^-64. The halves of the sum
//! are then folded by exclusive or, for which nothing is proved. This is not a cryptographic
//! function: who could observe hash values could solve for the key. The map reveals none, and does
//! not rest its bound on them: each table is built with a new key, and a table that would exceed the
//! probe limit is built anew (see [`resident`](super), "Chosen keys").

use std::hash::{BuildHasher, Hasher, RandomState};

/// Keyed hashing for keys that a stranger may choose. `Default` draws a fresh secret key.
#[derive(Clone)]
pub struct Seeded {
    keys: [u64; 8],
}

impl Default for Seeded {
    fn default() -> Self {
        // A SipHash key never used before, derived from the operating system's entropy. SipHash is a
        // PRF: its values at distinct points, and under distinct keys, serve as independent words.
        let source = RandomState::new();
        Self {
            keys: std::array::from_fn(|i| source.hash_one(i)),
        }
    }
}

impl std::fmt::Debug for Seeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret.
        f.debug_struct("Seeded").finish_non_exhaustive()
    }
}

impl BuildHasher for Seeded {
    type Hasher = SeededHasher;

    #[inline]
    fn build_hasher(&self) -> SeededHasher {
        SeededHasher {
            keys: self.keys,
            sum: 0,
            tail: 0,
            tail_bits: 0,
        }
    }
}

/// The [`Hasher`] of [`Seeded`].
#[derive(Clone)]
pub struct SeededHasher {
    keys: [u64; 8],
    /// NH sum of what has been absorbed.
    sum: u128,
    /// Small writes gather here, so that a short trailing field costs no multiplication of its own.
    tail: u64,
    tail_bits: u32,
}

#[inline(always)]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    let mut buffer = [0; 8];
    buffer[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(buffer)
}

impl SeededHasher {
    /// Folds the sum so far into one product and adds one block of four words.
    #[inline(always)]
    fn absorb(&mut self, w: [u64; 4]) {
        let k = &self.keys;
        let carried = if self.sum == 0 {
            0
        } else {
            product(self.sum as u64 ^ k[6], (self.sum >> 64) as u64 ^ k[7])
        };
        self.sum = carried
            .wrapping_add(product(w[0].wrapping_add(k[0]), w[1].wrapping_add(k[1])))
            .wrapping_add(product(w[2].wrapping_add(k[2]), w[3].wrapping_add(k[3])));
    }

    #[inline(always)]
    fn small(&mut self, value: u64, bits: u32) {
        if self.tail_bits + bits > 64 {
            let (tail, tail_bits) = (self.tail, self.tail_bits);
            self.absorb([tail, tail_bits.into(), 0, 0]);
            (self.tail, self.tail_bits) = (0, 0);
        }
        // A write of 64 bits always finds `tail_bits == 0` here.
        self.tail |= value << self.tail_bits;
        self.tail_bits += bits;
    }
}

impl Hasher for SeededHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            self.absorb(std::array::from_fn(|i| word(&block[i * 8..i * 8 + 8])));
        }
        let (words, rest) = rest.as_chunks::<8>();
        for bytes in words {
            self.small(u64::from_le_bytes(*bytes), 64);
        }
        if !rest.is_empty() {
            self.small(word(rest), 8 * rest.len() as u32);
        }
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.small(value.into(), 8);
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.small(value, 64);
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.small(value as u64, 64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        let k = &self.keys;
        let tail_bits = u64::from(self.tail_bits);
        let sum = self.sum.wrapping_add(product(
            self.tail.wrapping_add(k[4]),
            tail_bits.wrapping_add(k[5]),
        ));
        sum as u64 ^ (sum >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Field boundaries, lengths and integer widths all reach the value.
    #[test]
    fn inputs_are_kept_apart() {
        let seeded = Seeded::default();
        let mut seen = HashSet::new();
        for length in 0..100usize {
            assert!(
                seen.insert(seeded.hash_one(vec![0u8; length])),
                "{length} zero bytes collide"
            );
        }
        for value in 0..1000u64 {
            assert!(
                seen.insert(seeded.hash_one((value, 7u64))),
                "({value}, 7) collides"
            );
            assert!(
                seen.insert(seeded.hash_one((7u64, 1u8, value + 8))),
                "(7, 1, {value}) collides"
            );
        }
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(
            Seeded::default().hash_one(1u8),
            Seeded::default().hash_one(1u8)
        );
        assert_eq!(format!("{:?}", Seeded::default()), "Seeded { .. }");
    }
}
