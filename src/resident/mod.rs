//! A map for many readers and one writer whose lookups are wait-free.

mod entry;
mod fence;
mod grace;
mod hash;
mod reader;
mod shared;
mod slots;
mod sync;
mod table;
mod writer;

pub use fence::{FencePolicy, Fences};
pub use hash::{Seeded, SeededHasher};
pub use reader::{Lookup, Reader, Ref};
pub use shared::Gauges;
pub use slots::Counters;
pub use writer::Writer;

use std::hash::{BuildHasher, Hash};

/// How to make a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Copies of each value with a reference count of its own: rounded up to a power of two, 8 at
    /// most. The default is the number of processors. One is enough if only one thread uses
    /// [`Reader::get`], or none does.
    pub stripes: usize,
    /// Which fences to use.
    pub fences: FencePolicy,
    /// Entries to make room for from the start.
    pub capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        let stripes = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            stripes,
            fences: FencePolicy::Auto,
            capacity: 0,
        }
    }
}

/// Makes an empty map: the one handle that changes it and a handle that reads it.
///
/// With [`FencePolicy::Auto`] on Linux, the first map of the process registers with the kernel,
/// which can take milliseconds when many threads run already.
pub fn new<K: Eq + Hash, V, N: Copy>(options: &Options) -> (Writer<K, V, N>, Reader<K, V, N>) {
    with_hasher(options)
}

/// As [`new`], with another hasher. `S::default()` is called for every table that is built and
/// should draw a fresh seed each time: that is what bounds the probes when keys are chosen by an
/// adversary.
pub fn with_hasher<K: Eq + Hash, V, N: Copy, S: BuildHasher + Default>(
    options: &Options,
) -> (Writer<K, V, N, S>, Reader<K, V, N, S>) {
    let writer = Writer::create(options);
    let reader = writer.reader();
    (writer, reader)
}
