//! What a caller is told about each compilation.

use crate::{
    compiler::Tier,
    error::{Error, StoreError},
    key::RuntimeCacheKey,
    trial::Passed,
};
use std::{fmt, time::Duration};

/// What a compilation was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompilationKind {
    /// A program for this process.
    Jit,
    /// The same key again, optimised, because it stayed hot.
    Optimize,
    /// An artifact, compiled, loaded and stored.
    Aot,
    /// An artifact of an earlier run, verified and loaded: nothing was compiled.
    Load,
}

impl fmt::Display for CompilationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jit => "jit",
            Self::Optimize => "optimize",
            Self::Aot => "aot",
            Self::Load => "load",
        })
    }
}

/// A compilation that ended, well or not.
///
/// `Display` is one line for a log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompilationEvent {
    /// What was compiled.
    pub key: RuntimeCacheKey,
    /// What for.
    pub kind: CompilationKind,
    /// The setting it was compiled with.
    pub tier: Tier,
    /// Wall-clock time the worker spent, from taking the job to the finished program.
    pub duration: Duration,
    /// Processor time of the same; equals `duration` where the system does not tell. What the trial and
    /// making an artifact take is part of it, but not measured against the budget; what storing takes is
    /// not.
    pub cpu_time: Duration,
    /// Bytes of bytecode; 0 if it is not known, of an artifact that the warm start could not load.
    pub bytecode_len: usize,
    /// Bytes the program maps, or why there is none. A program that a clear command or a full
    /// cache overtook counts as success here and is not published.
    pub outcome: Result<usize, Error>,
    /// What its trial came to, if a program came out that was tried. One that was miscompiled has no
    /// program: [`Error::Miscompiled`] is its outcome.
    pub trial: Option<Passed>,
    /// What went wrong with the artifact that it should have become: it could not be stored, or not be
    /// loaded (it is a JIT program then).
    pub store_error: Option<StoreError>,
}

impl CompilationEvent {
    /// Whether a program came out.
    pub fn success(&self) -> bool {
        self.outcome.is_ok()
    }
}

impl fmt::Display for CompilationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            kind,
            tier,
            duration,
            bytecode_len,
            outcome,
            ..
        } = self;
        write!(
            f,
            "{kind} {tier:?} {key}: {bytecode_len} bytes in {duration:?}, "
        )?;
        match outcome {
            Ok(mapped) => write!(f, "{mapped} bytes mapped")?,
            Err(error) => write!(f, "{error}")?,
        }
        if let Some(passed) = &self.trial {
            write!(f, ", {passed}")?;
        }
        match &self.store_error {
            Some(error) => write!(f, ", without its artifact: {error}"),
            None => Ok(()),
        }
    }
}
