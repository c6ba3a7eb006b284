//! The rules that a program follows: what instructions cost, and which have their standard meaning.
//!
//! The compiler knows an EVM by nothing else. An opcode that is standard is one whose instruction
//! does what the Yellow Paper or its EIP says; it may be compiled in line. Every other is a boundary
//! instruction or is stepped over by the interpreter. Gas that an instruction charges beyond its
//! static cost is never the compiler's to know, but for memory, whose growth is charged by the caller.

use alloy_primitives::{B256, keccak256};
use std::fmt;

/// Static gas of each opcode, charged before the instruction runs.
pub type StaticGas = [u16; 256];

/// What a chain's instructions cost and mean at one of its forks.
///
/// Two rules are equal if their [`id`](Self::id)s are.
#[derive(Clone)]
pub struct Rules {
    gas: StaticGas,
    standard: [bool; 256],
    id: B256,
}

impl Rules {
    /// Rules with these static costs, where the opcodes in `standard` mean what they mean on mainnet.
    pub fn new(gas: StaticGas, standard: impl IntoIterator<Item = u8>) -> Self {
        let mut set = [false; 256];
        for opcode in standard {
            set[opcode as usize] = true;
        }
        let mut bytes = Vec::with_capacity(3 * 256);
        for (gas, standard) in gas.iter().zip(set) {
            bytes.extend_from_slice(&gas.to_le_bytes());
            bytes.push(standard.into());
        }
        Self {
            gas,
            standard: set,
            id: keccak256(bytes),
        }
    }

    /// Static gas of each opcode.
    pub fn gas(&self) -> &StaticGas {
        &self.gas
    }

    /// Static gas of `opcode`.
    pub fn gas_of(&self, opcode: u8) -> u16 {
        self.gas[opcode as usize]
    }

    /// Whether `opcode` means what it means on mainnet.
    pub fn is_standard(&self, opcode: u8) -> bool {
        self.standard[opcode as usize]
    }

    /// keccak-256 of all of it: part of every key.
    pub fn id(&self) -> B256 {
        self.id
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Rules {}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rules").field(&self.id).finish()
    }
}
