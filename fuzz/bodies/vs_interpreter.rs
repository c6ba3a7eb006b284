//! One program as a transaction on revm, interpreted and with a [`JitBackend`] in blocking mode, at both
//! tiers: result, gas, logs, state and what was read must be equal.
//!
//! An input is a head of eight bytes, calldata, and code: raw bytes, or a list of [`Instruction`]s,
//! from which jumps that land and pushes that are whole come out more often.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | fork, modulo their number |
//! | 1 | bit 0: in a static call; bit 1: with value; bit 2: the code is instructions |
//! | 2 to 4 | gas limit, little endian, modulo [`GAS_LIMITS`], beyond what the transaction itself takes |
//! | 5 | bytes of calldata |
//! | 6, 7 | nothing |

use crate::common::asm::{Item, asm, assemble};
use crate::common::types::FORKS;
use arbitrary::{Arbitrary, Unstructured};
use revm::context::{BlockEnv, Context, TxEnv};
use revm::database::InMemoryDB;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, Bytes, TxKind, U256, hex};
use revm::state::{AccountInfo, Bytecode};
use revm::{ExecuteEvm, MainBuilder, MainContext};
use revmc_jit::primitives::OptimizationLevel;
use revmc_jit::revm::JitEvm;
use revmc_jit::trial::Budget;
use revmc_jit::{JitBackend, RuntimeConfig};
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const GAS_LIMITS: u64 = 400_000;

/// Inputs after which the backends forget their programs.
const CLEAR_AFTER: u32 = 256;

/// Longer code only slows the search.
const MAX_CODE_LEN: usize = 4096;

const SENDER: Address = Address::repeat_byte(0xca);
/// Has the program.
const CONTRACT: Address = Address::with_last_byte(0xee);
/// Calls the program in a static call and passes everything on.
const STATIC: Address = Address::with_last_byte(0xef);

/// Accounts to talk to, at addresses that fit in a `PUSH1`.
const ACTORS: [(u8, &str); 5] = [
    // Returns its calldata.
    (0xa1, "CALLDATASIZE 0 0 CALLDATACOPY CALLDATASIZE 0 RETURN"),
    // Reverts with it.
    (0xa2, "CALLDATASIZE 0 0 CALLDATACOPY CALLDATASIZE 0 REVERT"),
    (0xa3, "INVALID"),
    // storage[calldata[0]] = calldata[32], with a log; returns the old value.
    (
        0xa4,
        "0 CALLDATALOAD SLOAD 0 MSTORE 32 CALLDATALOAD 0 CALLDATALOAD SSTORE \
         CALLVALUE 32 0 LOG1 32 0 RETURN",
    ),
    // Calls its caller back with a little gas.
    (
        0xa5,
        "0 0 0 0 0 CALLER 20000 CALL POP RETURNDATASIZE 0 0 RETURNDATACOPY RETURNDATASIZE 0 RETURN",
    ),
];

/// An instruction as the fuzzer makes it up.
#[derive(Arbitrary, Debug)]
enum Instruction {
    Op(u8),
    Small(u8),
    Offset(u16),
    /// 2 to the power of the first, plus the second.
    Power(u8, i8),
    Word([u8; 32]),
    /// Any width of push.
    Padded(u8, u64),
    PushLabel(u8),
    Label(u8),
    Jump(u8),
    JumpIf(u8),
    Raw(u8),
}

impl Instruction {
    fn items(self, out: &mut Vec<Item>) {
        const JUMP: u8 = 0x56;
        const JUMPI: u8 = 0x57;
        match self {
            Self::Op(op) => out.push(Item::Op(op)),
            Self::Small(value) => out.push(Item::push(U256::from(value))),
            Self::Offset(value) => out.push(Item::push(U256::from(value))),
            Self::Power(power, plus) => {
                let plus = U256::from(plus.unsigned_abs());
                let value = U256::from(1) << power as usize;
                let value = if power & 1 == 0 {
                    value.wrapping_add(plus)
                } else {
                    value.wrapping_sub(plus)
                };
                out.push(Item::push(value));
            }
            Self::Word(bytes) => out.push(Item::Push(32, U256::from_be_bytes(bytes))),
            Self::Padded(width, value) => {
                let value = U256::from(value);
                out.push(Item::Push((width % 33).max(value.byte_len() as u8), value));
            }
            Self::PushLabel(label) => out.push(Item::PushLabel(u32::from(label % 8))),
            Self::Label(label) => out.push(Item::Label(u32::from(label % 8))),
            Self::Jump(label) => {
                out.extend([Item::PushLabel(u32::from(label % 8)), Item::Op(JUMP)]);
            }
            Self::JumpIf(label) => {
                out.extend([Item::PushLabel(u32::from(label % 8)), Item::Op(JUMPI)]);
            }
            Self::Raw(byte) => out.push(Item::Raw(vec![byte])),
        }
    }
}

