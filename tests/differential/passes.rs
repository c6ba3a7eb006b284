//! Programs aimed at what the compiler's passes take for granted of each other.

use crate::common::{
    case::{Case, FORKS},
    engine::Engine,
    types::SpecId,
};
use alloy_primitives::hex;

/// Checks a program with plenty of gas and with just too little.
fn check(name: &str, code: Vec<u8>, value: u64) {
    let mut engine = Engine::new();
    let case = Case::new(code).on(SpecId::OSAKA).value(value);
    let spent = engine.check(name, &case).spent();
    for less in [1, 7, 60, 400, 2000] {
        engine.check(name, &case.clone().gas(spent.saturating_sub(less)));
    }
    engine.check(name, &case.on(FORKS[FORKS.len() - 1]));
}

/// `opcode`, so often.
fn times(opcode: u8, n: usize) -> Vec<u8> {
    vec![opcode; n]
}

const PUSH0: u8 = 0x5f;
const POP: u8 = 0x50;
const JUMPDEST: u8 = 0x5b;

/// A block that no stack can be entered with and run to the end of what follows: too many words are needed for
/// the room that is asked for.
#[test]
fn a_demand_that_no_stack_meets_is_not_met_by_falling_into_it() {
    let parts = [
        times(PUSH0, 200),
        vec![JUMPDEST],
        times(PUSH0, 900),
        times(POP, 900),
        vec![JUMPDEST],
        times(POP, 200),
        vec![0],
    ];
    check("popped again", parts.concat(), 0);
    let parts = [
        times(PUSH0, 900),
        vec![JUMPDEST],
        times(POP, 900),
        times(PUSH0, 650),
        vec![JUMPDEST],
        times(PUSH0, 500),
        vec![0],
    ];
    check("pushed above the limit", parts.concat(), 0);
}

/// What makes memory longer than it is stands in blocks that nothing leads to.
#[test]
fn dead_code_makes_no_memory_longer() {
    let code = hex!(
        "5f60133460115750505f601336601157005b565b34905234601c57005b61400051505a5f5260205ff3"
        "5b60295061400060136035565b56"
    );
    check("a block that continues another", code.to_vec(), 1);
}

/// A word that a loop carries and no block writes, while others stand in its slot.
#[test]
fn a_carried_word_comes_back_to_a_slot_that_was_another_words() {
    let mut code = hex!("602a60015b80156076578115506007915f").to_vec();
    code.extend(times(PUSH0, 44));
    code.push(0x51);
    code.extend(times(POP, 45));
    code.extend(hex!("9150600190036004565b505f5260205ff3"));
    check("tidied in the middle", code, 0);
    let code = hex!(
        "60dd60cc601160126013601460156016601760186019601a601b601c601d601e60015b8f15508e15508d1550"
        "8c15508b15508a15508915508815508715508615508515508415508315508215508115508015509f9e9f34607b57"
        "9f9e9f6001900380602257505050505050505050505050505050505f5260205ff35b9f9e9f60019003602256"
    );
    check("exchanged at the edge", code.to_vec(), 0);
}

/// A loaded word that is an address, too, is in registers of both kinds; all others are in use.
#[test]
fn a_word_in_registers_of_both_kinds_is_spare_once() {
    let mut code = hex!("6000518051").to_vec();
    code.extend(hex!("348051").repeat(7));
    code.extend(hex!("60005160005134805100"));
    check("registers of both kinds", code, 0);
}
