//! Pass 6: which sums are addresses.
//!
//! A sum that becomes an offset of memory, or the free-memory pointer, is below 2^32 in every program
//! that does not run out of gas there, and so are its operands. The back ends compare the operands of
//! such a sum once and compute in one limb from there on; where the guess is wrong, the interpreter
//! goes on.
//!
//! Contract: a guess only; nothing depends on it for being right.

use super::{
    blocks::Blocks,
    decode::Inst,
    effect::{Class, op},
};
use alloy_primitives::U256;

/// Where Solidity keeps the free-memory pointer.
const FREE_POINTER: u64 = 0x40;

/// What is known of a word on a block's stack.
#[derive(Clone, Copy)]
enum Word {
    Unknown,
    Constant(u64),
    /// The result of this instruction.
    Sum(u32),
}

/// For each instruction, whether it is such a sum.
pub(super) fn sums(code: &[u8], insts: &[Inst], blocks: &Blocks) -> Vec<bool> {
    let mut found = vec![false; insts.len()];
    // The operands of each sum that are sums themselves.
    let mut operands: Vec<[Option<u32>; 2]> = vec![[None; 2]; insts.len()];
    for block in blocks.blocks.iter().filter(|block| block.live) {
        let mut stack: Vec<Word> = vec![Word::Unknown; block.needs.min(1024).into()];
        for at in block.first..block.end {
            let inst = &insts[at as usize];
            if matches!(inst.class, Class::Step | Class::End) {
                break;
            }
            let top = |depth: usize| {
                let index = stack.len().checked_sub(depth);
                index.and_then(|index| stack.get(index)).copied()
            };
            let (first, second) = (top(1), top(2));
            let mut result = Word::Unknown;
            match inst.opcode {
                op::PUSH0..=op::PUSH32 => {
                    let value = inst.pushed(code);
                    if let Ok(value) = u64::try_from(value) {
                        result = Word::Constant(value);
                    } else if value == U256::MAX - U256::from(31) {
                        // The mask that rounds a length: like a small constant in a sum.
                        result = Word::Constant(31);
                    }
                }
                op::DUP1..=op::DUP16 => {
                    let word = top((inst.opcode - op::DUP1) as usize + 1);
                    stack.push(word.unwrap_or(Word::Unknown));
                    continue;
                }
                op::SWAP1..=op::SWAP16 => {
                    let other = stack
                        .len()
                        .checked_sub((inst.opcode - op::SWAP1) as usize + 2);
                    if let Some(other) = other {
                        let top = stack.len() - 1;
                        stack.swap(top, other);
                    }
                    continue;
                }
                op::ADD | op::AND => {
                    let sum = |word| match word {
                        Some(Word::Sum(sum)) => Some(sum),
                        _ => None,
                    };
                    operands[at as usize] = [sum(first), sum(second)];
                    result = Word::Sum(at);
                }
                op::MLOAD | op::MSTORE | op::MSTORE8 => {
                    if let Some(Word::Sum(sum)) = first {
                        mark(&mut found, &operands, sum);
                    }
                    if let (Some(Word::Constant(FREE_POINTER)), Some(Word::Sum(sum))) =
                        (first, second)
                        && inst.opcode == op::MSTORE
                    {
                        mark(&mut found, &operands, sum);
                    }
                }
                _ => {}
            }
            stack.truncate(stack.len().saturating_sub(inst.inputs.into()));
            stack.extend((0..inst.outputs).map(|_| Word::Unknown));
            if inst.outputs == 1
                && let Some(top) = stack.last_mut()
            {
                *top = result;
            }
        }
    }
    found
}

/// Marks a sum and those that it is made of.
fn mark(found: &mut [bool], operands: &[[Option<u32>; 2]], sum: u32) {
    let mut work = vec![sum];
    while let Some(sum) = work.pop() {
        if !std::mem::replace(&mut found[sum as usize], true) {
            work.extend(operands[sum as usize].iter().flatten());
        }
    }
}
