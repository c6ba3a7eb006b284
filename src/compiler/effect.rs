//! What each opcode does to the operand stack and the program counter, and how it is compiled.

use super::rules::Rules;

/// Opcodes by name (Yellow Paper, appendix H, and the EIPs since).
#[allow(missing_docs)]
pub mod op {
    macro_rules! opcodes {
        ($($name:ident = $value:literal,)*) => {
            $(pub const $name: u8 = $value;)*

            /// The opcode's name, or its value.
            // Some of those that are listed stand for a range.
            #[allow(unreachable_patterns)]
            pub fn name(opcode: u8) -> String {
                match opcode {
                    PUSH1..=PUSH32 => format!("PUSH{}", opcode - PUSH0),
                    DUP1..=DUP16 => format!("DUP{}", opcode - DUP1 + 1),
                    SWAP1..=SWAP16 => format!("SWAP{}", opcode - SWAP1 + 1),
                    LOG0..=LOG4 => format!("LOG{}", opcode - LOG0),
                    $($name => stringify!($name).to_owned(),)*
                    _ => format!("{opcode:#04x}"),
                }
            }
        };
    }
    opcodes! {
        STOP = 0x00, ADD = 0x01, MUL = 0x02, SUB = 0x03, DIV = 0x04, SDIV = 0x05, MOD = 0x06, SMOD = 0x07,
        ADDMOD = 0x08, MULMOD = 0x09, EXP = 0x0a, SIGNEXTEND = 0x0b, LT = 0x10, GT = 0x11, SLT = 0x12,
        SGT = 0x13, EQ = 0x14, ISZERO = 0x15, AND = 0x16, OR = 0x17, XOR = 0x18, NOT = 0x19, BYTE = 0x1a,
        SHL = 0x1b, SHR = 0x1c, SAR = 0x1d, CLZ = 0x1e, KECCAK256 = 0x20, ADDRESS = 0x30, BALANCE = 0x31,
        ORIGIN = 0x32, CALLER = 0x33, CALLVALUE = 0x34, CALLDATALOAD = 0x35, CALLDATASIZE = 0x36,
        CALLDATACOPY = 0x37, CODESIZE = 0x38, CODECOPY = 0x39, GASPRICE = 0x3a, EXTCODESIZE = 0x3b,
        EXTCODECOPY = 0x3c, RETURNDATASIZE = 0x3d, RETURNDATACOPY = 0x3e, EXTCODEHASH = 0x3f,
        BLOCKHASH = 0x40, COINBASE = 0x41, TIMESTAMP = 0x42, NUMBER = 0x43, DIFFICULTY = 0x44,
        GASLIMIT = 0x45, CHAINID = 0x46, SELFBALANCE = 0x47, BASEFEE = 0x48, BLOBHASH = 0x49,
        BLOBBASEFEE = 0x4a, SLOTNUM = 0x4b, POP = 0x50, MLOAD = 0x51, MSTORE = 0x52, MSTORE8 = 0x53,
        SLOAD = 0x54, SSTORE = 0x55, JUMP = 0x56, JUMPI = 0x57, PC = 0x58, MSIZE = 0x59, GAS = 0x5a,
        JUMPDEST = 0x5b, TLOAD = 0x5c, TSTORE = 0x5d, MCOPY = 0x5e, PUSH0 = 0x5f, PUSH1 = 0x60,
        PUSH32 = 0x7f, DUP1 = 0x80, DUP16 = 0x8f, SWAP1 = 0x90, SWAP16 = 0x9f, LOG0 = 0xa0, LOG4 = 0xa4,
        DUPN = 0xe6, SWAPN = 0xe7, EXCHANGE = 0xe8, CREATE = 0xf0, CALL = 0xf1, CALLCODE = 0xf2,
        RETURN = 0xf3, DELEGATECALL = 0xf4, CREATE2 = 0xf5, STATICCALL = 0xfa, REVERT = 0xfd,
        INVALID = 0xfe, SELFDESTRUCT = 0xff,
    }
}

/// What an instruction that succeeds does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Words that it needs on the stack and takes from it.
    pub inputs: u16,
    /// Words that it puts on the stack.
    pub outputs: u16,
    /// Bytes to the next instruction.
    pub len: u16,
}

const fn of(inputs: u16, outputs: u16) -> Effect {
    Effect {
        inputs,
        outputs,
        len: 1,
    }
}

