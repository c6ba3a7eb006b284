//! Runs a whole call tree: frames are executed by a [`FrameExecutor`], calls and creates by the
//! driver, as revm's own loop does it. Frames are kept on an explicit stack, so call depth does
//! not use the thread's stack.

use super::world::{Checkpoint, World};
use revmc_jit::revmc::interpreter::opcode::{InstructionTable, make_instruction_table};
use revmc_jit::revmc::interpreter::{
    CallInputs, CallOutcome, CallScheme, CallValue, Contract, CreateInputs, CreateOutcome,
    CreateScheme, Gas, Host, InstructionResult, Interpreter, InterpreterAction, InterpreterResult,
    MAX_CODE_SIZE, SharedMemory, gas,
};
use revmc_jit::revmc::primitives::{
    Address, B256, Bytecode, Bytes, SpecId, U256, keccak256, spec_to_generic,
};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// Yellow Paper, section 9.4.2: calls nest at most this deep.
const CALL_STACK_LIMIT: usize = 1024;

/// Stands on the operand stack where no word is.
const POISON: U256 = U256::from_limbs([0xa5a5_a5a5_a5a5_a5a5; 4]);

/// Runs frames. What runs a frame is chosen when it begins and stays with it to its end: a frame
/// that native code suspended can only be resumed by that code.
pub trait FrameExecutor {
    /// What runs a frame.
    type Program;

    fn choose(&mut self, spec_id: SpecId, contract: &Contract) -> Self::Program;

    /// Runs the frame until it ends or suspends at a call or create.
    fn run(
        &mut self,
        program: &Self::Program,
        interpreter: &mut Interpreter,
        memory: &mut SharedMemory,
        world: &mut World,
    ) -> InterpreterAction;
}

/// The oracle: every frame by `revm-interpreter`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Oracle;

impl FrameExecutor for Oracle {
    type Program = ();

    fn choose(&mut self, _: SpecId, _: &Contract) {}

    fn run(
        &mut self,
        _: &(),
        interpreter: &mut Interpreter,
        memory: &mut SharedMemory,
        world: &mut World,
    ) -> InterpreterAction {
        let taken = std::mem::take(memory);
        let action = interpreter.run(taken, instruction_table(world.spec_id), world);
        *memory = interpreter.take_memory();
        action
    }
}

/// The interpreter's instruction table for a fork, built once.
fn instruction_table(spec_id: SpecId) -> &'static InstructionTable<World> {
    static TABLES: [OnceLock<InstructionTable<World>>; 32] = [const { OnceLock::new() }; 32];
    TABLES[spec_id as usize]
        .get_or_init(|| spec_to_generic!(spec_id, make_instruction_table::<World, SPEC>()))
}

/// A top-level message call.
#[derive(Clone, Debug)]
pub struct Message {
    pub caller: Address,
    pub to: Address,
    pub value: U256,
    pub input: Bytes,
    pub gas_limit: u64,
    pub is_static: bool,
}

/// What a frame showed to the outside at one of its ends: a suspension or the return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub depth: usize,
    pub action: InterpreterAction,
    pub gas_remaining: u64,
    pub gas_refunded: i64,
    pub memory: MemoryView,
    /// The operand stack, at a suspension only: compiled code need not keep it up to date at the
    /// end of a frame.
    pub stack: Vec<U256>,
}

/// Length and hash stand for the content, the first bytes are for the reader of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryView {
    pub len: usize,
    pub hash: B256,
    pub head: Bytes,
}

impl MemoryView {
    fn of(memory: &SharedMemory) -> Self {
        let bytes = memory.context_memory();
        Self {
            len: bytes.len(),
            hash: keccak256(bytes),
            head: Bytes::copy_from_slice(&bytes[..bytes.len().min(128)]),
        }
    }
}

/// The result of a call tree.
#[derive(Clone, Debug)]
pub struct Run {
    pub result: InterpreterResult,
    /// Empty unless events were recorded.
    pub events: Vec<Event>,
}

enum FrameKind {
    Call {
        memory_offset: std::ops::Range<usize>,
    },
    Create {
        address: Address,
    },
}

struct Frame {
    interpreter: Interpreter,
    checkpoint: Checkpoint,
    kind: FrameKind,
}

/// What starting a call or create led to.
enum Started {
    Frame(Box<Frame>),
    Call(CallOutcome),
    Create(CreateOutcome),
}

