//! Pass 2: instructions to basic blocks, and blocks to runs.
//!
//! Contract: a block is entered at its first instruction only, and left after its last one only, but
//! for leaves. It begins at the start of the code, at a JUMPDEST, behind a jump, and behind an
//! instruction that the interpreter steps over. A *run* is a part of a block between two canonical
//! points: it begins where its block does or behind a boundary instruction, and ends with the next
//! boundary instruction or with the block.

use super::{
    decode::Inst,
    effect::{Class, op},
    error::CompileError,
    fault::{Fault, planted},
    rules::Rules,
};
use crate::frame::STACK_LIMIT;

/// A basic block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// Its instructions.
    pub(super) first: u32,
    pub(super) end: u32,
    pub(super) pc: u32,
    /// Words that have to be on the stack at its start for none of its instructions to underflow.
    pub(super) needs: u16,
    /// Words by which the stack grows at most above its height at the start.
    pub(super) grows: u16,
    /// What the height changes by from start to end.
    pub(super) delta: i32,
    /// Whether a jump can lead to it.
    pub(super) jumpdest: bool,
    /// Whether a frame can enter it from outside: the start, and behind what the interpreter steps over.
    pub(super) enterable: bool,
    /// Whether control can get there at all, taking every JUMPDEST for reachable.
    pub(super) live: bool,
    /// The block behind, which control falls into if it falls.
    pub(super) next: u32,
    /// The block that this one is a copy of ([`inline`](super::inline)), or this one.
    pub(super) of: u32,
    /// A copy to jump to instead of what it is of.
    pub(super) jumps_to: Option<u32>,
}

impl Block {
    /// Its instructions, of all.
    pub(super) fn insts<'a>(&self, insts: &'a [Inst]) -> &'a [Inst] {
        &insts[self.first as usize..self.end as usize]
    }
}

/// The blocks of a program and where their instructions' program counters lead.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) blocks: Vec<Block>,
    /// Program counter and block of each JUMPDEST, in order; no copies.
    pub(super) jumpdests: Vec<(u32, u32)>,
    /// A bit for each of these program counters.
    bits: Vec<u64>,
}

impl Blocks {
    /// The block that a jump to `pc` leads to.
    pub(super) fn target(&self, pc: impl TryInto<usize>) -> Option<u32> {
        let pc = pc.try_into().ok()?;
        // Nearly all that is asked for are other numbers: a bit tells, without a search.
        let bits = self.bits.get(pc / 64)?;
        if bits >> (pc % 64) & 1 == 0 {
            return None;
        }
        let place = |&(at, _): &(u32, u32)| at as usize;
        let found = self.jumpdests.binary_search_by_key(&pc, place);
        found.ok().map(|index| self.jumpdests[index].1)
    }

    /// The program counter of an instruction of a block, or of what control falls into at its end.
    pub(super) fn pc_of(&self, block: &Block, at: u32, insts: &[Inst]) -> u32 {
        if at < block.end {
            insts[at as usize].pc
        } else {
            self.blocks[block.next as usize].pc
        }
    }

    /// The block that a jump of block `from` to block `to` leads to.
    pub(super) fn copy_for(&self, from: usize, to: u32) -> u32 {
        let copy = self.blocks[from].jumps_to;
        copy.filter(|&copy| self.blocks[copy as usize].of == to)
            .unwrap_or(to)
    }

    /// The blocks that are no copies: those that come first.
    pub(super) fn originals(&self) -> impl Iterator<Item = &Block> {
        let all = self.blocks.iter().zip(0..);
        all.take_while(|(block, index)| block.of == *index)
            .map(|(block, _)| block)
    }

    /// Whether a block is a copy.
    pub(super) fn is_copy(&self, index: usize) -> bool {
        self.blocks[index].of as usize != index
    }
}

