//! Words and the stack's memory: what is loaded when it is used, and what is written back.

use super::{
    generate::Generator,
    state::{Data, Val},
};
use crate::{
    compiler::limbs::{Limb, Region, Word},
    frame::at,
};
use alloy_primitives::U256;
use cranelift_codegen::ir::{self, types};

impl Generator<'_> {
    /// A pointer into stack memory, and its position. Not kept if it is not known yet.
    pub(super) fn top(&mut self) -> (ir::Value, i32) {
        match self.state.top {
            Some(top) => top,
            None => (self.load_field(at::TOP), self.state.saved_top),
        }
    }

    /// The same, kept: for code that all of the block's rest comes after.
    fn keep_top(&mut self) -> (ir::Value, i32) {
        let top = self.top();
        self.state.top = Some(top);
        top
    }

    /// The stack's top goes to the frame.
    pub(super) fn save_top(&mut self) {
        let height = self.state.height();
        if height != self.state.saved_top {
            let (top, position) = self.keep_top();
            let top = self.e.offset(top, 32 * i64::from(height - position));
            self.store_field(at::TOP, top);
            self.state.saved_top = height;
        }
    }

    /// The words that are not in stack memory go there, but those at positions `but`.
    pub(super) fn flush(&mut self, but: impl Fn(i32) -> bool + Copy) {
        if self.state.dirty().any(|(position, _)| !but(position)) {
            self.keep_top();
            // S2: their homes are about to be another's.
            let homeless: Vec<Val> = self.state.homeless(but).collect();
            for &val in &homeless {
                self.word(val);
            }
            self.emit_moves(but);
            self.state.settled(but);
            for val in homeless {
                self.state.at_mut(val).home = None;
            }
        }
    }

    pub(super) fn emit_moves(&mut self, but: impl Fn(i32) -> bool) {
        let moves: Vec<(i32, Val)> = self
            .state
            .dirty()
            .filter(|(position, _)| !but(*position))
            .collect();
        if moves.is_empty() {
            return;
        }
        let (top, at) = self.top();
        let offset = |position: i32| 32 * (position - at);
        // Homes that are overwritten are read first.
        let overwritten: Vec<i32> = moves.iter().map(|(position, _)| *position).collect();
        let mut halves: Vec<Option<[ir::Value; 2]>> = vec![None; moves.len()];
        for (halves, (_, val)) in halves.iter_mut().zip(&moves) {
            let data = *self.state.at(*val);
            if data.limbs.iter().any(Option::is_none)
                && let Some(home) = data.home
                && data.field.is_none()
                && overwritten.binary_search(&home).is_ok()
            {
                *halves = Some(self.load_halves(Region::Stack, top, offset(home)));
            }
        }
        let mut zero = None;
        for (halves, (position, val)) in halves.into_iter().zip(moves) {
            let data = *self.state.at(val);
            let to = offset(position);
            let halves = match (halves, data.limbs, data.field, data.home) {
                (Some(halves), ..) => halves,
                (None, [Some(a), Some(b), Some(c), Some(d)], ..) => {
                    self.store_limbs(Word([a, b, c, d]), top, to, &mut zero);
                    continue;
                }
                (None, _, Some(field), _) => {
                    let frame = self.frame();
                    self.load_halves(Region::Context, frame, field)
                }
                (None, _, None, home) => {
                    let home = home.unwrap_or(position);
                    self.load_halves(Region::Stack, top, offset(home))
                }
            };
            for (i, half) in halves.into_iter().enumerate() {
                self.e.store(Region::Stack, half, top, to + 16 * i as i32);
            }
        }
    }

    fn load_halves(&mut self, region: Region, base: ir::Value, offset: i32) -> [ir::Value; 2] {
        [0, 16].map(|by| self.e.load(types::I64X2, region, base, offset + by))
    }

    fn store_limbs(
        &mut self,
        word: Word,
        base: ir::Value,
        offset: i32,
        zero: &mut Option<ir::Value>,
    ) {
        for half in 0..2 {
            let pair = [word.0[2 * half], word.0[2 * half + 1]];
            let offset = offset + 16 * half as i32;
            if pair == [Limb::ZERO; 2] {
                let zero = *zero.get_or_insert_with(|| self.e.zero_vector());
                self.e.store(Region::Stack, zero, base, offset);
                continue;
            }
            for (i, limb) in pair.into_iter().enumerate() {
                let value = self.e.value(limb);
                self.e
                    .store(Region::Stack, value, base, offset + 8 * i as i32);
            }
        }
    }

    /// The limb `i` of a word, loaded if it has to be.
    pub(super) fn limb(&mut self, val: Val, i: usize) -> Limb {
        let data = *self.state.at(val);
        if let Some(limb) = data.limbs[i] {
            return limb;
        }
        let by = 8 * i as i32;
        let value = match (data.field, data.home) {
            (Some(field), _) => self.load_field(field + by),
            (None, home) => {
                let (top, at) = self.keep_top();
                let offset = 32 * (home.unwrap_or(at) - at) + by;
                self.e.load(types::I64, Region::Stack, top, offset)
            }
        };
        let limb = Limb::Val(value);
        self.state.at_mut(val).limbs[i] = Some(limb);
        limb
    }

    /// All limbs of a word.
    pub(super) fn word(&mut self, val: Val) -> Word {
        Word(std::array::from_fn(|i| self.limb(val, i)))
    }

    pub(super) fn known(&self, val: Val) -> Option<U256> {
        self.state.at(val).constant()
    }

    /// A word of the frame.
    pub(super) fn push_field(&mut self, offset: i32, bits: u16) {
        let mut data = Data::new([None; 4], bits);
        data.field = Some(offset);
        let val = self.state.add(data);
        self.state.push(val);
    }
}
