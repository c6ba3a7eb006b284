//! Memory and call data.
//!
//! An access is preceded by a comparison of its end with the memory's length, unless an earlier one in
//! the run has made sure of it. Where the memory is too short it grows, in the cold section, but where
//! that is what nearly always happens; where it cannot, or an offset is 2^32 or more, the interpreter
//! does the instruction.

use super::{
    asm::{Alu, Cond, Gpr, Mem, Place, R13, RAX, RDI, Section},
    emit::{Emitter, OFFSET_MASK, SCRATCH, SWAP, ZERO, field, routine},
    operand::Limb,
    run::Open,
    state::Val,
    words::limbs_of,
};
use crate::{
    compiler::{
        decode::Inst,
        fault::{Fault, either, planted},
    },
    frame::at,
};
use alloy_primitives::U256;

/// Constant offsets beyond are left to the interpreter: they would not fit a displacement.
const MAX_CONSTANT_END: u64 = 1 << 30;

/// Comparisons that a run keeps in mind: what is older is made again.
const MAX_EXTENTS: usize = 8;

/// Bits of an offset that cannot overflow an address computation.
pub(super) const SAFE_BITS: u16 = 48;

impl Emitter<'_> {
    /// Where `len` bytes of memory at `offset` are, which has been made sure of. `None` if the
    /// interpreter has to do it.
    fn address(&mut self, inst: &Inst, offset: Val, len: u32) -> Option<Mem> {
        if let Some(offset) = self.known(offset) {
            let end = u64::try_from(offset).ok()?.checked_add(len.into())?;
            if end > MAX_CONSTANT_END {
                return None;
            }
            let end_before = end - u64::from(planted(Fault::ConstantEndIsShort));
            if end_before > self.run.memory {
                if !self.widen(None, end) {
                    let compared = self.asm.cmp_wide(field(at::MEMORY_LEN), end as i32);
                    let grown = self.grow(inst, Cond::Below, Some(end));
                    self.open(None, [Some(compared), grown]);
                }
                self.run.memory = end.next_multiple_of(32);
            }
            return Some(Mem::at(R13, (end - u64::from(len)) as i32));
        }
        let based = self.state.at(offset).offset;
        let (base, disp) = based
            .filter(|(base, _)| {
                let base = self.state.at(*base);
                base.limbs.is_some() && base.bits <= SAFE_BITS
            })
            .unwrap_or((offset, 0));
        if self.state.at(base).bits > SAFE_BITS {
            self.check_offset(inst, base);
        }
        let index = self.narrow(base);
        let end = u64::from(disp) + u64::from(len);
        let known = self.run.extents.iter().rposition(|(of, _)| *of == base);
        let slack = 32 * u64::from(planted(Fault::ExtentIsShort));
        if known.is_none_or(|known| self.run.extents[known].1 + slack < end) {
            let bytes = i32::try_from(end).ok()?;
            if known.is_none() || !self.widen(Some(base), end) {
                let computed = self.asm.lea_wide(RDI, index, bytes);
                self.asm.alu(Alu::Cmp, RDI, field(at::MEMORY_LEN));
                self.grow(inst, Cond::Above, None);
                self.open(Some(base), [Some(computed), None]);
            }
            match known {
                Some(known) => self.run.extents[known].1 = end,
                None => {
                    if self.run.extents.len() == MAX_EXTENTS {
                        self.run.extents.remove(0);
                    }
                    self.run.extents.push((base, end));
                }
            }
        }
        Some(Mem {
            base: R13,
            index: Some(index),
            disp: disp as i32,
        })
    }

    /// Lets the last comparison cover `end` above `base`, if it still can.
    fn widen(&mut self, base: Option<Val>, end: u64) -> bool {
        let Some(open) = self.run.open.filter(|open| open.base == base) else {
            return false;
        };
        let places = open.places.into_iter().flatten();
        for place in places.filter(|_| !planted(Fault::WidenedWithoutEffect)) {
            self.asm.patch(place, end as u32);
        }
        true
    }

    fn open(&mut self, base: Option<Val>, places: [Option<Place>; 2]) {
        self.run.open = Some(Open { base, places });
    }

    /// Leaves if the value is 2^32 or more, so that it is known to be less.
    pub(super) fn check_offset(&mut self, inst: &Inst, value: Val) {
        let leave = self.leave(inst);
        if let Some(limbs) = self.state.at(value).limbs {
            self.asm.mov(RDI, limbs.regs[0]);
            self.asm.shift_imm(5, RDI, 32);
            let count = limbs_of(self.state.at(value).bits).min(limbs.count.into());
            for reg in &limbs.regs[1..count.max(1)] {
                if planted(Fault::OffsetOfOneLimb) {
                    continue;
                }
                self.asm.alu(Alu::Or, RDI, *reg);
            }
        } else {
            let ymm = self.vector(value);
            self.asm.vptest(ymm, OFFSET_MASK);
        }
        self.asm.jcc(Cond::NotEqual, leave);
        self.state.at_mut(value).bits = 32;
    }

    /// Grows the memory if `cond` holds, to `end` or to what is in `rdi`.
    /// Gives the place of `end`.
    fn grow(&mut self, inst: &Inst, cond: Cond, end: Option<u64>) -> Option<Place> {
        let leave = self.leave(inst);
        // A frame begins without memory.
        let begins = self.run.pc == 0 && self.run.memory == 0 && self.run.extents.is_empty();
        let rare = !begins;
        let (cold, back) = (self.asm.label(), self.asm.label());
        let hot = self.asm.section;
        if rare {
            self.asm.jcc(cond, cold);
            self.asm.bind(back);
            self.asm.section(Section::Cold);
            self.asm.bind(cold);
        } else {
            self.asm.jcc(cond.not(), back);
        }
        let place = end.map(|end| {
            self.asm.mov_imm(RDI, end);
            self.asm.place()
        });
        let stale = field(at::SCRATCH);
        if planted(Fault::GrowthKeepsBase) {
            self.asm.mov_store(stale, R13);
        }
        let bare = self.state.has_no_vectors() || planted(Fault::GrowthLosesVectors);
        self.asm.call_mem(if bare {
            routine!(grow_bare)
        } else {
            routine!(grow)
        });
        if planted(Fault::GrowthKeepsBase) {
            self.asm.mov_load(R13, stale);
        }
        self.asm.jcc(Cond::Equal, leave);
        if rare {
            self.asm.jmp(back);
            self.asm.section(hot);
        } else {
            self.asm.bind(back);
        }
        // What looked at gas or memory before would see another value if it ran again.
        if self.run.observed && !planted(Fault::GrowthIsForgotten) {
            self.run.restartable = false;
        }
        place
    }

    pub(super) fn mload(&mut self, inst: &Inst) -> bool {
        self.tidy();
        self.prepare(1, 3, 1);
        let offset = self.state.stack[self.state.stack.len() - 1];
        let Some(from) = self.address(inst, offset, 32) else {
            self.leave_here(inst);
            return false;
        };
        let offset = self.state.pop();
        let to = self.state.take_vector();
        let halves = either(Fault::LoadKeepsHalves, 0xe4, 0x4e);
        self.asm.vpermq(to, from, halves);
        self.asm.vpshufb(to, to, SWAP);
        let word = self.state.value(256);
        self.state.set_ymm(word, to);
        self.state.push(word);
        self.done(&[offset]);
        true
    }

    pub(super) fn mstore(&mut self, inst: &Inst) -> bool {
        self.tidy();
        self.prepare(2, 4, 1);
        let offset = self.state.stack[self.state.stack.len() - 1];
        let Some(to) = self.address(inst, offset, 32) else {
            self.leave_here(inst);
            return false;
        };
        let (offset, value) = (self.state.pop(), self.state.pop());
        if let Some(constant) = self.known(value) {
            self.store_constant(to, constant);
        } else if let Some(limbs) = self.state.at(value).limbs {
            if limbs.count < 4 && !planted(Fault::StoreOfLimbsKeepsOld) {
                self.asm.vstore(to, ZERO);
            }
            for (i, reg) in limbs.used().iter().enumerate() {
                self.asm.movbe_store(to.plus(24 - 8 * i as i32), *reg);
            }
        } else {
            let word = self.vector_rm(value, SCRATCH);
            self.asm.vpermq(SCRATCH, word, 0x4e);
            self.asm.vpshufb(SCRATCH, SCRATCH, SWAP);
            self.asm.vstore(to, SCRATCH);
        }
        self.done(&[offset, value]);
        self.run.restartable &= planted(Fault::StoreCanBeRepeated);
        true
    }

    fn store_constant(&mut self, to: Mem, constant: U256) {
        if constant.bit_len() > 32 {
            let pooled = self.asm.constant(constant.to_be_bytes());
            self.asm.vload(SCRATCH, pooled);
            self.asm.vstore(to, SCRATCH);
            return;
        }
        if !planted(Fault::StoreOfConstantKeepsOld) {
            self.asm.vstore(to, ZERO);
        }
        if !constant.is_zero() {
            let low = constant.as_limbs()[0] as u32;
            self.asm.mov32_store_imm(to.plus(28), low.swap_bytes());
        }
    }

    pub(super) fn mstore8(&mut self, inst: &Inst) -> bool {
        self.tidy();
        self.prepare(2, 4, 0);
        let offset = self.state.stack[self.state.stack.len() - 1];
        let Some(to) = self.address(inst, offset, 1) else {
            self.leave_here(inst);
            return false;
        };
        let (offset, value) = (self.state.pop(), self.state.pop());
        if let Some(constant) = self.known(value) {
            let byte = usize::from(planted(Fault::ByteOfConstantIsAnother));
            self.asm.mov8_store_imm(to, constant.byte(byte));
        } else {
            let byte = self.low_limb(value);
            self.asm.mov8_store(to, byte);
        }
        self.done(&[offset, value]);
        self.run.restartable = false;
        true
    }

    /// A register with the lowest limb: `rax` if it is in none.
    fn low_limb(&mut self, value: Val) -> Gpr {
        let at = self.state.at(value);
        if let Some(limbs) = at.limbs {
            return limbs.regs[0];
        }
        match at.ymm {
            Some(ymm) => self.asm.vmovq_to(RAX, ymm),
            None => {
                let limb = self.limb(value, 0);
                self.load(RAX, limb);
            }
        }
        RAX
    }

    pub(super) fn calldataload(&mut self) {
        self.prepare(1, 1, 1);
        let offset = self.state.pop();
        self.spread(offset, 0);
        let limb = self.limb(offset, 0);
        self.load(RDI, limb);
        let count = limbs_of(self.state.at(offset).bits);
        if let Some(constant) = self.known(offset) {
            self.asm
                .mov_imm(RDI, u64::try_from(constant).unwrap_or(u64::MAX));
        } else if count > 1 && !planted(Fault::CalldataOffsetOfOneLimb) {
            // Any bit above: so far behind the end as can be.
            let limb = self.limb(offset, 1);
            self.load(RAX, limb);
            for i in 2..count {
                let limb = self.limb(offset, i);
                if let Limb::In(rm) = limb {
                    self.asm.alu(Alu::Or, RAX, rm);
                }
            }
            self.asm.unary(3, RAX);
            self.asm.alu(Alu::Sbb, RAX, RAX);
            self.asm.alu(Alu::Or, RDI, RAX);
        }
        self.asm.call_mem(routine!(calldataload));
        self.done(&[offset]);
        self.push_scratch(256);
    }
}
