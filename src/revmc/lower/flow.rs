//! Control flow: placing blocks, edges between them, and the values that joins receive.

use super::{
    Lowering,
    blocks::{BasicBlock, Block, Role, dispatch, has_edge, is_push, pass, redirect, trampoline},
    param,
    stack::{Bounds, StackCache},
    value::{Data, Type, Value},
};
use crate::compiler::limbs::{Limb, Region};
use crate::frame::STACK_LIMIT;
use crate::revmc::TranslateError;
use crate::revmc::builtins::CONTINUE;
use crate::revmc::program::MAX_RESUME_INDEX;
use cranelift_codegen::ir::{self, InstBuilder, condcodes::IntCC, types};
use revmc::interpreter::InstructionResult;

/// Traps of compiled code mark places that invariants make unreachable.
const UNREACHABLE: u8 = 1;

impl Lowering {
    pub(super) fn new_basic_block(&mut self, name: &str) -> BasicBlock {
        let role = Role::of(name).unwrap_or_else(|| {
            self.refuse(format!("block {name:?}"));
            Role::Exit
        });
        let entry = self.e.func.dfg.make_block();
        let param = match name {
            "return" | "failure" => Some(types::I8),
            "suspend" => Some(types::I32),
            "dynamic_jump_table" => Some(types::I64),
            _ => None,
        };
        if let Some(ty) = param {
            self.e.func.dfg.append_block_param(entry, ty);
        }
        if name == "return" {
            self.return_block = Some(entry);
        }
        let block = Block {
            role,
            is_push: is_push(name),
            entry,
            end: None,
            placed: false,
            dead: false,
            merged: false,
            from: None,
            continues: false,
        };
        self.blocks.push(block);
        BasicBlock(self.blocks.len() as u32 - 1)
    }

    fn block(&mut self, block: BasicBlock) -> &mut Block {
        &mut self.blocks[block.0 as usize]
    }

    pub(super) fn place(&mut self, block: BasicBlock) {
        self.begin(block);
        let Block { role, is_push, .. } = *self.block(block);
        if role != Role::Continued {
            let depth = self.stack.as_ref().map(StackCache::depth);
            self.push_at = depth.filter(|_| is_push);
        }
    }

    fn begin(&mut self, block: BasicBlock) {
        let previous = self.current.replace(block);
        let Block {
            role,
            entry,
            placed,
            merged,
            dead,
            from,
            ..
        } = *self.block(block);
        if placed {
            return self.refuse("a block filled twice");
        }
        self.block(block).placed = true;
        if dead || (role == Role::Continued && from.is_none()) {
            self.block(block).continues = true;
            return self.e.die(&mut self.pit);
        }
        self.e.revive();
        if !merged {
            self.e.func.layout.append_block(entry);
        }
        self.e.block = entry;

        let continues = match role {
            Role::Continued => true,
            Role::Instruction if from.is_some() => {
                // K1: the translator fills blocks in the order of the code.
                if from != previous {
                    self.refuse("a block entered from afar");
                }
                true
            }
            _ => false,
        };
        if continues {
            self.block(block).continues = true;
            return;
        }
        self.gas = None;
        self.frame.enter_block();
        if matches!(role, Role::Join | Role::Instruction) {
            self.memory.enter_block();
        }
        self.stack = match role {
            Role::Join | Role::Instruction => {
                let base = self.frame_value(param::STACK);
                Some(StackCache::new(&mut self.e, self.home, base))
            }
            _ => None,
        };
    }

    /// Accounts for an edge from the current block, before the branch is emitted.
    fn edge_to(&mut self, to: BasicBlock) -> ir::Block {
        if self.e.is_dead() {
            let block = self.block(to);
            block.dead |= !block.placed
                && block.from.is_none()
                && matches!(block.role, Role::Instruction | Role::Continued);
            return block.entry;
        }
        let from = self.current;
        let Block {
            role,
            entry,
            placed,
            continues,
            from: first,
            ..
        } = *self.block(to);
        let needs_stack_in_memory = match role {
            Role::Join | Role::Suspend | Role::DynamicJump => true,
            Role::Instruction if placed => {
                if continues {
                    self.refuse("a second edge into an instruction");
                }
                true
            }
            Role::Instruction => {
                if first.is_some() {
                    self.refuse("two edges into an instruction");
                }
                self.block(to).from = from;
                false
            }
            Role::Continued => {
                self.block(to).from = from;
                false
            }
            Role::Exit | Role::Prologue => false,
        };
        // K2
        if needs_stack_in_memory && let Some(stack) = &mut self.stack {
            stack.flush(&mut self.e);
        }
        entry
    }

    /// Closes the current block: its branch is the last thing emitted.
    fn end_block(&mut self) {
        let end = self.e.block;
        if let Some(current) = self.current {
            self.block(current).end = Some(end);
        }
    }

