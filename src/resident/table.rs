//! The open-addressing table: a power of two of words, each empty, a tombstone or a tagged entry.
//!
//! * **T1** An index is below the capacity, a power of two: a home and every step from it are masked
//!   with the capacity minus one.

use super::entry::{ENTRY_ALIGN, Entry};
use super::sync::{AtomicPtr, Liveness, Node, Ordering, ordering};
use std::hash::{BuildHasher, Hash};
use std::ptr;

/// No lookup reads more words than this (except with a hasher that cannot spread the keys; see
/// [`Table::build`]).
pub(super) const PROBE_LIMIT: usize = if cfg!(loom) { 4 } else { 128 };

/// Smallest table.
const MIN_CAPACITY: usize = if cfg!(loom) { 2 } else { 16 };

/// A table word. Bit 0 tells an entry from the two markers; the other bits below the alignment of
/// entries are hash bits, so that nearly all foreign entries are passed without touching them.
type Word<K, V, N> = *mut Entry<K, V, N>;

const TAG_MASK: usize = ENTRY_ALIGN - 1;
const LIVE_BIT: usize = 1;

// Tags go where the addresses of entries, whatever they hold, have zeros.
const _: () = assert!(align_of::<Entry<u8, u8, u8>>() == ENTRY_ALIGN);

fn tombstone<K, V, N>() -> Word<K, V, N> {
    ptr::without_provenance_mut(2)
}

fn is_live<K, V, N>(word: Word<K, V, N>) -> bool {
    word.addr() & LIVE_BIT != 0
}

/// The entry of a live word.
#[inline(always)]
pub(super) fn untag<K, V, N>(word: Word<K, V, N>) -> *mut Entry<K, V, N> {
    word.map_addr(|addr| addr & !TAG_MASK)
}

/// The tag of a hash: its top bits, as the index is its bottom.
#[inline(always)]
fn tag_of(hash: u64) -> usize {
    (hash >> (u64::BITS - TAG_MASK.count_ones())) as usize | LIVE_BIT
}

/// One table. Readers see it from the store that publishes it until it is retired; only the writer
/// stores into it.
pub(super) struct Table<K, V, N, S> {
    liveness: Liveness,
    words: Box<[AtomicPtr<Entry<K, V, N>>]>,
    /// The capacity minus one (T1).
    mask: usize,
    limit: usize,
    hasher: S,
}

/// Where the writer found, or may put, a key.
pub(super) enum Place<K, V, N> {
    /// Word `index` holds this entry for the key.
    Found {
        index: usize,
        entry: *mut Entry<K, V, N>,
    },
    /// The key is absent; word `index`, `distance` after its home, is free.
    Vacant {
        index: usize,
        distance: usize,
        tag: usize,
        tombstone: bool,
    },
    /// The key is absent and no word within the probe limit is free.
    Full,
}

impl<K, V, N, S> Table<K, V, N, S> {
    fn with_capacity(capacity: usize, limit: usize, hasher: S) -> Self {
        // T1 rests on it.
        assert!(capacity.is_power_of_two());
        Self {
            liveness: Liveness::new(),
            words: (0..capacity)
                .map(|_| AtomicPtr::new(ptr::null_mut()))
                .collect(),
            mask: capacity - 1,
            limit: limit.min(capacity),
            hasher,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.words.len()
    }

    /// Most words one lookup reads.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether the words in use leave the table half empty, which keeps probes short.
    pub(super) fn has_room_for(&self, used: usize) -> bool {
        used <= self.capacity() / 2
    }

    /// Whether the table is far larger than these entries need.
    pub(super) fn is_sparse_for(&self, live: usize) -> bool {
        self.capacity() > MIN_CAPACITY && live < self.capacity() / 16
    }

    /// The word `distance` after the home of a hash.
    #[inline(always)]
    fn index(&self, hash: u64, distance: usize) -> usize {
        (hash as usize).wrapping_add(distance) & self.mask
    }

    /// All entries. Only for the writer.
    pub(super) fn entries(&self) -> impl Iterator<Item = *mut Entry<K, V, N>> {
        // Relaxed: the caller is the only thread that stores them (I2).
        self.words
            .iter()
            .map(|word| word.load(Ordering::Relaxed))
            .filter(|word| is_live(*word))
            .map(untag)
    }

    /// Publishes `entry` in word `index`. Only for the writer.
    pub(super) fn set(&self, index: usize, entry: *mut Entry<K, V, N>, tag: usize) {
        // Release: the entry's contents happen before a reader that finds it (I1).
        self.words[index].store(
            entry.map_addr(|addr| addr | tag),
            ordering!("entry-release", Release),
        );
    }

    /// Exchanges the entry in word `index` for another of the same key. Only for the writer.
    pub(super) fn replace(&self, index: usize, entry: *mut Entry<K, V, N>) {
        // Relaxed: our own store (I2).
        let tag = self.words[index].load(Ordering::Relaxed).addr() & TAG_MASK;
        self.set(index, entry, tag);
    }

    /// Unlinks the entry in word `index`, and returns by how much the number of tombstones
    /// changed. Only for the writer.
    ///
    /// A word before an empty one ends no probe early, as no key lies beyond: it becomes empty,
    /// and so do the tombstones right before it (I6). Otherwise it becomes a tombstone.
    pub(super) fn unset(&self, index: usize) -> isize {
        let word = |i: usize| &self.words[i & self.mask];
        // Relaxed, all: our own stores (I2), and a marker carries no data to a reader.
        if !word(index + 1).load(Ordering::Relaxed).is_null() {
            word(index).store(tombstone(), Ordering::Relaxed);
            return 1;
        }
        word(index).store(ptr::null_mut(), Ordering::Relaxed);
        let mut swept = 0;
        // Ends at the latest at the word after `index`, which is empty.
        let mut i = index.wrapping_sub(1);
        while word(i).load(Ordering::Relaxed) == tombstone() {
            word(i).store(ptr::null_mut(), Ordering::Relaxed);
            swept += 1;
            i = i.wrapping_sub(1);
        }
        -swept
    }
}

impl<K: Eq + Hash, V, N, S: BuildHasher> Table<K, V, N, S> {
    /// A reader's probe.
    #[inline(always)]
    pub(super) fn find(&self, key: &K) -> Option<&Entry<K, V, N>> {
        let hash = self.hasher.hash_one(key);
        let tag = tag_of(hash);
        let mut distance = 0;
        loop {
            // SAFETY: T1.
            let word = unsafe { self.words.get_unchecked(self.index(hash, distance)) };
            // Acquire: pairs with `set`; the entry's contents happen before us (I1).
            let word = word.load(ordering!("entry-acquire", Acquire));
            let untagged = word.map_addr(|addr| addr ^ tag);
            if untagged.addr() & TAG_MASK == 0 {
                // SAFETY: a live word points to an entry, and we are inside a critical section that
                // began before the entry was freed (I3, I4), or we are the writer.
                let entry = unsafe { &*untagged };
                entry.liveness().touch();
                if entry.key == *key {
                    return Some(entry);
                }
            } else if word.is_null() {
                return None;
            }
            distance += 1;
            if distance == self.limit {
                return None;
            }
        }
    }

