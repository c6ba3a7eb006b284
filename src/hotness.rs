//! Which missing programs are worth compiling: a counter of misses in a fixed piece of memory.
//!
//! Execution threads call [`Sketch::record`] on every miss. It reads one cache line, writes one
//! word, and allocates, locks and sends nothing. The backend thread ages the counts.
//!
//! # Method
//!
//! The array is divided into buckets of one cache line, [`WAYS`] words each; a word holds a
//! 32-bit tag of the key and its heat. A key that is not found in its bucket wears the coldest
//! word down by its own weight and takes the place once that word is no hotter than what arrives
//! (Misra and Gries, "Finding repeated elements", 1982, per bucket). A key that makes up more than
//! one in `WAYS + 1` of its bucket's misses is therefore never lost, however many distinct cold
//! keys flow through: they take turns in the coldest word.
//!
//! # Invariants
//!
//! * **H1** A word is a tag and a heat together, so that concurrent writers leave one of their
//!   words and never a mixture.
//! * **H2** Counting is a load and a store, not a read-modify-write. Two threads that meet may
//!   lose one of two counts, which delays a promotion by one miss. A crossing of the threshold is
//!   never lost: each stored heat was computed by the thread that stored it from a heat it read,
//!   so whichever thread stores the first heat above the threshold read one below, and reports.
//! * **H3** The hash is seeded per sketch. Code hashes can be ground by an attacker, the bucket
//!   and the tag they get cannot be foreseen. Two keys that agree in the 64 bits that are hashed
//!   ([`RuntimeCacheKey::prefix`]), or in bucket and tag by chance, are counted as one: each
//!   hastens the other's promotion, no more.
//! * **H4** A key that stays hot without being compiled (its report was dropped, its request
//!   refused) is reported again at 2, 4, 8 … times the threshold, and after ageing.
//!
//! All accesses are `Relaxed`: the words order nothing else, and no value but the heat is read
//! through them.

use crate::key::RuntimeCacheKey;
use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Words in a bucket: one cache line.
pub(crate) const WAYS: usize = 8;

/// The heat of one miss. Finer weights come from reported gas.
pub(crate) const MISS: u32 = 256;

/// Heat stops growing here, far above every threshold and far below an overflow.
const MAX_HEAT: u32 = 1 << 31;

#[repr(align(64))]
struct Bucket([AtomicU64; WAYS]);

/// The counter. See the [module](self).
pub(crate) struct Sketch {
    buckets: Box<[Bucket]>,
    seed: [u64; 2],
    /// Heat of 2^32 gas. A product is cheaper than a quotient by what one miss is worth.
    heat_of_gas: u64,
}

/// H1: both are stored at once.
const fn word(tag: u32, heat: u32) -> u64 {
    (tag as u64) << 32 | heat as u64
}

const fn tag_of(word: u64) -> u32 {
    (word >> 32) as u32
}

const fn heat_of(word: u64) -> u32 {
    word as u32
}

impl Sketch {
    /// A sketch of `slots` words, a power of two and at least [`WAYS`].
    pub(crate) fn new(slots: usize, gas_per_miss: u64) -> Self {
        let random = RandomState::new();
        Self {
            buckets: (0..(slots / WAYS).max(1))
                .map(|_| Bucket(Default::default()))
                .collect(),
            seed: std::array::from_fn(|i| random.hash_one(i)),
            heat_of_gas: (u64::from(MISS) << 32)
                .checked_div(gas_per_miss)
                .map_or(0, |heat| heat + 1),
        }
    }

    /// Counts `weight` for `key`; true if that crossed `threshold` or a doubling of it (H4).
    #[inline]
    pub(crate) fn record(&self, key: &RuntimeCacheKey, weight: u32, threshold: u32) -> bool {
        self.count(key, weight, threshold)
            .unwrap_or_else(|| self.admit(key, weight, threshold))
    }

    /// [`record`](Self::record) for a key that is being counted; `None`, and nothing done, for
    /// another, which [`admit`](Self::admit) is for.
    #[inline(always)]
    pub(crate) fn count(&self, key: &RuntimeCacheKey, weight: u32, threshold: u32) -> Option<bool> {
        let (bucket, tag) = self.place(key);
        for slot in &bucket.0 {
            let found = slot.load(Relaxed);
            if tag_of(found) == tag {
                let before = heat_of(found);
                let after = before.saturating_add(weight).min(MAX_HEAT);
                slot.store(word(tag, after), Relaxed);
                return Some(crossed(before, after, threshold));
            }
        }
        None
    }

