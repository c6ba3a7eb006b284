//! Branches, loops, subroutines, jumps that are computed, and ends.

use super::super::{
    asm::Item,
    types::{U256, opcode as op},
};
use super::{Subroutine, Writer};

impl Writer<'_> {
    /// Goes to a label if the word on top is not zero.
    pub(super) fn jump_if(&mut self, label: u32) {
        self.push_label(label);
        self.op(op::JUMPI, 2, 0);
    }

    pub(super) fn condition(&mut self) {
        self.operand();
        match self.rng.below(4) {
            0 => self.op(op::ISZERO, 1, 1),
            1 => {
                self.operand();
                let compare = *self.rng.pick(&[op::LT, op::GT, op::SLT, op::SGT, op::EQ]);
                self.op(compare, 2, 1);
            }
            2 => {
                self.push_number(1);
                self.op(op::AND, 2, 1);
            }
            _ => {}
        }
    }

    /// `if` with or without `else`; the arms usually leave the same height, not always.
    pub(super) fn branch(&mut self, nesting: usize) {
        let (other, end) = (self.label(), self.label());
        self.condition();
        self.jump_if(other);
        let before = self.height;
        let count = self.rng.below(4);
        self.statements(count, nesting + 1);
        if self.rng.chance(50) {
            self.level(before);
            self.place(other);
            self.height = self.height.min(before);
            return;
        }
        if self.rng.chance(85) {
            self.level(before);
        }
        let after_first = self.height;
        self.push_label(end);
        self.op(op::JUMP, 1, 0);
        self.place(other);
        self.height = before;
        let count = self.rng.below(4);
        self.statements(count, nesting + 1);
        if self.rng.chance(85) {
            self.level(before);
        }
        self.place(end);
        self.height = self.height.min(after_first);
    }

    /// Pushes or pops until the height is `target`.
    pub(super) fn level(&mut self, target: usize) {
        while self.height > target {
            self.op(op::POP, 1, 0);
        }
        while self.height < target {
            self.operand();
        }
    }

    /// Up to `most` statements of a loop, which leave the stack as high as it is, and what is on it there.
    pub(super) fn loop_body(&mut self, most: usize, nesting: usize) {
        self.loops += 1;
        if self.rng.chance(20) {
            self.lend_place(nesting);
        }
        let count = 1 + self.rng.below(most);
        self.above(nesting, count);
        self.loops -= 1;
    }

    /// Statements that leave alone what is on the stack.
    fn above(&mut self, nesting: usize, count: usize) {
        let height = self.height;
        let outer_floor = std::mem::replace(&mut self.floor, height);
        self.statements(count, nesting + 1);
        self.floor = outer_floor;
        self.level(height);
    }

    /// Has something else stand in a word's place for a while, at times with so much above it that all is
    /// written to the stack's memory.
    fn lend_place(&mut self, nesting: usize) {
        if self.height < 3 {
            return;
        }
        let deepest = (self.height - 1).min(16);
        let mut swap = || op::SWAP1 + self.rng.below(deepest) as u8;
        let (a, b) = (swap(), swap());
        if self.rng.chance(40) {
            let both = [a, b, a];
            both.iter().for_each(|&swap| self.op(swap, 0, 0));
            self.above(nesting, 2);
            both.iter().for_each(|&swap| self.op(swap, 0, 0));
            return;
        }
        self.operand();
        self.op(a, 0, 0);
        if self.rng.chance(50) {
            let height = self.height;
            for _ in 0..41 + self.rng.below(8) {
                self.push(U256::ZERO);
            }
            self.offset();
            self.op(op::MLOAD, 1, 1);
            self.level(height);
        } else {
            self.above(nesting, 1);
        }
        self.op(a, 0, 0);
        self.op(op::POP, 1, 0);
    }

    /// Pushes a number below eight, a constant or from calldata.
    pub(super) fn few_rounds(&mut self) {
        if self.rng.chance(50) {
            self.calldata_word();
            self.push_number(7);
            self.op(op::AND, 2, 1);
        } else {
            let rounds = self.rng.below(8);
            self.push_number(rounds);
        }
    }

    pub(super) fn bounded_loop(&mut self, nesting: usize) {
        if self.rng.chance(40) {
            return self.countdown(nesting);
        }
        let top = self.label();
        let rounds = 1 + self.rng.below(9);
        self.push_number(rounds);
        self.place(top);
        self.loop_body(4, nesting);
        self.push_number(1);
        self.op(op::SWAP1, 0, 0);
        self.op(op::SUB, 2, 1);
        self.op(op::DUP1, 0, 1);
        self.jump_if(top);
        if self.rng.chance(90) {
            self.op(op::POP, 1, 0);
        }
    }

    /// Counts down to zero, for which the loop looks before its statements; or, from zero, past it.
    fn countdown(&mut self, nesting: usize) {
        let (head, end) = (self.label(), self.label());
        let past = self.rng.chance(30);
        self.few_rounds();
        self.place(head);
        self.op(op::DUP1, 0, 1);
        if !past {
            self.op(op::ISZERO, 1, 1);
        }
        self.jump_if(end);
        if self.rng.chance(80) {
            self.loop_body(3, nesting);
        }
        self.push_number(1);
        self.op(op::SWAP1, 0, 0);
        self.op(op::SUB, 2, 1);
        self.push_label(head);
        self.op(op::JUMP, 1, 0);
        self.place(end);
        if self.rng.chance(80) {
            self.op(op::POP, 1, 0);
        }
    }

    pub(super) fn call_subroutine(&mut self) {
        let known = self.subroutines.len();
        let routine = if known > 0 && self.rng.chance(60) {
            self.subroutines[self.rng.below(known)]
        } else if known < 4 {
            let routine = Subroutine {
                label: self.label(),
                args: self.rng.below(3),
                results: self.rng.below(3),
            };
            self.subroutines.push(routine);
            routine
        } else {
            return;
        };
        let back = self.label();
        self.push_label(back);
        for _ in 0..routine.args {
            self.operand();
        }
        self.push_label(routine.label);
        self.op(op::JUMP, 1 + routine.args + 1, routine.results);
        self.place(back);
    }

    /// Stack at entry: .. back args; at exit: .. results.
    pub(super) fn subroutine(&mut self, routine: Subroutine) {
        if self.rng.chance(30) {
            // Nothing leads here, and it falls into the subroutine.
            let anywhere = 1 + self.rng.below(self.labels as usize) as u32;
            self.push_label(anywhere);
        }
        self.place(routine.label);
        self.height = routine.args;
        let count = self.rng.below(4);
        // No further nesting: a subroutine calls none, so it always comes to its end.
        self.statements(count, 4);
        self.level(routine.results);
        if routine.results > 0 {
            // Brings the return label up; the results stay below it, in some order.
            self.op(op::SWAP1 + routine.results as u8 - 1, 0, 0);
        }
        self.op(op::JUMP, 1, 0);
    }

    /// A jump whose target the compiler cannot read off the push before it.
    pub(super) fn computed_jump(&mut self) {
        let target = self.label();
        self.push_label(target);
        match self.rng.below(5) {
            0 => {
                self.push_number(0);
                self.op(op::ADD, 2, 1);
            }
            1 => {
                self.op(op::NOT, 1, 1);
                self.op(op::NOT, 1, 1);
            }
            2 => {
                self.push_number(0x200);
                self.op(op::MSTORE, 2, 0);
                self.push_number(0x200);
                self.op(op::MLOAD, 1, 1);
            }
            3 => {
                self.push_number(640);
                self.op(op::CALLDATALOAD, 1, 1);
                self.op(op::OR, 2, 1);
            }
            _ => {
                self.operand();
                self.op(op::SWAP1, 0, 0);
                self.op(op::DUP1, 0, 1);
                self.op(op::POP, 1, 0);
            }
        }
        if self.rng.chance(70) {
            self.op(op::JUMP, 1, 0);
            if self.rng.chance(30) {
                let len = self.rng.below(3);
                let dead = self.rng.bytes(len);
                self.items.push(Item::Raw(dead));
                // The dead bytes may end in a push that swallows what follows.
                self.items.push(Item::Raw(vec![0; 33]));
            }
        } else {
            self.condition();
            self.op(op::SWAP1, 0, 0);
            self.op(op::JUMPI, 2, 0);
        }
        self.place(target);
    }

    pub(super) fn early_end(&mut self) {
        let skip = self.label();
        self.condition();
        self.jump_if(skip);
        let before = self.height;
        self.end();
        self.place(skip);
        self.height = before;
    }

    pub(super) fn end(&mut self) {
        match self.rng.below(8) {
            0 => self.op(op::STOP, 0, 0),
            1 => self.op(op::INVALID, 0, 0),
            2 => {
                self.address();
                self.op(op::SELFDESTRUCT, 1, 0);
            }
            3 | 4 => {
                self.offset();
                self.offset();
                self.op(op::REVERT, 2, 0);
            }
            _ => {
                self.offset();
                self.offset();
                self.op(op::RETURN, 2, 0);
            }
        }
    }

    /// A conditional jump to a place that is no JUMPDEST or only looks like one.
    pub(super) fn jump_nowhere(&mut self) {
        self.condition();
        let target = match self.rng.below(3) {
            0 => self.rng.word(),
            1 => U256::from(self.rng.below(200)),
            _ => U256::from(1) << (16 + self.rng.below(100)),
        };
        self.push(target);
        if self.rng.chance(60) {
            self.op(op::JUMPI, 2, 0);
        }
        // Push data that holds a JUMPDEST byte.
        self.items.push(Item::Push(4, U256::from(0x5b5b_5b5bu64)));
        self.height += 1;
    }
}
