//! Machine code against revm's interpreter: everything that can be seen has to be equal.
//!
//! | module | shows |
//! |---|---|
//! | `named` | programs on which compilers of EVMs have gone wrong |
//! | `boundaries` | what the host is asked before every kind of failure, with good and bad hosts |
//! | `opcodes` | every opcode on every fork with edge operands |
//! | `programs` | hand-written programs, everywhere and at every gas limit |
//! | `switching` | frames that change sides, programs that go away |
//! | `generated` | random programs |
//! | `transactions` | whole transactions |
//! | `refusals` | frames that a program refuses; chains with rules of their own |
//! | `ways` | blocks entered with just enough words and memory, or too few |
//! | `export` | generated programs, for oracles that are not Rust |
//! | `inspectors` | what inspectors are told, of steps and of everything else |
//! | `harness` | the comparison sees every difference |

#[path = "../common/mod.rs"]
mod common;

mod boundaries;
mod export;
mod generated;
mod harness;
mod inspectors;
mod named;
mod opcodes;
mod passes;
mod programs;
mod refusals;
mod switching;
mod transactions;
mod ways;
