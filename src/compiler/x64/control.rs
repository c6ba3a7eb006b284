//! Jumps, boundary instructions, and what the interpreter steps over.

use super::{
    asm::{self, Alu, Cond, Mem, R13, RAX, RBP, RCX, RDI, RDX, RSI, Section},
    emit::{Emitter, SCRATCH, field, routine},
};
use crate::{
    compiler::{
        decode::Inst,
        effect::op,
        fault::{Fault, either, planted},
        hash::Hash,
    },
    frame::{LOOP_EXITS, at, boundary_operand, x64::jump_operand},
};
use alloy_primitives::U256;

impl Emitter<'_> {
    /// JUMP or JUMPI, at the end of block `index`.
    pub(super) fn jump(&mut self, index: usize, inst: &Inst) {
        let conditional = inst.opcode == op::JUMPI;
        let Some(&target) = self.state.stack.last() else {
            return;
        };
        if let Some(target) = self.known(target)
            && self.blocks.target(target).is_none()
        {
            // JUMP fails; JUMPI fails, or does nothing.
            return if conditional {
                self.step_here(inst)
            } else {
                self.leave_here(inst)
            };
        }
        let Some(target) = self.flow[index].edges.target else {
            return self.jump_by_table(index, inst, conditional);
        };
        let target = target as usize;
        let popped = self.state.pop();
        self.state.unpin(popped);
        if !conditional {
            return self.go(target);
        }
        let Some(&condition) = self.state.stack.last() else {
            return;
        };
        if let Some(condition) = self.known(condition) {
            let popped = self.state.pop();
            self.state.unpin(popped);
            return if condition.is_zero() != planted(Fault::KnownConditionIsInverted) {
                self.fall(index)
            } else {
                self.go(target)
            };
        }
        let taken = match self.state.at(condition).flags {
            Some(cond) if self.state.flags == Some(condition) => cond,
            _ => {
                self.prepare(1, 1, 0);
                self.test(condition);
                Cond::NotEqual
            }
        };
        let popped = self.state.pop();
        self.state.unpin(popped);
        let taken = either(Fault::BranchIsInverted, taken.not(), taken);
        self.branch(index, taken, target);
    }

    /// A jump whose target is not known here.
    fn jump_by_table(&mut self, index: usize, inst: &Inst, conditional: bool) {
        self.settle();
        let end = self.asm.label();
        if conditional {
            self.asm.vload(SCRATCH, Mem::at(RBP, -64));
            self.asm.vptest(SCRATCH, SCRATCH);
            let zero = either(Fault::TableJumpIsInverted, Cond::NotEqual, Cond::Equal);
            self.asm.jcc(zero, end);
        }
        self.asm.mov_imm(RSI, inst.pc.into());
        self.asm.jmp(self.jumps[usize::from(conditional)]);
        self.asm.bind(end);
        if conditional {
            self.move_top(-2);
            self.fall_canonical(index);
        }
        self.uses_table = true;
    }

    /// Whether a jump may go by the table.
    pub(super) fn may_use_table(&self) -> bool {
        let loops = self.loops.as_ref().map(|loops| &loops.members);
        let mut blocks = self.blocks.blocks.iter().enumerate();
        blocks.any(|(index, block)| {
            let last = block.insts(self.insts).last();
            block.live
                && last.is_some_and(|last| matches!(last.opcode, op::JUMP | op::JUMPI))
                && self.flow[index].edges.target.is_none()
                && !loops.is_some_and(|members| members[index])
        })
    }

    /// The program's own part of the routine for jumps.
    pub(super) fn table_jumps(&mut self) {
        self.table_jump(1, op::JUMPI);
        let search = self.asm.label();
        self.asm.jmp(search);
        self.table_jump(0, op::JUMP);
        self.asm.bind(search);
        let Hash { multiplier, lines } = self.table.hash;
        self.asm.lea_target(RDI, asm::Target::Table);
        self.asm.mov_imm(RCX, multiplier.into());
        self.asm.mov_imm(RDX, lines.into());
        self.asm.jmp_mem(routine!(jump));
    }

    fn table_jump(&mut self, kind: usize, opcode: u8) {
        self.asm.bind(self.jumps[kind]);
        let gas = self.rules.gas_of(opcode) + u16::from(planted(Fault::FailedJumpGivesBackMore));
        let operand = jump_operand(gas, kind as u16 + 1);
        self.asm.mov_imm(RAX, operand.into());
    }

    /// A block of the loops: goes to their code. False if it is none.
    pub(super) fn enter_loop(&mut self, index: usize) -> bool {
        let Some(loops) = self.loops.as_ref().filter(|loops| loops.members[index]) else {
            return false;
        };
        let entry = loops
            .entries
            .iter()
            .position(|&entry| entry as usize == index);
        if let Some(entry) = entry {
            self.asm.mov_imm(RSI, entry as u64);
            self.asm.jmp(self.looped);
        }
        true
    }

    /// The call of the loops' code, and the ways out of it.
    pub(super) fn loop_exits(&mut self) {
        let Some(loops) = self.loops.take() else {
            return;
        };
        let section = self.asm.section(Section::Cold);
        self.asm.bind(self.looped);
        self.asm.lea_target(RDI, asm::Target::Tail);
        self.asm.call_mem(routine!(looped));
        // The answer has 32 bits; the rest of the register may hold anything.
        self.asm.alu32(Alu::And, RAX, RAX);
        self.loop_exit(LOOP_EXITS, &loops.exits);
        self.asm.section(section);
        self.asm.tail = loops.text;
    }

    /// Goes to one of the blocks, the first of which is the number `first`, by halves.
    fn loop_exit(&mut self, first: u32, exits: &[u32]) {
        match exits {
            [] => {}
            [exit] => self.asm.jmp(self.labels[*exit as usize]),
            _ => {
                let (low, high) = exits.split_at(exits.len() / 2);
                let (middle, upper) = (first + low.len() as u32, self.asm.label());
                self.asm.alu_imm(Alu::Cmp, RAX, middle as i32);
                self.asm.jcc(Cond::AboveEqual, upper);
                self.loop_exit(first, low);
                self.asm.bind(upper);
                self.loop_exit(middle, high);
            }
        }
    }

    /// An instruction of the caller's table. Its static gas is part of the run that it ends.
    pub(super) fn boundary(&mut self, inst: &Inst) {
        let power = self.power(inst);
        if planted(Fault::BoundaryLosesWord) {
            self.state.settled();
        }
        self.settle();
        self.asm
            .mov_imm(RSI, boundary_operand(inst.pc, inst.opcode));
        let stale = field(at::SCRATCH);
        if planted(Fault::BoundaryKeepsBase) {
            self.asm.mov_store(stale, R13);
        }
        self.asm.call_mem(routine!(boundary));
        if planted(Fault::BoundaryKeepsBase) {
            self.asm.mov_load(R13, stale);
        }
        self.state.cross(inst.inputs, inst.outputs);
        if let (Some(power), Some(&top)) = (power, self.state.stack.last()) {
            let top = self.state.at_mut(top);
            top.bits = power.bit_len() as u16;
            top.constant = Some(power);
        }
    }

    /// What EXP gives for constants: its price is the client's, its result is known.
    fn power(&self, inst: &Inst) -> Option<U256> {
        let [.., exponent, base] = self.state.stack[..] else {
            return None;
        };
        if inst.opcode != op::EXP {
            return None;
        }
        let (base, exponent) = (self.known(base)?, self.known(exponent)?);
        let more = U256::from(u8::from(planted(Fault::PowerIsAnother)));
        Some(base.wrapping_pow(exponent.wrapping_add(more)))
    }

    /// An instruction that the interpreter steps over, whose gas was not charged.
    pub(super) fn step(&mut self, inst: &Inst) {
        self.settle();
        self.asm
            .mov_imm(RSI, boundary_operand(inst.pc, inst.opcode));
        self.asm.jmp_mem(routine!(step));
    }

    /// The same for one whose gas was charged.
    fn step_here(&mut self, inst: &Inst) {
        self.save_flags();
        if !planted(Fault::StepIsPaidTwice) {
            self.give_back(self.rules.gas_of(inst.opcode).into());
        }
        self.step(inst);
    }
}
