//! What a caller chooses when making a map.

use super::fence::FencePolicy;

/// How to make a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Copies of each value with a reference count of its own: rounded up to a power of two, at
    /// least 1 and at most 8. Each thread uses the one that the fewest others use. The default is twice
    /// the number of processors, as some threads only wait. One is enough if only one thread uses
    /// [`Reader::get`](super::Reader::get), or none does.
    pub stripes: usize,
    /// Which fences to use.
    pub fences: FencePolicy,
    /// Entries to make room for from the start: 2^24 at most. The map grows by itself.
    pub capacity: usize,
    /// Messages of one thread that can wait for the writer: rounded up to a power of two, at most
    /// 2^16. The room is made when a thread first looks something up. 0: none.
    pub messages: usize,
}

impl Default for Options {
    fn default() -> Self {
        let stripes = std::thread::available_parallelism().map_or(1, |n| 2 * n.get());
        Self {
            stripes,
            fences: FencePolicy::Auto,
            capacity: 0,
            messages: 0,
        }
    }
}
