//! Just-in-time and ahead-of-time compilation of EVM bytecode for Ethereum clients, without LLVM.
//!
//! A client holds a [`JitBackend`] and asks it, for each frame, how to run the contract. The
//! answer is a [`CompiledProgram`], or the reason to interpret. What is called often becomes
//! native code in the background; the thread that executes blocks never waits for it.
//!
//! # The road of a lookup
//!
//! On the execution thread, [`JitBackend::lookup`] reads the [`resident`] map: a hit is the
//! program. A miss counts towards the contract's heat in a fixed array; the miss that makes it hot
//! leaves one message where the backend thread looks for it, or drops it where there is no room.
//! Nothing on this road locks, waits or wakes anybody, and a hit or a cold miss allocates nothing.
//!
//! # The road of a compilation
//!
//! The backend thread receives the message and admits it: is the code eligible, is its hash the
//! key's, is it neither resident, nor under way, nor resting after a failure? A worker compiles it
//! ([`compiler`]) within a budget of time and size, and compares the program with the interpreter
//! ([`trial`]). The backend thread publishes the program in the map, or a negative entry with a growing retry
//! delay. What stays hot is compiled again, optimised; what is not used, or does not fit, goes.
//!
//! # Where to look
//!
//! | | |
//! |---|---|
//! | [`JitBackend`] | every method, and what blocks |
//! | [`config`] | every choice and every number |
//! | [`stats`] | every counter and gauge |
//! | [`CompilationEvent`] | what is told about each compilation |
//! | [`resident`] | the map, usable by itself |
//! | [`compiler`] | the compiler, usable by itself |
//! | [`trial`] | what a program has to pass before it is published |
//! | [`Chain`] | the rules of a chain other than mainnet |
//! | [`artifact`], [`aot`] | native code that outlives the process, and what may be loaded |
//!
//! This crate writes no log and knows no metrics library. `examples/metrics` wires
//! [`RuntimeStatsSnapshot::values`] to an exporter, `examples/logging.rs` the `on_compilation`
//! callback to a log.
#![deny(unsafe_op_in_unsafe_fn, missing_docs)]

#[cfg(not(loom))]
pub mod aot;
#[cfg(not(loom))]
pub mod artifact;
#[cfg(not(loom))]
mod backend;
#[cfg(not(loom))]
mod chain;
#[cfg(not(loom))]
pub mod code;
#[cfg(not(loom))]
pub mod compiler;
#[cfg(not(loom))]
pub mod config;
#[cfg(not(loom))]
mod cpu_time;
#[cfg(not(loom))]
mod diagnostics;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod event;
#[cfg(not(loom))]
mod files;
#[cfg(not(loom))]
pub mod frame;
#[cfg(not(loom))]
mod front_end;
#[cfg(not(loom))]
mod hotness;
#[cfg(not(loom))]
mod key;
#[cfg(not(loom))]
mod program;
pub mod resident;
#[cfg(not(loom))]
pub mod revm;
#[cfg(all(feature = "revmc", not(loom)))]
pub mod revmc;
#[cfg(not(loom))]
pub mod stats;
#[cfg(not(loom))]
pub mod trial;
#[cfg(not(loom))]
mod worker;

/// What the tests' programs are made with.
#[cfg(all(test, not(loom)))]
#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../tests/common"]
mod common {
    pub mod asm;
    pub mod case;
    pub mod database;
    pub mod generate;
    pub mod rng;
    pub mod types;
}

#[cfg(not(loom))]
pub use {
    backend::{
        AotRequest, BorrowedDecision, InterpretReason, JitBackend, LookupDecision, LookupRequest,
        ProgramRef, Verdict, WeakJitBackend,
    },
    chain::{Chain, ChainError, ForkRules},
    code::CodeError,
    config::{OnCompilation, RuntimeConfig, RuntimeTuning},
    error::{Blame, ConfigError, Error, Ineligible, Result, StoreError},
    event::{CompilationEvent, CompilationKind},
    front_end::FrontEnd,
    key::RuntimeCacheKey,
    program::{CompiledProgram, ProgramKind},
    stats::RuntimeStatsSnapshot,
};

/// The EVM types that the API speaks, at the version it speaks.
#[cfg(not(loom))]
pub mod primitives {
    pub use crate::compiler::OptimizationLevel;
    pub use alloy_primitives::{B256, Bytes, keccak256};
    pub use revm_interpreter::{primitives::hardfork::SpecId, state::Bytecode};
}

/// Its example is compiled and run.
#[cfg(all(doctest, not(loom)))]
#[doc = include_str!("../README.md")]
mod readme {}