/// The effect of `opcode` wherever it is known; `None` for an opcode that mainnet does not have, and
/// for those whose stack effect depends on an immediate (DUPN, SWAPN, EXCHANGE).
pub const fn effect(opcode: u8) -> Option<Effect> {
    use op::*;
    Some(match opcode {
        STOP | JUMPDEST | INVALID => of(0, 0),
        ADD | MUL | SUB | DIV | SDIV | MOD | SMOD | EXP | SIGNEXTEND | LT | GT | SLT | SGT | EQ
        | AND | OR | XOR | BYTE | SHL | SHR | SAR | KECCAK256 => of(2, 1),
        ADDMOD | MULMOD => of(3, 1),
        ISZERO | NOT | CLZ | BALANCE | CALLDATALOAD | EXTCODESIZE | EXTCODEHASH | BLOCKHASH
        | BLOBHASH | MLOAD | SLOAD | TLOAD => of(1, 1),
        ADDRESS | ORIGIN | CALLER | CALLVALUE | CALLDATASIZE | CODESIZE | GASPRICE
        | RETURNDATASIZE | COINBASE | TIMESTAMP | NUMBER | DIFFICULTY | GASLIMIT | CHAINID
        | SELFBALANCE | BASEFEE | BLOBBASEFEE | SLOTNUM | PC | MSIZE | GAS | PUSH0 => of(0, 1),
        CALLDATACOPY | CODECOPY | RETURNDATACOPY | MCOPY => of(3, 0),
        EXTCODECOPY => of(4, 0),
        POP | JUMP | SELFDESTRUCT => of(1, 0),
        MSTORE | MSTORE8 | SSTORE | TSTORE | JUMPI | RETURN | REVERT => of(2, 0),
        PUSH1..=PUSH32 => Effect {
            inputs: 0,
            outputs: 1,
            len: (opcode - PUSH1) as u16 + 2,
        },
        DUP1..=DUP16 => {
            let n = (opcode - DUP1) as u16 + 1;
            of(n, n + 1)
        }
        SWAP1..=SWAP16 => {
            let n = (opcode - SWAP1) as u16 + 2;
            of(n, n)
        }
        LOG0..=LOG4 => of((opcode - LOG0) as u16 + 2, 0),
        CREATE => of(3, 1),
        CREATE2 => of(4, 1),
        CALL | CALLCODE => of(7, 1),
        DELEGATECALL | STATICCALL => of(6, 1),
        _ => return None,
    })
}

/// How an instruction is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// In machine code.
    Native,
    /// Through the caller's instruction table, from machine code: of mainnet's instructions only.
    Boundary,
    /// By the interpreter, between two runs of machine code.
    Step,
    /// The same, and what follows it in the code is never run after it.
    End,
}

/// How `opcode` is compiled under `rules`.
pub fn class(opcode: u8, rules: &Rules) -> Class {
    use op::*;
    // What is not mainnet's may do anything, to words below its operands and to where control goes too.
    let known = effect(opcode).is_some() || matches!(opcode, DUPN | SWAPN | EXCHANGE);
    if !known || !rules.is_standard(opcode) {
        return Class::Step;
    }
    match opcode {
        STOP | RETURN | REVERT | INVALID | SELFDESTRUCT => Class::End,
        CREATE | CALL | CALLCODE | DELEGATECALL | CREATE2 | STATICCALL => Class::Step,
        ADD
        | MUL
        | SUB
        | DIV
        | SDIV
        | MOD
        | SMOD
        | ADDMOD
        | MULMOD
        | SIGNEXTEND
        | LT
        | GT
        | SLT
        | SGT
        | EQ
        | ISZERO
        | AND
        | OR
        | XOR
        | NOT
        | BYTE
        | SHL
        | SHR
        | SAR
        | CLZ
        | ADDRESS
        | CALLER
        | CALLVALUE
        | CALLDATALOAD
        | CALLDATASIZE
        | CODESIZE
        | RETURNDATASIZE
        | POP
        | MLOAD
        | MSTORE
        | MSTORE8
        | JUMP
        | JUMPI
        | PC
        | MSIZE
        | GAS
        | JUMPDEST
        | PUSH0..=SWAP16
        | DUPN
        | SWAPN
        | EXCHANGE => Class::Native,
        _ => Class::Boundary,
    }
}

/// The depth that DUPN and SWAPN name with the immediate `x` (EIP-8024).
pub const fn decode_single(x: u8) -> Option<u16> {
    match x {
        0..=90 | 128..=255 => Some((x as u16 + 145) % 256),
        _ => None,
    }
}

/// The two depths that EXCHANGE names with the immediate `x` (EIP-8024).
pub const fn decode_pair(x: u8) -> Option<(u16, u16)> {
    if matches!(x, 82..=127) {
        return None;
    }
    let k = x ^ 143;
    let (q, r) = ((k / 16) as u16, (k % 16) as u16);
    Some(if q < r {
        (q + 1, r + 1)
    } else {
        (r + 1, 29 - q)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Machine code has nothing to do with what is not mainnet's.
    #[test]
    fn what_is_not_mainnets_is_the_interpreters() {
        let all = Rules::new([1; 256], 0..=255);
        for opcode in 0..=255 {
            let but = Rules::new([1; 256], (0..=255).filter(|other| *other != opcode));
            assert_eq!(class(opcode, &but), Class::Step, "{opcode:#x}");
            let unknown = effect(opcode).is_none();
            assert!(
                !unknown || class(opcode, &all) != Class::Boundary,
                "{opcode:#x}"
            );
        }
    }
}
