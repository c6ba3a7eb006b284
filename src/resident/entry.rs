//! What the table points to: a key with a value in several counted copies, or with a negative.

use super::lookup::Lookup;
use super::slots::{MAX_STRIPES, Slot};
use super::sync::{Arc, AtomicU64, Liveness, Node, Ordering};

/// Alignment of entries. The bits below it in a table word carry a tag.
pub(super) const ENTRY_ALIGN: usize = 128;

/// One key's entry. Everything but `tick` is constant from publication to the end (I1).
#[repr(C, align(128))]
pub(super) struct Entry<K, V, N> {
    liveness: Liveness,
    pub(super) key: K,
    /// The coarse time of the last hit.
    tick: AtomicU64,
    pub(super) body: Body<V, N>,
}

pub(super) enum Body<V, N> {
    Value(Stripes<V>),
    Negative(N),
}

/// Several `Arc`s of copies of one value, so that threads that use the same value at the same time
/// do not fight over one reference count.
pub(super) struct Stripes<V> {
    /// Copy `i` is `arcs[i]` for `i < distinct`; the rest of the array repeats them, so that
    /// picking one needs neither a division nor a bounds check.
    arcs: [Arc<V>; MAX_STRIPES],
    distinct: usize,
}

impl<V> Stripes<V> {
    /// `distinct` copies; a power of two up to [`MAX_STRIPES`].
    pub(super) fn new(distinct: usize, mut make: impl FnMut() -> V) -> Self {
        let mut made: Vec<Arc<V>> = Vec::with_capacity(distinct);
        let arcs = std::array::from_fn(|i| match made.get(i % distinct) {
            Some(arc) => Arc::clone(arc),
            None => {
                let arc = Arc::new(make());
                made.push(Arc::clone(&arc));
                arc
            }
        });
        Self { arcs, distinct }
    }

    /// The copy that a slot uses.
    #[inline(always)]
    pub(super) fn of(&self, slot: &Slot) -> &Arc<V> {
        &self.arcs[slot.stripe()]
    }

    /// Any copy, for the writer.
    fn any(&self) -> &Arc<V> {
        &self.arcs[0]
    }

    /// One reference to each distinct copy.
    pub(super) fn into_distinct(self) -> Vec<Arc<V>> {
        self.arcs.into_iter().take(self.distinct).collect()
    }
}

impl<K, V, N> Entry<K, V, N> {
    pub(super) fn new(key: K, body: Body<V, N>, tick: u64) -> Self {
        Self {
            liveness: Liveness::new(),
            key,
            tick: AtomicU64::new(tick),
            body,
        }
    }

    /// Records a hit at `tick`. Stores only on a change, so a hot entry's line stays shared.
    #[inline(always)]
    pub(super) fn touch(&self, tick: u64) {
        // Relaxed: a statistic; racing threads write the same or a neighbouring value.
        if self.tick.load(Ordering::Relaxed) != tick {
            self.tick.store(tick, Ordering::Relaxed);
        }
    }

    pub(super) fn tick(&self) -> u64 {
        // Relaxed: as in `touch`.
        self.tick.load(Ordering::Relaxed)
    }
}

impl<K, V, N: Copy> Entry<K, V, N> {
    /// What the entry maps its key to.
    pub(super) fn view(&self) -> Lookup<&V, N> {
        match &self.body {
            Body::Value(stripes) => Lookup::Hit(&**stripes.any()),
            Body::Negative(negative) => Lookup::Negative(*negative),
        }
    }
}

impl<K, V, N> Node for Entry<K, V, N> {
    #[inline(always)]
    fn liveness(&self) -> &Liveness {
        &self.liveness
    }
}
