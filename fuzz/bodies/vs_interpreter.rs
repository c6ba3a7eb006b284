//! One program by the interpreter and through [`JitBackend`] in blocking mode, at both tiers.
//!
//! An input is a head of eight bytes (see [`Head`]), calldata, and the code: raw bytes, or a list
//! of [`Instruction`]s, from which jumps that land and pushes that are whole come out more often.

use crate::common::asm::{Item, assemble};
use crate::common::case::{Case, FORKS};
use crate::with_jit::WithJit;
use arbitrary::{Arbitrary, Unstructured};
use revmc::primitives::{Bytes, OptimizationLevelUnused, U256};
use revmc_jit::{JitBackend, RuntimeConfig};
