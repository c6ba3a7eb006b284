//! Pass 3: functions that several blocks call are copied for their callers.
//!
//! A *call* is a jump to a known block with a JUMPDEST's program counter on the stack: where to return
//! to. A function that is called once returns by a static edge, as its return address is known where it
//! is used. For others this pass makes it so: blocks of the function are copied behind all others, with
//! instructions of their own, and the caller jumps to the copy. Then what is called is a part of its
//! caller's run: nothing is written back for it, and its return is no jump by table.
//!
//! # Contract
//!
//! * **B1** A copy has the instructions of what it is a copy of, and the same program counters. It falls
//!   into a copy of the block behind, or that block itself.
//! * **B2** Only the jump of one block leads to a copy, or the copy before that falls into it. No frame
//!   enters one, and no table names one.
//!
//! Which functions are worth it, and where they return to, is a guess: [`edges`](super::edges) follows
//! copies as it does all blocks. Those that it finds no way into are dead, and so are originals that are
//! called by nobody any more ([`bury`]).
//!
//! Blocks that lead to failures only are not copied. A copy is small ([`MAX_COST`], [`MAX_BLOCKS`], [`MAX_INSTS`]), and
//! all copies together are a part of the program ([`MAX_SHARE`]): copies make code that is run in few
//! places faster, and code that is run in many places miss the instruction cache.

use super::{
    blocks::{Block, Blocks, possible},
    constants::{Edges, Stack, scan, scan_all},
    decode::Inst,
    edges::{cold, pushed, ways},
    effect::{Class, op},
    fault::{Fault, planted},
};

/// What a copy may cost, by [`cost`].
const MAX_COST: usize = 24;

/// Blocks of a copy on one way, at most.
const MAX_BLOCKS: usize = 12;

/// Instructions of a copy, at most: those that cost nothing take time to compile.
const MAX_INSTS: usize = 256;

/// A block is so often on one way of a copy, at most: a function may be called again, and a loop ends
/// here.
const MAX_TIMES: usize = 4;

/// Instructions of all copies are at most this fraction of the program's, and these.
const MAX_SHARE: usize = 9;
const ALWAYS: usize = 64;

/// About how much machine code an instruction makes.
fn cost(inst: &Inst) -> usize {
    match inst.opcode {
        op::PUSH0..=op::PUSH32 | op::DUP1..=op::SWAP16 | op::POP | op::JUMPDEST => 0,
        _ if inst.class == Class::Boundary => 3,
        _ => 1,
    }
}

/// Copies functions.
pub(super) fn functions(code: &[u8], insts: &mut Vec<Inst>, blocks: &mut Blocks) {
    let count = blocks.blocks.len();
    let mut edges = scan_all(code, insts, blocks, vec![false; count]);
    cold(insts, blocks, &mut edges);
    let pushed = pushed(code, insts, blocks);
    // Ways are counted as if nothing was computed.
    let lone = |index: usize| {
        let block = &blocks.blocks[index];
        let fallen = index > 0 && blocks.blocks[index - 1].live && edges[index - 1].falls.is_some();
        let ways = match block.jumpdest {
            true => pushed[index] + u32::from(fallen),
            false => 1,
        };
        index > 0 && ways == 1 && !block.enterable && possible(block.needs, block.grows)
    };
    let lone: Vec<bool> = (0..count).map(lone).collect();
    let mut budget = insts.len() / MAX_SHARE + ALWAYS;
    let mut seen = vec![false; count];
    let mut work: Vec<(usize, Stack)> = Vec::new();
    for root in 0..count {
        if lone[root] || !blocks.blocks[root].live {
            continue;
        }
        work.push((root, Stack::new()));
        while let Some((index, mut stack)) = work.pop() {
            if std::mem::replace(&mut seen[index], true) || edges[index].cold {
                continue;
            }
            let found = scan(code, insts, blocks, index, &mut stack, |_| {});
            for next in found.successors().filter(|&next| lone[next]) {
                work.push((next, stack.clone()));
            }
            let Some(to) = found.target else {
                continue;
            };
            if found.falls.is_none() && !lone[to as usize] {
                let mut call = Call {
                    code,
                    edges: &edges,
                    returns: addresses(blocks, &stack),
                    exits: Vec::new(),
                    path: Vec::new(),
                    insts: 0,
                    cost: 0,
                };
                let before = (blocks.blocks.len(), insts.len());
                let copy = call.copy(to as usize, stack, insts, blocks);
                let more = insts.len() - before.1;
                if let Some(copy) = copy.filter(|_| !call.exits.is_empty() && more <= budget) {
                    budget -= more;
                    blocks.blocks[index].jumps_to = Some(copy);
                    let exits = call.exits.into_iter();
                    work.extend(exits.filter(|&(exit, _)| lone[exit]));
                } else {
                    blocks.blocks.truncate(before.0);
                    insts.truncate(before.1);
                }
            }
        }
    }
}

