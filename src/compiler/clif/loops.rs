//! Which blocks pass words on in registers, and which words.
//!
//! A *loop* is a strongly connected set of blocks whose instructions are all native, under the static
//! edges that need no comparison; the height of the stack at the start of each of its blocks is a
//! constant above that of another. Its blocks take as parameters the gas, and the
//! words that any of them uses or changes and that are there when the block starts: the *carried* ones.
//! Stack memory holds all others, and those that no block changes. While the loop runs, the frame's top
//! is not the stack's but the loop's *base*, which is the same for all of its blocks: a register less, as
//! few ways but those out ask for it.
//!
//! Among the carried ones, *counters*, which the loop changes by constants only, and what they are
//! compared with are taken for less than 2^63 and passed as one limb. That is a guess, checked where the
//! loop is entered and where a sum could break it; the interpreter goes on where it is wrong.

use crate::compiler::{
    Program,
    blocks::{Blocks, possible},
    decode::Shuffle,
    effect::{Class, op},
    flow::falls_freely,
};
use std::collections::{BTreeMap, BTreeSet};

/// Words that blocks pass on, at most: more than fill the registers many times over cost more moves
/// than they save.
const MAX_CARRIED: usize = 16;

/// Parameters of all of a loop's blocks together, in words.
const MAX_PARAMS: usize = 2048;

/// Instructions of all of a program's loops together; the shortest loops come first. Cranelift takes
/// some tens of microseconds for each.
const MAX_INSTRUCTIONS: usize = 768;

/// A counter's bits.
pub(super) const COUNTER_BITS: u32 = 63;

/// A word that a block takes as a parameter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    /// Its position, from the block's start.
    pub(super) position: i32,
    pub(super) bits: u16,
    /// Whether a block of the loop changes it.
    pub(super) written: bool,
    /// Whether `bits` is a guess.
    pub(super) speculated: bool,
}

impl Carried {
    pub(super) fn limbs(&self) -> usize {
        usize::from(self.bits).div_ceil(64)
    }
}

/// Of one block.
#[derive(Clone, Debug)]
struct Member {
    loop_: u32,
    /// The stack's at its start, from the loop's base on.
    height: i32,
    carried: Vec<Carried>,
}

/// The loops of a program.
#[derive(Debug)]
pub(super) struct Loops {
    members: Vec<Option<Member>>,
    entered: Vec<usize>,
}

impl Loops {
    pub(super) fn none(blocks: usize) -> Self {
        Self {
            members: vec![None; blocks],
            entered: Vec::new(),
        }
    }

    pub(super) fn find(program: &Program<'_>) -> Self {
        let edges = edges(program);
        let mut this = Self::none(edges.len());
        let len = |blocks: &[usize]| -> usize {
            let blocks = blocks.iter().map(|&index| &program.blocks.blocks[index]);
            blocks.map(|block| block.insts(program.insts).len()).sum()
        };
        let components = components(&edges).into_iter();
        let mut components: Vec<_> = components.map(|blocks| (len(&blocks), blocks)).collect();
        components.sort_by_key(|(len, _)| *len);
        let mut rest = MAX_INSTRUCTIONS;
        for (number, (len, blocks)) in components.iter().enumerate() {
            let Some(left) = rest.checked_sub(*len) else {
                break;
            };
            if let Some(heights) = heights(program.blocks, &edges, blocks) {
                this.admit(program, number as u32, &heights);
                rest = left;
            }
        }
        this.entered = this.find_entered(program);
        // A loop that nothing leads into but itself is never come by.
        let number = |index: &usize| this.members[*index].as_ref().map(|member| member.loop_);
        let entered: BTreeSet<u32> = this.entered.iter().filter_map(number).collect();
        for member in &mut this.members {
            member.take_if(|member| !entered.contains(&member.loop_));
        }
        this
    }

    /// Which blocks are in loops.
    pub(super) fn members(&self) -> Vec<bool> {
        self.members.iter().map(Option::is_some).collect()
    }

    /// The words that a block of a loop takes as parameters.
    pub(super) fn carried(&self, index: usize) -> Option<Vec<Carried>> {
        self.members[index]
            .as_ref()
            .map(|member| member.carried.clone())
    }

    /// How many words a block of a loop has above the loop's base.
    pub(super) fn height(&self, index: usize) -> i32 {
        self.members[index]
            .as_ref()
            .map_or(0, |member| member.height)
    }

    /// The blocks of loops that what is not of the same loop leads to, or frames enter, in order.
    pub(super) fn entered(&self) -> &[usize] {
        &self.entered
    }

