//! Why a bytecode was not turned into a program.

use crate::{code::CodeError, compiler::CompileError};
use revmc::primitives::SpecId;
use std::fmt;

/// Why a bytecode was not turned into a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TranslateError {
    /// A limit was met, or the code generator has failed.
    Compile(CompileError),
    /// The system gave no memory for the machine code.
    Memory(CodeError),
    /// The translator does not know the fork's rules: anything past Cancun.
    UnsupportedFork(SpecId),
    /// A jump to a valid target that is pushed in more than eight bytes, which the translator would
    /// take for invalid.
    WideJumpTarget {
        /// Where the jump is in the bytecode.
        pc: usize,
    },
    /// The bytecode has more calls and creates than a suspended frame can number.
    TooManyResumePoints(usize),
    /// The translator asked for something that the lowering does not know, by name.
    UnknownConstruct(String),
    /// The translator refused the bytecode.
    FrontEnd(String),
    /// A private data structure does not have the layout that compiled code relies on.
    Layout(&'static str),
    /// A reference in the machine code cannot be resolved.
    Relocation(String),
}

impl fmt::Display for TranslateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compile(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::UnsupportedFork(spec_id) => write!(f, "unsupported fork: {spec_id:?}"),
            Self::WideJumpTarget { pc } => {
                write!(
                    f,
                    "the jump at {pc} has its target in more than eight bytes"
                )
            }
            Self::TooManyResumePoints(n) => write!(f, "bytecode has {n} calls and creates"),
            Self::UnknownConstruct(what) => write!(f, "unknown construct in the IR: {what}"),
            Self::FrontEnd(what) => write!(f, "front end: {what}"),
            Self::Layout(what) => write!(f, "unexpected memory layout of {what}"),
            Self::Relocation(what) => write!(f, "unresolvable reference: {what}"),
        }
    }
}

impl std::error::Error for TranslateError {}

impl From<CompileError> for TranslateError {
    fn from(error: CompileError) -> Self {
        Self::Compile(error)
    }
}

impl From<CodeError> for TranslateError {
    fn from(error: CodeError) -> Self {
        Self::Memory(error)
    }
}
