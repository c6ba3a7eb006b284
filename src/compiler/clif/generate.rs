//! Blocks and runs, charges and leaves.

use super::{
    Part,
    loops::Loops,
    state::{State, Val},
};
use crate::{
    compiler::{
        Program,
        blocks::{Block, possible, run_gas},
        decode::Inst,
        effect::{Class, op},
        error::CompileError,
        fault::{Fault, either, planted},
        limbs::{Emit, Region},
    },
    frame::{Exit, at},
};
use cranelift_codegen::{
    ir::{
        self, AbiParam, InstBuilder, Signature, StackSlotData, StackSlotKind, UserFuncName,
        condcodes::IntCC, types,
    },
    isa::CallConv,
};

/// Words that a leave in the middle of a run may have to write back; where there are more, they are
/// written back ahead of it.
const MAX_DIRTY: usize = 12;

/// The same in loops, where what is written back is written in every iteration.
const MAX_DIRTY_IN_LOOP: usize = 40;

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
    stub: Option<ir::Block>,
    /// The memory is at least so long.
    pub(super) memory: u64,
    /// Known extents above values: those were compared with the memory's length.
    pub(super) extents: Vec<(Val, u64)>,
}

/// Gas that is not in the frame: a value, less what was charged since. Nobody computes the difference but
/// who passes it on.
#[derive(Clone, Copy)]
pub(super) struct Gas {
    pub(super) value: ir::Value,
    pub(super) charged: i64,
}

impl Gas {
    pub(super) fn new(value: ir::Value) -> Self {
        Self { value, charged: 0 }
    }
}

/// A program being generated.
pub(super) struct Generator<'a> {
    pub(super) program: Program<'a>,
    pub(super) part: Part,
    pub(super) e: Emit,
    pub(super) loops: Loops,
    /// Where static edges enter each block.
    pub(super) bodies: Vec<ir::Block>,
    /// Where canonical frames enter each block: the body, unless that has parameters.
    pub(super) enters: Vec<ir::Block>,
    pub(super) state: State,
    /// The position at which the block being emitted starts.
    pub(super) start: i32,
    /// The gas, in a loop's blocks; elsewhere it is in the frame.
    pub(super) gas: Option<Gas>,
    pub(super) run: Run,
    /// Whether the state is the next block's.
    pub(super) inherited: bool,
    /// Takes the program counter and gas to give back: leaves.
    leave_block: ir::Block,
    /// Takes the program counter and the exit.
    exit_block: ir::Block,
    /// Takes the exit.
    return_block: ir::Block,
    saved: ir::StackSlot,
    pub(super) shim: ir::SigRef,
    pub(super) operation: ir::SigRef,
    /// Jumps with unknown targets: JUMP's and JUMPI's.
    pub(super) dispatch: [Option<ir::Block>; 2],
    frame: Option<(ir::Block, ir::Value)>,
    /// The blocks of the rest that the loops lead to.
    pub(super) exits: Vec<usize>,
}

/// A function, and the blocks at which it is entered and that it leads to.
pub(super) struct Generated {
    pub(super) func: ir::Function,
    pub(super) entered: Vec<usize>,
    pub(super) exits: Vec<usize>,
}

