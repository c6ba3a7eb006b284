//! Pass 4: where jumps lead to, and which blocks can be come by in known ways only.
//!
//! A *static edge* leads from a block to the one that it falls into, or jumps to with a target that
//! is known here. Every other way into a block is *dynamic*: from outside, or by the jump table.
//! A *closed* block has static edges into it only, and *continues* another if that is one. Constants
//! are followed through each block, and into a closed one as far as all that lead to it agree: a
//! function returns by a static edge to whom alone calls it. Blocks that nothing is known before, and
//! that several ways lead to, are not closed: frames may enter them.
//!
//! # Contract
//!
//! * **C1** Nothing dynamic leads to a closed block: the back ends keep it out of entry tables and jump
//!   tables. Exactly one static edge leads to a block that continues another.
//! * **C2** Where machine code runs a block, its jump leads to the target that is given here, if one is.
//! * **C3** Jumps by table find those JUMPDESTs that are said to be their targets, and no others.
//!
//! If the blocks that control gets to push a JUMPDEST's program counter as often as static edges of theirs
//! jump to it, and the code does so at all, no other jump is expected: the rest of C1 is a guess. Where it is wrong, the jump finds no way in the
//! table, and is the interpreter's.
//!
//! C2 holds by induction over what machine code runs: what is known before a closed block is true on
//! each edge into it, and nobody comes by another way. So blocks are taken for closed first, and fewer
//! of them until nothing dynamic is found to lead to any that is.

use super::{
    blocks::{Block, Blocks, possible},
    decode::Inst,
    effect::{Class, decode_pair, decode_single, op},
    fault::{Fault, planted},
};
use std::collections::HashSet;

/// Constant offsets beyond are not followed.
const MAX_OFFSET: u64 = 1 << 16;

/// Words that are followed from one block to the next.
const MAX_FOLLOWED: usize = 64;

/// How often edges are looked for with fewer blocks taken for closed.
const ROUNDS: usize = 16;

/// How often fewer blocks are taken for live.
const LIVENESS_ROUNDS: usize = 3;

/// How often less is known before a block until nothing is.
const MAX_VISITS: u8 = 8;

/// How a block ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Not with a jump, or with one that is not followed here.
    None,
    /// With a jump to this block, by a static edge.
    Block(u32),
}

impl Target {
    /// The block that it is, or is a copy of.
    pub(super) fn of(self, blocks: &Blocks) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Block(block) => Some(blocks.blocks[block as usize].of),
        }
    }
}

/// Of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edges {
    /// Of its jump (C2).
    pub(super) target: Target,
    /// The block that control falls into at its end.
    pub(super) falls: Option<u32>,
    /// Whether static edges only may lead to it (C1).
    pub(super) closed: bool,
    /// Whether that is one, so that it continues another.
    pub(super) continues: bool,
    /// Whether jumps by table lead to it (C3).
    pub(super) dynamic: bool,
    /// Whether all that it leads to ends in a failure, as far as can be seen.
    pub(super) cold: bool,
    /// Bytes that memory has at its end because of it.
    pub(super) reaches: u32,
}

impl Edges {
    /// The blocks that static edges lead to from this one.
    pub(super) fn successors(&self) -> impl Iterator<Item = usize> + use<> {
        let jump = match self.target {
            Target::Block(block) => Some(block as usize),
            Target::None => None,
        };
        jump.into_iter().chain(self.falls.map(|next| next as usize))
    }
}

/// Finds the edges.
pub(super) fn find(code: &[u8], insts: &[Inst], blocks: &Blocks) -> Vec<Edges> {
    let pushed = pushed(code, insts, blocks);
    let mut closed: Vec<bool> = (0..blocks.blocks.len())
        .map(|index| may_be_closed(blocks, &pushed, index))
        .collect();
    let mut rounds = 0;
    let (mut found, Ways { ways, dynamic }) = loop {
        let found = scan_all(code, insts, blocks, &closed);
        let ways = Ways::count(blocks, &found, &pushed);
        let mut holds = true;
        for (closed, dynamic) in closed.iter_mut().zip(&ways.dynamic) {
            holds &= !(*closed && *dynamic);
            *closed &= !dynamic;
        }
        if holds {
            break (found, ways);
        }
        rounds += 1;
        if rounds == ROUNDS {
            closed.fill(false);
        }
    };
    let mut continues = closed.clone();
    for (continues, ways) in continues.iter_mut().zip(&ways) {
        *continues &= *ways == 1 || *ways == 2 && planted(Fault::TwoWaysAreOne);
    }
    // The back ends know what is on the stack of a block that continues another, and of no other.
    let alone = scan_all(code, insts, blocks, &continues);
    for (index, edges) in found.iter_mut().enumerate() {
        edges.reaches = alone[index].reaches;
        edges.closed |= continues[index];
        edges.continues = continues[index];
        edges.dynamic = dynamic[index];
    }
    cold(insts, blocks, &mut found);
    found
}

