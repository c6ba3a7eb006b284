//! What has been unlinked and is not freed yet.

use super::entry::{Body, Entry};
use super::fence::Fences;
use super::slots::{Registry, Straggler};
use super::sync::{Arc, step, take_node};
use super::table::Table;
use std::collections::VecDeque;

/// Batches that wait side by side. More would only make each look at the backlog slower.
const MAX_BATCHES: usize = 16;

/// The way of an unlinked node: `pending`, until a heavy fence; a batch, until every thread that
/// was inside then has left (I4); `parked`, until no hazard names it (I5); and for a value `lent`,
/// until its callers have dropped their `Arc`s (I7). Nothing here waits: each call moves along what
/// can be moved.
pub(super) struct Backlog<K, V, N, S> {
    pending: Unlinked<K, V, N, S>,
    batches: VecDeque<Batch<K, V, N, S>>,
    parked: Vec<*mut Entry<K, V, N>>,
    lent: Vec<Vec<Arc<V>>>,
}

/// Nodes that no new reader can reach.
struct Unlinked<K, V, N, S> {
    entries: Vec<*mut Entry<K, V, N>>,
    tables: Vec<*mut Table<K, V, N, S>>,
}

struct Batch<K, V, N, S> {
    nodes: Unlinked<K, V, N, S>,
    stragglers: Vec<Straggler>,
}

impl<K, V, N, S> Unlinked<K, V, N, S> {
    const fn new() -> Self {
        Self {
            entries: Vec::new(),
            tables: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.entries.len() + self.tables.len()
    }

    fn append(&mut self, mut other: Self) {
        self.entries.append(&mut other.entries);
        self.tables.append(&mut other.tables);
    }
}

impl<K, V, N, S> Backlog<K, V, N, S> {
    pub(super) fn new() -> Self {
        Self {
            pending: Unlinked::new(),
            batches: VecDeque::new(),
            parked: Vec::new(),
            lent: Vec::new(),
        }
    }

    /// Takes over an entry that was just unlinked.
    pub(super) fn retire_entry(&mut self, entry: *mut Entry<K, V, N>) {
        self.pending.entries.push(entry);
    }

    /// Takes over a table that was just replaced; not the entries it links.
    pub(super) fn retire_table(&mut self, table: *mut Table<K, V, N, S>) {
        self.pending.tables.push(table);
    }

    /// Nodes unlinked since the last heavy fence.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Nodes not freed yet for the sake of readers.
    pub(super) fn len(&self) -> usize {
        let waiting: usize = self.batches.iter().map(|batch| batch.nodes.len()).sum();
        self.pending.len() + waiting + self.parked.len()
    }

    /// Values that only callers' `Arc`s keep.
    pub(super) fn lent(&self) -> usize {
        self.lent.len()
    }

    /// Frees what nobody can see, and returns how many entries that were.
    pub(super) fn reclaim<M>(&mut self, registry: &Registry<M>, fences: Fences) -> usize {
        if self.pending.len() > 0 && fences.heavy() {
            let nodes = std::mem::replace(&mut self.pending, Unlinked::new());
            self.batches.push_back(Batch {
                nodes,
                stragglers: registry.stragglers(),
            });
        }
        let mut passed = Unlinked::new();
        for batch in std::mem::take(&mut self.batches) {
            if let Some(batch) = batch.advance(registry, &mut passed) {
                self.batches.push_back(batch);
            }
        }
        self.merge_newest();
        for table in passed.tables {
            // SAFETY: unlinked, and every reader that could have loaded it has left (I4).
            drop(unsafe { take_node(table) });
        }
        self.parked.append(&mut passed.entries);
        self.free_parked(registry) + self.free_lent()
    }

    /// Bounds the number of batches. The nodes of the older of two may as well wait for the
    /// snapshot of the newer: whoever still reads them is in it. The oldest batch is left alone, so
    /// that it makes progress however often this happens.
    fn merge_newest(&mut self) {
        while self.batches.len() > MAX_BATCHES {
            let (Some(mut newest), Some(older)) =
                (self.batches.pop_back(), self.batches.pop_back())
            else {
                return;
            };
            newest.nodes.append(older.nodes);
            self.batches.push_back(newest);
        }
    }

    /// Frees entries past their grace period that no hazard names. Negative ones are done with
    /// here and counted; values move on.
    fn free_parked<M>(&mut self, registry: &Registry<M>) -> usize {
        if self.parked.is_empty() {
            return 0;
        }
        // After the grace periods above: a hazard published in a section that has been left is
        // visible now (I5).
        let hazards = if step!("hazard-scan") {
            registry.hazards()
        } else {
            Vec::new()
        };
        let mut freed = 0;
        // Taken out first: dropping a key runs foreign code, which may unwind.
        let (kept, free): (Vec<_>, Vec<_>) = std::mem::take(&mut self.parked)
            .into_iter()
            .partition(|entry| hazards.binary_search(&entry.cast()).is_ok());
        self.parked = kept;
        for entry in free {
            // SAFETY: unlinked, every reader that could have found it has left (I4), and no hazard
            // outlived their sections (I5).
            match unsafe { take_node(entry) }.body {
                Body::Value(stripes) => self.lent.push(stripes.into_distinct()),
                Body::Negative(_) => freed += 1,
            }
        }
        freed
    }

    /// Drops each copy of a value whose callers have dropped theirs, and counts finished values.
    fn free_lent(&mut self) -> usize {
        let before = self.lent.len();
        self.lent.retain_mut(|copies| {
            // `get_mut` succeeds if ours is the only reference; it acquires what the drops of the
            // others released. Nobody can make new ones: the entry is gone (I7).
            copies.retain_mut(|copy| step!("lent-check") && Arc::get_mut(copy).is_none());
            !copies.is_empty()
        });
        before - self.lent.len()
    }
}

impl<K, V, N, S> Batch<K, V, N, S> {
    /// Forgets who has left. Hands the nodes over if that was everyone, else returns itself.
    fn advance<M>(
        mut self,
        registry: &Registry<M>,
        passed: &mut Unlinked<K, V, N, S>,
    ) -> Option<Self> {
        if step!("grace-wait") {
            self.stragglers
                .retain(|straggler| !registry.has_left(straggler));
        } else {
            self.stragglers.clear();
        }
        if self.stragglers.is_empty() {
            passed.append(self.nodes);
            return None;
        }
        Some(self)
    }
}

impl<K, V, N, S> Drop for Backlog<K, V, N, S> {
    /// Frees everything. Only when no reader and no writer is left (I8).
    fn drop(&mut self) {
        let nodes = std::iter::once(std::mem::replace(&mut self.pending, Unlinked::new())).chain(
            std::mem::take(&mut self.batches)
                .into_iter()
                .map(|batch| batch.nodes),
        );
        for nodes in nodes {
            for table in nodes.tables {
                // SAFETY: nobody is left who could look (I8).
                drop(unsafe { take_node(table) });
            }
            self.parked.extend(nodes.entries);
        }
        for entry in std::mem::take(&mut self.parked) {
            // SAFETY: nobody is left who could look (I8).
            drop(unsafe { take_node(entry) });
        }
    }
}
