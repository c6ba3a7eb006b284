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
//! * **C4** Those are all that such jumps lead to with a word that was pushed as it is, and those whose
//!   program counter is nowhere pushed. It may be that a word which was computed leads elsewhere: then the
//!   jump finds no way in the table, and is the interpreter's.
//!
//! For C4 a program counter is followed from where it is pushed until it is jumped to by a static edge, or
//! dropped. Where it is not followed, it is *lost*: another way into a closed block has something else in
//! its place, a block that is not closed comes next, or an instruction takes it for an operand.
//!
//! C2 holds by induction over what machine code runs: what is known before a closed block is true on
//! each edge into it, and nobody comes by another way. So blocks are taken for closed first, and fewer
//! of them until nothing dynamic is found to lead to any that is.

use super::{
    blocks::{Block, Blocks, possible},
    constants::{Lost, Scanner, Stack, scan},
    decode::Inst,
    effect::{Class, op},
    fault::{Fault, planted},
};

pub(super) use super::constants::Edges;

/// How often fewer blocks are taken for closed, until none is.
const ROUNDS: usize = 64;

/// How often fewer blocks are taken for live.
const LIVENESS_ROUNDS: usize = 3;

/// Finds the edges.
pub(super) fn find(code: &[u8], insts: &[Inst], blocks: &Blocks) -> Vec<Edges> {
    let pushed = pushed(code, insts, blocks);
    let closed = (0..blocks.blocks.len()).map(|index| may_be_closed(blocks, &pushed, index));
    let mut scanner = Scanner::new(code, insts, blocks, closed.collect());
    let mut rounds = 0;
    let (mut found, dynamic) = loop {
        let found = scanner.edges();
        let dynamic = dynamic(blocks, &found, &pushed, &scanner.lost);
        let both = scanner.closed.iter().zip(&dynamic).enumerate();
        let opened = both.filter(|(_, (closed, dynamic))| **closed && **dynamic);
        let mut opened: Vec<usize> = opened.map(|(index, _)| index).collect();
        if opened.is_empty() {
            break (found, dynamic);
        }
        rounds += 1;
        if rounds == ROUNDS {
            opened = (0..found.len())
                .filter(|&index| scanner.closed[index])
                .collect();
        }
        scanner.open(&opened);
    };
    let mut continues = scanner.closed;
    for (continues, ways) in continues.iter_mut().zip(ways(blocks, &found)) {
        *continues &= ways == 1 || ways == 2 && planted(Fault::TwoWaysAreOne);
    }
    let reaches = reaches(code, insts, blocks, &found, &continues);
    for (index, edges) in found.iter_mut().enumerate() {
        edges.reaches = reaches[index];
        edges.closed |= continues[index];
        edges.continues = continues[index];
        edges.dynamic = dynamic[index];
    }
    cold(insts, blocks, &mut found);
    found
}

/// How long the memory is at the end of each block because of it. The back ends know what is on the stack of a
/// block that continues another, and of no other: constants are followed along the one way into such a block.
fn reaches(
    code: &[u8],
    insts: &[Inst],
    blocks: &Blocks,
    found: &[Edges],
    continues: &[bool],
) -> Vec<u32> {
    let mut reaches = vec![None; found.len()];
    let roots = (0..found.len()).filter(|&index| !continues[index] && blocks.blocks[index].live);
    let mut work: Vec<(usize, Stack)> = roots.map(|index| (index, Stack::new())).collect();
    while let Some((index, mut stack)) = work.pop() {
        if reaches[index].is_some() {
            continue;
        }
        let edges = scan(code, insts, blocks, index, &mut stack, |_| {});
        let more = u32::from(edges.reaches > 0 && planted(Fault::ReachIsAWordLonger));
        reaches[index] = Some(edges.reaches + 32 * more);
        let nexts = found[index].successors().filter(|&next| continues[next]);
        work.extend(nexts.map(|next| (next, stack.clone())));
    }
    reaches.into_iter().map(Option::unwrap_or_default).collect()
}

/// Whether it can be that static edges only lead to a block.
fn may_be_closed(blocks: &Blocks, pushed: &[u32], index: usize) -> bool {
    let block = &blocks.blocks[index];
    index > 0
        && block.live
        && !block.enterable
        && possible(block.needs, block.grows)
        && (blocks.is_copy(index) || !block.jumpdest || pushed[index] > 0)
}

/// How often the code pushes each block's program counter, copies aside.
pub(super) fn pushed(code: &[u8], insts: &[Inst], blocks: &Blocks) -> Vec<u32> {
    let target = |inst: &Inst| {
        let pushes = matches!(inst.opcode, op::PUSH0..=op::PUSH32);
        let pc = pushes.then(|| inst.pushed_short(code)).flatten()?;
        blocks.target(pc)
    };
    let mut times = vec![0; blocks.originals().count()];
    for block in blocks.originals() {
        for to in block.insts(insts).iter().filter_map(target) {
            times[to as usize] += 1;
        }
    }
    times
}

