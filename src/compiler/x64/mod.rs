//! Machine code for x86-64, in one pass over the blocks.
//!
//! The emitter keeps a virtual operand stack: PUSH, DUP, SWAP and POP change only that, words are
//! computed where they are used, and the words of the stack go to memory at canonical points, each at
//! most once. Within a run a word is a constant, a slot of the stack in memory, a field of the frame,
//! one to four limbs in general-purpose registers, a vector register, or a comparison in the flags.
//!
//! # Leaves
//!
//! A run begins at a canonical point with one subtraction of its static gas. While it has not written
//! memory that the interpreter can see, whatever fails goes back to that point: gas is given back
//! and the interpreter does the run's pure instructions again. Later failures write the stack back
//! and go to the instruction itself.
//!
//! | file | job |
//! |---|---|
//! | `asm` | encodings |
//! | `disassemble` | encodings, read |
//! | `layout` | where everything stands in the text |
//! | `listing` | the text, for a person to read |
//! | `state` | where words are |
//! | `trace` | blocks, and which follows which |
//! | `run` | the run that is emitted, and ways on which another block takes it over |
//! | `emit` | charges, leaves, flushes |
//! | `operand` | words as operands |
//! | `select` | which instruction is whose |
//! | `words` | arithmetic and comparison |
//! | `bits` | logic and shifts |
//! | `memory` | memory and call data |
//! | `control` | jumps and boundaries |
//! | `table` | the jump table |

mod asm;
mod bits;
#[cfg(test)]
mod check;
mod control;
mod disassemble;
mod emit;
mod layout;
mod listing;
mod memory;
mod operand;
mod run;
mod select;
mod state;
mod table;
mod trace;
mod words;

pub(super) use emit::emit;

use super::cpu_features;

/// Whether this machine has all that the emitted code and its routines use.
pub(super) fn supported() -> bool {
    ["avx2", "bmi2", "lzcnt", "movbe", "popcnt"]
        .iter()
        .all(|name| cpu_features().contains(name))
}
