//! The comparison sees every difference that can be put in, and the generator makes what it should.

use crate::common::{
    asm::asm,
    case::Case,
    engine::{Engine, Outcome, Side},
    generate,
    types::{Bytes, U256},
};
use revm::primitives::Log;
use std::collections::BTreeSet;

#[test]
fn every_difference_is_seen() {
    let mut engine = Engine::new();
    let case = Case::asm(
        "7 0 MSTORE 1 SLOAD 5 3 SSTORE 0xa1 BALANCE 0 0 32 0 0xa1 GAS STATICCALL GAS 32 0 RETURN",
    );
    let state = case.state();
    let expected = engine.run(&case, &state, &Side::Interpreter);
    assert!(expected.stops.len() >= 3 && expected.reads.len() >= 3);
    expected.compare(&expected.clone()).expect("the same");
    let spoil: [fn(&mut Outcome); 15] = [
        |o| o.stops[0].action = None,
        |o| o.stops[1].depth += 1,
        |o| o.stops[0].stack.push(U256::ZERO),
        |o| o.stops[0].memory[31] ^= 1,
        |o| o.stops[0].pc += 1,
        |o| o.stops[2].return_data = Bytes::new(),
        |o| {
            let _ = o.stops[2].gas.record_regular_cost(1);
        },
        |o| o.stops[2].gas.record_refund(1),
        |o| o.stops[2].gas.set_state_gas_spent(1),
        |o| {
            o.stops.pop();
        },
        |o| o.reads.swap(0, 1),
        |o| o.result.push('.'),
        |o| o.panic = Some(String::new()),
        |o| o.journal.logs.push(Log::default()),
        |o| {
            let one = o.journal.state.values_mut().next().expect("accounts");
            one.mark_touch();
            one.mark_created();
        },
    ];
    for (index, spoil) in spoil.iter().enumerate() {
        let mut spoiled = expected.clone();
        spoil(&mut spoiled);
        expected
            .compare(&spoiled)
            .expect_err(&format!("difference {index} was not seen"));
    }
}

#[test]
fn generated_programs_end_in_every_way() {
    let mut engine = Engine::new();
    let mut ends = BTreeSet::new();
    for seed in 0..600 {
        let case = generate::program(seed).case();
        let state = case.state();
        ends.insert(engine.run(&case, &state, &Side::Interpreter).end());
        assert_eq!(case, generate::program(seed).case());
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
fn the_assembler_knows_the_newest_opcodes() {
    assert_eq!(asm("CLZ SLOTNUM PUSH0"), [0x1e, 0x4b, 0x5f]);
}
