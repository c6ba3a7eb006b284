//! Single frames through `CompiledProgram::run_frame`: instructions of the client's, whatever they do to the
//! interpreter, are followed as the interpreter follows them. What is refused: `differential/refusals.rs`.

mod common;

use common::frame::{Context, SPEC, Table, compile, state, table_with, tosses};
use revm::{
    bytecode::Bytecode,
    interpreter::{
        CallInput, Host, Instruction, InstructionExecResult, InstructionResult, Interpreter,
        InterpreterAction, SharedMemory, Stack,
        host::DummyHost,
        instruction_table,
        instructions::gas_table_spec,
        interpreter::ExtBytecode,
        interpreter_types::{Jumps, LoopControl},
    },
    primitives::{U256, hex},
};
use revmc_jit::{
    Chain, CompiledProgram, ForkRules,
    compiler::{CompileError, CompileOptions},
    primitives::{Bytes, SpecId},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

fn frame(code: &[u8], gas: u64) -> Interpreter {
    common::frame::frame(SPEC, code, gas)
}

/// Runs a frame on the interpreter and on both programs, and compares.
fn compare(code: &[u8], gas: u64, chain: &Chain, table: &Table) -> InterpreterAction {
    compare_programs(&compile(code, chain), code, gas, chain, table)
}

fn compare_programs(
    programs: &[Arc<CompiledProgram>],
    code: &[u8],
    gas: u64,
    chain: &Chain,
    table: &Table,
) -> InterpreterAction {
    let gas_table = *chain.rules(SPEC).gas();
    let mut expected = frame(code, gas);
    let mut host = DummyHost::new(SPEC);
    let action = expected.run_plain(table, &gas_table, &mut host);
    for program in programs {
        let tier = program.tier();
        let mut found = frame(code, gas);
        let same = program
            .run_frame(&mut found, table, &gas_table, &mut DummyHost::new(SPEC))
            .expect("the program is for this frame");
        assert_eq!(same, action, "{tier} {}", hex::encode(code));
        assert_eq!(
            state(&found),
            state(&expected),
            "{tier} {}",
            hex::encode(code)
        );
        for seed in 1..20u64 {
            let mut found = frame(code, gas);
            let mut host = DummyHost::new(SPEC);
            let same = program
                .run_frame_switching(&mut found, table, &gas_table, &mut host, tosses(seed))
                .expect("the program is for this frame");
            assert_eq!(same, action, "{tier} {} {seed}", hex::encode(code));
            assert_eq!(
                state(&found),
                state(&expected),
                "{tier} {} {seed}",
                hex::encode(code)
            );
        }
    }
    action
}

/// `op` in the middle of other work, more than once: a loop of three rounds around words on the stack,
/// memory, calldata and the instruction.
fn around(op: u8) -> Vec<u8> {
    let mut code = hex!("600760086003 5b 60aa6020526001").to_vec();
    code.push(op);
    // What it left on top goes to memory, is hashed, and calldata after it; count down; loop.
    code.extend(hex!(
        "604052 60206040 20 608052 600035 606052 606051 60a052"
    ));
    code.extend(hex!("6001 90 03 80 6006 57 6001 6002 01 00"));
    code
}

type Function = fn(Context<'_>) -> InstructionExecResult;

/// Compares with each of these in a table, behind an opcode that mainnet has and behind one that it has not.
fn are_followed(gas: u64, instructions: &[Function]) {
    for op in [0x31, 0x0c] {
        for &instruction in instructions {
            let table = table_with(instruction);
            compare(&around(op), gas, &Chain::mainnet(), &table);
        }
    }
}

#[test]
fn an_instruction_that_does_as_mainnets_is_gone_on_behind() {
    fn plain(context: Context<'_>) -> InstructionExecResult {
        let top = context.interpreter.stack.data_mut().last_mut();
        let top = top.ok_or(InstructionResult::StackUnderflow)?;
        *top = U256::from(0xbb);
        Ok(())
    }
    are_followed(1_000_000, &[plain]);
}

/// Compares on a chain whose rules say that `op`, of two operands, is its own.
fn is_the_tables_by_a_chains_rules(op: u8, code: &[u8]) {
    fn own(context: Context<'_>) -> InstructionExecResult {
        let _ = context.interpreter.stack.pop();
        let _ = context.interpreter.stack.pop();
        let _ = context.interpreter.stack.push(U256::from(0xabcd));
        Ok(())
    }
    let replaced = ForkRules {
        replaced: vec![(op, 30)],
        ..ForkRules::default()
    };
    let chain = Chain::new(|_| replaced.clone()).expect("mainnet has the instruction");
    let mut table: Table = instruction_table();
    table[usize::from(op)] = Instruction::new(own);
    compare(code, 1_000_000, &chain, &table);
}

/// Hashes that are remembered are those of the table's instruction, at every length around the longest,
/// at any offset, first and again, with any gas; and where the rules say so, it is the table's.
#[test]
fn hashes_are_the_interpreters() {
    let hashed = |offset: u16, len: u16| {
        // A loop of two rounds: memory, a hash of it that goes into the memory, and what it costs.
        let mut code = hex!(
            "7f11223344556677889900aabbccddeeff5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b 600752 6002 5b"
        )
        .to_vec();
        code.push(0x61);
        code.extend(len.to_be_bytes());
        code.push(0x61);
        code.extend(offset.to_be_bytes());
        code.extend(hex!("20 608052 5a 60c052 6001 90 03 80"));
        code.extend(hex!("6026 57 6001 6002 01 00"));
        code
    };
    let mainnet = Chain::mainnet();
    for len in [0, 1, 20, 31, 32, 33, 63, 64, 65, 96] {
        for offset in [0, 5, 160, 161, 192, 4000] {
            let code = hashed(offset, len);
            compare(&code, 1_000_000, &mainnet, &instruction_table());
        }
    }
    let code = hashed(0, 64);
    let programs = compile(&code, &mainnet);
    for gas in (0..600).chain((600..3000).step_by(7)) {
        compare_programs(&programs, &code, gas, &mainnet, &instruction_table());
    }

    // More inputs than are remembered, each once: 4: JUMPDEST, store the counter, hash 64 bytes, XOR.
    let many = hex!("5f610bb85b 805f52 60405f20 90911890 60019003 80600457 505f5200");
    compare(&many, 10_000_000, &mainnet, &instruction_table());

    is_the_tables_by_a_chains_rules(0x20, &code);
}

/// Powers of two that are shifted are those of the table's instruction, with what they cost, at any
/// gas; what is computed with one that is known is what the interpreter computes; and where the
/// rules say so, the instruction is the table's.
#[test]
fn powers_are_the_interpreters() {
    let mainnet = Chain::mainnet();
    // Of constants, of words that are read, and what is left of a word behind a division by either.
    let selected = |base: u16, exponent: u16| {
        let [b, e] = [base, exponent].map(u16::to_be_bytes);
        let load = |[high, low]: [u8; 2]| [0x61, high, low, 0x5f, 0x52, 0x5f, 0x51];
        let mut code =
            hex!("7f11223344556677889900aabbccddeeffa1a2a3a4a5a6a7a8a9aaabacadaeafb0").to_vec();
        code.extend([
            0x80, 0x61, e[0], e[1], 0x61, b[0], b[1], 0x0a, 0x80, 0x60, 0x40, 0x52, 0x90, 0x04,
        ]);
        code.extend([0x90]);
        code.extend(load(e));
        code.extend(load(b));
        code.extend(hex!("0a 80 606052 90 04 03 608052 5a 60a052 00"));
        code
    };
    for base in [0, 1, 2, 3, 10, 16, 256, 0x8000] {
        for exponent in [0, 1, 2, 17, 31, 32, 63, 64, 65, 224, 255, 256, 0xffff] {
            let code = selected(base, exponent);
            compare(&code, 1_000_000, &mainnet, &instruction_table());
        }
    }
    let code = selected(256, 28);
    let programs = compile(&code, &mainnet);
    for gas in 0..600 {
        compare_programs(&programs, &code, gas, &mainnet, &instruction_table());
    }
    // Of which one operand, both, or the exponent alone have more limbs than one.
    for operands in [
        "7f80000000000000000000000000000000000000000000000000000000000000016002",
        "6001 680100000000000000007f8000000000000000000000000000000000000000000000000000000000000002",
        "680100000000000000006002",
    ] {
        let mut code = alloy_primitives::hex::decode(operands.replace(' ', "")).unwrap();
        code.extend(hex!("0a 5f52 00"));
        compare(&code, 1_000_000, &mainnet, &instruction_table());
    }
    is_the_tables_by_a_chains_rules(0x0a, &code);
}

#[test]
fn another_stack_effect_is_followed() {
    fn more(context: Context<'_>) -> InstructionExecResult {
        let stack = context.interpreter.stack.data_mut();
        if stack.len() < 1000 {
            stack.extend([U256::from(5); 3]);
        }
        Ok(())
    }
    fn fewer(context: Context<'_>) -> InstructionExecResult {
        context.interpreter.stack.data_mut().clear();
        Ok(())
    }
    are_followed(1_000_000, &[more, fewer]);
}

#[test]
fn an_exchanged_stack_is_followed() {
    fn exchange(context: Context<'_>) -> InstructionExecResult {
        let mut other = Stack::new();
        other
            .data_mut()
            .extend_from_slice(context.interpreter.stack.data());
        context.interpreter.stack = other;
        Ok(())
    }
    are_followed(1_000_000, &[exchange]);
}

#[test]
fn exchanged_code_is_followed() {
    fn exchange(context: Context<'_>) -> InstructionExecResult {
        let pc = context.interpreter.bytecode.pc();
        let mut code = context.interpreter.bytecode.original_byte_slice().to_vec();
        // PUSH1 0xaa; MSTORE and so on, with other constants, then the end.
        code.truncate(pc);
        code.extend(hex!("60ff60ee60dd00"));
        let mut code = ExtBytecode::new(Bytecode::new_legacy(code.into()));
        code.absolute_jump(pc);
        context.interpreter.bytecode = code;
        Ok(())
    }
    are_followed(1_000_000, &[exchange]);
}

/// How often the program asks who goes on while this instruction runs in place of BALANCE and another
/// one puts things right behind it. The result has to be the interpreter's.
fn questions(strange: Function, repair: Function) -> Vec<usize> {
    // PUSH0; BALANCE; EXTCODESIZE; POP; memory; an end that leaves the analysed code as it is, twice.
    let code = hex!("5f31 3b50 6001610200 52 00 00");
    let mut table = table_with(strange);
    table[0x3b] = Instruction::new(repair);
    let chain = Chain::mainnet();
    let programs = compile(&code, &chain);
    compare_programs(&programs, &code, 100_000, &chain, &table);
    let ask = |program: &Arc<CompiledProgram>| {
        let mut asked = 0;
        let switch = || {
            asked += 1;
            false
        };
        let (mut frame, mut host) = (frame(&code, 100_000), DummyHost::new(SPEC));
        program
            .run_frame_switching(
                &mut frame,
                &table,
                chain.rules(SPEC).gas(),
                &mut host,
                switch,
            )
            .expect("the program is for this frame");
        asked
    };
    programs.iter().map(ask).collect()
}

/// Safe code can make the interpreter say what is not so. Machine code does not go on behind that: for
/// what it would do, nobody else would have to do something wrong.
#[test]
fn machine_code_does_not_go_on_where_its_ground_was_taken_away() {
    fn nothing(_: Context<'_>) -> InstructionExecResult {
        Ok(())
    }
    // The same buffer, and no room in it.
    fn shrink(context: Context<'_>) -> InstructionExecResult {
        context.interpreter.stack.data_mut().shrink_to(8);
        Ok(())
    }
    fn room(context: Context<'_>) -> InstructionExecResult {
        let stack = context.interpreter.stack.data_mut();
        stack.reserve_exact(1024 - stack.len());
        Ok(())
    }
    // Words of memory that were paid for, as it seems: times 32 they are none.
    fn pay(context: Context<'_>) -> InstructionExecResult {
        context.interpreter.gas.memory_mut().words_num += 1 << 59;
        Ok(())
    }
    fn pay_back(context: Context<'_>) -> InstructionExecResult {
        context.interpreter.gas.memory_mut().words_num -= 1 << 59;
        Ok(())
    }
    // Code at the same place, and less of it.
    fn cut(context: Context<'_>) -> InstructionExecResult {
        let bytecode = &mut context.interpreter.bytecode;
        let (pc, code) = (bytecode.pc(), bytecode.original_bytes());
        let place = code.as_ptr();
        let hash = bytecode
            .hash()
            .ok_or(InstructionResult::FatalExternalError)?;
        let code = Bytecode::new_legacy(code.slice(..code.len() - 1));
        *bytecode = ExtBytecode::new_with_hash(code, hash);
        assert_eq!(bytecode.original_bytes().as_ptr(), place);
        bytecode.absolute_jump(pc);
        Ok(())
    }
    let ordinary = questions(nothing, nothing);
    let cases: [(Function, Function); 3] = [(shrink, room), (pay, pay_back), (cut, nothing)];
    for (strange, repair) in cases {
        for (asked, ordinary) in questions(strange, repair).into_iter().zip(&ordinary) {
            assert!(asked < *ordinary, "{asked} of {ordinary}");
        }
    }
}

/// Costs whose sum is beyond what an instruction's operand holds.
#[test]
fn rules_may_cost_anything() {
    let chain = Chain::new(|spec_id| {
        let mut rules = ForkRules::default();
        rules.repriced.push((0x50, u16::MAX));
        if spec_id.is_enabled_in(SpecId::SHANGHAI) {
            rules.repriced.push((0x5f, u16::MAX));
        }
        rules
    });
    let chain = chain.expect("no contradiction");
    let pairs = |count: usize| [[0x5f, 0x50].repeat(count), vec![0x00]].concat();
    let refused = |code: &[u8], portable| {
        let options = CompileOptions {
            portable,
            ..CompileOptions::default()
        };
        let compiled = revmc_jit::compiler::compile(code, chain.rules(SPEC), &options);
        matches!(compiled, Err(CompileError::TooComplex { .. }))
    };
    for portable in [false, true] {
        assert!(refused(&pairs(32 * 1024 - 1), portable));
        assert!(!refused(&pairs(8000), portable));
    }
    let (code, table) = (pairs(8000), instruction_table());
    let programs = compile(&code, &chain);
    for gas in [
        u64::from(u16::MAX) * 16_000 - 1,
        u64::from(u16::MAX) * 16_000,
    ] {
        compare_programs(&programs, &code, gas, &chain, &table);
    }
}

#[test]
fn other_calldata_and_memory_are_followed() {
    fn input(context: Context<'_>) -> InstructionExecResult {
        let len = context.interpreter.input.input.len() + 33;
        context.interpreter.input.input = CallInput::Bytes(vec![0x77; len].into());
        Ok(())
    }
    fn memory(context: Context<'_>) -> InstructionExecResult {
        let len = context.interpreter.memory.len();
        // Not paid for, and not whole words.
        context.interpreter.memory.resize(len + 100_001);
        Ok(())
    }
    fn grown(context: Context<'_>) -> InstructionExecResult {
        let len = context.interpreter.memory.len();
        let params = context.host.gas_params();
        context.interpreter.resize_memory(params, len, 5000)
    }
    are_followed(10_000_000, &[input, memory, grown]);
}

#[test]
fn a_jump_of_an_instruction_is_followed() {
    fn jump(context: Context<'_>) -> InstructionExecResult {
        let end = context.interpreter.bytecode.len() - 1;
        context.interpreter.bytecode.absolute_jump(end);
        Ok(())
    }
    are_followed(1_000_000, &[jump]);
}

#[test]
fn an_instruction_ends_the_run_with_and_without_an_action() {
    fn halt(_: Context<'_>) -> InstructionExecResult {
        Err(InstructionResult::CreateCollision)
    }
    fn action(context: Context<'_>) -> InstructionExecResult {
        let gas = context.interpreter.gas;
        let output = Bytes::from_static(b"out");
        let action = InterpreterAction::new_return(InstructionResult::Revert, output, gas);
        context.interpreter.bytecode.set_action(action);
        Err(InstructionResult::Revert)
    }
    for op in [0x31, 0x0c] {
        let code = around(op);
        let action_of = |f| compare(&code, 1_000_000, &Chain::mainnet(), &table_with(f));
        let halted = action_of(halt).instruction_result();
        assert_eq!(halted, Some(InstructionResult::CreateCollision));
        let returned = action_of(action).into_result_return().expect("an end");
        assert_eq!(&returned.output[..], b"out");
    }
}

#[test]
fn a_panic_passes_through() {
    fn panic(_: Context<'_>) -> InstructionExecResult {
        panic!("the instruction's own")
    }
    for op in [0x31, 0x0c] {
        let (code, table) = (around(op), table_with(panic));
        let gas_table = gas_table_spec(SPEC);
        let mut expected = frame(&code, 1_000_000);
        let interpret = || expected.run_plain(&table, &gas_table, &mut DummyHost::new(SPEC));
        catch_unwind(AssertUnwindSafe(interpret)).expect_err("panics");
        for program in compile(&code, &Chain::mainnet()) {
            let mut found = frame(&code, 1_000_000);
            let mut host = DummyHost::new(SPEC);
            let run = || program.run_frame(&mut found, &table, &gas_table, &mut host);
            let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("panics");
            assert_eq!(
                payload.downcast_ref::<&str>(),
                Some(&"the instruction's own")
            );
            assert_eq!(state(&found), state(&expected));
        }
    }
}

/// MLOAD at 2^63 with gas for all of it: the interpreter's allocation panics.
#[test]
fn memory_that_cannot_be_allocated_is_the_interpreters_panic() {
    let code = hex!("6001600052678000000000000000515000");
    let (table, gas_table) = (instruction_table(), gas_table_spec(SPEC));
    let message = |run: &mut dyn FnMut()| {
        let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("panics");
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        })
    };
    let mut expected = frame(&code, u64::MAX);
    let wanted = message(&mut || {
        expected.run_plain(&table, &gas_table, &mut DummyHost::new(SPEC));
    });
    for program in compile(&code, &Chain::mainnet()) {
        let mut found = frame(&code, u64::MAX);
        let same = message(&mut || {
            let mut host = DummyHost::new(SPEC);
            let _ = program.run_frame(&mut found, &table, &gas_table, &mut host);
        });
        assert_eq!(same, wanted);
        assert_eq!(state(&found), state(&expected));
    }
}