/// The blocks whose addresses are on a stack.
fn addresses(blocks: &Blocks, stack: &Stack) -> Vec<u32> {
    let words = stack.iter().flatten();
    words.filter_map(|&pc| blocks.target(pc)).collect()
}

/// A function that is being copied for a caller.
struct Call<'a> {
    code: &'a [u8],
    /// What is known without callers.
    edges: &'a [Edges],
    /// Where it may return to.
    returns: Vec<u32>,
    /// Where it does, and with which stack.
    exits: Vec<(usize, Stack)>,
    /// The blocks on the way to the one at hand.
    path: Vec<usize>,
    insts: usize,
    cost: usize,
}

impl Call<'_> {
    /// Copies block `of` and what follows it; gives the number of the copy, or `None` if it is none of a
    /// small function.
    fn copy(
        &mut self,
        of: usize,
        mut stack: Stack,
        insts: &mut Vec<Inst>,
        blocks: &mut Blocks,
    ) -> Option<u32> {
        let block: Block = blocks.blocks[of].clone();
        let own = block.first as usize..block.end as usize;
        let ends = |inst: &Inst| matches!(inst.class, Class::Step | Class::End);
        self.insts += own.len();
        if self.insts > MAX_INSTS {
            return None;
        }
        self.cost += insts[own.clone()].iter().map(cost).sum::<usize>();
        if self.path.iter().filter(|on| **on == of).count() == MAX_TIMES
            || self.path.len() == MAX_BLOCKS
            || self.cost > MAX_COST
            || insts[own.clone()].iter().any(ends)
            || !possible(block.needs, block.grows)
        {
            return None;
        }
        let found = scan(self.code, insts, blocks, of, &mut stack, |_| {});
        let last = insts[own.end - 1];
        let jumps = last.class == Class::Native && matches!(last.opcode, op::JUMP | op::JUMPI);
        let to = found.target.map(|to| blocks.blocks[to as usize].of);
        if jumps && to.is_none() {
            return None;
        }
        let first = insts.len() as u32;
        insts.extend_from_within(own);
        let copy = blocks.blocks.len();
        blocks.blocks.push(Block {
            first,
            end: insts.len() as u32,
            enterable: false,
            live: true,
            jumps_to: None,
            ..block
        });
        self.path.push(of);
        if let Some(next) = found.falls {
            // Directly behind.
            let next = self.follow(next, stack.clone(), insts, blocks)?;
            blocks.blocks[copy].next = next + u32::from(planted(Fault::CopyFallsElsewhere));
        }
        if let Some(to) = to {
            let next = self.follow(to, stack, insts, blocks)?;
            blocks.blocks[copy].jumps_to = Some(next).filter(|next| *next != to);
        }
        self.path.pop();
        Some(copy as u32)
    }

    /// What the copy at hand goes on to in place of block `to`.
    fn follow(
        &mut self,
        to: u32,
        stack: Stack,
        insts: &mut Vec<Inst>,
        blocks: &mut Blocks,
    ) -> Option<u32> {
        let index = to as usize;
        if self.edges[index].cold {
            return Some(to);
        }
        if self.returns.contains(&to) {
            self.exits.push((index, stack));
            return Some(to);
        }
        self.copy(index, stack, insts, blocks)
    }
}

