//! The virtual operand stack: what is known of each word while a block is emitted.
//!
//! A *position* counts words from the top of the stack at the start of the block, or of the first of the
//! blocks that have taken its state over; words that stood there before are at negative positions. A word's *home* is a position in stack memory that holds
//! it. Invariants:
//!
//! * **S1** A limb that is known is right wherever control can get from where it was computed, within
//!   the block and the blocks that take its state over.
//! * **S2** A word with a limb that is not known has a home or a field of the frame, and that holds it.

use crate::compiler::{
    fault::{Fault, planted},
    limbs::{Limb, Word},
};
use alloy_primitives::U256;
use cranelift_codegen::ir;

/// A word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Val(u32);

/// What is known of a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    pub(super) limbs: [Option<Limb>; 4],
    pub(super) home: Option<i32>,
    /// A field of the frame that holds it.
    pub(super) field: Option<i32>,
    /// It is less than two to this.
    pub(super) bits: u16,
    /// It is a loop's counter: see `loops`.
    pub(super) counter: bool,
    /// It is not zero.
    pub(super) nonzero: bool,
    /// It is 1 if this word is zero, else 0.
    pub(super) zero_of: Option<Val>,
    /// It is this word plus a constant, without overflow.
    pub(super) offset: Option<(Val, u32)>,
}

impl Data {
    pub(super) fn new(limbs: [Option<Limb>; 4], bits: u16) -> Self {
        let mut data = Self {
            limbs,
            home: None,
            field: None,
            bits: 256,
            counter: false,
            nonzero: false,
            zero_of: None,
            offset: None,
        };
        data.narrow(bits);
        data
    }

    /// It is known to be less than two to `bits`.
    pub(super) fn narrow(&mut self, bits: u16) {
        self.bits = self.bits.min(bits);
        for limb in &mut self.limbs[usize::from(self.bits).div_ceil(64)..] {
            *limb = Some(Limb::ZERO);
        }
    }

    /// The value, if it is known when compiling.
    pub(super) fn constant(&self) -> Option<U256> {
        let mut limbs = [0; 4];
        for (out, limb) in limbs.iter_mut().zip(self.limbs) {
            let Some(Limb::Const(c)) = limb else {
                return None;
            };
            *out = c;
        }
        Some(U256::from_limbs(limbs))
    }
}

/// The virtual stack.
#[derive(Clone, Debug)]
pub(super) struct State {
    data: Vec<Data>,
    pub(super) stack: Vec<Val>,
    /// The first word of `stack` stands at minus this position.
    below: i32,
    /// A pointer into stack memory, and the position that it points to.
    pub(super) top: Option<(ir::Value, i32)>,
    /// The position that the frame's `top` points to.
    pub(super) saved_top: i32,
}

impl State {
    /// The state at the start of a block that is entered with a canonical stack, of which it uses
    /// `needs` words.
    pub(super) fn new(needs: u16) -> Self {
        let mut this = Self {
            data: Vec::new(),
            stack: Vec::new(),
            below: 0,
            top: None,
            saved_top: 0,
        };
        this.ensure(needs);
        this
    }

    /// Makes `needs` words of the stack known.
    pub(super) fn ensure(&mut self, needs: u16) {
        let missing = i32::from(needs) - self.stack.len() as i32;
        if missing > 0 {
            let lowest = -self.below;
            let words: Vec<Val> = (lowest - missing..lowest)
                .map(|at| self.at_home(at))
                .collect();
            self.stack.splice(0..0, words);
            self.below += missing;
        }
    }

    fn at_home(&mut self, position: i32) -> Val {
        // S2
        let mut data = Data::new([None; 4], 256);
        data.home = Some(position);
        self.add(data)
    }

    pub(super) fn add(&mut self, data: Data) -> Val {
        self.data.push(data);
        Val(self.data.len() as u32 - 1)
    }

    pub(super) fn at(&self, val: Val) -> &Data {
        &self.data[val.0 as usize]
    }

    pub(super) fn at_mut(&mut self, val: Val) -> &mut Data {
        &mut self.data[val.0 as usize]
    }

    /// The position above the highest word.
    pub(super) fn height(&self) -> i32 {
        self.stack.len() as i32 - self.below
    }

    /// The word at a position that is known.
    pub(super) fn get(&self, position: i32) -> Option<Val> {
        let index = usize::try_from(position + self.below).ok()?;
        self.stack.get(index).copied()
    }

    pub(super) fn set(&mut self, position: i32, val: Val) {
        if let Some(slot) = usize::try_from(position + self.below)
            .ok()
            .and_then(|index| self.stack.get_mut(index))
        {
            *slot = val;
        }
    }