/// Splits the instructions into blocks.
pub(super) fn split(insts: &[Inst]) -> Blocks {
    let mut blocks: Vec<Block> = Vec::new();
    let mut jumpdests = Vec::new();
    let mut first = 0;
    // What stands before the block: does control fall into it, is it entered from outside?
    let (mut falls, mut enters) = (false, true);
    while first < insts.len() {
        let jumpdest = is_jumpdest(&insts[first]);
        let mut height = 0i32;
        let (mut needs, mut grows) = (0, 0);
        let mut end = first;
        while end < insts.len() {
            let inst = &insts[end];
            if end > first && is_jumpdest(inst) {
                break;
            }
            end += 1;
            if matches!(inst.class, Class::Step | Class::End) {
                // The interpreter checks these itself.
                break;
            }
            needs = needs.max(i32::from(inst.inputs) - height);
            height += i32::from(inst.outputs) - i32::from(inst.inputs);
            grows = grows.max(height);
            if is_jump(inst) {
                break;
            }
        }
        let last = &insts[end - 1];
        if jumpdest {
            jumpdests.push((insts[first].pc, blocks.len() as u32));
        }
        blocks.push(Block {
            first: first as u32,
            end: end as u32,
            pc: insts[first].pc,
            needs: u16::try_from(needs.max(0)).unwrap_or(u16::MAX),
            grows: u16::try_from(grows).unwrap_or(u16::MAX),
            delta: height,
            jumpdest,
            enterable: enters,
            live: jumpdest || falls || enters,
            next: blocks.len() as u32 + 1,
            of: blocks.len() as u32,
            jumps_to: None,
        });
        let live = jumpdest || falls || enters;
        falls = live && !matches!(last.class, Class::End | Class::Step) && last.opcode != op::JUMP
            || live && last.opcode == op::JUMPI && last.class == Class::Native;
        enters = live && last.class == Class::Step;
        first = end;
    }
    let end = jumpdests.last().map_or(0, |&(pc, _)| pc as usize + 1);
    let mut bits = vec![0; end.div_ceil(64)];
    for &(pc, _) in &jumpdests {
        bits[pc as usize / 64] |= 1 << (pc % 64);
    }
    Blocks {
        blocks,
        jumpdests,
        bits,
    }
}

fn is_jumpdest(inst: &Inst) -> bool {
    inst.opcode == op::JUMPDEST && inst.class == Class::Native
}

fn is_jump(inst: &Inst) -> bool {
    matches!(inst.opcode, op::JUMP | op::JUMPI) && inst.class == Class::Native
}

/// Static gas of one run, at most, so that it fits an instruction's operand and sums of two cannot
/// overflow: far from what any chain charges, but rules may say anything.
const MAX_RUN_GAS: u64 = 1 << 30;

/// Refuses code with a run that costs more than [`MAX_RUN_GAS`].
pub(super) fn check_gas(
    insts: &[Inst],
    blocks: &Blocks,
    rules: &Rules,
) -> Result<(), CompileError> {
    for block in &blocks.blocks {
        let run = block.insts(insts).iter();
        let native = run.filter(|inst| inst.class == Class::Native);
        let costs = native.map(|inst| u64::from(rules.gas_of(inst.opcode)));
        // The runs of a block together, and a boundary instruction.
        let gas = costs.sum::<u64>() + u64::from(u16::MAX);
        if gas > MAX_RUN_GAS {
            return Err(CompileError::TooComplex {
                what: "gas of static costs in a block",
                count: gas as usize,
                max: MAX_RUN_GAS as usize,
            });
        }
    }
    Ok(())
}

/// Static gas of the run that starts at instruction `at`, a boundary instruction at its end
/// included, but not one that the interpreter steps over.
pub(super) fn run_gas(insts: &[Inst], at: u32, end: u32, rules: &Rules) -> u32 {
    let mut gas = 0;
    for inst in &insts[at as usize..end as usize] {
        match inst.class {
            Class::Native => gas += u32::from(rules.gas_of(inst.opcode)),
            Class::Boundary if planted(Fault::BoundaryIsFree) => return gas,
            Class::Boundary => return gas + u32::from(rules.gas_of(inst.opcode)),
            Class::Step | Class::End => return gas,
        }
    }
    gas
}

/// Whether a stack can hold so many words and have room for so many more.
pub(super) fn possible(needs: u16, grows: u16) -> bool {
    usize::from(needs) + usize::from(grows) <= STACK_LIMIT
}