/// Nobody comes by copies that no edge leads to, nor by JUMPDESTs that only dead blocks lead to.
pub(super) fn bury(blocks: &mut Blocks, edges: &[Edges]) {
    let mut ways = ways(blocks, edges);
    let lost = |blocks: &Blocks, ways: &[u32], index: usize| {
        let block = &blocks.blocks[index];
        let entered = index == 0 || block.enterable || edges[index].dynamic;
        block.live && !entered && ways[index] == 0
    };
    let mut work: Vec<usize> = (0..edges.len())
        .filter(|&index| lost(blocks, &ways, index))
        .collect();
    while let Some(index) = work.pop() {
        blocks.blocks[index].live = false;
        for to in edges[index].successors() {
            ways[to] -= 1;
            if lost(blocks, &ways, to) {
                work.push(to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::{Passes, Rules};

    /// Where a function is that is called twice.
    const FUNCTION: u8 = 14;

    /// Calls the function twice, and stops.
    fn twice(function: &[u8]) -> Vec<u8> {
        // 0: PUSH1 5, PUSH1 14, JUMP; 5: JUMPDEST, PUSH1 11, PUSH1 14, JUMP; 11: JUMPDEST, STOP; 14: ...
        let mut code = vec![op::PUSH1, 5, op::PUSH1, FUNCTION, op::JUMP];
        code.extend([op::JUMPDEST, op::PUSH1, 11, op::PUSH1, FUNCTION, op::JUMP]);
        code.extend([op::JUMPDEST, op::STOP, op::STOP, op::JUMPDEST]);
        code.extend(function);
        code
    }

    fn passes(code: &[u8]) -> Passes {
        Passes::run(code, &Rules::new([3; 256], 0..=255), true).unwrap()
    }

    fn copies(passes: &Passes) -> usize {
        passes.flow.len() - passes.blocks.originals().count()
    }

    #[test]
    fn a_function_that_is_called_twice_returns_by_edges() {
        let passes = passes(&twice(&[op::CALLVALUE, op::POP, op::JUMP]));
        assert_eq!(copies(&passes), 2);
        let original = passes.blocks.target(FUNCTION).unwrap();
        assert!(!passes.blocks.blocks[original as usize].live);
        for (block, flow) in passes.blocks.blocks.iter().zip(&passes.flow) {
            let last = passes.insts[block.end as usize - 1];
            if block.live && last.opcode == op::JUMP {
                assert!(flow.edges.target.is_some(), "at {}", last.pc);
            }
        }
    }

    #[test]
    fn what_is_long_costs_much_or_goes_around_is_not_copied() {
        let free = [op::PUSH0, op::POP].repeat(MAX_INSTS);
        let much = [op::CALLVALUE, op::ISZERO, op::POP].repeat(MAX_COST);
        // 15: JUMPDEST, PUSH1 15, JUMP
        let around = vec![op::JUMPDEST, op::PUSH1, 15, op::JUMP];
        for function in [free, much, around] {
            let code = twice(&[&function[..], &[op::JUMP]].concat());
            assert_eq!(copies(&passes(&code)), 0, "{function:02x?}");
        }
    }

    #[test]
    fn copies_are_a_part_of_the_program() {
        let mut code = Vec::new();
        let calls = 400u16;
        let function = 9 * calls;
        for call in 0..calls {
            code.extend([
                op::PUSH1 + 1,
                0,
                0,
                op::PUSH1 + 1,
                0,
                0,
                op::JUMP,
                op::JUMPDEST,
                op::POP,
            ]);
            let at = usize::from(9 * call);
            code[at + 1..at + 3].copy_from_slice(&(9 * call + 7).to_be_bytes());
            code[at + 4..at + 6].copy_from_slice(&function.to_be_bytes());
        }
        code.push(op::JUMPDEST);
        code.extend([op::CALLVALUE, op::POP].repeat(20));
        code.extend([op::CALLVALUE, op::DUP1 + 1, op::JUMP]);
        let found = passes(&code);
        let all: usize = found
            .blocks
            .originals()
            .map(|block| block.insts(&found.insts).len())
            .sum();
        let copied = found.insts.len() - all;
        assert!(
            copied > 0 && copied <= all / MAX_SHARE + ALWAYS,
            "{copied} of {all}"
        );
    }
}
