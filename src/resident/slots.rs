//! Which threads are reading: one parity slot a thread and map, in a list that only grows.

use super::fence::Fences;
use super::ring::Ring;
use super::sync::{
    Arc, AtomicBool, AtomicPtr, AtomicU64, Gauge, Ordering, UnsafeCell, ordering,
    thread_local_const,
};
use std::cell::{Cell, RefCell};
use std::num::NonZero;
use std::ptr;

/// Most counted copies of one value.
pub(super) const MAX_STRIPES: usize = 8;

/// Values one thread can hold by [`Ref`](super::Ref) before further ones fall back to counting.
pub(super) const HAZARDS: usize = if cfg!(loom) { 1 } else { 64 };

/// What one thread shows the writer. Only the thread that owns the slot stores into it (I2).
///
/// Aligned to two cache lines, since processors fetch lines in pairs.
#[repr(C, align(128))]
pub(super) struct Slot {
    /// Bit 0: the owner is inside a critical section. Bit 1: the slot is homeless. The rest counts
    /// sections. Stored only by the owner.
    seq: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    negatives: AtomicU64,
    /// The copy of each value that the owner uses, or [`NO_STRIPE`] without an owner. Stored only by
    /// the owner.
    stripe: Gauge,
    /// One bit for each null hazard. Only the owner looks at it.
    free: UnsafeCell<u64>,
    /// Claimed by a thread.
    owned: AtomicBool,
    /// Entries the owner holds beyond its critical sections; null where free.
    hazards: [AtomicPtr<()>; HAZARDS],
}

/// In `seq`: inside a critical section.
const INSIDE: u64 = 1;
/// In `seq`: no thread-local storage refers to this slot; it gives itself back once it is idle.
const HOMELESS: u64 = 2;
/// In `seq`: one section.
const SECTION: u64 = 4;

const NO_STRIPE: usize = usize::MAX;

const ALL_FREE: u64 = u64::MAX >> (64 - HAZARDS);

// SAFETY: `free` is reached only by the thread that owns the slot (I2); the rest is atomic or constant.
unsafe impl Sync for Slot {}
// SAFETY: nothing in a slot is tied to the thread that made it; it changes owners by I2.
unsafe impl Send for Slot {}

/// A slot, its owner's messages to the writer, and its place in the list.
#[repr(C)]
pub(super) struct Place<M> {
    pub(super) slot: Slot,
    pub(super) ring: Ring<M>,
    /// The one registered before this. Never changes once this is in the list.
    next: *const Place<M>,
}

// SAFETY: `next` is written before the place is shared, and an address only; the slot and the ring
// see to themselves (I2, R1).
unsafe impl<M: Send> Sync for Place<M> {}
// SAFETY: nothing in a place is tied to the thread that made it; it changes owners by I2.
unsafe impl<M: Send> Send for Place<M> {}

/// What a lookup came to, for the counters.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Hit,
    Miss,
    Negative,
}

/// How often readers found what, summed over all threads since the map was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Lookups that found a value.
    pub hits: u64,
    /// Lookups that found nothing.
    pub misses: u64,
    /// Lookups that found a negative entry.
    pub negatives: u64,
}

/// A critical section; leaves when dropped.
pub(super) struct Inside<'a> {
    slot: &'a Slot,
    /// `seq` before entering.
    before: u64,
}

impl Slot {
    fn new() -> Self {
        Self {
            seq: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            negatives: AtomicU64::new(0),
            stripe: Gauge::new(NO_STRIPE),
            free: UnsafeCell::new(ALL_FREE),
            owned: AtomicBool::new(true),
            hazards: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// The copy of each value that the owner uses; less than [`MAX_STRIPES`].
    #[inline(always)]
    pub(super) fn stripe(&self) -> usize {
        // Relaxed: our own store (I2). The remainder so that whoever indexes with it needs no check.
        self.stripe.load(Ordering::Relaxed) % MAX_STRIPES
    }

    /// Enters a critical section. Only for the owner. A nested section changes nothing.
    #[inline(always)]
    pub(super) fn enter(&self, fences: Fences) -> Inside<'_> {
        // Relaxed: only this thread stores it (I2).
        let before = self.seq.load(Ordering::Relaxed);
        // Release: a writer that skips over the even value and reads this one must still
        // synchronise with everything the previous section read (I4).
        self.seq
            .store(before | INSIDE, ordering!("enter-release", Release));
        fences.light();
        Inside { slot: self, before }
    }

    /// Leaves a nested section, or one in a homeless slot. (Not a method of [`Inside`], which thus
    /// never needs an address.)
    #[cold]
    #[inline(never)]
    fn leave_rarely(&self, before: u64) {
        if before & INSIDE == 0 {
            // Release: as in `Inside::drop` (I4).
            self.seq
                .store(before.wrapping_add(SECTION), Ordering::Release);
            self.settle();
        }
    }

    /// Counts a lookup. Only for the owner.
    #[inline(always)]
    pub(super) fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Hit => &self.hits,
            Outcome::Miss => &self.misses,
            Outcome::Negative => &self.negatives,
        };
        // Relaxed, and no read-modify-write: one thread stores, others only sum (I2).
        counter.store(
            counter.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
    }

