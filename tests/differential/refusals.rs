//! Frames that a program refuses, untouched; chains with rules of their own; the need of stack.

use crate::common::{
    case::{Case, FORKS},
    engine::{Engine, Instructions, Side, TIERS, World, world},
    frame::{SPEC, state},
    generate,
    programs::ALL,
    types::{Address, B256, Bytes, SpecId, U256, keccak256},
};
use revm::{
    bytecode::Bytecode,
    context::JournalTr,
    handler::instructions::EthInstructions,
    interpreter::{
        CallInput, Host, InputsImpl, Instruction, InstructionContext, InstructionExecResult,
        InstructionResult, Interpreter, SharedMemory,
        host::DummyHost,
        instruction_table,
        instructions::gas_table_spec,
        interpreter::{EthInterpreter, ExtBytecode, Stack},
        interpreter_types::{Jumps, LoopControl},
    },
};
use revmc_jit::{
    Chain, CompiledProgram, ForkRules, compiler::Tier, frame::MAX_NATIVE_STACK, revm::FrameError,
};
use std::{fmt::Debug, sync::Arc, thread};

type Plain = Interpreter<EthInterpreter>;

fn frame(code: &Bytes, hash: Option<B256>, input: CallInput) -> Plain {
    let code = ExtBytecode::new_with_optional_hash(Bytecode::new_legacy(code.clone()), hash);
    let inputs = InputsImpl {
        input,
        ..InputsImpl::default()
    };
    Interpreter::new(SharedMemory::new(), code, inputs, false, SPEC, 100_000)
}

/// All of an interpreter that can be seen.
fn look(interpreter: &mut Plain) -> impl PartialEq + Debug + use<> {
    (interpreter.bytecode.action().clone(), state(interpreter))
}

#[test]
fn every_refusal_leaves_the_frame_untouched() {
    for tier in TIERS {
        refuses_untouched(tier);
    }
}

fn refuses_untouched(tier: Tier) {
    let mut engine = Engine::new();
    let case = Case::asm("1 2 ADD 0 MSTORE 0xa1 BALANCE 32 0 RETURN").on(SPEC);
    let program = engine.program(&case, tier);
    let hash = keccak256(&case.code);
    let good = || frame(&case.code, Some(hash), CallInput::default());
    let mut longer = case.code.to_vec();
    longer.push(0);
    let longer: Bytes = longer.into();
    let mut gas_table = gas_table_spec(SPEC);

    let refuse = |mut interpreter: Plain, gas_table: &[u16; 256]| {
        let before = look(&mut interpreter);
        let mut host = DummyHost::new(SPEC);
        let error = program
            .run_frame(&mut interpreter, &instruction_table(), gas_table, &mut host)
            .expect_err("the frame is not for this program");
        assert_eq!(before, look(&mut interpreter), "{error}");
        let error_of_the_other = program
            .run_frame_switching(
                &mut interpreter,
                &instruction_table(),
                gas_table,
                &mut host,
                || false,
            )
            .expect_err("the frame is not for this program");
        assert_eq!(error, error_of_the_other);
        assert!(!error.to_string().is_empty());
        error
    };
    let gas = gas_table;
    let other = keccak256(b"other");
    for frame_hash in [None, Some(other)] {
        let interpreter = frame(&case.code, frame_hash, CallInput::default());
        let expected = FrameError::CodeHash {
            program: hash,
            frame: frame_hash,
        };
        assert_eq!(refuse(interpreter, &gas), expected);
    }
    let interpreter = frame(&longer, Some(hash), CallInput::default());
    let (program_len, frame_len) = (case.code.len(), longer.len());
    let expected = FrameError::CodeLen {
        program: program_len,
        frame: frame_len,
    };
    assert_eq!(refuse(interpreter, &gas), expected);

    let mut interpreter = good();
    interpreter.runtime_flag.spec_id = SpecId::PRAGUE;
    let expected = FrameError::Spec {
        program: SPEC,
        frame: SpecId::PRAGUE,
    };
    assert_eq!(refuse(interpreter, &gas), expected);

    for opcode in [0u8, 0x01, 0x0c, 0xff] {
        let cost = gas[opcode as usize];
        gas_table[opcode as usize] = cost + 1;
        let expected = FrameError::GasTable {
            opcode,
            program: cost,
            frame: cost + 1,
        };
        assert_eq!(refuse(good(), &gas_table), expected);
        gas_table = gas;
    }

    let mut interpreter = good();
    interpreter.halt(InstructionResult::Stop);
    assert_eq!(refuse(interpreter, &gas), FrameError::ActionPending);

    let mut shallow = Stack::new();
    *shallow.data_mut() = Vec::with_capacity(1000);
    for (stack, capacity) in [(Stack::invalid(), 0), (shallow, 1000)] {
        let mut interpreter = good();
        interpreter.stack = stack;
        assert_eq!(refuse(interpreter, &gas), FrameError::Stack { capacity });
    }

    let mut interpreter = good();
    interpreter.memory.resize(64);
    assert_eq!(
        refuse(interpreter, &gas),
        FrameError::Memory { len: 64, words: 0 }
    );

    let interpreter = frame(&case.code, Some(hash), CallInput::SharedBuffer(0..10));
    assert_eq!(refuse(interpreter, &gas), FrameError::Input);

    // None of it is the program's own fault.
    let mut host = DummyHost::new(SPEC);
    let run = program.run_frame(&mut good(), &instruction_table(), &gas, &mut host);
    assert!(run.is_ok());
}

