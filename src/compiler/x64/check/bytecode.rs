//! The operand stack of a run as the bytecode says it has to be.

use super::machine::{Limb, Origin};
use crate::{
    compiler::{
        decode::Inst,
        effect::{Class, decode_pair, decode_single, op},
    },
    frame::at,
};
use alloy_primitives::U256;
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// What a word is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// What is at this position above the top at the run's start.
    Slot(i32),
    Constant(U256),
    /// What is at each of these positions above the top at the run's start, and was this before it.
    Known(Vec<i32>, Rc<Word>),
    /// A field of the frame, of so many limbs.
    Field(i32, usize),
    Result(Made),
}

/// What an instruction has made.
#[derive(Debug)]
pub(super) struct Made {
    by: u32,
    /// It may have become a constant.
    folds: bool,
    /// The constant that it is, if it is one that jumps and offsets are computed by.
    value: Option<U256>,
    /// Words whose limbs may be the result's.
    through: Vec<Rc<Word>>,
}

/// An instruction makes one word on a way.
impl PartialEq for Made {
    fn eq(&self, other: &Self) -> bool {
        self.by == other.by
    }
}

impl Eq for Made {}

impl Word {
    /// The constant that it is, if it is one.
    pub(super) fn constant(&self) -> Option<U256> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Known(_, word) => word.constant(),
            Self::Result(made) => made.value,
            _ => None,
        }
    }

    /// Whether the limb number `i` is this, without looking through instructions.
    fn is(&self, i: usize, limb: Limb) -> bool {
        let nothing_above = i > 0 && limb == Limb::Constant(0);
        match self {
            Self::Slot(position) => {
                limb == Limb::Of(Origin::Slot(32 * position + 8 * i as i32)) || nothing_above
            }
            Self::Known(positions, word) => {
                let slot = |position: &i32| Self::Slot(*position).is(i, limb);
                let found = !matches!(**word, Self::Slot(_)) && word.is(i, limb);
                found || positions.iter().any(slot)
            }
            Self::Constant(value) => limb == Limb::Constant(value.as_limbs()[i]),
            Self::Field(offset, limbs) => {
                i < *limbs && limb == Limb::Of(Origin::Frame(offset + 8 * i as i32))
                    || nothing_above
            }
            Self::Result(made) => {
                limb == Limb::Of(Origin::Made(made.by))
                    || nothing_above
                    || made.folds && matches!(limb, Limb::Constant(_))
            }
        }
    }

    /// The words that it may be by what instructions leave of them; no slots from before the run.
    fn through(&self) -> Vec<&Self> {
        let (mut found, mut work): (Vec<&Self>, _) = (Vec::new(), vec![(self, false)]);
        while let Some((word, before)) = work.pop() {
            let (next, before) = match word {
                Self::Result(made) => (&made.through[..], before),
                Self::Known(_, word) => (std::slice::from_ref(word), true),
                _ => continue,
            };
            for word in next.iter().map(|word| &**word) {
                let gone = before && matches!(word, Self::Slot(_));
                if !gone && !found.iter().any(|found| std::ptr::eq(*found, word)) {
                    found.push(word);
                    work.push((word, before));
                }
            }
        }
        found
    }

    /// Whether the limb number `i` of the word may be this.
    fn may_be(&self, i: usize, limb: Limb) -> bool {
        let through = || self.through().into_iter();
        self.is(i, limb) || through().any(|word| (0..4).any(|i| word.is(i, limb)))
    }

    /// Whether the word may be these limbs.
    pub(super) fn may_be_all(&self, limbs: [Limb; 4]) -> bool {
        limbs
            .iter()
            .enumerate()
            .all(|(i, limb)| self.may_be(i, *limb))
    }

    /// Whether the word may be another, by what instructions leave as it is.
    fn is_through(&self, other: &Self) -> bool {
        if let (Self::Known(places, _), Self::Known(others, _)) = (self, other)
            && places.iter().any(|place| others.contains(place))
        {
            return true;
        }
        let other = match other {
            Self::Known(_, word) => word,
            other => other,
        };
        self == other || self.through().contains(&other)
    }

    fn is_constant(&self) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::Known(_, word) => word.is_constant(),
            Self::Result(made) => made.folds,
            Self::Slot(_) | Self::Field(..) => false,
        }
    }
}

/// The stack, by positions above the top at the run's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stack {
    /// Where it is not what it was, or more is known of it.
    pub(super) words: BTreeMap<i32, Rc<Word>>,
    pub(super) height: i32,
}

impl Stack {
    pub(super) fn at(&self, position: i32) -> Rc<Word> {
        let word = self.words.get(&position);
        word.cloned()
            .unwrap_or_else(|| Rc::new(Word::Slot(position)))
    }

    /// The word so far below the top: 0 is the top one.
    pub(super) fn below(&self, depth: i32) -> Rc<Word> {
        self.at(self.height - 1 - depth)
    }

    /// Behind this boundary instruction, `by` its number.
    pub(super) fn behind(&mut self, by: u32, inst: &Inst) {
        let operands = [self.below(0), self.below(1)];
        self.cross(inst.inputs, inst.outputs);
        // Its price is the client's, its result is known.
        if inst.opcode == op::EXP && operands.iter().all(|word| word.is_constant()) {
            let power = Word::Result(result(by, op::EXP, &operands));
            self.words
                .insert(-1, Rc::new(Word::Known(vec![-1], Rc::new(power))));
        }
    }

