//! The passes against a naive machine: it reads bytes, keeps a stack of numbers, and knows nothing of
//! blocks. Where it goes, and what it has there, has to be what the passes promise.
//!
//! | promise | what is looked at |
//! |---|---|
//! | decoding | machine code's next instruction is where the machine's is, and a jump is followed where it sees a JUMPDEST |
//! | runs | no instruction of a block that was entered with its demand met underflows or overflows |
//! | B1 | a copy has the instructions of what it is a copy of |
//! | C1 | static edges only lead to a closed block, and one, always the same, to one that continues another |
//! | C2 | a jump with a known target goes there |
//! | C4 | a jump by table to what was pushed finds it |
//! | D1 | on static edges the stack is not looked at, and holds |
//! | D2 | the memory is as long as a block's demand says |
//! | D3 | gas for what was compared reaches to the next comparison |
//!
//! `REVMC_JIT_PROGRAMS` says how many programs; one has some eighty instructions and is run six times.

use super::{
    Passes, Rules,
    blocks::{Block, possible},
    edges::{self, Edges},
    effect::{Class, op},
    fault::{Fault, planting::plant},
    flow::{Demand, falls_freely},
};
use crate::{
    common::rng::Rng,
    frame::{STACK_LIMIT, x64::RESERVE},
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A program of fragments that push labels, call, loop, use memory and shuffle the stack.
pub(super) fn program(rng: &mut Rng) -> Vec<u8> {
    let mut code = Vec::new();
    let (mut places, mut uses) = (Vec::new(), Vec::new());
    let labels = 3 + rng.below(8);
    for _ in 0..20 + rng.below(60) {
        let label = rng.below(labels);
        match rng.below(22) {
            0..=2 => {
                places.push((label, code.len()));
                code.push(op::JUMPDEST);
            }
            3..=5 => {
                uses.push((label, code.len() + 1));
                code.extend([op::PUSH1 + 1, 0, 0]);
                code.extend([op::JUMP, op::JUMPI].get(rng.below(4)));
            }
            6 => code.extend([op::PUSH1, rng.below(100) as u8]),
            7 => code.extend([op::PUSH1, 32 * rng.below(6) as u8, op::MSTORE]),
            8 => code.extend([op::PUSH1, 32 * rng.below(6) as u8, op::MLOAD]),
            9 => code.push(op::DUP1 + rng.below(5) as u8),
            10 => code.push(op::SWAP1 + rng.below(5) as u8),
            11 => code.push(op::CALLER),
            12 => code.extend([op::CALLER, op::BALANCE]),
            13 => code.push(*rng.pick(&[op::POP, op::ADD, op::JUMP, op::JUMPI])),
            14 => code.push(*rng.pick(&[op::STOP, op::CALL, 0x0c, op::PUSH32])),
            // A call of a label, as Solidity makes it; at times by a masked address.
            16 => {
                let mask: &[u8] = match rng.below(2) {
                    0 => &[op::PUSH1 + 1, 0xff, 0xff, op::AND],
                    _ => &[],
                };
                let back = (code.len() + 7 + mask.len()) as u16;
                code.push(op::PUSH1 + 1);
                code.extend(back.to_be_bytes());
                uses.push((label, code.len() + 1));
                code.extend([op::PUSH1 + 1, 0, 0]);
                code.extend(mask);
                code.extend([op::JUMP, op::JUMPDEST]);
            }
            // What returns to where it was called from.
            17 => {
                places.push((label, code.len()));
                code.extend([op::JUMPDEST, op::CALLDATASIZE, op::POP, op::JUMP]);
            }
            // One of two labels, as it lies.
            15 => {
                for label in [label, rng.below(labels)] {
                    uses.push((label, code.len() + 1));
                    code.extend([op::PUSH1 + 1, 0, 0]);
                }
                code.extend([op::DUP1 + rng.below(2) as u8, op::JUMP]);
            }
            // Towards the stack's limits, from both sides.
            18 if rng.below(3) == 0 => {
                let (high, deep) = (700 + rng.below(300), 50 + rng.below(200));
                code.extend(std::iter::repeat_n(op::PUSH0, high));
                code.extend(std::iter::repeat_n(op::POP, high));
                code.push(op::JUMPDEST);
                code.extend(std::iter::repeat_n(op::POP, deep));
            }
            // What somebody else has pushed the offset for.
            19 => code.extend([op::CALLER, op::SWAP1, op::MSTORE]),
            20 => code.extend([op::PUSH1 + 1, 1 + rng.below(3) as u8, 0]),
            _ => code.push(op::CALLDATASIZE),
        }
    }
    for (label, at) in uses {
        let places: Vec<usize> = places
            .iter()
            .filter(|place| place.0 == label)
            .map(|place| place.1)
            .collect();
        if !places.is_empty() {
            let place = *rng.pick(&places) as u16;
            code[at..at + 2].copy_from_slice(&place.to_be_bytes());
        }
    }
    code
}

/// Where a jump may lead, read off the bytes.
fn destinations(code: &[u8]) -> Vec<bool> {
    let mut found = vec![false; code.len()];
    let mut pc = 0;
    while pc < code.len() {
        found[pc] = code[pc] == op::JUMPDEST;
        pc += match code[pc] {
            push @ op::PUSH1..=op::PUSH32 => usize::from(push - op::PUSH1) + 2,
            _ => 1,
        };
    }
    found
}

/// A word on the stack.
#[derive(Clone, Copy, Default)]
struct Word {
    value: u64,
    /// Whether a PUSH has put it there as it is.
    pushed: bool,
}

impl Word {
    fn computed(value: u64) -> Self {
        Self {
            value,
            pushed: false,
        }
    }
}

/// How a block was come by.
#[derive(Clone, Copy)]
enum Way {
    Static(usize),
    Dynamic,
}

struct Machine<'a> {
    code: &'a [u8],
    rules: &'a Rules,
    passes: &'a Passes,
    /// As they were found, without regard to the height of the stack.
    edges: Vec<Edges>,
    destinations: Vec<bool>,
    /// The block that begins, and the instruction that stands, at each program counter; no copies.
    starts: HashMap<u32, usize>,
    insts: HashMap<u32, usize>,
    stack: Vec<Word>,
    memory: u64,
    /// Gas that was compared with and not used.
    gas: i64,
    /// The one way into each block that continues another.
    ways: HashMap<usize, usize>,
    rng: Rng,
    /// Whether a jump has led where none is expected: C4 is for those that keep away.
    astray: bool,
    /// Blocks that machine code has run.
    ran: usize,
}

