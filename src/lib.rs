//! Just-in-time and ahead-of-time compilation of EVM bytecode for Ethereum clients, without LLVM.
#![deny(unsafe_op_in_unsafe_fn, missing_docs)]

#[cfg(not(loom))]
pub mod artifact;
#[cfg(not(loom))]
pub mod engine;
#[cfg(not(loom))]
mod program;
pub mod resident;

#[cfg(not(loom))]
pub use program::{CompiledProgram, FrameError, ProgramKind, RuntimeCacheKey};

/// The types of revmc and revm that this crate's API exposes.
pub use revmc;
