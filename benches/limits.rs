//! What could be gained: the same work without contracts.
//!
//! `cargo bench --bench limits [-- SECTION] [--json FILE]`; the sections are `loops` and `requests`.
//!
//! `loops` times single frames, without transactions: revm's interpreter on a frame that is ready to run, both
//! tiers on the same, and the same algorithm as a Rust program would have it: on the words that revm's interpreter
//! calculates with (`ruint`), compiled by LLVM, without gas, stack or bytecode. The contracts are [`FIBONACCI`] and
//! [`FACTORIAL`], a thousand rounds each. It is a neighbour rather than a bound: a tier that multiplies better than `ruint`
//! is the faster one.
//!
//! `requests` takes transactions that spend much of their time where no compiler has a say: hashes, storage and logs. These
//! are recorded and done one after the other, by the functions that revm does them with and with nothing between them. `alone`
//! is the time of that and of the same transaction to an account without code; `limit`, what would be gained
//! if all the rest cost nothing. The rest is more than instructions: making frames, cold accounts, and gas.

#[path = "../tests/blocks/mod.rs"]
mod blocks;
#[allow(dead_code)]
#[path = "../examples/quickstart/contracts.rs"]
mod contracts;
mod harness;
#[path = "../examples/report/requests.rs"]
mod requests;

