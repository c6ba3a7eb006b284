//! What a command of [`JitBackend`](crate::JitBackend) can fail with.

use crate::{
    artifact::ArtifactError, code::CodeError, compiler::CompileError, key::RuntimeCacheKey, trial,
};
use alloy_primitives::B256;
use std::{fmt, io, ops::Deref, sync::Arc, time::Duration};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a command did not do what it was asked.
///
/// Cloneable, because everybody who waits for one compilation gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work; nothing was started.
    Config(ConfigError),
    /// The operating system refused a thread.
    Spawn {
        /// Name of the thread.
        thread: String,
        /// The kind of refusal.
        kind: io::ErrorKind,
    },
    /// The bytecode is one that is never compiled
    /// ([`RuntimeTuning::should_compile`](crate::RuntimeTuning::should_compile)).
    Ineligible(Ineligible),
    /// The bytecode is not the one its key names: keccak-256 of the code is another hash.
    CodeHashMismatch {
        /// The hash in the key.
        key: B256,
        /// keccak-256 of the code that came with it.
        code: B256,
    },
    /// The compiler refused the bytecode.
    Compile(CompileError),
    /// The system refused memory for the machine code.
    Code(CodeError),
    /// The compiler panicked; the worker that ran it goes on. Holds the panic's message.
    Panicked(String),
    /// The program is not the interpreter's equal: its [`trial`] has found a difference, of which this
    /// is the smallest that was found. The key is not tried again in this process, at any tier.
    Miscompiled(Box<trial::Difference>),
    /// The compilation finished but cost more processor time than its bytecode's length allows.
    CompileTime {
        /// Processor time it took.
        spent: Duration,
        /// What was allowed.
        allowed: Duration,
    },
    /// The program alone is larger than the whole budget for resident code.
    LargerThanCache {
        /// Bytes the program maps.
        len: usize,
        /// [`RuntimeTuning::resident_code_cache_bytes`](crate::RuntimeTuning), or `aot_code_cache_bytes`.
        max: usize,
    },
    /// The compilation used more processor time than
    /// [`RuntimeTuning::job_abandon_after`](crate::RuntimeTuning), was not back by then, and was
    /// given up.
    Abandoned(Duration),
    /// The key failed before and its retry delay has not passed.
    RecentlyFailed {
        /// Failures of this key so far.
        attempts: u32,
        /// Time until it may be tried again, as a multiple of the tick interval; `Duration::MAX` if it
        /// was miscompiled, which is for good.
        retry_in: Duration,
    },
    /// The request was overtaken by a clear command.
    Cleared(RuntimeCacheKey),
    /// Compilation is paused ([`JitBackend::pause`](crate::JitBackend::pause)); a wait for it
    /// could last for ever. What was asked for is still done after the pause, if that began later.
    Paused,
    /// As many compilations as
    /// [`RuntimeTuning::max_requested_jobs`](crate::RuntimeTuning) wait already.
    QueueFull(usize),
    /// An artifact was asked for and no artifact store is configured.
    NoStore,
    /// The artifact store, or an artifact in it, failed.
    Artifact(StoreError),
    /// The artifact that the index of the store listed is not there any more.
    ArtifactGone(RuntimeCacheKey),
    /// The backend thread has ended.
    Stopped,
    /// This process was forked from the one that started the backend: the threads stayed there.
    Forked,
    /// A command that waits for the backend was called on one of the backend's own threads (from
    /// an `on_compilation` callback, say), where the wait could not end.
    WouldDeadlock,
}

