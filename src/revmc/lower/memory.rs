//! The frame's memory: `MLOAD`, `MSTORE`, `MSTORE8` and `MSIZE` in line.
//!
//! An access compares its end with the memory's size and grows the memory out of line. How far the
//! memory is known to reach is remembered, so that most accesses at a constant offset need no
//! comparison: Solidity's free memory pointer is at `0x40`, and every contract it compiles stores
//! there first.
//!
//! # Invariants
//!
//! * **F1** Memory never shrinks while a frame lives, nor between its suspension and its resumption
//!   (checked when it is resumed, as the caller is not trusted with memory safety).
//! * **F2** `floor` bytes are there, by a check that dominates the current point; `prefix_floor`
//!   bytes, by checks in the straight-line code that every frame starts with.
//! * **F3** `base` is the buffer's address plus the checkpoint, and nothing that can move the buffer
//!   has been called since it was computed.

use super::{
    Lowering,
    frame::{CHECKPOINT, SHARED_MEMORY},
    param,
    value::{Data, Type, Value},
};
use crate::compiler::limbs::{Limb, Region, Word};
use crate::revmc::builtins::{CONTINUE, Helper};
use cranelift_codegen::ir::{self, InstBuilder, condcodes::IntCC, types};
use revmc::interpreter::InstructionResult;

/// Offsets below this never overflow when an access's size is added.
const OFFSET_BITS: u32 = 32;

/// What is known of the frame's memory.
#[derive(Debug)]
pub(super) struct Memory {
    base: Option<ir::Value>,
    floor: u64,
    prefix_floor: u64,
    in_prefix: bool,
    entered: bool,
}

/// A memory instruction.
#[derive(Clone, Copy)]
pub(super) enum Access {
    Load,
    Store,
    StoreByte,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            base: None,
            floor: 0,
            prefix_floor: 0,
            in_prefix: true,
            entered: false,
        }
    }

    /// At the start of a block with several entries.
    pub(super) fn enter_block(&mut self) {
        // The first such block is the first instruction; a second one may be entered from anywhere.
        self.in_prefix &= !self.entered;
        self.entered = true;
        self.base = None;
        self.floor = self.prefix_floor;
    }

    /// The code is not straight-line any more.
    pub(super) fn end_prefix(&mut self) {
        self.in_prefix = false;
    }

    /// Something may have moved the buffer (F3).
    pub(super) fn forget_base(&mut self) {
        self.base = None;
    }

    /// A check on the way here has made sure of it (F2).
    fn raise_floor(&mut self, end: u64) {
        self.floor = self.floor.max(end);
        if self.in_prefix {
            self.prefix_floor = self.floor;
        }
    }
}

impl Lowering {
    /// The size of the frame's memory, in bytes.
    pub(super) fn memory_size(&mut self) -> ir::Value {
        let shared = self.frame_value(SHARED_MEMORY);
        let checkpoint = self.frame_value(CHECKPOINT);
        let len_at = self.layout.memory_len as i32;
        let len = self.e.load(types::I64, Region::Context, shared, len_at);
        self.e.cursor().ins().isub(len, checkpoint)
    }

    /// The front end's arguments are the context and the stack pointer after the inputs.
    pub(super) fn inline_memory(&mut self, args: &[Value], access: Access) -> Option<Value> {
        let done = self.add(Data::Const(Type::Int(8), CONTINUE));
        let Some(Data::StackPointer(position)) = args.get(1).map(|&arg| self.values.get(arg))
        else {
            self.refuse("memory access without operand stack");
            return Some(done);
        };
        match access {
            Access::Load => {
                let offset = self.stack_word(position);
                let address = self.grown_memory(offset, 32);
                let word = self.e.load_word(Region::Bytes, address, 0);
                let word = self.e.word_bswap(word);
                if let Some(stack) = &mut self.stack {
                    stack.set(position, word);
                }
            }
            Access::Store => {
                let offset = self.stack_word(position + 1);
                let value = self.stack_word(position);
                let address = self.grown_memory(offset, 32);
                let word = self.e.word_bswap(value);
                self.e.store_word(Region::Bytes, word, address, 0);
            }
            Access::StoreByte => {
                let offset = self.stack_word(position + 1);
                let value = self.stack_word(position);
                let address = self.grown_memory(offset, 1);
                let byte = self.e.value(value.0[0]);
                let byte = self.e.cursor().ins().ireduce(types::I8, byte);
                self.e.store(Region::Bytes, byte, address, 0);
            }
        }
        Some(done)
    }