type Context<'a> = InstructionContext<'a, World, EthInterpreter>;

/// Takes two words, gives 42.
fn forty_two(context: Context<'_>) -> InstructionExecResult {
    let stack = &mut context.interpreter.stack;
    if stack.len() < 2 {
        return Err(InstructionResult::StackUnderflow);
    }
    let _ = (stack.pop(), stack.pop());
    let _ = stack.push(U256::from(42));
    Ok(())
}

/// Gives two words, where mainnet's takes one and gives one.
fn two_words(context: Context<'_>) -> InstructionExecResult {
    let number = context.host.block_number();
    for word in [U256::from(0xaa), number] {
        if !context.interpreter.stack.push(word) {
            return Err(InstructionResult::StackOverflow);
        }
    }
    Ok(())
}

/// Skips a byte.
fn skips(context: Context<'_>) -> InstructionExecResult {
    context.interpreter.bytecode.relative_jump(1);
    Ok(())
}

/// An opcode, its cost, and what it does.
type Other = (u8, u16, fn(Context<'_>) -> InstructionExecResult);

const OTHER: &[Other] = &[
    // MUL, BALANCE, ORIGIN, MSTORE8, and one that mainnet does not have.
    (0x02, 9, forty_two),
    (0x31, 700, two_words),
    (0x32, 3, skips),
    (0x53, 1, skips),
    (0x0c, 11, two_words),
];

/// Cheaper and dearer ones, that do what they do on mainnet.
const PRICES: &[(u8, u16)] = &[
    (0x01, 30),
    (0x52, 0),
    (0x54, 12),
    (0x5b, 7),
    (0x60, 1),
    (0x57, 1000),
];

fn instructions(spec_id: SpecId) -> Instructions {
    let mut instructions = EthInstructions::new_mainnet_with_spec(spec_id);
    for &(opcode, gas, function) in OTHER {
        instructions.insert_instruction(opcode, Instruction::new(function), gas);
    }
    for &(opcode, gas) in PRICES {
        instructions.insert_gas(opcode, gas);
    }
    instructions
}

fn chain() -> Chain {
    let other = OTHER.iter().map(|&(opcode, gas, _)| (opcode, gas));
    let (added, replaced) = other.partition(|&(opcode, _)| opcode == 0x0c);
    let rules = ForkRules {
        repriced: PRICES.to_vec(),
        replaced,
        added,
    };
    Chain::new(|_| rules.clone()).expect("no contradiction")
}

#[test]
fn a_chain_with_instructions_and_prices_of_its_own() {
    let mut engine = Engine::with(chain(), instructions);
    let outcome = engine.check("own MUL", &Case::asm("6 7 8 MUL ADD"));
    assert_eq!(outcome.stops[0].stack, [U256::from(48)]);
    assert_eq!(outcome.spent(), 3 + 9 + 30);
    let outcome = engine.check("own opcode", &Case::asm("hex:0c ADD hex:320c 5 BALANCE"));
    assert_eq!(outcome.stops[0].stack.len(), 4);
    let texts = [
        "3 4 MUL 0 MSTORE hex:0c MUL 1 ADD 32 MSTORE MSIZE",
        "1 BALANCE ADD SWAP1 @l JUMPI 9 l: ORIGIN ADD BALANCE",
        "10 l: 1 SWAP1 SUB DUP1 BALANCE POP POP DUP1 DUP1 MUL POP DUP1 @l JUMPI",
        "ORIGIN hex:fe 1 hex:53 hex:fe GAS GAS MUL",
        "hex:0c hex:0c hex:0c ADD ADD MUL @l JUMP hex:fe l: GAS 1 SLOAD",
    ];
    for text in texts {
        for spec_id in FORKS {
            let case = Case::asm(text).on(spec_id);
            engine.check(text, &case);
            engine.check_mixed(text, &case, 4);
            for gas in 0..300 {
                engine.check(text, &case.clone().gas(gas));
            }
        }
    }
    for seed in 0..200 {
        let case = generate::program(0x1000_0000 + seed).case();
        engine.check(&format!("seed {seed}"), &case);
        engine.check_mixed(&format!("seed {seed}"), &case, 1);
    }
    assert!(engine.native_runs > 10_000, "{}", engine.native_runs);
}

/// A table that the rules do not tell of: an instruction is another one than its opcode says. Machine
/// code believes the rules only for what it has in line.
#[test]
fn instructions_that_do_something_else_than_the_rules_say() {
    let strange = |spec_id| {
        let mut instructions: Instructions = EthInstructions::new_mainnet_with_spec(spec_id);
        for (opcode, function) in [
            (0x31, two_words as fn(Context<'_>) -> _),
            (0x32, skips),
            (0x54, forty_two),
        ] {
            let gas = instructions.gas_table()[opcode as usize];
            instructions.insert_instruction(opcode, Instruction::new(function), gas);
        }
        instructions
    };
    let mut engine = Engine::with(Chain::mainnet(), strange);
    for seed in 0..300 {
        let case = generate::program(0x2000_0000 + seed).case();
        engine.check(&format!("seed {seed}"), &case);
        engine.check_mixed(&format!("seed {seed}"), &case, 1);
    }
    for text in [
        "1 BALANCE ADD ADD",
        "ORIGIN ADD 1 2 ADD",
        "1 2 SLOAD 3 ADD",
        "1 SLOAD",
    ] {
        for gas in 0..3_000 {
            engine.check(text, &Case::asm(text).gas(gas));
        }
    }
}

/// Bytes of a thread's stack beside [`MAX_NATIVE_STACK`]: what the thread, the adapter, the
/// interpreter's instructions and this test's host take in a build without much optimisation.
const RESERVE: usize = 64 << 10;

#[test]
fn machine_code_keeps_to_its_part_of_the_stack() {
    let mut engine = Engine::new();
    let mut programs: Vec<(Arc<CompiledProgram>, Case)> = Vec::new();
    let texts = ALL
        .iter()
        .flat_map(|(_, table)| *table)
        .map(|(_, text)| Case::asm(text).on(SPEC));
    let seeds = (0..150).map(|seed| generate::program(seed).case().on(SPEC));
    for case in texts
        .chain(seeds)
        .filter(|case| !case.code.is_empty() && case.code[0] != 0xef)
    {
        for tier in TIERS {
            programs.push((engine.program(&case, tier), case.clone()));
        }
    }
    let run = move || {
        let (table, gas_table) = (instruction_table(), gas_table_spec(SPEC));
        for (program, case) in &programs {
            let hash = Some(keccak256(&case.code));
            let mut interpreter = frame(&case.code, hash, CallInput::Bytes(case.input.clone()));
            let mut host = world(SPEC, case.database());
            let own = host.journaled_state.load_account(Address::ZERO);
            own.expect("no fault");
            let action = program.run_frame(&mut interpreter, &table, &gas_table, &mut host);
            action.expect("the program is for this frame");
        }
        programs.len()
    };
    let thread = thread::Builder::new().stack_size(MAX_NATIVE_STACK + RESERVE);
    let ran = thread
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("no panic");
    assert!(ran > 500, "{ran}");
}

/// The interpreter alone, on the same chain, is what is compared with: it has to notice the chain.
#[test]
fn the_chain_is_not_mainnet() {
    let mut engine = Engine::with(chain(), instructions);
    let case = Case::asm("6 7 ADD");
    let state = case.state();
    let own = engine.run(&case, &state, &Side::Interpreter);
    let mainnet = Engine::new().run(&case, &state, &Side::Interpreter);
    assert_ne!(own.spent(), mainnet.spent());
}