/// On whom it is that a compilation brought no program: what follows from a failure, in one place.
///
/// | | negative entry | rests, longer each time | evict and try again | counted as |
/// |---|---|---|---|---|
/// | `Code` | ineligible | yes | no | `failed_code` |
/// | `Compiler` | failed | yes | no | `failed_compiler` |
/// | `Miscompiled` | failed | for as long as the process lives | no | `miscompiled` |
/// | `Budget` | failed | yes | no | `over_budget` |
/// | `System` | none | everybody, longer each time | where room is wanting | `failed_system` |
/// | `Overtaken` | none | no | no | `overtaken` |
/// | `Caller` | none | no | no | nothing: no compilation was under way |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// The bytecode's own: refused before code generation, by a rule that the same bytecode meets
    /// again, whoever asks and when.
    Code,
    /// The compiler's: it panicked, or met something that it has no rule for.
    Compiler,
    /// The compiler's, and worse: the program computes something else than the interpreter. The same
    /// compiler would make the same program again, so the key is left to the interpreter, at every tier and with
    /// all that there is of it, until the process ends, whatever is cleared; also what a caller prepares by name.
    Miscompiled,
    /// It costs more time or space than its length allows.
    Budget,
    /// A condition of the system (memory, mappings, files): the code has no part in it.
    System,
    /// A clear command, a pause or the end of the backend came before it.
    Overtaken,
    /// The request could not be carried out as it was made.
    Caller,
}

impl Blame {
    /// Whether the key is remembered, and rests before it is tried again.
    pub fn is_remembered(self) -> bool {
        matches!(
            self,
            Self::Code | Self::Compiler | Self::Miscompiled | Self::Budget
        )
    }
}

impl Error {
    /// On whom it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Ineligible(_) => Blame::Code,
            Self::Compile(error) => compile_blame(error),
            Self::Panicked(_) => Blame::Compiler,
            Self::Miscompiled(_) => Blame::Miscompiled,
            // Given up for the processor time it used, so not on a slow or a stopped machine.
            Self::CompileTime { .. } | Self::LargerThanCache { .. } | Self::Abandoned(_) => {
                Blame::Budget
            }
            Self::Code(_) | Self::Artifact(_) | Self::ArtifactGone(_) | Self::Spawn { .. } => {
                Blame::System
            }
            Self::Cleared(_) | Self::Paused | Self::Stopped => Blame::Overtaken,
            Self::Config(_)
            | Self::CodeHashMismatch { .. }
            | Self::RecentlyFailed { .. }
            | Self::QueueFull(_)
            | Self::NoStore
            | Self::Forked
            | Self::WouldDeadlock => Blame::Caller,
        }
    }
}

fn compile_blame(error: &CompileError) -> Blame {
    match error {
        CompileError::UnsupportedTarget(_)
        | CompileError::Unsupported(_)
        | CompileError::Reserved
        | CompileError::BytecodeTooLong { .. }
        | CompileError::TooComplex { .. } => Blame::Code,
        CompileError::NativeTooLarge { .. } | CompileError::FrameTooLarge { .. } => Blame::Budget,
        CompileError::Dump(_) => Blame::System,
        CompileError::Codegen(_) => Blame::Compiler,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "configuration: {error}"),
            Self::Spawn { thread, kind } => write!(f, "cannot start thread {thread:?}: {kind}"),
            Self::Ineligible(reason) => write!(f, "bytecode is not compiled: {reason}"),
            Self::CodeHashMismatch { key, code } => {
                write!(f, "the key names code {key}, the code given is {code}")
            }
            Self::Compile(error) => write!(f, "compilation failed: {error}"),
            Self::Code(error) => write!(f, "no memory for the machine code: {error}"),
            Self::Panicked(message) => write!(f, "the compiler panicked: {message}"),
            Self::Miscompiled(difference) => write!(f, "miscompiled: {difference}"),
            Self::CompileTime { spent, allowed } => {
                write!(f, "compilation took {spent:?}, allowed are {allowed:?}")
            }
            Self::LargerThanCache { len, max } => {
                write!(
                    f,
                    "the program maps {len} bytes, the code cache holds {max}"
                )
            }
            Self::Abandoned(after) => {
                write!(f, "compilation given up after {after:?} of processor time")
            }
            Self::RecentlyFailed {
                retry_in: Duration::MAX,
                ..
            } => f.write_str("miscompiled before, not tried again"),
            Self::RecentlyFailed { attempts, retry_in } => {
                write!(
                    f,
                    "failed {attempts} times, not tried again for {retry_in:?}"
                )
            }
            Self::Cleared(key) => write!(f, "cleared before it was compiled: {key}"),
            Self::Paused => f.write_str("compilation is paused"),
            Self::QueueFull(max) => write!(f, "{max} compilations are waiting already"),
            Self::NoStore => f.write_str("no artifact store is configured"),
            Self::Artifact(error) => write!(f, "artifact: {error}"),
            Self::ArtifactGone(key) => write!(f, "the artifact of {key} has gone"),
            Self::Stopped => f.write_str("the backend has stopped"),
            Self::Forked => f.write_str("the backend's threads are in the parent process"),
            Self::WouldDeadlock => f.write_str("called on a thread of the backend itself"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Compile(error) => Some(error),
            Self::Code(error) => Some(error),
            Self::Artifact(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<CompileError> for Error {
    fn from(error: CompileError) -> Self {
        Self::Compile(error)
    }
}

impl From<CodeError> for Error {
    fn from(error: CodeError) -> Self {
        Self::Code(error)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Artifact(error)
    }
}

/// An [`ArtifactError`] that several can hold. Two are equal if they say the same.
#[derive(Clone, Debug)]
pub struct StoreError(Arc<ArtifactError>);

impl Deref for StoreError {
    type Target = ArtifactError;

    fn deref(&self) -> &ArtifactError {
        &self.0
    }
}

impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.to_string() == other.to_string()
    }
}

impl Eq for StoreError {}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<ArtifactError> for StoreError {
    fn from(error: ArtifactError) -> Self {
        Self(Arc::new(error))
    }
}

/// Why a bytecode is never compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ineligible {
    /// There is no code to compile.
    Empty,
    /// It starts with `0xEF`, the byte that EIP-3541 reserves for EOF containers.
    Eof,
    /// It is longer than
    /// [`RuntimeTuning::jit_max_bytecode_len`](crate::RuntimeTuning::jit_max_bytecode_len).
    TooLong {
        /// Bytes of bytecode.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
}

impl std::error::Error for Ineligible {}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Eof => f.write_str("it is an EOF container"),
            Self::TooLong { len, max } => write!(f, "it has {len} bytes, the limit is {max}"),
        }
    }
}

