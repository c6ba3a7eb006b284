//! Trials of right programs and of programs with a fault planted in the compiler.

use super::{Options, Passed, replay, run};
use crate::{
    chain::Chain,
    common::asm::asm,
    compiler::{
        CompileOptions, Rules, Tier, compile,
        fault::{Fault, planting::plant},
    },
    key::RuntimeCacheKey,
    program::CompiledProgram,
};
use alloy_primitives::{Bytes, keccak256};
use revm_interpreter::primitives::hardfork::SpecId;
use std::{sync::Arc, time::Duration};

const TIERS: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

fn program(code: &Bytes, rules: &Arc<Rules>, spec_id: SpecId, tier: Tier) -> CompiledProgram {
    let options = CompileOptions {
        tier,
        ..CompileOptions::default()
    };
    let key = RuntimeCacheKey {
        code_hash: keccak256(code),
        spec_id,
    };
    let native = compile(code, rules, &options).unwrap();
    CompiledProgram::jit(key, Arc::clone(rules), code.len(), &native).unwrap()
}

pub(crate) fn mainnet(code: &Bytes, spec_id: SpecId, tier: Tier) -> CompiledProgram {
    program(code, Chain::mainnet().rules(spec_id), spec_id, tier)
}

/// So many runs, however long they take.
fn options(seed: u64, runs: u64) -> Options {
    Options {
        seed,
        runs,
        time: Duration::from_secs(3600),
        samples: Vec::new(),
    }
}

/// A function behind a selector that does a bit of all: checks, memory that grows, hashes, storage, a
/// log, a loop, an internal call and one to another account.
pub(crate) fn contract() -> Bytes {
    let text = "
        0x80 0x40 MSTORE CALLVALUE DUP1 ISZERO @paid JUMPI 0 0 REVERT
        paid: POP 4 CALLDATASIZE LT @none JUMPI
        0 CALLDATALOAD 0xe0 SHR DUP1 PUSH4 0xa9059cbb EQ @transfer JUMPI
        DUP1 PUSH4 0x70a08231 EQ @balance JUMPI
        PUSH4 0x12345678 SUB @none JUMPI
        @sum_done 4 CALLDATALOAD 0xff AND @sum JUMP
        sum_done: 1 0 MSTORE 7 0x24 CALLDATALOAD 0xffff AND MSTORE 0x40 MLOAD DUP1 SWAP2 SWAP1 MSTORE 32 SWAP1 RETURN
        transfer: 4 CALLDATALOAD 2^160-1 AND 0x24 CALLDATALOAD
        CALLER 0 MSTORE 0 0x20 MSTORE 0x40 0 KECCAK256 DUP1 SLOAD
        DUP3 DUP2 LT @none JUMPI
        DUP3 SWAP1 SUB SWAP1 SSTORE
        DUP2 0x80 MSTORE DUP1 0xa0 MSTORE
        0x40 0x80 LOG0
        GAS POP DUP1 0xc0 MSTORE MSIZE POP
        0x20 0x0100 0x40 0x80 0 DUP7 GAS CALL ISZERO @none JUMPI
        0x0100 MLOAD ADD 0x40 MLOAD MSTORE POP 0x20 0x40 MLOAD RETURN
        balance: POP 0x24 CALLDATASIZE LT @none JUMPI
        4 CALLDATALOAD DUP1 0xc0 SHR DUP1 ADD 0x60 MSTORE 0 MSTORE CALLDATASIZE 0 0x2000 CALLDATACOPY 0x2004 MLOAD 0 MSTORE
        0x40 0 KECCAK256 SLOAD 0 MSTORE 0x20 0 RETURN
        sum: 0 SWAP1
        loop: DUP1 ISZERO @end JUMPI DUP1 DUP3 ADD SWAP2 POP 1 SWAP1 SUB @loop JUMP
        end: POP SWAP1 JUMP
        none: 0 0 REVERT";
    asm(text).into()
}

#[test]
fn right_programs_pass_at_every_fork() {
    let code = contract();
    for spec_id in (0..).map_while(SpecId::try_from_u8) {
        for tier in TIERS {
            let program = mainnet(&code, spec_id, tier);
            let Passed {
                runs,
                blocks_covered,
                blocks_total,
                ..
            } = run(&program, &code, &options(spec_id as u64, 300))
                .unwrap_or_else(|difference| panic!("{difference}"));
            assert!(runs > 250, "{spec_id:?}: {runs} runs");
            // Before SHR there was no function to find.
            let least = if spec_id < SpecId::PETERSBURG {
                4
            } else {
                blocks_total / 2
            };
            assert!(
                blocks_covered >= least && blocks_covered <= blocks_total,
                "{spec_id:?}: {blocks_covered} of {blocks_total}"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trial() {
    let code = contract();
    let program = mainnet(&code, SpecId::OSAKA, Tier::Baseline);
    let trial = |seed| Passed {
        time: Duration::ZERO,
        ..run(&program, &code, &options(seed, 40)).unwrap()
    };
    assert_eq!(trial(1), trial(1));
}

/// A loop whose counter falls below zero, which machine code does not take for likely.
pub(crate) fn countdown() -> Bytes {
    let text = "2 loop: 1 SWAP1 SUB DUP1 5 ADD @loop JUMPI 0 MSTORE 32 0 RETURN";
    asm(text).into()
}

/// The faults that a trial has to find in a contract, by the calls that it makes up itself.
pub(super) const FOR_THE_TRIAL: &[Fault] = &[
    Fault::StubKeepsGas,
    Fault::LeaveKeepsGas,
    Fault::RunNotCharged,
    Fault::BoundaryKeepsBase,
    Fault::GrowthKeepsBase,
    Fault::BoundaryLosesWord,
    Fault::EdgeRaisesTop,
    Fault::ChainForgetsGas,
    Fault::SumIgnoresCarry,
    Fault::CounterUnchecked,
];

/// The contract and the tier in which a trial is to find a fault.
fn place(fault: Fault) -> (Bytes, Tier) {
    match fault {
        Fault::CounterUnchecked => (countdown(), Tier::Optimized),
        // In a contract with calls of its own it leads below the stack's bottom.
        Fault::EdgeRaisesTop => {
            let code = asm("1 CALLDATASIZE @to JUMPI 2 ADD @to JUMP to: DUP1 0 MSTORE 32 0 RETURN");
            (code.into(), Tier::Baseline)
        }
        _ => (contract(), Tier::Baseline),
    }
}

#[test]
fn every_planted_fault_is_found() {
    for &fault in FOR_THE_TRIAL {
        let (code, tier) = place(fault);
        let planted = plant(fault, || mainnet(&code, SpecId::OSAKA, tier));
        assert!(planted.reached, "{fault:?} is not in the program");
        let found = run(&planted.result, &code, &options(7, 3000));
        let difference = found.expect_err(&format!("{fault:?} is not found"));
        println!("{fault:?}: {difference} after {} runs", difference.runs);
        // The input shows it again, and nothing in a right program.
        let again = replay(&planted.result, &code, &difference.input);
        assert_eq!(again, Err(difference.what), "{fault:?}");
        let right = mainnet(&code, SpecId::OSAKA, tier);
        assert_eq!(replay(&right, &code, &difference.input), Ok(()));
    }
}
