//! A test case: a program with its fork, gas, calldata and surroundings.

use super::asm::asm;
use super::driver::{FrameExecutor, Message, Oracle, Run, run_message};
use super::verdict;
use super::world::World;
use revmc_jit::revmc::primitives::{Address, Bytes, SpecId, U256, address, hex};
use std::fmt;

/// Every fork with rules of its own that revmc 0.1.0 and the interpreter share.
pub const FORKS: [SpecId; 18] = [
    SpecId::FRONTIER,
    SpecId::FRONTIER_THAWING,
    SpecId::HOMESTEAD,
    SpecId::DAO_FORK,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::BYZANTIUM,
    SpecId::CONSTANTINOPLE,
    SpecId::PETERSBURG,
    SpecId::ISTANBUL,
    SpecId::MUIR_GLACIER,
    SpecId::BERLIN,
    SpecId::LONDON,
    SpecId::ARROW_GLACIER,
    SpecId::GRAY_GLACIER,
    SpecId::MERGE,
    SpecId::SHANGHAI,
    SpecId::CANCUN,
];

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub spec_id: SpecId,
    pub gas_limit: u64,
    pub code: Bytes,
    pub input: Bytes,
    pub value: U256,
    pub is_static: bool,
    /// An account whose reading fails like a database would.
    pub broken_account: Option<Address>,
}

impl Case {
    /// A case with a million gas on the newest fork.
    pub fn new(code: impl Into<Bytes>) -> Self {
        Self {
            spec_id: SpecId::CANCUN,
            gas_limit: 1_000_000,
            code: code.into(),
            input: Bytes::new(),
            value: U256::ZERO,
            is_static: false,
            broken_account: None,
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

    pub fn world(&self) -> World {
        let mut world = World::new(self.spec_id);
        let ether = U256::from(1_000_000_000_000_000_000u64);
        world.insert(SENDER, ether, 1, Bytes::new());
        for (low, balance, text) in ACTORS {
            world.insert(actor(low), U256::from(balance), 1, asm(text).into());
        }
        world.insert(CONTRACT, U256::from(1_000_000u64), 1, self.code.clone());
        for (key, value) in [
            (U256::from(1), U256::from(1)),
            (U256::from(2), U256::MAX),
            (U256::from(32), U256::from(0x1234)),
            (U256::MAX, U256::from(5)),
        ] {
            world.insert_storage(CONTRACT, key, value);
        }
        world.broken_account = self.broken_account;
        world
    }

    pub fn message(&self) -> Message {
        Message {
            caller: SENDER,
            to: CONTRACT,
            value: self.value,
            input: self.input.clone(),
            gas_limit: self.gas_limit,
            is_static: self.is_static,
        }
    }

    /// Runs the case and returns what happened with the world it left.
    pub fn run<E: FrameExecutor>(&self, executor: &mut E) -> (Run, World) {
        let mut world = self.world();
        let run = run_message(executor, &mut world, &self.message(), true);
        (run, world)
    }

    /// Runs the case by the interpreter and by `executor` and compares. Returns the oracle's run.
    pub fn compare<E: FrameExecutor>(&self, executor: &mut E) -> Result<Run, String> {
        let (oracle, oracle_world) = self.run(&mut Oracle);
        let (other, other_world) = self.run(executor);
        verdict::compare(&oracle, &oracle_world.state, &other, &other_world.state)?;
        Ok(oracle)
    }
}

/// One line that a reader can turn back into the case.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fork {:?}, gas {}, value {}, static {}, broken {:?}, calldata 0x{}, code 0x{}",
            self.spec_id,
            self.gas_limit,
            self.value,
            self.is_static,
            self.broken_account,
            hex::encode(&self.input),
            hex::encode(&self.code)
        )
    }
}