    /// Reserves a hazard for `entry` and publishes it. Only for the owner, inside a critical
    /// section that found the entry. `None` if all are in use.
    #[inline(always)]
    pub(super) fn protect(&self, entry: *const ()) -> Option<u32> {
        let index = self.free.with_mut(|free| {
            // SAFETY: only the owner comes here, and the reference ends with the closure (I2).
            let free = unsafe { &mut *free };
            let lowest = NonZero::new(*free)?.trailing_zeros();
            *free &= free.wrapping_sub(1);
            Some(lowest)
        })?;
        // Release: a writer that reads this value instead of the null before it must still
        // synchronise with the last use of what this hazard protected earlier (I5). The symmetric
        // light fence in between covers that as well; the asymmetric one does not.
        self.hazard(index)
            .store(entry.cast_mut(), Ordering::Release);
        Some(index)
    }

    /// Gives up hazard `index`. Only for the owner, after its last use of the entry.
    #[inline(always)]
    pub(super) fn unprotect(&self, index: u32) {
        // Release: the writer that reads null frees the entry after our last use of it (I5).
        self.hazard(index)
            .store(ptr::null_mut(), ordering!("unprotect-release", Release));
        // SAFETY: only the owner comes here (I2).
        self.free.with_mut(|free| unsafe { *free |= 1 << index });
        // Relaxed: our own store (I2).
        if self.seq.load(Ordering::Relaxed) & HOMELESS != 0 {
            self.settle();
        }
    }

    #[inline(always)]
    fn hazard(&self, index: u32) -> &AtomicPtr<()> {
        // Below `HAZARDS` anyhow; written so that no check is left.
        &self.hazards[index as usize % HAZARDS]
    }

    /// Parts the slot from the thread-local storage of its owner.
    fn orphan(&self) {
        self.mark(HOMELESS);
        self.settle();
    }

    /// Gives a homeless slot back if nothing of the owner refers to it any more.
    #[cold]
    #[inline(never)]
    fn settle(&self) {
        // SAFETY: only the owner comes here (I2).
        let unused = self.free.with(|free| unsafe { *free == ALL_FREE });
        // Relaxed: our own store (I2).
        if unused && self.seq.load(Ordering::Relaxed) & INSIDE == 0 {
            // Relaxed: nobody but the next owner relies on it.
            self.stripe.store(NO_STRIPE, Ordering::Relaxed);
            // Release: hands `free`, `seq` and the counters to the next owner (I2).
            self.owned
                .store(false, ordering!("recycle-release", Release));
        }
    }

    /// Makes a free slot ours.
    fn claim(&self, homeless: u64) -> bool {
        // Relaxed first look: most slots are taken, and a stale answer only costs a new slot.
        let claimed = !self.owned.load(Ordering::Relaxed)
            && self
                .owned
                // Acquire: takes over what the last owner left behind (I2).
                .compare_exchange(
                    false,
                    true,
                    ordering!("recycle-acquire", Acquire),
                    Ordering::Relaxed,
                )
                .is_ok();
        if claimed {
            self.mark(homeless);
        }
        claimed
    }

    /// Sets the homeless bit as given. Only for the owner, outside sections.
    fn mark(&self, homeless: u64) {
        // Relaxed: our own store, or handed to us by the claim (I2).
        let seq = self.seq.load(Ordering::Relaxed) & !HOMELESS;
        // Release: hides the value that the last section stored on leaving, and so must
        // synchronise in its place (I4).
        self.seq
            .store(seq | homeless, ordering!("mark-release", Release));
    }

    /// The writer's look at the parity.
    fn observe(&self) -> u64 {
        // Acquire: a value stored after a section makes the section's reads, and the hazards it
        // published, happen before what we do next (I4, I5).
        self.seq.load(ordering!("observe-acquire", Acquire))
    }
}

impl Drop for Inside<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.before & (INSIDE | HOMELESS) == 0 {
            // Release: what the section read happens before a writer that sees this value (I4).
            self.slot.seq.store(
                self.before.wrapping_add(SECTION),
                ordering!("leave-release", Release),
            );
        } else {
            self.slot.leave_rarely(self.before);
        }
    }
}

/// A thread that was inside at a snapshot, and at which value.
pub(super) struct Straggler {
    slot: *const Slot,
    seq: u64,
}