/// Generates the function of a program or its loops.
pub(super) fn generate(
    program: Program<'_>,
    loops: Loops,
    part: Part,
    call_conv: CallConv,
) -> Result<Generated, CompileError> {
    let mut signature = Signature::new(call_conv);
    signature.params.push(AbiParam::new(types::I64));
    if part == Part::Loops {
        signature.params.push(AbiParam::new(types::I32));
    }
    signature.returns.push(AbiParam::new(types::I32));
    let mut func = ir::Function::with_name_signature(UserFuncName::default(), signature);
    let pointers = |func: &mut ir::Function, returns: &[ir::Type]| {
        let mut signature = Signature::new(call_conv);
        signature.params.extend([AbiParam::new(types::I64); 2]);
        signature
            .returns
            .extend(returns.iter().map(|&ty| AbiParam::new(ty)));
        func.import_signature(signature)
    };
    let shim = pointers(&mut func, &[types::I64]);
    let operation = pointers(&mut func, &[]);
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3);
    let saved = func.create_sized_stack_slot(slot);

    let first = func.dfg.make_block();
    func.layout.append_block(first);
    let count = program.blocks.blocks.len();
    let bodies: Vec<ir::Block> = (0..count).map(|_| func.dfg.make_block()).collect();
    let ends: [ir::Block; 3] = std::array::from_fn(|_| func.dfg.make_block());
    let [leave_block, exit_block, return_block] = ends;
    for (block, params) in [
        (leave_block, &[types::I64, types::I64][..]),
        (exit_block, &[types::I64, types::I32]),
        (return_block, &[types::I32]),
    ] {
        for &ty in params {
            func.dfg.append_block_param(block, ty);
        }
    }
    let mut this = Generator {
        program,
        e: Emit::new(func, first),
        loops,
        part,
        enters: bodies.clone(),
        bodies,
        state: State::new(0),
        start: 0,
        gas: None,
        run: Run {
            pc: 0,
            gas: 0,
            spent: 0,
            restartable: true,
            observed: false,
            stub: None,
            memory: 0,
            extents: Vec::new(),
        },
        inherited: false,
        leave_block,
        exit_block,
        return_block,
        saved,
        shim,
        operation,
        dispatch: [None; 2],
        frame: None,
        exits: Vec::new(),
    };
    this.prepare_enters();
    this.prologue(first);
    for index in 0..count {
        if this.is_emitted(index) {
            this.block(index);
        }
        this.check_len()?;
    }
    this.emit_enters();
    this.emit_dispatch();
    this.emit_exits();
    this.check_len()?;
    this.epilogue();
    let entered = this.entered();
    Ok(Generated {
        func: this.e.func,
        entered,
        exits: this.exits,
    })
}

