//! What `Program::run_frame` refuses, that a refused frame is untouched, what a frame may
//! read, and how it is left.

use super::asm::asm;
use revmc_jit::compiler::CompileOptions;
use revmc_jit::revmc::interpreter::{
    CallOutcome, Contract, DummyHost, Gas, InstructionResult, Interpreter, InterpreterAction,
    InterpreterResult, SharedMemory,
};
use revmc_jit::revmc::primitives::{Address, B256, Bytecode, Bytes, SpecId, U256};
use revmc_jit::revmc::{FrameError, MAX_GAS, Program, compile};

/// Calls, then returns its memory's first word plus the call's success.
const CALLER: &str = "7 0 MSTORE 0 0 0 0 0 0xa7 1000 CALL 0 MLOAD ADD 0 MSTORE 32 0 RETURN";

fn program(code: &[u8]) -> Program {
    let native = compile(code, SpecId::CANCUN, &CompileOptions::default()).unwrap();
    Program::new(&native).unwrap()
}

fn frame(code: &[u8], hash: Option<B256>) -> Interpreter {
    let code = Bytecode::new_raw(Bytes::copy_from_slice(code));
    let (input, address) = (Bytes::new(), Address::ZERO);
    let contract = Contract::new(input, code, hash, address, address, U256::ZERO);
    Interpreter::new(contract, 1_000_000, false)
}

/// Runs the frame and expects a refusal that leaves it as it was.
fn refused(program: &Program, frame: &mut Interpreter) -> FrameError {
    let state = |frame: &Interpreter| {
        (
            frame.gas,
            frame.instruction_pointer,
            frame.instruction_result,
            frame.stack.data().clone(),
        )
    };
    let before = state(frame);
    let mut memory = SharedMemory::new();
    let error = program
        .run_frame(frame, &mut memory, &mut DummyHost::default())
        .expect_err("refused");
    assert_eq!(state(frame), before);
    assert!(memory.is_empty());
    error
}

fn run(program: &Program, frame: &mut Interpreter, memory: &mut SharedMemory) -> InterpreterAction {
    program
        .run_frame(frame, memory, &mut DummyHost::default())
        .expect("a frame of this program")
}

/// A frame that waits at the call of [`CALLER`], with the call's outcome inserted.
fn after_the_call(program: &Program) -> (Interpreter, SharedMemory) {
    let (mut frame, mut memory) = (frame(&asm(CALLER), None), SharedMemory::new());
    memory.new_context();
    let action = run(program, &mut frame, &mut memory);
    assert!(matches!(action, InterpreterAction::Call { .. }));
    assert_eq!(frame.instruction_result, InstructionResult::CallOrCreate);
    let result = InterpreterResult {
        result: InstructionResult::Stop,
        output: Bytes::new(),
        gas: Gas::new(0),
    };
    frame.insert_call_outcome(&mut memory, CallOutcome::new(result, 0..0));
    (frame, memory)
}

#[test]
fn another_contract() {
    let code = asm("1 2 ADD");
    let program = program(&code);
    let other = B256::repeat_byte(1);
    assert_eq!(
        refused(&program, &mut frame(&code, Some(other))),
        FrameError::CodeHash {
            program: program.code_hash(),
            frame: other
        }
    );
    for text in ["1 2", "1 2 ADD STOP"] {
        let other = asm(text);
        assert_eq!(
            refused(&program, &mut frame(&other, None)),
            FrameError::CodeLength {
                program: code.len(),
                frame: other.len()
            }
        );
    }
    for hash in [None, Some(program.code_hash())] {
        let mut frame = frame(&code, hash);
        let action = run(&program, &mut frame, &mut SharedMemory::new());
        assert!(action.is_return());
        assert_eq!(frame.instruction_result, InstructionResult::Stop);
    }
}

#[test]
fn an_eof_container() {
    let code = asm("1 2 ADD");
    let mut frame = frame(&code, None);
    frame.is_eof = true;
    assert_eq!(refused(&program(&code), &mut frame), FrameError::Eof);
}

#[test]
fn a_frame_that_has_ended_and_one_without_outcome() {
    let code = asm(CALLER);
    let program = program(&code);
    let (mut waiting, mut memory) = (frame(&code, None), SharedMemory::new());
    run(&program, &mut waiting, &mut memory);
    let ended = |result| FrameError::Ended(result);
    assert_eq!(
        refused(&program, &mut waiting),
        ended(InstructionResult::CallOrCreate)
    );
    let (mut frame, mut memory) = after_the_call(&program);
    run(&program, &mut frame, &mut memory);
    assert_eq!(
        refused(&program, &mut frame),
        ended(InstructionResult::Return)
    );
}