/// All slots of one map.
pub(super) struct Registry<M> {
    /// The newest.
    head: AtomicPtr<Place<M>>,
    count: Gauge,
    /// Distinct copies of each value.
    pub(super) stripes: usize,
    /// Messages that fit in a slot; a power of two or 0.
    messages: usize,
    /// The map is gone; threads may forget their slots.
    closed: AtomicBool,
}

impl<M> Registry<M> {
    pub(super) fn new(stripes: usize, messages: usize) -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            count: Gauge::new(0),
            stripes,
            messages,
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn close(&self) {
        // Relaxed: a hint, no data hangs on it.
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Slots ever made.
    pub(super) fn len(&self) -> usize {
        // Relaxed: only a number.
        self.count.load(Ordering::Relaxed)
    }

    fn places(&self) -> impl Iterator<Item = &Place<M>> {
        // Acquire: the slot's first contents happen before us (I1). A slot that is missing here was
        // pushed after the heavy fence, so its owner sees what was unlinked before that fence (I3).
        let mut next = self
            .head
            .load(ordering!("walk-acquire", Acquire))
            .cast_const();
        std::iter::from_fn(move || {
            // SAFETY: places in the list live as long as the registry (I1).
            let place = unsafe { next.as_ref() }?;
            next = place.next;
            Some(place)
        })
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.places().map(|place| &place.slot)
    }

    /// Messages of all slots, at most `each` of any. Only for the writer.
    pub(super) fn take_messages(&self, each: usize) -> Vec<M> {
        let mut taken = Vec::new();
        for place in self.places() {
            taken.extend(std::iter::from_fn(|| place.ring.pop()).take(each));
        }
        taken
    }

    /// A place for the calling thread: a recycled one, else a new one.
    fn claim(&self, homeless: u64) -> &Place<M> {
        let stripe = self.quietest_stripe();
        let place = self
            .places()
            .find(|place| place.slot.claim(homeless))
            .unwrap_or_else(|| self.push(homeless));
        // Relaxed: only we look at it, but for counting.
        place.slot.stripe.store(stripe, Ordering::Relaxed);
        place
    }

    /// The copy of each value that the fewest threads use. Threads that ask at the same moment may
    /// get the same one, which costs them time and nothing else.
    fn quietest_stripe(&self) -> usize {
        let mut users = [0; MAX_STRIPES];
        for slot in self.slots() {
            // Relaxed: a statistic.
            if let Some(users) = users.get_mut(slot.stripe.load(Ordering::Relaxed)) {
                *users += 1;
            }
        }
        let stripes = 0..self.stripes;
        stripes.min_by_key(|&stripe| users[stripe]).unwrap_or(0)
    }

    /// Makes a place, owned by the calling thread.
    fn push(&self, homeless: u64) -> &Place<M> {
        // Relaxed: only a number.
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut place = Box::new(Place {
            slot: Slot::new(),
            ring: Ring::new(self.messages),
            next: ptr::null(),
        });
        place.slot.mark(homeless);
        // Relaxed: a stale head only makes the exchange fail and tell the newer one.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            place.next = head;
            let raw = Box::into_raw(place);
            // Release: the slot's contents happen before a walk that finds it (I1). The older
            // slots behind it stay reachable through the release sequence this exchange continues.
            match self.head.compare_exchange(
                head,
                raw,
                ordering!("push-release", Release),
                Ordering::Relaxed,
            ) {
                // SAFETY: in the list now, so alive as long as the registry (I1).
                Ok(_) => return unsafe { &*raw },
                Err(newer) => {
                    head = newer;
                    // SAFETY: the exchange failed, so the box was never reachable (I1).
                    place = unsafe { Box::from_raw(raw) };
                }
            }
        }
    }

    /// Who is inside now. Call after the heavy fence.
    pub(super) fn stragglers(&self) -> Vec<Straggler> {
        self.slots()
            .map(|slot| Straggler {
                slot,
                seq: slot.observe(),
            })
            .filter(|straggler| straggler.seq & INSIDE != 0)
            .collect()
    }

    /// Whether the straggler has left the section it was seen in.
    pub(super) fn has_left(&self, straggler: &Straggler) -> bool {
        // SAFETY: a slot of this registry, alive as long as it (I1).
        let seq = unsafe { &*straggler.slot }.observe();
        (seq ^ straggler.seq) & !HOMELESS != 0
    }

    /// The entries held by hazards now, sorted.
    pub(super) fn hazards(&self) -> Vec<*mut ()> {
        let mut held: Vec<_> = self
            .slots()
            .flat_map(|slot| &slot.hazards)
            // Acquire: not finding an entry means its holder's last use happens before us (I5).
            .map(|hazard| hazard.load(ordering!("hazard-acquire", Acquire)))
            .filter(|entry| !entry.is_null())
            .collect();
        held.sort_unstable();
        held
    }

