//! Single frames of a chain with rules of its own, whose odd instructions do to the interpreter what
//! safe code can: by the interpreter, by programs of both tiers, and with the sides changed in between.
//! Everything that can be told of the frame, and how it ended, must be equal.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | fork, modulo their number |
//! | 1 to 3 | gas limit, little endian |
//! | 4 | modulo 8: how many rules differ from mainnet's |
//! | 5 | modulo 32: how many [`Deed`]s there are |
//! | 6, 7 | where the sides change |
//! | 8.. | three bytes a rule: opcode, kind, price; two a deed; then the code |

use crate::common::{
    self,
    case::FORKS,
    frame::{Context, LEVELS, Table, config, program, state, tosses},
};
use revm::{
    interpreter::{
        CallInput, GasTable, Host, Instruction, InstructionExecResult, InstructionResult,
        Interpreter, InterpreterAction, Stack,
        host::DummyHost,
        instruction_table,
        interpreter_types::{Jumps, LoopControl},
    },
    primitives::{U256, hex},
};
use revmc_jit::{
    Chain, CompiledProgram, Error, ForkRules,
    primitives::{Bytes, OptimizationLevel, SpecId, keccak256},
    trial::Budget,
};
use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

/// Longer code only slows the search.
const MAX_CODE_LEN: usize = 2048;

/// Frames that odd instructions run inside of each other.
const MAX_DEPTH: usize = 2;

/// What an odd instruction does, and how much of it.
#[derive(Clone, Copy, Debug)]
struct Deed(u8, u8);

/// What a panic of an odd instruction carries.
#[derive(Debug, PartialEq)]
struct Odd(u8);

/// A frame and the chain that it is of.
struct Case {
    spec_id: SpecId,
    gas_limit: u64,
    rules: Vec<(u8, u8, u16)>,
    deeds: Vec<Deed>,
    seed: u64,
    code: Bytes,
}

/// The case that an input stands for; `None` for one that is too short or too long.
fn case(data: &[u8]) -> Option<Case> {
    let (head, rest) = data.split_first_chunk::<8>()?;
    let rules = usize::from(head[4] % 8);
    let deeds = usize::from(head[5] % 32);
    let (rules, rest) = rest.split_at_checked(3 * rules)?;
    let (deeds, code) = rest.split_at_checked(2 * deeds)?;
    if code.is_empty() || code.len() > MAX_CODE_LEN || code[0] == 0xef {
        return None;
    }
    let rule = |bytes: &[u8]| (bytes[0], bytes[1], u16::from(bytes[2]) << (bytes[1] >> 5));
    Some(Case {
        spec_id: FORKS[usize::from(head[0]) % FORKS.len()],
        gas_limit: u64::from(head[1]) | u64::from(head[2]) << 8 | u64::from(head[3]) << 16,
        rules: rules.chunks_exact(3).map(rule).collect(),
        deeds: deeds.chunks_exact(2).map(|d| Deed(d[0], d[1])).collect(),
        seed: u64::from(head[6]) << 8 | u64::from(head[7]),
        code: Bytes::copy_from_slice(code),
    })
}

/// Who runs the frames of a run.
#[derive(Clone)]
enum Side {
    Interpreter,
    Native(Arc<CompiledProgram>),
    Mixed(Arc<CompiledProgram>),
}

/// A run that is under way, for the odd instructions.
struct Run {
    side: Side,
    case: Arc<Case>,
    table: Table,
    gas_table: GasTable,
}

