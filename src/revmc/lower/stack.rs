//! The operand stack in SSA values.
//!
//! Inside an extended basic block (a block and those entered from it alone) the words that the EVM
//! program pushes live as SSA values, at positions relative to the stack length at the block's
//! start. PUSH, POP, DUP and SWAP emit nothing. A word is written to memory only where something
//! else may read it there: a builtin, a suspension, or a block that is entered from several places.
//!
//! # Invariants
//!
//! * **S1** At the start of a block with several entries, memory holds every live word and the
//!   length slot holds the length.
//! * **S2** For a position in `words`, the SSA value is the word; for one that is not in `dirty`,
//!   memory holds it too, if it is in `words` or below the length.
//! * **S3** `floor <= length at the start <= ceiling`, by checks that dominate the current point.
//!
//! The length slot counts bytes, so that the stack pointer is one addition away.

use crate::compiler::limbs::{Emit, Limb, Region, Word};
use crate::frame::STACK_LIMIT;
use cranelift_codegen::ir::{self, condcodes::IntCC, types};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a stack word.
const WORD: i32 = 32;

/// How many words may stay in SSA values across a call into the host.
const KEPT_ACROSS_CALLS: usize = 32;

/// Where the function keeps the stack between blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct StackHome {
    /// Holds the length, in bytes.
    pub(super) length: ir::StackSlot,
}

/// The operand stack inside one extended basic block.
#[derive(Debug)]
pub(super) struct StackCache {
    home: StackHome,
    /// The length in bytes at the start of the block.
    start_length: ir::Value,
    /// The stack pointer at the start of the block.
    start_pointer: ir::Value,
    /// The length now, in words relative to the start.
    depth: i32,
    /// The length that the slot in memory holds.
    stored_depth: i32,
    words: BTreeMap<i32, Word>,
    dirty: BTreeSet<i32>,
    floor: i32,
    ceiling: i32,
}

/// The stack length at the start of the extended basic block is less than `below` words or more
/// than `above`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    below: Option<i32>,
    above: Option<i32>,
}

impl Bounds {
    /// Outside one or the other.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            below: self.below.max(other.below),
            above: match (self.above, other.above) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

/// `under` where the length at the start is less than `below` words, else `over`. Computed where
/// it is needed, which is out of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    start_length: ir::Value,
    below: i32,
    under: u64,
    over: u64,
}

impl Fault {
    pub(super) fn status(&self, e: &mut Emit) -> ir::Value {
        let length = Limb::Val(self.start_length);
        let is_under = e.cmp(IntCC::UnsignedLessThan, length, bytes(self.below));
        let is_under = e.value(is_under);
        let under = e.iconst(types::I8, self.under);
        let over = e.iconst(types::I8, self.over);
        e.select_values(is_under, under, over)
    }
}

fn bytes(words: i32) -> Limb {
    Limb::Const((i64::from(words) * i64::from(WORD)) as u64)
}

impl StackHome {
    /// The length in words, from memory.
    pub(super) fn load_length(&self, e: &mut Emit) -> ir::Value {
        let bytes = self.load_bytes(e);
        let Limb::Val(words) = e.shr_imm(Limb::Val(bytes), 5) else {
            return bytes;
        };
        words
    }

    /// Sets the length in memory, in words.
    pub(super) fn store_length(&self, e: &mut Emit, words: Limb) {
        let bytes = e.shl_imm(words, 5);
        let bytes = e.value(bytes);
        self.store_bytes(e, bytes);
    }

    fn load_bytes(&self, e: &mut Emit) -> ir::Value {
        let address = e.slot_address(self.length);
        e.load(types::I64, Region::Stack, address, 0)
    }

    fn store_bytes(&self, e: &mut Emit, bytes: ir::Value) {
        let address = e.slot_address(self.length);
        e.store(Region::Stack, bytes, address, 0);
    }
}

impl StackCache {
    /// The stack, whose first word is at `base`, at the start of a block with several entries (S1).
    pub(super) fn new(e: &mut Emit, home: StackHome, base: ir::Value) -> Self {
        let start_length = home.load_bytes(e);
        let start_pointer = e.add_values(base, start_length);
        Self {
            home,
            start_length,
            start_pointer,
            depth: 0,
            stored_depth: 0,
            words: BTreeMap::new(),
            dirty: BTreeSet::new(),
            floor: 0,
            ceiling: STACK_LIMIT as i32,
        }
    }

    pub(super) fn depth(&self) -> i32 {
        self.depth
    }

    pub(super) fn set_depth(&mut self, depth: i32) {
        self.depth = depth;
    }

    /// The length at `depth`, in words.
    pub(super) fn length_value(&self, e: &mut Emit, depth: i32) -> ir::Value {
        let bytes = e.offset(self.start_length, i64::from(depth) * i64::from(WORD));
        match e.shr_imm(Limb::Val(bytes), 5) {
            Limb::Val(words) => words,
            _ => bytes,
        }
    }

    /// The address of the word at `position`.
    pub(super) fn address(&self, e: &mut Emit, position: i32) -> ir::Value {
        e.offset(self.start_pointer, i64::from(position) * i64::from(WORD))
    }

