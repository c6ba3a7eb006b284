//! Why a program does not run a frame.

use alloy_primitives::B256;
use revm_interpreter::primitives::hardfork::SpecId;
use std::fmt;

/// Why [`run_frame`](crate::CompiledProgram::run_frame) refused a frame, which it has not touched:
/// the interpreter can run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// Another [front end](crate::FrontEnd) has made the program, for another EVM's frames.
    FrontEnd,
    /// The frame runs other code.
    CodeHash {
        /// The hash of the code that the program was compiled from.
        program: B256,
        /// The hash of the frame's code, if the frame knows it.
        frame: Option<B256>,
    },
    /// The frame's code has another length than its hash promises.
    CodeLen {
        /// Bytes of code that the program was compiled from.
        program: usize,
        /// Bytes of the frame's code.
        frame: usize,
    },
    /// The frame follows the rules of another fork.
    Spec {
        /// The program's fork.
        program: SpecId,
        /// The frame's fork.
        frame: SpecId,
    },
    /// The gas table is not the one in the program's rules.
    GasTable {
        /// The first opcode whose static cost differs.
        opcode: u8,
        /// Its cost by the program's rules.
        program: u16,
        /// Its cost by the table.
        frame: u16,
    },
    /// The frame has an action pending: it has ended, or waits for a call.
    ActionPending,
    /// The frame's stack has no room for 1,024 words.
    Stack {
        /// Words that it has room for.
        capacity: usize,
    },
    /// The frame's memory is not as long as its gas accounts say.
    Memory {
        /// Bytes of memory.
        len: usize,
        /// Words that were paid for.
        words: usize,
    },
    /// The frame's input lies outside the memory of its callers.
    Input,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FrontEnd => f.write_str("the program is for another EVM's frames"),
            Self::CodeHash { program, frame } => {
                write!(f, "the program is of code {program}, the frame runs ")?;
                match frame {
                    Some(frame) => write!(f, "{frame}"),
                    None => f.write_str("code without a hash"),
                }
            }
            Self::CodeLen { program, frame } => {
                write!(
                    f,
                    "the program is of {program} bytes of code, the frame has {frame}"
                )
            }
            Self::Spec { program, frame } => {
                write!(f, "the program is for {program:?}, the frame for {frame:?}")
            }
            Self::GasTable {
                opcode,
                program,
                frame,
            } => write!(
                f,
                "opcode {opcode:#04x} costs {program} by the program's rules, {frame} by the gas table"
            ),
            Self::ActionPending => f.write_str("the frame has an action pending"),
            Self::Stack { capacity } => {
                write!(f, "the frame's stack has room for {capacity} words")
            }
            Self::Memory { len, words } => {
                write!(
                    f,
                    "the frame has {len} bytes of memory and paid for {words} words"
                )
            }
            Self::Input => f.write_str("the frame's input is outside its callers' memory"),
        }
    }
}

impl std::error::Error for FrameError {}
