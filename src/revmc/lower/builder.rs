//! The front end's interface.
//!
//! revmc's `Builder` has an operation for everything an LLVM builder can do; its translator uses
//! part of it. What it does not use is refused by name, and so is any use of the rest that this
//! lowering has not been written for: the compilation fails with
//! [`TranslateError::UnknownConstruct`](crate::revmc::TranslateError), and never miscompiles.

use super::{
    Callee, Lowering,
    blocks::BasicBlock,
    param,
    value::{Data, Type, Value},
};
use crate::{
    compiler::limbs::{Emit, Limb, Region, Word},
    frame::arithmetic::Operator,
    revmc::builtins::BUILTINS,
};
use cranelift_codegen::ir::{InstBuilder, condcodes::IntCC as Cc, types};
use revmc::{
    Attribute, BackendTypes, Builder, FunctionAttributeLocation, IntCC, Linkage, TypeMethods, U256,
};

/// A stack slot of the front end. It has one: the length of the operand stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::revmc) struct LengthSlot;

/// A function of the front end: an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::revmc) struct Function(usize);

/// Lends a [`Lowering`] to the translator.
pub(in crate::revmc) struct CraneliftBuilder<'a> {
    pub(in crate::revmc) lowering: &'a mut Lowering,
}

/// What the front end works with, which it asks of the back end and of the builder.
macro_rules! front_end_types {
    ($($implementor:tt)+) => {
        impl BackendTypes for $($implementor)+ {
            type Type = Type;
            type Value = Value;
            type StackSlot = LengthSlot;
            type BasicBlock = BasicBlock;
            type Function = Function;
        }

        impl TypeMethods for $($implementor)+ {
            fn type_ptr(&self) -> Type {
                Type::Int(64)
            }

            fn type_ptr_sized_int(&self) -> Type {
                Type::Int(64)
            }

            fn type_int(&self, bits: u32) -> Type {
                Type::int(bits)
            }

            fn type_array(&self, ty: Type, size: u32) -> Type {
                Type::Other(ty.bits().saturating_mul(size))
            }

            fn type_bit_width(&self, ty: Type) -> u32 {
                ty.bits()
            }
        }
    };
}
pub(in crate::revmc) use front_end_types;

