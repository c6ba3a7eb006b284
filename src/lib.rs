//! Hot Ethereum contracts as native code, beside the interpreter of a client on revm, without LLVM.
//!
//! A client holds a [`JitBackend`] and asks it, for each frame, how to run the contract. The
//! answer is a [`CompiledProgram`], or the reason to interpret. What is called often becomes
//! native code in the background; the thread that executes blocks never waits for it. Native code
//! decides only success: calls, storage, gas that runs out, every failure and every end of a frame are
//! the client's own interpreter's.
//!
//! ```
//! # #[cfg(feature = "revm")] {
//! # use revm::{Context, MainBuilder, MainContext, database::InMemoryDB};
//! # use revmc_jit::{JitBackend, RuntimeConfig, revm::JitEvm};
//! let jit = JitBackend::new(RuntimeConfig::default())?; // one for the whole client
//! let evm = Context::mainnet().with_db(InMemoryDB::default()).build_mainnet();
//! let mut evm = JitEvm::new(evm, jit.clone()); // the one line that changes
//! # let _ = &mut evm;
//! # }
//! # Ok::<(), revmc_jit::Error>(())
//! ```
//!
//! README has the same with a transaction, what is promised and what is not, figures, and how to embed
//! and operate it; SECURITY.md says which test answers which fear.
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
//! ([`trial`]). The backend thread publishes the program in the map, or a negative entry with a growing
//! retry delay. What stays hot is compiled again, optimised; what is not used, or does not fit, goes.
//!
//! # The road of a frame
//!
//! The program is admitted for the frame: the same code, fork and prices. Machine code gets a
//! [`NativeFrame`](frame::NativeFrame) with stack, gas and memory of revm's interpreter, and runs what
//! surely succeeds. For every other instruction it writes its state back and calls the function of the
//! client's instruction table; where something fails, it leaves, and the interpreter goes on from there
//! ([`revm`]).
//!
//! # The road of an artifact
//!
//! With a [store](RuntimeConfig::store), what becomes hot ([`RuntimeConfig::aot`]) or is
//! [prepared](JitBackend::prepare_aot) is kept there once it was compiled and tried, under a name that
//! holds all that decides its code ([`mod@aot`]). The next process reads the names, loads what was hot
//! before anybody misses it and the rest when it is missed, and runs nothing that is not verified
//! ([`artifact`]).
//!
//! # Where to look
//!
//! | | |
//! |---|---|
//! | [`JitBackend`] | every method, and what blocks |
//! | [`revm`] | frames, whole transactions (feature `revm`), factories (feature `alloy-evm`), inspectors |
//! | [`config`] | every choice and every number |
//! | [`stats`] | every counter and gauge |
//! | [`Error`] | what can fail, and on whom it is |
//! | [`CompilationEvent`] | what is told about each compilation |
//! | [`resident`] | the map, usable by itself |
//! | [`compiler`], [`frame`] | the compiler, usable by itself, and the ABI of its code |
//! | [`trial`] | what a program has to pass before it is published |
//! | [`Chain`] | the rules of a chain other than mainnet |
//! | [`artifact`], [`aot`] | native code that outlives the process, and what may be loaded |
//! | `revmc` (feature of that name) | revmc's translator, for clients on revm 10 |
//!
//! This crate writes no log and knows no metrics library. `examples/metrics` wires
//! [`RuntimeStatsSnapshot::values`] to an exporter, `examples/logging.rs` the `on_compilation`
//! callback to a log.
#![deny(unsafe_op_in_unsafe_fn, missing_docs)]

#[cfg(not(unix))]
compile_error!("revmc-jit is for Unix systems; depend on it for cfg(unix) only");

#[cfg(not(loom))]
mod adapter;
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
mod panics;
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