    /// Leaves the function if a PUSH that has pushed nothing has no room for its word: the target of a jump
    /// that is known. The front end skips it, with the check of the section that may begin with it.
    fn require_room(&mut self) {
        let Some(stack) = &mut self.stack else {
            return;
        };
        let depth = stack.depth();
        if self.push_at != Some(depth) {
            return;
        }
        let bounds = stack.above(depth, STACK_LIMIT as i64 - 1);
        self.exit_outside(bounds, InstructionResult::StackOverflow);
    }

    /// Leaves the function with this status if the stack is outside of bounds that are not known to be kept.
    pub(super) fn exit_outside(&mut self, bounds: Option<Bounds>, status: InstructionResult) {
        let (Some(stack), Some(bounds)) = (&self.stack, bounds) else {
            return;
        };
        let is_outside = stack.is_outside(&mut self.e, bounds);
        let is_outside = self.e.value(is_outside);
        self.exit_if(is_outside, status);
    }

    pub(super) fn branch_to(&mut self, to: BasicBlock) {
        if !self.e.is_dead() && self.block(to).role != Role::Exit {
            self.require_room();
        }
        let entry = self.edge_to(to);
        if self.e.is_dead() {
            return;
        }
        let here = self.e.block;
        let block = self.block(to);
        if matches!(block.role, Role::Instruction | Role::Continued) && !block.placed {
            // K1: nothing else will ever lead there, so to Cranelift it is the same block.
            block.entry = here;
            block.merged = true;
        } else {
            self.e.jump(entry, &[]);
            self.end_block();
        }
    }

    pub(super) fn branch_if(&mut self, cond: Value, then: BasicBlock, otherwise: BasicBlock) {
        let roles = [then, otherwise].map(|to| self.block(to).role);
        if roles.contains(&Role::Instruction) {
            self.memory.end_prefix();
        }
        let cond = match self.flag(cond) {
            Limb::Const(0) => return self.branch_to(otherwise),
            Limb::Const(_) => return self.branch_to(then),
            Limb::Flag(cond) | Limb::Val(cond) => cond,
        };
        let then = self.edge_to(then);
        let otherwise = self.edge_to(otherwise);
        if !self.e.is_dead() {
            self.e.brif(cond, then, otherwise);
            self.end_block();
        }
    }

    pub(super) fn switch_on(
        &mut self,
        index: Value,
        default: BasicBlock,
        targets: &[(u64, BasicBlock)],
    ) {
        let role = self.current.map(|current| self.block(current).role);
        let index = match self.values.get(index) {
            Data::Scalar(Type::Int(64), value) => value,
            Data::Scalar(_, value) => self.e.cursor().ins().uextend(types::I64, value),
            _ => return self.refuse("a switch on something else than a scalar"),
        };
        let targets: Vec<(u64, ir::Block)> = targets
            .iter()
            .map(|&(key, block)| (key, self.edge_to(block)))
            .collect();
        let is_resume = role == Some(Role::Prologue);
        if is_resume {
            self.check_resumed_memory();
        }
        // A block of its own for the default edge, which a join may redirect.
        let default_entry = self.edge_to(default);
        let default = self.e.new_block(true);
        dispatch(&mut self.e, index, default, &targets);
        self.e.block = default;
        self.e.jump(default_entry, &[]);
        self.end_block();

        let highest = targets.iter().map(|&(key, _)| key).max().unwrap_or(0);
        if role == Some(Role::DynamicJump) {
            let entry = self.current.map(|current| self.block(current).entry);
            for (from, target) in std::mem::take(&mut self.constant_jumps) {
                let found = targets.binary_search_by_key(&target, |&(key, _)| key);
                let to = found.map_or(default, |i| targets[i].1);
                if let Some(entry) = entry {
                    redirect(&mut self.e, from, entry, to);
                }
            }
        } else if highest > MAX_RESUME_INDEX as u64 {
            self.error
                .get_or_insert(TranslateError::TooManyResumePoints(targets.len()));
        } else {
            self.resume_points = highest as u32;
        }
    }

