//! The handles that the front end passes around, and what they stand for.

use super::stack::{Bounds, Fault};
use crate::compiler::limbs::{Emit, Limb, Word};
use cranelift_codegen::ir;

/// A type of the front end's IR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::revmc) enum Type {
    /// `i1`, as a byte of 0 or 1.
    Bool,
    /// An integer of 8, 32 or 64 bits, or a pointer.
    Int(u32),
    /// An address, 160 bits.
    Address,
    /// A stack word, 256 bits.
    Word,
    /// Anything else; only named, never computed with.
    Other(u32),
}

impl Type {
    pub(in crate::revmc) fn int(bits: u32) -> Self {
        match bits {
            1 => Self::Bool,
            8 | 32 | 64 => Self::Int(bits),
            160 => Self::Address,
            256 => Self::Word,
            _ => Self::Other(bits),
        }
    }

    pub(in crate::revmc) fn bits(self) -> u32 {
        match self {
            Self::Bool => 1,
            Self::Int(bits) | Self::Other(bits) => bits,
            Self::Address => 160,
            Self::Word => 256,
        }
    }

    /// The type of an SSA value that holds this, if one does.
    pub(super) fn scalar(self) -> Option<ir::Type> {
        match self {
            Self::Bool => Some(ir::types::I8),
            Self::Int(bits) => ir::Type::int(bits as u16),
            Self::Address | Self::Word | Self::Other(_) => None,
        }
    }
}

/// A value of the front end: an index into the function's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::revmc) struct Value(u32);

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// A scalar known when compiling.
    Const(Type, u64),
    /// A scalar.
    Scalar(Type, ir::Value),
    /// A pointer: a function parameter, by index, plus an offset in bytes.
    Param(usize, i64),
    /// A 256-bit word.
    Word(Word),
    /// The result of an operation that is already total: the front end guards it with a `select`
    /// that need not be emitted.
    TotalWord(Word),
    /// 160 bits at an address, not loaded yet.
    AddressAt(ir::Value, i32),
    /// The length of the operand stack, relative to the start of the extended basic block.
    StackLength(i32),
    /// Whether the operand stack is too short or too long.
    StackBounds(Bounds),
    /// The status to leave with, if it is.
    StackFault(Fault),
    /// The address of an operand stack word, relative to the start of the extended basic block.
    StackPointer(i32),
}

/// All values of a function.
#[derive(Debug, Default)]
pub(super) struct Values(Vec<Data>);

impl Values {
    pub(super) fn add(&mut self, data: Data) -> Value {
        self.0.push(data);
        Value(self.0.len() as u32 - 1)
    }

    pub(super) fn get(&self, value: Value) -> Data {
        self.0[value.0 as usize]
    }
}

/// The limb that holds a scalar's value, widened with zeros.
pub(super) fn scalar_limb(e: &mut Emit, ty: Type, value: ir::Value) -> Limb {
    use cranelift_codegen::ir::InstBuilder;
    match ty {
        Type::Bool => Limb::Flag(value),
        Type::Int(64) => Limb::Val(value),
        _ => Limb::Val(e.cursor().ins().uextend(ir::types::I64, value)),
    }
}
