//! Numbers that follow from a seed: the same on every platform.

use alloy_primitives::U256;

/// One step of SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014).
fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash of words, for a seed.
pub(super) fn hash(seed: u64, words: &[u64]) -> u64 {
    let mut state = finish(seed ^ 0x9e37_79b9_7f4a_7c15);
    for word in words {
        state = finish(
            state
                .wrapping_add(*word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ state >> 17,
        );
    }
    state
}

/// A word whose limbs are each at an edge of what a limb holds, or anything; a number decides.
pub(super) fn at_edges(number: u64) -> U256 {
    let limb = |i: u32| match number >> (4 * i) & 15 {
        0..=3 => 0,
        4 | 5 => 1,
        6 | 7 => 1 << 63,
        8..=11 => u64::MAX,
        12 => u64::MAX >> 1,
        _ => finish(number ^ u64::from(i)),
    };
    let used = 1 + (number >> 16 & 3) as usize;
    let mut limbs = [0; 4];
    for (i, to) in limbs[..used].iter_mut().enumerate() {
        *to = limb(i as u32);
    }
    U256::from_limbs(limbs) << (64 * (number >> 18) as usize % (64 * (5 - used)))
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        finish(self.0)
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(items.len() as u64);
        items.get(index as usize)
    }

    pub(super) fn word(&mut self) -> U256 {
        U256::from_limbs(std::array::from_fn(|_| self.next()))
    }
}
