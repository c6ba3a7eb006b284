//! Frames whose hash lies.

mod common;

use common::frame::{SPEC, compile, table_with};
use revm::{
    bytecode::Bytecode,
    interpreter::{
        Interpreter, host::DummyHost, instruction_table, instructions::gas_table_spec,
        interpreter::ExtBytecode, interpreter_types::Jumps,
    },
    primitives::hex,
};
use revmc_jit::{Chain, primitives::keccak256};

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
