//! Why a bytecode was not turned into executable code.

use revmc::primitives::SpecId;
use std::{fmt, io};

/// Why a bytecode was not turned into executable code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine does not generate code for this machine.
    UnsupportedTarget(String),
    /// The fork's rules are not implemented (anything past Cancun).
    UnsupportedFork(SpecId),
    /// The bytecode is an EOF container (EIP-3540): it starts with `0xEF`, the byte that EIP-3541
    /// reserves.
    Eof,
    /// The bytecode is longer than [`CompileOptions::max_bytecode_len`].
    ///
    /// [`CompileOptions::max_bytecode_len`]: super::CompileOptions::max_bytecode_len
    BytecodeTooLong {
        /// Bytes of bytecode.
        len: usize,
        /// The limit, in bytes.
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
    /// The machine code needs a larger stack frame than a thread of the host can be asked for.
    FrameTooLarge {
        /// Bytes of stack.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// A jump to a valid target that is pushed in more than eight bytes, which the front end would
    /// take for invalid.
    WideJumpTarget {
        /// Where the jump is in the bytecode.
        pc: usize,
    },
    /// The bytecode has more calls and creates than a suspended frame can number.
    TooManyResumePoints(usize),
    /// The front end asked for something this engine does not know, by name.
    UnknownConstruct(String),
    /// The front end refused the bytecode.
    FrontEnd(String),
    /// The code generator refused the function.
    Codegen(String),
    /// A private data structure does not have the layout that compiled code relies on.
    Layout(&'static str),
    /// A reference in the machine code cannot be resolved.
    Relocation(String),
    /// A system call on executable memory failed.
    System {
        /// The call's name.
        call: &'static str,
        /// Its `errno`.
        errno: i32,
    },
    /// A dump of the compilation's intermediate results could not be written.
    Dump(String),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedTarget(what) => write!(f, "unsupported target: {what}"),
            Self::UnsupportedFork(spec_id) => write!(f, "unsupported fork: {spec_id:?}"),
            Self::Eof => f.write_str("bytecode is an EOF container"),
            Self::BytecodeTooLong { len, max } => {
                write!(f, "bytecode has {len} bytes, the limit is {max}")
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
            Self::WideJumpTarget { pc } => {
                write!(
                    f,
                    "the jump at {pc} has its target in more than eight bytes"
                )
            }
            Self::TooManyResumePoints(n) => write!(f, "bytecode has {n} calls and creates"),
            Self::UnknownConstruct(what) => write!(f, "unknown construct in the IR: {what}"),
            Self::FrontEnd(what) => write!(f, "front end: {what}"),
            Self::Codegen(what) => write!(f, "code generator: {what}"),
            Self::Layout(what) => write!(f, "unexpected memory layout of {what}"),
            Self::Relocation(what) => write!(f, "unresolvable reference: {what}"),
            Self::System { call, errno } => {
                write!(f, "{call}: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Dump(what) => write!(f, "dump: {what}"),
        }
    }
}

impl std::error::Error for EngineError {}
