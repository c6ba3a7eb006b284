//! Every instruction that asks the host, before every failure that a compiler could see ahead.

use crate::common::{
    case::Case,
    database::Fault,
    engine::{Engine, Instructions, Outcome, SETUP_READS},
    types::SpecId,
};
use revm::{
    handler::instructions::EthInstructions,
    interpreter::{
        Instruction, InstructionContext, InstructionExecResult, interpreter::EthInterpreter,
    },
};
use std::panic::resume_unwind;

/// (opcode, first fork, text that leaves nothing on the stack).
const BOUNDARIES: &[(u8, SpecId, &str)] = &[
    (0x0a, SpecId::FRONTIER, "300 3 EXP POP"),
    (0x20, SpecId::FRONTIER, "40 3 KECCAK256 POP"),
    (0x31, SpecId::FRONTIER, "0xa7 BALANCE POP"),
    (0x32, SpecId::FRONTIER, "ORIGIN POP"),
    (0x37, SpecId::FRONTIER, "33 1 5 CALLDATACOPY"),
    (0x39, SpecId::FRONTIER, "33 1 5 CODECOPY"),
    (0x3a, SpecId::FRONTIER, "GASPRICE POP"),
    (0x3b, SpecId::FRONTIER, "0xa1 EXTCODESIZE POP"),
    (0x3c, SpecId::FRONTIER, "9 0 0 0xa1 EXTCODECOPY"),
    (0x3e, SpecId::BYZANTIUM, "0 0 5 RETURNDATACOPY"),
    (0x3f, SpecId::PETERSBURG, "0xa1 EXTCODEHASH POP"),
    (0x40, SpecId::FRONTIER, "19999990 BLOCKHASH POP"),
    (0x41, SpecId::FRONTIER, "COINBASE POP"),
    (0x42, SpecId::FRONTIER, "TIMESTAMP POP"),
    (0x43, SpecId::FRONTIER, "NUMBER POP"),
    (0x44, SpecId::FRONTIER, "DIFFICULTY POP"),
    (0x45, SpecId::FRONTIER, "GASLIMIT POP"),
    (0x46, SpecId::ISTANBUL, "CHAINID POP"),
    (0x47, SpecId::ISTANBUL, "SELFBALANCE POP"),
    (0x48, SpecId::LONDON, "BASEFEE POP"),
    (0x49, SpecId::CANCUN, "1 BLOBHASH POP"),
    (0x4a, SpecId::CANCUN, "BLOBBASEFEE POP"),
    (0x4b, SpecId::AMSTERDAM, "SLOTNUM POP"),
    (0x54, SpecId::FRONTIER, "1 SLOAD POP"),
    (0x55, SpecId::FRONTIER, "1 0xea SSTORE"),
    (0x5c, SpecId::CANCUN, "1 TLOAD POP"),
    (0x5d, SpecId::CANCUN, "1 2 TSTORE"),
    (0x5e, SpecId::CANCUN, "33 1 5 MCOPY"),
    (0xa0, SpecId::FRONTIER, "10 2 LOG0"),
    (0xa1, SpecId::FRONTIER, "1 10 2 LOG1"),
    (0xa2, SpecId::FRONTIER, "1 2 10 2 LOG2"),
    (0xa3, SpecId::FRONTIER, "1 2 3 10 2 LOG3"),
    (0xa4, SpecId::FRONTIER, "1 2 3 4 10 2 LOG4"),
    (0xf0, SpecId::FRONTIER, "0 0 0 CREATE POP"),
    (0xf1, SpecId::FRONTIER, "32 0 32 0 0 0xa1 500 CALL POP"),
    (0xf2, SpecId::FRONTIER, "32 0 32 0 0 0xa1 500 CALLCODE POP"),
    (
        0xf4,
        SpecId::HOMESTEAD,
        "32 0 32 0 0xa1 500 DELEGATECALL POP",
    ),
    (0xf5, SpecId::PETERSBURG, "1 0 0 0 CREATE2 POP"),
    (0xfa, SpecId::BYZANTIUM, "32 0 32 0 0xa1 500 STATICCALL POP"),
];

/// (failure, what it ends in); the overflow is added by [`cases`].
const FAILURES: &[(&str, &str)] = &[
    ("STOP", "Stop"),
    ("ADD", "StackUnderflow"),
    ("POP", "StackUnderflow"),
    ("5 DUP2", "StackOverflow"),
    ("5 SWAP1", "StackUnderflow"),
    ("0 MSTORE", "StackUnderflow"),
    ("1 JUMPI", "StackUnderflow"),
    ("INVALID", "InvalidFEOpcode"),
    ("hex:0c", "OpcodeNotFound"),
    ("0 JUMP", "InvalidJump"),
    ("MAX JUMP", "InvalidJump"),
    ("1 3 JUMPI", "InvalidJump"),
    ("2^40 MLOAD", "OutOfGas"),
    ("5 MAX MSTORE", "OutOfGas"),
];

const SPECS: [SpecId; 4] = [
    SpecId::FRONTIER,
    SpecId::BERLIN,
    SpecId::OSAKA,
    SpecId::AMSTERDAM,
];

