//! Values that tell whether they are used as they should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// A value that knows whether it is alive and counts itself.
#[derive(Debug)]
pub struct Tracked {
    id: u64,
    canary: u64,
    alive: Arc<AtomicIsize>,
}

const ALIVE: u64 = 0x616c_6976_6521;
const DEAD: u64 = 0x6465_6164;

impl Tracked {
    pub fn new(id: u64, alive: &Arc<AtomicIsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            canary: ALIVE ^ id,
            alive: Arc::clone(alive),
        }
    }

    /// The number this value was made with. Panics on a value that was dropped.
    pub fn id(&self) -> u64 {
        assert_eq!(
            self.canary,
            ALIVE ^ self.id,
            "value {} was used after its drop",
            self.id
        );
        self.id
    }
}

impl Clone for Tracked {
    fn clone(&self) -> Self {
        Self::new(self.id(), &self.alive)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        assert_eq!(
            self.canary,
            ALIVE ^ self.id,
            "value {} was dropped twice",
            self.id
        );
        self.canary = DEAD;
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}
