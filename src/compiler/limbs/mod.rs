//! Words of 256 bits on Cranelift's integers: what both of this crate's users of Cranelift compute with.
//!
//! | file | job |
//! |---|---|
//! | `emit` | limbs, and instructions at an insertion point |
//! | `word`, `shift` | 256-bit arithmetic on limbs |

mod emit;
mod shift;
mod word;

#[cfg(feature = "revmc")]
pub(crate) use emit::evaluate;
pub(crate) use emit::{Emit, Limb, Region};
pub(crate) use word::{Plan, Word};
