//! The default hasher: fast, keyed, for keys an attacker may choose.
//!
//! Input words are summed as NH (Black, Halevi, Krawczyk, Krovetz and Rogaway, "UMAC", 1999, section 4):
//! `sum of (w[2i] + k[2i]) * (w[2i+1] + k[2i+1])` in 128 bits, with secret `k`. For one block of 32
//! bytes and a tail, two different inputs chosen without knowledge of the key collide in that sum
//! with probability at most 2^-64. One more keyed multiplication folds it to 64 bits. This is not a
//! cryptographic function: someone who could observe hash values could solve for the key. Nothing
//! here reveals them, and the map does not rest its bound on that: every rebuilt table draws a new
//! key, and a table that ever exceeds the probe bound is rebuilt (see the module documentation of
//! [`resident`](super)).

use std::hash::{BuildHasher, Hasher, RandomState};

/// Keyed hashing for keys that a stranger may choose. `Default` draws a fresh secret key.
#[derive(Clone)]
pub struct Seeded {
    keys: [u64; 8],
}

impl Default for Seeded {
    fn default() -> Self {
        // `RandomState` holds fresh SipHash keys from the operating system's entropy; SipHash is a
        // PRF, so its values at distinct points serve as independent key words.
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
    fn write_u16(&mut self, value: u16) {
        self.small(value.into(), 16);
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.small(value.into(), 32);
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

    /// Every single-bit difference of a 33-byte key changes about half of the 64 output bits.
    #[test]
    fn bits_avalanche() {
        let seeded = Seeded::default();
        let hash = |key: &[u8; 33]| {
            let mut hasher = seeded.build_hasher();
            hasher.write(&key[..32]);
            hasher.write_u8(key[32]);
            hasher.finish()
        };
        let mut worst = [0u32; 64];
        const KEYS: u32 = 512;
        for n in 0..KEYS {
            let mut key = [0u8; 33];
            key[..4].copy_from_slice(&n.to_le_bytes());
            let before = hash(&key);
            for (bit, flips) in worst.iter_mut().enumerate() {
                key[bit / 8] ^= 1 << (bit % 8);
                *flips += (before ^ hash(&key)).count_ones();
                key[bit / 8] ^= 1 << (bit % 8);
            }
        }
        for flips in worst {
            let mean = f64::from(flips) / f64::from(KEYS);
            assert!(
                (24.0..40.0).contains(&mean),
                "a bit flips {mean} of 64 output bits"
            );
        }
    }

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