    fn find_entered(&self, program: &Program<'_>) -> Vec<usize> {
        let mut led = vec![false; self.members.len()];
        for (from, flow) in program.flow.iter().enumerate() {
            for to in flow.edges.successors() {
                led[to] |= program.blocks.blocks[from].live && !self.joined(from, to);
            }
        }
        let entered = |&index: &usize| {
            self.members[index].is_some() && (led[index] || program.is_entered(index))
        };
        (0..led.len()).filter(entered).collect()
    }

    /// Whether both blocks are of one loop.
    pub(super) fn joined(&self, a: usize, b: usize) -> bool {
        match (&self.members[a], &self.members[b]) {
            (Some(a), Some(b)) => a.loop_ == b.loop_,
            _ => false,
        }
    }

    fn admit(&mut self, program: &Program<'_>, number: u32, heights: &BTreeMap<usize, i32>) {
        let mut uses = Uses::default();
        for (&index, &height) in heights {
            uses.scan(program, index, height);
        }
        let mut positions: Vec<i32> = uses
            .read
            .keys()
            .chain(uses.written.iter())
            .copied()
            .collect();
        positions.sort_unstable();
        positions.dedup();
        // The most used ones.
        positions.sort_by_key(|position| std::cmp::Reverse(uses.read.get(position).copied()));
        positions.truncate(MAX_CARRIED);
        if heights.len() * positions.len() > MAX_PARAMS {
            return;
        }
        positions.sort_unstable();
        let counters = uses.counters();
        for (&index, &height) in heights {
            let here = positions.iter().filter(|position| **position < height);
            let carried = here.map(|&position| {
                let speculated = counters.contains(&position);
                Carried {
                    position: position - height,
                    bits: if speculated { COUNTER_BITS as u16 } else { 256 },
                    written: uses.written.contains(&position),
                    speculated,
                }
            });
            self.members[index] = Some(Member {
                loop_: number,
                height,
                carried: carried.collect(),
            });
        }
    }
}

/// The static edges between blocks of native instructions.
fn edges(program: &Program<'_>) -> Vec<Vec<usize>> {
    let (blocks, flow) = (program.blocks, program.flow);
    let native = |index: usize| {
        let block = &blocks.blocks[index];
        let insts = block.insts(program.insts);
        block.live
            && possible(block.needs, block.grows)
            && insts.iter().all(|inst| inst.class == Class::Native)
    };
    let natives: Vec<bool> = (0..blocks.blocks.len()).map(native).collect();
    (0..natives.len())
        .map(|index| {
            let block = &blocks.blocks[index];
            let last = program.insts[block.end as usize - 1];
            let jumps = matches!(last.opcode, op::JUMP | op::JUMPI);
            let (falls, next) = (last.opcode != op::JUMP, block.next as usize);
            let jump = flow[index].edges.target.map(|to| to as usize);
            let usable = natives[index]
                && (jump.is_some() || !jumps)
                && (!falls || next < natives.len() && falls_freely(blocks, flow, index));
            let to = jump.into_iter().chain(falls.then_some(next));
            to.filter(|&to| usable && natives[to]).collect()
        })
        .collect()
}

/// The strongly connected components with an edge in them (Tarjan's algorithm, without recursion).
fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let mut order = vec![NEW; edges.len()];
    let mut low = vec![NEW; edges.len()];
    let mut on_path = vec![false; edges.len()];
    let (mut path, mut found, mut next) = (Vec::new(), Vec::new(), 0);
    for root in 0..edges.len() {
        if order[root] != NEW {
            continue;
        }
        let mut work = vec![(root, 0)];
        while let Some((at, edge)) = work.pop() {
            if edge == 0 {
                order[at] = next;
                low[at] = next;
                next += 1;
                path.push(at);
                on_path[at] = true;
            }
            if edge > 0 {
                let to = edges[at][edge - 1];
                if on_path[to] {
                    low[at] = low[at].min(low[to]);
                }
            }
            if let Some(&to) = edges[at].get(edge) {
                work.push((at, edge + 1));
                if order[to] == NEW {
                    work.push((to, 0));
                }
                continue;
            }
            if low[at] == order[at] {
                let start = path.iter().rposition(|&block| block == at).unwrap_or(0);
                let component = path.split_off(start);
                for &block in &component {
                    on_path[block] = false;
                }
                if component.len() > 1 || edges[at].contains(&at) {
                    found.push(component);
                }
            }
        }
    }
    found
}

/// The height at the start of each block of a component; `None` if it is not one for each.
fn heights(
    blocks: &Blocks,
    edges: &[Vec<usize>],
    component: &[usize],
) -> Option<BTreeMap<usize, i32>> {
    let inside: BTreeSet<usize> = component.iter().copied().collect();
    let mut heights = BTreeMap::from([(component[0], 0)]);
    let mut work = vec![component[0]];
    while let Some(index) = work.pop() {
        let end = heights[&index] + blocks.blocks[index].delta;
        for &to in edges[index].iter().filter(|to| inside.contains(to)) {
            match heights.get(&to) {
                Some(&height) if height != end => return None,
                Some(_) => {}
                None => {
                    heights.insert(to, end);
                    work.push(to);
                }
            }
        }
    }
    Some(heights)
}

