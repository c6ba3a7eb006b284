//! Addition, multiplication, division and comparison.

use super::{
    asm::{Alu, Cond, Gpr, RAX, RDI, RDX},
    emit::{Emitter, SCRATCH, field, routine},
    operand::Limb,
    state::{Limbs, Val},
};
use crate::{
    compiler::fault::{Fault, either, planted},
    frame::{
        arithmetic::{Operator, evaluate},
        at,
    },
};
use alloy_primitives::U256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    Greater,
}

/// Limbs that hold so many bits.
pub(super) fn limbs_of(bits: u16) -> usize {
    usize::from(bits).div_ceil(64)
}

impl Emitter<'_> {
    /// The operands of an instruction that takes two, if both are constants: taken.
    fn constants(&mut self) -> Option<[U256; 2]> {
        let (a, b) = self.state.top_two();
        let operands = [self.known(a)?, self.known(b)?];
        for _ in 0..2 {
            let value = self.state.pop();
            self.state.unpin(value);
        }
        Some(operands)
    }

    /// Folds an instruction of two operands.
    pub(super) fn fold(&mut self, f: impl FnOnce(U256, U256) -> U256) -> bool {
        let Some([a, b]) = self.constants() else {
            return false;
        };
        let folded = f(a, b);
        self.push_constant(folded.wrapping_add(U256::from(u8::from(planted(Fault::FoldedIsMore)))));
        true
    }

    /// The two operands, whose limbs can be addressed.
    fn two(&mut self) -> (Val, Val) {
        let (a, b) = (self.state.pop(), self.state.pop());
        self.spread(a, 0);
        self.spread(b, 1);
        (a, b)
    }

    /// Both, the second one a constant if any is.
    pub(super) fn constant_second(&self, a: Val, b: Val) -> (Val, Val) {
        if self.known(a).is_some() {
            (b, a)
        } else {
            (a, b)
        }
    }

    /// Limbs in registers of their own, which `f` fills in this order.
    pub(super) fn in_order(
        &mut self,
        order: impl ExactSizeIterator<Item = usize>,
        mut f: impl FnMut(&mut Self, usize, Gpr),
    ) -> Limbs {
        let (count, mut regs) = (order.len() as u8, [RAX; 4]);
        for i in order {
            regs[i] = self.state.take_gpr();
            f(self, i, regs[i]);
        }
        Limbs { count, regs }
    }

    /// Pushes the result of an instruction.
    pub(super) fn push_limbs(&mut self, bits: u16, limbs: Limbs, operands: &[Val]) {
        let result = self.state.in_limbs(bits, limbs);
        self.state.push(result);
        self.done(operands);
    }

    pub(super) fn done(&mut self, operands: &[Val]) {
        for &value in operands {
            self.unspread(value);
            self.state.unpin(value);
        }
    }

    pub(super) fn add(&mut self) {
        if self.fold(|a, b| a.wrapping_add(b)) {
            return;
        }
        self.prepare(2, 6, 0);
        let (a, b) = self.two();
        let (a, b) = self.constant_second(a, b);
        if self.known(b) == Some(U256::ZERO) {
            self.state.push(a);
            return self.done(&[a, b]);
        }
        let carry = u16::from(!planted(Fault::SumIgnoresCarry));
        let bits = (self.state.at(a).bits.max(self.state.at(b).bits) + carry).min(256);
        let count = limbs_of(bits);
        let limbs = self.in_order(0..count, |emitter, i, reg| {
            emitter.load_limb(reg, a, i);
            let limb = emitter.limb(b, i);
            let first = i == 0 || planted(Fault::SumLosesCarry);
            emitter.combine(if first { Alu::Add } else { Alu::Adc }, reg, limb);
        });
        let sum = self.state.in_limbs(bits, limbs);
        if count == 1
            && let Some(by) = self.known(b)
            && let Ok(by) = u32::try_from(by)
            && by <= i32::MAX as u32
        {
            let (base, before) = self.state.at(a).offset.unwrap_or((a, 0));
            if let Some(by) = before.checked_add(by).filter(|by| *by <= i32::MAX as u32) {
                self.state.at_mut(sum).offset = Some((base, by));
            }
        }
        self.state.push(sum);
        self.done(&[a, b]);
    }

    pub(super) fn sub(&mut self) {
        if self.fold(|a, b| a.wrapping_sub(b)) {
            return;
        }
        self.prepare(2, 6, 0);
        let (a, b) = self.two();
        if self.known(b) == Some(U256::ZERO) {
            self.state.push(a);
            return self.done(&[a, b]);
        }
        let count = limbs_of(self.state.at(a).bits.max(self.state.at(b).bits)).max(1);
        let Limbs { mut regs, .. } = self.in_order(0..count, |emitter, i, reg| {
            emitter.load_limb(reg, a, i);
            let limb = emitter.limb(b, i);
            let first = i == 0 || planted(Fault::DifferenceLosesBorrow);
            emitter.combine(if first { Alu::Sub } else { Alu::Sbb }, reg, limb);
        });
        if count < 4 {
            // All limbs above are the borrow's.
            let borrow = self.state.take_gpr();
            self.asm.alu(Alu::Sbb, borrow, borrow);
            if planted(Fault::DifferenceIsNeverNegative) {
                self.asm.alu32(Alu::Xor, borrow, borrow);
            }
            regs[count..].fill(borrow);
        }
        self.push_limbs(256, Limbs { count: 4, regs }, &[a, b]);
    }

    /// Frees this register, whatever is in it; it is taken then.
    fn claim(&mut self, reg: Gpr) {
        if !self.state.try_take(reg) {
            let to = self.state.take_gpr();
            self.asm.mov(to, reg);
            self.state.rename_gpr(reg, to);
            let taken = self.state.try_take(reg);
            debug_assert!(taken);
        }
    }

    pub(super) fn mul(&mut self) {
        if self.fold(|a, b| a.wrapping_mul(b)) {
            return;
        }
        let (a, b) = self.state.top_two();
        for (constant, other) in [(a, b), (b, a)] {
            if let Some(value) = self.known(constant)
                && value.count_ones() == 1
            {
                let by = value.trailing_zeros() + usize::from(planted(Fault::ProductByPower));
                return self.replace_two(|emitter| {
                    emitter.state.push(other);
                    emitter.push_constant(U256::from(by));
                    emitter.shl();
                });
            }
        }
        let bits = self.state.at(a).bits + self.state.at(b).bits;
        if self.state.at(a).bits > 64 || self.state.at(b).bits > 64 {
            return self.helper(Operator::Mul, 2, bits.min(256));
        }
        self.prepare(2, 5, 0);
        let (a, b) = self.two();
        let product = if bits <= 64 || planted(Fault::ProductIsNarrow) {
            let to = self.state.take_gpr();
            self.load_limb(to, a, 0);
            let by = self.narrow(b);
            self.asm.imul(to, by);
            Limbs::one(to)
        } else {
            self.claim(RDX);
            let by = self.narrow(b);
            self.load_limb(RAX, a, 0);
            self.asm.unary(4, by);
            let low = self.state.take_gpr();
            self.asm.mov(low, RAX);
            let regs = [low, RDX, RDX, RDX];
            Limbs { count: 2, regs }
        };
        self.push_limbs(bits, product, &[a, b]);
    }

    /// Does something else with the two operands.
    pub(super) fn replace_two(&mut self, f: impl FnOnce(&mut Self)) {
        let (a, b) = (self.state.pop(), self.state.pop());
        f(self);
        self.done(&[a, b]);
    }

    pub(super) fn div(&mut self) {
        if self.fold(|a, b| a.checked_div(b).unwrap_or_default()) {
            return;
        }
        let (dividend, divisor) = self.state.top_two();
        if let Some(value) = self.known(divisor) {
            if value.is_zero() {
                return self.replace_two(|emitter| emitter.push_constant(U256::ZERO));
            }
            if value.count_ones() == 1 {
                let by = value.trailing_zeros() + usize::from(planted(Fault::QuotientByPower));
                return self.replace_two(|emitter| {
                    emitter.state.push(dividend);
                    emitter.push_constant(U256::from(by));
                    emitter.shr();
                });
            }
        }
        self.divide(Operator::Div);
    }

    pub(super) fn rem(&mut self) {
        if self.fold(|a, b| a.checked_rem(b).unwrap_or_default()) {
            return;
        }
        let (dividend, divisor) = self.state.top_two();
        if let Some(value) = self.known(divisor) {
            if value.is_zero() {
                return self.replace_two(|emitter| emitter.push_constant(U256::ZERO));
            }
            if value.count_ones() == 1 {
                return self.replace_two(|emitter| {
                    let less = U256::from(u8::from(!planted(Fault::RemainderByPower)));
                    emitter.push_constant(value - less);
                    emitter.state.push(dividend);
                    emitter.and();
                });
            }
        }
        self.divide(Operator::Mod);
    }

    /// DIV and MOD by anything.
    fn divide(&mut self, operator: Operator) {
        let (dividend, divisor) = self.state.top_two();
        let (by, of) = (self.state.at(divisor).bits, self.state.at(dividend).bits);
        let bits = if operator == Operator::Div {
            of
        } else {
            of.min(by)
        };
        if by > 64 || of > 64 {
            return self.helper(operator, 2, bits);
        }
        self.prepare(2, 5, 0);
        let (a, b) = self.two();
        self.claim(RDX);
        let by = self.narrow(b);
        self.load_limb(RAX, a, 0);
        self.asm.alu32(Alu::Xor, RDX, RDX);
        let end = self.asm.label();
        if self.known(b).is_none() {
            // Nothing is divided by zero: quotient and remainder are zero then.
            let zero = self.stub_of(|emitter| {
                if !planted(Fault::DivisionByZeroIsTheDividend) {
                    emitter.asm.alu32(Alu::Xor, RAX, RAX);
                }
                emitter.asm.jmp(end);
            });
            self.asm.test(by, by);
            self.asm.jcc(Cond::Equal, zero);
        }
        self.asm.unary(6, by);
        self.asm.bind(end);
        let result = if operator == Operator::Div {
            let to = self.state.take_gpr();
            self.asm.mov(to, RAX);
            self.state.give(RDX);
            to
        } else {
            RDX
        };
        self.push_limbs(bits, Limbs::one(result), &[a, b]);
    }

    pub(super) fn signextend(&mut self) {
        if self.fold(|a, b| evaluate(Operator::Signextend, &[a, b])) {
            return;
        }
        let (at, value) = self.state.top_two();
        if let Some(at) = self.known(at) {
            // Nothing to extend: all bytes are kept, or the sign is known to be clear.
            let clear = u16::try_from(at)
                .ok()
                .and_then(|at| at.checked_mul(8))
                .map(|at| at + 7 + u16::from(planted(Fault::SignBitIsAnother)));
            if at >= U256::from(31) || clear.is_some_and(|at| self.state.at(value).bits <= at) {
                return self.replace_two(|emitter| emitter.state.push(value));
            }
        }
        self.helper(Operator::Signextend, 2, 256);
    }

    /// An operation by a routine.
    pub(super) fn helper(&mut self, operator: Operator, operands: usize, bits: u16) {
        let top = self.state.stack.len() - operands;
        let known: Vec<U256> = self.state.stack[top..]
            .iter()
            .rev()
            .filter_map(|value| self.known(*value))
            .collect();
        if known.len() == operands {
            for _ in 0..operands {
                let value = self.state.pop();
                self.state.unpin(value);
            }
            return self.push_constant(evaluate(operator, &known));
        }
        self.prepare(operands, 1, 1);
        let taken: Vec<Val> = (0..operands).map(|_| self.state.pop()).collect();
        for (i, &value) in taken.iter().enumerate() {
            let from = self.state.source(value);
            let i = either(Fault::OperandsInTheOtherOrder, operands - 1 - i, i);
            self.store(field(at::SCRATCH + 32 * i as i32), from);
        }
        let routine = match operator {
            Operator::Mul => routine!(mul),
            Operator::Div => routine!(div),
            Operator::Mod => routine!(rem),
            Operator::Sdiv => routine!(sdiv),
            Operator::Smod => routine!(smod),
            _ => {
                self.asm.mov_imm(RDI, operator as u64);
                routine!(arithmetic)
            }
        };
        self.asm.call_mem(routine);
        self.done(&taken);
        self.push_scratch(bits);
    }

    /// What is in `ymm0` becomes a word.
    pub(super) fn push_scratch(&mut self, bits: u16) {
        let ymm = self.state.take_vector();
        self.asm.vmov(ymm, SCRATCH);
        let value = self.state.value(bits);
        self.state.set_ymm(value, ymm);
        self.state.push(value);
    }

    /// A comparison that is in the flags.
    fn push_flags(&mut self, cond: Cond) {
        let value = self.state.value(1);
        self.state.set_flags(value, cond);
        self.state.push(value);
    }

    pub(super) fn compare(&mut self, relation: Relation, signed: bool) {
        let less = |a: U256, b: U256| {
            let flip = |x: U256| if signed { x ^ (U256::ONE << 255) } else { x };
            U256::from(flip(a) < flip(b))
        };
        if self.fold(|a, b| match relation {
            Relation::Less => less(a, b),
            Relation::Greater => less(b, a),
        }) {
            return;
        }
        self.prepare(2, 4, 0);
        let (first, second) = self.two();
        let (a, b) = match relation {
            Relation::Less => (first, second),
            Relation::Greater => (second, first),
        };
        let bits = self.state.at(a).bits.max(self.state.at(b).bits);
        // Without the sign bit both orders are one.
        let signed = signed && bits == 256 && !planted(Fault::ComparisonIsUnsigned);
        let count = if signed { 4 } else { limbs_of(bits).max(1) };
        let count = either(Fault::ComparisonOfOneLimb, 1, count);
        for i in 0..count {
            let alu = if i == 0 { Alu::Cmp } else { Alu::Sbb };
            let left = self.limb(a, i);
            let right = self.limb(b, i);
            match left {
                Limb::In(super::asm::Rm::Reg(reg)) if i == 0 => {
                    self.combine(alu, Gpr(reg), right);
                }
                _ => {
                    self.load(RAX, left);
                    self.combine(alu, RAX, right);
                }
            }
        }
        self.done(&[first, second]);
        self.push_flags(if signed { Cond::Less } else { Cond::Below });
    }

    pub(super) fn equal(&mut self) {
        if self.fold(|a, b| U256::from(a == b)) {
            return;
        }
        let (a, b) = self.state.top_two();
        for (zero, other) in [(a, b), (b, a)] {
            if self.known(zero) == Some(U256::ZERO) {
                return self.replace_two(|emitter| {
                    emitter.state.push(other);
                    emitter.is_zero();
                });
            }
        }
        self.prepare(2, 4, 0);
        let bits = self.state.at(a).bits.max(self.state.at(b).bits);
        if bits <= 64 || self.in_limbs(a) || self.in_limbs(b) {
            let (a, b) = self.two();
            // The first difference into `rax`, the others over it.
            let count = either(Fault::EqualityOfOneLimb, 1, limbs_of(bits).max(1));
            for i in 0..count {
                let to = if i == 0 { RAX } else { RDI };
                let left = self.limb(a, i);
                let right = self.limb(b, i);
                self.load(to, left);
                if bits <= 64 {
                    self.combine(Alu::Cmp, to, right);
                    break;
                }
                match right {
                    Limb::Constant(value) if i32::try_from(value as i64).is_err() && i > 0 => {
                        // `rdi` is in use: the constant goes to `rdi` and the limb over it.
                        self.asm.mov_imm(RDI, value);
                        let left = self.limb(a, i);
                        self.combine(Alu::Xor, RDI, left);
                    }
                    _ => self.combine(Alu::Xor, to, right),
                }
                if i > 0 {
                    self.asm.alu(Alu::Or, RAX, RDI);
                }
            }
            self.done(&[a, b]);
        } else {
            let (a, b) = (self.state.pop(), self.state.pop());
            let (a, b) = self.constant_second(a, b);
            let left = self.vector(a);
            let right = self.vector_rm(b, super::state::CYCLE);
            self.asm.vpxor(SCRATCH, left, right);
            if planted(Fault::EqualityOfVectors) {
                self.asm.vpand(SCRATCH, left, right);
            }
            self.asm.vptest(SCRATCH, SCRATCH);
            self.done(&[a, b]);
        }
        self.push_flags(Cond::Equal);
    }

    pub(super) fn is_zero(&mut self) {
        let Some(&top) = self.state.stack.last() else {
            return;
        };
        if let Some(value) = self.known(top) {
            let value_of = self.state.pop();
            self.state.unpin(value_of);
            return self.push_constant(U256::from(value.is_zero()));
        }
        if self.state.flags == Some(top)
            && let Some(cond) = self.state.at(top).flags
        {
            // The flags stay what they are; where the value is needed, too, it goes to a register.
            if self.state.at(top).uses > 1 {
                self.prepare(1, 1, 0);
                if self.state.at(top).limbs.is_none() {
                    return self.test_zero();
                }
            }
            let value = self.state.pop();
            self.state.drop_flags();
            self.state.unpin(value);
            let cond = either(Fault::FlagsAreNotInverted, cond, cond.not());
            return self.push_flags(cond);
        }
        self.prepare(1, 2, 0);
        self.test_zero();
    }

    fn test_zero(&mut self) {
        let value = self.state.pop();
        self.test(value);
        self.done(&[value]);
        self.push_flags(Cond::Equal);
    }

    /// Sets the zero flag if the value is zero.
    pub(super) fn test(&mut self, value: Val) {
        let at = self.state.at(value);
        if let Some(limbs) = at.limbs {
            if limbs.count == 1 {
                return self.asm.test(limbs.regs[0], limbs.regs[0]);
            }
            self.asm.mov(RAX, limbs.regs[0]);
            for reg in &limbs.used()[1..] {
                if planted(Fault::TestOfOneLimb) {
                    self.asm.test(RAX, RAX);
                    continue;
                }
                self.asm.alu(Alu::Or, RAX, *reg);
            }
            return;
        }
        if at.bits <= 64 && at.ymm.is_none() {
            let limb = self.limb(value, 0);
            if let Limb::In(rm) = limb {
                return self.asm.alu_imm(Alu::Cmp, rm, 0);
            }
        }
        let ymm = self.vector(value);
        self.asm.vptest(ymm, ymm);
    }
}
