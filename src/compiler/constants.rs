//! Constants on the stack, followed through blocks and from one to the next.
//!
//! A block is run through with what is known before it: of a *closed* block what all that lead to it agree
//! on, of any other nothing. Less and less is known until nothing changes; which blocks are closed is
//! [`edges`](super::edges)'s to say, which also has the contract that this is for (C2, C4).

use super::{
    blocks::{Block, Blocks},
    decode::{Inst, Shuffle},
    effect::{Class, op},
    fault::{Fault, planted},
};

/// Constant offsets beyond are not followed.
const MAX_OFFSET: u64 = 1 << 16;

/// Words that are followed from one block to the next.
const MAX_FOLLOWED: usize = 64;

/// How often less is known before a block until nothing is.
const MAX_VISITS: u8 = 8;

/// JUMPDESTs that are lost, for each block, before it is no more said by whom. (Of 2,199 mainnet contracts one
/// has 6, the median 1.)
const LOST_PER_BLOCK: usize = 32;

/// Of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edges {
    /// The block that a jump at its end leads to by a static edge (C2).
    pub(super) target: Option<u32>,
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
    /// Whether control goes on from the block in a way that is not known here.
    fn goes_on_unknown(&self, insts: &[Inst], block: &Block) -> bool {
        let last = &insts[block.end as usize - 1];
        match last.class {
            Class::Step => true,
            Class::Native => matches!(last.opcode, op::JUMP | op::JUMPI) && self.target.is_none(),
            Class::Boundary | Class::End => false,
        }
    }

    /// The blocks that static edges lead to from this one.
    pub(super) fn successors(&self) -> impl Iterator<Item = usize> + use<> {
        let ways = self.target.into_iter().chain(self.falls);
        ways.map(|next| next as usize)
    }
}

/// The constants on a stack, the top last; of what is below nothing is known.
pub(super) type Stack = Vec<Option<u64>>;

/// JUMPDESTs whose program counters are not followed to where they are used.
pub(super) struct Lost {
    /// Each with a block that has had it.
    by: Vec<(u32, u32)>,
    /// Those that too many blocks have had to name them all.
    by_many: Vec<u32>,
    max: usize,
}

impl Lost {
    fn new(blocks: usize) -> Self {
        let max = LOST_PER_BLOCK * blocks;
        let (by, by_many) = (Vec::new(), Vec::new());
        Self { by, by_many, max }
    }

    fn add(&mut self, block: u32, to: u32) {
        if self.by.len() >= self.max {
            self.by.sort_unstable();
            self.by.dedup();
            if self.by.len() > self.max / 2 {
                self.by_many.extend(self.by.drain(..).map(|(_, to)| to));
                self.by_many.sort_unstable();
                self.by_many.dedup();
            }
        }
        self.by.push((block, to));
    }

    /// Those that live blocks have lost; of those that are not named, which live is not asked.
    pub(super) fn by(&self, lives: &[bool]) -> impl Iterator<Item = u32> {
        let by = self.by.iter().filter(|(block, _)| lives[*block as usize]);
        by.map(|(_, to)| *to).chain(self.by_many.iter().copied())
    }
}

/// Runs through blocks, through closed ones with what all that lead to them have pushed.
pub(super) struct Scanner<'a> {
    code: &'a [u8],
    insts: &'a [Inst],
    blocks: &'a Blocks,
    pub(super) closed: Vec<bool>,
    /// What is known before each block that is come by.
    before: Vec<Option<Stack>>,
    visits: Vec<u8>,
    found: Vec<Option<Edges>>,
    pub(super) lost: Lost,
}

impl<'a> Scanner<'a> {
    /// With everything scanned that is not closed, and what that leads to.
    pub(super) fn new(
        code: &'a [u8],
        insts: &'a [Inst],
        blocks: &'a Blocks,
        closed: Vec<bool>,
    ) -> Self {
        let count = closed.len();
        let mut this = Self {
            code,
            insts,
            blocks,
            closed,
            before: vec![None; count],
            visits: vec![0; count],
            found: vec![None; count],
            lost: Lost::new(count),
        };
        for root in 0..count {
            // What nothing leads to falls into blocks, too, and none of it is ever on their stacks.
            if !this.closed[root] && blocks.blocks[root].live {
                this.before[root] = Some(Stack::new());
                this.run(vec![root]);
            }
        }
        this
    }

