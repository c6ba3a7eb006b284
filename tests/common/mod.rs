//! The differential harness: a deterministic state behind a database that records what is read, a
//! driver that runs each frame of a call tree on the side that it is told to, and the comparison.
//!
//! revm's interpreter is the oracle, and everything that can be seen has to be equal: there is no
//! list of differences.
//!
//! Several test crates include this module and none uses all of it, hence the one `allow` below.
#![allow(dead_code)]

pub mod asm;
pub mod case;
pub mod database;
pub mod disturb;
pub mod engine;
pub mod frame;
pub mod generate;
pub mod programs;
pub mod rng;
pub mod shrink;
pub mod state;
pub mod types;
