//! One program by the interpreter and through [`JitBackend`] in blocking mode, at both tiers.
//!
//! An input is a head of eight bytes, calldata, and code: raw bytes, or a list of [`Instruction`]s,
//! from which jumps that land and pushes that are whole come out more often.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | fork, modulo their number |
//! | 1 | bit 0: static call; bit 1: with value; bit 2: the code is instructions |
//! | 2 to 4 | gas limit, little endian, modulo [`GAS_LIMITS`] |
//! | 5 | bytes of calldata |
//! | 6, 7 | nothing |

use crate::common::asm::{Item, assemble};
use crate::common::case::{Case, FORKS};
use crate::with_jit::WithJit;
use arbitrary::{Arbitrary, Unstructured};
use revmc::OptimizationLevel;
use revmc::primitives::U256;
use revmc_jit::{JitBackend, RuntimeConfig};
use std::cell::{Cell, OnceCell};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const GAS_LIMITS: u64 = 400_000;

/// Inputs after which the backends forget their programs.
const CLEAR_AFTER: u32 = 256;

/// Longer code only slows the search.
const MAX_CODE_LEN: usize = 4096;

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
    let mut case = Case::new(code)
        .on(FORKS[usize::from(head[0]) % FORKS.len()])
        .gas(gas % GAS_LIMITS)
        .input(input.to_vec());
    case.is_static = head[1] & 1 != 0;
    if head[1] & 2 != 0 && !case.is_static {
        case.value = U256::from(1);
    }
    Some(case)
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
            let verdict = case.compare(&mut WithJit::new(backend));
            if let Err(difference) = verdict {
                panic!("tier {tier}: {difference}\n{case}");
            }
        }
        let failures = backends.failures.lock().expect("no panic holds it");
        assert!(failures.is_empty(), "not compiled: {failures:?}\n{case}");
    });
}
