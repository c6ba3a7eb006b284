//! Logic and shifts.

use super::{
    asm::{Alu, RDI},
    emit::{Emitter, SCRATCH},
    operand::Limb,
    state::Val,
    words::limbs_of,
};
use crate::{
    compiler::fault::{Fault, either, planted},
    frame::arithmetic::{Operator, evaluate},
};
use alloy_primitives::U256;

impl Emitter<'_> {
    /// Whether a value is better worked on in general-purpose registers.
    pub(super) fn in_limbs(&self, value: Val) -> bool {
        self.state
            .at(value)
            .limbs
            .is_some_and(|limbs| limbs.count > 1)
    }

    pub(super) fn and(&mut self) {
        if self.fold(|a, b| a & b) {
            return;
        }
        let (a, b) = self.state.top_two();
        for (mask, value) in [(a, b), (b, a)] {
            // A mask that lets the value through.
            if let Some(mask) = self.known(mask)
                && (mask.wrapping_add(U256::ONE) & mask).is_zero()
                && self.state.at(value).bits as usize
                    <= mask.bit_len() + 8 * usize::from(planted(Fault::MaskLetsMoreThrough))
            {
                return self.replace_two(|emitter| emitter.state.push(value));
            }
        }
        let bits = self.state.at(a).bits.min(self.state.at(b).bits);
        let bits = either(Fault::ConjunctionIsNarrow, bits.min(64), bits);
        if bits == 0 {
            return self.replace_two(|emitter| emitter.push_constant(U256::ZERO));
        }
        self.prepare(2, 6, 1);
        if bits <= 64 || self.in_limbs(a) || self.in_limbs(b) {
            return self.limbwise(Alu::And, bits);
        }
        self.vectorwise(bits, |emitter, to, left, right| {
            emitter.asm.vpand(to, left, right);
        });
    }

    pub(super) fn or_xor(&mut self, or: bool) {
        if self.fold(|a, b| if or { a | b } else { a ^ b }) {
            return;
        }
        let (a, b) = self.state.top_two();
        for (zero, value) in [(a, b), (b, a)] {
            if self.known(zero) == Some(U256::ZERO) {
                return self.replace_two(|emitter| emitter.state.push(value));
            }
        }
        let bits = self.state.at(a).bits.max(self.state.at(b).bits);
        self.prepare(2, 6, 1);
        if bits <= 64 || self.in_limbs(a) || self.in_limbs(b) {
            let or = or != planted(Fault::OrIsXor);
            return self.limbwise(if or { Alu::Or } else { Alu::Xor }, bits);
        }
        self.vectorwise(bits, |emitter, to, left, right| {
            if or != planted(Fault::OrIsXor) {
                emitter.asm.vpor(to, left, right);
            } else {
                emitter.asm.vpxor(to, left, right);
            }
        });
    }

    fn limbwise(&mut self, alu: Alu, bits: u16) {
        let (a, b) = (self.state.pop(), self.state.pop());
        self.spread(a, 0);
        self.spread(b, 1);
        let (a, b) = self.constant_second(a, b);
        let count = limbs_of(bits).max(1);
        let limbs = self.in_order(0..count, |emitter, i, reg| {
            emitter.load_limb(reg, a, i);
            match (alu, emitter.limb(b, i)) {
                (Alu::And, Limb::Constant(u64::MAX)) => {}
                (Alu::Or | Alu::Xor, Limb::Constant(0)) => {}
                // The upper half goes away.
                (Alu::And, Limb::Constant(0xffff_ffff)) => emitter.asm.mov32(reg, reg),
                (_, limb) => emitter.combine(alu, reg, limb),
            }
        });
        self.push_limbs(bits, limbs, &[a, b]);
    }

    fn vectorwise(
        &mut self,
        bits: u16,
        f: impl FnOnce(&mut Self, super::asm::Ymm, super::asm::Ymm, super::asm::Rm),
    ) {
        let (a, b) = (self.state.pop(), self.state.pop());
        let (a, b) = self.constant_second(a, b);
        let to = self.state.take_vector();
        let left = self.vector_in(a, to);
        let right = self.vector_rm(b, SCRATCH);
        f(self, to, left, right);
        let result = self.state.value(bits);
        self.state.set_ymm(result, to);
        self.state.push(result);
        self.done(&[a, b]);
    }

    pub(super) fn not(&mut self) {
        let Some(&top) = self.state.stack.last() else {
            return;
        };
        if let Some(value) = self.known(top) {
            let top = self.state.pop();
            self.state.unpin(top);
            return self.push_constant(!value);
        }
        // Before the mask is on the virtual stack: what is written back has no room for another word.
        let limbs = self.in_limbs(top);
        self.prepare(1, if limbs { 6 } else { 1 }, 1);
        self.push_constant(U256::MAX);
        if limbs {
            return self.limbwise(Alu::Xor, 256);
        }
        self.vectorwise(256, |emitter, to, left, right| {
            emitter.asm.vpxor(to, left, right)
        });
    }

    pub(super) fn byte(&mut self) {
        if self.fold(|at, a| evaluate(Operator::Byte, &[at, a])) {
            return;
        }
        let (at, value) = self.state.top_two();
        let Some(at) = self.known(at) else {
            return self.helper(Operator::Byte, 2, 8);
        };
        let Some(at) = u16::try_from(at).ok().filter(|at| *at < 32) else {
            return self.replace_two(|emitter| emitter.push_constant(U256::ZERO));
        };
        self.replace_two(|emitter| {
            emitter.state.push(value);
            let at = either(Fault::BytesFromTheOtherEnd, 31 - at, at);
            emitter.push_constant(U256::from(8 * (31 - at)));
            emitter.shr();
            emitter.push_constant(U256::from(0xff));
            emitter.and();
        });
    }

    /// The constant shift of the instruction at hand, if it is one: 256 stands for all beyond.
    fn amount(&self) -> Option<u16> {
        let by = self.known(*self.state.stack.last()?)?;
        Some(u16::try_from(by).unwrap_or(256).min(256))
    }

    pub(super) fn shl(&mut self) {
        if self.fold(|by, a| evaluate(Operator::Shl, &[by, a])) {
            return;
        }
        let Some(by) = self.amount() else {
            return self.helper(Operator::Shl, 2, 256);
        };
        let (_, value) = self.state.top_two();
        if by == 0 {
            return self.replace_two(|emitter| emitter.state.push(value));
        }
        if by == 256 {
            let all = U256::from(u8::from(planted(Fault::ShiftOfAllLeavesOne)));
            return self.replace_two(|emitter| emitter.push_constant(all));
        }
        let bits = (self.state.at(value).bits + by).min(256);
        self.prepare(2, 6, 0);
        let amount = self.state.pop();
        let value = self.state.pop();
        self.spread(value, 0);
        let (whole, part) = (usize::from(by / 64), (by % 64) as u8);
        let count = limbs_of(bits);
        let limbs = self.in_order((0..count).rev(), |emitter, i, reg| {
            if i < whole {
                return emitter.asm.alu32(Alu::Xor, reg, reg);
            }
            emitter.load_limb(reg, value, i - whole);
            if part == 0 {
                return;
            }
            if i == whole || planted(Fault::LeftShiftLosesBits) {
                emitter.asm.shift_imm(4, reg, part);
            } else {
                let below = emitter.limb(value, i - whole - 1);
                let below = emitter.in_register(below);
                emitter.asm.shld(reg, below, part);
            }
        });
        self.push_limbs(bits, limbs, &[amount, value]);
    }

    /// A limb in a register: `rdi` if it is in none.
    fn in_register(&mut self, limb: Limb) -> super::asm::Gpr {
        match limb {
            Limb::In(super::asm::Rm::Reg(reg)) => super::asm::Gpr(reg),
            limb => {
                self.load(RDI, limb);
                RDI
            }
        }
    }

    pub(super) fn shr(&mut self) {
        if self.fold(|by, a| evaluate(Operator::Shr, &[by, a])) {
            return;
        }
        let Some(by) = self.amount() else {
            let (_, value) = self.state.top_two();
            let bits = self.state.at(value).bits;
            return self.helper(Operator::Shr, 2, bits);
        };
        let (_, value) = self.state.top_two();
        if by == 0 {
            return self.replace_two(|emitter| emitter.state.push(value));
        }
        let bits = self.state.at(value).bits.saturating_sub(by);
        if bits == 0 {
            return self.replace_two(|emitter| emitter.push_constant(U256::ZERO));
        }
        self.prepare(2, 6, 0);
        let amount = self.state.pop();
        let value = self.state.pop();
        self.spread(value, 0);
        let (whole, part) = (usize::from(by / 64), (by % 64) as u8);
        let count = limbs_of(bits);
        let limbs = self.in_order(0..count, |emitter, i, reg| {
            emitter.load_limb(reg, value, i + whole);
            if part == 0 {
                return;
            }
            let above = if i + whole + 1 < 4 {
                emitter.limb(value, i + whole + 1)
            } else {
                Limb::Constant(0)
            };
            if above == Limb::Constant(0) || planted(Fault::RightShiftLosesBits) {
                emitter.asm.shift_imm(5, reg, part);
            } else {
                let above = emitter.in_register(above);
                emitter.asm.shrd(reg, above, part);
            }
        });
        self.push_limbs(bits, limbs, &[amount, value]);
    }

    pub(super) fn sar(&mut self) {
        let (_, value) = self.state.top_two();
        if self.state.at(value).bits < 256 || planted(Fault::ArithmeticShiftIsLogical) {
            self.shr();
        } else {
            self.helper(Operator::Sar, 2, 256);
        }
    }
}
