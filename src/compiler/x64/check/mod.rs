//! A second look at finished machine code, by a checker that shares nothing with the emitter but the
//! passes' instructions and demands: it decodes the bytes with another project's decoder, follows every
//! way through them, and works out again what the emitter has had in mind.
//!
//! # What is checked, on every way
//!
//! * **K1** A leave goes to the run's start, to the instruction at hand, or to the one behind it; what
//!   belongs on the stack there is in its slots, word by word, and the top is where it has to be. To the
//!   run's start only if nothing was written, and no instruction has looked at gas or memory before the
//!   memory grew.
//! * **K2** What was charged is what the instructions up to there cost: at leaves, boundary
//!   instructions, jumps by table, and wherever a block begins with a canonical frame.
//! * **K3** Gas does not run out between comparisons (D3), and the stack is neither read nor written
//!   outside of what was demanded (D1).
//! * **K4** Every access of memory ends where an earlier comparison, or growth, has made sure of (D2);
//!   that an offset above 2^32 was sorted out before is not looked at.
//! * **K5** A block that continues another has one way into it (T1), and a jump whose target the run has
//!   pushed leads there (C2).
//! * **K6** All code is come by.
//! * **K7** Words are in the ranges that they are taken to be in: looked at by running expressions, over
//!   edge words, with no machine code at all.
//!
//! Words are followed by where they come from: a slot at the run's start, a constant, a field of the
//! frame, or the instruction that has made them. So a word that was computed wrongly is not seen here
//! (the comparisons with the interpreter do), and one that is lost, stale, or somebody else's is.
//!
//! Code of loops, which Cranelift generates, is not followed: it is a jump to the blocks that it leaves to.
//!
//! `REVMC_JIT_CHECK=FOLDER` adds the codes of the `codes.json` in there, each at both tiers.

mod bytecode;
mod machine;
mod ranges;
mod tests;
mod walk;

/// Where the code of an instruction begins: a label, then an offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark<P> {
    pub(super) place: P,
    /// The instruction's number.
    pub(super) at: u32,
    /// The block that begins, in front of its first instruction's own mark.
    pub(super) begins: Option<Begin>,
    /// The word on top is taken for less than 2^bits.
    pub(super) bits: u16,
}

/// How a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) block: usize,
    /// With what the block before leaves, rather than with a canonical frame.
    pub(super) inherits: bool,
}

impl<P> Mark<P> {
    /// The same at an offset; all marks are bound where they are made.
    pub(super) fn placed(&self, offset: Option<usize>) -> Mark<usize> {
        Mark {
            place: offset.expect("a mark is bound"),
            at: self.at,
            begins: self.begins,
            bits: self.bits,
        }
    }
}
