//! Builtins: called through the table, or opened in line where that is what a contract spends its
//! time on (memory access, call data).

use super::{
    Callee, Lowering,
    memory::Access,
    param,
    value::{Data, Type, Value},
};
use crate::{
    compiler::{
        Tier,
        limbs::{Limb, Plan, Region, Word},
    },
    frame::arithmetic::Operator,
    revmc::builtins::{Helper, place, stack_effect},
};
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, Signature, condcodes::IntCC, types};
use revmc::interpreter::Contract;
use revmc_builtins::Builtin;
use std::mem::offset_of;

impl Callee {
    /// A function that the front end builds itself, and that is one of ours instead.
    pub(super) fn built(name: &str) -> Option<Self> {
        Some(match name {
            "byte" => Self::Byte,
            "signextend" => Self::SignExtend,
            "calldataload" => Self::CallDataLoad,
            _ => return None,
        })
    }
}

impl Lowering {
    pub(super) fn call_function(&mut self, callee: Callee, args: &[Value]) -> Option<Value> {
        match callee {
            Callee::Byte => {
                let (index, word) = (self.word(args[0]), self.word(args[1]));
                let byte = self.e.word_byte(index, word);
                Some(self.add(Data::Word(byte)))
            }
            Callee::SignExtend => {
                let (byte, word) = (self.word(args[0]), self.word(args[1]));
                let extended = match byte.as_const() {
                    Some(byte) => self.e.word_signextend_const(byte, word),
                    None => self.call_operation(Operator::Signextend, byte, word),
                };
                Some(self.add(Data::Word(extended)))
            }
            Callee::CallDataLoad => {
                let index = self.word(args[0]);
                let word = self.calldata_load(index);
                Some(self.add(Data::Word(word)))
            }
            Callee::Builtin(Builtin::Mload) => self.inline_memory(args, Access::Load),
            Callee::Builtin(Builtin::Mstore) => self.inline_memory(args, Access::Store),
            Callee::Builtin(Builtin::Mstore8) => self.inline_memory(args, Access::StoreByte),
            Callee::Builtin(Builtin::Msize) => {
                let size = self.memory_size();
                Some(self.scalar(Type::Int(64), size))
            }
            Callee::Builtin(Builtin::Panic) => {
                self.trap();
                None
            }
            Callee::Builtin(builtin) => self.call_builtin(builtin, args),
        }
    }

    /// Calls a builtin with the operand stack words it reads in memory.
    fn call_builtin(&mut self, builtin: Builtin, args: &[Value]) -> Option<Value> {
        let last = match args.last().map(|&arg| self.values.get(arg)) {
            Some(Data::Const(_, last)) => last,
            _ => 0,
        };
        let (reads, writes) = stack_effect(builtin, last);
        for &arg in args {
            let Data::StackPointer(position) = self.values.get(arg) else {
                continue;
            };
            self.require_word(position);
            if let Some(stack) = &mut self.stack {
                stack.before_call(&mut self.e, position, reads, writes);
            }
        }
        let args: Vec<ir::Value> = args.iter().map(|&arg| self.argument(arg)).collect();
        let (returns_status, returns_size) = match builtin {
            Builtin::CodeSize => (false, true),
            _ => (status_of(builtin), false),
        };
        let result = if returns_size {
            self.call_table(builtin as usize, &args, Some(types::I64))
        } else {
            self.call_table(builtin as usize, &args, returns_status.then_some(types::I8))
        };
        // The callee may have charged gas, and grown the memory.
        self.gas = None;
        self.memory.forget_base();
        result.map(|value| {
            self.scalar(
                if returns_size {
                    Type::Int(64)
                } else {
                    Type::Int(8)
                },
                value,
            )
        })
    }

    /// Calls an entry of the builtin table; every argument is 64 bits wide.
    pub(super) fn call_table(
        &mut self,
        index: usize,
        args: &[ir::Value],
        ret: Option<ir::Type>,
    ) -> Option<ir::Value> {
        let key = (
            args.len() * 2 + usize::from(ret == Some(types::I64)),
            ret.is_some(),
        );
        let signature = match self.signatures.get(&key) {
            Some(&signature) => signature,
            None => {
                let mut signature = Signature::new(self.call_conv);
                signature
                    .params
                    .extend(args.iter().map(|_| AbiParam::new(types::I64)));
                signature.returns.extend(ret.map(AbiParam::new));
                let signature = self.e.func.import_signature(signature);
                self.signatures.insert(key, signature);
                signature
            }
        };
        let table = self.table;
        let table = self.e.cursor().ins().symbol_value(types::I64, table);
        let address = self
            .e
            .load_invariant(types::I64, table, (index * size_of::<usize>()) as i32);
        let call = self
            .e
            .cursor()
            .ins()
            .call_indirect(signature, address, args);
        self.e.func.dfg.inst_results(call).first().copied()
    }

    /// Calls the operation that takes `a` from the top of the stack, then `b`.
    fn call_operation(&mut self, operator: Operator, a: Word, b: Word) -> Word {
        let slot = self.scratch.slot;
        let address = self.e.slot_address(slot);
        self.e.store_word(Region::Context, a, address, 0);
        self.e.store_word(Region::Context, b, address, 32);
        self.call_table(place(operator), &[address, address], None);
        let address = self.e.slot_address(slot);
        self.e.load_word(Region::Context, address, 0)
    }

