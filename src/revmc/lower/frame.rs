//! What the whole function refers to: its parameters, and what of the frame never changes.
//!
//! A value that lives as long as the function costs a register allocator time at every one of
//! thousands of uses, and ends in memory all the same. So these values are in a stack slot, and an
//! extended basic block that uses one loads it, once.

use super::{Lowering, param};
use crate::compiler::limbs::{Emit, Region};
use cranelift_codegen::ir::{self, StackSlotData, StackSlotKind, types};

/// The frame's `SharedMemory`, after the parameters.
pub(super) const SHARED_MEMORY: usize = param::COUNT;
/// Where in the buffer of its `SharedMemory` the frame's memory starts.
pub(super) const CHECKPOINT: usize = param::COUNT + 1;

const COUNT: usize = param::COUNT + 2;

/// The values by index, and which of them the current extended basic block has loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    slot: ir::StackSlot,
    loaded: [Option<ir::Value>; COUNT],
}

impl Frame {
    /// Stores the values at the function's entry.
    pub(super) fn new(e: &mut Emit, values: [ir::Value; COUNT]) -> Self {
        let size = (COUNT * size_of::<u64>()) as u32;
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3);
        let slot = e.func.create_sized_stack_slot(slot);
        let address = e.slot_address(slot);
        for (value, offset) in values.into_iter().zip((0..).step_by(8)) {
            e.store(Region::Context, value, address, offset);
        }
        Self {
            slot,
            loaded: values.map(Some),
        }
    }

    /// At the start of a block with several entries.
    pub(super) fn enter_block(&mut self) {
        self.loaded = [None; COUNT];
    }
}

impl Lowering {
    /// A parameter, or another value of the frame.
    pub(super) fn frame_value(&mut self, index: usize) -> ir::Value {
        if let Some(value) = self.frame.loaded[index] {
            return value;
        }
        let address = self.e.slot_address(self.frame.slot);
        let offset = (index * size_of::<u64>()) as i32;
        let value = self.e.load(types::I64, Region::Context, address, offset);
        self.frame.loaded[index] = Some(value);
        value
    }

    /// Emits what `f` does into `block`, which nothing that follows is dominated by.
    pub(super) fn aside<R>(&mut self, block: ir::Block, f: impl FnOnce(&mut Self) -> R) -> R {
        let loaded = self.frame.loaded;
        self.e.block = block;
        let result = f(self);
        self.frame.loaded = loaded;
        result
    }
}
