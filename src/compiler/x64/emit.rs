//! Blocks and runs, flushes and leaves.

use super::{
    asm::{
        Alu, Assembler, Cond, Gpr, Label, Mem, Place, R12, RAX, RBP, RBX, RSI, Rm, Section, Ymm,
    },
    state::{CYCLE, Limbs, Move, Source, State, Val},
    table::table,
};
use crate::{
    compiler::{
        EntryPoint, Program, Rules,
        blocks::{Block, Blocks, run_gas},
        clif::LoopCode,
        decode::Inst,
        effect::{Class, op},
        error::CompileError,
        flow::{Demand, Flow, falls_freely, possible},
    },
    frame::{STACK_LIMIT, at, x64::BIAS, x64::RESERVE, x64::Routines},
};
use alloy_primitives::U256;
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

/// The run being emitted.
pub(super) struct Run {
    /// Where it leaves to while nothing was written.
    pub(super) pc: u32,
    /// Its static gas, charged at its start.
    pub(super) gas: u32,
    /// The part of it that belongs to instructions that are done, the current one included.
    pub(super) spent: u32,
    /// Whether a leave can go back to its start.
    pub(super) restartable: bool,
    /// Whether it has looked at the gas or the size of memory.
    pub(super) observed: bool,
    /// Its leave, once there is a use for it.
    stub: Option<Label>,
    /// The memory is at least so long.
    pub(super) memory: u64,
    /// Known extents above values: those were compared with the memory's length.
    pub(super) extents: Vec<(Val, u64)>,
    /// The last comparison, as long as it can be made to cover more: nothing since can leave, or tell
    /// when the memory has grown.
    pub(super) open: Option<Open>,
}

/// A comparison of an access's end with the memory's length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// Above this value; `None` for constant offsets.
    pub(super) base: Option<Val>,
    /// Where the end stands in the code.
    pub(super) places: [Option<Place>; 2],
}

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
    pub(super) jump: Label,
    pub(super) jumpi: Label,
    pub(super) uses_table: [bool; 2],
    /// What another back end has compiled.
    pub(super) loops: Option<LoopCode>,
    /// Where that is entered.
    pub(super) looped: Label,
}

