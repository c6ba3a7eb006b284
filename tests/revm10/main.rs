//! revmc's translator against revm 10's interpreter.

#[path = "../common/asm.rs"]
mod asm;
mod backend;
#[path = "../common/case.rs"]
mod case;
mod differential;
mod driver;
mod edge_programs;
mod frames;
#[path = "../common/generate/mod.rs"]
mod generate;
mod native;
mod opcodes;
#[path = "../common/programs/mod.rs"]
mod programs;
mod refused;
// Bytes are drawn from by fuzzers, of today's engine.
#[allow(dead_code)]
#[path = "../common/rng.rs"]
mod rng;
mod run;
#[cfg(feature = "revm-10")]
mod second_opinion;
#[path = "../common/shrink.rs"]
mod shrink;
#[cfg(feature = "revm-10")]
mod transactions;
mod types;
mod verdict;
mod world;

/// What the shared files call it.
use world as database;
