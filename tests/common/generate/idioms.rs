//! What solc and Vyper make of every contract, and what people write by hand: function selectors, the
//! free-memory pointer, checked arithmetic, packed storage, mappings, loops over calldata and memory,
//! tables of jumps, proxies.
//!
//! Each leaves on the stack what its doc says, whatever the values are.

use super::super::{
    asm::Item,
    types::{SpecId, U256, opcode as op},
};
use super::Writer;

/// The error that Solidity reverts with for a panic: `Panic(uint256)`.
const PANIC: u32 = 0x4e48_7b71;

impl Writer<'_> {
    /// Instructions that take `inputs` words and leave `outputs`.
    fn ops(&mut self, ops: &[u8], inputs: usize, outputs: usize) {
        self.items.extend(ops.iter().map(|&op| Item::Op(op)));
        self.height = self.height.saturating_sub(inputs) + outputs;
    }

    /// The low `bits` ones.
    fn mask(bits: usize) -> U256 {
        (U256::from(1) << bits) - U256::from(1)
    }

    /// A width that types have, in bits.
    fn width(&mut self) -> usize {
        *self.rng.pick(&[1, 8, 16, 32, 64, 96, 112, 128, 160, 248])
    }

    /// How a contract begins: the free-memory pointer, no value, calldata that is long enough, and the
    /// way to its function. Leaves nothing, or the selector.
    pub(super) fn prologue(&mut self) {
        if self.rng.chance(70) {
            self.push_number(0x80);
            self.push_number(0x40);
            self.op(op::MSTORE, 2, 0);
        }
        if self.rng.chance(40) {
            let paid = self.label();
            self.ops(&[op::CALLVALUE, op::DUP1, op::ISZERO], 0, 2);
            self.jump_if(paid);
            self.revert();
            self.place(paid);
            self.op(op::POP, 1, 0);
        }
        if self.rng.chance(60) {
            self.dispatch();
        }
    }

    /// Reverts with nothing, and what comes behind has the height from before.
    fn revert(&mut self) {
        let height = self.height;
        self.push_number(0);
        self.op(op::DUP1, 0, 1);
        self.op(op::REVERT, 2, 0);
        self.height = height;
    }

    /// Calldata's first four bytes, compared with those of some functions, in a row or halved as solc does
    /// for many; each function stores a word and goes on behind. Leaves the selector.
    fn dispatch(&mut self) {
        let (other, end) = (self.label(), self.label());
        self.push_number(4);
        self.ops(&[op::CALLDATASIZE, op::LT], 1, 1);
        self.jump_if(other);
        self.push_number(0);
        self.op(op::CALLDATALOAD, 1, 1);
        if self.spec_id.is_enabled_in(SpecId::PETERSBURG) && self.rng.chance(80) {
            self.push_number(0xe0);
            self.op(op::SHR, 2, 1);
        } else {
            self.push(U256::from(1) << 224);
            self.ops(&[op::SWAP1, op::DIV], 2, 1);
        }
        let mut selectors: Vec<u32> = (0..1 + self.rng.below(6))
            .map(|_| self.rng.next_u64() as u32)
            .collect();
        selectors.sort_unstable();
        let functions: Vec<u32> = selectors.iter().map(|_| self.label()).collect();
        let upper = self.label();
        let half = selectors.len() / 2;
        let halved = half > 1;
        if halved {
            self.op(op::DUP1, 0, 1);
            self.items.push(Item::Push(4, U256::from(selectors[half])));
            // The pivot is not above the selector.
            self.ops(&[op::GT, op::ISZERO], 1, 1);
            self.jump_if(upper);
        }
        for (index, (&selector, &function)) in selectors.iter().zip(&functions).enumerate() {
            if halved && index == half {
                self.push_label(other);
                self.op(op::JUMP, 1, 0);
                self.place(upper);
            }
            self.op(op::DUP1, 0, 1);
            self.items.push(Item::Push(4, U256::from(selector)));
            self.op(op::EQ, 1, 1);
            self.jump_if(function);
        }
        let height = self.height;
        self.place(other);
        // Either way in: with the selector, or without.
        self.height = height - 1;
        match self.rng.chance(50) {
            true => self.revert(),
            false => self.op(op::STOP, 0, 0),
        }
        for (index, function) in functions.into_iter().enumerate() {
            self.place(function);
            self.height = height;
            self.push_number(index);
            self.push_number(0x20 * index);
            self.op(op::MSTORE, 2, 0);
            if index + 1 < selectors.len() {
                self.push_label(end);
                self.op(op::JUMP, 1, 0);
            }
        }
        self.place(end);
        self.height = height;
        self.selectors = selectors;
    }

    /// One of the others.
    pub(super) fn idiom(&mut self, nesting: usize) {
        match self.rng.below(16) {
            0..=1 => self.checked_arithmetic(),
            2..=3 => self.packed_storage(),
            4 => self.mapping(),
            5..=6 => self.allocate(),
            7 if self.loops < 2 => self.copy_loop(),
            8 if self.loops < 2 && nesting < 4 => self.counted_loop(nesting),
            9 => self.decode(),
            10 => self.jump_table(),
            11 => self.require(),
            12 => self.proxy(),
            13..=14 => self.crowd(),
            _ => self.clean(),
        }
    }

    /// A word cut to a type's width, as solc does before it uses one: AND, two shifts, two ISZERO or
    /// SIGNEXTEND.
    fn clean(&mut self) {
        self.need(1);
        let bits = self.width();
        match self.rng.below(4) {
            0 if self.spec_id.is_enabled_in(SpecId::PETERSBURG) => {
                self.push_number(256 - bits);
                self.op(op::SHL, 2, 1);
                self.push_number(256 - bits);
                let shift = *self.rng.pick(&[op::SHR, op::SAR]);
                self.op(shift, 2, 1);
            }
            1 => self.ops(&[op::ISZERO, op::ISZERO], 1, 1),
            2 => {
                self.push_number(bits / 8);
                self.op(op::SIGNEXTEND, 2, 1);
            }
            _ => {
                self.push(Self::mask(bits));
                self.op(op::AND, 2, 1);
            }
        }
    }

    /// A sum, difference or product of numbers of some width, and a panic where it does not fit.
    fn checked_arithmetic(&mut self) {
        let bits = self.width();
        let fits = self.label();
        for _ in 0..2 {
            self.operand();
            if self.rng.chance(80) {
                self.push(Self::mask(bits));
                self.op(op::AND, 2, 1);
            }
        }
        match self.rng.below(3) {
            // a b -> a+b: not below a
            0 => self.ops(
                &[op::DUP2, op::ADD, op::SWAP1, op::DUP2, op::LT, op::ISZERO],
                2,
                2,
            ),
            // a b -> b-a: a not above b
            1 => self.ops(
                &[
                    op::DUP2,
                    op::DUP2,
                    op::LT,
                    op::ISZERO,
                    op::SWAP2,
                    op::SWAP1,
                    op::SUB,
                    op::SWAP1,
                ],
                2,
                2,
            ),
            // a b -> a*b: divided by a it is b, or a is nothing
            _ => self.ops(
                &[
                    op::DUP2,
                    op::DUP2,
                    op::MUL,
                    op::DUP3,
                    op::ISZERO,
                    op::DUP4,
                    op::DUP3,
                    op::DIV,
                    op::DUP4,
                    op::EQ,
                    op::OR,
                    op::SWAP3,
                    op::POP,
                    op::SWAP1,
                    op::POP,
                    op::SWAP1,
                ],
                2,
                2,
            ),
        }
        self.jump_if(fits);
        let height = self.height;
        self.push(U256::from(PANIC) << 224);
        self.push_number(0);
        self.op(op::MSTORE, 2, 0);
        self.push_number(0x11);
        self.push_number(4);
        self.op(op::MSTORE, 2, 0);
        self.push_number(0x24);
        self.push_number(0);
        self.op(op::REVERT, 2, 0);
        self.height = height;
        self.place(fits);
    }

    /// A field of a slot read, or written between its neighbours.
    fn packed_storage(&mut self) {
        let bits = self.width();
        let at = self.rng.below(256 - bits + 1) & !7;
        let slot = self.rng.below(4);
        let mask = Self::mask(bits);
        if self.rng.chance(50) {
            self.push_number(slot);
            self.op(op::SLOAD, 1, 1);
            self.push(U256::from(1) << at);
            self.ops(&[op::SWAP1, op::DIV], 2, 1);
            self.push(mask);
            self.op(op::AND, 2, 1);
            return;
        }
        self.operand();
        self.push(mask);
        self.op(op::AND, 2, 1);
        if self.spec_id.is_enabled_in(SpecId::PETERSBURG) {
            self.push_number(at);
            self.op(op::SHL, 2, 1);
        } else {
            self.push(U256::from(1) << at);
            self.op(op::MUL, 2, 1);
        }
        self.push_number(slot);
        self.op(op::SLOAD, 1, 1);
        self.push(mask << at);
        self.ops(&[op::NOT, op::AND, op::OR], 3, 1);
        self.push_number(slot);
        self.op(op::SSTORE, 2, 0);
    }

    /// Leaves a mapping's slot for some key, or what is in it.
    fn mapping(&mut self) {
        let slot = self.rng.below(4);
        self.operand();
        self.push_number(0);
        self.op(op::MSTORE, 2, 0);
        self.push_number(slot);
        self.push_number(0x20);
        self.op(op::MSTORE, 2, 0);
        self.push_number(0x40);
        self.push_number(0);
        self.op(op::KECCAK256, 2, 1);
        if self.rng.chance(60) {
            self.op(op::SLOAD, 1, 1);
        }
    }

    /// Words behind the free-memory pointer, which moves; leaves where they are.
    fn allocate(&mut self) {
        let words = 1 + self.rng.below(4);
        self.push_number(0x40);
        self.op(op::MLOAD, 1, 1);
        // Programs that do not begin with it have anything there.
        self.push_number(0xffff);
        self.op(op::AND, 2, 1);
        for word in 0..words {
            self.operand();
            self.op(op::DUP2, 0, 1);
            self.push_number(word * 0x20);
            self.op(op::ADD, 2, 1);
            self.op(op::MSTORE, 2, 0);
        }
        self.op(op::DUP1, 0, 1);
        self.push_number(words * 0x20);
        self.op(op::ADD, 2, 1);
        self.push_number(0x40);
        self.op(op::MSTORE, 2, 0);
        if self.rng.chance(30) {
            self.push_number(words * 0x20);
            self.ops(&[op::DUP2, op::KECCAK256], 1, 1);
        }
    }

    /// Copies words of memory or calldata one by one; leaves nothing.
    fn copy_loop(&mut self) {
        let (head, end) = (self.label(), self.label());
        let words = self.rng.below(5);
        let (from, to) = (self.rng.below(8) * 0x20, self.rng.below(300));
        let load = *self.rng.pick(&[op::MLOAD, op::CALLDATALOAD]);
        self.push_number(0);
        self.place(head);
        self.push_number(words * 0x20);
        self.ops(&[op::DUP2, op::LT, op::ISZERO], 1, 1);
        self.jump_if(end);
        self.op(op::DUP1, 0, 1);
        self.push_number(from);
        self.ops(&[op::ADD, load, op::DUP2], 2, 2);
        self.push_number(to);
        self.ops(&[op::ADD, op::MSTORE], 3, 0);
        self.push_number(0x20);
        self.op(op::ADD, 2, 1);
        self.push_label(head);
        self.op(op::JUMP, 1, 0);
        self.place(end);
        self.op(op::POP, 1, 0);
    }

    /// `for (i = 0; i < n; i++)` around statements, n a constant or from calldata.
    fn counted_loop(&mut self, nesting: usize) {
        let (head, end) = (self.label(), self.label());
        self.few_rounds();
        self.push_number(0);
        self.place(head);
        self.ops(&[op::DUP2, op::DUP2, op::LT, op::ISZERO], 0, 1);
        self.jump_if(end);
        self.loop_body(3, nesting);
        self.push_number(1);
        self.op(op::ADD, 2, 1);
        self.push_label(head);
        self.op(op::JUMP, 1, 0);
        self.place(end);
        self.ops(&[op::POP, op::POP], 2, 0);
    }

    /// An argument, and a revert if calldata is too short for it or it does not fit its type.
    fn decode(&mut self) {
        let (long, clean) = (self.label(), self.label());
        let at = 4 + 0x20 * self.rng.below(4);
        self.push_number(0x20);
        self.push_number(at);
        self.ops(&[op::CALLDATASIZE, op::SUB, op::SLT, op::ISZERO], 2, 1);
        self.jump_if(long);
        self.revert();
        self.place(long);
        self.push_number(at);
        self.op(op::CALLDATALOAD, 1, 1);
        self.op(op::DUP1, 0, 1);
        let bits = self.width();
        self.push(Self::mask(bits));
        self.ops(&[op::AND, op::DUP2, op::EQ], 2, 1);
        self.jump_if(clean);
        if self.rng.chance(50) {
            self.revert();
        }
        self.place(clean);
    }

    /// Goes on if a condition holds; Vyper shares the revert that is behind it.
    fn require(&mut self) {
        let holds = self.label();
        self.condition();
        self.need(1);
        self.jump_if(holds);
        self.revert();
        self.place(holds);
    }

    /// A jump to one of a few places by a small number: by a chain of comparisons against the places
    /// themselves, or by selecting a place with arithmetic. Leaves a word.
    fn jump_table(&mut self) {
        let places: Vec<u32> = (0..2 + self.rng.below(3)).map(|_| self.label()).collect();
        let end = self.label();
        // The first place, or the one after it: `first + (word & 1) * (second - first)`.
        self.push_label(places[0]);
        self.push_label(places[1]);
        self.push_label(places[0]);
        self.ops(&[op::SWAP1, op::SUB], 2, 1);
        self.operand();
        self.push_number(1);
        self.ops(&[op::AND, op::MUL, op::ADD], 4, 1);
        self.op(op::JUMP, 1, 0);
        let height = self.height;
        for (index, &place) in places.iter().enumerate() {
            self.place(place);
            self.height = height;
            self.push_number(index + 1);
            self.push_label(end);
            self.op(op::JUMP, 1, 0);
        }
        self.place(end);
        self.height = height + 1;
    }

    /// Everything of calldata to another contract, as a minimal proxy does (EIP-1167), and its answer into
    /// memory; leaves whether it succeeded.
    fn proxy(&mut self) {
        if !self.spec_id.is_enabled_in(SpecId::BYZANTIUM) {
            return self.clean();
        }
        self.op(op::CALLDATASIZE, 0, 1);
        self.push_number(0);
        self.push_number(0);
        self.op(op::CALLDATACOPY, 3, 0);
        self.push_number(0);
        self.push_number(0);
        self.op(op::CALLDATASIZE, 0, 1);
        self.push_number(0);
        self.address();
        let gas = 1000 + self.rng.below(30_000);
        self.push_number(gas);
        self.op(op::DELEGATECALL, 6, 1);
        self.op(op::RETURNDATASIZE, 0, 1);
        self.push_number(0);
        self.push_number(0);
        self.op(op::RETURNDATACOPY, 3, 0);
    }
}
