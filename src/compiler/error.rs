//! Why a bytecode was not turned into machine code.

use std::fmt;

/// Why a bytecode was not turned into machine code. None of it depends on the state of the system:
/// the same bytecode, rules and options fail the same way again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompileError {
    /// There is no code generator for this machine.
    UnsupportedTarget(String),
    /// A [front end](crate::FrontEnd) other than this compiler does not take the bytecode or its rules.
    Unsupported(String),
    /// The bytecode starts with `0xEF`, which EIP-3541 reserves.
    Reserved,
    /// The bytecode is longer than [`CompileOptions::max_bytecode_len`].
    ///
    /// [`CompileOptions::max_bytecode_len`]: super::CompileOptions::max_bytecode_len
    BytecodeTooLong {
        /// Bytes of bytecode.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The code would cost more to compile than bytecode of its length may: refused before code
    /// generation.
    TooComplex {
        /// What there is too much of.
        what: &'static str,
        /// How much of it.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// The machine code is longer than [`CompileOptions::max_native_len`].
    ///
    /// [`CompileOptions::max_native_len`]: super::CompileOptions::max_native_len
    NativeTooLarge {
        /// Bytes of machine code.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The machine code needs more of the thread's stack than
    /// [`MAX_NATIVE_STACK`](crate::frame::MAX_NATIVE_STACK).
    FrameTooLarge {
        /// Bytes of stack.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The code generator refused the function.
    Codegen(String),
    /// A dump of the compilation's intermediate results could not be written.
    Dump(String),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedTarget(what) => write!(f, "unsupported target: {what}"),
            Self::Unsupported(what) => write!(f, "unsupported: {what}"),
            Self::Reserved => f.write_str("bytecode starts with the reserved byte 0xEF"),
            Self::BytecodeTooLong { len, max } => {
                write!(f, "bytecode has {len} bytes, the limit is {max}")
            }
            Self::TooComplex { what, count, max } => {
                write!(f, "bytecode has {count} {what}, the limit is {max}")
            }
            Self::NativeTooLarge { len, max } => {
                write!(f, "machine code has {len} bytes, the limit is {max}")
            }
            Self::FrameTooLarge { len, max } => {
                write!(
                    f,
                    "machine code needs {len} bytes of stack, the limit is {max}"
                )
            }
            Self::Codegen(what) => write!(f, "code generator: {what}"),
            Self::Dump(what) => write!(f, "dump: {what}"),
        }
    }
}

impl std::error::Error for CompileError {}