/// A setting that cannot work, by the name of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The field has to be at least 1 (or, if a duration, longer than nothing).
    Zero(&'static str),
    /// The field is above what is supported.
    TooLarge {
        /// Name of the field.
        field: &'static str,
        /// Its value (milliseconds if a duration).
        value: u128,
        /// The largest supported value.
        max: u128,
    },
    /// One field has to be at least as large as another.
    Below {
        /// The field that is too small.
        field: &'static str,
        /// What it is measured against: another field, or a value.
        least: &'static str,
    },
    /// The field has to be a power of two.
    NotAPowerOfTwo {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: usize,
    },
    /// `aot` is set, but there is no `store` for the artifacts.
    AotWithoutStore,
    /// A `store` is set, but `front_end` is one whose programs cannot be stored.
    StoreWithoutCompiler,
    /// A thread's name cannot contain a NUL byte.
    ThreadName(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(field) => write!(f, "{field} must not be zero"),
            Self::TooLarge { field, value, max } => {
                write!(f, "{field} is {value}, at most {max} is supported")
            }
            Self::Below { field, least } => write!(f, "{field} must not be below {least}"),
            Self::NotAPowerOfTwo { field, value } => {
                write!(f, "{field} is {value}, which is not a power of two")
            }
            Self::AotWithoutStore => f.write_str("aot is set without a store"),
            Self::StoreWithoutCompiler => {
                f.write_str("a store is set with a front end whose programs cannot be stored")
            }
            Self::ThreadName(name) => write!(f, "thread_name {name:?} contains a NUL byte"),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_the_codes_or_the_compilers() {
        let dump = CompileError::Dump(String::new());
        let bug = CompileError::Codegen(String::new());
        for (error, blame, remembered) in [
            (Error::Ineligible(Ineligible::Empty), Blame::Code, true),
            (Error::Compile(bug), Blame::Compiler, true),
            (Error::Panicked(String::new()), Blame::Compiler, true),
            (Error::Compile(dump), Blame::System, false),
            (Error::Stopped, Blame::Overtaken, false),
            (Error::NoStore, Blame::Caller, false),
        ] {
            assert_eq!(error.blame(), blame, "{error}");
            assert_eq!(blame.is_remembered(), remembered, "{error}");
        }
    }
}
