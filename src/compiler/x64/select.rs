//! Which instruction is emitted by what, and what needs no code.

use super::{
    asm::{Alu, R12},
    emit::{Emitter, field},
    memory::SAFE_BITS,
    state::Limbs,
    words::Relation,
};
use crate::{
    compiler::{
        decode::{Inst, Shuffle},
        effect::op,
        fault::{Fault, either, planted},
    },
    frame::{arithmetic::Operator, at},
};
use alloy_primitives::U256;

impl Emitter<'_> {
    /// Emits an instruction of class native that is no jump. False if control does not get behind it.
    pub(super) fn native(&mut self, at: u32, inst: &Inst) -> bool {
        if let Some(shuffle) = inst.shuffle() {
            self.shuffle(inst, shuffle);
            return true;
        }
        match inst.opcode {
            op::JUMPDEST => {}
            op::PC => {
                let pc = inst.pc + u32::from(planted(Fault::CounterIsTheNext));
                self.push_constant(U256::from(pc));
            }
            op::CODESIZE => self.push_constant(U256::from(self.code.len())),
            op::GAS => self.gas(),
            op::MSIZE => {
                self.observe();
                self.counter(at::MEMORY_LEN);
            }
            op::CALLDATASIZE => {
                let of = match planted(Fault::CalldataIsReturned) {
                    true => at::RETURNDATA_LEN,
                    false => at::CALLDATA_LEN,
                };
                self.counter(of);
            }
            op::RETURNDATASIZE => self.counter(at::RETURNDATA_LEN),
            op::ADDRESS => {
                let of = either(Fault::AddressIsTheCallers, at::CALLER, at::ADDRESS);
                self.frame_word(of, 160);
            }
            op::CALLER => self.frame_word(at::CALLER, 160),
            op::CALLVALUE => self.frame_word(at::CALLVALUE, 256),
            op::CALLDATALOAD => self.calldataload(),
            op::MLOAD => return self.mload(inst),
            op::MSTORE => return self.mstore(inst),
            op::MSTORE8 => return self.mstore8(inst),
            op::ADD => {
                if self.sums[at as usize] {
                    self.narrow_operands(inst);
                }
                self.add();
            }
            op::SUB => self.sub(),
            op::MUL => self.mul(),
            op::DIV => self.div(),
            op::MOD => self.rem(),
            op::SDIV => self.helper(Operator::Sdiv, 2, 256),
            op::SMOD => self.helper(Operator::Smod, 2, 256),
            op::ADDMOD => self.helper(Operator::Addmod, 3, 256),
            op::MULMOD => self.helper(Operator::Mulmod, 3, 256),
            op::SIGNEXTEND => self.signextend(),
            op::LT => self.compare(Relation::Less, false),
            op::GT => self.compare(Relation::Greater, false),
            op::SLT => self.compare(Relation::Less, true),
            op::SGT => self.compare(Relation::Greater, true),
            op::EQ => self.equal(),
            op::ISZERO => self.is_zero(),
            op::AND => self.and(),
            op::OR => self.or_xor(true),
            op::XOR => self.or_xor(false),
            op::NOT => self.not(),
            op::BYTE => self.byte(),
            op::SHL => self.shl(),
            op::SHR => self.shr(),
            op::SAR => self.sar(),
            op::CLZ => self.helper(Operator::Clz, 1, 9),
            // Decoding gives no other opcode this class; leaving is right for any.
            _ => {
                self.leave_here(inst);
                return false;
            }
        }
        true
    }

    fn shuffle(&mut self, inst: &Inst, shuffle: Shuffle) {
        let next = |n: usize, fault| n - usize::from(n > 1 && planted(fault));
        match shuffle {
            Shuffle::Push => self.push_constant(inst.pushed(self.code)),
            Shuffle::Pop => {
                let value = self.state.pop();
                self.state.unpin(value);
            }
            Shuffle::Dup(n) => self.state.dup(next(n, Fault::DuplicateOfTheNext)),
            Shuffle::Exchange(a, b) => self.state.exchange(a, next(b, Fault::SwapWithTheNext)),
        }
    }

    /// The run looks at the gas or the size of memory.
    fn observe(&mut self) {
        self.run.observed = true;
        self.run.open = None;
    }

    /// The operands of a sum that is an address are addresses, too: leaves if they are not.
    fn narrow_operands(&mut self, inst: &Inst) {
        let (a, b) = self.state.top_two();
        let small = |value| {
            self.known(value)
                .is_none_or(|constant| constant.bit_len() <= 32)
        };
        if !small(a) || !small(b) || self.known(a).is_some() && self.known(b).is_some() {
            return;
        }
        self.tidy();
        self.prepare(2, 2, 0);
        for value in [a, b] {
            if self.state.at(value).bits > SAFE_BITS {
                self.check_offset(inst, value);
                self.narrow(value);
            }
        }
    }

    fn gas(&mut self) {
        self.observe();
        self.prepare(0, 1, 0);
        let reg = self.state.take_gpr();
        let ahead = self.ahead();
        self.asm.mov(reg, R12);
        if ahead != 0 && !planted(Fault::GasIsThatOfTheRun) {
            self.asm.alu_imm(Alu::Add, reg, ahead as i32);
        }
        self.push_limbs(64, Limbs::one(reg), &[]);
    }

    /// A field of 64 bits.
    fn counter(&mut self, offset: i32) {
        self.prepare(0, 1, 0);
        let reg = self.state.take_gpr();
        self.asm.mov_load(reg, field(offset));
        let bits = if offset == at::MEMORY_LEN { 48 } else { 62 };
        let bits = either(Fault::SizesAreBytes, 8, bits);
        self.push_limbs(bits, Limbs::one(reg), &[]);
    }

    /// A word that stays where it is.
    fn frame_word(&mut self, offset: i32, bits: u16) {
        let value = self.state.value(bits);
        self.state.at_mut(value).frame = Some(offset);
        self.state.push(value);
    }
}
