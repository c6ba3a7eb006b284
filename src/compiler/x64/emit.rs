//! Blocks and runs, flushes and leaves.

use super::{
    asm::{Alu, Assembler, Cond, Label, Mem, Purpose, R12, RAX, RBP, RBX, RSI, Section, Ymm},
    layout::Assembled,
    run::{Run, Way},
    state::{CYCLE, Limbs, Move, Source, State},
    table,
};
use crate::{
    compiler::{
        CompileOptions, EntryPoint, Program, Rules,
        blocks::{Block, Blocks, run_gas},
        clif::LoopCode,
        decode::Inst,
        dump,
        error::CompileError,
        fault::{Fault, planted},
        flow::{Demand, Flow},
        hash::Layout,
    },
    frame::{STACK_LIMIT, at, x64::BIAS, x64::Routines},
};
use std::mem::offset_of;

pub(super) const ZERO: Ymm = Ymm(15);
pub(super) const SWAP: Ymm = Ymm(14);
pub(super) const OFFSET_MASK: Ymm = Ymm(13);
pub(super) const SCRATCH: Ymm = Ymm(0);

/// Words that a leave in the middle of a run may have to write back; where there are more, they are
/// written back ahead of it.
const MAX_DIRTY: usize = 12;

/// A field of the frame.
pub(super) fn field(offset: i32) -> Mem {
    Mem::at(RBX, offset - BIAS)
}

/// A routine's address.
macro_rules! routine {
    ($name:ident) => {
        $crate::compiler::x64::asm::Mem::at(
            $crate::compiler::x64::asm::R15,
            std::mem::offset_of!($crate::frame::x64::Routines, $name) as i32,
        )
    };
}
pub(super) use routine;

/// Emits a program.
pub(super) struct Emitter<'a> {
    pub(super) code: &'a [u8],
    pub(super) insts: &'a [Inst],
    pub(super) blocks: &'a Blocks,
    pub(super) flow: &'a [Flow],
    /// Which sums are addresses, by instruction.
    pub(super) sums: &'a [bool],
    pub(super) rules: &'a Rules,
    pub(super) asm: Assembler,
    pub(super) labels: Vec<Label>,
    pub(super) state: State,
    pub(super) run: Run,
    /// Where JUMP and JUMPI go by the table.
    pub(super) jumps: [Label; 2],
    pub(super) uses_table: bool,
    /// Where the rows of the jump table stand.
    pub(super) table: Layout,
    /// What another back end has compiled.
    pub(super) loops: Option<LoopCode>,
    /// Where that is entered.
    pub(super) looped: Label,
    /// Which blocks continue another (C1), and both are this back end's.
    pub(super) continues: Vec<bool>,
    /// Which blocks there is code for.
    pub(super) emitted: Vec<bool>,
    /// What follows in the text.
    pub(super) after: Option<Way>,
    /// What is to be emitted with what another way into it has left.
    pub(super) deferred: Vec<Way>,
    /// Blocks with a use for their label.
    pub(super) asked: Vec<u32>,
    /// The longest text that is wanted.
    pub(super) max_len: usize,
    /// Where the code of instructions begins.
    #[cfg(test)]
    pub(super) marks: Vec<super::check::Mark<Label>>,
}

/// Emits a program: its text and entry points.
pub(in crate::compiler) fn emit(
    program: &Program<'_>,
    loops: Option<LoopCode>,
    options: &CompileOptions,
) -> Result<(Vec<u8>, Vec<EntryPoint>), CompileError> {
    let emitted = emit_all(program, loops, options)?;
    Ok((emitted.text, emitted.entries))
}

pub(super) fn emit_all(
    program: &Program<'_>,
    loops: Option<LoopCode>,
    options: &CompileOptions,
) -> Result<Emitted, CompileError> {
    let Program {
        code,
        insts,
        blocks,
        flow,
        sums,
        rules,
    } = *program;
    let mut continues: Vec<bool> = flow.iter().map(|flow| flow.edges.continues).collect();
    if let Some(loops) = &loops {
        for (continues, member) in continues.iter_mut().zip(&loops.members) {
            *continues &= !member;
        }
        for &exit in &loops.exits {
            continues[exit as usize] = false;
        }
    }
    let mut asm = Assembler::new();
    asm.marks.wanted = options.dump_dir.is_some();
    let looped = asm.label();
    let labels: Vec<Label> = blocks.blocks.iter().map(|_| asm.label()).collect();
    let jumps = [asm.label(), asm.label()];
    let pcs: Vec<u32> = destinations(program).map(|(pc, _)| pc).collect();
    let mut emitter = Emitter {
        code,
        insts,
        blocks,
        flow,
        sums,
        rules,
        asm,
        labels,
        state: State::new(0, 0),
        run: Run::new(0, 0, 0),
        jumps,
        uses_table: false,
        table: table::layout(&pcs),
        loops,
        looped,
        continues,
        emitted: vec![false; blocks.blocks.len()],
        after: None,
        deferred: Vec::new(),
        asked: Vec::new(),
        max_len: options.max_native_len,
        #[cfg(test)]
        marks: Vec::new(),
    };
    emitter.entry();
    // In the cache line that all frames enter by.
    if emitter.may_use_table() {
        emitter.asm.mark(Purpose::Shared);
        emitter.table_jumps();
    }
    emitter.blocks()?;
    emitter.finish(program, options)
}