/// Whether it can be that static edges only lead to a block.
fn may_be_closed(blocks: &Blocks, pushed: &Pushed, index: usize) -> bool {
    let block = &blocks.blocks[index];
    index > 0
        && block.live
        && !block.enterable
        && possible(block.needs, block.grows)
        && (blocks.is_copy(index) || !block.jumpdest || pushed.times[index] > 0)
}

/// What the code pushes that may be jumped to.
pub(super) struct Pushed {
    /// By each block, copies aside: the blocks whose program counters it pushes.
    by: Vec<Vec<u32>>,
    /// How often each block's is pushed.
    pub(super) times: Vec<u32>,
}

pub(super) fn pushed(code: &[u8], insts: &[Inst], blocks: &Blocks) -> Pushed {
    let target = |inst: &Inst| {
        let pushes = matches!(inst.opcode, op::PUSH0..=op::PUSH32);
        let pc = pushes.then(|| inst.pushed_short(code)).flatten()?;
        let pc = u32::try_from(pc).ok()?;
        blocks.target(pc)
    };
    let by = |block: &Block| block.insts(insts).iter().filter_map(target).collect();
    let by: Vec<Vec<u32>> = blocks.originals().map(by).collect();
    let mut times = vec![0; by.len()];
    for &to in by.iter().flatten() {
        times[to as usize] += 1;
    }
    Pushed { by, times }
}

/// Ways into each block.
struct Ways {
    /// Static edges.
    ways: Vec<u32>,
    /// Whether jumps by table may lead to it.
    dynamic: Vec<bool>,
}

impl Ways {
    fn count(blocks: &Blocks, edges: &[Edges], pushed: &Pushed) -> Self {
        let mut lives: Vec<bool> = blocks.blocks.iter().map(|block| block.live).collect();
        let mut this = Self::among(blocks, edges, pushed, &lives);
        // What a dead block pushes is not jumped to.
        for _ in 0..LIVENESS_ROUNDS {
            let now = this.lives(blocks, edges);
            if now == lives {
                break;
            }
            lives = now;
            this = Self::among(blocks, edges, pushed, &lives);
        }
        this
    }

    /// The same if these blocks are live.
    fn among(blocks: &Blocks, edges: &[Edges], pushed: &Pushed, lives: &[bool]) -> Self {
        let of = |block: u32| blocks.blocks[block as usize].of as usize;
        let mut ways = vec![0u32; edges.len()];
        let mut returns = HashSet::new();
        // How often the program counters of originals are pushed, and jumped to by static edges.
        let (mut pushes, mut jumps) = (vec![0u32; pushed.by.len()], vec![0u32; pushed.by.len()]);
        for (index, from) in edges.iter().enumerate() {
            // C1 is no guess: whatever has code counts.
            if blocks.blocks[index].live {
                from.successors().for_each(|to| ways[to] += 1);
            }
            if !lives[index] {
                continue;
            }
            for &to in &pushed.by[of(index as u32)] {
                pushes[to as usize] += 1;
            }
            if let Target::Block(to) = from.target {
                // A function may return in several ways from where it is called once.
                let mut first = || returns.insert((blocks.blocks[index].caller, of(to)));
                if !blocks.is_copy(index) || first() {
                    jumps[of(to)] += 1;
                }
            }
        }
        let dynamic = blocks.blocks.iter().enumerate().map(|(index, block)| {
            let named = |index: usize| pushed.times[index] == 0 || pushes[index] > jumps[index];
            block.jumpdest && !blocks.is_copy(index) && named(index)
        });
        let dynamic = dynamic.collect();
        Self { ways, dynamic }
    }

