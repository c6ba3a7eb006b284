//! A hasher whose seed an adversary may know.

use revmc_jit::resident::{Seeded, SeededHasher};
use std::cell::RefCell;
use std::hash::BuildHasher;

pub struct Leaked(Seeded);

thread_local! {
    /// The next one's seed, if it is known.
    pub static LEAKED: RefCell<Option<Seeded>> = const { RefCell::new(None) };
}

impl Default for Leaked {
    fn default() -> Self {
        Self(LEAKED.take().unwrap_or_default())
    }
}

impl BuildHasher for Leaked {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        self.0.build_hasher()
    }
}