use blocks::{native, run::timed, step::Runs};
use harness::{
    Session,
    contender::{Contender, take_turns},
    report::{Spread, Table},
};
use requests::{Request, Requests};
use revm::{
    bytecode::Bytecode,
    context::TxEnv,
    context_interface::host::DummyHost,
    interpreter::{
        CallInput, InputsImpl, InstructionTable, Interpreter, InterpreterAction, SharedMemory,
        instruction_table,
        instructions::gas_table_spec,
        interpreter::{EthInterpreter, ExtBytecode},
    },
    primitives::{B256, Bytes, U256, hardfork::SpecId, hex, keccak256},
};
use revmc_jit::{
    CompiledProgram, JitBackend, LookupRequest, RuntimeCacheKey, compiler::Tier, revm::JitEvm,
};
use std::{
    hint::black_box,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

const FORK: SpecId = SpecId::OSAKA;

/// Rounds of the loops: the calldata.
const ROUNDS: U256 = U256::from_limbs([1000, 0, 0, 0]);

const GAS: u64 = 10_000_000;

/// The member of the sequence that calldata's first word says. At the loop's head the stack is rounds, a, b.
///
/// ```text
/// 00           PUSH0 CALLDATALOAD PUSH0 PUSH1 1
/// 05  JUMPDEST DUP3 ISZERO PUSH1 1a JUMPI
///              DUP2 DUP2 ADD SWAP2 POP SWAP1        a, b = b, a + b
///              SWAP2 PUSH1 1 SWAP1 SUB SWAP2        rounds = rounds - 1
///              PUSH1 05 JUMP
/// 1a  JUMPDEST POP PUSH0 MSTORE PUSH1 20 PUSH0 RETURN
/// ```
const FIBONACCI: &str = "5f355f60015b8215601a578181019150909160019003916005565b505f5260205ff3";

/// The factorial of calldata's first word. At the loop's head the stack is rounds, product.
///
/// ```text
/// 00           PUSH0 CALLDATALOAD PUSH1 1
/// 04  JUMPDEST DUP2 ISZERO PUSH1 15 JUMPI
///              DUP2 MUL                             product = product * rounds
///              SWAP1 PUSH1 1 SWAP1 SUB SWAP1        rounds = rounds - 1
///              PUSH1 04 JUMP
/// 15  JUMPDEST PUSH0 MSTORE PUSH1 20 PUSH0 RETURN
/// ```
const FACTORIAL: &str = "5f3560015b811560155781029060019003906004565b5f5260205ff3";

#[inline(never)]
fn fibonacci(mut rounds: U256) -> U256 {
    let (mut a, mut b) = (U256::ZERO, U256::ONE);
    while !rounds.is_zero() {
        (a, b) = (b, a.wrapping_add(b));
        rounds = rounds.wrapping_sub(U256::ONE);
    }
    a
}

#[inline(never)]
fn factorial(mut rounds: U256) -> U256 {
    let mut product = U256::ONE;
    while !rounds.is_zero() {
        product = product.wrapping_mul(rounds);
        rounds = rounds.wrapping_sub(U256::ONE);
    }
    product
}

/// A contract, and how to make frames of it.
struct Contract {
    hash: B256,
    code: Bytecode,
    input: Bytes,
}

type Instructions = InstructionTable<EthInterpreter, DummyHost>;

impl Contract {
    fn new(code: &str) -> Self {
        let code = hex::decode(code).expect("hexadecimal digits");
        Self {
            hash: keccak256(&code),
            code: Bytecode::new_legacy(code.into()),
            input: ROUNDS.to_be_bytes_vec().into(),
        }
    }

    /// A frame that is ready to run, in place of the last one.
    fn prepare(&self, frame: &mut Interpreter) {
        frame.clear(
            SharedMemory::new(),
            ExtBytecode::new_with_hash(self.code.clone(), self.hash),
            InputsImpl {
                input: CallInput::Bytes(self.input.clone()),
                ..InputsImpl::default()
            },
            false,
            FORK,
            GAS,
            0,
        );
    }

    fn compile(&self, tier: Tier) -> Arc<CompiledProgram> {
        let key = RuntimeCacheKey {
            code_hash: self.hash,
            spec_id: FORK,
        };
        let code = self.code.original_bytes();
        let backend = JitBackend::new(native::config(tier)).expect("a backend");
        let compiled = backend.compile_jit_sync(LookupRequest { key, code });
        compiled.expect("the contract compiles");
        let program = backend.get_compiled(key.code_hash, key.spec_id);
        program.expect("was just compiled")
    }

    /// The time of `n` frames, without what it takes to prepare them; they return `expected`.
    fn time(
        &self,
        n: usize,
        expected: U256,
        mut run: impl FnMut(&mut Interpreter) -> InterpreterAction,
    ) -> Duration {
        let mut frame = Interpreter::default();
        let mut spent = Duration::ZERO;
        for _ in 0..n {
            self.prepare(&mut frame);
            let begin = Instant::now();
            let action = run(black_box(&mut frame));
            spent += begin.elapsed();
            let InterpreterAction::Return(result) = action else {
                unreachable!("the contracts call nothing");
            };
            assert_eq!(U256::from_be_slice(&result.output), expected);
        }
        spent
    }
}

fn loops(session: &mut Session) {
    let columns = [
        "interpreter, ns",
        "tier 1, ns",
        "tier 2, ns",
        "Rust, ns",
        "tier 1, x faster",
        "tier 2, x faster",
        "Rust, x faster",
    ];
    let title = "one frame of a thousand rounds, without a transaction";
    let mut table = Table::new(title, &columns).chart(5);
    let (instructions, gas): (Instructions, _) = (instruction_table(), gas_table_spec(FORK));
    type Algorithm = fn(U256) -> U256;
    let algorithms: [(&str, &str, Algorithm); 2] = [
        ("fibonacci", FIBONACCI, fibonacci),
        ("factorial", FACTORIAL, factorial),
    ];
    for (name, code, algorithm) in algorithms {
        let contract = Contract::new(code);
        let expected = algorithm(ROUNDS);
        let [first, second] = [Tier::Baseline, Tier::Optimized].map(|tier| contract.compile(tier));
        let interpreted = |_, _, n| {
            let mut host = DummyHost::new(FORK);
            contract.time(n, expected, |frame| {
                frame.run_plain(&instructions, &gas, &mut host)
            })
        };
        let native = |program: &CompiledProgram, n| {
            let mut host = DummyHost::new(FORK);
            contract.time(n, expected, |frame| {
                let action = program.run_frame(frame, &instructions, &gas, &mut host);
                action.expect("the program is for this frame")
            })
        };
        let rust = |_, _, n| {
            let begin = Instant::now();
            for _ in 0..n {
                black_box(algorithm(black_box(ROUNDS)));
            }
            begin.elapsed()
        };
        let mut contenders = [
            Contender::new("interpreter", 1, Box::new(interpreted)),
            Contender::new("tier 1", 1, Box::new(|_, _, n| native(&first, n))),
            Contender::new("tier 2", 1, Box::new(|_, _, n| native(&second, n))),
            Contender::new("Rust", 1, Box::new(rust)),
        ];
        take_turns(session.effort, &mut contenders);
        let [interpreter, others @ ..] = &contenders;
        let mut cells: Vec<_> = contenders.iter().map(Contender::median).collect();
        cells.extend(others.iter().map(|other| interpreter.ratio_to(other)));
        table.row(name, &cells);
    }
    session.add(table);
}

/// The contracts' calls that are taken, by file and name.
const CALLS: [(&str, &str); 4] = [
    ("Loops.sol", "300 hashes"),
    ("Token.sol", "transfer"),
    ("Token.sol", "transferFrom"),
    ("Pair.sol", "swap gold for silver"),
];

fn requests(session: &mut Session) {
    let columns = [
        "hashes",
        "storage, logs",
        "interpreter, ns",
        "alone, ns",
        "tier 1, x faster",
        "tier 2, x faster",
        "limit, x faster",
    ];
    let title = "one transaction, and its hashes, storage and logs alone";
    let mut table = Table::new(title, &columns).chart(6);
    let scenarios = contracts::scenarios().expect("the examples' contracts are deployed");
    let calls = scenarios.iter().flat_map(|scenario| {
        let calls = scenario.calls.iter().map(move |call| (scenario, call));
        calls.filter(|(scenario, call)| CALLS.contains(&(scenario.file, call.0)))
    });
    for (scenario, (name, call)) in calls {
        let (state, empty) = (&scenario.state, requests::without_code(call));
        let asked = Requests::of(contracts::evm(state.clone()), call.clone());
        let is_hash = |request: &&Request| matches!(request, Request::Hash(_));
        let hashes = asked.list.iter().filter(is_hash).count();
        let [first, second] = [Tier::Baseline, Tier::Optimized]
            .map(|tier| native::blocking(tier).expect("a blocking backend"));
        let evm = || contracts::evm(state.clone());
        let native = |backend: &JitBackend, n| {
            repeat(n, || time(&mut JitEvm::new(evm(), backend.clone()), call))
        };
        let alone = |_, _, n| {
            let transfer = repeat(n, || time(&mut evm(), &empty));
            transfer + repeat(n, || asked.time(&mut evm()))
        };
        let interpreted = |_, _, n| repeat(n, || time(&mut evm(), call));
        let mut contenders = [
            Contender::new("interpreter", 1, Box::new(interpreted)),
            Contender::new("alone", 1, Box::new(alone)),
            Contender::new("tier 1", 1, Box::new(|_, _, n| native(&first, n))),
            Contender::new("tier 2", 1, Box::new(|_, _, n| native(&second, n))),
        ];
        take_turns(session.effort, &mut contenders);
        let [interpreter, alone, first, second] = &contenders;
        let cells = [
            Spread::exact(hashes as f64),
            Spread::exact((asked.list.len() - hashes) as f64),
            interpreter.median(),
            alone.median(),
            interpreter.ratio_to(first),
            interpreter.ratio_to(second),
            interpreter.ratio_to(alone),
        ];
        table.row(format!("{}: {name}", scenario.file), &cells);
    }
    session.add(table);
}

/// The time of `n` runs.
fn repeat(n: usize, run: impl FnMut() -> Duration) -> Duration {
    std::iter::repeat_with(run).take(n).sum()
}

/// The time of a transaction.
fn time<E: Runs>(evm: &mut E, transaction: &TxEnv) -> Duration {
    let (time, result) = timed(evm, transaction);
    result.expect("the examples' calls are valid");
    time
}

fn main() -> ExitCode {
    harness::run("limits", &[("loops", loops), ("requests", requests)])
}