impl Machine<'_> {
    fn meets(&self, demand: Demand) -> bool {
        let height = self.stack.len();
        height >= usize::from(demand.needs)
            && height + usize::from(demand.grows) <= STACK_LIMIT
            && self.memory >= u64::from(demand.memory)
    }

    /// Enters a block by machine code, if it would be.
    fn enter(&mut self, block: usize, way: Way) -> bool {
        let program = self.passes.program(self.code, self.rules);
        let flow = program.flow[block];
        match way {
            Way::Static(from) => {
                assert!(
                    self.memory >= u64::from(flow.demand.memory),
                    "D2 at block {block}"
                );
                if flow.edges.continues {
                    assert!(flow.edges.closed, "C1 at block {block}");
                    let before = *self.ways.entry(block).or_insert(from);
                    assert_eq!(before, from, "C1 at block {block}");
                }
            }
            Way::Dynamic => {
                let known = program.is_entered(block);
                if !known || !self.meets(flow.demand) {
                    return false;
                }
                self.gas = i64::from(flow.demand.gas);
            }
        }
        if let Some(needs) = flow.compares {
            self.gas = needs.into();
        }
        self.ran += 1;
        true
    }

    /// The block that an edge of block `from` leads to, for an original.
    fn successor(&self, from: usize, original: usize) -> usize {
        let blocks = &self.passes.blocks.blocks;
        let mut nexts = self.passes.flow[from].edges.successors();
        nexts
            .find(|&next| blocks[next].of as usize == original)
            .unwrap_or(original)
    }

    fn any(&mut self) -> Word {
        let jumpdests: Vec<u32> = self.passes.blocks.jumpdests.iter().map(|at| at.0).collect();
        Word::computed(match !jumpdests.is_empty() && self.rng.below(3) == 0 {
            true => (*self.rng.pick(&jumpdests)).into(),
            false => self.rng.below(70) as u64,
        })
    }

    /// Runs from the start; machine code wherever it can be.
    fn run(&mut self) {
        let mut pc = 0u32;
        let mut native: Option<usize> = None;
        let mut next = Some(Way::Dynamic);
        for _ in 0..400 {
            if let Some(way) = next.take()
                && let Some(&block) = self.starts.get(&pc)
            {
                let block = match way {
                    Way::Static(from) => self.successor(from, block),
                    Way::Dynamic => block,
                };
                // Only what machine code has left it to comes by a static edge.
                native = self.enter(block, way).then_some(block);
            }
            let Some(&opcode) = self.code.get(pc as usize) else {
                return;
            };
            let inst = self.insts.get(&pc).map(|&at| self.passes.insts[at]);
            if native.is_some() {
                let inst = inst.expect("machine code stands at an instruction");
                assert_eq!((inst.pc, inst.opcode), (pc, opcode));
            }
            let class = inst.map_or(Class::Step, |inst| inst.class);
            if matches!(class, Class::Step | Class::End) {
                // The interpreter's; here the frame ends, or is entered behind.
                if class == Class::End || opcode == op::CALL {
                    return;
                }
                (native, next) = (None, Some(Way::Dynamic));
                pc += 1;
                continue;
            }
            let cost = i64::from(self.rules.gas_of(opcode));
            let inputs = inst.map_or(0, |inst| usize::from(inst.inputs));
            if native.is_some() {
                self.gas -= cost;
                assert!(self.gas >= 0, "D3 at {pc}");
                assert!(self.stack.len() >= inputs, "underflow at {pc}");
            } else if self.stack.len() < inputs || self.stack.len() >= STACK_LIMIT - 2 {
                return;
            }
            let mut pop = || self.stack.pop().unwrap_or_default();
            let mut to = None;
            let mut len = 1;
            match opcode {
                op::JUMPDEST => {}
                op::POP => drop(pop()),
                op::PUSH1..=op::PUSH32 => {
                    let width = usize::from(opcode - op::PUSH1) + 1;
                    let start = pc as usize + 1;
                    let byte = |i: usize| u64::from(self.code.get(start + i).copied().unwrap_or(0));
                    // Longer ones are no numbers here; what they push is beyond all code.
                    let value = (0..width).fold(0u64, |value, i| {
                        value.saturating_mul(256).saturating_add(byte(i))
                    });
                    self.stack.push(Word {
                        value,
                        pushed: true,
                    });
                    len += width as u32;
                }
                op::DUP1..=op::DUP16 => {
                    let n = usize::from(opcode - op::DUP1) + 1;
                    self.stack.push(self.stack[self.stack.len() - n]);
                }
                op::SWAP1..=op::SWAP16 => {
                    let top = self.stack.len() - 1;
                    self.stack
                        .swap(top, top - usize::from(opcode - op::SWAP1) - 1);
                }
                op::ADD => {
                    let sum = pop().value.saturating_add(pop().value);
                    self.stack.push(Word::computed(sum));
                }
                op::AND => {
                    let (a, b) = (pop(), pop());
                    let both = a.value & b.value;
                    self.stack.push(Word {
                        value: both,
                        // A mask that leaves an address leaves it pushed.
                        pushed: a.pushed && b.pushed && (both == a.value || both == b.value),
                    });
                }
                op::MLOAD | op::MSTORE => {
                    let offset = pop().value;
                    if offset > 4096 {
                        return;
                    }
                    self.memory = self.memory.max((offset + 32).next_multiple_of(32));
                    if opcode == op::MSTORE {
                        pop();
                    } else {
                        let word = self.any();
                        self.stack.push(word);
                    }
                }
                op::JUMP => to = Some(pop()),
                op::JUMPI => {
                    let target = pop();
                    to = (pop().value != 0).then_some(target);
                }
                _ => {
                    // What it computes is nobody's here.
                    self.stack.truncate(self.stack.len() - inputs);
                    for _ in 0..inst.map_or(0, |inst| inst.outputs) {
                        let word = self.any();
                        self.stack.push(word);
                    }
                }
            }
            if native.is_some() {
                assert!(self.stack.len() <= STACK_LIMIT, "overflow at {pc}");
            }
            if let Some(block) = native
                && class == Class::Boundary
            {
                self.after_boundary(block, pc);
            }
            if let Some(Word { value: to, pushed }) = to {
                let valid =
                    usize::try_from(to).is_ok_and(|to| self.destinations.get(to) == Some(&true));
                let block = self.passes.blocks.target(to);
                assert_eq!(valid, block.is_some(), "a jump to {to}");
                let Some(block) = block else { return };
                let target = native.map(|from| self.passes.flow[from].edges.target);
                if let Some(Some(known)) = target {
                    let known = self.passes.blocks.blocks[known as usize].of;
                    assert_eq!(known, block, "C2 at {pc}");
                }
                let expected = self.edges[block as usize].dynamic;
                if let Some(from) = native
                    && self.edges[from].target.is_none()
                {
                    assert!(expected || !pushed || self.astray, "C4 at {pc}");
                }
                // The interpreter goes through originals where machine code goes through copies.
                self.astray |= !expected && !pushed || native.is_none();
                next = Some(match (native, target) {
                    (Some(from), Some(Some(_))) => Way::Static(from),
                    _ => Way::Dynamic,
                });
                pc = to as u32;
                continue;
            }
            pc += len;
            if let Some(&behind) = self.starts.get(&pc) {
                // Falls into the next block: freely, or after a comparison of the stack.
                let (blocks, flow) = (&self.passes.blocks, &self.passes.flow);
                next = Some(match native {
                    Some(from)
                        if falls_freely(blocks, flow, from)
                            || self.meets(flow[self.successor(from, behind)].demand) =>
                    {
                        Way::Static(from)
                    }
                    _ => Way::Dynamic,
                });
            }
        }
    }

    /// Behind a boundary instruction at least the reserve is left, and what was compared with.
    fn after_boundary(&mut self, block: usize, pc: u32) {
        let insts = self.passes.blocks.blocks[block].insts(&self.passes.insts);
        let behind = insts.iter().skip_while(|inst| inst.pc <= pc);
        let mut cost = 0;
        let mut last = true;
        for inst in behind {
            if matches!(inst.class, Class::Step | Class::End) {
                break;
            }
            cost += u32::from(self.rules.gas_of(inst.opcode));
            if inst.class == Class::Boundary {
                last = false;
                break;
            }
        }
        let behind = if last {
            self.passes.flow[block].behind
        } else {
            0
        };
        self.gas = i64::from(RESERVE.max(cost + behind));
    }
}

