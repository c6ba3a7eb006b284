//! The checker over programs and contracts, and over planted faults.

use super::{
    super::emit::{Emitted, emit_all},
    machine::Wrong,
    walk::check,
};
use crate::{
    common,
    compiler::{
        CompileError, CompileOptions, Passes, Rules, Tier, clif,
        fault::{Fault, planting::plant},
        tests_passes,
    },
};
use alloy_primitives::hex;
use std::{env, fs, path::Path};

const TIERS: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

/// Costs that are not multiples of one another, so that sums are hardly alike by chance.
pub(super) fn rules() -> Rules {
    Rules::new(
        std::array::from_fn(|opcode| 1 + (opcode as u16 * 37) % 101),
        0..=255,
    )
}

/// Compiles with a fault planted, if one is given, and checks what comes out: how many leaves it has.
fn checked(code: &[u8], tier: Tier, fault: Option<Fault>) -> Result<usize, Wrong> {
    let rules = rules();
    let options = CompileOptions {
        tier,
        ..CompileOptions::default()
    };
    let compiled = || -> Result<(Passes, Emitted), CompileError> {
        let passes = Passes::run(code, &rules, true)?;
        let program = passes.program(code, &rules);
        let loops = match tier {
            Tier::Baseline => None,
            Tier::Optimized => clif::loops(&program, &options)?,
        };
        let emitted = emit_all(&program, loops, &options)?;
        Ok((passes, emitted))
    };
    let compiled = match fault {
        None => compiled(),
        Some(fault) => plant(fault, compiled).result,
    };
    let (passes, emitted) = compiled.unwrap();
    let program = passes.program(code, &rules);
    check(&program, &emitted)
}

fn holds(name: &str, code: &[u8]) -> usize {
    let leaves = TIERS.map(|tier| {
        let found = checked(code, tier, None);
        found.unwrap_or_else(|wrong| panic!("{name}, {tier}: {wrong}\n{}", hex::encode(code)))
    });
    leaves.into_iter().sum()
}

/// Programs of the two generators: fragments with many edges, and what compilers and people write.
fn programs(count: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..count).flat_map(|seed| {
        let fragments = tests_passes::program(&mut common::rng::Rng::new(seed));
        let written = common::generate::program(seed).case().code.to_vec();
        [
            (format!("fragments {seed}"), fragments),
            (format!("program {seed}"), written),
        ]
    })
}

#[test]
fn programs_hold() {
    let count = env::var("REVMC_JIT_PROGRAMS").map_or(300, |count| count.parse().unwrap());
    let leaves: usize = programs(count)
        .map(|(name, code)| holds(&name, &code))
        .sum();
    println!("{} programs, {leaves} leaves", 2 * count);
    assert!(leaves > 10 * count as usize);
}

#[test]
fn contracts_hold() {
    for (name, code) in [
        (
            "Token",
            include_str!("../../../../examples/contracts/Token.hex"),
        ),
        (
            "Pair",
            include_str!("../../../../examples/contracts/Pair.hex"),
        ),
        (
            "Loops",
            include_str!("../../../../examples/contracts/Loops.hex"),
        ),
    ] {
        let code = hex::decode(code.trim()).unwrap();
        assert!(holds(name, &code) > 100, "{name}");
    }
    let Ok(folder) = env::var("REVMC_JIT_CHECK") else {
        return;
    };
    let codes = fs::read(Path::new(&folder).join("codes.json")).unwrap();
    let codes: serde_json::Map<_, _> = serde_json::from_slice(&codes).unwrap();
    let mut leaves = 0;
    for (hash, code) in &codes {
        let code = hex::decode(code.as_str().unwrap()).unwrap();
        if code.first() != Some(&0xef) {
            leaves += holds(hash, &code);
        }
    }
    println!("{} contracts, {leaves} leaves", codes.len());
}

/// A word that NOT works with once had a place on the stack: above its limit, if the stack was full and
/// the registers, too.
#[test]
fn what_is_written_back_stays_below_the_limit() {
    let loads: String = (0..11).map(|i| format!("{} MLOAD ", 32 * i)).collect();
    let code = common::asm::asm(&format!("CALLER BALANCE {loads} DUP12 NOT STOP"));
    holds("a full stack", &code);
}

#[test]
fn a_run_that_has_seen_the_size_of_memory_is_not_begun_again() {
    let code = common::asm::asm("MSIZE 0 CALLDATALOAD MLOAD POP 32 CALLDATALOAD MLOAD POP STOP");
    assert!(checked(&code, Tier::Baseline, None).is_ok());
    let wrong = checked(&code, Tier::Baseline, Some(Fault::GrowthIsForgotten));
    assert!(wrong.is_err_and(|wrong| wrong.contains("before memory grew")));
}

/// Faults in where words, the top, and gas are, and in what was made sure of. What words are is not the
/// checker's: the comparison with the interpreter finds those (`src/trial/faults.rs`).
const FOUND: &[Fault] = &[
    Fault::StubKeepsGas,
    Fault::LeaveKeepsGas,
    Fault::RunNotCharged,
    Fault::BoundaryKeepsBase,
    Fault::GrowthKeepsBase,
    Fault::GrowthLosesVectors,
    Fault::BoundaryLosesWord,
    Fault::EdgeRaisesTop,
    Fault::ChainForgetsGas,
    Fault::ConstantEndIsShort,
    Fault::ExtentIsShort,
    Fault::WidenedWithoutEffect,
    Fault::StoreCanBeRepeated,
    Fault::StepIsPaidTwice,
    Fault::FailedJumpGivesBackMore,
    Fault::GasIsNotCompared,
    Fault::GasAheadIsNotCompared,
    Fault::LeaveLosesWords,
    Fault::LeaveKeepsTop,
    Fault::RestIsNotPaid,
    Fault::CycleSavesAnother,
    Fault::WriteBackKeepsOldLimbs,
    Fault::ReserveIsEndless,
    Fault::ChainTrustsMemory,
    Fault::NothingIsSpent,
    Fault::WayOutIsNotPaid,
    Fault::CounterIsTheNext,
    Fault::DuplicateOfTheNext,
    Fault::SwapWithTheNext,
    Fault::AddressIsTheCallers,
    Fault::CalldataIsReturned,
    Fault::WayBehindIsFree,
    Fault::LoopsAreFree,
    Fault::LongestMemoryCounts,
    Fault::TwoWaysAreOne,
    Fault::ConstantOfTheNext,
    Fault::BlockReachesFurther,
    Fault::BoundaryIsFree,
    Fault::PushIsShort,
];

#[test]
fn faults_are_found() {
    let programs: Vec<_> = programs(120).collect();
    let finds = |fault| {
        programs.iter().any(|(_, code)| {
            let wrong = |tier| checked(code, tier, Some(fault)).is_err();
            TIERS.into_iter().any(wrong)
        })
    };
    let missed: Vec<_> = FOUND.iter().filter(|fault| !finds(**fault)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}