/// The input that stands for this code and calldata, as raw bytes, with gas for most programs.
pub fn input(fork: u8, calldata: &[u8], code: &[u8]) -> Vec<u8> {
    let calldata_len = u8::try_from(calldata.len()).expect("short calldata");
    let gas = (GAS_LIMITS - 1).to_le_bytes();
    let head = [fork, 0, gas[0], gas[1], gas[2], calldata_len, 0, 0];
    [&head[..], calldata, code].concat()
}

/// A program and how it is called.
pub struct Case {
    spec_id: SpecId,
    gas_limit: u64,
    code: Bytes,
    input: Bytes,
    value: U256,
    is_static: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fork {:?}, gas {}, value {}, static {}, calldata 0x{}, code 0x{}",
            self.spec_id,
            self.gas_limit,
            self.value,
            self.is_static,
            hex::encode(&self.input),
            hex::encode(&self.code)
        )
    }
}

/// The case that an input stands for; `None` for one that is too short.
pub fn case(data: &[u8]) -> Option<Case> {
    let (head, rest) = data.split_first_chunk::<8>()?;
    let (input, code) = rest.split_at(rest.len().min(usize::from(head[5])));
    let code = if head[1] & 4 == 0 {
        code.to_vec()
    } else {
        let instructions = Vec::<Instruction>::arbitrary_take_rest(Unstructured::new(code)).ok()?;
        let mut items = Vec::new();
        instructions
            .into_iter()
            .for_each(|instruction| instruction.items(&mut items));
        assemble(&items)
    };
    if code.is_empty() || code.len() > MAX_CODE_LEN {
        return None;
    }
    let gas = u64::from(head[2]) | u64::from(head[3]) << 8 | u64::from(head[4]) << 16;
    let is_static = head[1] & 1 != 0;
    Some(Case {
        spec_id: FORKS[usize::from(head[0]) % FORKS.len()],
        gas_limit: gas % GAS_LIMITS,
        code: code.into(),
        input: input.to_vec().into(),
        value: U256::from(u8::from(head[1] & 2 != 0 && !is_static)),
        is_static,
    })
}

impl Case {
    fn state(&self) -> InMemoryDB {
        let mut db = InMemoryDB::default();
        let mut insert = |address: Address, code: Bytes| {
            // Code that starts like EIP-7702's designator is none of a contract's.
            let code = Bytecode::new_raw_checked(code).unwrap_or_default();
            let balance = U256::from(1) << 80;
            let info = AccountInfo::new(balance, 1, code.hash_slow(), code);
            db.insert_account_info(address, info);
        };
        insert(SENDER, Bytes::new());
        insert(CONTRACT, self.code.clone());
        let call = "CALLDATASIZE 0 0 CALLDATACOPY 0 0 CALLDATASIZE 0 0xee GAS STATICCALL POP \
                    RETURNDATASIZE 0 0 RETURNDATACOPY RETURNDATASIZE 0 RETURN";
        insert(STATIC, asm(call).into());
        for (low, text) in ACTORS {
            insert(Address::with_last_byte(low), asm(text).into());
        }
        for (key, value) in [
            (1u64, U256::from(1)),
            (2, U256::MAX),
            (32, U256::from(0x1234)),
        ] {
            db.insert_account_storage(CONTRACT, U256::from(key), value)
                .expect("a database in memory has no errors");
        }
        db
    }

