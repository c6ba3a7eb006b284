//! Pass 3: where blocks lead to, and what they ask for ahead.
//!
//! A *static edge* leads from a block to the one that it falls into, or jumps to with a target that
//! the block itself pushes. Every other way into a block is *dynamic*: from outside, or by the jump
//! table.
//!
//! Contract, of [`Demand`]: a frame that enters a block dynamically is compared with the block's demand
//! first (F1 by the adapter, by the jump's routine otherwise); static edges compare nothing, as
//!
//! * **D1** a block's demand on the stack covers its own instructions, and that of each block that a
//!   static edge leads to, seen through the change of height; an edge for which this is not so is not a
//!   static one;
//! * **D2** the memory is as long as a block's demand says whenever control reaches it: by comparison on
//!   dynamic ways, and on static edges because the block before says so of its end;
//! * **D3** the gas covers the static costs on the longest way along static edges that lead forward, to
//!   the next boundary instruction or the next block that compares for itself: those that an edge leads
//!   back to, and those from which the way needs more than [`GAS_AHEAD`]. Memory that grows on the way
//!   leaves so much.
//!
//! A demand may be more than the way that is taken needs. That is never wrong: the interpreter goes
//! on where it is not met.

use super::{
    blocks::{Blocks, run_gas},
    decode::Inst,
    effect::{Class, decode_pair, decode_single, op},
    rules::Rules,
};
use crate::frame::{GAS_AHEAD, STACK_LIMIT};

/// Words beyond which a block does not take the demands of those that follow it for its own.
const MAX_HOISTED: u16 = 256;

/// Constant offsets beyond are not followed.
const MAX_OFFSET: u64 = 1 << 16;

/// Rounds of the fixpoint over loops; what is not stable then is no static edge.
const ROUNDS: usize = 4;

/// What has to hold for a block to be entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Words on the stack, at least.
    pub needs: u16,
    /// Room for words above them, at least.
    pub grows: u16,
    /// Bytes of memory, at least.
    pub memory: u32,
    /// Gas, at least.
    pub gas: u32,
}

/// How a block ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Not with a jump, or with one that is not followed here.
    None,
    /// With a jump to this block, by a static edge.
    Block(u32),
}

/// Of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Of its jump.
    pub(super) target: Target,
    pub(super) demand: Demand,
    /// Gas that the block compares with at its start, if it does.
    pub(super) compares: Option<u32>,
    /// Gas that the way behind its end needs.
    pub(super) behind: u32,
    /// Whether control falls out of its end.
    falls: bool,
    /// Bytes that memory has at its end because of it.
    reaches: u32,
}

/// Follows the blocks.
pub(super) fn follow(code: &[u8], insts: &[Inst], blocks: &Blocks, rules: &Rules) -> Vec<Flow> {
    let mut flow: Vec<Flow> = (0..blocks.blocks.len())
        .map(|index| scan(code, insts, blocks, index))
        .collect();
    stack(blocks, &mut flow);
    memory(blocks, &mut flow);
    gas(insts, blocks, rules, &mut flow);
    flow
}

/// Runs through a block with the constants that it pushes.
fn scan(code: &[u8], insts: &[Inst], blocks: &Blocks, index: usize) -> Flow {
    let block = &blocks.blocks[index];
    // The words that the block has pushed; `None` for one that is no small constant. What is below
    // is unknown.
    let mut stack: Vec<Option<u64>> = Vec::new();
    let mut reaches = 0u32;
    let mut target = Target::None;
    for inst in &insts[block.first as usize..block.end as usize] {
        if matches!(inst.class, Class::Step | Class::End) {
            break;
        }
        let top = |stack: &[Option<u64>], depth: usize| {
            stack.len().checked_sub(depth).and_then(|i| stack[i])
        };
        let native = inst.class == Class::Native;
        let exchange = |stack: &mut Vec<Option<u64>>, a: usize, b: usize| {
            // Unknown words come in from below.
            let missing = (a.max(b) + 1).saturating_sub(stack.len());
            stack.splice(0..0, std::iter::repeat_n(None, missing));
            let top = stack.len() - 1;
            stack.swap(top - a, top - b);
        };
        match inst.opcode {
            op::PUSH0..=op::PUSH32 if native => {
                stack.push(u64::try_from(inst.pushed(code)).ok());
                continue;
            }
            op::DUP1..=op::DUP16 if native => {
                stack.push(top(&stack, (inst.opcode - op::DUP1) as usize + 1));
                continue;
            }
            op::DUPN if native => {
                let depth = decode_single(inst.immediate).unwrap_or(0);
                stack.push(top(&stack, depth.into()));
                continue;
            }
            op::SWAP1..=op::SWAP16 if native => {
                exchange(&mut stack, 0, (inst.opcode - op::SWAP1) as usize + 1);
                continue;
            }
            op::SWAPN if native => {
                exchange(
                    &mut stack,
                    0,
                    decode_single(inst.immediate).unwrap_or(0).into(),
                );
                continue;
            }
            op::EXCHANGE if native => {
                let (a, b) = decode_pair(inst.immediate).unwrap_or((0, 0));
                exchange(&mut stack, a.into(), b.into());
                continue;
            }
            op::MLOAD | op::MSTORE | op::MSTORE8 if native => {
                let len = if inst.opcode == op::MSTORE8 { 1 } else { 32 };
                if let Some(offset) = top(&stack, 1).filter(|offset| *offset <= MAX_OFFSET) {
                    reaches = reaches.max((offset + len).next_multiple_of(32) as u32);
                }
            }
            op::JUMP | op::JUMPI if native => {
                let pc = top(&stack, 1).and_then(|pc| u32::try_from(pc).ok());
                if let Some(block) = pc.and_then(|pc| blocks.target(pc)) {
                    target = Target::Block(block);
                }
            }
            _ => {}
        }
        stack.truncate(stack.len().saturating_sub(inst.inputs.into()));
        stack.extend((0..inst.outputs).map(|_| None));
    }
    let last = &insts[block.end as usize - 1];
    Flow {
        target,
        demand: Demand {
            needs: block.needs,
            grows: block.grows,
            memory: 0,
            gas: 0,
        },
        compares: None,
        behind: 0,
        falls: match last.class {
            Class::Step | Class::End => false,
            Class::Native => last.opcode != op::JUMP,
            Class::Boundary => true,
        },
        reaches,
    }
}

