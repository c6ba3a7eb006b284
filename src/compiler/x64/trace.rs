//! Which block follows which in the text, and what one leaves to the next in registers.
//!
//! Text is emitted in chains: where control goes on to a block that there is no code for yet, that
//! block comes next. A block that continues another (C1) is emitted with the words, and as a part of
//! the run, that the other leaves: nothing is written back or charged between them. Every other block
//! begins with a canonical frame.
//!
//! # Invariants
//!
//! * **T1** A run is a tree of blocks: from its start, one way leads to each place in it. So what has
//!   been charged, spent, written and compared there is known.
//! * **T2** A block that is emitted with what another leaves is not compared with its demand on gas:
//!   D3 has it covered by the run's first block.
//! * **T3** What leads to failures only is emitted last, and with a canonical frame: no other code waits
//!   for it, and no way is made longer by it.

use super::{
    asm::{Cond, Purpose, RSI, Section},
    emit::{Emitter, routine},
    run::{Left, Way},
    state::State,
};
use crate::{
    compiler::{
        blocks::{possible, run_gas},
        effect::{Class, op},
        error::CompileError,
        fault::{Fault, either, planted},
        flow::falls_freely,
    },
    frame::x64::RESERVE,
};

/// Ways that wait to be emitted with what was left for them, at most.
const MAX_DEFERRED: usize = 16;

/// Values of a state that is kept or handed on, at most.
const MAX_VALUES: usize = 256;