    /// Scans blocks, and those behind them of which less is known now.
    fn run(&mut self, mut work: Vec<usize>) {
        let (blocks, lost) = (self.blocks, &mut self.lost);
        let mut lose = |index: usize, pc: u64| {
            let to = blocks.target(pc);
            to.into_iter().for_each(|to| lost.add(index as u32, to));
        };
        let mut stack = Stack::new();
        while let Some(index) = work.pop() {
            stack.clear();
            stack.extend(self.before[index].iter().flatten());
            let known = self.closed[index] && stack.iter().any(Option::is_some);
            let lose_here = |pc| lose(index, pc);
            let mut edges = scan(self.code, self.insts, blocks, index, &mut stack, lose_here);
            edges.closed = known;
            self.found[index] = Some(edges);
            if edges.goes_on_unknown(self.insts, &blocks.blocks[index])
                || edges.successors().any(|next| !self.closed[next])
            {
                stack.iter().flatten().for_each(|pc| lose(index, *pc));
            }
            for next in edges.successors().filter(|&next| self.closed[next]) {
                // Two blocks have had it: where one is dead, the other is not.
                let both = |pc| [index, next].into_iter().for_each(|index| lose(index, pc));
                let often = self.visits[next] == MAX_VISITS;
                if meet(&mut self.before[next], &stack, often, both) {
                    self.visits[next] += 1;
                    work.push(next);
                }
            }
        }
    }

    /// Takes blocks for closed no more, of which nothing is known then.
    pub(super) fn open(&mut self, opened: &[usize]) {
        let mut fresh = vec![false; self.closed.len()];
        for &index in opened {
            (self.closed[index], fresh[index]) = (false, true);
            self.before[index] = Some(Stack::new());
        }
        // Whatever leads to them loses what it has.
        let leads = |edges: &Edges| edges.successors().any(|next| fresh[next]);
        let all = self.found.iter().enumerate();
        let before = all.filter(|(index, edges)| {
            self.before[*index].is_some() && edges.as_ref().is_some_and(leads)
        });
        let mut work: Vec<usize> = before.map(|(index, _)| index).collect();
        work.extend(opened);
        self.run(work);
    }

    /// The edges of all blocks. Those that something is known before are said to be closed, and those that
    /// might be and are never come by: what is known before what they lead to takes no account of them.
    pub(super) fn edges(&mut self) -> Vec<Edges> {
        let (code, insts, blocks) = (self.code, self.insts, self.blocks);
        // What nothing leads to, or only leads around among itself, is never come by.
        let none = |index, closed| {
            let edges = scan(code, insts, blocks, index, &mut Stack::new(), |_| {});
            Edges { closed, ..edges }
        };
        let all = self.found.iter_mut().zip(&self.closed).enumerate();
        all.map(|(index, (edges, closed))| *edges.get_or_insert_with(|| none(index, *closed)))
            .collect()
    }
}

/// The edges of all blocks if these are closed.
pub(super) fn scan_all(
    code: &[u8],
    insts: &[Inst],
    blocks: &Blocks,
    closed: Vec<bool>,
) -> Vec<Edges> {
    Scanner::new(code, insts, blocks, closed).edges()
}

/// Leaves of what is known before a block what another way into it has, too; nothing if that has
/// changed too often. Whether there is less then, or it is the first way. `lost` is shown what is not left.
fn meet(
    before: &mut Option<Stack>,
    stack: &[Option<u64>],
    too_often: bool,
    mut lost: impl FnMut(u64),
) -> bool {
    let Some(known) = before else {
        *before = Some(stack.to_vec());
        return true;
    };
    let len = known.len().min(stack.len());
    let (mut less, (below, tops)) = (len < known.len(), stack.split_at(stack.len() - len));
    let deeper = known
        .drain(..known.len() - len)
        .chain(below.iter().copied());
    deeper.flatten().for_each(&mut lost);
    for (known, other) in known.iter_mut().zip(tops) {
        if known != other {
            let both = [*known, *other].into_iter().flatten();
            both.filter(|_| !planted(Fault::LossIsForgotten))
                .for_each(&mut lost);
            if !planted(Fault::FirstWayIsBelieved) {
                less |= known.take().is_some();
            }
        }
    }
    if less && too_often {
        known.drain(..).flatten().for_each(lost);
    }
    less
}

