//! Ways from block to block, boundary instructions, and what the interpreter steps over.
//!
//! At the end of a block the stack is canonical, the top's place in the frame included, unless the way
//! stays inside a loop: then what the loop's blocks pass on are arguments.

use super::{
    Part,
    generate::{Gas, Generator},
    state::{Data, Val},
};
use crate::{
    compiler::{
        decode::Inst,
        effect::op,
        fault::{Fault, planted},
        flow::falls_freely,
        limbs::{Limb, Region},
    },
    frame::{Exit, STACK_LIMIT, at, boundary_operand},
};
use cranelift_codegen::ir::{self, InstBuilder, condcodes::IntCC, types};

impl Generator<'_> {
    /// Makes a loop's block take its parameters.
    pub(super) fn take_params(&mut self, index: usize) {
        let Some(carried) = self.loops.carried(index) else {
            return;
        };
        let lowest = carried.iter().map(|word| word.position).min().unwrap_or(0);
        self.state.ensure(lowest.unsigned_abs() as u16);
        let block = self.bodies[index];
        self.state.saved_top = self.start - self.loops.height(index);
        let gas = self.e.func.dfg.append_block_param(block, types::I64);
        self.gas = Some(Gas::new(gas));
        for word in carried {
            let mut limbs = [Some(Limb::ZERO); 4];
            for limb in &mut limbs[..word.limbs()] {
                *limb = Some(Limb::Val(
                    self.e.func.dfg.append_block_param(block, types::I64),
                ));
            }
            let position = self.start + word.position;
            let mut data = Data::new(limbs, word.bits);
            data.home = (!word.written).then_some(position);
            data.counter = word.speculated;
            let val = self.state.add(data);
            self.state.set(position, val);
        }
    }

    /// Canonical frames enter a loop's blocks through blocks that load the parameters.
    pub(super) fn prepare_enters(&mut self) {
        for index in 0..self.bodies.len() {
            let block = &self.program.blocks.blocks[index];
            if self.loops.carried(index).is_some() && (block.jumpdest || block.enterable) {
                self.enters[index] = self.e.func.dfg.make_block();
            }
        }
    }

    pub(super) fn emit_enters(&mut self) {
        for index in 0..self.bodies.len() {
            let (enter, body) = (self.enters[index], self.bodies[index]);
            let Some(carried) = self.loops.carried(index).filter(|_| enter != body) else {
                continue;
            };
            self.place(enter, true);
            let top = self.load_field(at::TOP);
            let gas = self.load_field(at::GAS);
            let mut args = vec![gas];
            let mut above = Limb::ZERO;
            for word in carried {
                for i in 0..4 {
                    if i >= word.limbs() && !word.speculated {
                        continue;
                    }
                    let offset = 32 * word.position + 8 * i as i32;
                    let limb = self.e.load(types::I64, Region::Stack, top, offset);
                    if i < word.limbs() {
                        args.push(limb);
                    } else {
                        above = self.e.or(above, Limb::Val(limb));
                    }
                    if word.speculated && i + 1 == word.limbs() {
                        let high = self.e.shr_imm(Limb::Val(limb), super::loops::COUNTER_BITS);
                        above = self.e.or(above, high);
                    }
                }
            }
            if let Limb::Val(above) = above
                && !planted(Fault::ClifGuessIsBelieved)
            {
                let pc = self.program.blocks.blocks[index].pc;
                let leave = self.cold(|this| this.exit(pc.into(), Exit::LEAVE));
                self.branch(above, leave);
            }
            let height = self.loops.height(index);
            if height != 0 && !planted(Fault::ClifTopIsTheBase) {
                let base = self.e.offset(top, -32 * i64::from(height));
                self.store_field(at::TOP, base);
            }
            self.e.jump(body, &args);
        }
    }

    /// The arguments for a block of the same loop; everything else is in stack memory.
    fn edge_args(&mut self, target: usize) -> Option<Vec<ir::Value>> {
        let gas = self.gas?;
        let carried = self.loops.carried(target)?;
        let height = self.state.height();
        let mut args = Vec::with_capacity(1 + 4 * carried.len());
        args.push(if planted(Fault::ClifLoopIsFree) {
            gas.value
        } else {
            self.gas_and(gas, 0)
        });
        for word in carried {
            let val = self.state.get(height + word.position)?;
            for i in 0..word.limbs() {
                let limb = self.limb(val, i);
                args.push(self.e.value(limb));
            }
        }
        Some(args)
    }

    /// Whether the way to `target` has to check a guess about what is passed on.
    fn doubts(&self, target: usize) -> bool {
        let height = self.state.height();
        self.loops
            .carried(target)
            .unwrap_or_default()
            .iter()
            .any(|word| {
                let val = self.state.get(height + word.position);
                word.speculated && val.is_none_or(|val| self.state.at(val).bits > word.bits)
            })
    }

    /// Leaves to the start of `target` if a guess about what is passed on is wrong.
    fn check_guesses(&mut self, target: usize) {
        let height = self.state.height();
        for word in self.loops.carried(target).unwrap_or_default() {
            let Some(val) = self.state.get(height + word.position) else {
                continue;
            };
            if !word.speculated || self.state.at(val).bits <= word.bits {
                continue;
            }
            let limbs = self.word(val);
            let high = self.e.shr_imm(limbs.0[0], super::loops::COUNTER_BITS);
            let above = self.e.union(&limbs, 1);
            let above = self.e.or(high, above);
            let above = self.e.value(above);
            if planted(Fault::ClifGuessIsBelieved) {
                continue;
            }
            let leave = self.leave_at(self.program.blocks.blocks[target].pc, 0);
            self.branch(above, leave);
        }
    }

    /// Where the way to `target` enters it, with which arguments, once all else is in place.
    fn settle(&mut self, index: usize, target: usize) -> (ir::Block, Vec<ir::Value>) {
        if self.loops.joined(index, target) {
            self.check_guesses(target);
        }
        if self.loops.joined(index, target)
            && let Some(args) = self.edge_args(target)
        {
            let height = self.state.height();
            let carried = self.loops.carried(target).unwrap_or_default();
            // One that no block writes stands in memory all along; that is where others may have stood.
            self.flush(|position| {
                carried.iter().any(|word| {
                    height + word.position == position
                        && (word.written || planted(Fault::ClifSlotIsKept))
                })
            });
            return (self.bodies[target], args);
        }
        self.settle_all();
        (self.enter(target), Vec::new())
    }

    /// Makes the frame canonical.
    fn settle_all(&mut self) {
        self.flush(|_| false);
        self.save_top();
        if let Some(gas) = self.gas.take()
            && !planted(Fault::ClifLoopKeepsGas)
        {
            let gas = self.gas_and(gas, 0);
            self.store_field(at::GAS, gas);
        }
    }

    /// Goes on to the next block.
    pub(super) fn fall(&mut self, index: usize) {
        let program = self.program;
        let next = program.blocks.blocks[index].next as usize;
        let block = &program.blocks.blocks[next];
        let stays = self.loops.joined(index, next);
        if !falls_freely(program.blocks, program.flow, index) {
            self.settle_all();
            self.check_stack(next);
        }
        let outside = self.part == Part::Loops && !stays;
        if block.jumpdest || block.enterable || outside || next != index + 1 {
            let (to, args) = self.settle(index, next);
            self.e.jump(to, &args);
            return;
        }
        if !stays {
            self.settle_all();
        }
        self.inherited = true;
    }

    /// Compares the stack with a block's demand, for falling into it where D1 does not hold.
    fn check_stack(&mut self, next: usize) {
        let demand = self.program.flow[next].demand;
        let pc = self.program.blocks.blocks[next].pc;
        let top = self.load_field(at::TOP);
        let bottom = self.load_field(at::STACK);
        let out = self.out_of_bounds(top, bottom, demand.needs, demand.grows);
        let leave = self.cold(|this| this.exit(pc.into(), Exit::LEAVE));
        self.branch(out, leave);
    }

    /// Whether a stack between these does not meet a demand.
    pub(super) fn out_of_bounds(
        &mut self,
        top: ir::Value,
        bottom: ir::Value,
        needs: u16,
        grows: u16,
    ) -> ir::Value {
        // Both bounds in one comparison: what is below the lower one wraps.
        let room = STACK_LIMIT.saturating_sub(usize::from(needs) + usize::from(grows));
        let len = self.e.cursor().ins().isub(top, bottom);
        let above = self.e.offset(len, -32 * i64::from(needs));
        self.e
            .icmp_imm(IntCC::UnsignedGreaterThan, above, 32 * room as i64)
    }

    /// JUMP or JUMPI, at the end of block `index`.
    pub(super) fn jump(&mut self, index: usize, inst: &Inst) {
        let conditional = inst.opcode == op::JUMPI;
        let Some(target) = self.state.peek(0) else {
            return self.leave_here(inst);
        };
        if let Some(target) = self.known(target)
            && self.program.blocks.target(target).is_none()
        {
            // JUMP fails; JUMPI fails, or does nothing.
            return if conditional {
                self.step_here(inst)
            } else {
                self.leave_here(inst)
            };
        }
        let Some(to) = self.program.flow[index].edges.target else {
            return self.jump_by_table(index, inst, conditional);
        };
        let to = to as usize;
        self.state.pop();
        if !conditional {
            let (to, args) = self.settle(index, to);
            self.e.jump(to, &args);
            return;
        }
        let condition = self.state.pop();
        if let Some(condition) = self.known(condition) {
            if condition.is_zero() {
                return self.fall(index);
            }
            let (to, args) = self.settle(index, to);
            self.e.jump(to, &args);
            return;
        }
        let tested = if planted(Fault::ClifZeroIsNotZero) {
            Some(condition)
        } else {
            self.state.at(condition).zero_of
        };
        let condition = self.truth(condition);
        let next = self.e.func.dfg.make_block();
        let behind = self.program.blocks.blocks[index].next as usize;
        let stays = [to, behind].map(|to| self.loops.joined(index, to));
        if self.gas.is_some() && (stays != [true; 2] || self.doubts(to)) {
            // What one of the ways only has to do is done in a block of its own.
            let way = if stays[0] && !self.doubts(to) {
                None
            } else {
                Some(self.e.func.dfg.make_block())
            };
            match way {
                Some(way) => self.e.brif(condition, way, next),
                None => {
                    let (to, args) = self.settle(index, to);
                    self.brif_args(condition, to, &args, next);
                }
            }
            if let Some(way) = way {
                let gas = self.gas;
                let state = self.state.clone();
                self.place(way, false);
                let (to, args) = self.settle(index, to);
                self.e.jump(to, &args);
                self.state = state;
                self.gas = gas;
            }
        } else {
            let (to, args) = self.settle(index, to);
            self.brif_args(condition, to, &args, next);
        }
        self.place(next, false);
        if let Some(tested) = tested {
            self.state.at_mut(tested).nonzero = true;
        }
        self.fall(index);
    }

    fn brif_args(&mut self, cond: ir::Value, to: ir::Block, args: &[ir::Value], next: ir::Block) {
        let args: Vec<ir::BlockArg> = args.iter().map(|&arg| arg.into()).collect();
        self.e.cursor().ins().brif(cond, to, &args, next, &[]);
    }

    /// A value that is not zero iff the word is not.
    pub(super) fn truth(&mut self, val: Val) -> ir::Value {
        let word = self.word(val);
        match self.e.union(&word, 0) {
            Limb::Flag(value) | Limb::Val(value) => value,
            Limb::Const(value) => self.e.iconst(types::I8, u64::from(value != 0)),
        }
    }

    /// A jump whose target is not known here.
    fn jump_by_table(&mut self, index: usize, inst: &Inst, conditional: bool) {
        let Some(target) = self.state.peek(0) else {
            return self.leave_here(inst);
        };
        let low = self.limb(target, 0);
        let word = self.word(target);
        let above = self.e.union(&word, 1);
        let mut target = self.e.value(low);
        if !above.is_zero() {
            // Beyond any program counter.
            let above = self.e.is_nonzero(above);
            target = match above {
                Limb::Flag(above) => {
                    let none = self.e.iconst(types::I64, u64::MAX);
                    self.e.select_values(above, none, target)
                }
                _ => self.e.iconst(types::I64, u64::MAX),
            };
        }
        let condition = match self.state.peek(1) {
            Some(condition) if conditional => match self.known(condition) {
                Some(known) if known.is_zero() => {
                    self.state.pop();
                    self.state.pop();
                    return self.fall(index);
                }
                Some(_) => None,
                None => Some(self.truth(condition)),
            },
            _ => None,
        };
        self.settle_all();
        let dispatch = self.dispatch_block(conditional);
        let pc = self.e.iconst(types::I64, inst.pc.into());
        let Some(condition) = condition else {
            self.e.jump(dispatch, &[target, pc]);
            return;
        };
        let next = self.e.func.dfg.make_block();
        let args = [target.into(), pc.into()];
        self.e
            .cursor()
            .ins()
            .brif(condition, dispatch, &args, next, &[]);
        self.place(next, false);
        self.state.pop();
        self.state.pop();
        self.fall(index);
    }

    /// An instruction of the caller's table. Its static gas is part of the run that it ends.
    pub(super) fn boundary(&mut self, inst: &Inst) {
        self.settle_all();
        let frame = self.frame();
        let operand = self
            .e
            .iconst(types::I64, boundary_operand(inst.pc, inst.opcode));
        if let Some(answer) = self.call(self.shim, at::BOUNDARY, [frame, operand]) {
            let answer = self.e.cursor().ins().ireduce(types::I32, answer);
            let out = self.cold(|this| this.exit_with(answer));
            self.branch(answer, out);
        }
        self.state.cross(inst.inputs, inst.outputs);
    }

    /// An instruction that the interpreter steps over, whose gas was not charged.
    pub(super) fn step(&mut self, inst: &Inst) {
        self.settle_all();
        self.exit(boundary_operand(inst.pc, inst.opcode), Exit::STEP);
    }

    /// The same for one whose gas was charged.
    fn step_here(&mut self, inst: &Inst) {
        self.settle_all();
        let cost = self.program.rules.gas_of(inst.opcode);
        let gas = self.load_field(at::GAS);
        let gas = self.e.offset(gas, cost.into());
        self.store_field(at::GAS, gas);
        self.exit(boundary_operand(inst.pc, inst.opcode), Exit::STEP);
    }
}
