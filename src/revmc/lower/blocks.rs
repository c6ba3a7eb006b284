//! Basic blocks: which of them continue their predecessor's operand stack, and how late values
//! reach the blocks that join many paths.
//!
//! The front end names its blocks; the names are the only thing that tells them apart, and the
//! ones that matter are listed in [`Role`]. It also asks for a `phi` only after all branches to a
//! block exist. A branch whose value is a constant is then redirected to a trampoline that supplies
//! it, of which there is one for each constant; any other gets the value as a block argument.
//!
//! # Invariants
//!
//! * **K1** A block that continues its predecessor's stack has that predecessor alone. A second
//!   edge to it is an error, not a miscompilation.
//! * **K2** Every edge to a block that does not continue a stack, and reads one, is emitted after
//!   the stack was flushed (S1).

use crate::compiler::limbs::Emit;
use cranelift_codegen::ir::{self, InstBuilder, types};
use std::collections::BTreeMap;

/// A block of the front end: an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::revmc) struct BasicBlock(pub(super) u32);

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The rest of an instruction after a check; entered from the check only.
    Continued,
    /// An instruction that can be jumped to, or the function's first.
    Join,
    /// Any other instruction.
    Instruction,
    /// Ends the call; the operand stack is of no interest any more.
    Exit,
    /// Ends the call, to be resumed: the operand stack has to be in memory.
    Suspend,
    /// Dispatches a jump to a computed target.
    DynamicJump,
    /// The calling convention's prologue.
    Prologue,
}

impl Role {
    /// The role of a block with this name, or `None` for a name that the translator of the pinned
    /// revmc version does not give.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "unreachable" | "failure" | "return" => Self::Exit,
            "suspend" => Self::Suspend,
            "dynamic_jump_table" => Self::DynamicJump,
            "resume" | "resume_invalid" | "resume_is_zero" => Self::Prologue,
            _ if name.starts_with("entry.") => Self::Prologue,
            _ => {
                let rest = name.strip_prefix("op.")?;
                let (index, opcode) = rest.split_once('.')?;
                if opcode.ends_with(".contd") {
                    Self::Continued
                } else if opcode.ends_with(".panic") {
                    Self::Prologue
                } else if index == "0" || opcode == "JUMPDEST" {
                    Self::Join
                } else {
                    Self::Instruction
                }
            }
        })
    }
}

/// Whether a block with this name is a PUSH's, or goes on with one.
pub(super) fn is_push(name: &str) -> bool {
    let opcode = name
        .strip_prefix("op.")
        .and_then(|rest| rest.split_once('.'));
    opcode.is_some_and(|(_, opcode)| opcode.starts_with("PUSH"))
}

/// A basic block under construction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) role: Role,
    /// Whether its instruction is a PUSH.
    pub(super) is_push: bool,
    /// Where edges lead.
    pub(super) entry: ir::Block,
    /// Where its branch stands, once it has one: an instruction may have split the block, and a
    /// block that is merged with its successor has none.
    pub(super) end: Option<ir::Block>,
    /// Whether it has been filled, or is being filled.
    pub(super) placed: bool,
    /// Whether it is known that nothing leads to it.
    pub(super) dead: bool,
    /// Whether it is the rest of its predecessor's block, to Cranelift.
    pub(super) merged: bool,
    /// Where its first edge comes from.
    pub(super) from: Option<BasicBlock>,
    /// Whether it continues its predecessor's stack.
    pub(super) continues: bool,
}

/// The blocks that supply a constant to another block's parameter, by block and constant.
pub(super) type Trampolines = BTreeMap<(ir::Block, u64), ir::Block>;

/// Redirects the edges from the end of `from` to `target` so that they lead to `to`.
pub(super) fn redirect(e: &mut Emit, from: ir::Block, target: ir::Block, to: ir::Block) {
    for_each_edge(e, from, |call, pool| {
        if call.block(pool) == target {
            call.set_block(to, pool);
        }
    });
}

/// Appends an argument to the edges from the end of `from` to `target`.
pub(super) fn pass(e: &mut Emit, from: ir::Block, target: ir::Block, value: ir::Value) {
    for_each_edge(e, from, |call, pool| {
        if call.block(pool) == target {
            call.append_argument(value, pool);
        }
    });
}

pub(super) fn has_edge(e: &mut Emit, from: ir::Block, target: ir::Block) -> bool {
    let mut found = false;
    for_each_edge(e, from, |call, pool| found |= call.block(pool) == target);
    found
}