    /// The writer's probe.
    pub(super) fn locate(&self, key: &K) -> Place<K, V, N> {
        let hash = self.hasher.hash_one(key);
        let tag = tag_of(hash);
        let mut vacant = Place::Full;
        for distance in 0..self.limit {
            let index = self.index(hash, distance);
            // Relaxed: our own store (I2).
            let word = self.words[index].load(Ordering::Relaxed);
            if word.is_null() {
                if matches!(vacant, Place::Full) {
                    vacant = Place::Vacant {
                        index,
                        distance,
                        tag,
                        tombstone: false,
                    };
                }
                break;
            }
            if !is_live(word) {
                if matches!(vacant, Place::Full) {
                    vacant = Place::Vacant {
                        index,
                        distance,
                        tag,
                        tombstone: true,
                    };
                }
            } else if word.addr() & TAG_MASK == tag {
                let entry = untag(word);
                // SAFETY: we are the writer (I2), and only it frees entries, after unlinking them (I4).
                if unsafe { &*entry }.key == *key {
                    return Place::Found { index, entry };
                }
            }
        }
        vacant
    }
}

impl<K: Eq + Hash, V, N, S: BuildHasher + Default> Table<K, V, N, S> {
    /// An empty table.
    pub(super) fn empty(live: usize) -> Self {
        Self::with_capacity(Self::capacity_for(live), PROBE_LIMIT, S::default())
    }

    /// The capacity of a fresh table for `live` entries: at most a quarter full.
    fn capacity_for(live: usize) -> usize {
        live.saturating_mul(4).max(MIN_CAPACITY).next_power_of_two()
    }

    /// A fresh table, with a fresh hasher, that links these entries, `live` in number. Returns the
    /// longest probe too.
    ///
    /// If a key lies beyond the probe limit, the table is tried again with another hasher, thrice,
    /// twice as large each time. A hasher that fails four times cannot spread these keys: its table
    /// has no limit but its capacity, so that it stays correct and the caller's choice of hasher
    /// costs only time.
    pub(super) fn build(
        entries: &mut dyn Iterator<Item = *mut Entry<K, V, N>>,
        live: usize,
    ) -> (Self, usize) {
        let entries: Vec<_> = entries.collect();
        let capacity = Self::capacity_for(live);
        let attempts = (0..4).map(|doublings| (capacity << doublings, PROBE_LIMIT));
        for (capacity, limit) in attempts.chain([(capacity, capacity)]) {
            let table = Self::with_capacity(capacity, limit, S::default());
            if let Some(longest) = table.link(&entries) {
                return (table, longest);
            }
        }
        unreachable!("a table a quarter full has a free word within its capacity")
    }

    /// Links all entries, or tells that one does not fit within the limit.
    fn link(&self, entries: &[*mut Entry<K, V, N>]) -> Option<usize> {
        let mut longest = 0;
        for &entry in entries {
            // SAFETY: we are the writer (I2), and only it frees entries, after unlinking them (I4).
            let hash = self.hasher.hash_one(unsafe { &(*entry).key });
            // Relaxed: the table is still ours alone.
            let is_free = |index: usize| self.words[index].load(Ordering::Relaxed).is_null();
            let distance = (0..self.limit).find(|distance| is_free(self.index(hash, *distance)))?;
            longest = longest.max(distance + 1);
            self.set(self.index(hash, distance), entry, tag_of(hash));
        }
        Some(longest)
    }
}

impl<K, V, N, S> Node for Table<K, V, N, S> {
    #[inline(always)]
    fn liveness(&self) -> &Liveness {
        &self.liveness
    }
}
