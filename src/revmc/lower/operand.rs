//! What the front end's operands come to: the words, flags, scalars and addresses behind its handles.

use super::{
    Lowering, param,
    value::{Data, Type, Value, scalar_limb},
};
use crate::compiler::limbs::{Limb, Region, Word, evaluate};
use crate::revmc::TranslateError;
use cranelift_codegen::ir::{self, InstBuilder, condcodes::IntCC as Cc, types};
use revmc::{
    EvmContext, IntCC,
    interpreter::{Contract, InstructionResult},
};
use std::mem::offset_of;

impl Lowering {
    /// The value as a word.
    pub(super) fn word(&mut self, value: Value) -> Word {
        match self.values.get(value) {
            Data::Word(word) | Data::TotalWord(word) => word,
            Data::Const(_, constant) => Word::from_limb(Limb::Const(constant)),
            Data::Scalar(ty, value) => Word::from_limb(scalar_limb(&mut self.e, ty, value)),
            Data::AddressAt(base, offset) => self.load_address(base, offset),
            Data::Param(..)
            | Data::StackLength(_)
            | Data::StackPointer(_)
            | Data::StackBounds(_)
            | Data::StackFault(_) => {
                self.refuse("a pointer used as a word");
                Word::ZERO
            }
        }
    }

    /// The big-endian address at `base + offset`, as a number.
    pub(super) fn load_address(&mut self, base: ir::Value, offset: i32) -> Word {
        let part = |l: &mut Self, ty, at: i32| {
            let raw = l.e.load(ty, Region::Bytes, base, offset + at);
            let swapped = l.e.cursor().ins().bswap(raw);
            if ty == types::I64 {
                swapped
            } else {
                l.e.cursor().ins().uextend(types::I64, swapped)
            }
        };
        let low = part(self, types::I64, 12);
        let middle = part(self, types::I64, 4);
        let high = part(self, types::I32, 0);
        Word([
            Limb::Val(low),
            Limb::Val(middle),
            Limb::Val(high),
            Limb::ZERO,
        ])
    }

    /// Leaves the function if the stack does not reach down to `position`, unless that was checked.
    ///
    /// The front end checks the stack's bounds once per section of straight-line code, but misses
    /// the condition of a JUMPI whose target is pushed right before it. Without this, such code
    /// would read below the stack's first word.
    pub(super) fn require_word(&mut self, position: i32) {
        let Some(stack) = &mut self.stack else {
            return;
        };
        let bounds = stack.below(0, -i64::from(position));
        self.exit_outside(bounds, InstructionResult::StackUnderflow);
    }

    /// The stack word at `position`.
    pub(super) fn stack_word(&mut self, position: i32) -> Word {
        self.require_word(position);
        match &mut self.stack {
            Some(stack) => stack.get(&mut self.e, position),
            None => {
                self.refuse("a stack access in a block without stack");
                Word::ZERO
            }
        }
    }

    /// The value as 64 bits, for an argument of a call.
    pub(super) fn argument(&mut self, value: Value) -> ir::Value {
        match self.values.get(value) {
            Data::Const(_, constant) => self.e.iconst(types::I64, constant),
            Data::Scalar(ty, value) => {
                let limb = scalar_limb(&mut self.e, ty, value);
                self.e.value(limb)
            }
            Data::Param(index, offset) => {
                let base = self.frame_value(index);
                self.e.offset(base, offset)
            }
            Data::StackPointer(position) => match &self.stack {
                Some(stack) => stack.address(&mut self.e, position),
                None => self.frame_value(param::STACK),
            },
            Data::StackLength(depth) => match &self.stack {
                Some(stack) => stack.length_value(&mut self.e, depth),
                None => self.frame_value(param::STACK),
            },
            Data::Word(_)
            | Data::TotalWord(_)
            | Data::AddressAt(..)
            | Data::StackBounds(_)
            | Data::StackFault(_) => {
                self.refuse("a word passed by value");
                self.frame_value(param::STACK)
            }
        }
    }

    /// The value as a limb of 0 or 1.
    pub(super) fn flag(&mut self, value: Value) -> Limb {
        match self.values.get(value) {
            Data::Const(Type::Bool, flag) => Limb::Const(flag),
            Data::Scalar(Type::Bool, flag) => Limb::Flag(flag),
            Data::StackBounds(bounds) if let Some(stack) = &self.stack => {
                stack.is_outside(&mut self.e, bounds)
            }
            _ => {
                self.refuse("a condition that is not a bool");
                Limb::ZERO
            }
        }
    }

    pub(super) fn add_flag(&mut self, flag: Limb) -> Value {
        let data = match flag {
            Limb::Const(flag) => Data::Const(Type::Bool, flag),
            Limb::Flag(flag) => Data::Scalar(Type::Bool, flag),
            Limb::Val(_) => {
                self.refuse("a comparison that gave a number");
                Data::Const(Type::Bool, 0)
            }
        };
        self.add(data)
    }

    pub(super) fn add_word(&mut self, word: Word) -> Value {
        self.add(Data::Word(word))
    }

    pub(super) fn is_word(&self, value: Value) -> bool {
        matches!(self.values.get(value), Data::Word(_) | Data::TotalWord(_))
    }