fn for_each_edge(
    e: &mut Emit,
    from: ir::Block,
    mut f: impl FnMut(&mut ir::BlockCall, &mut ir::ValueListPool),
) {
    let Some(inst) = e.func.layout.last_inst(from) else {
        return;
    };
    let dfg = &mut e.func.dfg;
    if !dfg.insts[inst].opcode().is_branch() {
        return;
    }
    let calls =
        dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    for call in calls {
        f(call, &mut dfg.value_lists);
    }
}

/// The trampoline that passes `constant` to the only parameter of `target`.
pub(super) fn trampoline(
    e: &mut Emit,
    trampolines: &mut Trampolines,
    target: ir::Block,
    ty: ir::Type,
    constant: u64,
) -> ir::Block {
    *trampolines.entry((target, constant)).or_insert_with(|| {
        let here = e.block;
        let block = e.new_block(true);
        e.block = block;
        let value = e.iconst(ty, constant);
        e.jump(target, &[value]);
        e.block = here;
        block
    })
}

/// Emits a jump to the block that `targets` gives for `index` (an `i64`), or to `default`.
///
/// Targets are found by their low bits: a table of blocks, then one comparison for each target of
/// that bucket. A program counter is a sparse key; this costs four bytes of table per two targets
/// and one indirect jump, whatever their number.
pub(super) fn dispatch(
    e: &mut Emit,
    index: ir::Value,
    default: ir::Block,
    targets: &[(u64, ir::Block)],
) {
    let compare = |e: &mut Emit, bucket: &[(u64, ir::Block)]| {
        for &(key, block) in bucket {
            let next = e.new_block(false);
            let equal = e.icmp_imm(ir::condcodes::IntCC::Equal, index, key as i64);
            e.brif(equal, block, next);
            e.block = next;
        }
        e.jump(default, &[]);
    };
    if targets.len() <= 4 {
        compare(e, targets);
        return;
    }

    let size = targets.len().next_power_of_two() as u64;
    let shift = best_shift(targets, size);
    let mut buckets = vec![Vec::new(); size as usize];
    for &(key, block) in targets {
        buckets[((key >> shift) & (size - 1)) as usize].push((key, block));
    }
    let here = e.block;
    let blocks: Vec<ir::Block> = buckets
        .iter()
        .map(|bucket| {
            if bucket.is_empty() {
                return default;
            }
            let block = e.new_block(false);
            e.block = block;
            compare(e, bucket);
            block
        })
        .collect();
    e.block = here;

    let shifted = e.cursor().ins().ushr_imm_u(index, i64::from(shift));
    let slot = e.cursor().ins().band_imm_u(shifted, size as i64 - 1);
    let slot = e.cursor().ins().ireduce(types::I32, slot);
    let pool = &mut e.func.dfg.value_lists;
    let call = |block, pool: &mut _| ir::BlockCall::new(block, std::iter::empty(), pool);
    let entries: Vec<_> = blocks.iter().map(|&block| call(block, pool)).collect();
    let table = ir::JumpTableData::new(call(default, pool), &entries);
    let table = e.func.create_jump_table(table);
    e.cursor().ins().br_table(slot, table);
}

/// The shift that leaves the fullest bucket smallest, so that code laid out to collide in the low
/// bits costs no more than any other.
fn best_shift(targets: &[(u64, ir::Block)], size: u64) -> u32 {
    let mut counts = vec![0u32; size as usize];
    (0..12)
        .min_by_key(|&shift| {
            counts.fill(0);
            for (key, _) in targets {
                counts[((key >> shift) & (size - 1)) as usize] += 1;
            }
            counts.iter().copied().max()
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_follow_the_names() {
        for (name, role) in [
            ("op.0.PUSH1 0x80", Role::Join),
            ("op.7.JUMPDEST", Role::Join),
            ("op.7.JUMPDEST.contd", Role::Continued),
            ("op.8.MLOAD", Role::Instruction),
            ("op.8.MLOAD.contd", Role::Continued),
            ("return", Role::Exit),
            ("suspend", Role::Suspend),
            ("entry.post", Role::Prologue),
            ("resume_invalid", Role::Prologue),
        ] {
            assert_eq!(Role::of(name), Some(role), "{name}");
        }
        assert_eq!(Role::of("surprise"), None);
    }

    #[test]
    fn colliding_targets_are_spread() {
        let block = ir::Block::from_u32(0);
        let targets: Vec<_> = (0..64).map(|i| (i * 64, block)).collect();
        assert_eq!(best_shift(&targets, 64), 6);
    }
}