    /// DIV, MOD, SDIV or SMOD; the shared operation does wide ones.
    pub(super) fn divide(&mut self, operator: Operator, a: Value, b: Value) -> Value {
        let (a, b) = (self.word(a), self.word(b));
        let word = match self.e.word_div(operator, a, b) {
            Plan::Done(word) => word,
            Plan::IfWide(is_wide) => self.branch(
                is_wide,
                |this| this.e.word_div_narrow(operator, a, b),
                |this| this.call_operation(operator, a, b),
            ),
        };
        self.add(Data::TotalWord(word))
    }

    pub(super) fn multiply(&mut self, a: Value, b: Value) -> Value {
        let (a, b) = (self.word(a), self.word(b));
        let word = match self.e.word_mul(a, b) {
            Plan::Done(word) => word,
            // Ten multiplications in line take no longer than telling whether one is enough.
            Plan::IfWide(_) if self.tier == Tier::Optimized => self.e.word_mul_wide(a, b),
            Plan::IfWide(is_wide) => self.branch(
                is_wide,
                |this| this.e.word_mul_narrow(a, b),
                |this| this.call_operation(Operator::Mul, a, b),
            ),
        };
        self.add(Data::Word(word))
    }

    /// Computes a word in one of two ways, the slow one out of line.
    fn branch(
        &mut self,
        is_slow: Limb,
        fast: impl FnOnce(&mut Self) -> Word,
        slow: impl FnOnce(&mut Self) -> Word,
    ) -> Word {
        let cond = match is_slow {
            Limb::Const(0) => return fast(self),
            Limb::Const(_) => return slow(self),
            Limb::Flag(cond) | Limb::Val(cond) => cond,
        };
        let (fast_block, slow_block) = (self.e.new_block(false), self.e.new_block(true));
        self.e.brif(cond, slow_block, fast_block);
        let fast_word = self.aside(fast_block, fast);
        let fast_end = self.e.block;
        let slow_word = self.aside(slow_block, slow);
        let slow_end = self.e.block;

        let join = self.e.new_block(false);
        let mut result = fast_word;
        let mut joined = Vec::new();
        for (i, limb) in result.0.iter_mut().enumerate() {
            if !(matches!(limb, Limb::Const(_)) && *limb == slow_word.0[i]) {
                *limb = Limb::Val(self.e.func.dfg.append_block_param(join, types::I64));
                joined.push(i);
            }
        }
        for (end, word) in [(fast_end, fast_word), (slow_end, slow_word)] {
            self.e.block = end;
            let args: Vec<_> = joined.iter().map(|&i| self.e.value(word.0[i])).collect();
            self.e.jump(join, &args);
        }
        self.e.block = join;
        result
    }

    // Call data.

    /// `CALLDATALOAD`: in line where 32 bytes are there.
    fn calldata_load(&mut self, index: Word) -> Word {
        let input = offset_of!(Contract, input);
        let contract = self.frame_value(param::CONTRACT);
        let data_at = (input + self.layout.bytes_ptr) as i32;
        let len_at = (input + self.layout.bytes_len) as i32;
        let len = self.e.load_invariant(types::I64, contract, len_at);

        let high = self.e.union(&index, 1);
        let top = self.e.shr_imm(index.0[0], 32);
        let out_of_range = self.e.or(high, top);
        let out_of_range = self.e.is_nonzero(out_of_range);
        let low = match index.0[0] {
            // Out of range, and so never used.
            Limb::Const(low) => low & 0xffff_ffff,
            _ => 0,
        };
        let start = self.e.value(index.0[0]);
        let end = match index.0[0] {
            Limb::Const(_) => Limb::Const(low + 32),
            _ => Limb::Val(self.e.offset(start, 32)),
        };
        let beyond = self.e.cmp(IntCC::UnsignedLessThan, Limb::Val(len), end);
        let is_slow = self.e.or(out_of_range, beyond);
        self.branch(
            is_slow,
            |this| {
                let data = this.e.load_invariant(types::I64, contract, data_at);
                let address = match index.0[0] {
                    Limb::Const(_) => this.e.offset(data, low as i64),
                    _ => this.e.add_values(data, start),
                };
                let word = this.e.load_word(Region::Bytes, address, 0);
                this.e.word_bswap(word)
            },
            |this| {
                let data = this.e.load_invariant(types::I64, contract, data_at);
                let start = match this.e.is_nonzero(high) {
                    Limb::Const(0) => start,
                    Limb::Const(_) => this.e.iconst(types::I64, u64::MAX),
                    Limb::Flag(cond) | Limb::Val(cond) => {
                        let beyond = this.e.iconst(types::I64, u64::MAX);
                        this.e.cursor().ins().select(cond, beyond, start)
                    }
                };
                let out = this.e.slot_address(this.scratch.slot);
                this.call_table(
                    Helper::CallDataTail as usize,
                    &[out, data, len, start],
                    None,
                );
                let out = this.e.slot_address(this.scratch.slot);
                this.e.load_word(Region::Context, out, 0)
            },
        )
    }
}

/// Whether a builtin returns an `InstructionResult`.
fn status_of(builtin: Builtin) -> bool {
    use Builtin::*;
    !matches!(
        builtin,
        Panic
            | AddMod
            | MulMod
            | CodeSize
            | GasPrice
            | Difficulty
            | BlobHash
            | BlobBaseFee
            | Msize
            | Tstore
            | Tload
    )
}