#[test]
fn a_frame_that_the_interpreter_began() {
    let code = asm(CALLER);
    let program = program(&code);
    let mut frame = frame(&code, None);
    frame.instruction_pointer = frame.instruction_pointer.wrapping_add(1);
    assert_eq!(refused(&program, &mut frame), FrameError::Interpreted);
}

#[test]
fn a_resume_point_that_is_not_there() {
    let program = program(&asm(CALLER));
    assert_eq!(program.resume_points(), 1);
    let (mut frame, mut memory) = after_the_call(&program);
    assert_eq!(frame.instruction_pointer.addr(), 1);
    for index in [2u32, 3, u32::from(u16::MAX)] {
        let there = frame.instruction_pointer;
        frame.instruction_pointer = std::ptr::without_provenance(index as usize);
        let error = refused(&program, &mut frame);
        assert_eq!(error, FrameError::ResumePoint { index, max: 1 });
        frame.instruction_pointer = there;
    }
    let InterpreterAction::Return { result } = run(&program, &mut frame, &mut memory) else {
        panic!("the frame ends");
    };
    assert_eq!(U256::from_be_slice(&result.output), U256::from(8));
}

#[test]
fn a_stack_without_room() {
    let code = asm("1 2 ADD");
    let program = program(&code);
    for words in [0, 1023] {
        let mut frame = frame(&code, None);
        *frame.stack.data_mut() = Vec::with_capacity(words);
        assert_eq!(
            refused(&program, &mut frame),
            FrameError::StackCapacity(words)
        );
    }
}

/// Memory beyond 4 GiB is not native code's to grow: the interpreter's panic, where it has one, is the
/// interpreter's.
#[test]
fn more_gas_than_memory_can_cost() {
    let code = asm("2^63 MLOAD");
    let program = program(&code);
    let with = |gas| {
        let mut frame = frame(&code, None);
        frame.gas = Gas::new(gas);
        frame
    };
    for gas in [MAX_GAS + 1, u64::MAX] {
        assert_eq!(refused(&program, &mut with(gas)), FrameError::Gas(gas));
    }
    let mut frame = with(MAX_GAS);
    run(&program, &mut frame, &mut SharedMemory::new());
    assert_eq!(frame.instruction_result, InstructionResult::MemoryOOG);
}

/// The caller is not trusted to bring back the memory that the frame was suspended with.
#[test]
fn memory_that_was_lost_while_suspended() {
    let program = program(&asm(CALLER));
    let (mut frame, _) = after_the_call(&program);
    let mut memory = SharedMemory::new();
    memory.new_context();
    let action = run(&program, &mut frame, &mut memory);
    assert!(action.is_return());
    assert_eq!(
        frame.instruction_result,
        InstructionResult::FatalExternalError
    );
}

/// The words that an ended frame's stack in memory still holds are not those that it ended with.
#[test]
fn the_stack_of_an_ended_frame_is_empty() {
    let program = program(&asm(CALLER));
    let (mut frame, mut memory) = after_the_call(&program);
    assert!(!frame.stack.is_empty());
    run(&program, &mut frame, &mut memory);
    assert!(frame.stack.is_empty());
}

/// Call data is often a part of a transaction's or of the caller's memory: what stands behind it is
/// not read, whether the offset is known when compiling or not.
#[test]
fn call_data_ends_where_it_ends() {
    const LEN: usize = 67;
    let load = |program: &Program, code: &[u8], buffer: &Bytes| {
        let mut frame = frame(code, None);
        frame.contract.input = buffer.slice(..LEN);
        match run(program, &mut frame, &mut SharedMemory::new()) {
            InterpreterAction::Return { result } => result.output,
            other => panic!("unexpected {other:?}"),
        }
    };
    // The offset is the call data's first byte.
    let from_data = asm("0 CALLDATALOAD 248 SHR CALLDATALOAD 0 MSTORE 32 0 RETURN");
    let computed = program(&from_data);
    for offset in 0..=LEN as u8 + 1 {
        let mut buffer: Vec<u8> = (0..200).map(|n| n | 1).collect();
        buffer[0] = offset;
        let buffer = Bytes::from(buffer);
        let at = usize::from(offset);
        let left = LEN.saturating_sub(at).min(32);
        let mut expected = [0; 32];
        expected[..left].copy_from_slice(&buffer[at..][..left]);

        let known = asm(&format!("{offset} CALLDATALOAD 0 MSTORE 32 0 RETURN"));
        let word = load(&program(&known), &known, &buffer);
        assert_eq!(word[..], expected, "known offset {offset}");
        let word = load(&computed, &from_data, &buffer);
        assert_eq!(word[..], expected, "computed offset {offset}");
    }
}