    /// The address of the byte at `offset` of the frame's memory, once the memory holds `size`
    /// bytes from there. Leaves the function if it cannot grow.
    fn grown_memory(&mut self, offset: Word, size: u64) -> ir::Value {
        let high = self.e.union(&offset, 1);
        let low = offset.0[0];
        let known = match low {
            Limb::Const(low) if high.is_zero() && low >> OFFSET_BITS == 0 => Some(low),
            _ => None,
        };
        match known {
            // F2
            Some(low) if low + size <= self.memory.floor => {}
            Some(low) => {
                let available = Limb::Val(self.memory_size());
                let end = Limb::Const(low + size);
                let must_grow = self.e.cmp(IntCC::UnsignedLessThan, available, end);
                self.grow_memory_if(must_grow, low_limbs(low), size);
                self.memory.raise_floor(low + size);
            }
            None => {
                let top = self.e.shr_imm(low, OFFSET_BITS);
                let out_of_range = self.e.or(high, top);
                let out_of_range = self.e.is_nonzero(out_of_range);
                let value = self.e.value(low);
                let end = Limb::Val(self.e.offset(value, size as i64));
                let available = Limb::Val(self.memory_size());
                let beyond = self.e.cmp(IntCC::UnsignedLessThan, available, end);
                let must_grow = self.e.or(out_of_range, beyond);
                self.grow_memory_if(must_grow, [low, high], size);
            }
        }
        let base = self.memory_base();
        match known {
            Some(low) => self.e.offset(base, low as i64),
            None => {
                let low = self.e.value(low);
                self.e.add_values(base, low)
            }
        }
    }

    /// Grows the memory out of line; `offset` is the low limb and the union of the others.
    fn grow_memory_if(&mut self, must_grow: Limb, [low, high]: [Limb; 2], size: u64) {
        let cond = match must_grow {
            Limb::Const(0) => return,
            Limb::Const(c) => self.e.iconst(types::I8, u64::from(c != 0)),
            Limb::Flag(cond) | Limb::Val(cond) => cond,
        };
        let (grow, ready) = (self.e.new_block(true), self.e.new_block(false));
        self.e.brif(cond, grow, ready);
        self.aside(grow, |this| {
            let ecx = this.frame_value(param::ECX);
            let [low, high, size] = [low, high, Limb::Const(size)].map(|limb| this.e.value(limb));
            let helper = Helper::GrowMemory as usize;
            match this.call_table(helper, &[ecx, low, high, size], Some(types::I8)) {
                Some(status) => this.exit_unless_continue(status, ready),
                None => this.refuse("a helper without status"),
            }
        });
        self.e.block = ready;
        // Growing charges gas and may move the buffer.
        self.gas = None;
        self.memory.forget_base();
    }

    fn memory_base(&mut self) -> ir::Value {
        if let Some(base) = self.memory.base {
            return base;
        }
        let shared = self.frame_value(SHARED_MEMORY);
        let checkpoint = self.frame_value(CHECKPOINT);
        let pointer_at = self.layout.memory_ptr as i32;
        let buffer = self.e.load(types::I64, Region::Context, shared, pointer_at);
        let base = self.e.add_values(buffer, checkpoint);
        self.memory.base = Some(base);
        base
    }

    /// Leaves the function if a resumed frame's memory is not what it was (F1).
    pub(super) fn check_resumed_memory(&mut self) {
        if self.memory.prefix_floor == 0 {
            return;
        }
        let size = Limb::Val(self.memory_size());
        let floor = Limb::Const(self.memory.prefix_floor);
        let lost = self.e.cmp(IntCC::UnsignedLessThan, size, floor);
        let lost = self.e.value(lost);
        self.exit_if(lost, InstructionResult::FatalExternalError);
    }
}

fn low_limbs(low: u64) -> [Limb; 2] {
    [Limb::Const(low), Limb::ZERO]
}
