//! Real blocks, run again: what tests, benchmarks and examples share.
//!
//! | module | job |
//! |---|---|
//! | `arguments` | the command line of a program that runs a folder |
//! | `json` | hexadecimal fields of JSON |
//! | `chain` | which fork a block is of, and what the fork does before the first transaction |
//! | `format` | a block and the state before it, from a folder |
//! | `step` | a transaction on an EVM, with everything that it did |
//! | `native` | the contracts compiled in one tier, and how long blocks take with them |
//! | `run` | an EVM for a block; a block run on an EVM, with everything kept or with a clock |
//! | `alloy` (feature `alloy-evm`) | a block run on an EVM that a factory of alloy-evm has made |
//! | `frames` | a block whose frames are run by a function of the caller's |
//! | `receipts` | gas used, logs bloom and receipts root, against the header |
//! | `compare` | what differs between two ways to run a step |
//!
//! A folder holds `NUMBER.json` for each block and `codes.json`, the contracts by code hash. A block
//! file is an object of `header`, `transactions` (with `from` in place of a signature), `preState` (the
//! accounts and slots that the block touches; what is absent is empty or zero) and `blockHashes` (those
//! that the block asks for).
//!
//! Several programs include this module and none uses all of it, hence the one `allow` below.
#![allow(dead_code)]

#[cfg(feature = "alloy-evm")]
pub mod alloy;
pub mod arguments;
pub mod chain;
pub mod compare;
pub mod format;
pub mod frames;
pub mod json;
pub mod native;
pub mod receipts;
pub mod run;
pub mod step;