/// What is known of a word while a loop's blocks are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Other,
    /// A constant that is less than 2^31.
    Constant,
    /// At most one limb.
    Narrow,
    /// The word that stood here at the block's start.
    Initial(i32),
    /// That word plus or minus constants.
    Counted(i32),
}

/// What a loop's blocks do with the words that stand there when they start, by height.
#[derive(Default)]
struct Uses {
    read: BTreeMap<i32, usize>,
    written: BTreeSet<i32>,
    counted: BTreeSet<i32>,
    /// Changed to something that is no counter.
    spoiled: BTreeSet<i32>,
    compared: Vec<(i32, i32)>,
}

impl Uses {
    fn scan(&mut self, program: &Program<'_>, index: usize, height: i32) {
        let block = &program.blocks.blocks[index];
        let lowest = height - i32::from(block.needs);
        let mut stack: Vec<Word> = (lowest..height).map(Word::Initial).collect();
        for inst in block.insts(program.insts) {
            if let Some(shuffle) = inst.shuffle() {
                match shuffle {
                    Shuffle::Push if inst.pushed(program.code).bit_len() < 32 => {
                        stack.push(Word::Constant);
                    }
                    Shuffle::Push => stack.push(Word::Other),
                    Shuffle::Pop => {
                        stack.pop();
                    }
                    Shuffle::Dup(n) => {
                        let at = stack.len().checked_sub(n);
                        stack.push(at.map_or(Word::Other, |at| stack[at]));
                    }
                    Shuffle::Exchange(a, b) => {
                        if let Some(lowest) = stack.len().checked_sub(a.max(b) + 1) {
                            stack.swap(lowest, lowest + a.abs_diff(b));
                        }
                    }
                }
                continue;
            }
            let operands: Vec<Word> = (0..inst.inputs)
                .map(|_| stack.pop().unwrap_or(Word::Other))
                .collect();
            for operand in &operands {
                if let Word::Initial(at) = *operand {
                    *self.read.entry(at).or_default() += 1;
                }
            }
            let result = self.result(inst.opcode, &operands);
            stack.extend((0..inst.outputs).map(|_| result));
        }
        for (at, word) in (lowest..).zip(stack) {
            if word == Word::Initial(at) {
                continue;
            }
            self.written.insert(at);
            match word {
                Word::Counted(from) if from == at => {
                    self.counted.insert(at);
                }
                Word::Constant | Word::Narrow => {}
                _ => {
                    self.spoiled.insert(at);
                }
            }
        }
    }

    fn result(&mut self, opcode: u8, operands: &[Word]) -> Word {
        let origin = |word: Word| match word {
            Word::Initial(at) | Word::Counted(at) => Some(at),
            _ => None,
        };
        match (opcode, operands) {
            (op::ADD, &[Word::Constant, of] | &[of, Word::Constant])
            | (op::SUB, &[of, Word::Constant]) => origin(of).map_or(Word::Other, Word::Counted),
            (op::LT | op::GT | op::EQ | op::SLT | op::SGT, &[a, b]) => {
                if let (Some(a), Some(b)) = (origin(a), origin(b)) {
                    self.compared.push((a, b));
                }
                Word::Narrow
            }
            (op::ISZERO | op::BYTE | op::MSIZE | op::CALLDATASIZE, _) => Word::Narrow,
            _ => Word::Other,
        }
    }