    pub(super) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for slot in self.slots() {
            // Relaxed: statistics.
            sum.hits = sum.hits.wrapping_add(slot.hits.load(Ordering::Relaxed));
            sum.misses = sum.misses.wrapping_add(slot.misses.load(Ordering::Relaxed));
            sum.negatives = sum
                .negatives
                .wrapping_add(slot.negatives.load(Ordering::Relaxed));
        }
        sum
    }
}

impl<M> Drop for Registry<M> {
    fn drop(&mut self) {
        // Relaxed: the last reference is ours, its drop synchronised with the others'.
        let mut next = self.head.load(Ordering::Relaxed);
        while !next.is_null() {
            // SAFETY: places come from `Box::into_raw`, are in the list once, and nobody else can
            // reach the list any more (I8).
            let place = unsafe { Box::from_raw(next) };
            next = place.next.cast_mut();
        }
    }
}

/// Finding the calling thread's place. `map` is unique in the process for all time, so that a stale
/// note never matches a newer map, nor one with other messages.
#[inline(always)]
pub(super) fn own_place<M: 'static>(map: u64, registry: &Arc<Registry<M>>) -> &Place<M> {
    if let Ok(latest) = LATEST.try_with(Cell::get)
        && latest.map == map
    {
        // SAFETY: `claim_place` stored it for this thread and map, so of this type, and the caller's
        // registry keeps it alive (I1); `Claims::drop` removes it before giving it away (I2).
        return unsafe { &*latest.place.cast() };
    }
    claim_place(map, registry)
}

/// The map a thread looked into last, and its place there.
#[derive(Clone, Copy)]
struct Latest {
    /// 0 is no map.
    map: u64,
    place: *const (),
}

const NO_LATEST: Latest = Latest {
    map: 0,
    place: ptr::null(),
};

/// What a thread gives back when it ends.
struct Claims(RefCell<Vec<Claim>>);

struct Claim {
    map: u64,
    /// The whole place, of the type that the map's messages have.
    place: *const (),
    /// The same place's slot.
    slot: *const Slot,
    registry: Box<dyn Kept>,
}

/// A registry that a thread keeps, whatever its map's messages.
trait Kept {
    fn is_closed(&self) -> bool;
}

impl<M> Kept for Arc<Registry<M>> {
    fn is_closed(&self) -> bool {
        // Relaxed: a hint, see `close`.
        self.closed.load(Ordering::Relaxed)
    }
}

thread_local_const! {
    /// Plain memory: no initialiser to check for, no destructor, so readable at any time.
    static LATEST: Cell<Latest> = Cell::new(NO_LATEST)
}

thread_local_const! {
    static CLAIMS: Claims = Claims(RefCell::new(Vec::new()))
}

/// The place of a thread that looked elsewhere last: the one it claimed earlier, else a fresh claim.
#[cold]
#[inline(never)]
fn claim_place<M: 'static>(map: u64, registry: &Arc<Registry<M>>) -> &Place<M> {
    let claimed = CLAIMS.try_with(|claims| {
        let found = |claims: &Vec<Claim>| {
            let claim = claims.iter().find(|claim| claim.map == map)?;
            Some(claim.place)
        };
        let known = found(&claims.0.borrow());
        let place = known.unwrap_or_else(|| {
            // Dropped after the borrow: the last reference to a registry drops messages, which is
            // foreign code.
            let gone: Vec<_> = claims
                .0
                .borrow_mut()
                .extract_if(.., |claim| claim.registry.is_closed())
                .collect();
            drop(gone);
            let place: *const Place<M> = registry.claim(0);
            claims.0.borrow_mut().push(Claim {
                map,
                place: place.cast(),
                // SAFETY: in the caller's registry (I1).
                slot: unsafe { &raw const (*place).slot },
                registry: Box::new(Arc::clone(registry)),
            });
            place.cast()
        });
        let _ = LATEST.try_with(|latest| latest.set(Latest { map, place }));
        place
    });
    match claimed {
        // SAFETY: in the caller's registry (I1), and claimed for this map, so of this type.
        Ok(place) => unsafe { &*place.cast() },
        // The thread's storage is being torn down: a place for this one lookup, which goes back when
        // the section, or the last `Ref` made in it, ends.
        Err(_) => registry.claim(HOMELESS),
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        // Lookups in destructors that run after this one must not find the slots.
        let _ = LATEST.try_with(|latest| latest.set(NO_LATEST));
        for claim in self.0.get_mut() {
            // SAFETY: `claim.registry` keeps the slot alive (I1), and it is still ours (I2).
            unsafe { &*claim.slot }.orphan();
        }
    }
}
