//! Every way through the machine code, from one canonical frame to the next.

use super::{
    super::emit::Emitted,
    Mark,
    bytecode::{Stack, len},
    machine::{Limb, Machine, Next, Origin, Wrong, ensure},
};
use crate::{
    compiler::{
        Program,
        decode::Inst,
        effect::{Class, op},
        flow::Demand,
    },
    frame::{
        boundary_operand, boundary_parts,
        x64::{RESERVE, Routines, jump_operand},
    },
};
use alloy_primitives::U256;
use iced_x86::{Decoder, DecoderOptions, Instruction, Register};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem::offset_of,
};

/// A way, at a place of the machine code.
#[derive(Clone, Debug)]
struct Way {
    machine: Machine,
    stack: Stack,
    /// Where the run began, and leaves may lead back to.
    start: u32,
    /// The instruction at hand; `None` before the run's first.
    at: Option<u32>,
    /// What the instructions that are done cost.
    cost: i64,
    /// Gas or memory's length was looked at; and memory grew then.
    looked: bool,
    stale: bool,
}

pub(super) struct Checker<'a> {
    program: &'a Program<'a>,
    text: &'a [u8],
    code: HashMap<u64, Instruction>,
    /// Where jumps lead.
    targets: BTreeSet<u64>,
    marks: BTreeMap<u64, Vec<Mark<usize>>>,
    /// Where the jump came from that leads to each block that inherits.
    ways: HashMap<usize, u64>,
    /// What is known of the stack of blocks that continue another.
    handed: HashMap<usize, Stack>,
    come_by: BTreeSet<u64>,
    /// Leaves, and boundary instructions, that were looked at.
    pub(super) leaves: usize,
}

