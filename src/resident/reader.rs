//! Lookups.
//!
//! * **G1** A [`Ref`] has a slot and a hazard of it, which holds the entry of its value; or no slot,
//!   and a counted reference of its own, as [`Arc::into_raw`] gave it, which its drop takes back.

use super::entry::{Body, Entry, Stripes};
use super::fence::Fences;
use super::hash::Seeded;
use super::lookup::Lookup;
use super::shared::{Gauges, Shared};
use super::slots::{Counters, Outcome, Slot, own_place};
use super::sync::{Arc, Liveness, LivenessRef, Node, Ordering, ordering};
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

/// A handle for lookups. Clones share the map; each thread that looks something up takes one slot
/// in it, until the thread ends.
///
/// No method blocks, allocates on a thread's second call, makes a system call or frees a value. The
/// drop of the last handle, readers and writer counted alike, frees all values that are left.
pub struct Reader<K, V, N, S = Seeded, M = ()> {
    shared: Arc<Shared<K, V, N, S, M>>,
}

impl<K, V, N, S, M> Clone for Reader<K, V, N, S, M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K, V, N, S, M> std::fmt::Debug for Reader<K, V, N, S, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("gauges", &self.gauges())
            .finish_non_exhaustive()
    }
}

impl<K, V, N, S, M> Reader<K, V, N, S, M> {
    pub(super) fn new(shared: Arc<Shared<K, V, N, S, M>>) -> Self {
        Self { shared }
    }

    /// What lookups came to, summed over all threads. The sum may lag behind threads that look
    /// things up at this moment.
    pub fn counters(&self) -> Counters {
        self.shared.registry.counters()
    }

    /// Sizes, as the writer last left them.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            slots: self.shared.registry.len(),
            ..self.shared.gauges.get()
        }
    }

    /// Number of entries, negative ones included, as the writer last left it.
    pub fn len(&self) -> usize {
        self.gauges().len
    }

    /// Whether the map has no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The form of fences this map was made with.
    pub fn fences(&self) -> Fences {
        self.shared.fences
    }
}

impl<K, V, N, S, M: 'static> Reader<K, V, N, S, M> {
    /// Leaves a message for the [`Writer`](super::Writer), who looks for it with
    /// [`take_messages`](super::Writer::take_messages); or makes none, and returns false, where the
    /// thread has [`Options::messages`](super::Options::messages) waiting already.
    ///
    /// Waits for nobody, wherever another thread has stopped; wakes nobody.
    pub fn post(&self, make: impl FnOnce() -> M) -> bool {
        let shared = &*self.shared;
        let place = own_place(shared.id, &shared.registry);
        // A place that was claimed for this alone goes back when the section ends.
        let _inside = place.slot.enter(shared.fences);
        place.ring.push(make)
    }
}

impl<K: Eq + Hash, V, N: Copy, S: BuildHasher, M: 'static> Reader<K, V, N, S, M> {
    /// The value for `key`, counted. Costs the reference count of one of the value's copies, which
    /// threads share only if there are more of them than copies.
    ///
    /// Dropping the `Arc` does not free the value while the [`Writer`](super::Writer) lives: the
    /// writer keeps a reference until the callers have dropped theirs.
    #[inline]
    pub fn get(&self, key: &K) -> Lookup<Arc<V>, N> {
        self.look(key, true, |slot, found| {
            found.map(|(_, stripes)| Arc::clone(stripes.of(slot)))
        })
    }

    /// As [`get`](Self::get), but leaves counters and recency alone.
    #[inline]
    pub fn peek(&self, key: &K) -> Lookup<Arc<V>, N> {
        self.look(key, false, |slot, found| {
            found.map(|(_, stripes)| Arc::clone(stripes.of(slot)))
        })
    }

    /// Calls `f` with the value for `key`, inside the lookup: no atomic read-modify-write.
    ///
    /// For short uses: until `f` returns, nothing unlinked after it began can be freed. `f` may
    /// look up other keys, in this map too. For a use that lasts, see [`borrow`](Self::borrow).
    #[inline]
    pub fn with<R>(&self, key: &K, f: impl FnOnce(Lookup<&V, N>) -> R) -> R {
        self.look(key, true, |slot, found| {
            f(found.map(|(_, stripes)| &**stripes.of(slot)))
        })
    }

    /// The value for `key`, for as long as the guard lives: no atomic read-modify-write, and only
    /// this value's reclamation waits for the guard.
    ///
    /// A thread can hold 64 such guards of one map; further ones hold an `Arc` instead. A guard that
    /// is leaked (`mem::forget`) keeps its value until the map is gone.
    #[inline]
    pub fn borrow(&self, key: &K) -> Lookup<Ref<'_, V>, N> {
        self.look(key, true, |slot, found| {
            found.map(|(entry, stripes)| Ref::new(slot, entry, stripes))
        })
    }

    /// The lookup all others are made of.
    #[inline(always)]
    fn look<'r, R>(
        &'r self,
        key: &K,
        tracked: bool,
        f: impl FnOnce(&'r Slot, Lookup<(&Entry<K, V, N>, &Stripes<V>), N>) -> R,
    ) -> R {
        let shared = &*self.shared;
        let slot = &own_place(shared.id, &shared.registry).slot;
        let _inside = slot.enter(shared.fences);
        // Acquire: the table's contents happen before us (I1).
        let table = shared.table.load(ordering!("table-acquire", Acquire));
        // SAFETY: we are inside a critical section that began before this load, so the table is not
        // freed before we leave it (I3, I4).
        let table = unsafe { &*table };
        table.liveness().touch();
        let (outcome, found) = match table.find(key) {
            None => (Outcome::Miss, Lookup::Miss),
            Some(entry) => {
                if tracked {
                    // Relaxed: a statistic.
                    entry.touch(shared.tick.load(Ordering::Relaxed));
                }
                match &entry.body {
                    Body::Value(stripes) => (Outcome::Hit, Lookup::Hit((entry, stripes))),
                    Body::Negative(negative) => (Outcome::Negative, Lookup::Negative(*negative)),
                }
            }
        };
        if tracked {
            slot.count(outcome);
        }
        f(slot, found)
    }
}

