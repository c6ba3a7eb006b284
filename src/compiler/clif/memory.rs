//! Memory and call data.
//!
//! An access is preceded by a comparison of its end with the memory's length, unless an earlier one has
//! made sure of it. Where the memory is too short it grows, in a cold block; where it cannot, or an
//! offset is 2^32 or more, the interpreter does the instruction.

use super::{
    generate::{Gas, Generator},
    state::Val,
};
use crate::{
    compiler::{
        decode::Inst,
        limbs::{Limb, Region, Word},
    },
    frame::{GAS_AHEAD, arithmetic::Operator, at},
};
use alloy_primitives::U256;
use cranelift_codegen::ir::{self, InstBuilder, condcodes::IntCC, types};

/// Constant offsets beyond are left to the interpreter: they would not fit a displacement.
const MAX_CONSTANT_END: u64 = 1 << 30;

/// Bits of an offset that cannot overflow an address computation.
pub(super) const SAFE_BITS: u16 = 48;

impl Generator<'_> {
    /// Where `len` bytes of memory at `offset` are, which has been made sure of: a base and a
    /// displacement. `None` if the interpreter has to do it.
    fn address(&mut self, inst: &Inst, offset: Val, len: u32) -> Option<(ir::Value, i32)> {
        if let Some(offset) = self.known(offset) {
            let end = u64::try_from(offset).ok()?.checked_add(len.into())?;
            if end > MAX_CONSTANT_END {
                return None;
            }
            if end > self.run.memory {
                let end = end.next_multiple_of(32);
                let end_value = self.e.iconst(types::I64, end);
                self.require(inst, end_value);
                self.run.memory = end;
            }
            let memory = self.load_field(at::MEMORY);
            return Some((memory, (end - u64::from(len)) as i32));
        }
        let based = self.state.at(offset).offset;
        let (base, disp) = based
            .filter(|(base, _)| {
                let base = self.state.at(*base);
                base.limbs[0].is_some() && base.bits <= SAFE_BITS
            })
            .unwrap_or((offset, 0));
        if self.state.at(base).bits > SAFE_BITS {
            self.check_offset(inst, base);
        }
        let index = self.limb(base, 0);
        let index = self.e.value(index);
        let end = u64::from(disp) + u64::from(len);
        let bytes = i32::try_from(end).ok()?;
        let known = self.run.extents.iter().rposition(|(of, _)| *of == base);
        if known.is_none_or(|known| self.run.extents[known].1 < end) {
            let end_value = self.e.offset(index, bytes.into());
            self.require(inst, end_value);
            match known {
                Some(known) => self.run.extents[known].1 = end,
                None => self.run.extents.push((base, end)),
            }
        }
        let memory = self.load_field(at::MEMORY);
        let address = self.e.add_values(memory, index);
        Some((address, disp as i32))
    }

    /// Leaves if the value is 2^32 or more, so that it is known to be less.
    pub(super) fn check_offset(&mut self, inst: &Inst, value: Val) {
        let word = self.word(value);
        let high = self.e.shr_imm(word.0[0], 32);
        let above = self.e.union(&word, 1);
        let above = self.e.or(high, above);
        let leave = self.leave(inst);
        match above {
            Limb::Const(0) => {}
            Limb::Const(_) => {
                let always = self.e.iconst(types::I8, 1);
                self.branch(always, leave);
            }
            Limb::Val(above) | Limb::Flag(above) => self.branch(above, leave),
        }
        self.state.at_mut(value).narrow(32);
    }

    /// Makes the memory `end` bytes long, or leaves.
    fn require(&mut self, inst: &Inst, end: ir::Value) {
        let leave = self.leave(inst);
        let done = self.e.func.dfg.make_block();
        let gas = self.gas;
        let grow = self.cold(|this| {
            let shimmed = this.e.new_block(true);
            let paid = this.e.new_block(true);
            // What the way ahead needs is not there for memory.
            let ahead = this.e.iconst(types::I64, GAS_AHEAD.into());
            let has = this.gas_now();
            let has = this.gas_and(has, 0);
            let lacks = this.e.icmp(IntCC::UnsignedLessThan, has, ahead);
            this.e.brif(lacks, leave, shimmed);

            this.e.block = shimmed;
            let rest = this.e.offset(has, -i64::from(GAS_AHEAD));
            this.store_field(at::GAS, rest);
            let frame = this.frame();
            let grown = this.call(this.shim, at::GROW, [frame, end]);
            let rest = this.load_field(at::GAS);
            let rest = this.e.offset(rest, GAS_AHEAD.into());
            match (gas, grown) {
                (None, Some(grown)) => {
                    this.store_field(at::GAS, rest);
                    this.e.brif(grown, paid, leave);
                }
                (Some(_), Some(grown)) => this.e.brif(grown, paid, leave),
                (_, None) => this.e.jump(leave, &[]),
            }
            this.e.block = paid;
            match gas {
                Some(gas) => {
                    // What was charged is taken off behind both ways.
                    let value = this.e.offset(rest, gas.charged);
                    this.e.jump(done, &[value]);
                }
                None => this.e.jump(done, &[]),
            }
        });
        let len = self.load_field(at::MEMORY_LEN);
        let short = self.e.icmp(IntCC::UnsignedLessThan, len, end);
        match gas {
            Some(gas) => {
                let value = self.e.func.dfg.append_block_param(done, types::I64);
                self.gas = Some(Gas { value, ..gas });
                self.e
                    .cursor()
                    .ins()
                    .brif(short, grow, &[], done, &[gas.value.into()]);
            }
            None => self.e.brif(short, grow, done),
        }
        self.place(done, false);
        // What looked at gas or memory before would see another value if it ran again.
        if self.run.observed {
            self.run.restartable = false;
        }
    }

    pub(super) fn mload(&mut self, inst: &Inst) -> bool {
        self.tidy();
        let Some(offset) = self.state.peek(0) else {
            return false;
        };
        let Some((base, disp)) = self.address(inst, offset, 32) else {
            self.leave_here(inst);
            return false;
        };
        self.state.pop();
        let word = self.load_bytes(base, disp);
        self.state.push_word(word, 256);
        true
    }

    fn load_bytes(&mut self, base: ir::Value, disp: i32) -> Word {
        Word(std::array::from_fn(|i| {
            let limb = self
                .e
                .load(types::I64, Region::Bytes, base, disp + 24 - 8 * i as i32);
            self.e.bswap(Limb::Val(limb))
        }))
    }

    pub(super) fn mstore(&mut self, inst: &Inst) -> bool {
        self.tidy();
        let (Some(offset), Some(val)) = (self.state.peek(0), self.state.peek(1)) else {
            return false;
        };
        // Loaded ahead of the comparison, where a leave may need it, too.
        let word = self.word(val);
        let Some((base, disp)) = self.address(inst, offset, 32) else {
            self.leave_here(inst);
            return false;
        };
        self.state.pop();
        self.state.pop();
        let mut zero = None;
        for half in 0..2 {
            let pair = [word.0[2 * half], word.0[2 * half + 1]];
            let disp = disp + 16 - 16 * half as i32;
            if pair == [Limb::ZERO; 2] {
                let zero = *zero.get_or_insert_with(|| self.e.zero_vector());
                self.e.store(Region::Bytes, zero, base, disp);
                continue;
            }
            for (i, limb) in pair.into_iter().enumerate() {
                let bytes = self.e.bswap(limb);
                let bytes = self.e.value(bytes);
                self.e
                    .store(Region::Bytes, bytes, base, disp + 8 - 8 * i as i32);
            }
        }
        self.run.restartable = false;
        true
    }

    pub(super) fn mstore8(&mut self, inst: &Inst) -> bool {
        self.tidy();
        let (Some(offset), Some(val)) = (self.state.peek(0), self.state.peek(1)) else {
            return false;
        };
        let low = self.limb(val, 0);
        let Some((base, disp)) = self.address(inst, offset, 1) else {
            self.leave_here(inst);
            return false;
        };
        self.state.pop();
        self.state.pop();
        let low = self.e.value(low);
        let flags = self.e.flags(Region::Bytes);
        self.e.cursor().ins().istore8(flags, low, base, disp);
        self.run.restartable = false;
        true
    }

    pub(super) fn calldataload(&mut self) {
        let offset = self.state.pop();
        let from = match self.known(offset) {
            Some(offset) => Limb::Const(u64::try_from(offset).unwrap_or(u64::MAX)),
            None => {
                let word = self.word(offset);
                let above = self.e.union(&word, 1);
                match self.e.is_nonzero(above) {
                    Limb::Const(0) => word.0[0],
                    // Any bit above: so far behind the end as can be.
                    Limb::Flag(above) => self.e.select(above, Limb::Const(u64::MAX), word.0[0]),
                    _ => Limb::Const(u64::MAX),
                }
            }
        };
        if let Limb::Const(from) = from
            && i32::try_from(from).is_err()
        {
            // Behind any call data's end.
            return self.state.push_constant(U256::ZERO);
        }
        let len = self.load_field(at::CALLDATA_LEN);
        let from_value = self.e.value(from);
        let data = self.load_field(at::CALLDATA);
        let address = self.e.add_values(data, from_value);
        let left = self.e.cursor().ins().isub(len, from_value);
        // Below the end, and 32 bytes are there: in two comparisons, as the difference wraps.
        let behind = self.e.icmp(IntCC::UnsignedLessThanOrEqual, len, from_value);
        let few = self.e.icmp_imm(IntCC::UnsignedLessThan, left, 32);
        let done = self.e.func.dfg.make_block();
        let limbs: [ir::Value; 4] =
            std::array::from_fn(|_| self.e.func.dfg.append_block_param(done, types::I64));
        let part = self.cold(|this| {
            let none = this.e.iconst(types::I64, 0);
            let left = this.e.select_values(behind, none, left);
            let none = this.load_field(at::CALLDATA);
            let address = this.e.select_values(behind, none, address);
            this.store_field(at::SCRATCH, address);
            this.store_field(at::SCRATCH + 8, left);
            let word = this
                .operate(Operator::Partial)
                .0
                .map(|limb| this.e.value(limb));
            this.e.jump(done, &word);
        });
        let slow = self.e.cursor().ins().bor(behind, few);
        self.branch(slow, part);
        let word = self.load_bytes(address, 0).0.map(|limb| self.e.value(limb));
        self.e.jump(done, &word);
        self.place(done, false);
        self.state.push_word(Word(limbs.map(Limb::Val)), 256);
    }
}
