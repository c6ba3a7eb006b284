//! What the writer and the readers of one map have in common.

use super::fence::Fences;
use super::grace::Backlog;
use super::slots::Registry;
use super::sync::{Arc, AtomicPtr, AtomicU64, Gauge, Number, Ordering, take_node};
use super::table::Table;
use std::sync::Mutex;

/// The state of one map. The first fields are all a lookup reads; they change rarely.
#[repr(C, align(128))]
pub(super) struct Shared<K, V, N, S, M> {
    /// The current table. Only the writer stores it.
    pub(super) table: AtomicPtr<Table<K, V, N, S>>,
    /// Never used by another map of the process.
    pub(super) id: u64,
    pub(super) fences: Fences,
    /// The coarse clock.
    pub(super) tick: AtomicU64,
    pub(super) registry: Arc<Registry<M>>,
    pub(super) gauges: GaugeCells,
    /// What the writer had not freed when it was dropped. Locked by that drop only.
    pub(super) left_behind: Mutex<Option<Backlog<K, V, N, S>>>,
}

// SAFETY: the raw pointers own their nodes, which are constant once reachable (I1). Readers on any thread get `&K` and `&V`, clone
// `Arc<V>` and copy `N`; a message goes from one thread to another; whoever drops the last handle drops keys, values and hashers (I8).
unsafe impl<K: Send + Sync, V: Send + Sync, N: Send + Sync, S: Send + Sync, M: Send> Sync
    for Shared<K, V, N, S, M>
{
}
// SAFETY: I1 and I8, as above.
unsafe impl<K: Send + Sync, V: Send + Sync, N: Send + Sync, S: Send + Sync, M: Send> Send
    for Shared<K, V, N, S, M>
{
}

/// The size of a map and of what waits to be freed, as the writer last left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauges {
    /// Entries, negative ones included.
    pub len: usize,
    /// Words of the table.
    pub capacity: usize,
    /// Words of the table that once held an entry and end no probe.
    pub tombstones: usize,
    /// Most words that finding an entry of the present table has taken.
    pub max_probe: usize,
    /// Most words any lookup reads, whatever the keys.
    pub probe_limit: usize,
    /// Tables built since the map was made: by growth, cleaning and clearing.
    pub rebuilds: usize,
    /// Unlinked nodes not freed yet for the sake of readers. Grows without end if a reader
    /// stays inside a lookup for ever.
    pub backlog: usize,
    /// Values gone from the map that callers still hold by `Arc`.
    pub lent: usize,
    /// Most threads that had a place for lookups in this map at one time.
    pub slots: usize,
}

/// [`Gauges`] where readers can see them. Relaxed throughout: each is a number of its own.
///
/// Stored at every change, and so kept off the cache lines that lookups read.
#[repr(align(128))]
pub(super) struct GaugeCells([Gauge; 8]);

impl GaugeCells {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Gauge::new(0)))
    }

    pub(super) fn set(&self, mut gauges: Gauges) {
        for (cell, value) in self.0.iter().zip(gauges.fields()) {
            cell.store(*value, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self) -> Gauges {
        let mut gauges = Gauges::default();
        for (cell, value) in self.0.iter().zip(gauges.fields()) {
            *value = cell.load(Ordering::Relaxed);
        }
        gauges
    }
}

impl Gauges {
    /// All but the slots, which the registry counts.
    fn fields(&mut self) -> [&mut usize; 8] {
        let Self {
            len,
            capacity,
            tombstones,
            max_probe,
            probe_limit,
            rebuilds,
            backlog,
            lent,
            ..
        } = self;
        [
            len,
            capacity,
            tombstones,
            max_probe,
            probe_limit,
            rebuilds,
            backlog,
            lent,
        ]
    }
}

/// A number for a new map.
pub(super) fn fresh_id() -> u64 {
    static NEXT: Number = Number::new(1);
    // Relaxed: only uniqueness matters.
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl<K, V, N, S, M> Drop for Shared<K, V, N, S, M> {
    fn drop(&mut self) {
        self.registry.close();
        // Relaxed: the last handle's drop synchronised with all others' (I8).
        let table = self.table.load(Ordering::Relaxed);
        // SAFETY: no handle is left (I8), and a table in `self.table` is never retired.
        let table = unsafe { take_node(table) };
        for entry in table.entries() {
            // SAFETY: I8; an entry linked by the current table is never retired.
            drop(unsafe { take_node(entry) });
        }
    }
}
