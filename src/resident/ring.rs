//! Messages from one thread to the writer: a ring in the thread's slot, which drops when it is full.
//!
//! One side only ever fills cells, the other only empties them, and each counts on a number of its
//! own. Neither waits for the other, wherever that stops: a message that is half written is not
//! there yet, a cell that is half emptied is not free yet.
//!
//! * **R1** The cells from `head` on, up to but without `tail`, are the writer's; the others are the
//!   slot's owner's. `tail` is stored by the owner, `head` by the writer, and what a side did to a
//!   cell happens before the other side finds it on its own side of these numbers.

use super::sync::{AtomicU64, Ordering, UnsafeCell, ordering, step, window};

pub(super) struct Ring<M> {
    /// Messages taken out.
    head: AtomicU64,
    /// Messages put in.
    tail: AtomicU64,
    /// A power of two of them, or none.
    cells: Box<[UnsafeCell<Option<M>>]>,
}

// SAFETY: R1: a cell is reached by one side at a time; a message goes from one thread to another.
unsafe impl<M: Send> Sync for Ring<M> {}

impl<M> Ring<M> {
    /// Room for `capacity` messages, a power of two; 0 is a ring that is always full.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            cells: (0..capacity).map(|_| UnsafeCell::new(None)).collect(),
        }
    }

    fn cell(&self, number: u64) -> &UnsafeCell<Option<M>> {
        &self.cells[number as usize & (self.cells.len() - 1)]
    }

    fn has_room(&self) -> bool {
        // Acquire: the writer's emptying of the cell happens before we fill it (R1).
        let head = self.head.load(ordering!("head-acquire", Acquire));
        // Relaxed: our own store, or handed to us with the slot (I2).
        let tail = self.tail.load(Ordering::Relaxed);
        let used = tail.wrapping_sub(head);
        used < self.cells.len() as u64 || (!step!("ring-room") && !self.cells.is_empty())
    }

    /// Puts in what `make` makes, or tells that there is no room, having made nothing. Only for the
    /// slot's owner.
    pub(super) fn push(&self, make: impl FnOnce() -> M) -> bool {
        if !self.has_room() {
            return false;
        }
        let message = make();
        // Once more: `make` is foreign code, which may have come here itself.
        if !self.has_room() {
            return false;
        }
        // Relaxed: our own store, or handed to us with the slot (I2).
        let tail = self.tail.load(Ordering::Relaxed);
        // SAFETY: R1: there is room, so the cell at `tail` is the owner's, who we are.
        self.cell(tail)
            .with_mut(|cell| unsafe { *cell = Some(message) });
        window!("message written");
        // Release: the message happens before a writer that finds it (R1).
        self.tail
            .store(tail.wrapping_add(1), ordering!("tail-release", Release));
        true
    }

    /// Takes the oldest message out. Only for the writer.
    pub(super) fn pop(&self) -> Option<M> {
        // Relaxed: our own store (R1).
        let head = self.head.load(Ordering::Relaxed);
        // Acquire: the message happens before us (R1).
        if self.tail.load(ordering!("tail-acquire", Acquire)) == head {
            return None;
        }
        // SAFETY: R1: the cell at `head` is not the one at `tail`, so it is the writer's.
        let message = self.cell(head).with_mut(|cell| unsafe { (*cell).take() });
        window!("message taken");
        // Release: our emptying happens before the owner fills the cell again (R1).
        self.head
            .store(head.wrapping_add(1), ordering!("head-release", Release));
        message
    }
}