/// Memory that grows a little, by a constant offset and by one from calldata, in the middle of words
/// that are in registers: with each amount of gas it is paid for, or the interpreter finds that it
/// cannot be.
#[test]
fn memory_grows_as_far_as_gas_reaches() {
    let code = hex!("6007 6008 6009600052 600035601f16 80 52 6101005f015151 02 61600051 01 5a 00");
    let (chain, table) = (Chain::mainnet(), instruction_table());
    let programs = compile(&code, &chain);
    let mut ends = Vec::new();
    for gas in (0..300).chain(3300..3800) {
        let action = compare_programs(&programs, &code, gas, &chain, &table);
        ends.extend(action.instruction_result());
    }
    ends.sort_by_key(|end| *end as u8);
    ends.dedup();
    let all = [
        InstructionResult::Stop,
        InstructionResult::OutOfGas,
        InstructionResult::MemoryOOG,
    ];
    assert!(all.iter().all(|end| ends.contains(end)), "{ends:?}");
}

#[test]
fn a_chain_of_its_own_runs_by_its_own_costs() {
    let chain = Chain::new(|_| ForkRules {
        repriced: vec![(0x01, 1000), (0x31, 7), (0x52, 0)],
        // MLOAD is not what it is on mainnet.
        replaced: vec![(0x51, 3)],
        ..ForkRules::default()
    });
    let chain = chain.expect("no contradiction");
    fn mload(context: Context<'_>) -> InstructionExecResult {
        let top = context.interpreter.stack.data_mut().last_mut();
        *top.ok_or(InstructionResult::StackUnderflow)? = U256::from(0x1234);
        Ok(())
    }
    let mut table = instruction_table();
    table[0x51] = Instruction::new(mload);
    for gas in (0..4000).step_by(37).chain([1_000_000]) {
        compare(&around(0x15), gas, &chain, &table);
    }
}