/// What the emitter gives.
pub(super) struct Emitted {
    pub(super) text: Vec<u8>,
    pub(super) entries: Vec<EntryPoint>,
    /// By their offsets in the text.
    #[cfg(test)]
    pub(super) marks: Vec<super::check::Mark<usize>>,
    /// Where the constants begin.
    #[cfg(test)]
    pub(super) code_len: usize,
}

/// What jumps can lead to that do not know it here, by program counter: blocks.
fn destinations<'a>(program: &Program<'a>) -> impl Iterator<Item = (u32, usize)> + use<'a> {
    let (blocks, flow) = (program.blocks, program.flow);
    let jumpdests = blocks.jumpdests.iter();
    let jumpdests = jumpdests.map(|&(pc, block)| (pc, block as usize));
    // C3
    jumpdests.filter(|&(_, block)| flow[block].edges.dynamic)
}

impl Emitter<'_> {
    /// The text's first bytes: `lea rsi, [rip - 7]`, `mov rax, [rdi + shims]`, `jmp [rax + enter]`.
    fn entry(&mut self) {
        self.asm.bytes(&[0x48, 0x8d, 0x35, 0xf9, 0xff, 0xff, 0xff]);
        let rdi = super::asm::RDI;
        self.asm.mov_load(RAX, Mem::at(rdi, at::SHIMS));
        let enter = offset_of!(Routines, enter) as i32;
        self.asm.jmp_mem(Mem::at(RAX, enter));
    }

    fn finish(
        mut self,
        program: &Program<'_>,
        options: &CompileOptions,
    ) -> Result<Emitted, CompileError> {
        self.asm.mark(Purpose::Shared);
        self.loop_exits();
        #[cfg(test)]
        let code_len = self.asm.code_len();
        let (labels, blocks, flow) = (&self.labels, self.blocks, self.flow);
        let (uses_table, layout) = (self.uses_table, &self.table);
        let offset = |assembled: &Assembled, block: usize| {
            assembled.offset(labels[block]).unwrap_or(0) as u32
        };
        let assembled = self
            .asm
            .finish(|assembled, at| {
                let rows: Vec<(u32, u32, Demand)> = destinations(program)
                    .map(|(pc, block)| (pc, offset(assembled, block), flow[block].demand))
                    .collect();
                if uses_table {
                    table::table(at, layout, &rows)
                } else {
                    Vec::new()
                }
            })
            .map_err(|what| CompileError::Codegen(what.into()))?;
        dump::file(options, "code.s", || assembled.listing(program, labels))?;
        let entries = blocks
            .blocks
            .iter()
            .enumerate()
            .filter(|(index, _)| program.is_entered(*index))
            .map(|(index, block)| EntryPoint {
                pc: block.pc,
                operand: offset(&assembled, index),
                demand: flow[index].demand,
            })
            .collect();
        #[cfg(test)]
        let at = |mark: &super::check::Mark<Label>| mark.placed(assembled.offset(mark.place));
        Ok(Emitted {
            #[cfg(test)]
            marks: self.marks.iter().map(at).collect(),
            #[cfg(test)]
            code_len,
            text: assembled.text,
            entries,
        })
    }

    /// Says to the checker that the code of an instruction begins here.
    #[cfg(test)]
    pub(super) fn mark(&mut self, at: u32, begins: Option<super::check::Begin>) {
        let place = self.asm.label();
        self.asm.bind(place);
        let top = self.state.stack.last();
        let bits = top.map_or(256, |&value| self.state.at(value).bits);
        self.marks.push(super::check::Mark {
            place,
            at,
            begins,
            bits,
        });
    }

    pub(super) fn begin_run(&mut self, at: u32, block: &Block) {
        let pc = self.blocks.pc_of(block, at, self.insts);
        let gas = run_gas(self.insts, at, block.end, self.rules);
        // Memory does not shrink.
        self.run = Run::new(pc, gas, self.run.memory);
    }

    /// Compares the stack with a block's demand, for falling into it where D1 does not hold.
    pub(super) fn check_stack(&mut self, next: usize) {
        let Demand { needs, grows, .. } = self.flow[next].demand;
        let pc = self.blocks.blocks[next].pc;
        let leave = self.stub_of(|emitter| emitter.leave_to(pc));
        // Both bounds in one comparison: what is below the lower one wraps.
        let room = STACK_LIMIT.saturating_sub(usize::from(needs) + usize::from(grows));
        self.asm.lea(RAX, Mem::at(RBP, -32 * i32::from(needs)));
        self.asm.alu(Alu::Sub, RAX, field(at::STACK));
        self.asm.alu_imm(Alu::Cmp, RAX, 32 * room as i32);
        self.asm.jcc(Cond::Above, leave);
    }

    /// Charges the run, after comparing the gas with what the way ahead needs if nothing else has.
    pub(super) fn charge(&mut self, compares: Option<u32>) {
        let cost = self.run.gas;
        self.run.charged = cost;
        let Some(needs) = compares.filter(|needs| *needs > 0) else {
            if cost > 0 && !planted(Fault::RunNotCharged) {
                self.asm.alu_imm(Alu::Sub, R12, cost as i32);
            }
            return;
        };
        if needs == cost {
            self.asm.alu_imm(Alu::Sub, R12, cost as i32);
            let stub = self.stub();
            if !planted(Fault::GasIsNotCompared) {
                self.asm.jcc(Cond::Below, stub);
            }
            return;
        }
        let leave = self.stub_of(|emitter| emitter.leave_to(emitter.run.pc));
        self.asm.alu_imm(Alu::Cmp, R12, needs as i32);
        if !planted(Fault::GasAheadIsNotCompared) {
            self.asm.jcc(Cond::Below, leave);
        }
        if cost > 0 {
            self.asm.alu_imm(Alu::Sub, R12, cost as i32);
        }
    }

    /// Where to go for what `f` emits, which is seldom.
    pub(super) fn stub_of(&mut self, f: impl FnOnce(&mut Self)) -> Label {
        let label = self.asm.label();
        let section = self.asm.section(Section::Cold);
        self.asm.bind(label);
        f(self);
        self.asm.section(section);
        label
    }

    fn leave_to(&mut self, pc: u32) {
        self.asm.mov_imm(RSI, pc.into());
        self.asm.jmp_mem(routine!(leave));
    }

    /// The leave to the run's start, which gives its gas back.
    pub(super) fn stub(&mut self) -> Label {
        if let Some(stub) = self.run.stub {
            return stub;
        }
        let stub = self.stub_of(|emitter| {
            if !planted(Fault::StubKeepsGas) {
                emitter.give_back(emitter.run.charged.into());
            }
            emitter.leave_to(emitter.run.pc);
        });
        self.run.stub = Some(stub);
        stub
    }

    /// Where to go if the instruction cannot be done: nothing of it has been.
    pub(super) fn leave(&mut self, inst: &Inst) -> Label {
        self.run.open = None;
        if self.run.restartable {
            return self.stub();
        }
        self.stub_of(|emitter| emitter.leave_here(inst))
    }

    /// Leaves to `inst`, whose operands are still on the virtual stack.
    pub(super) fn leave_here(&mut self, inst: &Inst) {
        if !planted(Fault::LeaveLosesWords) {
            self.emit_moves();
        }
        if !planted(Fault::LeaveKeepsTop) {
            self.move_top(self.height());
        }
        let cost = u32::from(self.rules.gas_of(inst.opcode));
        if !planted(Fault::LeaveKeepsGas) {
            self.give_back(self.ahead() + i64::from(cost));
        }
        self.leave_to(inst.pc);
    }

    /// Gas that has been charged for instructions that are not done yet; less than nothing if it has
    /// not been charged for some that are.
    pub(super) fn ahead(&self) -> i64 {
        i64::from(self.run.charged) - i64::from(self.run.spent)
    }

    /// Gives gas back that was charged ahead.
    pub(super) fn give_back(&mut self, gas: i64) {
        if gas != 0 {
            self.asm.alu_imm(Alu::Add, R12, gas as i32);
        }
    }

    /// Charges what of the run's gas has not been. The flags stay.
    fn pay(&mut self) {
        let due = self.run.gas - self.run.charged;
        if due > 0 && !planted(Fault::RestIsNotPaid) {
            self.asm.lea(R12, Mem::at(R12, -(due as i32)));
        }
    }

    /// Makes the frame's stack and gas canonical. The flags stay.
    pub(super) fn settle(&mut self) {
        self.settle_out();
        self.state.settled();
    }

    /// Whether it is.
    pub(super) fn is_settled(&self) -> bool {
        self.height() == 0 && self.state.dirty() == 0 && self.run.gas == self.run.charged
    }

    /// The same as [`settle`](Self::settle) for a way out, where the run does not go on.
    pub(super) fn settle_out(&mut self) {
        self.emit_moves();
        self.move_top(self.height());
        self.pay();
    }

    /// Words above the last canonical point's top.
    pub(super) fn height(&self) -> i32 {
        self.state.stack.len() as i32 - self.state.base
    }

    /// Lets `rbp` point above a stack that has grown by so many words; the flags stay.
    pub(super) fn move_top(&mut self, words: i32) {
        if words != 0 {
            self.asm.lea(RBP, Mem::at(RBP, 32 * words));
        }
    }

    /// The virtual stack goes to memory. The flags stay.
    pub(super) fn flush(&mut self) {
        self.emit_moves();
        self.state.settled();
    }

    pub(super) fn emit_moves(&mut self) {
        for step in self.state.moves() {
            match step {
                Move::Save { slot } => {
                    let slot = slot - i32::from(planted(Fault::CycleSavesAnother));
                    self.asm.vload(CYCLE, self.slot(slot));
                }
                Move::Store { slot, from } => self.store(self.slot(slot), from),
            }
        }
    }

    pub(super) fn slot(&self, slot: i32) -> Mem {
        Mem::at(RBP, 32 * slot)
    }

    /// Stores a word, with `rax` and `ymm0` for help. The flags stay.
    pub(super) fn store(&mut self, to: Mem, from: Source) {
        let vector = match from {
            Source::Constant(value) if value.is_zero() => ZERO,
            Source::Constant(value) if value.bit_len() <= 32 => {
                self.asm.mov_imm(RAX, value.as_limbs()[0]);
                self.asm.vmovd_from(SCRATCH, RAX);
                SCRATCH
            }
            Source::Constant(value) => {
                let pooled = self.asm.constant(value.to_le_bytes());
                self.asm.vload(SCRATCH, pooled);
                SCRATCH
            }
            Source::Limbs(limbs) if limbs.count == 1 => {
                self.asm.vmovq_from(SCRATCH, limbs.regs[0]);
                SCRATCH
            }
            Source::Limbs(limbs) => {
                if limbs.count < 4 && !planted(Fault::WriteBackKeepsOldLimbs) {
                    self.asm.vstore(to, ZERO);
                }
                for (i, reg) in limbs.used().iter().enumerate() {
                    self.asm.mov_store(to.plus(8 * i as i32), *reg);
                }
                return;
            }
            Source::Vector(ymm) => ymm,
            Source::Frame(offset) => {
                self.asm.vload(SCRATCH, field(offset));
                SCRATCH
            }
            Source::Slot(slot) => {
                self.asm.vload(SCRATCH, self.slot(slot));
                SCRATCH
            }
            Source::Flags(cond) => {
                self.asm.setcc(cond, RAX);
                self.asm.vmovq_from(SCRATCH, RAX);
                SCRATCH
            }
        };
        self.asm.vstore(to, vector);
    }

    /// Makes everything canonical but `rbp` and the gas, so that all registers are free.
    fn spill(&mut self) {
        self.flush();
        self.state.forget_registers();
        self.run.restartable = false;
    }

    /// Prepares an instruction that takes `operands` words, clobbers the flags and needs so many
    /// registers besides those of its operands.
    pub(super) fn prepare(&mut self, operands: usize, gprs: usize, vectors: usize) {
        self.save_flags();
        let top = self.state.stack.len() - operands;
        for i in top..self.state.stack.len() {
            let value = self.state.stack[i];
            self.state.at_mut(value).pinned += 1;
        }
        let (free_gprs, free_vectors) = self.state.free();
        for i in top..self.state.stack.len() {
            let value = self.state.stack[i];
            self.state.at_mut(value).pinned -= 1;
        }
        if free_gprs < gprs || free_vectors < vectors {
            self.spill();
        }
    }

    /// V4: what is in the flags goes to a register, or away if nobody needs it.
    pub(super) fn save_flags(&mut self) {
        let Some(value) = self.state.flags else {
            return;
        };
        let at = self.state.at(value);
        let needed = at.uses > 0 && at.limbs.is_none() && at.slot.is_none();
        if let (true, Some(cond)) = (needed, at.flags) {
            if self.state.free().0 == 0 {
                self.spill();
                return;
            }
            let reg = self.state.take_gpr();
            self.asm.setcc(cond, reg);
            self.state.set_limbs(value, Limbs::one(reg));
        }
        self.state.drop_flags();
    }

    /// Before a leave that may have to write back: keeps that short.
    pub(super) fn tidy(&mut self) {
        if !self.run.restartable && self.state.dirty() > MAX_DIRTY {
            self.flush();
        }
    }
}