    /// Counters, and what they are compared with where nothing changes that.
    fn counters(&self) -> BTreeSet<i32> {
        let counters: BTreeSet<i32> = self.counted.difference(&self.spoiled).copied().collect();
        let mut all = counters.clone();
        for &(a, b) in &self.compared {
            for (a, b) in [(a, b), (b, a)] {
                if counters.contains(&a) && !self.written.contains(&b) {
                    all.insert(b);
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::{Passes, Rules};

    fn with_loops(code: &[u8], f: impl FnOnce(&Program<'_>, &Loops)) {
        let rules = Rules::new([3; 256], 0..=255);
        let passes = Passes::run(code, &rules, true).unwrap();
        let program = passes.program(code, &rules);
        f(&program, &Loops::find(&program));
    }

    fn members(code: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        with_loops(code, |program, loops| {
            let members = loops.members().into_iter().zip(&program.blocks.blocks);
            found = members
                .filter(|(member, _)| *member)
                .map(|(_, block)| block.pc)
                .collect();
        });
        found
    }

    /// PUSH0 CALLDATALOAD PUSH0 PUSH1 1, then: while the third word is not zero, the first is added to the
    /// second, they change places, and the third becomes less by one.
    const FIBONACCI: &[u8] = &[
        0x5f, 0x35, 0x5f, 0x60, 0x01, 0x5b, 0x82, 0x15, 0x60, 0x1a, 0x57, 0x81, 0x81, 0x01, 0x91,
        0x50, 0x90, 0x91, 0x60, 0x01, 0x90, 0x03, 0x91, 0x60, 0x05, 0x56, 0x5b, 0x00,
    ];

    #[test]
    fn a_loop_passes_on_what_it_uses_and_counts_in_one_limb() {
        assert_eq!(members(FIBONACCI), [5, 11]);
        with_loops(FIBONACCI, |_, loops| {
            let head = loops.carried(1).unwrap();
            let words: Vec<(i32, bool, bool)> = head
                .iter()
                .map(|word| (word.position, word.written, word.speculated))
                .collect();
            assert_eq!(
                words,
                [(-3, true, true), (-2, true, false), (-1, true, false)]
            );
            assert_eq!(
                head.iter().map(Carried::limbs).collect::<Vec<_>>(),
                [1, 4, 4]
            );
            assert!(loops.joined(1, 2) && !loops.joined(1, 3) && !loops.joined(0, 1));
        });
    }

    #[test]
    fn what_is_compared_with_a_counter_is_a_guess_only_if_nothing_changes_it() {
        // CALLVALUE CALLDATASIZE; 2: JUMPDEST PUSH1 1 ADD DUP2 DUP2 LT PUSH1 2 JUMPI: a counter on top, below
        // it its bound.
        let code = [
            0x34, 0x36, 0x5b, 0x60, 0x01, 0x01, 0x81, 0x81, 0x10, 0x60, 0x02, 0x57, 0x00,
        ];
        with_loops(&code, |_, loops| {
            let words = loops.carried(1).unwrap();
            assert!(words.iter().all(|word| word.speculated));
            assert_eq!(
                words.iter().map(|word| word.written).collect::<Vec<_>>(),
                [false, true]
            );
        });
        // The same with NOT of the bound in each iteration.
        let code = [
            0x34, 0x36, 0x5b, 0x90, 0x19, 0x90, 0x60, 0x01, 0x01, 0x81, 0x81, 0x10, 0x60, 0x02,
            0x57, 0x00,
        ];
        with_loops(&code, |_, loops| {
            let words = loops.carried(1).unwrap();
            assert_eq!(
                words.iter().map(|word| word.speculated).collect::<Vec<_>>(),
                [false, true]
            );
        });
    }

    #[test]
    fn boundaries_growing_stacks_and_unknown_targets_make_no_loop() {
        // JUMPDEST PUSH0 SLOAD PUSH0 JUMPI.
        assert_eq!(members(&[0x5b, 0x5f, 0x54, 0x5f, 0x57, 0x00]), [0u32; 0]);
        // JUMPDEST PUSH0 PUSH0 JUMP: a word more in each iteration.
        assert_eq!(members(&[0x5b, 0x5f, 0x5f, 0x56]), [0u32; 0]);
        // JUMPDEST PUSH0 CALLDATALOAD JUMP.
        assert_eq!(members(&[0x5b, 0x5f, 0x35, 0x56]), [0u32; 0]);
        // With a word that it drops, the second is one.
        assert_eq!(members(&[0x5b, 0x5f, 0x50, 0x5f, 0x56]), [0]);
    }

    #[test]
    fn the_shortest_loops_come_first_and_long_ones_are_left() {
        // JUMPDEST, so often ISZERO, DUP1 and a jump back to the first, if the word is not zero.
        let looped = |code: &mut Vec<u8>, len: usize| {
            let to = (code.len() as u16).to_be_bytes();
            code.push(0x5b);
            code.extend(std::iter::repeat_n(0x15, len));
            code.extend([0x80, 0x61, to[0], to[1], 0x57]);
        };
        let mut code = vec![0x36];
        for len in [MAX_INSTRUCTIONS, MAX_INSTRUCTIONS / 2, 1] {
            looped(&mut code, len);
        }
        let second = 1 + MAX_INSTRUCTIONS as u32 + 6;
        let third = second + MAX_INSTRUCTIONS as u32 / 2 + 6;
        assert_eq!(members(&code), [second, third]);
        // Three halves are one too many.
        let mut code = vec![0x36];
        for _ in 0..3 {
            looped(&mut code, MAX_INSTRUCTIONS / 2 - 4);
        }
        assert_eq!(members(&code).len(), 2);
    }

    #[test]
    fn components_of_a_graph() {
        let edges = [vec![1], vec![2, 3], vec![1], vec![3, 4], vec![0usize; 0]];
        let mut found = components(&edges);
        found
            .iter_mut()
            .for_each(|component| component.sort_unstable());
        found.sort();
        assert_eq!(found, [vec![1, 2], vec![3]]);
    }
}