    /// The blocks that control gets to.
    fn lives(&self, blocks: &Blocks, edges: &[Edges]) -> Vec<bool> {
        let mut lives = vec![false; edges.len()];
        let all = blocks.blocks.iter().enumerate();
        let entered = |(index, block): (usize, &Block)| {
            let way = index == 0 || block.enterable || self.dynamic[index];
            (way && block.live).then_some(index)
        };
        let mut work: Vec<usize> = all.filter_map(entered).collect();
        while let Some(index) = work.pop() {
            if !std::mem::replace(&mut lives[index], true) {
                work.extend(edges[index].successors());
            }
        }
        lives
    }
}

/// The constants on a stack, the top last; of what is below nothing is known.
pub(super) type Stack = Vec<Option<u64>>;

/// Runs through all blocks, through closed ones with what all that lead to them have pushed. Those that
/// something is known before then are said to be closed.
pub(super) fn scan_all(
    code: &[u8],
    insts: &[Inst],
    blocks: &Blocks,
    closed: &[bool],
) -> Vec<Edges> {
    let mut found: Vec<Option<Edges>> = vec![None; closed.len()];
    let mut before: Vec<Option<Stack>> = vec![None; closed.len()];
    let mut visits = vec![0u8; closed.len()];
    let (mut work, mut stack): (Vec<usize>, _) = (Vec::new(), Stack::new());
    for root in 0..closed.len() {
        // What nothing leads to falls into blocks, too, and none of it is ever on their stacks.
        if closed[root] || !blocks.blocks[root].live {
            continue;
        }
        before[root] = Some(Stack::new());
        work.push(root);
        while let Some(index) = work.pop() {
            stack.clear();
            stack.extend(before[index].iter().flatten());
            let known = closed[index] && stack.iter().any(Option::is_some);
            let mut edges = scan(code, insts, blocks, index, &mut stack);
            edges.closed = known;
            found[index] = Some(edges);
            for next in edges.successors().filter(|&next| closed[next]) {
                if meet(&mut before[next], &stack, visits[next] == MAX_VISITS) {
                    visits[next] += 1;
                    work.push(next);
                }
            }
        }
    }
    // What nothing leads to, or only leads around among itself, is never come by.
    let none = |index| scan(code, insts, blocks, index, &mut Vec::new());
    let found = found.into_iter().enumerate();
    found
        .map(|(index, edges)| edges.unwrap_or_else(|| none(index)))
        .collect()
}

/// Leaves of what is known before a block what another way into it has, too; nothing if that has
/// changed too often. Whether there is less then, or it is the first way.
fn meet(before: &mut Option<Stack>, stack: &[Option<u64>], too_often: bool) -> bool {
    let Some(known) = before else {
        *before = Some(stack.to_vec());
        return true;
    };
    if known.is_empty() {
        return false;
    }
    let len = known.len().min(stack.len());
    let (mut less, tops) = (len < known.len(), &stack[stack.len() - len..]);
    known.drain(..known.len() - len);
    for (known, other) in known.iter_mut().zip(tops) {
        if known.is_some() && known != other && !planted(Fault::FirstWayIsBelieved) {
            (*known, less) = (None, true);
        }
    }
    if less && too_often {
        known.clear();
    }
    less
}