    pub(super) fn words(
        &mut self,
        what: &str,
        a: Value,
        b: Value,
        f: impl FnOnce(&mut super::Emit, Word, Word) -> Word,
    ) -> Word {
        if !self.is_word(a) || !self.is_word(b) {
            self.refuse(format!("{what} of something else than words"));
            return Word::ZERO;
        }
        let (a, b) = (self.word(a), self.word(b));
        f(&mut self.e, a, b)
    }

    /// The place that a parameter's field stands at, if it is one that compiled code may touch.
    pub(super) fn field(&mut self, index: usize, offset: i64) -> (ir::Value, i32) {
        let layout = self.layout;
        let expected: &[usize] = match index {
            param::GAS => &[layout.gas_remaining],
            param::CONTRACT => &[
                offset_of!(Contract, target_address),
                offset_of!(Contract, caller),
                offset_of!(Contract, call_value),
                offset_of!(Contract, input) + layout.bytes_len,
            ],
            param::ECX => &[
                offset_of!(EvmContext<'_>, is_static),
                offset_of!(EvmContext<'_>, resume_at),
                offset_of!(EvmContext<'_>, return_data) + layout.slice_len,
            ],
            _ => &[offset as usize],
        };
        if !expected.contains(&(offset as usize)) {
            self.error
                .get_or_insert(TranslateError::Layout("a field that the front end reads"));
        }
        (self.frame_value(index), offset as i32)
    }

    pub(super) fn load_from(&mut self, ty: Type, base: ir::Value, offset: i32) -> Value {
        let data = match (ty, ty.scalar()) {
            (Type::Word, _) => Data::Word(self.e.load_word(Region::Context, base, offset)),
            (Type::Address, _) => Data::AddressAt(base, offset),
            (_, Some(scalar)) => {
                Data::Scalar(ty, self.e.load(scalar, Region::Context, base, offset))
            }
            _ => {
                self.refuse(format!("a load of {ty:?}"));
                Data::Const(ty, 0)
            }
        };
        self.add(data)
    }

    pub(super) fn compare(&mut self, cond: IntCC, a: Value, b: Data) -> Value {
        let cc = condition(cond);
        let flag = match (self.values.get(a), b) {
            (Data::StackLength(depth), Data::Const(_, bound)) => {
                let bound = bound as i64;
                let bounds = match (&mut self.stack, cond) {
                    (Some(stack), IntCC::UnsignedLessThan) => stack.below(depth, bound),
                    (Some(stack), IntCC::UnsignedGreaterThan) => stack.above(depth, bound),
                    _ => {
                        self.refuse("a comparison of the stack length");
                        None
                    }
                };
                return self.add(match bounds {
                    Some(bounds) => Data::StackBounds(bounds),
                    None => Data::Const(Type::Bool, 0),
                });
            }
            (Data::Word(a) | Data::TotalWord(a), b) => {
                let b = match b {
                    Data::Word(b) | Data::TotalWord(b) => b,
                    // An immediate is sign-extended to the type compared.
                    Data::Const(_, imm) => {
                        let sign = Limb::Const(((imm as i64) >> 63) as u64);
                        Word([Limb::Const(imm), sign, sign, sign])
                    }
                    _ => {
                        self.refuse("a comparison of a word with something else");
                        Word::ZERO
                    }
                };
                self.e.word_cmp(cc, a, b)
            }
            (Data::Const(_, a), Data::Const(_, b)) => Limb::Const(u64::from(evaluate(cc, a, b))),
            (Data::Scalar(_, a), Data::Const(_, imm)) => {
                Limb::Flag(self.e.icmp_imm(cc, a, imm as i64))
            }
            (Data::Scalar(_, a), Data::Scalar(_, b)) => Limb::Flag(self.e.icmp(cc, a, b)),
            (Data::Param(index, offset), Data::Const(_, imm)) => {
                let base = self.frame_value(index);
                let pointer = self.e.offset(base, offset);
                Limb::Flag(self.e.icmp_imm(cc, pointer, imm as i64))
            }
            _ => {
                self.refuse("a comparison of unlike values");
                Limb::ZERO
            }
        };
        self.add_flag(flag)
    }

    pub(super) fn add_immediate(&mut self, a: Value, imm: i64) -> Value {
        let data = match self.values.get(a) {
            Data::StackLength(depth) => Data::StackLength(depth + imm as i32),
            Data::Const(ty, a) => Data::Const(ty, a.wrapping_add(imm as u64)),
            _ => {
                self.refuse("an addition to something else than the stack length");
                Data::Const(Type::Int(64), 0)
            }
        };
        self.add(data)
    }
}

fn condition(cond: IntCC) -> Cc {
    match cond {
        IntCC::Equal => Cc::Equal,
        IntCC::NotEqual => Cc::NotEqual,
        IntCC::SignedLessThan => Cc::SignedLessThan,
        IntCC::SignedGreaterThanOrEqual => Cc::SignedGreaterThanOrEqual,
        IntCC::SignedGreaterThan => Cc::SignedGreaterThan,
        IntCC::SignedLessThanOrEqual => Cc::SignedLessThanOrEqual,
        IntCC::UnsignedLessThan => Cc::UnsignedLessThan,
        IntCC::UnsignedGreaterThanOrEqual => Cc::UnsignedGreaterThanOrEqual,
        IntCC::UnsignedGreaterThan => Cc::UnsignedGreaterThan,
        IntCC::UnsignedLessThanOrEqual => Cc::UnsignedLessThanOrEqual,
    }
}
