//! A test case: a program with its fork, gas, calldata and surroundings.

use super::asm::asm;
use super::database::Breakage;
pub use super::types::FORKS;
use super::types::{Address, Bytes, NEWEST, SpecId, U256, address, hex};
use std::{fmt, iter::once};

/// Where the program under test lives and who calls it.
pub const CONTRACT: Address = address!("ee000000000000000000000000000000000000ee");
pub const SENDER: Address = address!("caca00000000000000000000000000000000caca");

/// Accounts to talk to, at addresses that fit in a `PUSH1`.
///
/// (low byte, balance, code). The last address, 0xaf, has no account.
pub const ACTORS: [(u8, u64, &str); 10] = [
    // Returns its calldata.
    (
        0xa1,
        0,
        "CALLDATASIZE 0 0 CALLDATACOPY CALLDATASIZE 0 RETURN",
    ),
    // Reverts with its calldata.
    (
        0xa2,
        5,
        "CALLDATASIZE 0 0 CALLDATACOPY CALLDATASIZE 0 REVERT",
    ),
    // Burns its gas.
    (0xa3, 0, "INVALID"),
    // storage[calldata[0]] = calldata[32], with a log; returns the old value.
    (
        0xa4,
        1,
        "0 CALLDATALOAD SLOAD 0 MSTORE 32 CALLDATALOAD 0 CALLDATALOAD SSTORE \
         CALLVALUE 32 0 LOG1 32 0 RETURN",
    ),
    // Calls its caller back with a little gas and returns what that returned.
    (
        0xa5,
        0,
        "0 0 0 0 0 CALLER 20000 CALL POP RETURNDATASIZE 0 0 RETURNDATACOPY \
         RETURNDATASIZE 0 RETURN",
    ),
    // Destroys itself in favour of its caller.
    (0xa6, 77, "CALLER SELFDESTRUCT"),
    // No code, some money.
    (0xa7, 1_000_000, ""),
    // Returns what it can see of its frame.
    (
        0xa8,
        3,
        "ADDRESS 0 MSTORE CALLER 32 MSTORE CALLVALUE 64 MSTORE ORIGIN 96 MSTORE GAS 128 MSTORE \
         CALLDATASIZE 160 MSTORE 0 SLOAD 192 MSTORE 224 0 RETURN",
    ),
    // Counts down calldata[0] by calling itself.
    (
        0xa9,
        0,
        "0 CALLDATALOAD DUP1 ISZERO @end JUMPI 1 SWAP1 SUB 0 MSTORE 32 32 32 0 0 ADDRESS GAS CALL \
         32 MLOAD ADD 0 MSTORE 32 0 RETURN end: 7 0 MSTORE 32 0 RETURN",
    ),
    // Creates a contract from its calldata and returns the address.
    (
        0xaa,
        9,
        "CALLDATASIZE 0 0 CALLDATACOPY CALLDATASIZE 0 0 CREATE 0 MSTORE 32 0 RETURN",
    ),
];

pub fn actor(low: u8) -> Address {
    Address::left_padding_from(&[low])
}

/// The accounts around the program under test: address, balance, code.
pub fn accounts() -> impl Iterator<Item = (Address, U256, Bytes)> {
    let ether = U256::from(1_000_000_000_000_000_000u64);
    let actors = ACTORS.map(|(low, balance, text)| (actor(low), U256::from(balance), asm(text)));
    let actors = actors
        .into_iter()
        .map(|(at, balance, code)| (at, balance, code.into()));
    once((SENDER, ether, Bytes::new())).chain(actors)
}

/// The storage of the program under test: keys, values.
pub fn slots() -> [(U256, U256); 4] {
    [
        (U256::from(1), U256::from(1)),
        (U256::from(2), U256::MAX),
        (U256::from(32), U256::from(0x1234)),
        (U256::MAX, U256::from(5)),
    ]
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub spec_id: SpecId,
    pub gas_limit: u64,
    /// Gas for state alone (EIP-8037).
    pub reservoir: u64,
    pub code: Bytes,
    pub input: Bytes,
    pub value: U256,
    pub is_static: bool,
    /// What goes wrong in the database.
    pub fault: Option<Breakage>,
}

impl Case {
    /// A case with a million gas on the newest fork.
    pub fn new(code: impl Into<Bytes>) -> Self {
        Self {
            spec_id: NEWEST,
            gas_limit: 1_000_000,
            reservoir: 0,
            code: code.into(),
            input: Bytes::new(),
            value: U256::ZERO,
            is_static: false,
            fault: None,
        }
    }

    /// A case from assembler text.
    pub fn asm(text: &str) -> Self {
        Self::new(asm(text))
    }

    pub fn on(mut self, spec_id: SpecId) -> Self {
        self.spec_id = spec_id;
        self
    }

    pub fn gas(mut self, gas_limit: u64) -> Self {
        self.gas_limit = gas_limit;
        self
    }

    pub fn input(mut self, input: impl Into<Bytes>) -> Self {
        self.input = input.into();
        self
    }

    pub fn value(mut self, value: u64) -> Self {
        self.value = U256::from(value);
        self
    }

    pub fn in_static_call(mut self) -> Self {
        self.is_static = true;
        self
    }
}

/// The programs of `corpus/edge-programs.tsv`.
pub fn edge_programs() -> Vec<Case> {
    let parse = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [fork, gas, code, input] = columns[..] else {
            panic!("not four columns: {line}");
        };
        let fork = FORKS
            .into_iter()
            .find(|known| format!("{known:?}") == fork)
            .expect(fork);
        Case::new(hex::decode(code).expect(code))
            .on(fork)
            .gas(gas.parse().expect(gas))
            .input(hex::decode(input).expect(input))
    };
    let lines = include_str!("../corpus/edge-programs.tsv").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .map(parse)
        .collect()
}

/// One line that a reader can turn back into the case.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fork {:?}, gas {} + {}, value {}, static {}, fault {:?}, calldata 0x{}, code 0x{}",
            self.spec_id,
            self.gas_limit,
            self.reservoir,
            self.value,
            self.is_static,
            self.fault,
            hex::encode(&self.input),
            hex::encode(&self.code)
        )
    }
}