    /// [`record`](Self::record) for a key that is not being counted.
    pub(crate) fn admit(&self, key: &RuntimeCacheKey, weight: u32, threshold: u32) -> bool {
        let (bucket, tag) = self.place(key);
        let (mut coldest, mut coldest_word) = (0, u64::MAX);
        for (i, slot) in bucket.0.iter().enumerate() {
            let found = slot.load(Relaxed);
            if heat_of(found) < heat_of(coldest_word) {
                (coldest, coldest_word) = (i, found);
            }
        }
        let heat = heat_of(coldest_word);
        if heat > weight {
            bucket.0[coldest].store(word(tag_of(coldest_word), heat - weight), Relaxed);
            return false;
        }
        bucket.0[coldest].store(word(tag, weight), Relaxed);
        crossed(0, weight, threshold)
    }

    /// The heat of `key`; 0 if it is not being counted.
    pub(crate) fn heat(&self, key: &RuntimeCacheKey) -> u32 {
        let (bucket, tag) = self.place(key);
        let words = bucket.0.iter().map(|slot| slot.load(Relaxed));
        words
            .filter(|word| tag_of(*word) == tag)
            .map(heat_of)
            .max()
            .unwrap_or(0)
    }

    /// The weight of an interpreted run that cost `gas`: one [`MISS`] for each `gas_per_miss`, and
    /// more than that by less than one part in 2^40 / `gas_per_miss`.
    #[inline]
    pub(crate) fn weight_of_gas(&self, gas: u64) -> u32 {
        let weight = (u128::from(gas) * u128::from(self.heat_of_gas)) >> 32;
        u32::try_from(weight).unwrap_or(MAX_HEAT).min(MAX_HEAT)
    }

    /// Sets the heat of `key`, if it is being counted. Used to start over (0) and to have a refused
    /// key report again soon (half the threshold).
    pub(crate) fn set(&self, key: &RuntimeCacheKey, heat: u32) {
        let (bucket, tag) = self.place(key);
        for slot in &bucket.0 {
            if tag_of(slot.load(Relaxed)) == tag {
                slot.store(if heat == 0 { 0 } else { word(tag, heat) }, Relaxed);
            }
        }
    }