/// What programs have shown.
#[derive(Default)]
struct Shown {
    /// Blocks that machine code has run.
    ran: u64,
    /// Blocks that continue another.
    continued: u64,
    closed: u64,
    copies: u64,
}

/// B1.
fn copies(passes: &Passes) {
    let blocks = &passes.blocks.blocks;
    for copy in blocks {
        let of = &blocks[copy.of as usize];
        let what = |block: &Block| -> Vec<(u32, u8)> {
            let insts = block.insts(&passes.insts).iter();
            insts.map(|inst| (inst.pc, inst.opcode)).collect()
        };
        assert_eq!(what(copy), what(of), "B1");
        // The last block ends the code.
        let next = |block: &Block| blocks.get(block.next as usize).map(|next| next.pc);
        assert_eq!(next(copy), next(of), "B1");
    }
}

/// D1: no block asks for what no stack has, unless it needs that itself.
fn demands(passes: &Passes) {
    for (block, flow) in passes.blocks.blocks.iter().zip(&passes.flow) {
        let demand = flow.demand;
        let met = possible(demand.needs, demand.grows);
        assert!(met || !possible(block.needs, block.grows), "D1: {demand:?}");
    }
}

/// Compares the passes' results for the program of a seed.
fn compare(seed: u64, shown: &mut Shown) {
    let mut rng = Rng::new(seed);
    let code = program(&mut rng);
    let mut gas = [0; 256];
    for gas in &mut gas {
        *gas = rng.below(60) as u16;
    }
    let rules = Rules::new(gas, 0..=255);
    let passes = Passes::run(&code, &rules, true).unwrap();
    copies(&passes);
    demands(&passes);
    let continue_another = passes.flow.iter().filter(|flow| flow.edges.continues);
    shown.continued += continue_another.count() as u64;
    let closed = passes.flow.iter().filter(|flow| flow.edges.closed);
    shown.closed += closed.count() as u64;
    let originals = passes.blocks.originals().count();
    shown.copies += (passes.flow.len() - originals) as u64;
    let blocks = passes.blocks.originals().enumerate();
    let insts = passes.insts.iter().enumerate();
    let insts = insts.take(passes.blocks.blocks[originals - 1].end as usize);
    let mut machine = Machine {
        code: &code,
        rules: &rules,
        passes: &passes,
        edges: edges::find(&code, &passes.insts, &passes.blocks),
        destinations: destinations(&code),
        starts: blocks.map(|(index, block)| (block.pc, index)).collect(),
        insts: insts.map(|(index, inst)| (inst.pc, index)).collect(),
        stack: Vec::new(),
        memory: 0,
        gas: 0,
        ways: HashMap::new(),
        rng,
        astray: false,
        ran: 0,
    };
    for _ in 0..6 {
        machine.stack.clear();
        machine.memory = 0;
        machine.astray = false;
        machine.run();
    }
    shown.ran += machine.ran as u64;
}

