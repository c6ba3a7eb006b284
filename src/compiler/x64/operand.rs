//! Words as operands of machine instructions.

use super::{
    asm::{Alu, Gpr, RDI, Rm, Ymm},
    emit::{Emitter, SCRATCH, ZERO, field},
    state::{Limbs, Source, Val},
};
use crate::frame::at;
use alloy_primitives::U256;

/// A limb as an operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limb {
    Constant(u64),
    In(Rm),
}

impl Emitter<'_> {
    /// The limb `i` of a value, as an operand. Uses `rax` if `rax` is to hold a large constant.
    pub(super) fn limb(&mut self, value: Val, i: usize) -> Limb {
        let at = self.state.at(value);
        if 64 * i >= usize::from(at.bits) {
            return Limb::Constant(0);
        }
        if let Some(constant) = at.constant {
            return Limb::Constant(constant.as_limbs()[i]);
        }
        if let Some(limbs) = at.limbs {
            return if i < limbs.count as usize {
                Limb::In(limbs.regs[i].into())
            } else {
                Limb::Constant(0)
            };
        }
        let mem = match (at.slot, at.frame, at.ymm) {
            (Some(slot), ..) => self.slot(slot),
            (None, Some(frame), _) => field(frame),
            (None, None, ymm) => {
                // V3; vectors were put into the scratch by `spread`.
                debug_assert!(ymm.is_none(), "a vector's limbs were not spread");
                field(at::SCRATCH)
            }
        };
        Limb::In(mem.plus(8 * i as i32).into())
    }

    /// Makes the limbs of a value that is in a vector register only addressable, in the frame's
    /// scratch number `n`.
    pub(super) fn spread(&mut self, value: Val, n: i32) {
        let at = self.state.at(value);
        if let Some(ymm) = at.ymm
            && at.limbs.is_none()
            && at.slot.is_none()
            && at.frame.is_none()
            && at.constant.is_none()
        {
            let scratch = at::SCRATCH + 32 * n;
            if at.bits <= 64 {
                let reg = self.state.take_gpr();
                self.asm.vmovq_to(reg, ymm);
                self.state.set_limbs(value, Limbs::one(reg));
            } else {
                self.asm.vstore(field(scratch), ymm);
                self.state.at_mut(value).frame = Some(scratch);
            }
        }
    }

    /// The scratch is about to hold something else.
    pub(super) fn unspread(&mut self, value: Val) {
        if self
            .state
            .at(value)
            .frame
            .is_some_and(|frame| (at::SCRATCH..at::SCRATCH + 96).contains(&frame))
        {
            self.state.at_mut(value).frame = None;
        }
    }

    /// Loads a limb. The flags stay.
    pub(super) fn load(&mut self, to: Gpr, limb: Limb) {
        match limb {
            Limb::Constant(value) => self.asm.mov_imm(to, value),
            Limb::In(Rm::Reg(reg)) => self.asm.mov(to, Gpr(reg)),
            Limb::In(Rm::Mem(mem)) => self.asm.mov_load(to, mem),
            Limb::In(Rm::Pool(_)) => unreachable!("limbs are not in the pool"),
        }
    }

    pub(super) fn load_limb(&mut self, to: Gpr, value: Val, i: usize) {
        let limb = self.limb(value, i);
        self.load(to, limb);
    }

    /// `to op= limb`, with `rdi` for large constants.
    pub(super) fn combine(&mut self, alu: Alu, to: Gpr, limb: Limb) {
        match limb {
            Limb::Constant(value) => match i32::try_from(value as i64) {
                Ok(value) => self.asm.alu_imm(alu, to, value),
                Err(_) => {
                    self.asm.mov_imm(RDI, value);
                    self.asm.alu(alu, to, RDI);
                }
            },
            Limb::In(rm) => self.asm.alu(alu, to, rm),
        }
    }

    /// A register with the only limb of a value of at most 64 bits.
    pub(super) fn narrow(&mut self, value: Val) -> Gpr {
        debug_assert!(self.state.at(value).bits <= 64);
        if let Some(limbs) = self.state.at(value).limbs {
            return limbs.regs[0];
        }
        let reg = self.state.take_gpr();
        let at = self.state.at(value);
        if let (Some(ymm), None, None) = (at.ymm, at.slot, at.constant) {
            self.asm.vmovq_to(reg, ymm);
        } else {
            let limb = self.limb(value, 0);
            self.load(reg, limb);
        }
        self.state.set_limbs(value, Limbs::one(reg));
        reg
    }

    /// A vector register with the value; `ymm0` if it is in none.
    pub(super) fn vector(&mut self, value: Val) -> Ymm {
        self.vector_in(value, SCRATCH)
    }

    /// The same with another register to load into.
    pub(super) fn vector_in(&mut self, value: Val, free: Ymm) -> Ymm {
        match self.state.source(value) {
            Source::Constant(constant) if constant.is_zero() => ZERO,
            Source::Constant(constant) => {
                let pooled = self.asm.constant(constant.to_le_bytes());
                self.asm.vload(free, pooled);
                free
            }
            Source::Vector(ymm) => ymm,
            Source::Limbs(limbs) if limbs.count == 1 => {
                self.asm.vmovq_from(free, limbs.regs[0]);
                free
            }
            from @ Source::Limbs(_) => {
                self.store(field(at::SCRATCH), from);
                self.asm.vload(free, field(at::SCRATCH));
                free
            }
            Source::Frame(offset) => {
                self.asm.vload(free, field(offset));
                free
            }
            Source::Slot(slot) => {
                self.asm.vload(free, self.slot(slot));
                free
            }
            Source::Flags(_) => unreachable!("flags were saved"),
        }
    }

    /// The value as the second operand of a vector instruction.
    pub(super) fn vector_rm(&mut self, value: Val, free: Ymm) -> Rm {
        match self.state.source(value) {
            Source::Constant(constant) if !constant.is_zero() => {
                self.asm.constant(constant.to_le_bytes())
            }
            Source::Slot(slot) => self.slot(slot).into(),
            Source::Frame(offset) => field(offset).into(),
            _ => self.vector_in(value, free).into(),
        }
    }

    /// The constant that a value is.
    pub(super) fn known(&self, value: Val) -> Option<U256> {
        self.state.at(value).constant
    }

    pub(super) fn push_constant(&mut self, constant: U256) {
        let value = self.state.constant(constant);
        self.state.push(value);
    }
}
