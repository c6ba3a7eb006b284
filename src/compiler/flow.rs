//! Pass 5: what blocks ask for ahead.
//!
//! Contract, of [`Demand`]: a frame that enters a block dynamically is compared with the block's demand
//! first (F1 by the adapter, by the jump's routine otherwise); static edges compare nothing, as
//!
//! * **D1** a block's demand on the stack covers its own instructions, and that of each block that a
//!   static edge leads to, seen through the change of height; an edge for which this is not so is not a
//!   static one. A demand that no stack meets is the block's own: it takes over none that makes one;
//! * **D2** the memory is as long as a block's demand says whenever control reaches it: by comparison on
//!   dynamic ways, and on static edges because the block before says so of its end;
//! * **D3** the gas covers the static costs on the longest way along static edges that lead forward, to
//!   the next boundary instruction or the next block that compares for itself: those that an edge leads
//!   back to in a depth-first search, so one at least in every circle, and those from which the way needs
//!   more than [`GAS_AHEAD`]. Memory that grows on the way leaves so much.
//!
//! A demand may be more than the way that is taken needs. That is never wrong: the interpreter goes
//! on where it is not met.

use super::{
    blocks::{Blocks, possible, run_gas},
    decode::Inst,
    edges::Edges,
    effect::Class,
    fault::{Fault, planted},
    rules::Rules,
};
use crate::frame::GAS_AHEAD;

/// Words beyond which a block does not take the demands of those that follow it for its own.
const MAX_HOISTED: u16 = 256;

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

/// Of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) edges: Edges,
    pub(super) demand: Demand,
    /// Gas that the block compares with at its start, if it does.
    pub(super) compares: Option<u32>,
    /// Gas that the way behind its end needs.
    pub(super) behind: u32,
}

/// Follows the blocks along their edges.
pub(super) fn follow(
    insts: &[Inst],
    blocks: &Blocks,
    edges: Vec<Edges>,
    rules: &Rules,
) -> Vec<Flow> {
    let mut flow: Vec<Flow> = edges
        .into_iter()
        .zip(&blocks.blocks)
        .map(|(edges, block)| Flow {
            edges,
            demand: Demand {
                needs: block.needs,
                grows: block.grows,
                memory: 0,
                gas: 0,
            },
            compares: None,
            behind: 0,
        })
        .collect();
    stack(insts, blocks, &mut flow);
    memory(blocks, &mut flow);
    gas(insts, blocks, rules, &mut flow);
    flow
}

/// What `block` has to demand for one with `demand` to follow it; `None` if that is too much.
fn ahead(delta: i32, demand: Demand) -> Option<(u16, u16)> {
    let needs = i32::from(demand.needs) - delta;
    let grows = i32::from(demand.grows) + delta;
    let bound = |words: i32| u16::try_from(words.max(0)).ok();
    Some((bound(needs)?, bound(grows)?))
        .filter(|(needs, grows)| *needs <= MAX_HOISTED && *grows <= MAX_HOISTED)
}

/// The edges on which a stack underflows that a frame begins with, by the block that they come from: its
/// jump, and falling from it. No frame goes on there: as a way from a dispatcher into a function that only
/// other functions call. Heights are followed over calls, too, but not through the table.
fn underflows(insts: &[Inst], blocks: &Blocks, flow: &[Flow]) -> Vec<[bool; 2]> {
    let mut under = vec![[false; 2]; flow.len()];
    let mut least: Vec<Option<i32>> = vec![None; flow.len()];
    least[0] = Some(0);
    let mut work = vec![0];
    // Every visit of a block lowers it; where stacks do not balance, that goes on.
    for _ in 0..8 * flow.len() {
        let Some(index) = work.pop() else { break };
        let block = &blocks.blocks[index];
        let last = &insts[block.end as usize - 1];
        let end = least[index].unwrap_or(0) + block.delta;
        let over = (last.class == Class::Step && (block.next as usize) < flow.len())
            .then(|| (block.next, i32::from(last.outputs) - i32::from(last.inputs)));
        let falls = flow[index].edges.falls.map(|to| (to, 0)).or(over);
        let jumps = flow[index].edges.target.map(|to| (to, 0));
        for (way, to) in [jumps, falls].into_iter().enumerate() {
            let Some((to, step)) = to else { continue };
            let (to, height) = (to as usize, end + step);
            if height < i32::from(blocks.blocks[to].needs) {
                under[index][way] = true;
            } else if least[to].is_none_or(|least| height < least) {
                least[to] = Some(height);
                work.push(to);
            }
        }
    }
    under
}