    fn transaction(&self) -> TxEnv {
        TxEnv {
            caller: SENDER,
            kind: TxKind::Call(if self.is_static { STATIC } else { CONTRACT }),
            // What the transaction itself takes (Yellow Paper, section 6.2, and EIP-7623), at most.
            gas_limit: self.gas_limit + 21_000 + 100 * self.input.len() as u64,
            data: self.input.clone(),
            value: self.value,
            nonce: 1,
            chain_id: None,
            ..TxEnv::default()
        }
    }

    /// By the interpreter and through `backend`: what differs, if anything does.
    fn compare(&self, backend: &JitBackend) -> Result<(), String> {
        let evm = || {
            let mut block = BlockEnv {
                number: U256::from(20_000_000),
                timestamp: U256::from(1_720_000_000),
                gas_limit: u64::MAX,
                prevrandao: Some([0x77; 32].into()),
                ..BlockEnv::default()
            };
            block.set_blob_excess_gas_and_price(0, 3_338_477);
            Context::mainnet()
                .with_db(self.state())
                .with_block(block)
                .modify_cfg_chained(|cfg| cfg.set_spec_and_mainnet_gas_params(self.spec_id))
                .build_mainnet()
        };
        let plain = evm().transact(self.transaction());
        let native = JitEvm::new(evm(), backend.clone()).transact(self.transaction());
        let show = |done| format!("{done:#?}");
        match (plain, native) {
            (Ok(plain), Ok(native)) => {
                if (&plain.result, &plain.state) == (&native.result, &native.state) {
                    return Ok(());
                }
                Err(format!(
                    "{}\nnatively {}",
                    show((plain.result, plain.state)),
                    show((native.result, native.state))
                ))
            }
            (plain, native) => {
                let (plain, native) = (format!("{:?}", plain.err()), format!("{:?}", native.err()));
                if plain == native {
                    return Ok(());
                }
                Err(format!("{plain}, natively {native}"))
            }
        }
    }
}

struct Backends {
    /// Fast tier, optimised tier.
    tiers: [JitBackend; 2],
    /// What did not compile although it should.
    failures: Arc<Mutex<Vec<String>>>,
    used: Cell<u32>,
}

thread_local! {
    static BACKENDS: OnceCell<Backends> = const { OnceCell::new() };
}

impl Backends {
    fn new() -> Self {
        let failures = Arc::new(Mutex::new(Vec::new()));
        let tiers = [OptimizationLevel::None, OptimizationLevel::Default].map(|level| {
            let mut config = RuntimeConfig::default();
            config.blocking = true;
            config.tuning.jit_opt_level = level;
            config.tuning.jit_tiered = false;
            // Init code may be longer than a contract.
            config.tuning.jit_max_bytecode_len = 1 << 20;
            // What is compiled is compared here, with more than a trial has.
            config.tuning.trial = Budget::Off;
            // The instrumented compiler is slow, and here every failure counts.
            config.tuning.compile_time_base = Duration::from_secs(600);
            config.tuning.native_len_base = 1 << 30;
            let failures = failures.clone();
            config.on_compilation = Some(Arc::new(move |event| {
                if !event.success() {
                    failures
                        .lock()
                        .expect("no panic holds it")
                        .push(event.to_string());
                }
            }));
            JitBackend::new(config).expect("the configuration is valid")
        });
        Self {
            tiers,
            failures,
            used: Cell::new(0),
        }
    }
}

/// Runs one input.
///
/// # Panics
/// If compiled code differs from the interpreter, or something did not compile.
pub fn run(data: &[u8]) {
    let Some(case) = case(data) else { return };
    BACKENDS.with(|cell| {
        let backends = cell.get_or_init(Backends::new);
        backends.used.set(backends.used.get() + 1);
        for (tier, backend) in backends.tiers.iter().enumerate() {
            if backends.used.get() % CLEAR_AFTER == 0 {
                backend.clear_resident().expect("the backend runs");
            }
            if let Err(difference) = case.compare(backend) {
                panic!("tier {tier}: {difference}\n{case}");
            }
        }
        let failures = backends.failures.lock().expect("no panic holds it");
        assert!(failures.is_empty(), "not compiled: {failures:?}\n{case}");
    });
}
