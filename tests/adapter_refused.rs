//! What `CompiledProgram::run_frame` refuses, and frames whose hash lies.

mod common;

use common::frame::{SPEC, Table, compile, state, table_with};
use revm::{
    bytecode::Bytecode,
    interpreter::{
        CallInput, GasTable, InstructionResult, Interpreter, host::DummyHost, instruction_table,
        instructions::gas_table_spec, interpreter::ExtBytecode, interpreter_types::Jumps,
    },
    primitives::hex,
};
use revmc_jit::{
    Chain,
    primitives::{SpecId, keccak256},
    revm::FrameError,
};

fn frame(code: &[u8], gas: u64) -> Interpreter {
    common::frame::frame(SPEC, code, gas)
}

/// A hash that lies, over code of the same length: machine code must not be led astray, whatever the
/// result is.
#[test]
fn code_under_a_wrong_hash_does_no_harm() {
    // ADDRESS, BALANCE and its like in the one, LOG4, EXTCODECOPY and their like in the other.
    let promised: Vec<u8> = [&hex!("5f")[..], &[0x31; 40], &hex!("5000")].concat();
    for op in [
        0x50u8, 0x0c, 0x3a, 0x55, 0xa4, 0x3c, 0x20, 0x31, 0x5b, 0x56, 0xf3,
    ] {
        let actual: Vec<u8> = [&hex!("5f")[..], &[op; 40], &hex!("5000")].concat();
        for program in compile(&promised, &Chain::mainnet()) {
            let mut frame = frame(&actual, 10_000_000);
            let bytecode = Bytecode::new_legacy(actual.clone().into());
            frame.bytecode = ExtBytecode::new_with_hash(bytecode, keccak256(&promised));
            let (table, gas_table) = (instruction_table(), gas_table_spec(SPEC));
            let mut host = DummyHost::new(SPEC);
            let action = program.run_frame(&mut frame, &table, &gas_table, &mut host);
            action.expect("the hash is believed");
            assert!(frame.stack.len() <= 1024);
        }
    }
}

/// Analysis adds to code what its end needs; to code of the same length with another end it adds less. The
/// interpreter must not stand behind it.
#[test]
fn code_under_a_wrong_hash_is_not_left_at_its_end() {
    // At the end: a boundary instruction, a native one, one to step over, one with an operand, pushes
    // whose operands are cut off, a jump to the end.
    for end in [
        &hex!("5f31")[..],
        &hex!("5f15"),
        &hex!("5f0c"),
        &hex!("5fe6"),
        &hex!("5f7f"),
        &hex!("5f61aa"),
        &hex!("5ff3"),
        &hex!("600a565f5b"),
    ] {
        let mut promised = vec![0x5b; 11 - end.len()];
        promised.extend(end);
        let actual = [vec![0x5b; 10], vec![0x00]].concat();
        for program in compile(&promised, &Chain::mainnet()) {
            let mut frame = frame(&actual, 10_000_000);
            let bytecode = Bytecode::new_legacy(actual.clone().into());
            assert_eq!(bytecode.bytes_slice().len(), actual.len());
            frame.bytecode = ExtBytecode::new_with_hash(bytecode, keccak256(&promised));
            let (table, gas_table) = (table_with(|_| Ok(())), gas_table_spec(SPEC));
            let mut host = DummyHost::new(SPEC);
            let action = program.run_frame(&mut frame, &table, &gas_table, &mut host);
            action.expect("the hash is believed");
            assert!(
                frame.bytecode.pc() <= actual.len(),
                "{}",
                hex::encode(&promised)
            );
        }
    }
}

/// What is refused is named, and is as it was.
#[test]
fn what_is_not_the_programs_is_refused_untouched() {
    let code = hex!("600160020100");
    let (table, gas_table): (Table, GasTable) = (instruction_table(), gas_table_spec(SPEC));
    for program in compile(&code, &Chain::mainnet()) {
        let refuse = |frame: &mut Interpreter, gas_table: &GasTable| {
            let before = state(frame);
            let mut host = DummyHost::new(SPEC);
            let refused = program.run_frame(frame, &table, gas_table, &mut host);
            assert_eq!(state(frame), before);
            refused.expect_err("refused")
        };
        let new = || frame(&code, 100);
        let hash = keccak256(code);

        let mut other = frame(&[0x00], 100);
        let frame = Some(keccak256([0x00]));
        let expected = FrameError::CodeHash {
            program: hash,
            frame,
        };
        assert_eq!(refuse(&mut other, &gas_table), expected);

        let mut unnamed = new();
        unnamed.bytecode = ExtBytecode::new(Bytecode::new_legacy(code.into()));
        let expected = FrameError::CodeHash {
            program: hash,
            frame: None,
        };
        assert_eq!(refuse(&mut unnamed, &gas_table), expected);

        let mut longer = new();
        let bytecode = Bytecode::new_legacy(vec![0; 7].into());
        longer.bytecode = ExtBytecode::new_with_hash(bytecode, hash);
        let expected = FrameError::CodeLen {
            program: 6,
            frame: 7,
        };
        assert_eq!(refuse(&mut longer, &gas_table), expected);

        let mut older = new();
        older.runtime_flag.spec_id = SpecId::CANCUN;
        let expected = FrameError::Spec {
            program: SPEC,
            frame: SpecId::CANCUN,
        };
        assert_eq!(refuse(&mut older, &gas_table), expected);

        let mut dearer = gas_table;
        dearer[0xfe] = 9;
        let expected = FrameError::GasTable {
            opcode: 0xfe,
            program: 0,
            frame: 9,
        };
        assert_eq!(refuse(&mut new(), &dearer), expected);

        let mut ended = new();
        ended.halt(InstructionResult::Stop);
        assert_eq!(refuse(&mut ended, &gas_table), FrameError::ActionPending);

        let mut shallow = new();
        *shallow.stack.data_mut() = Vec::with_capacity(1000);
        let expected = FrameError::Stack { capacity: 1000 };
        assert_eq!(refuse(&mut shallow, &gas_table), expected);

        let mut unpaid = new();
        unpaid.memory.resize(64);
        let expected = FrameError::Memory { len: 64, words: 0 };
        assert_eq!(refuse(&mut unpaid, &gas_table), expected);

        let mut outside = new();
        outside.input.input = CallInput::SharedBuffer(0..1);
        assert_eq!(refuse(&mut outside, &gas_table), FrameError::Input);

        for error in [expected, FrameError::Input, FrameError::ActionPending] {
            assert!(!error.to_string().is_empty());
        }
    }
}