front_end_types!(CraneliftBuilder<'_>);

/// What a refused operation gives, so that the translation comes to its end.
trait Placeholder {
    fn placeholder(l: &mut Lowering) -> Self;
}

impl Placeholder for () {
    fn placeholder(_: &mut Lowering) {}
}

impl Placeholder for Value {
    fn placeholder(l: &mut Lowering) -> Self {
        l.add(Data::Word(Word::ZERO))
    }
}

impl Placeholder for (Value, Value) {
    fn placeholder(l: &mut Lowering) -> Self {
        (Value::placeholder(l), Value::placeholder(l))
    }
}

/// Operations that the translator of the pinned revmc version never asks for.
macro_rules! refused {
    ($($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
        $(fn $name(&mut self, $($arg: $ty),*) $(-> $ret)? {
            $(let _ = $arg;)*
            self.lowering.refuse(stringify!($name));
            Placeholder::placeholder(self.lowering)
        })*
    };
}

impl CraneliftBuilder<'_> {
    fn declare(&mut self, name: &str, callee: Callee) -> Function {
        self.lowering.callees.push((name.to_owned(), callee));
        Function(self.lowering.callees.len() - 1)
    }

    /// An operation on two words.
    fn binary(
        &mut self,
        what: &str,
        lhs: Value,
        rhs: Value,
        data: fn(Word) -> Data,
        operation: fn(&mut Emit, Word, Word) -> Word,
    ) -> Value {
        let word = self.lowering.words(what, lhs, rhs, operation);
        self.lowering.add(data(word))
    }
}

impl Builder for CraneliftBuilder<'_> {
    fn create_block(&mut self, name: &str) -> BasicBlock {
        self.lowering.new_basic_block(name)
    }

    fn create_block_after(&mut self, _after: BasicBlock, name: &str) -> BasicBlock {
        self.lowering.new_basic_block(name)
    }

    fn switch_to_block(&mut self, block: BasicBlock) {
        self.lowering.place(block);
    }

    fn seal_block(&mut self, _block: BasicBlock) {}

    fn seal_all_blocks(&mut self) {}

    fn set_current_block_cold(&mut self) {
        let block = self.lowering.e.block;
        self.lowering.e.func.layout.set_cold(block);
    }

    fn current_block(&mut self) -> Option<BasicBlock> {
        self.lowering.current
    }

    fn add_comment_to_current_inst(&mut self, _comment: &str) {}

    fn fn_param(&mut self, index: usize) -> Value {
        self.lowering.add(Data::Param(index, 0))
    }

    fn bool_const(&mut self, value: bool) -> Value {
        self.lowering.add(Data::Const(Type::Bool, u64::from(value)))
    }

    fn iconst(&mut self, ty: Type, value: i64) -> Value {
        let data = match ty {
            Type::Word => Data::Word(Word::constant(if value < 0 {
                U256::MAX - U256::from(!value as u64)
            } else {
                U256::from(value as u64)
            })),
            _ => Data::Const(ty, value as u64),
        };
        self.lowering.add(data)
    }

    fn iconst_256(&mut self, value: U256) -> Value {
        self.lowering.add_word(Word::constant(value))
    }

    fn str_const(&mut self, _value: &str) -> Value {
        // Only a panic's message is a string, and panics are traps.
        self.lowering.add(Data::Const(Type::Int(64), 0))
    }

    fn new_stack_slot_raw(&mut self, _ty: Type, name: &str) -> LengthSlot {
        if name != "len.addr" {
            self.lowering.refuse(format!("stack slot {name:?}"));
        }
        LengthSlot
    }

    fn stack_load(&mut self, _ty: Type, _slot: LengthSlot, _name: &str) -> Value {
        let l = &mut *self.lowering;
        let data = match &l.stack {
            Some(stack) => Data::StackLength(stack.depth()),
            None => Data::Scalar(Type::Int(64), l.home.load_length(&mut l.e)),
        };
        l.add(data)
    }

    fn stack_store(&mut self, value: Value, _slot: LengthSlot) {
        let l = &mut *self.lowering;
        match (&mut l.stack, l.values.get(value)) {
            (Some(stack), Data::StackLength(depth)) => stack.set_depth(depth),
            (None, Data::Const(_, words)) => l.home.store_length(&mut l.e, Limb::Const(words)),
            (None, Data::Scalar(Type::Int(64), words)) => {
                l.home.store_length(&mut l.e, Limb::Val(words));
            }
            _ => l.refuse("a store of something else than the stack length"),
        }
    }

    refused! {
        stack_addr(ty: Type, slot: LengthSlot) -> Value;
    }

    fn load(&mut self, ty: Type, ptr: Value, _name: &str) -> Value {
        let l = &mut *self.lowering;
        match l.values.get(ptr) {
            Data::StackPointer(position) if ty == Type::Word => {
                let word = l.stack_word(position);
                l.add_word(word)
            }
            Data::Param(param::GAS, offset) => {
                let (base, offset) = l.field(param::GAS, offset);
                let gas = match l.gas {
                    Some(gas) => gas,
                    None => l.e.load(types::I64, Region::Gas, base, offset),
                };
                l.gas = Some(gas);
                l.scalar(Type::Int(64), gas)
            }
            Data::Param(index, offset) => {
                let (base, offset) = l.field(index, offset);
                l.load_from(ty, base, offset)
            }
            _ => {
                l.refuse("a load from an unknown pointer");
                l.add(Data::Const(ty, 0))
            }
        }
    }

    fn store(&mut self, value: Value, ptr: Value) {
        let l = &mut *self.lowering;
        match (l.values.get(ptr), l.values.get(value)) {
            (Data::StackPointer(position), _) => {
                let word = l.word(value);
                match &mut l.stack {
                    Some(stack) => stack.set(position, word),
                    None => l.refuse("a stack access in a block without stack"),
                }
            }
            (Data::Param(param::GAS, offset), Data::Scalar(Type::Int(64), gas)) => {
                let (base, offset) = l.field(param::GAS, offset);
                l.e.store(Region::Gas, gas, base, offset);
                l.gas = Some(gas);
            }
            (Data::Param(index, offset), Data::Scalar(_, value)) => {
                let (base, offset) = l.field(index, offset);
                l.e.store(Region::Context, value, base, offset);
            }
            _ => l.refuse("a store through an unknown pointer"),
        }
    }

    fn nop(&mut self) {}

    fn ret(&mut self, values: &[Value]) {
        match values {
            &[value] => self.lowering.return_value(value),
            _ => self.lowering.refuse("a return of several values"),
        }
    }

    fn icmp(&mut self, cond: IntCC, lhs: Value, rhs: Value) -> Value {
        let rhs = self.lowering.values.get(rhs);
        self.lowering.compare(cond, lhs, rhs)
    }

    fn icmp_imm(&mut self, cond: IntCC, lhs: Value, rhs: i64) -> Value {
        self.lowering
            .compare(cond, lhs, Data::Const(Type::Int(64), rhs as u64))
    }

    fn is_null(&mut self, ptr: Value) -> Value {
        self.icmp_imm(IntCC::Equal, ptr, 0)
    }

    fn is_not_null(&mut self, ptr: Value) -> Value {
        self.icmp_imm(IntCC::NotEqual, ptr, 0)
    }

    fn br(&mut self, dest: BasicBlock) {
        self.lowering.branch_to(dest);
    }

    fn brif(&mut self, cond: Value, then_block: BasicBlock, else_block: BasicBlock) {
        self.lowering.branch_if(cond, then_block, else_block);
    }

    fn switch(
        &mut self,
        index: Value,
        default: BasicBlock,
        targets: &[(u64, BasicBlock)],
        _default_is_cold: bool,
    ) {
        self.lowering.switch_on(index, default, targets);
    }

    fn phi(&mut self, ty: Type, incoming: &[(Value, BasicBlock)]) -> Value {
        self.lowering.join(ty, incoming)
    }

    fn select(&mut self, cond: Value, then_value: Value, else_value: Value) -> Value {
        let l = &mut *self.lowering;
        // The front end guards a partial operation: the result where it is defined comes last.
        if let Data::TotalWord(word) = l.values.get(else_value) {
            return l.add(Data::TotalWord(word));
        }
        if let (Data::StackBounds(bounds), Data::Const(_, under), Data::Const(_, over)) = (
            l.values.get(cond),
            l.values.get(then_value),
            l.values.get(else_value),
        ) && let Some(stack) = &l.stack
        {
            let fault = stack.fault(bounds, under, over);
            return l.add(Data::StackFault(fault));
        }
        let cond = match l.flag(cond) {
            Limb::Const(0) => return else_value,
            Limb::Const(_) => return then_value,
            Limb::Flag(cond) | Limb::Val(cond) => cond,
        };
        match (l.values.get(then_value), l.values.get(else_value)) {
            (Data::Const(ty, a), Data::Const(_, b)) => {
                let Some(scalar) = ty.scalar() else {
                    l.refuse("a select of unknown type");
                    return then_value;
                };
                let (a, b) = (l.e.iconst(scalar, a), l.e.iconst(scalar, b));
                let result = l.e.cursor().ins().select(cond, a, b);
                l.scalar(ty, result)
            }
            (Data::Word(a) | Data::TotalWord(a), Data::Word(b)) => {
                let word = l.e.word_select(cond, a, b);
                l.add_word(word)
            }
            _ => {
                l.refuse("a select of unlike values");
                then_value
            }
        }
    }

    fn lazy_select(
        &mut self,
        cond: Value,
        _ty: Type,
        then_value: impl FnOnce(&mut Self) -> Value,
        else_value: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        let then_value = then_value(self);
        let else_value = else_value(self);
        self.select(cond, then_value, else_value)
    }

    fn iadd(&mut self, lhs: Value, rhs: Value) -> Value {
        self.binary("addition", lhs, rhs, Data::Word, Emit::word_add)
    }

    fn isub(&mut self, lhs: Value, rhs: Value) -> Value {
        self.binary("subtraction", lhs, rhs, Data::Word, Emit::word_sub)
    }

    fn imul(&mut self, lhs: Value, rhs: Value) -> Value {
        self.lowering.multiply(lhs, rhs)
    }

    fn udiv(&mut self, lhs: Value, rhs: Value) -> Value {
        self.lowering.divide(Operator::Div, lhs, rhs)
    }

    fn sdiv(&mut self, lhs: Value, rhs: Value) -> Value {
        self.lowering.divide(Operator::Sdiv, lhs, rhs)
    }

    fn urem(&mut self, lhs: Value, rhs: Value) -> Value {
        self.lowering.divide(Operator::Mod, lhs, rhs)
    }

    fn srem(&mut self, lhs: Value, rhs: Value) -> Value {
        self.lowering.divide(Operator::Smod, lhs, rhs)
    }

    fn iadd_imm(&mut self, lhs: Value, rhs: i64) -> Value {
        self.lowering.add_immediate(lhs, rhs)
    }

    fn isub_imm(&mut self, lhs: Value, rhs: i64) -> Value {
        self.lowering.add_immediate(lhs, -rhs)
    }

    refused! {
        imul_imm(lhs: Value, rhs: i64) -> Value;
        uadd_overflow(lhs: Value, rhs: Value) -> (Value, Value);
        umax(lhs: Value, rhs: Value) -> Value;
        umin(lhs: Value, rhs: Value) -> Value;
        bitor_imm(lhs: Value, rhs: i64) -> Value;
        bitand_imm(lhs: Value, rhs: i64) -> Value;
        bitxor_imm(lhs: Value, rhs: i64) -> Value;
        sext(ty: Type, value: Value) -> Value;
        ireduce(to: Type, value: Value) -> Value;
        memcpy(dst: Value, src: Value, len: Value);
    }

    fn usub_overflow(&mut self, lhs: Value, rhs: Value) -> (Value, Value) {
        let l = &mut *self.lowering;
        let (Data::Scalar(Type::Int(64), a), Data::Const(_, b)) =
            (l.values.get(lhs), l.values.get(rhs))
        else {
            l.refuse("a subtraction of something else than a constant");
            return (lhs, rhs);
        };
        // All sums of a block are taken from where it started: one instruction, whatever precedes.
        let (start, spent) = match l.gas_spent {
            Some((left, start, spent)) if left == a => (start, spent),
            _ => (a, 0),
        };
        let spent = b.wrapping_add(spent);
        let difference = l.e.offset(start, (spent as i64).wrapping_neg());
        l.gas_spent = Some((difference, start, spent));
        let overflow = l.e.cmp(Cc::UnsignedLessThan, Limb::Val(a), Limb::Const(b));
        (l.scalar(Type::Int(64), difference), l.add_flag(overflow))
    }

    fn bswap(&mut self, value: Value) -> Value {
        let l = &mut *self.lowering;
        let word = match l.values.get(value) {
            // Addresses are big-endian in memory, and only ever read to be swapped.
            Data::AddressAt(base, offset) => l.load_address(base, offset),
            Data::Word(word) => l.e.word_bswap(word),
            _ => {
                l.refuse("a byte swap of something else than a word");
                Word::ZERO
            }
        };
        l.add_word(word)
    }

    fn bitor(&mut self, lhs: Value, rhs: Value) -> Value {
        let l = &mut *self.lowering;
        if l.is_word(lhs) {
            return self.binary("or", lhs, rhs, Data::Word, Emit::word_or);
        }
        match (l.values.get(lhs), l.values.get(rhs)) {
            (Data::Const(Type::Bool, 0), _) => return rhs,
            (_, Data::Const(Type::Bool, 0)) => return lhs,
            (Data::StackBounds(a), Data::StackBounds(b)) => {
                return l.add(Data::StackBounds(a.or(b)));
            }
            _ => {}
        }
        let (a, b) = (l.flag(lhs), l.flag(rhs));
        let flag = l.e.or(a, b);
        l.add_flag(flag)
    }

    fn bitand(&mut self, lhs: Value, rhs: Value) -> Value {
        let l = &mut *self.lowering;
        if l.is_word(lhs) {
            return self.binary("and", lhs, rhs, Data::Word, Emit::word_and);
        }
        let (a, b) = (l.flag(lhs), l.flag(rhs));
        let flag = l.e.and(a, b);
        l.add_flag(flag)
    }

    fn bitxor(&mut self, lhs: Value, rhs: Value) -> Value {
        self.binary("xor", lhs, rhs, Data::Word, Emit::word_xor)
    }

    fn bitnot(&mut self, value: Value) -> Value {
        let word = self.lowering.word(value);
        let word = self.lowering.e.word_not(word);
        self.lowering.add_word(word)
    }

    fn ishl(&mut self, lhs: Value, rhs: Value) -> Value {
        self.binary("shift", lhs, rhs, Data::TotalWord, Emit::word_shl)
    }

    fn ushr(&mut self, lhs: Value, rhs: Value) -> Value {
        self.binary("shift", lhs, rhs, Data::TotalWord, Emit::word_shr)
    }

    fn sshr(&mut self, lhs: Value, rhs: Value) -> Value {
        self.binary("shift", lhs, rhs, Data::TotalWord, Emit::word_sar)
    }

    fn zext(&mut self, ty: Type, value: Value) -> Value {
        if ty != Type::Word {
            self.lowering.refuse(format!("an extension to {ty:?}"));
        }
        let word = self.lowering.word(value);
        self.lowering.add_word(word)
    }

    fn gep(&mut self, ty: Type, ptr: Value, indexes: &[Value], _name: &str) -> Value {
        let l = &mut *self.lowering;
        let index = indexes.first().map(|&index| l.values.get(index));
        let data = match (l.values.get(ptr), ty, index, indexes.len()) {
            (Data::Param(param::STACK, 0), Type::Word, Some(Data::StackLength(at)), 1) => {
                Data::StackPointer(at)
            }
            (Data::Param(index, offset), Type::Int(8), Some(Data::Const(_, more)), 1) => {
                Data::Param(index, offset + more as i64)
            }
            _ => {
                l.refuse("an address of unknown form");
                Data::Param(param::STACK, 0)
            }
        };
        l.add(data)
    }

    fn call(&mut self, function: Function, args: &[Value]) -> Option<Value> {
        let callee = self
            .lowering
            .callees
            .get(function.0)
            .map(|(_, callee)| *callee);
        match callee {
            Some(callee) => self.lowering.call_function(callee, args),
            None => {
                self.lowering.refuse("a call of an unknown function");
                Some(self.lowering.add(Data::Word(Word::ZERO)))
            }
        }
    }

    fn unreachable(&mut self) {
        self.lowering.trap();
    }

    fn get_or_build_function(
        &mut self,
        name: &str,
        _params: &[Type],
        _ret: Option<Type>,
        _linkage: Linkage,
        _build: impl FnOnce(&mut Self),
    ) -> Function {
        if let Some(function) = self.get_function(name) {
            return function;
        }
        let Some(callee) = Callee::built(name) else {
            self.lowering.refuse(format!("function {name:?}"));
            return Function(usize::MAX);
        };
        self.declare(name, callee)
    }

    fn get_function(&mut self, name: &str) -> Option<Function> {
        let mut callees = self.lowering.callees.iter();
        callees.position(|(known, _)| known == name).map(Function)
    }

    fn add_function(
        &mut self,
        name: &str,
        _params: &[Type],
        _ret: Option<Type>,
        _address: Option<usize>,
        _linkage: Linkage,
    ) -> Function {
        let Some(builtin) = BUILTINS.into_iter().find(|builtin| builtin.name() == name) else {
            self.lowering.refuse(format!("builtin {name:?}"));
            return Function(usize::MAX);
        };
        self.declare(name, Callee::Builtin(builtin))
    }

    fn add_function_attribute(
        &mut self,
        _function: Option<Function>,
        _attribute: Attribute,
        _loc: FunctionAttributeLocation,
    ) {
    }
}
