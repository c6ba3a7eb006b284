//! More words at work at once than a machine has registers.

use super::{
    super::types::{SpecId, U256, opcode as op},
    Writer,
};

/// Words of the memory that hold small numbers for it.
const SMALL: usize = 8;

/// What takes two words, and whether the result is small if they are.
const BINARY: [(u8, bool); 10] = [
    (op::ADD, true),
    (op::SUB, false),
    (op::AND, true),
    (op::OR, true),
    (op::XOR, true),
    (op::MUL, true),
    (op::DIV, true),
    (op::LT, true),
    (op::EQ, true),
    (op::SGT, true),
];

impl Writer<'_> {
    /// A run without a boundary: words that are loaded, that the frame has, computed ones, and addresses that
    /// are one of these, many of them alive. Leaves one word.
    pub(super) fn crowd(&mut self) {
        // Each is the place of another: what is loaded from there can be loaded from.
        let linked = self.rng.chance(60);
        for word in 0..SMALL {
            let small = match linked {
                true => 32 * self.rng.below(SMALL),
                false => self.rng.below(200),
            };
            self.push_number(small);
            self.push_number(32 * word);
            self.op(op::MSTORE, 2, 0);
        }
        // What was not stored in between can be begun again.
        if self.rng.chance(70) {
            let label = self.label();
            self.place(label);
        }
        // Some kinds of instructions only: what is rare among all of them comes together then.
        let kinds: Vec<usize> = (0..2 + self.rng.below(5))
            .map(|_| self.rng.below(12))
            .collect();
        // Which of the words that it has pushed are small.
        let mut small = Vec::new();
        for _ in 0..30 + self.rng.below(50) {
            let depths = small.len().min(16);
            match *self.rng.pick(&kinds) {
                0 => {
                    let word = self.rng.below(SMALL);
                    self.push_number(32 * word);
                    self.op(op::MLOAD, 1, 1);
                    small.push(true);
                }
                1 => {
                    let opcode = *self.rng.pick(&[op::CALLER, op::ADDRESS]);
                    self.op(opcode, 0, 1);
                    small.push(false);
                }
                2..=4 => {
                    let opcode = *self
                        .rng
                        .pick(&[op::CALLVALUE, op::CALLDATASIZE, op::CODESIZE]);
                    self.op(opcode, 0, 1);
                    small.push(true);
                }
                5..=8 if depths > 0 => {
                    // The newest, half of the time.
                    let deepest = if self.rng.chance(50) { 1 } else { depths };
                    let depth = 1 + self.rng.below(deepest);
                    let is_small = small[small.len() - depth];
                    self.op(op::DUP1 + depth as u8 - 1, 0, 1);
                    small.push(is_small);
                    // A word that is an address, and stays.
                    if is_small && self.rng.chance(80) {
                        let load = *self.rng.pick(&[op::MLOAD, op::MLOAD, op::CALLDATALOAD]);
                        self.op(load, 1, 1);
                        small.pop();
                        small.push(linked && load == op::MLOAD);
                    }
                }
                9 if depths > 1 => {
                    let (opcode, keeps) = *self.rng.pick(&BINARY);
                    self.op(opcode, 2, 1);
                    let both = small.pop().zip(small.pop());
                    small.push(keeps && both == Some((true, true)));
                }
                10 if depths > 1 => {
                    let depth = 1 + self.rng.below(depths - 1);
                    self.op(op::SWAP1 + depth as u8 - 1, 0, 0);
                    let top = small.len() - 1;
                    small.swap(top, top - depth);
                }
                _ if depths > 0 && self.spec_id.is_enabled_in(SpecId::PETERSBURG) => {
                    let bits = self.rng.below(256);
                    self.push_number(bits);
                    let opcode = *self.rng.pick(&[op::SHR, op::SHL]);
                    self.op(opcode, 2, 1);
                    small.pop();
                    small.push(false);
                }
                _ => {
                    self.push(U256::from(1));
                    small.push(true);
                }
            }
        }
        for _ in 1..small.len() {
            self.op(op::XOR, 2, 1);
        }
    }
}