    /// That the length at `depth` is less than `bound` words, unless that is known to be false.
    /// Where it is true, the translator leaves the block; afterwards the opposite is known (S3).
    pub(super) fn below(&mut self, depth: i32, bound: i64) -> Option<Bounds> {
        let bound = clamp(bound) - depth;
        if self.floor >= bound {
            return None;
        }
        self.floor = bound;
        Some(Bounds {
            below: Some(bound),
            above: None,
        })
    }

    /// That the length at `depth` is more than `bound` words; otherwise as [`below`](Self::below).
    pub(super) fn above(&mut self, depth: i32, bound: i64) -> Option<Bounds> {
        let bound = clamp(bound) - depth;
        if self.ceiling <= bound {
            return None;
        }
        self.ceiling = bound;
        Some(Bounds {
            below: None,
            above: Some(bound),
        })
    }

    /// Whether the stack is outside the bounds, as a limb of 0 or 1.
    pub(super) fn is_outside(&self, e: &mut Emit, bounds: Bounds) -> Limb {
        let length = Limb::Val(self.start_length);
        match (bounds.below, bounds.above) {
            (None, None) => Limb::ZERO,
            (_, Some(above)) if above < 0 => Limb::Const(1),
            (Some(below), Some(above)) if below > above => Limb::Const(1),
            (Some(below), None) => e.cmp(IntCC::UnsignedLessThan, length, bytes(below)),
            (None, Some(above)) => e.cmp(IntCC::UnsignedGreaterThan, length, bytes(above)),
            (Some(below), Some(above)) => {
                // Both at once: what is too short wraps around.
                let over = e.offset(self.start_length, -i64::from(below) * i64::from(WORD));
                let range = bytes(above - below);
                e.cmp(IntCC::UnsignedGreaterThan, Limb::Val(over), range)
            }
        }
    }

    /// The status of an instruction that found the stack outside its bounds.
    pub(super) fn fault(&self, bounds: Bounds, under: u64, over: u64) -> Fault {
        Fault {
            start_length: self.start_length,
            below: bounds.below.unwrap_or(0),
            under,
            over,
        }
    }

    /// The word at `position`: the value that is known, or what memory holds (S2).
    pub(super) fn get(&mut self, e: &mut Emit, position: i32) -> Word {
        if let Some(&word) = self.words.get(&position) {
            return word;
        }
        let word = e.load_word(Region::Stack, self.start_pointer, position * WORD);
        self.words.insert(position, word);
        word
    }

    pub(super) fn set(&mut self, position: i32, word: Word) {
        if self.words.insert(position, word) != Some(word) {
            self.dirty.insert(position);
        }
    }

    /// Before a builtin that is given the address of `position`: it reads `reads` words there and
    /// writes `writes`.
    ///
    /// Words that a register allocator would have to save around the call are written to their
    /// place in memory instead, where they have to go sooner or later.
    pub(super) fn before_call(&mut self, e: &mut Emit, position: i32, reads: usize, writes: usize) {
        let argument = position..position + reads.max(writes) as i32;
        let keep_none = self.words.len() > KEPT_ACROSS_CALLS;
        let dirty: Vec<i32> = self.dirty.iter().copied().collect();
        for at in dirty {
            let is_read = (position..position + reads as i32).contains(&at);
            let is_live = at < self.depth && !argument.contains(&at);
            let is_cheap = !keep_none && is_cheap_to_keep(&self.words[&at]);
            if is_read || (is_live && !is_cheap) {
                self.write_back(e, at);
            }
        }
        let dirty = &self.dirty;
        self.words
            .retain(|at, word| dirty.contains(at) || (!keep_none && is_cheap_to_keep(word)));
        for at in argument {
            self.words.remove(&at);
            self.dirty.remove(&at);
        }
        // What is above the stack now is dead.
        for at in self.dirty.split_off(&self.depth.max(position)) {
            self.words.remove(&at);
        }
    }

    /// Establishes S1 for a successor that has other predecessors.
    pub(super) fn flush(&mut self, e: &mut Emit) {
        let dirty: Vec<i32> = self.dirty.range(..self.depth).copied().collect();
        for at in dirty {
            self.write_back(e, at);
        }
        if self.depth != self.stored_depth {
            let bytes = i64::from(self.depth) * i64::from(WORD);
            let bytes = e.offset(self.start_length, bytes);
            self.home.store_bytes(e, bytes);
            self.stored_depth = self.depth;
        }
    }

    fn write_back(&mut self, e: &mut Emit, at: i32) {
        e.store_word(
            Region::Stack,
            self.words[&at],
            self.start_pointer,
            at * WORD,
        );
        self.dirty.remove(&at);
    }
}

/// A word that occupies at most one register.
fn is_cheap_to_keep(word: &Word) -> bool {
    word.0
        .iter()
        .filter(|limb| !matches!(limb, Limb::Const(_)))
        .count()
        <= 1
}

/// A bound in words, cut to a range in which no arithmetic on it overflows.
fn clamp(bound: i64) -> i32 {
    bound.clamp(-(1 << 20), 1 << 20) as i32
}