/// Runs through a block with the constants on `stack`, and leaves there [`MAX_FOLLOWED`] behind it.
pub(super) fn scan(
    code: &[u8],
    insts: &[Inst],
    blocks: &Blocks,
    index: usize,
    stack: &mut Stack,
) -> Edges {
    let block = &blocks.blocks[index];
    let mut reaches = 0u32;
    let mut target = Target::None;
    for inst in block.insts(insts) {
        if matches!(inst.class, Class::Step | Class::End) {
            break;
        }
        let top = |stack: &[Option<u64>], depth: usize| {
            stack.len().checked_sub(depth).and_then(|i| stack[i])
        };
        let native = inst.class == Class::Native;
        let exchange = |stack: &mut Stack, a: usize, b: usize| {
            // Unknown words come in from below.
            let missing = (a.max(b) + 1).saturating_sub(stack.len());
            stack.splice(0..0, std::iter::repeat_n(None, missing));
            let top = stack.len() - 1;
            stack.swap(top - a, top - b);
        };
        match inst.opcode {
            op::PUSH0..=op::PUSH32 if native => {
                stack.push(inst.pushed_short(code));
                continue;
            }
            // Library functions of older Solidity are called by masked addresses.
            op::AND if native => {
                let masked = top(stack, 1).zip(top(stack, 2)).map(|(a, b)| a & b);
                stack.truncate(stack.len().saturating_sub(2));
                stack.push(masked);
                continue;
            }
            op::DUP1..=op::DUP16 if native => {
                let from = usize::from(planted(Fault::ConstantOfTheNext));
                stack.push(top(stack, (inst.opcode - op::DUP1) as usize + 1 + from));
                continue;
            }
            op::DUPN if native => {
                let depth = decode_single(inst.immediate).unwrap_or(0);
                stack.push(top(stack, depth.into()));
                continue;
            }
            op::SWAP1..=op::SWAP16 if native => {
                exchange(stack, 0, (inst.opcode - op::SWAP1) as usize + 1);
                continue;
            }
            op::SWAPN if native => {
                let depth = decode_single(inst.immediate).unwrap_or(0);
                exchange(stack, 0, depth.into());
                continue;
            }
            op::EXCHANGE if native => {
                let (a, b) = decode_pair(inst.immediate).unwrap_or((0, 0));
                exchange(stack, a.into(), b.into());
                continue;
            }
            op::MLOAD | op::MSTORE | op::MSTORE8 if native => {
                let len = if inst.opcode == op::MSTORE8 { 1 } else { 32 };
                if let Some(offset) = top(stack, 1).filter(|offset| *offset <= MAX_OFFSET) {
                    let more = 32 * u64::from(planted(Fault::BlockReachesFurther));
                    reaches = reaches.max((offset + len + more).next_multiple_of(32) as u32);
                }
            }
            op::JUMP | op::JUMPI if native => {
                let pc = top(stack, 1).and_then(|pc| u32::try_from(pc).ok());
                if let Some(block) = pc.and_then(|pc| blocks.target(pc)) {
                    target = Target::Block(blocks.copy_for(index, block));
                }
            }
            _ => {}
        }
        stack.truncate(stack.len().saturating_sub(inst.inputs.into()));
        stack.extend((0..inst.outputs).map(|_| None));
    }
    stack.drain(..stack.len().saturating_sub(MAX_FOLLOWED));
    let last = &insts[block.end as usize - 1];
    let falls = match last.class {
        Class::Step | Class::End => false,
        Class::Native => last.opcode != op::JUMP,
        Class::Boundary => true,
    };
    Edges {
        target,
        falls: falls.then_some(block.next),
        closed: false,
        continues: false,
        dynamic: false,
        cold: false,
        reaches,
    }
}