/// Runs through a block with the constants on `stack`, and leaves there [`MAX_FOLLOWED`] behind it. `lost`
/// is shown each that goes elsewhere than to a jump or to nowhere.
pub(super) fn scan(
    code: &[u8],
    insts: &[Inst],
    blocks: &Blocks,
    index: usize,
    stack: &mut Stack,
    mut lost: impl FnMut(u64),
) -> Edges {
    let block = &blocks.blocks[index];
    let mut reaches = 0u32;
    let mut target = None;
    for inst in block.insts(insts) {
        if matches!(inst.class, Class::Step | Class::End) {
            break;
        }
        let top = |stack: &[Option<u64>], depth: usize| {
            stack.len().checked_sub(depth).and_then(|i| stack[i])
        };
        let native = inst.class == Class::Native;
        if native && let Some(shuffle) = inst.shuffle() {
            match shuffle {
                Shuffle::Push => stack.push(inst.pushed_short(code)),
                Shuffle::Pop => {
                    stack.pop();
                }
                Shuffle::Dup(n) => {
                    let from = usize::from(planted(Fault::ConstantOfTheNext));
                    stack.push(top(stack, n + from));
                }
                Shuffle::Exchange(a, b) => {
                    // Unknown words come in from below.
                    let missing = (a.max(b) + 1).saturating_sub(stack.len());
                    stack.splice(0..0, std::iter::repeat_n(None, missing));
                    let top = stack.len() - 1;
                    stack.swap(top - a, top - b);
                }
            }
            continue;
        }
        match inst.opcode {
            // Library functions of older Solidity are called by masked addresses.
            op::AND if native => {
                let (a, b) = (top(stack, 1), top(stack, 2));
                let masked = a.zip(b).map(|(a, b)| a & b);
                let others = [a, b].into_iter().filter(|word| *word != masked);
                others.flatten().for_each(&mut lost);
                stack.truncate(stack.len().saturating_sub(2));
                stack.push(masked);
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
                if let Some(block) = top(stack, 1).and_then(|pc| blocks.target(pc)) {
                    target = Some(blocks.copy_for(index, block));
                }
                stack.pop();
                if inst.opcode == op::JUMPI {
                    stack.pop().flatten().into_iter().for_each(&mut lost);
                }
                continue;
            }
            _ => {}
        }
        let rest = stack.len().saturating_sub(inst.inputs.into());
        stack.drain(rest..).flatten().for_each(&mut lost);
        stack.extend((0..inst.outputs).map(|_| None));
    }
    let below = stack.len().saturating_sub(MAX_FOLLOWED);
    stack.drain(..below).flatten().for_each(&mut lost);
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

#[cfg(test)]
mod tests {
    use super::{super::Rules, *};
    use crate::compiler::{blocks, decode};

    /// Nine callers push 64 words each, of which less and less is known in a row of blocks behind: all of
    /// which lose what they know, whenever there is less of it.
    #[test]
    fn what_is_lost_again_and_again_takes_bounded_room() {
        const LEN: usize = 1 + 2 * 64 + 3 + 1;
        let head = 66 + 9 * LEN as u16;
        // STOP behind 65 JUMPDESTs, the callers, and JUMPDEST, GAS, GAS, JUMPI, GAS, GAS, JUMPI...
        let mut code = [vec![0x5b; 65], vec![0x00]].concat();
        for caller in 0..9 {
            code.push(0x5b);
            for word in 0..64 {
                code.extend([0x60, if word == caller { 64 } else { word }]);
            }
            let [high, low] = head.to_be_bytes();
            code.extend([0x61, high, low, 0x56]);
        }
        code.push(0x5b);
        code.extend([0x5a, 0x5a, 0x57].repeat(300));
        let rules = Rules::new([3; 256], 0..=255);
        let insts = decode::decode(&code, &rules);
        let blocks = blocks::split(&insts);
        let head = blocks
            .blocks
            .iter()
            .position(|block| block.pc == u32::from(head));
        let head = head.expect("a block begins there");
        let closed = (0..blocks.blocks.len()).map(|index| index >= head);
        let scanner = Scanner::new(&code, &insts, &blocks, closed.collect());
        let lost = &scanner.lost;
        assert!(lost.by.capacity() < 2 * lost.max && !lost.by_many.is_empty());
        // Whoever is live.
        let none_lives = vec![false; blocks.blocks.len()];
        assert_eq!(lost.by(&none_lives).count(), 65);
    }
}