impl Generator<'_> {
    /// Saves the caller's pinned register and goes to the block at which the frame enters.
    fn prologue(&mut self, first: ir::Block) {
        let frame = self.e.func.dfg.append_block_param(first, types::I64);
        if self.part == Part::Loops {
            self.e.func.dfg.append_block_param(first, types::I32);
        }
        let old = self.e.cursor().ins().get_pinned_reg(types::I64);
        let address = self.e.slot_address(self.saved);
        self.e.store(Region::Context, old, address, 0);
        self.e.cursor().ins().set_pinned_reg(frame);
        self.frame = Some((first, frame));
        self.emit_entry_table(first);
    }

    fn epilogue(&mut self) {
        let block = self.leave_block;
        self.place(block, true);
        let [pc, back] = self.params(block);
        let gas = self.load_field(at::GAS);
        let gas = self.e.add_values(gas, back);
        self.store_field(at::GAS, gas);
        let exit = self.e.iconst(types::I32, Exit::LEAVE.0.into());
        self.e.jump(self.exit_block, &[pc, exit]);

        let block = self.exit_block;
        self.place(block, true);
        let [pc, exit] = self.params(block);
        self.store_field(at::PC, pc);
        self.e.jump(self.return_block, &[exit]);

        let block = self.return_block;
        self.place(block, true);
        let [exit] = self.params(block);
        let address = self.e.slot_address(self.saved);
        let old = self.e.load(types::I64, Region::Context, address, 0);
        self.e.cursor().ins().set_pinned_reg(old);
        self.e.cursor().ins().return_(&[exit]);
    }

    pub(super) fn params<const N: usize>(&self, block: ir::Block) -> [ir::Value; N] {
        let params = self.e.func.dfg.block_params(block);
        std::array::from_fn(|i| params[i])
    }

    /// Puts a block that exists into the layout and goes on there.
    pub(super) fn place(&mut self, block: ir::Block, cold: bool) {
        self.e.func.layout.append_block(block);
        if cold {
            self.e.func.layout.set_cold(block);
        }
        self.e.block = block;
    }

    /// Emits into a new cold block, and goes on where it was.
    pub(super) fn cold(&mut self, f: impl FnOnce(&mut Self)) -> ir::Block {
        let (here, frame) = (self.e.block, self.frame);
        let block = self.e.new_block(true);
        self.e.block = block;
        f(self);
        self.e.block = here;
        self.frame = frame;
        block
    }

    /// Ends the block with a branch to `to` if `cond`, and goes on in a new one.
    pub(super) fn branch(&mut self, cond: ir::Value, to: ir::Block) {
        let next = self.e.new_block(false);
        self.e.brif(cond, to, next);
        self.e.block = next;
    }

    // The frame.

    pub(super) fn frame(&mut self) -> ir::Value {
        match self.frame {
            Some((block, frame)) if block == self.e.block => frame,
            _ => {
                let frame = self.e.cursor().ins().get_pinned_reg(types::I64);
                self.frame = Some((self.e.block, frame));
                frame
            }
        }
    }

    pub(super) fn load_field(&mut self, offset: i32) -> ir::Value {
        let frame = self.frame();
        self.e.load(types::I64, Region::Context, frame, offset)
    }

    pub(super) fn store_field(&mut self, offset: i32, value: ir::Value) {
        let frame = self.frame();
        self.e.store(Region::Context, value, frame, offset);
    }

    /// Calls the function at `offset` of the shims. Values in registers survive; the frame's do not.
    pub(super) fn call(
        &mut self,
        signature: ir::SigRef,
        offset: i32,
        args: [ir::Value; 2],
    ) -> Option<ir::Value> {
        let shims = self.load_field(at::SHIMS);
        let callee = self.e.load(types::I64, Region::Context, shims, offset);
        let call = self
            .e
            .cursor()
            .ins()
            .call_indirect(signature, callee, &args);
        self.frame = None;
        self.e.func.dfg.inst_results(call).first().copied()
    }

    // Blocks.

    fn is_too_long(&self) -> bool {
        self.e.func.dfg.num_insts() > self.part.max_instructions()
    }

    fn check_len(&self) -> Result<(), CompileError> {
        if !self.is_too_long() {
            return Ok(());
        }
        Err(CompileError::TooComplex {
            what: "instructions of the code generator",
            count: self.e.func.dfg.num_insts(),
            max: self.part.max_instructions(),
        })
    }

    /// Whether a block is emitted, or is only fallen into from where control does not get.
    pub(super) fn is_emitted(&self, index: usize) -> bool {
        let block = &self.program.blocks.blocks[index];
        let part = self.part == Part::Whole || self.loops.carried(index).is_some();
        part && block.live && (self.inherited || block.jumpdest || block.enterable)
    }

    fn block(&mut self, index: usize) {
        let block = &self.program.blocks.blocks[index];
        let flow = &self.program.flow[index];
        let inherited = std::mem::take(&mut self.inherited);
        if !inherited {
            let body = self.bodies[index];
            self.place(body, false);
            // S1: others lead here, too.
            self.state = State::new(0);
            self.gas = None;
        }
        self.start = self.state.height();
        if !possible(block.needs, block.grows) {
            let leave = self.leave_at(block.pc, 0);
            self.e.jump(leave, &[]);
            return;
        }
        self.state.ensure(block.needs);
        if !inherited {
            self.take_params(index);
        }
        let memory = u64::from(flow.demand.memory);
        self.run.memory = if inherited {
            self.run.memory.max(memory)
        } else {
            memory
        };
        if !inherited {
            self.run.extents.clear();
        }
        self.begin_run(block.first, block);
        self.charge(flow.compares);
        for at in block.first..block.end {
            let inst = self.program.insts[at as usize];
            if self.is_too_long() {
                // Refused.
                return;
            }
            if inst.class == Class::Native {
                self.run.spent += u32::from(self.program.rules.gas_of(inst.opcode));
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
                    self.run.extents.clear();
                    let rest = &self.program.insts[at as usize + 1..block.end as usize];
                    let last = rest.iter().all(|inst| inst.class != Class::Boundary);
                    self.charge(Some(self.run.gas + if last { flow.behind } else { 0 }));
                }
                Class::Step | Class::End => return self.step(&inst),
            }
        }
        self.fall(index);
    }

    fn begin_run(&mut self, at: u32, block: &Block) {
        self.run = Run {
            pc: self.program.blocks.pc_of(block, at, self.program.insts),
            gas: run_gas(self.program.insts, at, block.end, self.program.rules),
            spent: 0,
            restartable: true,
            observed: false,
            stub: None,
            // Memory does not shrink.
            memory: self.run.memory,
            extents: std::mem::take(&mut self.run.extents),
        };
    }

    /// Charges the run, after comparing the gas with what the way ahead needs if nothing else has.
    fn charge(&mut self, compares: Option<u32>) {
        let compares = compares.filter(|needs| *needs > 0);
        if compares.is_none() && self.run.gas == 0 {
            return;
        }
        let gas = self.gas_now();
        if let Some(needs) = compares {
            // What was charged has been compared: nothing wraps.
            let needs = i64::from(needs) + gas.charged;
            let lacks = self.e.icmp_imm(IntCC::UnsignedLessThan, gas.value, needs);
            let leave = self.leave_at(self.run.pc, 0);
            if !planted(Fault::ClifGasIsNotCompared) {
                self.branch(lacks, leave);
            }
        }
        if self.run.gas == 0 {
            return;
        }
        if let Some(gas) = &mut self.gas {
            gas.charged += i64::from(self.run.gas);
            return;
        }
        // Where nothing was compared the addition is to memory.
        let gas = match compares {
            Some(_) => self.load_field(at::GAS),
            None => gas.value,
        };
        let rest = self.e.offset(gas, -i64::from(self.run.gas));
        self.store_field(at::GAS, rest);
    }

    /// The gas, wherever it is.
    pub(super) fn gas_now(&mut self) -> Gas {
        match self.gas {
            Some(gas) => gas,
            None => Gas::new(self.load_field(at::GAS)),
        }
    }

    /// The gas, and so much more.
    pub(super) fn gas_and(&mut self, gas: Gas, more: u32) -> ir::Value {
        self.e.offset(gas.value, i64::from(more) - gas.charged)
    }

    // Leaves.

    /// A cold block that leaves to `pc` with the stack that is now and gas given back.
    pub(super) fn leave_at(&mut self, pc: u32, back: u32) -> ir::Block {
        let back = either(Fault::ClifLeaveKeepsGas, 0, back);
        self.cold(|this| {
            this.emit_moves(|_| planted(Fault::ClifLeaveLosesWords));
            let height = this.state.height();
            if height != this.state.saved_top {
                let (top, position) = this.top();
                let top = this.e.offset(top, 32 * i64::from(height - position));
                this.store_field(at::TOP, top);
            }
            let at = this.e.iconst(types::I64, pc.into());
            match this.gas {
                Some(gas) => {
                    let gas = this.gas_and(gas, back);
                    this.store_field(at::GAS, gas);
                    let exit = this.e.iconst(types::I32, Exit::LEAVE.0.into());
                    this.e.jump(this.exit_block, &[at, exit]);
                }
                None => {
                    let back = this.e.iconst(types::I64, back.into());
                    this.e.jump(this.leave_block, &[at, back]);
                }
            }
        })
    }

    /// Where to go if the instruction cannot be done: nothing of it has been.
    pub(super) fn leave(&mut self, inst: &Inst) -> ir::Block {
        if !self.run.restartable || self.gas.is_some() {
            let cost = u32::from(self.program.rules.gas_of(inst.opcode));
            return self.leave_at(inst.pc, self.run.gas - self.run.spent + cost);
        }
        if let Some(stub) = self.run.stub {
            return stub;
        }
        let (pc, back) = (self.run.pc, self.run.gas);
        let stub = self.cold(|this| {
            let pc = this.e.iconst(types::I64, pc.into());
            let back = this.e.iconst(types::I64, back.into());
            this.e.jump(this.leave_block, &[pc, back]);
        });
        self.run.stub = Some(stub);
        stub
    }

    /// Leaves to `inst`, whose operands are still on the virtual stack. Control does not go on.
    pub(super) fn leave_here(&mut self, inst: &Inst) {
        let leave = self.leave(inst);
        self.e.jump(leave, &[]);
    }

    /// Ends the function at `pc`, where everything but that is in the frame.
    pub(super) fn exit(&mut self, at: u64, exit: Exit) {
        let pc = self.e.iconst(types::I64, at);
        let exit = self.e.iconst(types::I32, exit.0.into());
        self.e.jump(self.exit_block, &[pc, exit]);
    }

    /// Ends the function with a shim's answer.
    pub(super) fn exit_with(&mut self, answer: ir::Value) {
        self.e.jump(self.return_block, &[answer]);
    }

    /// Leaves to `pc` with gas to give back, both values; all else is in the frame.
    pub(super) fn leave_with(&mut self, pc: ir::Value, back: ir::Value) {
        self.e.jump(self.leave_block, &[pc, back]);
    }

    /// Before a leave that may have to write back: keeps that short.
    pub(super) fn tidy(&mut self) {
        let (may, max) = match self.gas {
            Some(_) => (true, MAX_DIRTY_IN_LOOP),
            None => (!self.run.restartable, MAX_DIRTY),
        };
        if may && self.state.dirty().nth(max).is_some() {
            self.flush(|_| false);
        }
    }
}
