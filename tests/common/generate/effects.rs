//! What reaches beyond the stack: memory, storage, accounts, logs, calls and creates.

use super::super::{
    asm::{Item, asm},
    case::CONTRACT,
    types::{SpecId, U256, opcode as op},
};
use super::Writer;

impl Writer<'_> {
    pub(super) fn memory(&mut self) {
        match self.rng.below(12) {
            0..=2 => {
                self.operand();
                self.offset();
                self.op(op::MSTORE, 2, 0);
            }
            3..=5 => {
                self.offset();
                self.op(op::MLOAD, 1, 1);
            }
            6 => {
                self.operand();
                self.offset();
                self.op(op::MSTORE8, 2, 0);
            }
            7 => {
                self.offset();
                self.offset();
                self.op(op::KECCAK256, 2, 1);
            }
            8 if self.spec_id.is_enabled_in(SpecId::CANCUN) => self.copy(op::MCOPY),
            9 => self.copy(op::CALLDATACOPY),
            10 => self.copy(op::CODECOPY),
            11 if self.spec_id.is_enabled_in(SpecId::BYZANTIUM) => {
                // Out of bounds halts, so mostly copy what there is.
                if self.rng.chance(80) {
                    self.op(op::RETURNDATASIZE, 0, 1);
                    self.push_number(0);
                    self.offset();
                    self.op(op::RETURNDATACOPY, 3, 0);
                } else {
                    self.copy(op::RETURNDATACOPY);
                }
            }
            _ => self.op(op::MSIZE, 0, 1),
        }
    }

    pub(super) fn copy(&mut self, opcode: u8) {
        self.offset();
        self.offset();
        self.offset();
        self.op(opcode, 3, 0);
    }

    pub(super) fn key(&mut self) {
        if self.rng.chance(80) {
            let key = *self.rng.pick(&[0, 1, 2, 3, 32]);
            self.push_number(key);
        } else {
            self.operand();
        }
    }

    pub(super) fn storage(&mut self) {
        let transient = self.spec_id.is_enabled_in(SpecId::CANCUN) && self.rng.chance(30);
        let (load, store) = if transient {
            (op::TLOAD, op::TSTORE)
        } else {
            (op::SLOAD, op::SSTORE)
        };
        if self.rng.chance(55) {
            self.key();
            self.op(load, 1, 1);
        } else {
            self.operand();
            self.key();
            self.op(store, 2, 0);
        }
    }

    pub(super) fn address(&mut self) {
        match self.rng.below(12) {
            0 => self.op(op::ADDRESS, 0, 1),
            1 => self.op(op::CALLER, 0, 1),
            2 => self.push(CONTRACT.into_word().into()),
            3 => self.operand(),
            4 => self.push_number(4),
            5 => self.push_number(0xaf),
            _ => {
                let low = 0xa1 + self.rng.below(10);
                self.push_number(low);
            }
        }
    }

    pub(super) fn account(&mut self) {
        match self.rng.below(5) {
            0 => {
                self.address();
                self.op(op::BALANCE, 1, 1);
            }
            1 => {
                self.address();
                self.op(op::EXTCODESIZE, 1, 1);
            }
            2 if self.spec_id.is_enabled_in(SpecId::PETERSBURG) => {
                self.address();
                self.op(op::EXTCODEHASH, 1, 1);
            }
            3 => {
                self.offset();
                self.offset();
                self.offset();
                self.address();
                self.op(op::EXTCODECOPY, 4, 0);
            }
            _ => {
                let back = self.rng.below(300);
                self.push_number(20_000_000 - back);
                self.op(op::BLOCKHASH, 1, 1);
            }
        }
    }

    pub(super) fn log(&mut self) {
        let topics = self.rng.below(5);
        for _ in 0..topics {
            self.operand();
        }
        self.offset();
        self.offset();
        self.op(op::LOG0 + topics as u8, 2 + topics, 0);
    }

    pub(super) fn call(&mut self) {
        let (opcode, with_value, since) = *self.rng.pick(&[
            (op::CALL, true, SpecId::FRONTIER),
            (op::CALL, true, SpecId::FRONTIER),
            (op::CALLCODE, true, SpecId::FRONTIER),
            (op::DELEGATECALL, false, SpecId::HOMESTEAD),
            (op::STATICCALL, false, SpecId::BYZANTIUM),
        ]);
        if !self.spec_id.is_enabled_in(since) {
            return;
        }
        for _ in 0..4 {
            self.offset();
        }
        if with_value {
            let value = *self.rng.pick(&[0, 0, 0, 1, 100, 2_000_000]);
            self.push_number(value);
        }
        self.address();
        match self.rng.below(4) {
            0 => self.op(op::GAS, 0, 1),
            1 => self.operand(),
            // From Tangerine Whistle on more than there is means all but one 64th (EIP-150).
            _ => {
                let gas = self.rng.below(40_000);
                self.push_number(gas);
            }
        }
        self.op(opcode, if with_value { 7 } else { 6 }, 1);
    }

    pub(super) fn create(&mut self) {
        let init = *self.rng.pick(&[
            // Deploys 32 bytes of zeros, one byte of STOP, nothing, 0xef; reverts; halts; asks.
            "32 0 RETURN",
            "1 0 RETURN",
            "STOP",
            "0xef 0 MSTORE8 1 0 RETURN",
            "1 2 ADD 0 MSTORE 32 0 REVERT",
            "INVALID",
            "CALLER BALANCE 5 SSTORE 0 0 0 0 0 0xa4 50000 CALL 3 SSTORE CALLVALUE 0 MSTORE8 1 0 RETURN",
            "ADDRESS SELFDESTRUCT",
        ]);
        let mut code = asm(init);
        let len = code.len().min(32);
        code.resize(32, 0);
        let word = U256::from_be_slice(&code[..32]);
        if self.rng.chance(75) {
            self.items.push(Item::Push(32, word));
            self.height += 1;
            self.push_number(0);
            self.op(op::MSTORE, 2, 0);
        }
        let second = self.spec_id.is_enabled_in(SpecId::PETERSBURG) && self.rng.chance(50);
        if second {
            let salt = self.rng.below(2);
            self.push_number(salt);
        }
        if self.rng.chance(80) {
            self.push_number(len);
            self.push_number(0);
        } else {
            self.offset();
            self.offset();
        }
        let value = *self.rng.pick(&[0, 0, 1, 5_000_000]);
        self.push_number(value);
        if second {
            self.op(op::CREATE2, 4, 1);
        } else {
            self.op(op::CREATE, 3, 1);
        }
    }
}
