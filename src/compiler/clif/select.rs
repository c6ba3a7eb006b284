//! Which instruction is emitted by what, and what needs no code.

use super::{generate::Generator, loops::COUNTER_BITS, memory::SAFE_BITS, state::Val};
use crate::{
    compiler::{
        decode::{Inst, Shuffle},
        effect::op,
        fault::{Fault, planted},
        limbs::{Limb, Plan, Word},
    },
    frame::{
        arithmetic::{Operator, evaluate},
        at,
    },
};
use alloy_primitives::U256;
use cranelift_codegen::ir::{InstBuilder, condcodes::IntCC, types};

/// Constant amounts beyond are the same as this.
const ALL_BITS: u16 = 256;

impl Generator<'_> {
    /// Emits an instruction of class native that is no jump. False if control does not get behind it.
    pub(super) fn native(&mut self, at: u32, inst: &Inst) -> bool {
        match inst.shuffle() {
            Some(Shuffle::Push) => {
                let constant = inst.pushed(self.program.code);
                self.state.push_constant(constant);
            }
            Some(Shuffle::Pop) => {
                self.state.pop();
            }
            Some(Shuffle::Dup(n)) => self.state.dup(n),
            Some(Shuffle::Exchange(a, b)) => self.state.exchange(a, b),
            None => return self.computes(at, inst),
        }
        true
    }

    /// The same for one that is no shuffle.
    fn computes(&mut self, at: u32, inst: &Inst) -> bool {
        match inst.opcode {
            op::JUMPDEST => {}
            op::PC => self.state.push_constant(U256::from(inst.pc)),
            op::CODESIZE => self
                .state
                .push_constant(U256::from(self.program.code.len())),
            op::GAS => self.remaining(),
            op::MSIZE => {
                self.run.observed = true;
                self.counter(at::MEMORY_LEN, 48);
            }
            op::CALLDATASIZE => self.counter(at::CALLDATA_LEN, 62),
            op::RETURNDATASIZE => self.counter(at::RETURNDATA_LEN, 62),
            op::ADDRESS => self.push_field(at::ADDRESS, 160),
            op::CALLER => self.push_field(at::CALLER, 160),
            op::CALLVALUE => self.push_field(at::CALLVALUE, 256),
            op::CALLDATALOAD => self.calldataload(),
            op::MLOAD => return self.mload(inst),
            op::MSTORE => return self.mstore(inst),
            op::MSTORE8 => return self.mstore8(inst),
            op::ADD => {
                if self.program.sums[at as usize] {
                    self.narrow_operands(inst);
                }
                self.add(inst);
            }
            op::SUB => self.sub(inst),
            op::MUL => self.mul(),
            op::DIV => self.divide(Operator::Div),
            op::MOD => self.divide(Operator::Mod),
            op::SDIV => self.divide(Operator::Sdiv),
            op::SMOD => self.divide(Operator::Smod),
            op::ADDMOD => self.helper(Operator::Addmod, 3, 256),
            op::MULMOD => self.helper(Operator::Mulmod, 3, 256),
            op::SIGNEXTEND => self.signextend(),
            op::LT => self.compare(IntCC::UnsignedLessThan),
            op::GT => self.compare(IntCC::UnsignedGreaterThan),
            op::SLT => self.compare(IntCC::SignedLessThan),
            op::SGT => self.compare(IntCC::SignedGreaterThan),
            op::EQ => self.compare(IntCC::Equal),
            op::ISZERO => {
                let val = self.state.pop();
                let word = self.word(val);
                let union = self.e.union(&word, 0);
                let zero = self.e.is_zero(union);
                let zero = self.state.push_word(Word::from_limb(zero), 1);
                self.state.at_mut(zero).zero_of = Some(val);
            }
            op::AND => self.and(),
            op::OR | op::XOR => self.or_xor(inst.opcode == op::OR),
            op::NOT => {
                let val = self.state.pop();
                let word = self.word(val);
                let word = self.e.word_not(word);
                self.state.push_word(word, 256);
            }
            op::BYTE => self.byte(),
            op::SHL => self.shift(Operator::Shl),
            op::SHR => self.shift(Operator::Shr),
            op::SAR => self.shift(Operator::Sar),
            op::CLZ => self.helper(Operator::Clz, 1, 9),
            // Decoding gives no other opcode this class; leaving is right for any.
            _ => {
                self.leave_here(inst);
                return false;
            }
        }
        true
    }

    /// The operands of a sum that is an address are addresses, too: leaves if they are not.
    fn narrow_operands(&mut self, inst: &Inst) {
        let (Some(a), Some(b)) = (self.state.peek(0), self.state.peek(1)) else {
            return;
        };
        let small = |value: Option<U256>| value.is_none_or(|constant| constant.bit_len() <= 32);
        let known = [self.known(a), self.known(b)];
        if !small(known[0]) || !small(known[1]) || known.iter().all(Option::is_some) {
            return;
        }
        self.tidy();
        for value in [a, b] {
            if self.state.at(value).bits > SAFE_BITS {
                self.check_offset(inst, value);
            }
        }
    }

    fn remaining(&mut self) {
        self.run.observed = true;
        let ahead = self.run.gas - self.run.spent;
        let gas = self.gas_now();
        let gas = self.gas_and(gas, ahead);
        self.state.push_word(Word::from_limb(Limb::Val(gas)), 64);
    }

    /// A field of 64 bits.
    fn counter(&mut self, offset: i32, bits: u16) {
        let value = self.load_field(offset);
        self.state
            .push_word(Word::from_limb(Limb::Val(value)), bits);
    }

    /// Takes two words, the top first, with what they are known to be.
    fn two(&mut self) -> ([Val; 2], [u16; 2]) {
        let vals = [self.state.pop(), self.state.pop()];
        (vals, vals.map(|val| self.state.at(val).bits))
    }

    fn add(&mut self, inst: &Inst) {
        if let (Some(a), Some(b)) = (self.state.peek(0), self.state.peek(1))
            && (self.count(inst, a, b, 1) || self.count(inst, b, a, 1))
        {
            return;
        }
        let ([a, b], [a_bits, b_bits]) = self.two();
        // A constant second, or what is used again: the sum can have the other's registers.
        let kept = |val| self.gas.is_some() && self.state.stack.contains(&val);
        let (a, b) = if self.known(a).is_some() || self.known(b).is_none() && kept(a) {
            (b, a)
        } else {
            (a, b)
        };
        let bits = (a_bits.max(b_bits) + 1).min(256);
        if self.known(b) == Some(U256::ZERO) {
            return self.state.push(a);
        }
        let constants = self.known(a).is_some();
        let (x, y) = (self.word(a), self.word(b));
        if constants || bits > 64 {
            let sum = self.e.word_add(x, y);
            self.state.push_word(sum, bits);
            return;
        }
        let (low, by) = (self.e.value(x.0[0]), self.known(b));
        let sum = match by.and_then(|by| i32::try_from(by).ok()) {
            Some(by) => self.e.offset(low, by.into()),
            None => {
                let other = self.e.value(y.0[0]);
                self.e.add_values(low, other)
            }
        };
        let sum = self.state.push_word(Word::from_limb(Limb::Val(sum)), bits);
        if let Some(by) = by.and_then(|by| u32::try_from(by).ok()) {
            let (base, before) = self.state.at(a).offset.unwrap_or((a, 0));
            let by = before.checked_add(by).filter(|by| *by < 1 << 30);
            self.state.at_mut(sum).offset = by.map(|by| (base, by));
        }
    }

    fn sub(&mut self, inst: &Inst) {
        if let (Some(a), Some(b)) = (self.state.peek(0), self.state.peek(1))
            && self.count(inst, a, b, -1)
        {
            return;
        }
        let ([a, b], _) = self.two();
        if self.known(b) == Some(U256::ZERO) {
            return self.state.push(a);
        }
        let (x, y) = (self.word(a), self.word(b));
        let difference = self.e.word_sub(x, y);
        self.state.push_word(difference, 256);
    }

    /// A counter plus or minus a constant is a counter: leaves if it is not. One that is not zero stays one
    /// when it is counted down.
    fn count(&mut self, inst: &Inst, counter: Val, by: Val, sign: i64) -> bool {
        let by = self
            .known(by)
            .and_then(|by| u32::try_from(by).ok())
            .filter(|by| *by < 1 << 31);
        let (true, true, Some(by)) = (self.gas.is_some(), self.state.at(counter).counter, by)
        else {
            return false;
        };
        let stays = sign < 0 && by <= 1 && self.state.at(counter).nonzero;
        self.tidy();
        let low = self.limb(counter, 0);
        let low = self.e.value(low);
        let sum = self.e.offset(low, sign * i64::from(by));
        if !stays {
            // Both what is too much and what is borrowed sets the highest bit.
            let negative = self.e.icmp_imm(IntCC::SignedLessThan, sum, 0);
            let leave = self.leave(inst);
            if !planted(Fault::CounterUnchecked) {
                self.branch(negative, leave);
            }
        }
        self.state.pop();
        self.state.pop();
        let sum = self
            .state
            .push_word(Word::from_limb(Limb::Val(sum)), COUNTER_BITS as u16);
        self.state.at_mut(sum).counter = true;
        true
    }

    fn mul(&mut self) {
        let ([a, b], [a_bits, b_bits]) = self.two();
        let bits = (a_bits + b_bits).min(256);
        let (x, y) = (self.word(a), self.word(b));
        if bits <= 64 && self.known(a).is_none() && self.known(b).is_none() {
            let (x, y) = (self.e.value(x.0[0]), self.e.value(y.0[0]));
            let product = self.e.cursor().ins().imul(x, y);
            self.state
                .push_word(Word::from_limb(Limb::Val(product)), bits);
            return;
        }
        let word = match self.e.word_mul(x, y) {
            Plan::Done(word) => word,
            // In a loop, or where there is not much to it.
            Plan::IfWide(_) if self.gas.is_some() || x.width() + y.width() <= 4 => {
                self.e.word_mul_wide(x, y)
            }
            Plan::IfWide(wide) => self.two_ways(Operator::Mul, wide, [x, y], |this| {
                this.e.word_mul_narrow(x, y)
            }),
        };
        self.state.push_word(word, bits);
    }

    /// DIV, MOD, SDIV and SMOD.
    fn divide(&mut self, operator: Operator) {
        let ([a, b], [a_bits, b_bits]) = self.two();
        if let (Some(a), Some(b)) = (self.known(a), self.known(b)) {
            return self.state.push_constant(evaluate(operator, &[a, b]));
        }
        let bits = match operator {
            Operator::Div => a_bits,
            Operator::Mod => a_bits.min(b_bits),
            _ => 256,
        };
        let (x, y) = (self.word(a), self.word(b));
        let word = match self.e.word_div(operator, x, y) {
            Plan::Done(word) => word,
            Plan::IfWide(Limb::Const(0)) => self.e.word_div_narrow(operator, x, y),
            Plan::IfWide(wide) => self.two_ways(operator, wide, [x, y], |this| {
                this.e.word_div_narrow(operator, x, y)
            }),
        };
        self.state.push_word(word, bits);
    }

    /// An operation that is done in line, or by a helper if `wide` is not zero.
    fn two_ways(
        &mut self,
        operator: Operator,
        wide: Limb,
        operands: [Word; 2],
        narrow: impl FnOnce(&mut Self) -> Word,
    ) -> Word {
        let (Limb::Flag(wide) | Limb::Val(wide)) = wide else {
            return self.call_helper(operator, &operands);
        };
        let done = self.e.func.dfg.make_block();
        let helped = self.cold(|this| {
            let word = this.call_helper(operator, &operands);
            let word = word.0.map(|limb| this.e.value(limb));
            this.e.jump(done, &word);
        });
        self.branch(wide, helped);
        let word = narrow(self).0.map(|limb| self.e.value(limb));
        self.e.jump(done, &word);
        self.place(done, false);
        Word(std::array::from_fn(|_| {
            Limb::Val(self.e.func.dfg.append_block_param(done, types::I64))
        }))
    }

    fn signextend(&mut self) {
        let ([at, val], _) = self.two();
        let Some(known) = self.known(at) else {
            self.state.push(val);
            self.state.push(at);
            return self.helper(Operator::Signextend, 2, 256);
        };
        let word = self.word(val);
        let word = self.e.word_signextend_const(known, word);
        self.state.push_word(word, 256);
    }

    /// An operation by the shim for it.
    fn helper(&mut self, operator: Operator, operands: usize, bits: u16) {
        let vals: Vec<Val> = (0..operands).map(|_| self.state.pop()).collect();
        let known: Vec<U256> = vals.iter().filter_map(|val| self.known(*val)).collect();
        if known.len() == operands {
            return self.state.push_constant(evaluate(operator, &known));
        }
        let words: Vec<Word> = vals.iter().map(|val| self.word(*val)).collect();
        let word = self.call_helper(operator, &words);
        self.state.push_word(word, bits);
    }

    fn call_helper(&mut self, operator: Operator, operands: &[Word]) -> Word {
        for (i, operand) in operands.iter().enumerate() {
            for (j, limb) in operand.0.into_iter().enumerate() {
                let value = self.e.value(limb);
                self.store_field(at::SCRATCH + 32 * i as i32 + 8 * j as i32, value);
            }
        }
        self.operate(operator)
    }

    /// Calls an operation on what is in the frame's scratch.
    pub(super) fn operate(&mut self, operator: Operator) -> Word {
        let frame = self.frame();
        let scratch = self.e.offset(frame, at::SCRATCH.into());
        let offset = at::ARITHMETIC + 8 * operator as i32;
        self.call(self.operation, offset, [scratch, scratch]);
        Word(std::array::from_fn(|i| {
            Limb::Val(self.load_field(at::SCRATCH + 8 * i as i32))
        }))
    }

    fn compare(&mut self, cc: IntCC) {
        let ([a, b], _) = self.two();
        let (x, y) = (self.word(a), self.word(b));
        let limb = self.e.word_cmp(cc, x, y);
        self.state.push_word(Word::from_limb(limb), 1);
    }

    fn and(&mut self) {
        let ([a, b], [a_bits, b_bits]) = self.two();
        for (mask, value) in [(a, b), (b, a)] {
            // A mask that lets the value through.
            if let Some(mask) = self.known(mask)
                && (mask.wrapping_add(U256::ONE) & mask).is_zero()
                && self.state.at(value).bits as usize <= mask.bit_len()
            {
                return self.state.push(value);
            }
        }
        // Limbs that a mask clears need not be loaded.
        let masks = [self.mask(a), self.mask(b)];
        let word = Word(std::array::from_fn(|i| {
            if masks.iter().flatten().any(|mask| mask.as_limbs()[i] == 0) {
                return Limb::ZERO;
            }
            let (x, y) = (self.limb(a, i), self.limb(b, i));
            self.e.and(x, y)
        }));
        self.state.push_word(word, a_bits.min(b_bits));
    }

    /// The bits that a word may have, as far as whole limbs go.
    fn mask(&self, val: Val) -> Option<U256> {
        let limbs = self.state.at(val).limbs;
        Some(U256::from_limbs(limbs.map(|limb| match limb {
            Some(Limb::Const(limb)) => limb,
            _ => u64::MAX,
        })))
    }

    fn or_xor(&mut self, or: bool) {
        let ([a, b], [a_bits, b_bits]) = self.two();
        for (zero, value) in [(a, b), (b, a)] {
            if self.known(zero) == Some(U256::ZERO) {
                return self.state.push(value);
            }
        }
        let (x, y) = (self.word(a), self.word(b));
        let word = if or {
            self.e.word_or(x, y)
        } else {
            self.e.word_xor(x, y)
        };
        self.state.push_word(word, a_bits.max(b_bits));
    }

    fn byte(&mut self) {
        let ([at, val], _) = self.two();
        if self.known(at).is_none() && self.gas.is_none() {
            self.state.push(val);
            self.state.push(at);
            return self.helper(Operator::Byte, 2, 8);
        }
        let (index, word) = (self.word(at), self.word(val));
        let byte = self.e.word_byte(index, word);
        self.state.push_word(byte, 8);
    }

    fn shift(&mut self, operator: Operator) {
        let ([by, val], [_, bits]) = self.two();
        let amount = self
            .known(by)
            .map(|by| u16::try_from(by).unwrap_or(ALL_BITS).min(ALL_BITS));
        if amount.is_none() && self.gas.is_none() && self.known(val).is_none() {
            self.state.push(val);
            self.state.push(by);
            return self.helper(
                operator,
                2,
                if operator == Operator::Shr { bits } else { 256 },
            );
        }
        let bits = match (operator, amount) {
            (Operator::Shl, Some(by)) => (bits + by).min(256),
            (Operator::Shr, by) => bits.saturating_sub(by.unwrap_or(0)),
            (Operator::Sar, _) if bits < 256 => bits,
            _ => 256,
        };
        let (n, word) = (self.word(by), self.word(val));
        let word = match operator {
            Operator::Shl => self.e.word_shl(word, n),
            Operator::Shr => self.e.word_shr(word, n),
            _ => self.e.word_sar(word, n),
        };
        self.state.push_word(word, bits);
    }
}
