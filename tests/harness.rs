//! The harness checks itself: it must agree with itself and must see every difference put in.

mod common;

use common::asm::{Item, asm};
use common::case::Case;
use common::driver::{FrameExecutor, Oracle};
use common::generate;
use common::programs::ALL;
use common::shrink::shrink;
use common::world::World;
use revmc::interpreter::opcode as op;
use revmc::interpreter::{
    Contract, Gas, Host, InstructionResult, Interpreter, InterpreterAction, SharedMemory,
};
use revmc::primitives::{Log, SpecId, U256};
use std::collections::BTreeSet;

#[test]
fn the_oracle_agrees_with_itself() {
    for (name, text) in ALL.iter().flat_map(|(_, table)| *table) {
        Case::asm(text).compare(&mut Oracle).expect(name);
    }
    let mut ends = BTreeSet::new();
    for seed in 0..1000 {
        let run = generate::program(seed)
            .case()
            .compare(&mut Oracle)
            .expect("one interpreter");
        ends.insert(format!("{:?}", run.result.result));
    }
    for end in [
        "Return",
        "Stop",
        "Revert",
        "SelfDestruct",
        "OutOfGas",
        "InvalidJump",
        "StackUnderflow",
    ] {
        assert!(
            ends.contains(end),
            "no generated program ends in {end}: {ends:?}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_program() {
    for seed in [0, 1, 77, u64::MAX] {
        assert_eq!(
            generate::program(seed).case(),
            generate::program(seed).case()
        );
    }
    assert_ne!(generate::program(1).case(), generate::program(2).case());
}

/// Runs by the interpreter, then spoils what came out.
struct Spoiled(fn(&mut Interpreter, &mut SharedMemory, &mut World, &mut InterpreterAction));

impl FrameExecutor for Spoiled {
    type Program = ();

    fn choose(&mut self, _: SpecId, _: &Contract) {}

    fn run(
        &mut self,
        program: &(),
        interpreter: &mut Interpreter,
        memory: &mut SharedMemory,
        world: &mut World,
    ) -> InterpreterAction {
        let mut action = Oracle.run(program, interpreter, memory, world);
        (self.0)(interpreter, memory, world, &mut action);
        action
    }
}

const ME: revmc::primitives::Address = common::case::CONTRACT;

#[test]
fn every_kind_of_difference_is_seen() {
    let returns = "0xaa 0 MSTORE 1 1 SSTORE 32 0 RETURN";
    let calls = "7 0 0 0 0 0 0xa1 50000 CALL 0 MSTORE";
    let creates = "0xfe 0 MSTORE 1 31 0 CREATE 0 MSTORE";
    let faults: &[(&str, &str, Spoiled)] = &[
        (
            "result",
            returns,
            Spoiled(|_, _, _, action| set_result(action, InstructionResult::Stop)),
        ),
        (
            "class",
            returns,
            Spoiled(|_, _, _, action| set_result(action, InstructionResult::OutOfGas)),
        ),
        (
            "a halt that is not accepted",
            "INVALID",
            Spoiled(|_, _, _, action| set_result(action, InstructionResult::NonceOverflow)),
        ),
        (
            "output",
            returns,
            Spoiled(|_, _, _, action| {
                if let InterpreterAction::Return { result } = action {
                    result.output = vec![1; 32].into();
                }
            }),
        ),
        (
            "gas left",
            returns,
            Spoiled(|_, _, _, action| {
                if let InterpreterAction::Return { result } = action {
                    assert!(result.gas.record_cost(1));
                }
            }),
        ),
        (
            "refund",
            returns,
            Spoiled(|_, _, _, action| {
                if let InterpreterAction::Return { result } = action {
                    result.gas.record_refund(1);
                }
            }),
        ),
        (
            "gas limit",
            returns,
            Spoiled(|_, _, _, action| {
                if let InterpreterAction::Return { result } = action {
                    let spare = result.gas.remaining();
                    let mut gas = Gas::new(u64::MAX);
                    assert!(gas.record_cost(u64::MAX - spare));
                    result.gas = gas;
                }
            }),
        ),
        (
            "memory",
            returns,
            Spoiled(|_, memory, _, _| memory.set_byte(3, 9)),
        ),
        (
            "memory size",
            returns,
            Spoiled(|_, memory, _, _| memory.resize(64)),
        ),
        (
            "storage",
            returns,
            Spoiled(|_, _, world, _| {
                world.sstore(ME, U256::from(1), U256::from(3));
            }),
        ),
        (
            "transient storage",
            returns,
            Spoiled(|_, _, world, _| world.tstore(ME, U256::ZERO, U256::from(1))),
        ),
        (
            "warm slots",
            returns,
            Spoiled(|_, _, world, _| {
                world.sload(ME, U256::from(99));
            }),
        ),
        (
            "warm accounts",
            returns,
            Spoiled(|_, _, world, _| {
                world.warm(common::case::actor(0x77));
            }),
        ),
        (
            "touched accounts",
            returns,
            Spoiled(|_, _, world, _| world.touch(common::case::actor(0xa7))),
        ),
        (
            "logs",
            returns,
            Spoiled(|_, _, world, _| world.log(Log::default())),
        ),
        (
            "self-destruction",
            returns,
            Spoiled(|_, _, world, _| {
                world.selfdestruct(common::case::actor(0xa7), ME);
            }),
        ),
        (
            "call inputs",
            calls,
            Spoiled(|_, _, _, action| {
                if let InterpreterAction::Call { inputs } = action {
                    inputs.gas_limit += 1;
                }
            }),
        ),
        (
            "create inputs",
            creates,
            Spoiled(|_, _, _, action| {
                if let InterpreterAction::Create { inputs } = action {
                    inputs.value = U256::from(1);
                }
            }),
        ),
        (
            "stack at a suspension",
            calls,
            Spoiled(|interpreter, _, _, action| {
                if action.is_call() {
                    interpreter.stack.data_mut()[0] = U256::from(8);
                }
            }),
        ),
        (
            "gas at a suspension",
            calls,
            Spoiled(|interpreter, _, _, action| {
                if action.is_call() {
                    assert!(interpreter.gas.record_cost(1));
                }
            }),
        ),
        (
            "result of an inner frame",
            calls,
            Spoiled(|interpreter, _, _, action| {
                if interpreter.contract.target_address == common::case::actor(0xa1) {
                    set_result(action, InstructionResult::Revert);
                }
            }),
        ),
    ];
    for (name, text, spoiled) in faults {
        let mut spoiled = Spoiled(spoiled.0);
        let verdict = Case::asm(text).compare(&mut spoiled);
        assert!(verdict.is_err(), "{name} went unseen");
    }
}

fn set_result(action: &mut InterpreterAction, to: InstructionResult) {
    if let InterpreterAction::Return { result } = action {
        result.result = to;
    }
}

#[test]
fn what_a_halted_frame_left_is_not_looked_at() {
    let mut spoiled = Spoiled(|_, memory, world, _| {
        memory.resize(320);
        world.sstore(ME, U256::from(1), U256::from(3));
        world.log(Log::default());
    });
    let run = Case::asm("1 0 MSTORE INVALID")
        .compare(&mut spoiled)
        .expect("a halt undoes it");
    assert_eq!(run.result.result, InstructionResult::InvalidEFOpcode);
}

#[test]
fn shrinking_keeps_only_what_fails() {
    let has_division = |program: &generate::Program| program.items.contains(&Item::Op(op::SDIV));
    let program = (0..)
        .map(generate::program)
        .find(|program| has_division(program) && program.items.len() > 100)
        .expect("some seed has a division");
    let small = shrink(program, has_division);
    assert_eq!(small.items, [Item::Op(op::SDIV)]);
    assert_eq!(small.frame.input.len(), 0);
}

#[test]
fn assembler() {
    assert_eq!(asm("1 0xff00 ADD"), [0x60, 1, 0x61, 0xff, 0, 0x01]);
    assert_eq!(
        asm("@end JUMP hex:fefe end: PUSH3 5"),
        [0x61, 0, 6, 0x56, 0xfe, 0xfe, 0x5b, 0x62, 0, 0, 5]
    );
    assert_eq!(asm("PUSH0 2^8 2^8-1"), [0x5f, 0x61, 1, 0, 0x60, 0xff]);
    assert_eq!(asm("-1")[..2], [0x7f, 0xff]);
}
