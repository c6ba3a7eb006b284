//! Changes.

use super::entry::{Body, Entry, Stripes};
use super::fence::Fences;
use super::grace::Backlog;
use super::hash::Seeded;
use super::lookup::Lookup;
use super::options::Options;
use super::reader::Reader;
use super::shared::{GaugeCells, Gauges, Shared, fresh_id};
use super::slots::{MAX_STRIPES, Registry};
use super::sync::{Arc, AtomicPtr, AtomicU64, Ordering, ordering};
use super::table::{Place, Table};
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, PoisonError};

/// Unlinked nodes after which a change reclaims by itself: few enough to bound the memory, many
/// enough to share the price of one heavy fence.
const RECLAIM_AT: usize = if cfg!(loom) { usize::MAX } else { 256 };

/// Most messages a slot has room for.
const MAX_MESSAGES: usize = 1 << 16;

/// Most entries a new map makes room for.
const MAX_INITIAL_CAPACITY: usize = 1 << 24;

/// The one handle for changes.
///
/// No method waits for readers: what they may still see is kept and freed by a later call of
/// [`reclaim`](Self::reclaim), which also runs by itself after every few hundred changes. Freed
/// keys and values are dropped on the thread that makes the call.
///
/// When the writer is dropped, readers keep the map as it is.
pub struct Writer<K, V, N, S = Seeded, M = ()> {
    shared: Arc<Shared<K, V, N, S, M>>,
    /// The current table, as in `shared`.
    table: *mut Table<K, V, N, S>,
    backlog: Backlog<K, V, N, S>,
    live: usize,
    tombstones: usize,
    max_probe: usize,
    rebuilds: usize,
}

// SAFETY: the raw pointers are to nodes this writer owns together with `shared` (I2, I8); see there.
unsafe impl<K: Send + Sync, V: Send + Sync, N: Send + Sync, S: Send + Sync, M: Send> Send
    for Writer<K, V, N, S, M>
{
}

// SAFETY: through `&Writer` one can read keys and values, which are constant (I1), and the writer's
// own numbers, no more.
unsafe impl<K: Send + Sync, V: Send + Sync, N: Send + Sync, S: Send + Sync, M: Send> Sync
    for Writer<K, V, N, S, M>
{
}

impl<K, V, N, S, M> std::fmt::Debug for Writer<K, V, N, S, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("gauges", &self.gauges())
            .finish_non_exhaustive()
    }
}

impl<K, V, N, S, M> Writer<K, V, N, S, M> {
    /// Takes out what readers have left with [`Reader::post`], at most `each` of any thread's, in
    /// that thread's order. Never waits: a message that is being left at this moment comes next time.
    pub fn take_messages(&mut self, each: usize) -> Vec<M> {
        self.shared.registry.take_messages(each)
    }

    /// Frees what no reader can see any more, and returns how many entries that were. Never waits.
    ///
    /// A value is freed once it is unlinked, every thread that was inside a lookup then has left
    /// it, no [`Ref`](super::Ref) holds it and all `Arc`s handed out are dropped. If the kernel
    /// refuses the barrier of [`Fences::Asymmetric`], nothing unlinked since is freed.
    pub fn reclaim(&mut self) -> usize {
        let freed = self
            .backlog
            .reclaim(&self.shared.registry, self.shared.fences);
        self.publish_gauges();
        freed
    }

    /// Sets the coarse clock that lookups stamp on the entries they hit. The unit is the caller's.
    pub fn set_tick(&mut self, tick: u64) {
        // Relaxed: a statistic.
        self.shared.tick.store(tick, Ordering::Relaxed);
    }

    /// Another handle for lookups.
    pub fn reader(&self) -> Reader<K, V, N, S, M> {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Number of entries, negative ones included.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether the map has no entry.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Sizes.
    pub fn gauges(&self) -> Gauges {
        let table = self.table();
        Gauges {
            len: self.live,
            capacity: table.capacity(),
            tombstones: self.tombstones,
            max_probe: self.max_probe,
            probe_limit: table.limit(),
            rebuilds: self.rebuilds,
            backlog: self.backlog.len(),
            lent: self.backlog.lent(),
            slots: self.shared.registry.len(),
        }
    }

    fn publish_gauges(&self) {
        self.shared.gauges.set(self.gauges());
    }

    fn table(&self) -> &Table<K, V, N, S> {
        // SAFETY: the current table is freed only after `set_table` replaced it (I2), which takes
        // `&mut self`.
        unsafe { &*self.table }
    }

    /// Publishes a new table and retires the old one.
    fn set_table(&mut self, table: Table<K, V, N, S>, max_probe: usize) {
        let table = Box::into_raw(Box::new(table));
        // Release: the table's contents, and those of the entries it links, happen before a reader
        // that loads it (I1).
        self.shared
            .table
            .store(table, ordering!("table-release", Release));
        self.backlog
            .retire_table(std::mem::replace(&mut self.table, table));
        self.tombstones = 0;
        self.max_probe = max_probe;
        self.rebuilds += 1;
    }

    /// After every change.
    fn settle(&mut self) {
        if self.backlog.pending() >= RECLAIM_AT {
            self.backlog
                .reclaim(&self.shared.registry, self.shared.fences);
        }
        self.publish_gauges();
    }
}

impl<K: Eq + Hash, V, N: Copy, S: BuildHasher + Default, M> Writer<K, V, N, S, M> {
    /// A new map. See [`new`](super::new).
    pub(super) fn create(options: &Options) -> Self {
        let fences = Fences::choose(options.fences);
        let table = Table::empty(options.capacity.min(MAX_INITIAL_CAPACITY));
        let table = Box::into_raw(Box::new(table));
        let stripes = options.stripes.clamp(1, MAX_STRIPES).next_power_of_two();
        let messages = match options.messages.min(MAX_MESSAGES) {
            0 => 0,
            some => some.next_power_of_two(),
        };
        let shared = Arc::new(Shared {
            table: AtomicPtr::new(table),
            id: fresh_id(),
            fences,
            tick: AtomicU64::new(0),
            registry: Arc::new(Registry::new(stripes, messages)),
            gauges: GaugeCells::new(),
            left_behind: Mutex::new(None),
        });
        let writer = Self {
            shared,
            table,
            backlog: Backlog::new(),
            live: 0,
            tombstones: 0,
            max_probe: 0,
            rebuilds: 0,
        };
        writer.publish_gauges();
        writer
    }