/// How many static edges lead to each block: for C1 all count whose block has code, whether control gets
/// there or not.
pub(super) fn ways(blocks: &Blocks, edges: &[Edges]) -> Vec<u32> {
    let mut ways = vec![0; edges.len()];
    for (block, from) in blocks.blocks.iter().zip(edges) {
        if block.live {
            from.successors().for_each(|to| ways[to] += 1);
        }
    }
    ways
}

/// Whether jumps by table may lead to each block. What a dead block pushes is not jumped to.
fn dynamic(blocks: &Blocks, edges: &[Edges], pushed: &[u32], lost: &Lost) -> Vec<bool> {
    let mut lives: Vec<bool> = blocks.blocks.iter().map(|block| block.live).collect();
    let mut dynamic = dynamic_among(blocks, pushed, lost, &lives);
    for _ in 0..LIVENESS_ROUNDS {
        let now = reached(blocks, edges, &dynamic);
        if now == lives {
            break;
        }
        lives = now;
        dynamic = dynamic_among(blocks, pushed, lost, &lives);
    }
    dynamic
}

/// The same if these blocks are live: those whose program counter is nowhere pushed, so that it may be
/// computed, or pushed and lost.
fn dynamic_among(blocks: &Blocks, pushed: &[u32], lost: &Lost, lives: &[bool]) -> Vec<bool> {
    let mut dynamic = vec![false; lives.len()];
    for (index, pushed) in pushed.iter().enumerate() {
        dynamic[index] = blocks.blocks[index].jumpdest && *pushed == 0;
    }
    lost.by(lives).for_each(|to| dynamic[to as usize] = true);
    dynamic
}

/// The blocks that control gets to.
fn reached(blocks: &Blocks, edges: &[Edges], dynamic: &[bool]) -> Vec<bool> {
    let mut reached = vec![false; edges.len()];
    let all = blocks.blocks.iter().enumerate();
    let entered = |(index, block): (usize, &Block)| {
        let way = index == 0 || block.enterable || dynamic[index];
        (way && block.live).then_some(index)
    };
    let mut work: Vec<usize> = all.filter_map(entered).collect();
    while let Some(index) = work.pop() {
        if !std::mem::replace(&mut reached[index], true) {
            work.extend(edges[index].successors());
        }
    }
    reached
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
        } else if jumps && edges[index].target.is_none() {
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

    #[test]
    fn a_function_that_is_called_once_returns_by_an_edge() {
        // 0: PUSH1 5, PUSH1 7, JUMP; 5: JUMPDEST, STOP; 7: JUMPDEST, JUMP
        let at = edges(&[0x60, 5, 0x60, 7, 0x56, 0x5b, 0, 0x5b, 0x56]);
        for pc in [5, 7] {
            assert!(at(pc).continues && !at(pc).dynamic, "{pc}");
        }
        assert_eq!(at(0).target, Some(2));
        assert_eq!(at(7).target, Some(1));
    }

    #[test]
    fn one_that_is_called_twice_returns_by_the_table() {
        // 0: PUSH1 5, PUSH1 12, JUMP; 5: JUMPDEST, PUSH1 11, PUSH1 12, JUMP; 11: JUMPDEST; 12: JUMPDEST, JUMP
        let at = edges(&[
            0x60, 5, 0x60, 12, 0x56, 0x5b, 0x60, 11, 0x60, 12, 0x56, 0x5b, 0x5b, 0x56,
        ]);
        assert!(!at(12).continues && at(12).target.is_none());
        assert!(at(5).dynamic && at(11).dynamic);
        assert!(!at(12).dynamic, "each push of it is a jump's");
    }

    #[test]
    fn what_one_way_loses_is_jumped_to_by_the_table() {
        // 0: PUSH1 5, PUSH1 7, JUMP; 5: JUMPDEST, STOP; 7: JUMPDEST, CALLVALUE, PUSH1 13, JUMPI; 12: JUMP;
        // 13: JUMPDEST, JUMP; 15: JUMPDEST, CALLDATASIZE, PUSH1 13, JUMP
        let at = edges(&[
            0x60, 5, 0x60, 7, 0x56, 0x5b, 0x00, 0x5b, 0x34, 0x60, 13, 0x57, 0x56, 0x5b, 0x56, 0x5b,
            0x36, 0x60, 13, 0x56,
        ]);
        assert_eq!(at(12).target, Some(1), "known where it is followed");
        assert_eq!(at(13).target, None);
        assert!(at(5).dynamic && !at(13).dynamic);
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
        assert_eq!(at(9).target, Some(6));
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
        assert_eq!(at(1).target, Some(1));
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