/// The static edges out of a block.
fn successors(flow: &Flow, index: usize) -> impl Iterator<Item = usize> + use<> {
    let jump = match flow.target {
        Target::Block(block) => Some(block as usize),
        Target::None => None,
    };
    jump.into_iter().chain(flow.falls.then_some(index + 1))
}

/// What `block` has to demand for one with `demand` to follow it; `None` if that is too much.
fn ahead(delta: i32, demand: Demand) -> Option<(u16, u16)> {
    let needs = i32::from(demand.needs) - delta;
    let grows = i32::from(demand.grows) + delta;
    let bound = |words: i32| u16::try_from(words.max(0)).ok();
    Some((bound(needs)?, bound(grows)?))
        .filter(|(needs, grows)| *needs <= MAX_HOISTED && *grows <= MAX_HOISTED)
}

/// D1.
fn stack(blocks: &Blocks, flow: &mut [Flow]) {
    let holds = |flow: &[Flow], index: usize, next: usize| {
        let demand = flow[index].demand;
        ahead(blocks.blocks[index].delta, flow[next].demand)
            .is_some_and(|(needs, grows)| needs <= demand.needs && grows <= demand.grows)
    };
    for _ in 0..ROUNDS {
        let mut changed = false;
        for index in (0..flow.len()).rev() {
            let nexts: Vec<usize> = successors(&flow[index], index).collect();
            for next in nexts {
                if let Some((needs, grows)) = ahead(blocks.blocks[index].delta, flow[next].demand) {
                    let demand = &mut flow[index].demand;
                    changed |= needs > demand.needs || grows > demand.grows;
                    demand.needs = demand.needs.max(needs);
                    demand.grows = demand.grows.max(grows);
                }
            }
        }
        if !changed {
            break;
        }
    }
    // Jumps that D1 does not hold for go through the table. A block that is only fallen into keeps
    // its own demand for itself.
    for index in 0..flow.len() {
        if let Target::Block(next) = flow[index].target
            && !holds(flow, index, next as usize)
        {
            flow[index].target = Target::None;
        }
    }
}

/// Whether D1 holds for falling from `index` into the next block.
pub(super) fn falls_freely(blocks: &Blocks, flow: &[Flow], index: usize) -> bool {
    let demand = flow[index].demand;
    ahead(blocks.blocks[index].delta, flow[index + 1].demand)
        .is_some_and(|(needs, grows)| needs <= demand.needs && grows <= demand.grows)
}

/// D2.
fn memory(blocks: &Blocks, flow: &mut [Flow]) {
    // A block with no static edge into it may assume what the first block leaves behind: a contract
    // that sets up its memory does so there.
    let first = flow.first().map_or(0, |first| first.reaches);
    const ANY: u32 = u32::MAX;
    let mut least = vec![ANY; flow.len()];
    if let Some(first) = least.first_mut() {
        *first = 0;
    }
    let mut work: Vec<usize> = Vec::new();
    for (index, block) in blocks.blocks.iter().enumerate() {
        if index > 0 && block.live {
            work.push(index);
        }
    }
    work.reverse();
    work.push(0);
    // Every visit of a block lowers it: the bounds are a few constants.
    let mut visits = 8 * flow.len();
    while let Some(index) = work.pop() {
        let here = if least[index] == ANY {
            first
        } else {
            least[index]
        };
        least[index] = here;
        let end = here.max(flow[index].reaches);
        for next in successors(&flow[index], index) {
            if end < least[next] {
                let known = least[next] != ANY;
                least[next] = end;
                if known {
                    work.push(next);
                }
            }
        }
        visits = visits.saturating_sub(1);
        if visits == 0 {
            least.fill(0);
            break;
        }
    }
    for (flow, least) in flow.iter_mut().zip(least) {
        flow.demand.memory = if least == ANY { 0 } else { least };
    }
}

/// D3.
fn gas(insts: &[Inst], blocks: &Blocks, rules: &Rules, flow: &mut [Flow]) {
    let mut looped = vec![false; flow.len()];
    for (index, flow) in flow.iter().enumerate() {
        if let Target::Block(next) = flow.target
            && next as usize <= index
        {
            looped[next as usize] = true;
        }
    }
    for index in (0..flow.len()).rev() {
        let behind = successors(&flow[index], index)
            .filter(|next| *next > index)
            .map(|next| flow[next].demand.gas)
            .max();
        let behind = behind.unwrap_or(0);
        let block = &blocks.blocks[index];
        let run = &insts[block.first as usize..block.end as usize];
        let whole = run.iter().all(|inst| inst.class != Class::Boundary);
        let cost = run_gas(insts, block.first, block.end, rules);
        let needs = cost + if whole { behind } else { 0 };
        let flow = &mut flow[index];
        flow.behind = behind;
        if looped[index] || needs > GAS_AHEAD {
            flow.compares = Some(needs);
        } else {
            flow.demand.gas = needs;
        }
    }
}

/// Whether a stack can hold so many words and have room for so many more.
pub(super) fn possible(needs: u16, grows: u16) -> bool {
    usize::from(needs) + usize::from(grows) <= STACK_LIMIT
}