    /// Maps `key` to `value`, replacing what it was mapped to. A reader sees the old entry or the
    /// new, never none.
    ///
    /// The map keeps [`Options::stripes`] clones of the value, so it should be a handle whose
    /// clones share the bulk. Align it to a cache line, so that the reference counts of two copies
    /// never share one.
    pub fn insert(&mut self, key: K, value: V)
    where
        V: Clone,
    {
        let mut copies = std::iter::repeat_n(value, self.shared.registry.stripes);
        self.insert_with(key, || copies.next().expect("called once for each stripe"));
    }

    /// As [`insert`](Self::insert), for values that are not `Clone`: calls `make` once for each of
    /// the [`Options::stripes`] copies, which callers cannot tell apart.
    pub fn insert_with(&mut self, key: K, make: impl FnMut() -> V) {
        self.put(
            key,
            Body::Value(Stripes::new(self.shared.registry.stripes, make)),
        );
    }

    /// Records that `key` has no value, and why.
    pub fn insert_negative(&mut self, key: K, negative: N) {
        self.put(key, Body::Negative(negative));
    }

    fn put(&mut self, key: K, body: Body<V, N>) {
        // Relaxed: our own store.
        let tick = self.shared.tick.load(Ordering::Relaxed);
        let entry = Box::new(Entry::new(key, body, tick));
        match self.table().locate(&entry.key) {
            Place::Found { index, entry: old } => {
                self.table().replace(index, Box::into_raw(entry));
                self.backlog.retire_entry(old);
            }
            Place::Vacant {
                index,
                distance,
                tag,
                tombstone,
            } if tombstone || self.table().has_room_for(self.live + self.tombstones + 1) => {
                self.table().set(index, Box::into_raw(entry), tag);
                self.live += 1;
                self.tombstones -= usize::from(tombstone);
                self.max_probe = self.max_probe.max(distance + 1);
            }
            Place::Vacant { .. } | Place::Full => {
                // The table will refer to it by this pointer. If a hasher unwinds, it is leaked.
                let new = Box::into_raw(entry);
                let mut entries = self.table().entries().chain([new]);
                let (table, max_probe) = Table::build(&mut entries, self.live + 1);
                drop(entries);
                self.set_table(table, max_probe);
                self.live += 1;
            }
        }
        self.settle();
    }

    /// Removes the entry of `key`, and tells whether there was one.
    pub fn remove(&mut self, key: &K) -> bool {
        let Place::Found { index, entry } = self.table().locate(key) else {
            return false;
        };
        self.tombstones = self
            .tombstones
            .wrapping_add_signed(self.table().unset(index));
        self.live -= 1;
        self.backlog.retire_entry(entry);
        if self.table().is_sparse_for(self.live) {
            let (table, max_probe) = Table::build(&mut self.table().entries(), self.live);
            self.set_table(table, max_probe);
        }
        self.settle();
        true
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        let entries: Vec<_> = self.table().entries().collect();
        self.set_table(Table::empty(0), 0);
        for entry in entries {
            self.backlog.retire_entry(entry);
        }
        self.live = 0;
        self.settle();
    }

    /// The entry of `key`; no counters, no recency.
    pub fn get(&self, key: &K) -> Lookup<&V, N> {
        match self.table().locate(key) {
            // SAFETY: linked entries are freed only by methods that take `&mut self` (I2).
            Place::Found { entry, .. } => unsafe { &*entry }.view(),
            _ => Lookup::Miss,
        }
    }

    /// Calls `f` with each entry, in no order: key, value or negative, and the tick of its last hit
    /// or of its insertion.
    pub fn for_each(&self, mut f: impl FnMut(&K, Lookup<&V, N>, u64)) {
        for entry in self.table().entries() {
            // SAFETY: as in `get` (I2).
            let entry = unsafe { &*entry };
            f(&entry.key, entry.view(), entry.tick());
        }
    }
}

impl<K, V, N, S, M> Drop for Writer<K, V, N, S, M> {
    fn drop(&mut self) {
        self.reclaim();
        // Here and not on a thread that looks things up.
        drop(self.take_messages(usize::MAX));
        let backlog = std::mem::replace(&mut self.backlog, Backlog::new());
        // Poisoning is impossible to harm: the lock guards one assignment.
        *self
            .shared
            .left_behind
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(backlog);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resident;

    #[test]
    fn any_options_make_a_map() {
        for stripes in [0, 3, 9, usize::MAX] {
            let options = Options {
                stripes,
                ..Options::default()
            };
            let (mut writer, reader) = resident::new::<u8, u8, ()>(&options);
            writer.insert(1, 2);
            assert_eq!(
                reader.get(&1),
                Lookup::Hit(Arc::new(2)),
                "{stripes} stripes"
            );
        }
        let huge = Options {
            capacity: usize::MAX,
            ..Options::default()
        };
        let (writer, reader) = resident::new::<u8, u8, ()>(&huge);
        assert_eq!(writer.gauges().capacity, 4 * MAX_INITIAL_CAPACITY);
        assert_eq!(reader.get(&1), Lookup::Miss);
    }
}
