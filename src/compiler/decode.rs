//! Pass 1: bytes to instructions.
//!
//! Contract: the instructions are those that the interpreter would meet running straight through the
//! code, PUSH data skipped; a PUSH whose data the end of the code cuts reads zeros; behind the last
//! one stands a STOP, as in the interpreter's padding. JUMPDESTs inside PUSH data are none.
//!
//! An immediate of DUPN, SWAPN or EXCHANGE is never 0x5b or a PUSH (EIP-8024), so that the jump
//! destinations do not depend on whether it is one.

use super::{
    effect::{Class, class, decode_pair, decode_single, effect, op},
    fault::{Fault, either, planted},
    rules::Rules,
};
use alloy_primitives::U256;

/// One instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inst {
    pub(super) pc: u32,
    pub(super) opcode: u8,
    pub(super) class: Class,
    /// DUPN, SWAPN, EXCHANGE: the immediate.
    pub(super) immediate: u8,
    /// Words that have to be on the stack.
    pub(super) inputs: u16,
    /// Words that are in their place afterwards.
    pub(super) outputs: u16,
}

/// What an instruction does that only changes which words stand where on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shuffle {
    Push,
    Pop,
    /// Copies the word that is the so manieth from the top.
    Dup(usize),
    /// Exchanges the words so far below the top.
    Exchange(usize, usize),
}

impl Inst {
    /// Whether it is a shuffle if it is native, and which.
    pub(super) fn shuffle(&self) -> Option<Shuffle> {
        Some(match self.opcode {
            op::PUSH0..=op::PUSH32 => Shuffle::Push,
            op::POP => Shuffle::Pop,
            op::DUP1..=op::DUP16 => Shuffle::Dup((self.opcode - op::DUP1) as usize + 1),
            op::SWAP1..=op::SWAP16 => Shuffle::Exchange(0, (self.opcode - op::SWAP1) as usize + 1),
            op::DUPN => Shuffle::Dup(decode_single(self.immediate)?.into()),
            op::SWAPN => Shuffle::Exchange(0, decode_single(self.immediate)?.into()),
            op::EXCHANGE => {
                let (a, b) = decode_pair(self.immediate)?;
                Shuffle::Exchange(a.into(), b.into())
            }
            _ => return None,
        })
    }

    /// How many bytes a PUSH has, and those that are in the code.
    fn data<'a>(&self, code: &'a [u8]) -> (usize, &'a [u8]) {
        let len = (self.opcode - op::PUSH0) as usize;
        let start = (self.pc as usize + 1).min(code.len());
        let data = &code[start..(start + len).min(code.len())];
        let short = usize::from(data.len() > 1 && planted(Fault::PushIsShort));
        (len, &data[..data.len() - short])
    }

    /// The value of a PUSH, if it fits.
    pub(super) fn pushed_short(&self, code: &[u8]) -> Option<u64> {
        let (len, data) = self.data(code);
        if data.len() < len {
            return u64::try_from(self.pushed(code)).ok();
        }
        let (above, low) = data.split_at(len.saturating_sub(8));
        let value = low
            .iter()
            .fold(0, |value, &byte| value << 8 | u64::from(byte));
        above.iter().all(|byte| *byte == 0).then_some(value)
    }

    /// The value of a PUSH.
    pub(super) fn pushed(&self, code: &[u8]) -> U256 {
        let (len, data) = self.data(code);
        let mut bytes = [0; 32];
        bytes[32 - len..32 - len + data.len()].copy_from_slice(data);
        U256::from_be_bytes(bytes)
    }
}

/// The instructions of `code`.
pub(super) fn decode(code: &[u8], rules: &Rules) -> Vec<Inst> {
    let mut insts = Vec::with_capacity(code.len() / 2 + 1);
    let mut pc = 0;
    loop {
        // At and behind the end: the padding.
        let opcode = code.get(pc).copied().unwrap_or(op::STOP);
        let mut class = class(opcode, rules);
        let immediate = code.get(pc + 1).copied().unwrap_or(0);
        let wide = |n: Option<(u16, u16)>| n.map(|(inputs, outputs)| (inputs, outputs, 2));
        let with_immediate = match opcode {
            op::DUPN => wide(decode_single(immediate).map(|n| (n, n + 1))),
            op::SWAPN => wide(decode_single(immediate).map(|n| (n + 1, n + 1))),
            op::EXCHANGE => wide(decode_pair(immediate).map(|(n, m)| (n.max(m) + 1, n.max(m) + 1))),
            _ => None,
        };
        let (inputs, outputs, len) = match (effect(opcode), with_immediate) {
            (Some(effect), _) => {
                let len = either(Fault::PushDataIsCode, 1, effect.len as usize);
                (effect.inputs, effect.outputs, len)
            }
            (None, Some(found)) if class == Class::Native => found,
            (None, _) => {
                class = Class::Step;
                (0, 0, 1)
            }
        };
        insts.push(Inst {
            pc: pc as u32,
            opcode,
            class,
            immediate,
            inputs,
            outputs,
        });
        if pc >= code.len() {
            return insts;
        }
        pc += len;
    }
}