/// What machine code knows of memory and of words on the stack is not believed where it would lead beyond the
/// memory.
#[test]
fn memory_that_shrinks_and_words_that_grow_lead_nowhere() {
    fn shorter(context: Context<'_>) -> InstructionExecResult {
        context.interpreter.memory = SharedMemory::new();
        *context.interpreter.gas.memory_mut() = Default::default();
        Ok(())
    }
    fn below(context: Context<'_>) -> InstructionExecResult {
        context.interpreter.stack.data_mut()[0] = U256::from(u64::MAX - 15);
        Ok(())
    }
    let chain = Chain::mainnet();
    // Store at 0x2000, BALANCE, store there again; MSIZE is returned.
    let code = hex!("6001612000525f315060076120005259" "5f5260205ff3");
    let action = compare(&code, 1_000_000, &chain, &table_with(shorter));
    assert!(
        action
            .instruction_result()
            .is_some_and(|result| result.is_ok())
    );
    // MSIZE, BALANCE, load from what was MSIZE.
    let code = hex!("60015f52595f31505100");
    let action = compare(&code, 1_000_000, &chain, &table_with(below));
    assert!(
        action
            .instruction_result()
            .is_some_and(|result| result.is_halt())
    );
}

/// A frame may stand where none that begins at the start can get to: what is known there of blocks that only
/// static edges lead to takes no account of it.
#[test]
fn a_frame_in_dead_code_is_not_taken_for_another() {
    let isolated = [vec![0x15; 25], hex!("5056").to_vec()].concat();
    let parts: [&[u8]; 3] = [
        &hex!("6030601356" "5b34600557" "34600557" "6039601356" "5b34"),
        &isolated,
        &hex!("5b60015f5260205ff3" "5b60025f5260205ff3"),
    ];
    let code = parts.concat();
    assert_eq!((code[0x13], code[0x30], code[0x39]), (0x5b, 0x5b, 0x5b));
    let table = instruction_table();
    let gas_table = gas_table_spec(SPEC);
    let stray = || {
        let mut frame = frame(&code, 100_000);
        frame.bytecode.absolute_jump(5);
        (frame, DummyHost::new(SPEC))
    };
    let (mut expected, mut host) = stray();
    let action = expected.run_plain(&table, &gas_table, &mut host);
    for program in compile(&code, &Chain::mainnet()) {
        let (mut found, mut host) = stray();
        let same = program.run_frame(&mut found, &table, &gas_table, &mut host);
        assert_eq!(same.as_ref(), Ok(&action), "{}", program.tier());
        assert_eq!(state(&found), state(&expected));
    }
}
