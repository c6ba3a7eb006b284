//! Lowering: revmc's IR, with its 256-bit integers, onto Cranelift's.
//!
//! revmc's translator walks the bytecode and calls a `Builder` for every operation. The builder
//! here does not record those calls; it turns each into Cranelift instructions at once.
//!
//! | module | job |
//! |---|---|
//! | [`value`] | what the front end's handles stand for |
//! | [`emission`] | the insertion point of [`limbs`](crate::compiler::limbs), code that is thrown away |
//! | [`stack`] | the operand stack in SSA values |
//! | [`blocks`] | basic blocks, joins, computed jumps |
//! | [`flow`] | edges between blocks, and what joins receive |
//! | [`frame`] | parameters and other values of the whole function |
//! | [`memory`] | the frame's memory, accessed in line |
//! | [`calls`] | builtins: called through the table, or opened in line |
//! | [`operand`] | what the front end's handles come to |
//! | [`builder`] | the front end's interface, on top of these |

pub(super) mod blocks;
pub(super) mod builder;
mod calls;
mod emission;
mod flow;
mod frame;
mod memory;
mod operand;
mod stack;
pub(super) mod value;

use super::{TranslateError, layout::Layout};
use crate::compiler::{Tier, limbs::Emit};
use blocks::{Block, Trampolines};
use cranelift_codegen::{
    ir::{
        self, AbiParam, ExternalName, GlobalValueData, Signature, StackSlotData, StackSlotKind,
        UserExternalName, UserFuncName, types,
    },
    isa::CallConv,
};
use emission::Scratch;
use frame::Frame;
use memory::Memory;
use revmc::EvmContext;
use revmc_builtins::Builtin;
use stack::{StackCache, StackHome};
use std::{collections::BTreeMap, mem::offset_of};
use value::{Data, Type, Value, Values};

/// Parameters of a compiled function, by revmc's calling convention.
mod param {
    pub(super) const GAS: usize = 0;
    pub(super) const STACK: usize = 1;
    pub(super) const CONTRACT: usize = 4;
    pub(super) const ECX: usize = 5;
    pub(super) const COUNT: usize = 6;
}

/// Something that the front end can call.
#[derive(Clone, Copy, Debug)]
enum Callee {
    Builtin(Builtin),
    Byte,
    SignExtend,
    CallDataLoad,
}

/// A function under construction.
pub(super) struct Lowering {
    e: Emit,
    layout: &'static Layout,
    values: Values,
    blocks: Vec<Block>,
    current: Option<blocks::BasicBlock>,
    /// The stack's depth where the current block began, if that is a PUSH.
    push_at: Option<i32>,
    trampolines: Trampolines,
    return_block: Option<ir::Block>,
    frame: Frame,
    home: StackHome,
    /// The operand stack, where the current block has one.
    stack: Option<StackCache>,
    /// The gas counter, where it is known to equal what memory holds.
    gas: Option<ir::Value>,
    /// The last difference computed from it: what is left, of what, after how much.
    gas_spent: Option<(ir::Value, ir::Value, u64)>,
    memory: Memory,
    table: ir::GlobalValue,
    scratch: Scratch,
    signatures: BTreeMap<(usize, bool), ir::SigRef>,
    callees: Vec<(String, Callee)>,
    call_conv: CallConv,
    tier: Tier,
    /// Jumps to a computed target that turned out to be constant: from where, to which target.
    constant_jumps: Vec<(ir::Block, u64)>,
    resume_points: u32,
    /// Holds the code that nothing leads to.
    pit: Option<ir::Block>,
    /// Where statuses enter the block that returns, and how many do.
    landing: Option<(ir::Block, u32)>,
    /// Where they go on to that block.
    exit: Option<ir::Block>,
    error: Option<TranslateError>,
}

/// A finished function.
pub(super) struct Lowered {
    pub(super) func: ir::Function,
    pub(super) resume_points: u32,
}

impl Lowering {
    pub(super) fn new(layout: &'static Layout, call_conv: CallConv, tier: Tier) -> Self {
        let mut signature = Signature::new(call_conv);
        signature
            .params
            .extend([AbiParam::new(types::I64); param::COUNT]);
        signature.returns.push(AbiParam::new(types::I8));
        let mut func = ir::Function::with_name_signature(UserFuncName::default(), signature);

        let entry = func.dfg.make_block();
        func.layout.append_block(entry);
        let params: [ir::Value; param::COUNT] =
            std::array::from_fn(|_| func.dfg.append_block_param(entry, types::I64));

        let table = func.declare_imported_user_function(UserExternalName {
            namespace: 0,
            index: 0,
        });
        let table = func.create_global_value(GlobalValueData::Symbol {
            name: ExternalName::user(table),
            offset: 0.into(),
            colocated: true,
            tls: false,
        });
        let mut slot = |bytes| {
            func.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3))
        };
        let (length, scratch) = (slot(8), slot(64));

        let mut e = Emit::new(func, entry);
        let shared = e.load_invariant(
            types::I64,
            params[param::ECX],
            offset_of!(EvmContext<'_>, memory) as i32,
        );
        let checkpoint = e.load_invariant(types::I64, shared, layout.memory_checkpoint as i32);

        let [gas, stack, length_out, input, contract, ecx] = params;
        let frame = Frame::new(
            &mut e,
            [
                gas, stack, length_out, input, contract, ecx, shared, checkpoint,
            ],
        );

        let mut this = Self {
            e,
            layout,
            values: Values::default(),
            blocks: Vec::new(),
            current: None,
            push_at: None,
            trampolines: Trampolines::new(),
            return_block: None,
            frame,
            home: StackHome { length },
            stack: None,
            gas: None,
            gas_spent: None,
            memory: Memory::new(),
            table,
            scratch: Scratch { slot: scratch },
            signatures: BTreeMap::new(),
            callees: Vec::new(),
            call_conv,
            tier,
            constant_jumps: Vec::new(),
            resume_points: 0,
            pit: None,
            landing: None,
            exit: None,
            error: None,
        };
        this.blocks.push(Block {
            role: blocks::Role::Prologue,
            is_push: false,
            entry,
            end: None,
            placed: true,
            dead: false,
            merged: false,
            from: None,
            continues: false,
        });
        this.current = Some(blocks::BasicBlock(0));
        this
    }

    /// The function, or the first thing that could not be lowered.
    pub(super) fn finish(mut self) -> Result<Lowered, TranslateError> {
        self.e.discard_dead_code(self.pit);
        match self.error {
            Some(error) => Err(error),
            None => Ok(Lowered {
                func: self.e.func,
                resume_points: self.resume_points,
            }),
        }
    }

    /// Records that the function cannot be lowered; emission goes on so that the front end, which
    /// cannot be told, comes to its end.
    fn refuse(&mut self, what: impl Into<String>) {
        self.error
            .get_or_insert_with(|| TranslateError::UnknownConstruct(what.into()));
    }

    fn add(&mut self, data: Data) -> Value {
        self.values.add(data)
    }

    fn scalar(&mut self, ty: Type, value: ir::Value) -> Value {
        self.add(Data::Scalar(ty, value))
    }
}