thread_local! {
    static RUN: RefCell<Option<Arc<Run>>> = const { RefCell::new(None) };
    /// The next deed.
    static NEXT: Cell<usize> = const { Cell::new(0) };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// The odd instruction.
fn odd(context: Context<'_>) -> InstructionExecResult {
    let run = RUN.with_borrow(Clone::clone).expect("within a run");
    let next = NEXT.get();
    let Some(&Deed(deed, much)) = run.case.deeds.get(next) else {
        let top = context.interpreter.stack.data_mut().last_mut();
        *top.ok_or(InstructionResult::StackUnderflow)? = U256::from(0xbb);
        return Ok(());
    };
    NEXT.set(next + 1);
    let (interpreter, amount) = (context.interpreter, usize::from(much));
    match deed % 16 {
        0 => {
            let stack = interpreter.stack.data_mut();
            let room = (1024 - stack.len()).min(amount % 40);
            stack.extend((0..room).map(|index| U256::from(index) << amount));
        }
        1 => {
            let stack = interpreter.stack.data_mut();
            stack.truncate(stack.len().saturating_sub(amount % 40));
        }
        2 => {
            let mut other = Stack::new();
            other.data_mut().extend_from_slice(interpreter.stack.data());
            interpreter.stack = other;
        }
        3 => {
            let params = context.host.gas_params();
            interpreter.resize_memory(params, amount * 7, 32 * amount)?;
        }
        // Not paid for.
        4 => {
            let len = interpreter.memory.len();
            interpreter.memory.resize(len + amount);
        }
        5 => interpreter.input.input = CallInput::Bytes(vec![much; amount].into()),
        6 => {
            let to = amount % run.case.code.len();
            // Elsewhere is push data, which may be a push that reads beyond the code and its padding.
            if interpreter.bytecode.is_valid_legacy_jump(to) {
                interpreter.bytecode.absolute_jump(to);
            }
        }
        7 => {
            let results = [
                InstructionResult::Stop,
                InstructionResult::CreateCollision,
                InstructionResult::OutOfGas,
                InstructionResult::FatalExternalError,
            ];
            return Err(results[amount % results.len()]);
        }
        // No hook: the panic is expected.
        8 => resume_unwind(Box::new(Odd(much))),
        9 => {
            let gas = interpreter.gas;
            let output = Bytes::from(vec![much; amount]);
            let action = InterpreterAction::new_return(InstructionResult::Revert, output, gas);
            interpreter.bytecode.set_action(action);
            return Err(InstructionResult::Revert);
        }
        10 => interpreter.return_data.0 = vec![much; amount].into(),
        11 => {
            let left = interpreter.gas.remaining();
            interpreter
                .gas
                .tracker_mut()
                .set_remaining(left - left.min(amount as u64));
        }
        12 => interpreter.gas.record_refund(i64::from(much) - 100),
        13 => {
            let memory = interpreter.memory.len();
            if memory > 0 {
                interpreter.memory.set(amount % memory, &[much]);
            }
        }
        // Another frame of the same code, within this one.
        14 => {
            if DEPTH.get() < MAX_DEPTH {
                DEPTH.set(DEPTH.get() + 1);
                let mut inner = frame(&run.case, 1000 * u64::from(much));
                let action = go(&run, &mut inner);
                DEPTH.set(DEPTH.get() - 1);
                let seen = keccak256(format!("{action:?} {:?}", state(&inner)));
                let top = interpreter.stack.data_mut().last_mut();
                *top.ok_or(InstructionResult::StackUnderflow)? = seen.into();
            }
        }
        _ => interpreter.stack.data_mut().reverse(),
    }
    Ok(())
}

fn frame(case: &Case, gas: u64) -> Interpreter {
    common::frame::frame(case.spec_id, &case.code, gas)
}

/// Runs a frame on the run's side.
fn go(run: &Run, frame: &mut Interpreter) -> InterpreterAction {
    let mut host = DummyHost::new(run.case.spec_id);
    let (table, gas_table) = (&run.table, &run.gas_table);
    match &run.side {
        Side::Interpreter => frame.run_plain(table, gas_table, &mut host),
        Side::Native(program) => program
            .run_frame(frame, table, gas_table, &mut host)
            .expect("the program is for this frame"),
        Side::Mixed(program) => {
            let switch = tosses(run.case.seed);
            program
                .run_frame_switching(frame, table, gas_table, &mut host, switch)
                .expect("the program is for this frame")
        }
    }
}

/// How a run ends: with an action, or the panic of an odd instruction.
fn end(run: Run) -> impl PartialEq + std::fmt::Debug {
    let run = Arc::new(run);
    let mut frame = frame(&run.case, run.case.gas_limit);
    RUN.set(Some(run.clone()));
    NEXT.set(0);
    DEPTH.set(0);
    let caught = catch_unwind(AssertUnwindSafe(|| go(&run, &mut frame)));
    RUN.set(None);
    let panic = |payload: Box<dyn Any + Send>| match payload.downcast::<Odd>() {
        Ok(odd) => *odd,
        Err(other) => resume_unwind(other),
    };
    (caught.map_err(panic), state(&frame), NEXT.get())
}

impl Case {
    /// The chain; the rules of the case are all of one fork.
    fn chain(&self) -> Option<Chain> {
        let chain = Chain::new(|spec_id| {
            let mut rules = ForkRules::default();
            for &(opcode, kind, price) in self.rules.iter().filter(|_| spec_id == self.spec_id) {
                match kind % 4 {
                    0 => rules.repriced.push((opcode, price)),
                    1 | 2 => rules.replaced.push((opcode, price)),
                    _ => rules.added.push((opcode, price)),
                }
            }
            rules
        });
        // Contradictions are refused, and what they are is said.
        chain
            .map_err(|error| assert!(!error.to_string().is_empty()))
            .ok()
    }

    /// The client's instructions: odd where the chain's are not mainnet's.
    fn table(&self) -> Table {
        let mut table = instruction_table();
        // DIFFICULTY, which this host does not answer since the merge.
        table[0x44] = Instruction::new(odd);
        for &(opcode, kind, _) in &self.rules {
            // The interpreter runs beyond the code without a STOP that ends it, and without a push that
            // steps over its data.
            if kind % 4 != 0 && !matches!(opcode, 0x00 | 0x60..=0x7f) {
                table[usize::from(opcode)] = Instruction::new(odd);
            }
        }
        table
    }

    fn program(&self, chain: &Chain, level: OptimizationLevel) -> Option<Arc<CompiledProgram>> {
        let mut config = config(chain, level);
        config.tuning.jit_worker_count = 1;
        // What is compiled is compared here.
        config.tuning.trial = Budget::Off;
        match program(config, self.spec_id, &self.code) {
            Ok(program) => Some(program),
            Err(Error::Ineligible(_)) => None,
            Err(error) => panic!("{error}\n{}", hex::encode(&self.code)),
        }
    }
}

/// Runs one input, and says whether its rules are some and there was something to compare.
///
/// # Panics
/// If native code differs from the interpreter, or something did not compile.
pub fn run(data: &[u8]) -> bool {
    let Some(case) = case(data).map(Arc::new) else {
        return false;
    };
    let Some(chain) = case.chain() else {
        return false;
    };
    let run = |side| Run {
        side,
        case: case.clone(),
        table: case.table(),
        gas_table: *chain.rules(case.spec_id).gas(),
    };
    let expected = end(run(Side::Interpreter));
    for level in LEVELS {
        let Some(program) = case.program(&chain, level) else {
            return false;
        };
        for (name, side) in [
            ("native", Side::Native(program.clone())),
            ("mixed", Side::Mixed(program.clone())),
        ] {
            let found = end(run(side));
            assert_eq!(
                found,
                expected,
                "{name}, {level:?}, {:?}, gas {}, rules {:?}, deeds {:?}, code {}",
                case.spec_id,
                case.gas_limit,
                case.rules,
                case.deeds,
                hex::encode(&case.code)
            );
        }
    }
    true
}