/// A borrowed value: the guard of [`Reader::borrow`].
///
/// Stays on the thread that made it, which owns the record that protects the value.
pub struct Ref<'r, V> {
    value: NonNull<V>,
    /// What keeps the value: this hazard of this slot, or a counted reference (G1).
    slot: Option<&'r Slot>,
    hazard: u32,
    liveness: LivenessRef,
    /// It may be the owner of a reference, and it does not leave its thread.
    owns: PhantomData<(Arc<V>, *mut ())>,
}

// SAFETY: sharing a guard shares `&V` only; the slot's hazard (I2, I5) is given up by `drop`, which
// needs the guard itself, and that cannot leave its thread.
unsafe impl<V: Sync> Sync for Ref<'_, V> {}

impl<'r, V> Ref<'r, V> {
    /// A guard for the slot's copy of the value of `entry`. Only in a critical section of `slot`,
    /// which is the caller's, that found the entry.
    #[inline(always)]
    fn new<K, N>(slot: &'r Slot, entry: &Entry<K, V, N>, stripes: &Stripes<V>) -> Self {
        let arc = stripes.of(slot);
        match slot.protect(std::ptr::from_ref(entry).cast()) {
            Some(hazard) => Self {
                value: NonNull::from(&**arc),
                slot: Some(slot),
                hazard,
                liveness: LivenessRef::new(entry.liveness()),
                owns: PhantomData,
            },
            None => Self::counted(Arc::clone(arc), entry.liveness()),
        }
    }

    #[cold]
    fn counted(arc: Arc<V>, liveness: &Liveness) -> Self {
        Self {
            value: NonNull::new(Arc::into_raw(arc).cast_mut()).expect("no `Arc` is at null"),
            slot: None,
            hazard: 0,
            liveness: LivenessRef::new(liveness),
            owns: PhantomData,
        }
    }

    /// Gives up the counted reference of a guard. (By value: the guard thus never needs an address.)
    ///
    /// # Safety
    /// G1: `value` is that of a guard without a slot, which is being dropped.
    #[cold]
    #[inline(never)]
    unsafe fn discount(value: NonNull<V>) {
        // SAFETY: G1, the caller's promise: the guard's reference is ours now.
        drop(unsafe { Arc::from_raw(value.as_ptr()) });
    }
}

impl<V> Deref for Ref<'_, V> {
    type Target = V;

    #[inline(always)]
    fn deref(&self) -> &V {
        if self.slot.is_some() {
            self.liveness.touch();
        }
        // SAFETY: the hazard keeps the entry, which keeps its copies of the value (I5), or the
        // guard has a reference of its own (G1).
        unsafe { self.value.as_ref() }
    }
}

impl<V> Drop for Ref<'_, V> {
    #[inline(always)]
    fn drop(&mut self) {
        match self.slot {
            Some(slot) => slot.unprotect(self.hazard),
            // SAFETY: G1; this is the drop.
            None => unsafe { Self::discount(self.value) },
        }
    }
}

impl<V: std::fmt::Debug> std::fmt::Debug for Ref<'_, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