/// Checks the code of a program; gives how many leaves it has.
pub(super) fn check(program: &Program<'_>, emitted: &Emitted) -> Result<usize, Wrong> {
    let text = &emitted.text[..];
    let mut decoder = Decoder::new(64, &text[..emitted.code_len], DecoderOptions::NONE);
    let (mut code, mut targets) = (HashMap::new(), BTreeSet::new());
    while decoder.can_decode() {
        let inst = decoder.decode();
        ensure!(!inst.is_invalid(), "no instruction at {:#x}", inst.ip());
        let target = inst.near_branch_target();
        if target != 0 {
            targets.insert(target);
        }
        code.insert(inst.ip(), inst);
    }
    let mut marks: BTreeMap<u64, Vec<Mark<usize>>> = BTreeMap::new();
    for mark in &emitted.marks {
        marks.entry(mark.place as u64).or_default().push(*mark);
    }
    let mut checker = Checker {
        program,
        text,
        code,
        targets,
        marks,
        ways: HashMap::new(),
        handed: HashMap::new(),
        come_by: BTreeSet::new(),
        leaves: 0,
    };
    for entry in &emitted.entries {
        let here = checker.marks.get(&entry.operand.into());
        let mut begins = here.into_iter().flatten().filter_map(|mark| mark.begins);
        let canonical = begins
            .any(|begin| !begin.inherits && program.blocks.blocks[begin.block].pc == entry.pc);
        ensure!(canonical, "the entry at {} does not lead there", entry.pc);
    }
    let canonical = |mark: &&Mark<usize>| mark.begins.is_some_and(|begin| !begin.inherits);
    let mut waiting: Vec<&Mark<usize>> = emitted.marks.iter().filter(canonical).collect();
    while !waiting.is_empty() {
        // What continues another comes behind it; what only continues itself comes last.
        let ready = |mark: &&Mark<usize>| {
            let block = mark.begins.map_or(0, |begin| begin.block);
            checker.handed.contains_key(&block) || !program.flow[block].edges.continues
        };
        let (mut now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(ready);
        waiting = later;
        if now.is_empty() {
            now.append(&mut waiting);
        }
        for mark in now {
            checker.follow(mark)?;
        }
    }
    checker.all_come_by(emitted)?;
    Ok(checker.leaves)
}

impl Checker<'_> {
    fn inst(&self, at: u32) -> Inst {
        self.program.insts[at as usize]
    }

    fn gas_of(&self, inst: &Inst) -> i64 {
        self.program.rules.gas_of(inst.opcode).into()
    }

    /// At a block's start, with what its demand says.
    fn start(&mut self, block: usize) -> Way {
        let Demand {
            needs,
            grows,
            memory,
            gas,
        } = self.program.flow[block].demand;
        Way {
            machine: Machine::new(needs.into(), grows.into(), memory.into(), gas.into()),
            stack: self.handed.remove(&block).unwrap_or_default(),
            start: self.program.blocks.blocks[block].pc,
            at: None,
            cost: 0,
            looked: false,
            stale: false,
        }
    }

    /// Follows all ways from the mark of a block that begins with a canonical frame.
    fn follow(&mut self, mark: &Mark<usize>) -> Result<(), Wrong> {
        let way = self.start(mark.begins.map_or(0, |begin| begin.block));
        let start = way.start;
        let followed = self.follow_all(mark, way);
        followed.map_err(|wrong| format!("run at {start}: {wrong}"))
    }

    fn follow_all(&mut self, mark: &Mark<usize>, way: Way) -> Result<(), Wrong> {
        let place = mark.place as u64;
        let mut work = vec![];
        // Behind the block's own mark.
        let here = &self.marks[&place];
        let rest = here.iter().position(|other| other.begins == mark.begins);
        let rest = here[rest.map_or(0, |at| at + 1)..].to_vec();
        let mut seen: HashMap<(u64, Option<u32>), Way> = HashMap::new();
        let mut way = way;
        if self.pass(&rest, &mut way, place)? {
            work.push((place, way, true));
        }
        while let Some((mut ip, mut way, mut passed)) = work.pop() {
            let mut jumped = false;
            loop {
                if !std::mem::take(&mut passed) {
                    let marks = self.arrive(ip, &way, jumped);
                    if !self.pass(&marks, &mut way, ip)? {
                        break;
                    }
                }
                jumped = false;
                if self.targets.contains(&ip) && !self.meet(&mut seen, ip, &mut way)? {
                    break;
                }
                let inst = *self
                    .code
                    .get(&ip)
                    .ok_or(format!("no instruction at {ip:#x}"))?;
                self.come_by.insert(ip);
                let by = way.at.unwrap_or(u32::MAX);
                let next = way.machine.run(&inst, self.text, by);
                let next = next.map_err(|wrong| format!("{ip:#x}, instruction {by}: {wrong}"))?;
                let at = |wrong| format!("{ip:#x}, instruction {by}: {wrong}");
                match next {
                    Next::On => {}
                    Next::Jump(to) => {
                        jumped = true;
                        ip = to;
                        continue;
                    }
                    Next::Branch(to) => {
                        let condition = inst.condition_code();
                        let mut taken = way.clone();
                        taken.machine.assume(condition, true);
                        way.machine.assume(condition, false);
                        way.stale |= std::mem::take(&mut way.machine.grew) && way.looked;
                        let marks = self.arrive(to, &taken, true);
                        if self.pass(&marks, &mut taken, ip).map_err(at)? {
                            work.push((to, taken, true));
                        }
                    }
                    Next::To(routine) => {
                        self.ends(routine, &mut way).map_err(at)?;
                        break;
                    }
                    Next::Call(routine) => {
                        if !self.called(routine, &mut way).map_err(at)? {
                            break;
                        }
                    }
                }
                ip = inst.next_ip();
            }
        }
        Ok(())
    }

    /// Whether a way has to be followed from where others may have come before.
    fn meet(
        &self,
        seen: &mut HashMap<(u64, Option<u32>), Way>,
        ip: u64,
        way: &mut Way,
    ) -> Result<bool, Wrong> {
        let Some(before) = seen.get_mut(&(ip, way.at)) else {
            seen.insert((ip, way.at), way.clone());
            return Ok(true);
        };
        ensure!(
            before.stack == way.stack && before.cost == way.cost && before.start == way.start,
            "two ways meet at {ip:#x} that differ in what was done"
        );
        let mut joined = before.machine.clone();
        // Instructions without code may have begun since.
        let marks = self.marks.get(&ip).into_iter().flatten();
        let before_first = marks.clone().next().map(|mark| mark.at.saturating_sub(1));
        let mut by: Vec<u32> = marks.map(|mark| mark.at).collect();
        by.extend(before_first.into_iter().chain(way.at));
        joined.join(&way.machine, &by)?;
        let stale = before.stale | way.stale;
        if joined == before.machine && stale == before.stale {
            return Ok(false);
        }
        (before.machine, before.stale) = (joined, stale);
        *way = before.clone();
        Ok(true)
    }

    /// The marks that a way passes at a place that it came to by a jump, or from the code before.
    fn arrive(&self, ip: u64, way: &Way, jumped: bool) -> Vec<Mark<usize>> {
        let Some(here) = self.marks.get(&ip) else {
            return Vec::new();
        };
        // Others' code may stand before the block that is jumped to. A jump back into the middle of an
        // instruction leads to none.
        let led = |mark: &Mark<usize>| mark.begins.is_some_and(|to| self.leads(way, to.block));
        let start = here.iter().position(led).filter(|_| jumped);
        here[start.unwrap_or(0)..].to_vec()
    }

    /// Whether the instruction at hand may lead to a block.
    fn leads(&self, way: &Way, block: usize) -> bool {
        let Some(at) = way.at else { return false };
        let (inst, to) = (self.inst(at), &self.program.blocks.blocks[block]);
        let jumps = matches!(inst.opcode, op::JUMP | op::JUMPI) && inst.class == Class::Native;
        let behind = inst.pc + len(&inst);
        let falls = !(jumps && inst.opcode == op::JUMP) && to.pc == behind;
        let target = || {
            let pushed = way.stack.below(0).constant();
            pushed.is_none_or(|pc| pc == U256::from(to.pc))
        };
        falls || jumps && to.jumpdest && target()
    }

    /// Passes marks; false if that ends the way.
    fn pass(&mut self, marks: &[Mark<usize>], way: &mut Way, ip: u64) -> Result<bool, Wrong> {
        for mark in marks {
            let Some(begin) = mark.begins else {
                if way.at == Some(mark.at) {
                    continue;
                }
                if let Some(at) = way.at {
                    ensure!(mark.at == at + 1, "{at} is followed by {}", mark.at);
                    self.done(way)?;
                }
                way.at = Some(mark.at);
                continue;
            };
            let block = begin.block;
            ensure!(
                self.leads(way, block),
                "block {block} does not follow {:?}",
                way.at
            );
            self.done(way)?;
            // K5
            if begin.inherits || self.program.flow[block].edges.continues {
                let first = *self.ways.entry(block).or_insert(ip);
                ensure!(
                    first == ip,
                    "block {block} is led to from {first:#x} and {ip:#x}"
                );
            }
            if !begin.inherits {
                self.canonical(way, 0)?;
                self.meets(way, block)?;
                if self.program.flow[block].edges.continues {
                    way.stack.cross(0, 0);
                    self.handed.insert(block, way.stack.clone());
                }
                return Ok(false);
            }
            let memory = self.program.flow[block].demand.memory.into();
            ensure!(
                way.machine.memory >= memory,
                "block {block} takes memory for longer"
            );
            way.at = None;
        }
        Ok(true)
    }

    /// The instruction at hand is done.
    fn done(&self, way: &mut Way) -> Result<(), Wrong> {
        let Some(at) = way.at.take() else {
            return Ok(());
        };
        let inst = self.inst(at);
        match inst.class {
            // The routine has done it.
            Class::Boundary => return Ok(()),
            Class::Native => {}
            class => return Err(format!("something follows {at}, which is {class:?}")),
        }
        let machine = &way.machine;
        let height = way.stack.height;
        ensure!(
            i32::from(inst.inputs) - height <= machine.below,
            "{at} takes {} words of {} at a height of {height}",
            inst.inputs,
            machine.below
        );
        let taller = height - i32::from(inst.inputs) + i32::from(inst.outputs);
        ensure!(
            taller <= machine.above,
            "{at} grows the stack beyond {}",
            machine.above
        );
        let len = match inst.opcode {
            op::MLOAD | op::MSTORE => 32,
            op::MSTORE8 => 1,
            _ => 0,
        };
        if len > 0
            && let Some(offset) = way.stack.below(0).constant()
        {
            // It was done, so memory reaches so far.
            let end = offset.saturating_add(U256::from(len));
            way.machine.reaches(u64::try_from(end).unwrap_or(u64::MAX));
        }
        way.looked |= matches!(inst.opcode, op::GAS | op::MSIZE);
        way.stack.run(at, &inst, self.program.code);
        way.cost += self.gas_of(&inst);
        Ok(())
    }

    /// Whether the frame is as the bytecode says behind what is done, and `more` gas was paid.
    fn canonical(&mut self, way: &Way, more: i64) -> Result<(), Wrong> {
        self.leaves += 1;
        let Way {
            machine,
            stack,
            cost,
            ..
        } = way;
        let paid = machine.paid;
        ensure!(
            paid == cost + more,
            "{paid} gas was paid for {}",
            cost + more
        );
        ensure!(machine.gas >= 0, "gas may have run out");
        let (top, height) = (machine.top, stack.height);
        ensure!(top == 32 * height, "the top is at {top} for {height} words");
        let written = machine.slots.keys().map(|at| at.div_euclid(32));
        let words = stack.words.keys().copied().chain(written);
        for position in words.filter(|position| *position < height) {
            let limbs: [Limb; 4] =
                std::array::from_fn(|i| machine.slot(32 * position + 8 * i as i32));
            let word = stack.at(position);
            ensure!(
                word.may_be_all(limbs),
                "slot {position} has {limbs:?} for {word:?}"
            );
        }
        Ok(())
    }

    /// Whether a block's demand is met, by a frame that is canonical.
    fn meets(&self, way: &Way, block: usize) -> Result<(), Wrong> {
        let Demand {
            needs,
            grows,
            memory,
            gas,
        } = self.program.flow[block].demand;
        let (machine, height) = (&way.machine, way.stack.height);
        let (below, above) = (machine.below + height, machine.above - height);
        ensure!(
            below >= i32::from(needs),
            "block {block} needs {needs} words, {below} are certain"
        );
        ensure!(
            above >= i32::from(grows),
            "block {block} needs room for {grows}, {above} is certain"
        );
        let sure = machine.memory;
        ensure!(
            sure >= i64::from(memory),
            "block {block} needs {memory} bytes, {sure} are certain"
        );
        let sure = machine.gas;
        ensure!(
            sure >= i64::from(gas),
            "block {block} needs {gas} gas, {sure} is certain"
        );
        Ok(())
    }

    fn constant(&self, way: &Way, register: Register) -> Result<u64, Wrong> {
        match way.machine.argument(register) {
            Limb::Constant(value) => Ok(value),
            limb => Err(format!("{register:?} is {limb:?}")),
        }
    }

    /// The instruction at hand, which has this program counter.
    fn at_hand(&self, way: &Way, pc: u64) -> Result<Inst, Wrong> {
        let at = way.at.ok_or("no instruction is at hand")?;
        let inst = self.inst(at);
        ensure!(u64::from(inst.pc) == pc, "{pc} is given for {}", inst.pc);
        Ok(inst)
    }

    /// K1, K2: a routine that does not come back.
    fn ends(&mut self, routine: usize, way: &mut Way) -> Result<(), Wrong> {
        let operand = self.constant(way, Register::RSI)?;
        if routine == offset_of!(Routines, leave) {
            return self.leave(way, operand);
        }
        if routine == offset_of!(Routines, step) {
            let inst = self.at_hand(way, boundary_parts(operand).0 as u64)?;
            ensure!(
                operand == boundary_operand(inst.pc, inst.opcode),
                "another step"
            );
            return self.canonical(way, 0);
        }
        ensure!(
            routine == offset_of!(Routines, jump),
            "no way out: {routine}"
        );
        let inst = self.at_hand(way, operand)?;
        let words = match inst.opcode {
            op::JUMP => 1,
            op::JUMPI => 2,
            opcode => return Err(format!("{opcode:#x} jumps")),
        };
        let (gas, given) = (self.gas_of(&inst), self.constant(way, Register::RAX)?);
        ensure!(
            given == u64::from(jump_operand(gas as u16, words)),
            "takes other words, or gives other gas back"
        );
        self.canonical(way, gas)
    }

    fn leave(&mut self, way: &mut Way, pc: u64) -> Result<(), Wrong> {
        if way.at.is_some_and(|at| u64::from(self.inst(at).pc) == pc) {
            return self.canonical(way, 0);
        }
        let again = if pc == u64::from(way.start) {
            Self::begins_again(way)
        } else {
            Err(format!("leaves to {pc} from {:?}", way.at))
        };
        if again.is_ok() {
            self.leaves += 1;
            return Ok(());
        }
        // A copy of what the run starts with may be behind.
        let behind = way
            .at
            .map(|at| self.inst(at))
            .map(|inst| inst.pc + len(&inst));
        if behind.map(u64::from) != Some(pc) {
            return again;
        }
        self.done(way)?;
        self.canonical(way, 0)
    }

    /// K1: whether all is as it was at the run's start.
    fn begins_again(way: &Way) -> Result<(), Wrong> {
        let Machine {
            paid,
            gas,
            wrote,
            top,
            slots,
            ..
        } = &way.machine;
        ensure!(!wrote, "a run is begun again that has written memory");
        ensure!(
            !way.stale,
            "a run is begun again that has seen memory or gas before memory grew"
        );
        ensure!(*paid == 0 && *gas >= 0, "{paid} gas was paid for nothing");
        ensure!(*top == 0, "the top is at {top} at a run's start");
        for (at, limb) in slots.range(..0) {
            ensure!(
                *limb == Limb::Of(Origin::Slot(*at)),
                "a run is begun again without {at}"
            );
        }
        Ok(())
    }

    /// A routine that comes back; false if what follows is not this way's.
    fn called(&mut self, routine: usize, way: &mut Way) -> Result<bool, Wrong> {
        if routine == offset_of!(Routines, looped) {
            ensure!(way.at.is_none(), "a loop begins in the middle of a block");
            self.canonical(way, 0)?;
            return Ok(false);
        }
        if routine != offset_of!(Routines, boundary) {
            return Ok(true);
        }
        let operand = self.constant(way, Register::RSI)?;
        let (pc, opcode) = boundary_parts(operand);
        let inst = self.at_hand(way, pc as u64)?;
        ensure!(
            inst.opcode == opcode && inst.class == Class::Boundary,
            "another instruction"
        );
        self.canonical(way, self.gas_of(&inst))?;
        let height = way.stack.height - i32::from(inst.inputs) + i32::from(inst.outputs);
        let (below, above) = (way.machine.below + height, way.machine.above - height);
        ensure!(
            above >= 0 && below >= 0,
            "a boundary instruction leaves the demanded stack"
        );
        way.machine = Machine::new(below, above, way.machine.memory, RESERVE.into());
        way.stack.behind(way.at.unwrap_or_default(), &inst);
        way.start = inst.pc + len(&inst);
        (way.cost, way.looked, way.stale) = (0, false, false);
        Ok(true)
    }

    /// K6.
    fn all_come_by(&self, emitted: &Emitted) -> Result<(), Wrong> {
        // The way in, and out of the loops' code, stand for themselves.
        let first = emitted.marks.first().map_or(0, |mark| mark.place as u64);
        let looped = self.code.values().find(|inst| {
            inst.mnemonic() == iced_x86::Mnemonic::Call
                && inst.memory_displacement64() as usize == offset_of!(Routines, looped)
        });
        let end = looped.map_or(emitted.code_len as u64, |inst| inst.ip());
        let mut missed = self
            .code
            .keys()
            .filter(|ip| **ip >= first && **ip < end && !self.come_by.contains(ip));
        match missed.next() {
            Some(ip) => Err(format!("{ip:#x} is never come by")),
            None => Ok(()),
        }
    }
}
