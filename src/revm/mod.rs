//! The adapter for today's revm.
//!
//! | part | job |
//! |---|---|
//! | [`CompiledProgram::run_frame`](crate::CompiledProgram::run_frame) | runs a frame of revm's interpreter, with any host |
//! | `JitEvm` (feature `revm`) | whole transactions: wraps an EVM, looks its frames' programs up |
//! | `CallsOnly` (feature `revm`) | an inspector under which frames run natively |
//! | `JitEvmFactory` (feature `alloy-evm`) | EVMs for clients that make them by alloy-evm's factories |
//!
//! Without the feature `revm` only the first is there, which needs revm's interpreter and nothing else of
//! revm.
//!
//! # The principle
//!
//! Machine code does what surely succeeds. Everything else is done by the client's own interpreter,
//! on the client's own instruction table, gas table and host: what the host is asked, every
//! failure, every call and create, the end of a frame. So results, gas, memory, logs, and what was
//! read in which order, are the interpreter's, and there is no list of differences.
//!
//! A frame belongs to neither side. Whenever code other than machine code runs, its whole state
//! stands in the [`Interpreter`](revm_interpreter::Interpreter), as the interpreter itself would
//! have it: a frame that was suspended at a call may be continued by either side, and its program
//! may be dropped meanwhile.

#[cfg(feature = "alloy-evm")]
mod alloy;
#[cfg(feature = "revm")]
mod evm;
#[cfg(feature = "revm")]
mod inspect;

pub use crate::adapter::{FrameError, forget_hashes};
#[cfg(feature = "alloy-evm")]
pub use alloy::{JitAlloyEvm, JitEvmFactory, RevmFactory};
#[cfg(feature = "revm")]
pub use {
    evm::{JitEvm, MainnetFrames, MainnetHandled},
    inspect::CallsOnly,
};