/// Marks the blocks from which only REVERT, or what is no instruction, can be reached.
pub(super) fn cold(insts: &[Inst], blocks: &Blocks, edges: &mut [Edges]) {
    let (all, originals) = (edges.len(), blocks.originals().count());
    // Copies lead to what stands before them, and what leads to them does.
    let again = 0..if all > originals { originals } else { 0 };
    for index in (0..originals)
        .rev()
        .chain((originals..all).rev())
        .chain(again.rev())
    {
        let last = &insts[blocks.blocks[index].end as usize - 1];
        let jumps = matches!(last.opcode, op::JUMP | op::JUMPI) && last.class == Class::Native;
        edges[index].cold = if matches!(last.class, Class::Step | Class::End) {
            matches!(last.opcode, op::REVERT | op::INVALID)
        } else if jumps && edges[index].target == Target::None {
            false
        } else {
            // What leads back is not seen yet, and taken for warm.
            edges[index].successors().all(|next| edges[next].cold)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Rules, *};
    use crate::compiler::{CompileOptions, Tier, blocks, compile, decode};

    fn rules() -> Rules {
        Rules::new([3; 256], 0..=255)
    }

    /// The edges of the block at each program counter.
    fn edges(code: &[u8]) -> impl Fn(u32) -> Edges {
        let insts = decode::decode(code, &rules());
        let blocks = blocks::split(&insts);
        let found = find(code, &insts, &blocks);
        move |pc| {
            let block = blocks.blocks.iter().position(|block| block.pc == pc);
            found[block.expect("a block begins there")]
        }
    }

    fn target(edges: Edges) -> Option<u32> {
        match edges.target {
            Target::Block(block) => Some(block),
            Target::None => None,
        }
    }

    #[test]
    fn a_function_that_is_called_once_returns_by_an_edge() {
        // 0: PUSH1 5, PUSH1 7, JUMP; 5: JUMPDEST, STOP; 7: JUMPDEST, JUMP
        let at = edges(&[0x60, 5, 0x60, 7, 0x56, 0x5b, 0, 0x5b, 0x56]);
        for pc in [5, 7] {
            assert!(at(pc).continues && !at(pc).dynamic, "{pc}");
        }
        assert_eq!(target(at(0)), Some(2));
        assert_eq!(target(at(7)), Some(1));
    }

    #[test]
    fn one_that_is_called_twice_returns_by_the_table() {
        // 0: PUSH1 5, PUSH1 12, JUMP; 5: JUMPDEST, PUSH1 11, PUSH1 12, JUMP; 11: JUMPDEST; 12: JUMPDEST, JUMP
        let at = edges(&[
            0x60, 5, 0x60, 12, 0x56, 0x5b, 0x60, 11, 0x60, 12, 0x56, 0x5b, 0x5b, 0x56,
        ]);
        assert!(!at(12).continues && target(at(12)).is_none());
        assert!(at(5).dynamic && at(11).dynamic);
        assert!(!at(12).dynamic, "each push of it is a jump's");
    }

    #[test]
    fn code_that_nothing_leads_to_hands_nothing_on() {
        // 0: CALLVALUE, PUSH1 11, JUMPI; 4: PUSH1 11, JUMP; 7: PUSH1 17 (dead); 9: JUMPDEST, JUMP;
        // 11: JUMPDEST, PUSH1 18, PUSH1 9, JUMP; 17, 18: JUMPDEST
        let at = edges(&[
            0x34, 0x60, 11, 0x57, 0x60, 11, 0x56, 0x60, 17, 0x5b, 0x56, 0x5b, 0x60, 18, 0x60, 9,
            0x56, 0x5b, 0x5b,
        ]);
        assert!(at(9).continues);
        assert_eq!(target(at(9)), Some(6));
    }

    #[test]
    fn a_destination_that_nobody_pushes_may_be_computed() {
        // PUSH0, POP; 2: JUMPDEST, STOP
        let at = edges(&[0x5f, 0x50, 0x5b, 0x00]);
        assert!(at(2).dynamic && !at(2).continues);
    }

    #[test]
    fn a_loops_head_continues_nothing() {
        // PUSH0; 1: JUMPDEST, PUSH1 1, JUMP
        let at = edges(&[0x5f, 0x5b, 0x60, 1, 0x56]);
        assert!(!at(1).continues && !at(1).dynamic);
        assert_eq!(target(at(1)), Some(1));
    }

    #[test]
    fn what_reverts_is_cold_and_what_may_go_on_is_not() {
        // PUSH0, PUSH1 6, JUMPI; 4: INVALID; 5: (dead); 6: JUMPDEST, STOP
        let at = edges(&[0x5f, 0x60, 6, 0x57, 0xfe, 0xfe, 0x5b, 0x00]);
        assert!(at(4).cold && !at(6).cold && !at(0).cold);
        assert!(at(4).continues && at(6).continues);
    }

    #[test]
    fn blocks_that_only_continue_each_other_compile() {
        // STOP; 1: JUMPDEST, PUSH1 5, JUMP; 5: JUMPDEST, PUSH1 1, JUMP
        let code = [0x00, 0x5b, 0x60, 5, 0x56, 0x5b, 0x60, 1, 0x56];
        let at = edges(&code);
        assert!(at(1).continues && at(5).continues);
        for (tier, portable) in [
            (Tier::Baseline, false),
            (Tier::Optimized, false),
            (Tier::Optimized, true),
        ] {
            let options = CompileOptions {
                tier,
                portable,
                ..CompileOptions::default()
            };
            let native = compile(&code, &rules(), &options).unwrap();
            assert_eq!(native.entries().len(), 1, "{tier} {portable}");
        }
    }
}
