//! Just-in-time and ahead-of-time compilation of EVM bytecode for Ethereum clients, without LLVM.
#![deny(unsafe_op_in_unsafe_fn, missing_docs)]

mod backend;
pub mod config;
mod cpu_time;
pub mod engine;
mod error;
mod event;
mod hotness;
mod program;
pub mod resident;
pub mod stats;
mod worker;

pub use backend::{
    AotRequest, BorrowedDecision, InterpretReason, JitBackend, LookupDecision, LookupRequest,
    ProgramRef, Verdict, WeakJitBackend,
};
pub use config::{OnCompilation, RuntimeConfig, RuntimeTuning};
pub use error::{ConfigError, Error, Ineligible, Result};
pub use event::{CompilationEvent, CompilationKind};
pub use program::{CompiledProgram, FrameError, ProgramKind, RuntimeCacheKey};
pub use stats::RuntimeStatsSnapshot;

/// The types of revmc and revm that this crate's API exposes.
pub use revmc;
pub use revmc::OptimizationLevel;

/// The EVM types that the API speaks, at the version it speaks.
pub mod primitives {
    pub use alloy_primitives::{B256, Bytes, keccak256};
    pub use revmc::primitives::SpecId;
}
