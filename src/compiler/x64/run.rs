//! The run that is being emitted, and the ways on which blocks take it over.

use super::{
    asm::{Label, Place},
    state::{State, Val},
};

/// The run being emitted.
#[derive(Clone)]
pub(super) struct Run {
    /// Where it leaves to while nothing was written.
    pub(super) pc: u32,
    /// Its static gas, as far as the end of the block, or the boundary instruction, that it is in.
    pub(super) gas: u32,
    /// What of it has been charged, at the run's start.
    pub(super) charged: u32,
    /// The part of it that belongs to instructions that are done, the current one included.
    pub(super) spent: u32,
    /// Whether a leave can go back to its start.
    pub(super) restartable: bool,
    /// Whether it has looked at the gas or the size of memory.
    pub(super) observed: bool,
    /// Its leave, once there is a use for it.
    pub(super) stub: Option<Label>,
    /// The memory is at least so long.
    pub(super) memory: u64,
    /// Known extents above values: those were compared with the memory's length.
    pub(super) extents: Vec<(Val, u64)>,
    /// The last comparison, as long as it can be made to cover more: nothing since can leave, or tell
    /// when the memory has grown.
    pub(super) open: Option<Open>,
}

/// A comparison of an access's end with the memory's length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// Above this value; `None` for constant offsets.
    pub(super) base: Option<Val>,
    /// Where the end stands in the code.
    pub(super) places: [Option<Place>; 2],
}

impl Run {
    /// A run at a canonical point, of which nothing has been charged.
    pub(super) fn new(pc: u32, gas: u32, memory: u64) -> Self {
        Self {
            pc,
            gas,
            charged: 0,
            spent: 0,
            restartable: true,
            observed: false,
            stub: None,
            memory,
            extents: Vec::new(),
            open: None,
        }
    }
}

/// A block, and how control comes to it.
pub(super) struct Way {
    pub(super) block: usize,
    pub(super) left: Left,
}

/// What the block before leaves.
pub(super) enum Left {
    /// A canonical frame.
    Canonical,
    /// The emitter's state and run.
    Here,
    /// These.
    Kept(Box<(State, Run)>),
}