    pub(super) fn push(&mut self, val: Val) {
        self.stack.push(val);
    }

    pub(super) fn push_word(&mut self, word: Word, bits: u16) -> Val {
        let val = self.add(Data::new(
            word.0.map(Some),
            bits.min(64 * word.width() as u16),
        ));
        self.push(val);
        val
    }

    pub(super) fn push_constant(&mut self, constant: U256) {
        let bits = constant.bit_len() as u16;
        self.push_word(Word::constant(constant), bits);
    }

    /// The words are there: `ensure` has made `needs` of the block known.
    pub(super) fn pop(&mut self) -> Val {
        match self.stack.pop() {
            Some(val) => val,
            None => {
                // Under what is known stands memory.
                self.below += 1;
                self.at_home(-self.below)
            }
        }
    }

    pub(super) fn peek(&self, depth: usize) -> Option<Val> {
        self.stack
            .len()
            .checked_sub(depth + 1)
            .map(|index| self.stack[index])
    }

    pub(super) fn dup(&mut self, n: usize) {
        if let Some(val) = self.peek(n - 1) {
            self.stack.push(val);
        }
    }

    pub(super) fn exchange(&mut self, a: usize, b: usize) {
        let len = self.stack.len();
        if a.max(b) < len {
            self.stack.swap(len - 1 - a, len - 1 - b);
        }
    }

    /// Positions whose word is not in stack memory.
    pub(super) fn dirty(&self) -> impl Iterator<Item = (i32, Val)> + '_ {
        let positions = (-self.below..).zip(&self.stack);
        positions.filter_map(|(position, &val)| {
            (self.at(val).home != Some(position)).then_some((position, val))
        })
    }

    /// Words at the positions `but` whose homes are overwritten when all else goes to stack memory.
    pub(super) fn homeless(&self, but: impl Fn(i32) -> bool) -> impl Iterator<Item = Val> + '_ {
        let (kept, moved): (Vec<_>, Vec<_>) =
            self.dirty().partition(|(position, _)| but(*position));
        let kept = kept.into_iter().map(|(_, val)| val);
        kept.filter(move |&val| {
            let home = self.at(val).home;
            let loses = moved.iter().any(|(position, _)| Some(*position) == home);
            loses && !planted(Fault::ClifHomeIsKept)
        })
    }

    /// What was dirty, but at the positions `but`, has been written to stack memory.
    pub(super) fn settled(&mut self, but: impl Fn(i32) -> bool) {
        let dirty: Vec<(i32, Val)> = self
            .dirty()
            .filter(|(position, _)| !but(*position))
            .collect();
        for (position, val) in dirty {
            // A word at several positions becomes several words, each with its home.
            let stays = self
                .at(val)
                .home
                .is_some_and(|home| self.get(home) == Some(val));
            if stays {
                let mut data = *self.at(val);
                data.home = Some(position);
                let copy = self.add(data);
                self.set(position, copy);
            } else {
                self.at_mut(val).home = Some(position);
            }
        }
    }

    /// Behind a boundary instruction: everything is in stack memory, and there only, as values in
    /// registers would have to be saved over the call.
    pub(super) fn cross(&mut self, inputs: u16, outputs: u16) {
        for _ in 0..inputs {
            self.pop();
        }
        // Of words that are gone nothing is kept: there may be many boundaries.
        let old = std::mem::take(&mut self.data);
        for (position, val) in (-self.below..).zip(&mut self.stack) {
            let old = &old[val.0 as usize];
            let known = |limb: Option<Limb>| limb.filter(|limb| matches!(limb, Limb::Const(_)));
            // Whoever had the stack in hand is believed to leave alone which limbs of a word are zero, and
            // nothing that addresses are not compared for.
            let bits = match old.constant() {
                Some(_) => old.bits,
                None => old.bits.next_multiple_of(64),
            };
            let mut data = Data::new(old.limbs.map(known), bits);
            data.home = Some(position);
            self.data.push(data);
            *val = Val(self.data.len() as u32 - 1);
        }
        for _ in 0..outputs {
            let val = self.at_home(self.height());
            self.push(val);
        }
        self.top = None;
        self.saved_top = self.height();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_leave_nothing_behind_of_words_that_are_gone() {
        let mut state = State::new(1000);
        for _ in 0..1000 {
            state.push_constant(U256::from(7));
            state.cross(1, 1);
        }
        assert_eq!((state.stack.len(), state.data.len()), (2000, 2000));
        state.cross(2000, 0);
        assert_eq!(state.data.len(), 0);
    }
}
