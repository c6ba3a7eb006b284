//! Call data of real calls, for the trials of programs: a fixed piece of memory.
//!
//! An execution thread that interprets a frame offers its input; a worker takes what there is of a
//! contract. A slot is for one function of one contract, as key and selector have it; what comes later
//! displaces what was there. Neither side allocates here or waits: who finds a slot in use does
//! without it.
//!
//! * **N1** Only the thread that has set `busy` reads or writes the rest of a slot, but for hints; setting
//!   it acquires what clearing it releases.

use crate::key::RuntimeCacheKey;
use alloy_primitives::Bytes;
use std::{
    fmt,
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Words of an input that are kept.
const WORDS: usize = 64;

/// Bytes of an input that are kept.
const MAX_LEN: usize = 8 * WORDS;

/// One input. Aligned to two cache lines, since processors fetch lines in pairs.
#[repr(align(128))]
struct Slot {
    busy: AtomicBool,
    /// Of the contract; 0 in an empty slot.
    tag: AtomicU64,
    /// Selector above, length below.
    what: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Slot {
    fn empty() -> Self {
        Self {
            busy: AtomicBool::new(false),
            tag: AtomicU64::new(0),
            what: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    /// Does something with the slot, if nobody else is at it (N1).
    fn with<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        // Acquire: what the last one did to the slot happens before us. Relaxed: nothing is read then.
        self.busy
            .compare_exchange(false, true, Acquire, Relaxed)
            .ok()?;
        let result = f();
        // Release: what we did happens before the next one.
        self.busy.store(false, Release);
        Some(result)
    }
}

/// The slots.
pub(super) struct Samples {
    slots: Box<[Slot]>,
}

impl Samples {
    /// Room for so many inputs.
    pub(super) fn new(count: usize) -> Self {
        Self {
            slots: (0..count).map(|_| Slot::empty()).collect(),
        }
    }

    fn tag(key: &RuntimeCacheKey) -> u64 {
        key.prefix() | 1
    }

    fn slot(&self, tag: u64, selector: u32) -> Option<&Slot> {
        // The prefix is of a hash; the product spreads the selectors.
        let place = (tag ^ u64::from(selector)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let index = (place * self.slots.len() as u64) >> 32;
        self.slots.get(index as usize)
    }

    /// Keeps an input, if there is none of this contract and function yet.
    #[inline]
    pub(super) fn offer(&self, key: &RuntimeCacheKey, input: &[u8]) {
        let Some(first) = input.first_chunk::<4>() else {
            return;
        };
        let (tag, selector) = (Self::tag(key), u32::from_be_bytes(*first));
        let Some(slot) = self.slot(tag, selector) else {
            return;
        };
        // Relaxed: hints; whatever is in the slot by now, leaving it there is right.
        let known =
            slot.tag.load(Relaxed) == tag && (slot.what.load(Relaxed) >> 32) as u32 == selector;
        if !known {
            slot.with(|| Self::write(slot, tag, selector, input));
        }
    }

    /// N1 by the caller: all accesses are `Relaxed`, `busy` orders them.
    #[cold]
    fn write(slot: &Slot, tag: u64, selector: u32, input: &[u8]) {
        let input = &input[..input.len().min(MAX_LEN)];
        for (word, bytes) in slot.words.iter().zip(input.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(padded), Relaxed);
        }
        let what = u64::from(selector) << 32 | input.len() as u64;
        slot.what.store(what, Relaxed);
        slot.tag.store(tag, Relaxed);
    }

    /// The inputs of a contract.
    pub(super) fn of(&self, key: &RuntimeCacheKey) -> Vec<Bytes> {
        let tag = Self::tag(key);
        // Relaxed: a hint, looked at again below.
        let candidates = self
            .slots
            .iter()
            .filter(|slot| slot.tag.load(Relaxed) == tag);
        candidates
            .filter_map(|slot| slot.with(|| Self::read(slot, tag)).flatten())
            .collect()
    }

    /// N1 by the caller, as [`write`](Self::write).
    fn read(slot: &Slot, tag: u64) -> Option<Bytes> {
        if slot.tag.load(Relaxed) != tag {
            return None;
        }
        let len = slot.what.load(Relaxed) as u32 as usize;
        let words = slot.words.iter().map(|word| word.load(Relaxed));
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).take(len).collect();
        Some(bytes.into())
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples")
            .field("slots", &self.slots.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::testing::key;

    #[test]
    fn one_input_of_each_function_is_kept() {
        let samples = Samples::new(4096);
        let input = |n: u32, len: usize| {
            let mut input = n.to_be_bytes().to_vec();
            input.resize(len, n as u8);
            input
        };
        samples.offer(&key(1), &input(7, 4));
        samples.offer(&key(1), &input(7, 68));
        samples.offer(&key(1), &input(8, 101));
        samples.offer(&key(2), &input(9, 5000));
        samples.offer(&key(1), &[1, 2, 3]);
        let mut found = samples.of(&key(1));
        found.sort_by_key(|input| input.len());
        assert_eq!(found, [input(7, 4), input(8, 101)]);
        assert_eq!(samples.of(&key(2)), [input(9, MAX_LEN)]);
        assert!(samples.of(&key(3)).is_empty());
    }

    #[test]
    fn a_flood_displaces_and_takes_no_more_room() {
        let samples = Samples::new(16);
        for n in 0..1000u32 {
            samples.offer(&key(1), &n.to_be_bytes());
        }
        let found = samples.of(&key(1)).len();
        assert!((8..=16).contains(&found), "{found}");
        let none = Samples::new(0);
        none.offer(&key(1), &[1; 4]);
        assert!(none.of(&key(1)).is_empty());
    }

    #[test]
    fn a_slot_in_use_is_done_without() {
        let samples = Samples::new(1);
        samples.offer(&key(1), &[1; 4]);
        samples.slots[0].with(|| {
            samples.offer(&key(1), &[2; 4]);
            assert!(samples.of(&key(1)).is_empty());
        });
        assert_eq!(samples.of(&key(1)), [vec![1; 4]]);
    }

    #[test]
    fn inputs_are_whole_whoever_writes_and_reads_meanwhile() {
        let samples = Samples::new(2);
        std::thread::scope(|scope| {
            for thread in 0..3u8 {
                let samples = &samples;
                scope.spawn(move || {
                    for n in 0..20_000u32 {
                        let byte = (n % 50) as u8 * 4 + thread;
                        samples.offer(&key(1), &[byte; 200]);
                    }
                });
            }
            for _ in 0..20_000 {
                for input in samples.of(&key(1)) {
                    assert!(input.len() == 200 && input.iter().all(|b| *b == input[0]));
                }
            }
        });
    }
}
