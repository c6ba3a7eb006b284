//! What callers ask, and what they are answered: the public types of lookups.

use crate::{key::RuntimeCacheKey, program::CompiledProgram, resident};
use alloy_primitives::{B256, Bytes};
use revm_interpreter::primitives::hardfork::SpecId;
use std::{fmt, sync::Arc};

/// A program that an execution thread wants, and the bytecode to compile it from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LookupRequest {
    /// The code's hash and the fork.
    pub key: RuntimeCacheKey,
    /// The bytecode as deployed, unpadded: its keccak-256 is `key.code_hash`. Compared before
    /// anything is compiled; a hit does not read it.
    pub code: Bytes,
}

/// An artifact to prepare.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AotRequest {
    /// keccak-256 of `code`.
    pub code_hash: B256,
    /// The bytecode as deployed, unpadded.
    pub code: Bytes,
    /// The fork.
    pub spec_id: SpecId,
}

/// How a frame is to be run.
#[derive(Clone, Debug)]
pub enum LookupDecision {
    /// Natively, by this program. It may be looked up again each time the frame goes on; only programs of
    /// the front end for revm 10 are kept for the life of a frame.
    Compiled(Arc<CompiledProgram>),
    /// By the interpreter.
    Interpret(InterpretReason),
}

impl LookupDecision {
    /// The program, if there is one.
    pub fn program(self) -> Option<Arc<CompiledProgram>> {
        match self {
            Self::Compiled(program) => Some(program),
            Self::Interpret(_) => None,
        }
    }
}

/// [`LookupDecision`] without a reference count; see
/// [`lookup_borrowed`](crate::JitBackend::lookup_borrowed).
#[derive(Debug)]
pub enum BorrowedDecision<'a> {
    /// Natively, by this program.
    Compiled(ProgramRef<'a>),
    /// By the interpreter.
    Interpret(InterpretReason),
}

/// A resident program, borrowed. It stays mapped while this lives, also if it is evicted.
pub type ProgramRef<'a> = resident::Ref<'a, CompiledProgram>;

/// Why a frame is to be interpreted.
///
/// As wide as a pointer, so that a [`LookupDecision`] is returned in two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum InterpretReason {
    /// The backend is switched off.
    Disabled,
    /// The bytecode is never compiled.
    Ineligible,
    /// There is no program yet.
    NotReady,
    /// Compilation failed or cost too much, and is not tried again for now.
    JitFailed,
    /// There is no program, and none will come: the backend thread has ended.
    Stopped,
}

impl fmt::Display for InterpretReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disabled",
            Self::Ineligible => "ineligible",
            Self::NotReady => "not ready",
            Self::JitFailed => "compilation failed",
            Self::Stopped => "the backend has stopped",
        })
    }
}

/// What the map says of a key that has no program: the payload of its negative entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The compiler cannot take this bytecode.
    Ineligible,
    /// Compilation failed; the key is resting.
    Failed,
    /// There is an artifact in the store that is loaded when the key is used.
    Indexed,
}