impl Emitter<'_> {
    /// Emits all blocks; those that lead to failures last.
    pub(super) fn blocks(&mut self) -> Result<(), CompileError> {
        // T3
        for cold in [false, true] {
            for index in 0..self.blocks.blocks.len() {
                if self.flow[index].edges.cold == cold && self.is_head(index) {
                    self.chain(index)?;
                }
            }
        }
        while let Some(index) = self.asked.pop() {
            self.chain(index as usize)?;
        }
        Ok(())
    }

    /// Whether ways lead to a block that are no static edge.
    fn is_head(&self, index: usize) -> bool {
        self.blocks.blocks[index].live && !self.continues[index]
    }

    /// Emits a block, and those that follow it in the text.
    fn chain(&mut self, index: usize) -> Result<(), CompileError> {
        self.follow(index);
        while let Some(way) = self.after.take().or_else(|| self.deferred.pop()) {
            self.block(way);
            if self.asm.len() > self.max_len {
                let (len, max) = (self.asm.len(), self.max_len);
                return Err(CompileError::NativeTooLarge { len, max });
            }
        }
        Ok(())
    }

    /// Lets the text go on with a block that there is no code for, if there is none.
    fn follow(&mut self, block: usize) {
        if !self.emitted[block] {
            let left = Left::Canonical;
            self.after = Some(Way { block, left });
        }
    }

    /// Whether a block, the next on the way, is to be emitted with what is left for it.
    fn inherits(&self, index: usize) -> bool {
        let flow = &self.flow[index];
        self.continues[index]
            && !flow.edges.cold
            && flow.compares.is_none()
            && self.state.values.len() <= MAX_VALUES
    }

    fn block(&mut self, way: Way) {
        let index = way.block;
        let block = &self.blocks.blocks[index];
        self.emitted[index] = true;
        self.asm.mark(Purpose::Inst(block.first));
        self.asm.bind(self.labels[index]);
        #[cfg(test)]
        {
            let inherits = !matches!(way.left, Left::Canonical);
            let begin = super::check::Begin {
                block: index,
                inherits,
            };
            self.mark(block.first, Some(begin));
        }
        #[cfg(test)]
        let len = self.asm.len();
        if self.enter_loop(index) {
            // Blocks in the middle of a loop have no code here.
            #[cfg(test)]
            self.marks
                .truncate(self.marks.len() - usize::from(len == self.asm.len()));
            return;
        }
        if !possible(block.needs, block.grows) {
            self.asm.mov_imm(RSI, block.pc.into());
            self.asm.jmp_mem(routine!(leave));
            return;
        }
        let memory = u64::from(self.flow[index].demand.memory);
        if let Left::Kept(kept) = way.left {
            (self.state, self.run) = *kept;
        } else if let Left::Canonical = way.left {
            self.state = State::new(block.needs, block.grows);
            self.run.memory = memory;
            self.begin_run(block.first, block);
            self.charge(self.flow[index].compares);
            return self.instructions(index);
        }
        // T2
        self.state.extend(block.needs, block.grows);
        self.run.memory = self.run.memory.max(memory);
        if planted(Fault::ChainTrustsMemory) {
            self.run.memory += 64;
        }
        if !planted(Fault::ChainForgetsGas) {
            self.run.gas += run_gas(self.insts, block.first, block.end, self.rules);
        }
        self.instructions(index);
    }

    fn instructions(&mut self, index: usize) {
        let block = &self.blocks.blocks[index];
        for at in block.first..block.end {
            if self.asm.len() > self.max_len {
                // It is refused then.
                return;
            }
            let inst = self.insts[at as usize];
            #[cfg(test)]
            self.mark(at, None);
            self.asm.mark(Purpose::Inst(at));
            if inst.class == Class::Native && !planted(Fault::NothingIsSpent) {
                self.run.spent += u32::from(self.rules.gas_of(inst.opcode));
            }
            match inst.class {
                Class::Native if matches!(inst.opcode, op::JUMP | op::JUMPI) => {
                    return self.jump(index, &inst);
                }
                Class::Native => {
                    if !self.native(at, &inst) {
                        return;
                    }
                }
                Class::Boundary => {
                    self.boundary(&inst);
                    self.begin_run(at + 1, block);
                    // The boundary's routine has compared with the reserve.
                    let rest = &self.insts[at as usize + 1..block.end as usize];
                    let last = rest.iter().all(|inst| inst.class != Class::Boundary);
                    let needs = self.run.gas + if last { self.flow[index].behind } else { 0 };
                    let reserve = either(Fault::ReserveIsEndless, u32::MAX, RESERVE);
                    self.charge(Some(needs).filter(|needs| *needs > reserve));
                }
                Class::Step | Class::End => return self.step(&inst),
            }
        }
        self.fall(index);
    }

    /// Goes on to a block that a static edge leads to.
    pub(super) fn go(&mut self, to: usize) {
        if self.inherits(to) {
            let left = Left::Here;
            self.after = Some(Way { block: to, left });
            return;
        }
        self.settle();
        self.move_top(planted(Fault::EdgeRaisesTop).into());
        self.go_canonical(to);
    }

    /// The same with a canonical frame.
    fn go_canonical(&mut self, to: usize) {
        if self.flow[to].edges.cold {
            self.asked.push(to as u32);
            self.asm.jmp(self.labels[to]);
            return;
        }
        self.follow(to);
        if self.after.is_none() {
            self.asm.jmp(self.labels[to]);
        }
    }

    /// The block behind.
    fn next(&self, index: usize) -> usize {
        self.blocks.blocks[index].next as usize
    }

    /// Goes on to the block behind.
    pub(super) fn fall(&mut self, index: usize) {
        if falls_freely(self.blocks, self.flow, index) {
            return self.go(self.next(index));
        }
        self.settle();
        self.fall_canonical(index);
    }

    /// The same with a canonical frame.
    pub(super) fn fall_canonical(&mut self, index: usize) {
        if !falls_freely(self.blocks, self.flow, index) {
            self.check_stack(self.next(index));
        }
        self.go_canonical(self.next(index));
    }

    /// Goes on to `target` if `taken` holds, else to the block behind.
    pub(super) fn branch(&mut self, index: usize, taken: Cond, target: usize) {
        let behind = self.next(index);
        let freely = falls_freely(self.blocks, self.flow, index);
        // A comparison that one side widens would be the other's, too.
        if !planted(Fault::BranchLeavesComparisonOpen) {
            self.run.open = None;
        }
        let inherit = (self.inherits(target), freely && self.inherits(behind));
        let likely = !self.flow[target].edges.cold && self.flow[behind].edges.cold;
        match inherit {
            (true, true) if self.deferred.len() < MAX_DEFERRED => {
                self.defer(taken, target);
                self.go(behind);
            }
            (_, true) => {
                self.way_out(taken, target);
                self.go(behind);
            }
            (true, false) if freely && likely => {
                self.way_out(taken.not(), behind);
                self.go(target);
            }
            (true, false) if self.deferred.len() < MAX_DEFERRED => {
                self.defer(taken, target);
                self.settle();
                self.fall_canonical(index);
            }
            _ => {
                self.settle();
                if freely && likely {
                    self.asm.jcc(taken.not(), self.labels[behind]);
                    self.asked.push(behind as u32);
                    self.go_canonical(target);
                } else {
                    self.asm.jcc(taken, self.labels[target]);
                    self.asked.push(target as u32);
                    self.fall_canonical(index);
                }
            }
        }
    }

    /// Goes on to a block if `cond` holds, which is emitted later with what is left now.
    fn defer(&mut self, cond: Cond, block: usize) {
        self.asm.jcc(cond, self.labels[block]);
        let left = Left::Kept(Box::new((self.state.clone(), self.run.clone())));
        self.deferred.push(Way { block, left });
    }

    /// Goes on to a block if `cond` holds, with a canonical frame.
    fn way_out(&mut self, cond: Cond, to: usize) {
        self.asked.push(to as u32);
        if self.is_settled() {
            self.asm.jcc(cond, self.labels[to]);
            return;
        }
        let out = self.asm.label();
        self.asm.jcc(cond, out);
        let section = self.asm.section(Section::Cold);
        self.asm.bind(out);
        self.settle_out();
        if planted(Fault::WayOutIsNotPaid) {
            self.give_back(1);
        }
        self.asm.jmp(self.labels[to]);
        self.asm.section(section);
    }
}