/// D1.
fn stack(insts: &[Inst], blocks: &Blocks, flow: &mut [Flow]) {
    let under = underflows(insts, blocks, flow);
    for (flow, [jump, _]) in flow.iter_mut().zip(&under) {
        if *jump {
            flow.edges.target = None;
        }
    }
    let holds = |flow: &[Flow], index: usize, next: usize| {
        let demand = flow[index].demand;
        ahead(blocks.blocks[index].delta, flow[next].demand)
            .is_some_and(|(needs, grows)| needs <= demand.needs && grows <= demand.grows)
    };
    // Those that edges lead to come first, but for circles.
    let order = order(flow);
    for _ in 0..ROUNDS {
        let mut changed = false;
        for &index in &order {
            let fallen = flow[index].edges.falls.filter(|_| under[index][1]);
            let nexts = flow[index].edges.successors();
            for next in nexts.filter(|next| fallen != Some(*next as u32)) {
                if let Some((needs, grows)) = ahead(blocks.blocks[index].delta, flow[next].demand) {
                    let demand = &mut flow[index].demand;
                    let (needs, grows) = (needs.max(demand.needs), grows.max(demand.grows));
                    let more = needs > demand.needs || grows > demand.grows;
                    if more && (possible(needs, grows) || planted(Fault::DemandOfNoStack)) {
                        (demand.needs, demand.grows) = (needs, grows);
                        changed = true;
                    }
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
        if let Some(next) = flow[index].edges.target
            && !holds(flow, index, next as usize)
        {
            flow[index].edges.target = None;
        }
    }
}

/// Whether D1 holds for falling from `index` into the next block.
pub(super) fn falls_freely(blocks: &Blocks, flow: &[Flow], index: usize) -> bool {
    let (demand, next) = (flow[index].demand, blocks.blocks[index].next as usize);
    ahead(blocks.blocks[index].delta, flow[next].demand)
        .is_some_and(|(needs, grows)| needs <= demand.needs && grows <= demand.grows)
}

/// D2.
fn memory(blocks: &Blocks, flow: &mut [Flow]) {
    // A block with no static edge into it may assume what the first block leaves behind: a contract
    // that sets up its memory does so there.
    let first = flow.first().map_or(0, |first| first.edges.reaches);
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
        let end = here.max(flow[index].edges.reaches);
        for next in flow[index].edges.successors() {
            if end < least[next] && (least[next] == ANY || !planted(Fault::LongestMemoryCounts)) {
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
    let order = order(flow);
    // When each block's turn comes, those that edges lead to first.
    let mut turn = vec![0; flow.len()];
    for (at, &index) in order.iter().enumerate() {
        turn[index] = at;
    }
    let mut looped = vec![false; flow.len()];
    for (index, flow) in flow.iter().enumerate() {
        for next in flow.edges.successors() {
            looped[next] |= turn[next] >= turn[index] && !planted(Fault::LoopsAreFree);
        }
    }
    for &index in &order {
        let behind = flow[index]
            .edges
            .successors()
            .filter(|next| turn[*next] < turn[index])
            .map(|next| flow[next].demand.gas)
            .max();
        let behind = behind.unwrap_or(0);
        let block = &blocks.blocks[index];
        let run = block.insts(insts);
        let whole = run.iter().all(|inst| inst.class != Class::Boundary);
        let cost = run_gas(insts, block.first, block.end, rules);
        let needs = cost
            + if whole && !planted(Fault::WayBehindIsFree) {
                behind
            } else {
                0
            };
        let flow = &mut flow[index];
        flow.behind = behind;
        if looped[index] || needs > GAS_AHEAD {
            flow.compares = Some(needs);
        } else {
            flow.demand.gas = needs;
        }
    }
}

/// The blocks in the postorder of a depth-first search, which begins at each that does not continue
/// another, in their order.
fn order(flow: &[Flow]) -> Vec<usize> {
    let mut seen = vec![false; flow.len()];
    let mut order = Vec::with_capacity(flow.len());
    let roots = |continues: bool| {
        let indices =
            (0..flow.len()).filter(move |index| flow[*index].edges.continues == continues);
        indices.collect::<Vec<_>>()
    };
    // Those that continue others only around a circle come last.
    for root in roots(false).into_iter().chain(roots(true)) {
        if std::mem::replace(&mut seen[root], true) {
            continue;
        }
        let mut path = vec![(root, flow[root].edges.successors())];
        while let Some((index, nexts)) = path.last_mut() {
            match nexts.next() {
                Some(next) if !std::mem::replace(&mut seen[next], true) => {
                    path.push((next, flow[next].edges.successors()));
                }
                Some(_) => {}
                None => {
                    order.push(*index);
                    path.pop();
                }
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::Passes;

    fn passes(code: &[u8]) -> Passes {
        Passes::run(code, &Rules::new([3; 256], 0..=255), false).unwrap()
    }

    /// A frame can begin wherever code leads that no frame gets to.
    #[test]
    fn a_way_on_which_the_stack_underflows_is_not_asked_for() {
        // CALLVALUE, PUSH1 7, JUMPI; 4: POP, STOP, STOP; 7: JUMPDEST, STOP
        let fallen = passes(&[0x34, 0x60, 7, 0x57, 0x50, 0, 0, 0x5b, 0]);
        assert_eq!(fallen.flow[0].demand.needs, 0);
        assert!(!falls_freely(&fallen.blocks, &fallen.flow, 0));
        assert_eq!(fallen.flow[0].edges.target, Some(3));
        // The same with the branches exchanged: 4: STOP, STOP, STOP; 7: JUMPDEST, POP, STOP
        let jumped = passes(&[0x34, 0x60, 7, 0x57, 0, 0, 0, 0x5b, 0x50, 0]);
        assert_eq!(jumped.flow[0].demand.needs, 0);
        assert_eq!(jumped.flow[0].edges.target, None);
        // Behind a call: six words, STATICCALL, POP; the next POP has none.
        let mut called = vec![0x5f; 6];
        called.extend([0xfa, 0x50, 0x34, 0x60, 15, 0x57, 0x50, 0, 0, 0x5b, 0]);
        let called = passes(&called);
        assert_eq!(called.flow[1].demand.needs, 1);
    }
}