    /// Where the next run starts.
    pub(super) fn cross(&mut self, inputs: u16, outputs: u16) {
        let kept = self.height - i32::from(inputs);
        let height = kept + i32::from(outputs);
        // Where each word is that was found elsewhere.
        let mut places: Vec<(Rc<Word>, Vec<i32>)> = Vec::new();
        let mut positions: BTreeSet<i32> = self.words.keys().copied().collect();
        for word in self.words.values() {
            let through = word.through().into_iter().chain([&**word]);
            positions.extend(through.filter_map(|word| match word {
                Word::Slot(position) => Some(*position),
                _ => None,
            }));
        }
        for position in positions.into_iter().filter(|position| *position < kept) {
            let (word, now) = (self.at(position), position - height);
            match places.iter_mut().find(|(other, _)| *other == word) {
                Some((_, positions)) => positions.push(now),
                None => places.push((word, vec![now])),
            }
        }
        self.words.clear();
        // An instruction that changes nothing gives what it was given.
        let alike = |a: &Rc<Word>, b: &Rc<Word>| a.is_through(b) || b.is_through(a);
        let all: Vec<Vec<i32>> = places
            .iter()
            .map(|(word, _)| {
                let same = places.iter().filter(|(other, _)| alike(word, other));
                same.flat_map(|(_, positions)| positions).copied().collect()
            })
            .collect();
        for ((word, own), positions) in places.into_iter().zip(all) {
            let known = match &*word {
                Word::Known(_, word) => word.clone(),
                _ => word,
            };
            let known = Rc::new(Word::Known(positions, known));
            let own = own.into_iter();
            self.words
                .extend(own.map(|position| (position, known.clone())));
        }
        self.height = 0;
    }

    fn push(&mut self, word: Rc<Word>) {
        self.words.insert(self.height, word);
        self.height += 1;
    }

    fn pop(&mut self) -> Rc<Word> {
        let word = self.below(0);
        self.height -= 1;
        self.words.remove(&self.height);
        word
    }

    fn exchange(&mut self, a: i32, b: i32) {
        let (a, b) = (self.height - 1 - a, self.height - 1 - b);
        let (at_a, at_b) = (self.at(a), self.at(b));
        self.words.insert(a, at_b);
        self.words.insert(b, at_a);
    }

    /// Does the instruction number `by`, of class native.
    pub(super) fn run(&mut self, by: u32, inst: &Inst, code: &[u8]) {
        match inst.opcode {
            op::JUMPDEST => {}
            op::POP | op::JUMP => {
                self.pop();
            }
            op::JUMPI | op::MSTORE | op::MSTORE8 => {
                self.pop();
                self.pop();
            }
            op::PUSH0..=op::PUSH32 => self.push(Word::Constant(inst.pushed(code)).into()),
            op::PC => self.push(Word::Constant(U256::from(inst.pc)).into()),
            op::CODESIZE => self.push(Word::Constant(U256::from(code.len())).into()),
            op::DUP1..=op::DUP16 => self.push(self.below((inst.opcode - op::DUP1).into())),
            op::SWAP1..=op::SWAP16 => self.exchange(0, i32::from(inst.opcode - op::SWAP1) + 1),
            op::DUPN => {
                let depth = decode_single(inst.immediate).expect("of class native");
                self.push(self.below(i32::from(depth) - 1));
            }
            op::SWAPN => {
                let depth = decode_single(inst.immediate).expect("of class native");
                self.exchange(0, depth.into());
            }
            op::EXCHANGE => {
                let (n, m) = decode_pair(inst.immediate).expect("of class native");
                self.exchange(n.into(), m.into());
            }
            op::ADDRESS => self.push(Word::Field(at::ADDRESS, 4).into()),
            op::CALLER => self.push(Word::Field(at::CALLER, 4).into()),
            op::CALLVALUE => self.push(Word::Field(at::CALLVALUE, 4).into()),
            op::MSIZE => self.push(Word::Field(at::MEMORY_LEN, 1).into()),
            op::CALLDATASIZE => self.push(Word::Field(at::CALLDATA_LEN, 1).into()),
            op::RETURNDATASIZE => self.push(Word::Field(at::RETURNDATA_LEN, 1).into()),
            _ => {
                let operands: Vec<_> = (0..inst.inputs).map(|_| self.pop()).collect();
                self.push(Word::Result(result(by, inst.opcode, &operands)).into());
            }
        }
    }
}

/// Bytes of an instruction.
pub(super) fn len(inst: &Inst) -> u32 {
    match inst.opcode {
        op::PUSH0..=op::PUSH32 => u32::from(inst.opcode - op::PUSH0) + 1,
        op::DUPN | op::SWAPN | op::EXCHANGE if inst.class == Class::Native => 2,
        _ => 1,
    }
}

fn result(by: u32, opcode: u8, operands: &[Rc<Word>]) -> Made {
    let constants = operands.iter().filter(|word| word.is_constant()).count();
    let pure = matches!(opcode, op::ADD..=op::SIGNEXTEND | op::LT..=op::CLZ);
    let all = pure && constants == operands.len();
    let one = constants > 0;
    // With a constant these may clear, keep, or move the other operand's limbs.
    let moves = matches!(
        opcode,
        op::AND | op::MUL | op::DIV | op::MOD | op::SHL | op::SHR | op::SAR | op::BYTE
    );
    let keeps = matches!(
        opcode,
        op::ADD | op::SUB | op::OR | op::XOR | op::SIGNEXTEND
    );
    Made {
        by,
        value: match operands {
            [a, b] if opcode == op::AND => a.constant().zip(b.constant()).map(|(a, b)| a & b),
            _ => None,
        },
        folds: all || one && moves,
        through: match opcode {
            // The flags, the other way round.
            op::ISZERO => operands.to_vec(),
            op::EQ if one => operands.to_vec(),
            _ if one && (moves || keeps) => operands.to_vec(),
            _ => Vec::new(),
        },
    }
}
