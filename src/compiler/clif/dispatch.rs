//! Ways into the program: from outside, and by jumps whose target is not known when compiling.
//!
//! A frame enters by a table over the index of its entry point. A jump goes by a table over a
//! multiplicative hash of its target, with at least as many places as there are destinations; at a place
//! the target is compared with the destinations that hash there, and the frame with what the
//! destination demands. Where nothing fits, the interpreter does the jump.

use super::{Part, generate::Generator};
use crate::{
    compiler::{blocks::possible, effect::op},
    frame::{LOOP_EXITS, at},
};
use cranelift_codegen::ir::{self, InstBuilder, condcodes::IntCC, types};

/// Fibonacci hashing: 2^32 over the golden ratio.
const MULTIPLIER: u32 = 0x9e37_79b9;

/// The place of a target in a table of `1 << bits`.
fn place(target: u32, bits: u32) -> usize {
    (target.wrapping_mul(MULTIPLIER) >> (32 - bits)) as usize
}

impl Generator<'_> {
    /// The blocks that a frame can enter, in the order of the entry table; of loops those that the rest
    /// leads to.
    pub(super) fn entered(&self) -> Vec<usize> {
        let all = 0..self.program.flow.len();
        match self.part {
            Part::Whole => all
                .filter(|&index| self.program.is_entered(index))
                .collect(),
            Part::Loops => self.loops.entered().to_vec(),
        }
    }

    fn table(&mut self, default: ir::Block, blocks: &[ir::Block]) -> ir::JumpTable {
        let pool = &mut self.e.func.dfg.value_lists;
        let mut call = |block| ir::BlockCall::new(block, [], pool);
        let default = call(default);
        let calls: Vec<ir::BlockCall> = blocks.iter().map(|&block| call(block)).collect();
        let data = ir::JumpTableData::new(default, &calls);
        self.e.func.create_jump_table(data)
    }

    pub(super) fn emit_entry_table(&mut self, first_block: ir::Block) {
        let blocks: Vec<ir::Block> = self
            .entered()
            .into_iter()
            .map(|index| self.enters[index])
            .collect();
        let first = blocks[0];
        if blocks.len() == 1 {
            self.e.jump(first, &[]);
            return;
        }
        let index = match self.part {
            Part::Whole => {
                let index = self.load_field(at::ENTRY);
                self.e.cursor().ins().ireduce(types::I32, index)
            }
            Part::Loops => self.params::<2>(first_block)[1],
        };
        let table = self.table(first, &blocks[1..]);
        // The first is what an index beyond the table leads to.
        let index = self.e.offset(index, -1);
        self.e.cursor().ins().br_table(index, table);
    }

    /// Where a canonical frame enters a block; for one that is not of the part, what answers so.
    pub(super) fn enter(&mut self, index: usize) -> ir::Block {
        let outside = self.part == Part::Loops && self.loops.carried(index).is_none();
        if outside && !self.exits.contains(&index) {
            self.exits.push(index);
        }
        self.enters[index]
    }

    pub(super) fn emit_exits(&mut self) {
        for (number, index) in self.exits.clone().into_iter().enumerate() {
            self.place(self.enters[index], true);
            let answer = self
                .e
                .iconst(types::I32, u64::from(LOOP_EXITS) + number as u64);
            self.exit_with(answer);
        }
    }

    /// The block that jumps of this kind go through. Takes the target and the jump's program
    /// counter; the frame is canonical, as before the jump.
    pub(super) fn dispatch_block(&mut self, conditional: bool) -> ir::Block {
        if let Some(block) = self.dispatch[usize::from(conditional)] {
            return block;
        }
        let block = self.e.func.dfg.make_block();
        for _ in 0..2 {
            self.e.func.dfg.append_block_param(block, types::I64);
        }
        self.dispatch[usize::from(conditional)] = Some(block);
        block
    }

    pub(super) fn emit_dispatch(&mut self) {
        if self.dispatch == [None; 2] {
            return;
        }
        // What both kinds come to: target, program counter, gas to give back, the top after the jump.
        let common = self.e.func.dfg.make_block();
        for _ in 0..4 {
            self.e.func.dfg.append_block_param(common, types::I64);
        }
        for (conditional, opcode, words) in [(false, op::JUMP, 1), (true, op::JUMPI, 2)] {
            let Some(block) = self.dispatch[usize::from(conditional)] else {
                continue;
            };
            self.place(block, true);
            let [target, pc] = self.params(block);
            let back = self
                .e
                .iconst(types::I64, self.program.rules.gas_of(opcode).into());
            let top = self.load_field(at::TOP);
            let top = self.e.offset(top, -32 * words);
            self.e.jump(common, &[target, pc, back, top]);
        }
        self.place(common, true);
        let [target, pc, back, top] = self.params(common);
        let bottom = self.load_field(at::STACK);
        let memory = self.load_field(at::MEMORY_LEN);
        let gas = self.load_field(at::GAS);
        let fail = self.cold(|this| this.leave_with(pc, back));

        // C3
        let dynamic = |block: u32| self.program.flow[block as usize].edges.dynamic;
        let jumpdests = self.program.blocks.jumpdests.iter();
        let jumpdests: Vec<(u32, u32)> = jumpdests
            .copied()
            .filter(|&(_, block)| dynamic(block))
            .collect();
        let bits = jumpdests.len().max(2).next_power_of_two().ilog2();
        let mut places: Vec<Vec<(u32, u32)>> = vec![Vec::new(); 1 << bits];
        for (pc, block) in jumpdests {
            places[place(pc, bits)].push((pc, block));
        }
        let blocks: Vec<ir::Block> = places
            .iter()
            .map(|found| {
                if found.is_empty() {
                    fail
                } else {
                    self.e.func.dfg.make_block()
                }
            })
            .collect();
        let hash = self.e.cursor().ins().ireduce(types::I32, target);
        let multiplier = self.e.iconst(types::I32, MULTIPLIER.into());
        let hash = self.e.cursor().ins().imul(hash, multiplier);
        let hash = self.e.cursor().ins().ushr_imm_u(hash, i64::from(32 - bits));
        let table = self.table(fail, &blocks);
        self.e.cursor().ins().br_table(hash, table);

        for (found, block) in places.into_iter().zip(blocks) {
            if found.is_empty() {
                continue;
            }
            self.place(block, true);
            let last = found.len() - 1;
            for (i, (pc, to)) in found.into_iter().enumerate() {
                let differs = self.e.icmp_imm(IntCC::NotEqual, target, pc.into());
                if i == last {
                    self.branch(differs, fail);
                    self.arrive(to as usize, [top, bottom, memory, gas], fail);
                } else {
                    let (this, next) = (self.e.new_block(true), self.e.new_block(true));
                    self.e.brif(differs, next, this);
                    self.e.block = this;
                    self.arrive(to as usize, [top, bottom, memory, gas], fail);
                    self.e.block = next;
                }
            }
        }
    }

    /// Compares the frame with what a destination demands, and enters it.
    fn arrive(&mut self, index: usize, frame: [ir::Value; 4], fail: ir::Block) {
        let [top, bottom, memory, gas] = frame;
        let demand = self.program.flow[index].demand;
        if !possible(demand.needs, demand.grows) {
            self.e.jump(fail, &[]);
            return;
        }
        let out = self.out_of_bounds(top, bottom, demand.needs, demand.grows);
        self.branch(out, fail);
        for (has, needs) in [(memory, demand.memory), (gas, demand.gas)] {
            if needs > 0 {
                let lacks = self.e.icmp_imm(IntCC::UnsignedLessThan, has, needs.into());
                self.branch(lacks, fail);
            }
        }
        self.store_field(at::TOP, top);
        self.e.jump(self.enters[index], &[]);
    }
}