/// Programs with the way they end if nothing else goes wrong.
fn cases(spec_id: SpecId) -> impl Iterator<Item = (String, &'static str, Case)> {
    let known = BOUNDARIES
        .iter()
        .filter(move |(_, since, _)| spec_id.is_enabled_in(*since));
    let overflow = "PC ".repeat(1025);
    known.flat_map(move |(_, _, text)| {
        let failures = FAILURES.iter().map(|&(text, end)| (text.to_owned(), end));
        let failures = failures.chain([(overflow.clone(), "StackOverflow")]);
        failures.map(move |(failure, end)| {
            // Memory is there, so that the boundary instruction is what is met first.
            let program = format!("3 CALLVALUE MSTORE {text} {failure}");
            let case = Case::asm(&program).on(spec_id).input([7; 40]);
            let name = format!("{text}; {}", &failure[..failure.len().min(20)]);
            (name, end, case)
        })
    })
}

fn ends_in(outcome: &Outcome, end: &str) -> bool {
    let found = outcome.end();
    found == end || end == "OutOfGas" && (found == "MemoryOOG" || found == "InvalidOperandOOG")
}

#[test]
fn healthy_hosts() {
    let mut engine = Engine::new();
    for spec_id in SPECS {
        for (name, end, case) in cases(spec_id) {
            let outcome = engine.check(&name, &case);
            assert!(ends_in(&outcome, end), "{name}: {}", outcome.end());
        }
    }
}

/// Unit by unit up to `units` and where the program is about to have enough; in steps between.
fn limits(enough: u64, units: u64) -> impl Iterator<Item = u64> {
    let near = enough.saturating_sub(300).max(units);
    (0..units.min(enough))
        .chain((units..near).step_by(331))
        .chain(near..enough + 2)
}

/// No program needs more but for what ends by taking all that it is given.
const ENOUGH: u64 = 60_000;

fn out_of_gas(spec_id: SpecId, whole: u64, units: u64) {
    let mut engine = Engine::new();
    for (name, end, case) in cases(spec_id) {
        let enough = engine.check(&name, &case).spent().min(ENOUGH);
        let units = if end == "Stop" { whole } else { units };
        let fault = [None, Some((0, Fault::Error)), Some((0, Fault::Panic))];
        for gas in limits(enough, units) {
            let mut case = case.clone().gas(gas);
            engine.check(&name, &case);
            case.fault = fault[gas as usize % fault.len()];
            if case.fault.is_some() {
                engine.check(&name, &case);
            }
        }
    }
    engine.forget();
}

#[test]
fn out_of_gas_on_frontier() {
    out_of_gas(SpecId::FRONTIER, 2_000, 500);
}

#[test]
fn out_of_gas_on_berlin() {
    out_of_gas(SpecId::BERLIN, 3_000, 500);
}

#[test]
fn out_of_gas_on_osaka() {
    out_of_gas(SpecId::OSAKA, 60_000, 3_000);
}

#[test]
fn out_of_gas_on_amsterdam() {
    out_of_gas(SpecId::AMSTERDAM, 30_000, 500);
}

#[test]
fn databases_that_fail_or_panic() {
    let mut engine = Engine::new();
    let (mut errors, mut panics) = (0, 0);
    for spec_id in SPECS {
        for (name, _, case) in cases(spec_id) {
            let reads = engine.check(&name, &case).reads.len();
            for read in 0..reads - SETUP_READS {
                let outcome = engine.check(&name, &case.clone().fault(read, Fault::Error));
                errors += usize::from(outcome.result.contains("ReadError"));
                let outcome = engine.check(&name, &case.clone().fault(read, Fault::Panic));
                let panic = outcome.panic.expect("the database panics");
                assert!(panic.starts_with("the database broke"), "{panic}");
                panics += 1;
            }
        }
    }
    assert!(
        errors > 500 && panics > 500,
        "{errors} errors, {panics} panics"
    );
}

/// Takes the place of an instruction.
fn panicking(
    _: InstructionContext<'_, crate::common::engine::World, EthInterpreter>,
) -> InstructionExecResult {
    // No hook: the panic is expected.
    resume_unwind(Box::new("the instruction panics"));
}

fn all_panic(spec_id: SpecId) -> Instructions {
    let mut instructions = EthInstructions::new_mainnet_with_spec(spec_id);
    for &(opcode, ..) in BOUNDARIES {
        let gas = instructions.gas_table()[opcode as usize];
        instructions.insert_instruction(opcode, Instruction::new(panicking), gas);
    }
    instructions
}

#[test]
fn instructions_that_panic() {
    let mut engine = Engine::with(revmc_jit::Chain::mainnet(), all_panic);
    for spec_id in SPECS {
        for (name, _, case) in cases(spec_id) {
            let outcome = engine.check(&name, &case);
            assert_eq!(
                outcome.panic.as_deref(),
                Some("the instruction panics"),
                "{name}"
            );
            engine.check(&name, &case.clone().gas(20));
        }
    }
}