    /// Halves every heat and forgets what falls below one miss.
    pub(crate) fn age(&self) {
        for slot in self.buckets.iter().flat_map(|bucket| &bucket.0) {
            let found = slot.load(Relaxed);
            if found != 0 {
                let heat = heat_of(found) / 2;
                let aged = if heat < MISS {
                    0
                } else {
                    word(tag_of(found), heat)
                };
                slot.store(aged, Relaxed);
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for slot in self.buckets.iter().flat_map(|bucket| &bucket.0) {
            slot.store(0, Relaxed);
        }
    }

    /// The bucket and the tag of a key (H3).
    #[inline(always)]
    fn place(&self, key: &RuntimeCacheKey) -> (&Bucket, u32) {
        let hash = fold(key.prefix() ^ self.seed[0], self.seed[1]);
        // The mask is the number of buckets, a power of two, minus one. Tag 0 is an empty word's.
        (
            &self.buckets[hash as usize & (self.buckets.len() - 1)],
            (hash >> 32) as u32 | 1,
        )
    }
}

/// Multiplies to 128 bits and folds the halves together.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Whether the step from `before` to `after` reaches the threshold, or a doubling of it.
#[inline(always)]
fn crossed(before: u32, after: u32, threshold: u32) -> bool {
    after >= threshold
        && (before < threshold || (after / threshold).ilog2() > (before / threshold).ilog2())
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sketch")
            .field("buckets", &self.buckets.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use revm_interpreter::primitives::hardfork::SpecId;
    use std::sync::atomic::AtomicUsize;

    const HOT: u32 = 8 * MISS;

    fn key(i: u64) -> RuntimeCacheKey {
        let mut hash = B256::ZERO;
        hash[..8].copy_from_slice(&i.to_le_bytes());
        RuntimeCacheKey {
            code_hash: hash,
            spec_id: SpecId::CANCUN,
        }
    }

    #[test]
    fn reports_at_the_threshold_and_at_its_doublings() {
        let sketch = Sketch::new(64, 0);
        let reports: Vec<u32> = (1..=64)
            .filter(|_| sketch.record(&key(1), MISS, HOT))
            .collect::<Vec<_>>();
        assert_eq!(reports, [8, 16, 32, 64]);
    }

    #[test]
    fn forks_are_counted_apart() {
        let sketch = Sketch::new(1024, 0);
        let other = RuntimeCacheKey {
            spec_id: SpecId::LONDON,
            ..key(1)
        };
        for _ in 0..7 {
            assert!(!sketch.record(&key(1), MISS, HOT));
            assert!(!sketch.record(&other, MISS, HOT));
        }
        assert!(sketch.record(&key(1), MISS, HOT));
        assert!(sketch.record(&other, MISS, HOT));
    }

    /// A million cold keys, each seen once, and among them one that is seen every thousandth time.
    #[test]
    fn a_flood_neither_starves_a_hot_key_nor_promotes_a_cold_one() {
        let sketch = Sketch::new(32 * 1024, 0);
        let mut promoted_after = None;
        let mut false_alarms = 0;
        let mut hot_misses = 0;
        for i in 0..1_000_000u64 {
            false_alarms += usize::from(sketch.record(&key(1 << 40 | i), MISS, HOT));
            if i % 1000 == 0 {
                hot_misses += 1;
                if sketch.record(&key(7), MISS, HOT) {
                    promoted_after.get_or_insert(hot_misses);
                }
            }
        }
        assert_eq!(false_alarms, 0);
        let promoted_after = promoted_after.expect("the hot key was starved");
        assert!(
            promoted_after <= 64,
            "promoted only after {promoted_after} misses"
        );
    }

    /// Every word of the sketch is taken by keys that stay just below the threshold.
    #[test]
    fn a_full_sketch_of_warm_keys_ages_and_lets_a_hot_key_in() {
        let sketch = Sketch::new(64, 0);
        for i in 0..7 * 64 {
            sketch.record(&key(100 + i % 64), MISS, HOT);
        }
        for _ in 0..4 {
            sketch.age();
        }
        let misses = (1..).find(|_| sketch.record(&key(1), MISS, HOT));
        assert_eq!(misses, Some(8));
    }

    #[test]
    fn a_key_can_start_over_or_be_told_to_report_again() {
        let sketch = Sketch::new(64, 0);
        let misses_to_report = || (1..).find(|_| sketch.record(&key(1), MISS, HOT)).unwrap();
        assert_eq!(misses_to_report(), 8);
        assert_eq!((sketch.heat(&key(1)), sketch.heat(&key(2))), (HOT, 0));
        sketch.set(&key(1), HOT / 2);
        assert_eq!(misses_to_report(), 4);
        sketch.set(&key(1), 0);
        assert_eq!(misses_to_report(), 8);
        sketch.clear();
        assert_eq!(misses_to_report(), 8);
    }

    #[test]
    fn gas_is_weighed_in_misses() {
        let sketch = Sketch::new(64, 100_000);
        assert_eq!(sketch.weight_of_gas(100_000), MISS);
        assert_eq!(sketch.weight_of_gas(25_000), MISS / 4);
        assert_eq!(sketch.weight_of_gas(u64::MAX), MAX_HEAT);
        assert_eq!(Sketch::new(64, 0).weight_of_gas(u64::MAX), 0);
        // One run of the price of twenty misses is reported at once.
        assert!(sketch.record(&key(1), sketch.weight_of_gas(2_000_000), HOT));
        assert!(!sketch.record(&key(1), MISS, HOT));
    }

    #[test]
    fn heat_saturates() {
        let sketch = Sketch::new(64, 1);
        for _ in 0..100 {
            sketch.record(&key(1), MAX_HEAT, HOT);
        }
        assert!(!sketch.record(&key(1), u32::MAX, HOT));
    }

    /// H2: threads that lose each other's counts still report the crossing.
    #[test]
    fn a_crossing_is_reported_under_contention() {
        for _ in 0..200 {
            let sketch = Sketch::new(64, 0);
            let reports = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..1000 {
                            if sketch.record(&key(1), MISS, HOT) {
                                reports.fetch_add(1, Relaxed);
                            }
                        }
                    });
                }
            });
            assert!(reports.load(Relaxed) >= 1);
        }
    }
}