#[test]
fn they_keep_their_promises() {
    let programs = std::env::var("REVMC_JIT_PROGRAMS").map_or(4000, |n| n.parse().unwrap());
    let mut shown = Shown::default();
    for seed in 0..programs {
        let run = catch_unwind(AssertUnwindSafe(|| compare(seed, &mut shown)));
        assert!(run.is_ok(), "seed {seed}");
    }
    let Shown {
        ran,
        continued,
        closed,
        copies,
    } = shown;
    assert!(
        ran > 10 * programs && continued > programs && closed > continued && 2 * copies > programs,
        "{ran} {continued} {closed} {copies}"
    );
    println!(
        "{programs} programs, {ran} blocks run, {closed} closed, {continued} that continue another, \
         {copies} copies"
    );
}

/// Faults of the passes, and the promise that the machine finds broken.
#[test]
fn broken_promises_are_found() {
    for (fault, promise) in [
        (Fault::PushDataIsCode, ""),
        (Fault::WayBehindIsFree, "D3"),
        (Fault::LoopsAreFree, "D3"),
        (Fault::BoundaryIsFree, "D3"),
        (Fault::LongestMemoryCounts, "D2"),
        (Fault::ReachIsAWordLonger, "D2"),
        (Fault::DemandOfNoStack, "D1"),
        (Fault::BlockReachesFurther, "D2"),
        (Fault::TwoWaysAreOne, "C1"),
        (Fault::ConstantOfTheNext, "C2"),
        (Fault::FirstWayIsBelieved, "C2"),
        (Fault::LossIsForgotten, "C4"),
        (Fault::CopyFallsElsewhere, "B1"),
    ] {
        let planted = plant(fault, || {
            let mut shown = Shown::default();
            (0..4000).find_map(|seed| {
                let run = catch_unwind(AssertUnwindSafe(|| compare(seed, &mut shown)));
                let panic = run.err()?;
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                text.contains(promise).then_some((seed, text))
            })
        });
        let (seed, text) = planted
            .result
            .unwrap_or_else(|| panic!("{fault:?} is not found"));
        println!("{fault:?}: seed {seed}: {text}");
    }
}