    /// The value that the current block, a join, receives from each of `incoming`.
    pub(super) fn join(&mut self, ty: Type, incoming: &[(Value, BasicBlock)]) -> Value {
        let Some(current) = self.current else {
            return self.add(Data::Const(ty, 0));
        };
        let Block { role, entry, .. } = *self.block(current);
        let Some(&param) = self.e.func.dfg.block_params(entry).first() else {
            self.refuse("a phi in a block that joins nothing");
            return self.add(Data::Const(ty, 0));
        };
        let param_type = self.e.func.dfg.value_type(param);
        for &(value, from) in incoming {
            // A branch on a constant may have left the edge out.
            let Some(end) = self.block(from).end else {
                continue;
            };
            if !has_edge(&mut self.e, end, entry) {
                continue;
            }
            match self.values.get(value) {
                Data::Const(_, constant) => {
                    let to = trampoline(
                        &mut self.e,
                        &mut self.trampolines,
                        entry,
                        param_type,
                        constant,
                    );
                    redirect(&mut self.e, end, entry, to);
                }
                Data::StackFault(fault) => {
                    let block = self.e.new_block(true);
                    redirect(&mut self.e, end, entry, block);
                    let here = std::mem::replace(&mut self.e.block, block);
                    let status = fault.status(&mut self.e);
                    self.e.jump(entry, &[status]);
                    self.e.block = here;
                }
                Data::Scalar(_, value) if self.e.func.dfg.value_type(value) == param_type => {
                    let target = match self.return_block {
                        Some(exit) if exit == entry => self.landing().unwrap_or(entry),
                        _ => entry,
                    };
                    redirect(&mut self.e, end, entry, target);
                    pass(&mut self.e, end, target, value);
                }
                Data::Word(word) if role == Role::DynamicJump => match word.as_const() {
                    Some(target) => {
                        let target = u64::try_from(target).unwrap_or(u64::MAX);
                        self.constant_jumps.push((end, target));
                    }
                    None => {
                        let target = self.e.before_end_of(end, |e| {
                            let high = e.union(&word, 1);
                            let target = match e.is_nonzero(high) {
                                Limb::Const(0) => word.0[0],
                                Limb::Const(_) => Limb::Const(u64::MAX),
                                Limb::Flag(cond) | Limb::Val(cond) => {
                                    e.select(cond, Limb::Const(u64::MAX), word.0[0])
                                }
                            };
                            e.value(target)
                        });
                        pass(&mut self.e, end, entry, target);
                    }
                },
                _ => self.refuse("a phi of something else than scalars"),
            }
        }
        let ty = if role == Role::DynamicJump {
            Type::Int(64)
        } else {
            ty
        };
        self.scalar(ty, param)
    }

    /// A block that passes the status it receives on to the block that returns.
    ///
    /// There is a new one for every few edges, and what they pass on takes its way through memory:
    /// a register allocator takes time quadratic in the number of values that meet in one block.
    fn landing(&mut self) -> Option<ir::Block> {
        const EDGES: u32 = 16;
        if let Some((block, edges)) = &mut self.landing
            && *edges < EDGES
        {
            *edges += 1;
            return Some(*block);
        }
        let target = self.return_block?;
        let here = self.e.block;
        let slot = self.scratch.slot;
        let exit = match self.exit {
            Some(exit) => exit,
            None => {
                let exit = self.e.new_block(true);
                self.e.block = exit;
                let address = self.e.slot_address(slot);
                let status = self.e.load(types::I8, Region::Context, address, 0);
                self.e.jump(target, &[status]);
                self.exit = Some(exit);
                exit
            }
        };
        let block = self.e.new_block(true);
        let status = self.e.func.dfg.append_block_param(block, types::I8);
        self.e.block = block;
        let address = self.e.slot_address(slot);
        self.e.store(Region::Context, status, address, 0);
        self.e.jump(exit, &[]);
        self.e.block = here;
        self.landing = Some((block, 1));
        Some(block)
    }

    /// Leaves the function with this status if `cond` is not zero.
    pub(super) fn exit_if(&mut self, cond: ir::Value, status: InstructionResult) {
        let ready = self.e.new_block(false);
        let status = self.e.iconst(types::I8, status as u64);
        let fine = self.e.iconst(types::I8, CONTINUE);
        let status = self.e.select_values(cond, status, fine);
        self.exit_unless_continue(status, ready);
        self.e.block = ready;
    }

    /// Leaves the function with `status` unless that is to continue, which is done at `ready`.
    pub(super) fn exit_unless_continue(&mut self, status: ir::Value, ready: ir::Block) {
        if self.e.is_dead() {
            return;
        }
        let Some(exit) = self.landing() else {
            return self.refuse("an exit before there is a return block");
        };
        let failed = self.e.icmp_imm(IntCC::NotEqual, status, CONTINUE as i64);
        let arg = status.into();
        self.e.cursor().ins().brif(failed, exit, &[arg], ready, &[]);
    }

    pub(super) fn trap(&mut self) {
        if self.e.is_dead() {
            return;
        }
        if let Some(code) = ir::TrapCode::user(UNREACHABLE) {
            // The front end ends a block after a call that does not return.
            if self
                .e
                .func
                .layout
                .last_inst(self.e.block)
                .is_none_or(|inst| !self.e.func.dfg.insts[inst].opcode().is_terminator())
            {
                self.e.cursor().ins().trap(code);
            }
        }
        self.end_block();
    }

    pub(super) fn return_value(&mut self, value: Value) {
        let status = match self.values.get(value) {
            Data::Scalar(_, value) => value,
            Data::Const(_, status) => self.e.iconst(types::I8, status),
            _ => return self.refuse("a return of something else than a status"),
        };
        self.e.cursor().ins().return_(&[status]);
        self.end_block();
    }
}