/// Emits a program: its text and entry points.
pub(in crate::compiler) fn emit(
    program: &Program<'_>,
    loops: Option<LoopCode>,
    max_len: usize,
) -> Result<(Vec<u8>, Vec<EntryPoint>), CompileError> {
    let Program {
        code,
        insts,
        blocks,
        flow,
        sums,
        rules,
    } = *program;
    let mut asm = Assembler::new();
    let looped = asm.label();
    let labels: Vec<Label> = blocks.blocks.iter().map(|_| asm.label()).collect();
    let (jump, jumpi) = (asm.label(), asm.label());
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
        run: Run {
            pc: 0,
            gas: 0,
            spent: 0,
            restartable: true,
            observed: false,
            stub: None,
            memory: 0,
            extents: Vec::new(),
            open: None,
        },
        jump,
        jumpi,
        uses_table: [false; 2],
        loops,
        looped,
    };
    emitter.entry();
    for index in 0..blocks.blocks.len() {
        if blocks.blocks[index].live {
            emitter.block(index);
        }
        if emitter.asm.len() > max_len {
            let (len, max) = (emitter.asm.len(), max_len);
            return Err(CompileError::NativeTooLarge { len, max });
        }
    }
    emitter.finish()
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

    fn finish(mut self) -> Result<(Vec<u8>, Vec<EntryPoint>), CompileError> {
        self.table_jumps();
        self.loop_exits();
        let (labels, blocks, flow) = (self.labels, self.blocks, self.flow);
        let needs_table = self.uses_table != [false; 2];
        let offset = |assembled: &super::asm::Assembled, block: usize| {
            assembled.offset(labels[block]).unwrap_or(0) as u32
        };
        let assembled = self
            .asm
            .finish(|assembled, at| {
                let destinations: Vec<(u32, u32, Demand)> = blocks
                    .jumpdests
                    .iter()
                    .map(|&(pc, block)| {
                        let block = block as usize;
                        (pc, offset(assembled, block), flow[block].demand)
                    })
                    .collect();
                if needs_table {
                    table(at, &destinations)
                } else {
                    Vec::new()
                }
            })
            .map_err(|what| CompileError::Codegen(what.into()))?;
        let entries = blocks
            .blocks
            .iter()
            .enumerate()
            .filter(|(_, block)| block.live && (block.enterable || block.jumpdest))
            .map(|(index, block)| EntryPoint {
                pc: block.pc,
                operand: offset(&assembled, index),
                demand: flow[index].demand,
            })
            .collect();
        Ok((assembled.text, entries))
    }

    fn block(&mut self, index: usize) {
        let block = &self.blocks.blocks[index];
        self.asm.bind(self.labels[index]);
        if self.enter_loop(index) {
            return;
        }
        if !possible(block.needs, block.grows) {
            self.asm.mov_imm(RSI, block.pc.into());
            self.asm.jmp_mem(routine!(leave));
            return;
        }
        self.state = State::new(block.needs, block.grows);
        self.run.memory = self.flow[index].demand.memory.into();
        self.begin_run(block.first, block);
        self.charge(self.flow[index].compares);
        for at in block.first..block.end {
            let inst = self.insts[at as usize];
            if inst.class == Class::Native {
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
                    self.charge(Some(needs).filter(|needs| *needs > RESERVE));
                }
                Class::Step | Class::End => return self.step(&inst),
            }
        }
        self.flush();
        self.move_top(self.height());
        self.fall(index);
    }

    /// Goes on to the next block, which follows in the text.
    pub(super) fn fall(&mut self, index: usize) {
        debug_assert!(self.blocks.blocks[index + 1].live);
        if !falls_freely(self.blocks, self.flow, index) {
            self.check_stack(index + 1);
        }
    }

    fn begin_run(&mut self, at: u32, block: &Block) {
        let pc = self.insts[at as usize].pc;
        self.run = Run {
            pc,
            gas: run_gas(self.insts, at, block.end, self.rules),
            spent: 0,
            restartable: true,
            observed: false,
            stub: None,
            // Memory does not shrink.
            memory: self.run.memory,
            extents: Vec::new(),
            open: None,
        };
    }

    /// Compares the stack with a block's demand, for falling into it where D1 does not hold.
    fn check_stack(&mut self, next: usize) {
        let Demand { needs, grows, .. } = self.flow[next].demand;
        let leave = self.asm.label();
        let section = self.asm.section(Section::Cold);
        self.asm.bind(leave);
        self.asm.mov_imm(RSI, self.blocks.blocks[next].pc.into());
        self.asm.jmp_mem(routine!(leave));
        self.asm.section(section);
        // Both bounds in one comparison: what is below the lower one wraps.
        let room = STACK_LIMIT.saturating_sub(usize::from(needs) + usize::from(grows));
        self.asm.lea(RAX, Mem::at(RBP, -32 * i32::from(needs)));
        self.asm.alu(Alu::Sub, RAX, field(at::STACK));
        self.asm.alu_imm(Alu::Cmp, RAX, 32 * room as i32);
        self.asm.jcc(Cond::Above, leave);
    }

    /// Charges the run, after comparing the gas with what the way ahead needs if nothing else has.
    fn charge(&mut self, compares: Option<u32>) {
        let cost = self.run.gas;
        let Some(needs) = compares.filter(|needs| *needs > 0) else {
            if cost > 0 {
                self.asm.alu_imm(Alu::Sub, R12, cost as i32);
            }
            return;
        };
        if needs == cost {
            self.asm.alu_imm(Alu::Sub, R12, cost as i32);
            let stub = self.stub();
            self.asm.jcc(Cond::Below, stub);
            return;
        }
        let leave = self.asm.label();
        let section = self.asm.section(Section::Cold);
        self.asm.bind(leave);
        self.asm.mov_imm(RSI, self.run.pc.into());
        self.asm.jmp_mem(routine!(leave));
        self.asm.section(section);
        self.asm.alu_imm(Alu::Cmp, R12, needs as i32);
        self.asm.jcc(Cond::Below, leave);
        if cost > 0 {
            self.asm.alu_imm(Alu::Sub, R12, cost as i32);
        }
    }

    /// The leave to the run's start, which gives its gas back.
    pub(super) fn stub(&mut self) -> Label {
        if let Some(stub) = self.run.stub {
            return stub;
        }
        let stub = self.asm.label();
        let section = self.asm.section(Section::Cold);
        self.asm.bind(stub);
        self.give_back(self.run.gas);
        self.asm.mov_imm(RSI, self.run.pc.into());
        self.asm.jmp_mem(routine!(leave));
        self.asm.section(section);
        self.run.stub = Some(stub);
        stub
    }

    /// Where to go if the instruction cannot be done: nothing of it has been.
    pub(super) fn leave(&mut self, inst: &Inst) -> Label {
        self.run.open = None;
        if self.run.restartable {
            return self.stub();
        }
        let label = self.asm.label();
        let section = self.asm.section(Section::Cold);
        self.asm.bind(label);
        self.leave_here(inst);
        self.asm.section(section);
        label
    }

    /// Leaves to `inst`, whose operands are still on the virtual stack.
    pub(super) fn leave_here(&mut self, inst: &Inst) {
        self.emit_moves();
        self.move_top(self.height());
        let cost = u32::from(self.rules.gas_of(inst.opcode));
        let back = self.run.gas - self.run.spent + cost;
        self.give_back(back);
        self.asm.mov_imm(RSI, inst.pc.into());
        self.asm.jmp_mem(routine!(leave));
    }

    /// Gives gas back that was charged ahead.
    pub(super) fn give_back(&mut self, gas: u32) {
        if gas > 0 {
            self.asm.alu_imm(Alu::Add, R12, gas as i32);
        }
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
                Move::Save { slot } => self.asm.vload(CYCLE, self.slot(slot)),
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
                if limbs.count < 4 {
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

    /// The limb `i` of a value, as an operand. Uses `rax` if `rax` is to hold a large constant.
    pub(super) fn limb(&mut self, value: Val, i: usize) -> Limb {
        let at = self.state.at(value);
        if 64 * i >= usize::from(at.bits) {
            return Limb::Constant(0);
        }
        if let Some(constant) = at.constant {
            return Limb::Constant(constant.as_limbs()[i]);
        }
        if let Some(limbs) = at.limbs {
            return if i < limbs.count as usize {
                Limb::In(limbs.regs[i].into())
            } else {
                Limb::Constant(0)
            };
        }
        let mem = match (at.slot, at.frame, at.ymm) {
            (Some(slot), ..) => self.slot(slot),
            (None, Some(frame), _) => field(frame),
            (None, None, ymm) => {
                // V3; vectors were put into the scratch by `spread`.
                debug_assert!(ymm.is_none(), "a vector's limbs were not spread");
                field(at::SCRATCH)
            }
        };
        Limb::In(mem.plus(8 * i as i32).into())
    }

    /// Makes the limbs of a value that is in a vector register only addressable, in the frame's
    /// scratch number `n`.
    pub(super) fn spread(&mut self, value: Val, n: i32) {
        let at = self.state.at(value);
        if let Some(ymm) = at.ymm
            && at.limbs.is_none()
            && at.slot.is_none()
            && at.frame.is_none()
            && at.constant.is_none()
        {
            let scratch = at::SCRATCH + 32 * n;
            if at.bits <= 64 {
                let reg = self.state.take_gpr();
                self.asm.vmovq_to(reg, ymm);
                self.state.set_limbs(value, Limbs::one(reg));
            } else {
                self.asm.vstore(field(scratch), ymm);
                self.state.at_mut(value).frame = Some(scratch);
            }
        }
    }

    /// The scratch is about to hold something else.
    pub(super) fn unspread(&mut self, value: Val) {
        if self
            .state
            .at(value)
            .frame
            .is_some_and(|frame| (at::SCRATCH..at::SCRATCH + 96).contains(&frame))
        {
            self.state.at_mut(value).frame = None;
        }
    }

    /// Loads a limb. The flags stay.
    pub(super) fn load(&mut self, to: Gpr, limb: Limb) {
        match limb {
            Limb::Constant(value) => self.asm.mov_imm(to, value),
            Limb::In(Rm::Reg(reg)) => self.asm.mov(to, Gpr(reg)),
            Limb::In(Rm::Mem(mem)) => self.asm.mov_load(to, mem),
            Limb::In(Rm::Pool(_)) => unreachable!("limbs are not in the pool"),
        }
    }

    /// `to op= limb`, with `rdi` for large constants.
    pub(super) fn combine(&mut self, alu: Alu, to: Gpr, limb: Limb) {
        match limb {
            Limb::Constant(value) => match i32::try_from(value as i64) {
                Ok(value) => self.asm.alu_imm(alu, to, value),
                Err(_) => {
                    self.asm.mov_imm(super::asm::RDI, value);
                    self.asm.alu(alu, to, super::asm::RDI);
                }
            },
            Limb::In(rm) => self.asm.alu(alu, to, rm),
        }
    }

    /// A register with the only limb of a value of at most 64 bits.
    pub(super) fn narrow(&mut self, value: Val) -> Gpr {
        debug_assert!(self.state.at(value).bits <= 64);
        if let Some(limbs) = self.state.at(value).limbs {
            return limbs.regs[0];
        }
        let reg = self.state.take_gpr();
        let at = self.state.at(value);
        if let (Some(ymm), None, None) = (at.ymm, at.slot, at.constant) {
            self.asm.vmovq_to(reg, ymm);
        } else {
            let limb = self.limb(value, 0);
            self.load(reg, limb);
        }
        self.state.set_limbs(value, Limbs::one(reg));
        reg
    }

    /// A vector register with the value; `ymm0` if it is in none.
    pub(super) fn vector(&mut self, value: Val) -> Ymm {
        self.vector_in(value, SCRATCH)
    }

    /// The same with another register to load into.
    pub(super) fn vector_in(&mut self, value: Val, free: Ymm) -> Ymm {
        match self.state.source(value) {
            Source::Constant(constant) if constant.is_zero() => ZERO,
            Source::Constant(constant) => {
                let pooled = self.asm.constant(constant.to_le_bytes());
                self.asm.vload(free, pooled);
                free
            }
            Source::Vector(ymm) => ymm,
            Source::Limbs(limbs) if limbs.count == 1 => {
                self.asm.vmovq_from(free, limbs.regs[0]);
                free
            }
            from @ Source::Limbs(_) => {
                self.store(field(at::SCRATCH), from);
                self.asm.vload(free, field(at::SCRATCH));
                free
            }
            Source::Frame(offset) => {
                self.asm.vload(free, field(offset));
                free
            }
            Source::Slot(slot) => {
                self.asm.vload(free, self.slot(slot));
                free
            }
            Source::Flags(_) => unreachable!("flags were saved"),
        }
    }

    /// The value as the second operand of a vector instruction.
    pub(super) fn vector_rm(&mut self, value: Val, free: Ymm) -> Rm {
        match self.state.source(value) {
            Source::Constant(constant) if !constant.is_zero() => {
                self.asm.constant(constant.to_le_bytes())
            }
            Source::Slot(slot) => self.slot(slot).into(),
            Source::Frame(offset) => field(offset).into(),
            _ => self.vector_in(value, free).into(),
        }
    }

    /// The constant that a value is.
    pub(super) fn known(&self, value: Val) -> Option<U256> {
        self.state.at(value).constant
    }

    pub(super) fn push_constant(&mut self, constant: U256) {
        let value = self.state.constant(constant);
        self.state.push(value);
    }

    /// Before a leave that may have to write back: keeps that short.
    pub(super) fn tidy(&mut self) {
        if !self.run.restartable && self.state.dirty() > MAX_DIRTY {
            self.flush();
        }
    }
}

/// A limb as an operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limb {
    Constant(u64),
    In(Rm),
}