/// Runs `message` and everything it calls. The world keeps the effects if it succeeds.
pub fn run_message<E: FrameExecutor>(
    executor: &mut E,
    world: &mut World,
    message: &Message,
    record_events: bool,
) -> Run {
    let inputs = CallInputs {
        input: message.input.clone(),
        return_memory_offset: 0..0,
        gas_limit: message.gas_limit,
        bytecode_address: message.to,
        target_address: message.to,
        caller: message.caller,
        value: CallValue::Transfer(message.value),
        scheme: CallScheme::Call,
        is_static: message.is_static,
        is_eof: false,
    };
    world.warm(message.caller);
    let mut events = Vec::new();
    let mut memory = SharedMemory::new();
    let mut frames: Vec<(Box<Frame>, E::Program)> = Vec::new();
    let spec_id = world.spec_id;
    match start_call(world, 0, &inputs) {
        Started::Frame(frame) => {
            let program = executor.choose(spec_id, &frame.interpreter.contract);
            frames.push((frame, program));
        }
        Started::Call(outcome) => {
            return Run {
                result: outcome.result,
                events,
            };
        }
        Started::Create(_) => unreachable!("start_call does not create"),
    }
    memory.new_context();
    loop {
        let depth = frames.len();
        let (frame, program) = frames
            .last_mut()
            .expect("the loop ends with the last frame");
        // What an earlier run left in the same memory must not pass for what this one stored.
        let unused = frame.interpreter.stack.data_mut().spare_capacity_mut();
        unused.fill(MaybeUninit::new(POISON));
        let action = executor.run(program, &mut frame.interpreter, &mut memory, world);
        if record_events {
            events.push(Event {
                depth,
                gas_remaining: frame.interpreter.gas.remaining(),
                gas_refunded: frame.interpreter.gas.refunded(),
                memory: MemoryView::of(&memory),
                stack: match action {
                    InterpreterAction::Return { .. } => Vec::new(),
                    _ => frame.interpreter.stack.data().clone(),
                },
                action: action.clone(),
            });
        }
        let started = match action {
            InterpreterAction::Call { inputs } => start_call(world, depth, &inputs),
            InterpreterAction::Create { inputs } => start_create(world, depth, &inputs),
            InterpreterAction::Return { result } => {
                memory.free_context();
                let (frame, _) = frames.pop().expect("it just ran");
                if result.result == InstructionResult::FatalExternalError {
                    return Run { result, events };
                }
                let finished = finish(world, *frame, result);
                if frames.is_empty() {
                    let result = match finished {
                        Started::Call(outcome) => outcome.result,
                        Started::Create(outcome) => outcome.result,
                        Started::Frame(_) => unreachable!("finish starts nothing"),
                    };
                    return Run { result, events };
                }
                finished
            }
            InterpreterAction::EOFCreate { .. } | InterpreterAction::None => {
                unreachable!("no EOF code is run and a frame always ends with an action")
            }
        };
        match started {
            Started::Frame(frame) => {
                let program = executor.choose(spec_id, &frame.interpreter.contract);
                frames.push((frame, program));
                memory.new_context();
            }
            Started::Call(outcome) => {
                let (parent, _) = frames.last_mut().expect("someone called");
                parent.interpreter.insert_call_outcome(&mut memory, outcome);
            }
            Started::Create(outcome) => {
                let (parent, _) = frames.last_mut().expect("someone created");
                parent.interpreter.insert_create_outcome(outcome);
            }
        }
    }
}

fn start_call(world: &mut World, depth: usize, inputs: &CallInputs) -> Started {
    let end = |result, output, gas| {
        let result = InterpreterResult {
            result,
            output,
            gas,
        };
        Started::Call(CallOutcome::new(
            result,
            inputs.return_memory_offset.clone(),
        ))
    };
    let gas = Gas::new(inputs.gas_limit);
    if depth > CALL_STACK_LIMIT {
        return end(InstructionResult::CallTooDeep, Bytes::new(), gas);
    }
    world.warm(inputs.bytecode_address);
    let (code, code_hash) = world
        .account(inputs.bytecode_address)
        .map(|a| (a.code.clone(), a.code_hash))
        .unwrap_or_default();
    let checkpoint = world.checkpoint();
    if let CallValue::Transfer(value) = inputs.value {
        if value.is_zero() {
            world.warm(inputs.target_address);
            world.touch(inputs.target_address);
        } else if !world.transfer(inputs.caller, inputs.target_address, value) {
            world.revert(checkpoint);
            return end(InstructionResult::OutOfFunds, Bytes::new(), gas);
        }
    }
    if inputs.bytecode_address == IDENTITY {
        return call_identity(world, checkpoint, inputs, gas);
    }
    if code.is_empty() {
        return end(InstructionResult::Stop, Bytes::new(), gas);
    }
    let contract = Contract::new_with_context(inputs.input.clone(), code, Some(code_hash), inputs);
    Started::Frame(Box::new(Frame {
        interpreter: Interpreter::new(contract, inputs.gas_limit, inputs.is_static),
        checkpoint,
        kind: FrameKind::Call {
            memory_offset: inputs.return_memory_offset.clone(),
        },
    }))
}

