//! The differential harness: a deterministic world, a call-tree driver that runs each frame by
//! the interpreter or by compiled code, and the verdict that compares the two.
//!
//! The interpreter (`revm-interpreter`) is the oracle. What must be equal, and the few
//! differences that are accepted, is written in [`verdict`] and nowhere else.
//!
//! Several test crates, examples and fuzz targets include this module and none uses all of it,
//! hence the one `allow` below.
#![allow(dead_code)]

pub mod asm;
pub mod case;
pub mod driver;
pub mod generate;
pub mod native;
pub mod programs;
pub mod rng;
pub mod shrink;
pub mod verdict;
pub mod world;
