//! Programs on which compilers of EVMs have gone wrong, each by its story.

use crate::common::{
    case::{CONTRACT, Case, FORKS, actor},
    database::{Fault, Read},
    engine::{Engine, SETUP_READS},
    types::{SpecId, U256, hex},
};

fn case(code: &str, spec_id: SpecId, gas: u64) -> Case {
    let code = hex::decode(code).expect("hex digits");
    Case::new(code).on(spec_id).gas(gas)
}

/// State gas (EIP-8037) comes first, so that the underflow leaves some gas over.
#[test]
fn state_gas_is_charged_before_a_stack_underflow() {
    let mut engine = Engine::new();
    let program = case("600160ea5501", SpecId::AMSTERDAM, 1_000_000);
    let outcome = engine.check("SSTORE, ADD", &program);
    assert_eq!(outcome.end(), "StackUnderflow");
    let gas = outcome.stops[0].gas;
    assert!(gas.remaining() > 0 && gas.state_gas_spent() > 0, "{gas:?}");
    for gas in (0..130_000).step_by(211) {
        engine.check("SSTORE, ADD", &program.clone().gas(gas));
    }
}

#[test]
fn a_slot_is_read_before_a_stack_underflow() {
    let mut engine = Engine::new();
    let program = case("60ea540101", SpecId::CANCUN, 100_000);
    let outcome = engine.check("SLOAD, ADD, ADD", &program);
    assert_eq!(outcome.end(), "StackUnderflow");
    assert_eq!(
        outcome.reads.last(),
        Some(&Read::Slot(CONTRACT, U256::from(0xea)))
    );
    for gas in 0..2_200 {
        engine.check("SLOAD, ADD, ADD", &program.clone().gas(gas));
    }
}

#[test]
fn a_database_error_comes_before_the_failure_behind_it() {
    let mut engine = Engine::new();
    // BALANCE, EXTCODESIZE, EXTCODEHASH, EXTCODECOPY, SLOAD; then POP and STOP, or an underflow.
    let programs = [
        "60bb31",
        "60bb3b",
        "60bb3f",
        "600060006000 60bb3c 5f",
        "60bb54",
        "47",
    ];
    for spec_id in FORKS {
        for program in programs {
            for end in ["5000", "0101"] {
                let program = case(
                    &format!("{program}{end}").replace(' ', ""),
                    spec_id,
                    100_000,
                );
                let outcome = engine.check("read", &program);
                let reads = outcome.reads.len();
                for read in 0..3 {
                    let program = program.clone().fault(read, Fault::Error);
                    let outcome = engine.check("failed read", &program);
                    let fatal = outcome.end() == "FatalExternalError";
                    assert_eq!(fatal, read + SETUP_READS < reads, "{outcome:?}");
                    assert_eq!(fatal, outcome.result.contains("ReadError"), "{outcome:?}");
                }
                let program = program.fault(0, Fault::Error);
                let limits = if spec_id >= SpecId::CANCUN {
                    0..200
                } else {
                    0..40
                };
                for gas in limits.chain(2_590..2_620) {
                    engine.check("failed read", &program.clone().gas(gas));
                }
            }
        }
    }
    let program = case("60bb315000", SpecId::CANCUN, 10_000).fault(0, Fault::Error);
    let outcome = engine.check("failed BALANCE", &program);
    assert_eq!(outcome.end(), "FatalExternalError");
    assert_eq!(outcome.reads.last(), Some(&Read::Account(actor(0xbb))));
}

/// An uncapped simulation: the interpreter panics, and the caller can catch it.
#[test]
fn memory_that_cannot_be_had_is_a_panic_and_no_abort() {
    let mut engine = Engine::new();
    for access in ["MLOAD", "1 SWAP1 MSTORE", "1 SWAP1 MSTORE8"] {
        for offset in ["2^63", "0xc000000000000000"] {
            let program = Case::asm(&format!("7 0 MSTORE {offset} {access}")).gas(u64::MAX);
            for spec_id in [SpecId::FRONTIER, SpecId::OSAKA, SpecId::AMSTERDAM] {
                let outcome = engine.check(access, &program.clone().on(spec_id));
                assert_eq!(outcome.panic.as_deref(), Some("capacity overflow"));
                engine.check_mixed(access, &program.clone().on(spec_id), 3);
            }
        }
    }
    // With gas to pay for, there is none for this.
    for offset in [
        "2^32-1",
        "2^32",
        "0x100000001",
        "0xffffffe0",
        "2^63",
        "2^64-1",
        "2^64",
        "MAX",
    ] {
        for access in [
            "MLOAD",
            "1 SWAP1 MSTORE",
            "1 SWAP1 MSTORE8",
            "32 SWAP1 KECCAK256",
        ] {
            let program = Case::asm(&format!("7 0 MSTORE {offset} {access}")).gas(30_000_000);
            let outcome = engine.check(access, &program);
            assert!(
                outcome.end().contains("OutOfGas")
                    || outcome.end().contains("OOG")
                    || outcome.end().contains("InvalidOperand"),
                "{}",
                outcome.end()
            );
        }
    }
}

#[test]
fn what_is_below_a_selfdestruct_stays_on_the_stack() {
    let mut engine = Engine::new();
    let outcome = engine.check("SELFDESTRUCT", &case("4343ff", SpecId::BERLIN, 100_000));
    assert_eq!(outcome.end(), "SelfDestruct");
    assert_eq!(outcome.stops[0].stack, [U256::from(20_000_000u64)]);
}

/// Refused, or worked around, by the translator that this crate once had.
#[test]
fn wide_jump_targets_and_a_jumpi_that_underflows() {
    let mut engine = Engine::new();
    for text in [
        "2^64 JUMP",
        "1 2^64 JUMPI",
        "0x10000000000000003 JUMP l:",
        "1 JUMPI",
        "@l JUMPI l:",
        "JUMPI",
        "CALLVALUE 2^128 JUMPI 1 2^200 JUMPI",
    ] {
        for spec_id in FORKS {
            engine.check(text, &Case::asm(text).on(spec_id));
            engine.check(text, &Case::asm(text).on(spec_id).value(1));
        }
    }
}

#[test]
fn recursion_reaches_the_call_limit() {
    let mut engine = Engine::new();
    let program = Case::asm("0 0 0 0 0 ADDRESS GAS CALL 1 ADD 0 MSTORE 32 0 RETURN").gas(1 << 50);
    let outcome = engine.check("recursion", &program);
    assert_eq!(
        outcome.stops.iter().map(|stop| stop.depth).max(),
        Some(1024)
    );
    assert_eq!(outcome.end(), "Return");
    engine.check_mixed("recursion", &program, 2);
}