/// Address of the identity precompile (Yellow Paper, appendix E), the only one modelled.
pub const IDENTITY: Address =
    revmc_jit::revmc::primitives::address!("0000000000000000000000000000000000000004");

fn call_identity(
    world: &mut World,
    checkpoint: Checkpoint,
    inputs: &CallInputs,
    mut gas: Gas,
) -> Started {
    let cost = 15 + 3 * (inputs.input.len() as u64).div_ceil(32);
    let (result, output) = if gas.record_cost(cost) {
        (InstructionResult::Return, inputs.input.clone())
    } else {
        world.revert(checkpoint);
        (InstructionResult::PrecompileOOG, Bytes::new())
    };
    let result = InterpreterResult {
        result,
        output,
        gas,
    };
    Started::Call(CallOutcome::new(
        result,
        inputs.return_memory_offset.clone(),
    ))
}

fn start_create(world: &mut World, depth: usize, inputs: &CreateInputs) -> Started {
    let end = |result| {
        let gas = Gas::new(inputs.gas_limit);
        let result = InterpreterResult {
            result,
            output: Bytes::new(),
            gas,
        };
        Started::Create(CreateOutcome::new(result, None))
    };
    if depth > CALL_STACK_LIMIT {
        return end(InstructionResult::CallTooDeep);
    }
    let funds = world.balance(inputs.caller).map_or(U256::ZERO, |(b, _)| b);
    if funds < inputs.value {
        return end(InstructionResult::OutOfFunds);
    }
    let Some(nonce) = world.increment_nonce(inputs.caller) else {
        return end(InstructionResult::Return);
    };
    let hash = keccak256(&inputs.init_code);
    let address = match inputs.scheme {
        CreateScheme::Create => inputs.caller.create(nonce),
        CreateScheme::Create2 { salt } => inputs.caller.create2(salt.to_be_bytes(), hash),
    };
    world.warm(address);
    let checkpoint = world.checkpoint();
    if world.collides(address) {
        return end(InstructionResult::CreateCollision);
    }
    world.mark_created(address);
    world.transfer(inputs.caller, address, inputs.value);
    if world.spec_id.is_enabled_in(SpecId::SPURIOUS_DRAGON) {
        world.increment_nonce(address);
    }
    let contract = Contract::new(
        Bytes::new(),
        Bytecode::new_raw(inputs.init_code.clone()),
        Some(hash),
        address,
        inputs.caller,
        inputs.value,
    );
    Started::Frame(Box::new(Frame {
        interpreter: Interpreter::new(contract, inputs.gas_limit, false),
        checkpoint,
        kind: FrameKind::Create { address },
    }))
}

/// Keeps or undoes the frame's effects and forms its outcome.
fn finish(world: &mut World, frame: Frame, mut result: InterpreterResult) -> Started {
    match frame.kind {
        FrameKind::Call { memory_offset } => {
            if !result.is_ok() {
                world.revert(frame.checkpoint);
            }
            Started::Call(CallOutcome::new(result, memory_offset))
        }
        FrameKind::Create { address } => {
            if result.is_ok() {
                deploy(world, address, &mut result);
            }
            if !result.is_ok() {
                world.revert(frame.checkpoint);
            }
            Started::Create(CreateOutcome::new(result, Some(address)))
        }
    }
}

/// Charges for and stores the code that init code returned.
fn deploy(world: &mut World, address: Address, result: &mut InterpreterResult) {
    let spec_id = world.spec_id;
    // EIP-3541.
    if spec_id.is_enabled_in(SpecId::LONDON) && result.output.first() == Some(&0xef) {
        result.result = InstructionResult::CreateContractStartingWithEF;
        return;
    }
    // EIP-170.
    if spec_id.is_enabled_in(SpecId::SPURIOUS_DRAGON) && result.output.len() > MAX_CODE_SIZE {
        result.result = InstructionResult::CreateContractSizeLimit;
        return;
    }
    let cost = result.output.len() as u64 * gas::CODEDEPOSIT;
    if !result.gas.record_cost(cost) {
        // EIP-2: before Homestead the account stays, without code.
        if spec_id.is_enabled_in(SpecId::HOMESTEAD) {
            result.result = InstructionResult::OutOfGas;
            return;
        }
        result.output = Bytes::new();
    }
    world.set_code(address, result.output.clone());
    result.result = InstructionResult::Return;
}
