//! The table of planted faults: each is planted in the compilation of a small program that comes by its
//! place, and the comparison with the interpreter has to notice it, over edge words as calldata and over
//! every gas limit of a few hundred.

use super::{Input, replay, tests::mainnet};
use crate::{
    common::asm::asm,
    compiler::{
        Tier,
        fault::{Fault, planting::plant},
    },
    program::CompiledProgram,
};
use alloy_primitives::{Bytes, U256};
use revm_interpreter::primitives::hardfork::SpecId;

/// The fault and the program that it is planted in: `A` and `B` stand for the first two words of calldata,
/// `END` returns the top of the stack, `READ` uses the 16 highest words, `3*POP` is three. Behind `tier 2:` the program is compiled at that tier.
const TABLE: &[(Fault, &str)] = &[
    (Fault::FoldedIsMore, "2 3 ADD END"),
    (Fault::SumLosesCarry, "B A ADD END"),
    (Fault::DifferenceLosesBorrow, "B A SUB END"),
    (
        Fault::DifferenceIsNeverNegative,
        "0xff B AND 0xff A AND SUB END",
    ),
    (Fault::ProductByPower, "4 A MUL END"),
    (Fault::ProductIsNarrow, "2^64-1 B AND 2^64-1 A AND MUL END"),
    (Fault::QuotientByPower, "4 A DIV END"),
    (Fault::RemainderByPower, "4 A MOD END"),
    (Fault::PowerIsAnother, "224 2 EXP A DIV END"),
    (
        Fault::DivisionByZeroIsTheDividend,
        "2^64-1 B AND 2^64-1 A AND DIV END",
    ),
    (Fault::SignBitIsAnother, "0xff A AND 0 SIGNEXTEND END"),
    (Fault::OperandsInTheOtherOrder, "B A SDIV END"),
    (Fault::ComparisonIsUnsigned, "B A SLT END"),
    (Fault::ComparisonOfOneLimb, "B A LT END"),
    (Fault::EqualityOfOneLimb, "1 A ADD B EQ END"),
    (Fault::EqualityOfVectors, "B A EQ END"),
    (Fault::FlagsAreNotInverted, "B A LT ISZERO END"),
    (Fault::TestOfOneLimb, "2^64 A ADD ISZERO END"),
    (Fault::MaskLetsMoreThrough, "0xffff A AND 0xff AND END"),
    (Fault::ShiftOfAllLeavesOne, "A 256 SHL END"),
    (Fault::LeftShiftLosesBits, "A 4 SHL END"),
    (Fault::RightShiftLosesBits, "A 4 SHR END"),
    (Fault::ArithmeticShiftIsLogical, "A 4 SAR END"),
    (Fault::BytesFromTheOtherEnd, "A 3 BYTE END"),
    (Fault::OrIsXor, "B A OR END"),
    (Fault::ConjunctionIsNarrow, "B A AND END"),
    (
        Fault::ConstantEndIsShort,
        "7 0 MSTORE 9 32 MSTORE8 MSIZE END",
    ),
    (
        Fault::ExtentIsShort,
        "0xff A AND 7 DUP2 MSTORE B POP GAS POP 9 DUP2 32 ADD MSTORE MSIZE END",
    ),
    (
        Fault::WidenedWithoutEffect,
        "0xff A AND 7 DUP2 MSTORE 9 DUP2 32 ADD MSTORE MSIZE END",
    ),
    (Fault::OffsetOfOneLimb, "9 1 A SUB MSTORE MSIZE END"),
    (
        Fault::GrowthIsForgotten,
        "MSIZE 0xffff A AND MLOAD POP B MLOAD POP END",
    ),
    (
        Fault::GrowthLosesVectors,
        "MAX 0 MSTORE 0 MLOAD 0xffff A AND MLOAD ADD END",
    ),
    (Fault::LoadKeepsHalves, "A 0 MSTORE 0 MLOAD END"),
    (
        Fault::StoreOfLimbsKeepsOld,
        "MAX 0 MSTORE 0xff A AND 0 MSTORE 32 0 RETURN",
    ),
    (
        Fault::StoreOfConstantKeepsOld,
        "A 0 MSTORE 5 0 MSTORE 32 0 RETURN",
    ),
    (
        Fault::ByteOfConstantIsAnother,
        "0x1234 0 MSTORE8 32 0 RETURN",
    ),
    (
        Fault::StoreCanBeRepeated,
        "0 MLOAD 1 ADD 0 MSTORE A MLOAD END",
    ),
    (Fault::CalldataOffsetOfOneLimb, "1 A ADD CALLDATALOAD END"),
    (Fault::BranchIsInverted, "A @t JUMPI 1 END t: 2 END"),
    (Fault::KnownConditionIsInverted, "1 @t JUMPI 1 END t: 2 END"),
    (
        Fault::TableJumpIsInverted,
        "A @t B ISZERO MUL JUMPI 1 END t: 2 END",
    ),
    (Fault::StepIsPaidTwice, "A 3 JUMPI 1 END"),
    (Fault::FailedJumpGivesBackMore, "A JUMP"),
    (
        Fault::GasIsNotCompared,
        "3 l: 1 SWAP1 SUB DUP1 @l JUMPI STOP",
    ),
    (
        Fault::GasAheadIsNotCompared,
        "3 l: 1 SWAP1 SUB DUP1 @l JUMPI 7 7 ADD POP CALLER POP STOP",
    ),
    (Fault::LeaveLosesWords, "A 0 MSTORE 5 6 B MLOAD ADD ADD END"),
    (Fault::LeaveKeepsTop, "A 0 MSTORE 5 6 B MLOAD ADD ADD END"),
    (
        Fault::RestIsNotPaid,
        "CALLER BALANCE POP A @t JUMPI 1 END t: 9 B MUL CALLER BALANCE ADD END",
    ),
    (
        Fault::CycleSavesAnother,
        "7 8 A B CALLER BALANCE POP SWAP1 CALLER BALANCE POP SUB END",
    ),
    (
        Fault::WriteBackKeepsOldLimbs,
        "MAX CALLER BALANCE POP POP 2^128-1 B AND 1 ADD CALLER BALANCE POP END",
    ),
    (Fault::ReserveIsEndless, "CALLER BALANCE POP MANY STOP"),
    (
        Fault::ChainTrustsMemory,
        "A @t JUMPI STOP t: 9 32 MSTORE MSIZE END",
    ),
    (
        Fault::BranchLeavesComparisonOpen,
        "9 0 MSTORE A @t JUMPI 9 32 MSTORE MSIZE END t: MSIZE END",
    ),
    (Fault::NothingIsSpent, "1 A ADD POP GAS END"),
    (Fault::WayOutIsNotPaid, "5 A @t JUMPI 6 ADD @t JUMP t: END"),
    (Fault::GasIsThatOfTheRun, "GAS END"),
    (Fault::CounterIsTheNext, "PC END"),
    (Fault::DuplicateOfTheNext, "A B DUP2 END"),
    (Fault::SwapWithTheNext, "A B 5 SWAP2 END"),
    (Fault::AddressIsTheCallers, "ADDRESS END"),
    (Fault::CalldataIsReturned, "CALLDATASIZE END"),
    (Fault::SizesAreBytes, "CALLDATASIZE 8 SHR END"),
    (
        Fault::WayBehindIsFree,
        "A POP @t JUMP t: MANY MANY @u JUMP u: MANY MANY @v JUMP v: MANY STOP",
    ),
    (Fault::LoopsAreFree, "3 l: 1 SWAP1 SUB DUP1 @l JUMPI STOP"),
    (
        Fault::LongestMemoryCounts,
        "A @s JUMPI 9 64 MSTORE @t JUMP s: 5 POP @t JUMP t: 9 32 MSTORE MSIZE END",
    ),
    (
        Fault::DemandOfNoStack,
        "200*0 s: 900*0 900*POP t: 200*POP STOP",
    ),
    (
        Fault::ReachIsAWordLonger,
        "9 0 MSTORE A @s JUMPI s: 32 MLOAD POP MSIZE END",
    ),
    (
        Fault::TwoWaysAreOne,
        "A @s JUMPI @u A ISZERO @t JUMPI STOP s: @v A @t JUMPI STOP t: JUMP u: 1 END v: 2 END",
    ),
    (
        Fault::FirstWayIsBelieved,
        "A @s JUMPI @u A ISZERO @t JUMPI STOP s: @v A @t JUMPI STOP t: JUMP u: 1 END v: 2 END",
    ),
    (
        Fault::CopyFallsElsewhere,
        "@u @t JUMP u: @v @t JUMP t: A @w JUMPI 5 POP w: JUMP v: 1 END",
    ),
    (
        Fault::ConstantOfTheNext,
        "@t @u 7 DUP2 JUMP t: 1 END u: 2 END",
    ),
    (
        Fault::BlockReachesFurther,
        "9 0 MSTORE A @t JUMPI STOP t: 9 32 MSTORE MSIZE END",
    ),
    (Fault::BoundaryIsFree, "CALLER BALANCE POP STOP"),
    (Fault::PushDataIsCode, "CALLER 0x50 POP END"),
    (Fault::PushIsShort, "0x0102 END"),
    (
        Fault::ClifGasIsNotCompared,
        "tier 2: 3 l: 1 SWAP1 SUB DUP1 @l JUMPI STOP",
    ),
    (
        Fault::ClifLeaveKeepsGas,
        "tier 2: A 9 l: DUP2 MLOAD POP 1 SWAP1 SUB DUP1 @l JUMPI STOP",
    ),
    (
        Fault::ClifLeaveLosesWords,
        "tier 2: A 9 l: 1 SWAP1 SUB 3 DUP3 MLOAD POP POP DUP1 @l JUMPI STOP",
    ),
    (
        Fault::ClifGuessIsBelieved,
        "tier 2: A l: 1 SWAP1 SUB DUP1 0xff AND @l JUMPI END",
    ),
    (
        Fault::ClifLoopKeepsGas,
        "tier 2: 3 l: 1 SWAP1 SUB DUP1 @l JUMPI GAS END",
    ),
    (
        Fault::ClifLoopIsFree,
        "tier 2: 3 l: 1 SWAP1 SUB DUP1 @l JUMPI GAS END",
    ),
    (
        Fault::ClifTopIsTheBase,
        "tier 2: B 3 A @l JUMPI 5 @m JUMP l: 0 m: ADD 1 SWAP1 SUB DUP1 @l JUMPI ADD END",
    ),
    (
        Fault::ClifZeroIsNotZero,
        "tier 2: A l: DUP1 @e JUMPI 1 SWAP1 SUB @l JUMP e: END",
    ),
    (
        Fault::ClifSlotIsKept,
        "tier 2: A 1 l: DUP1 ISZERO @e JUMPI DUP2 ISZERO POP 7 SWAP2 45*0 MLOAD 45*POP SWAP2 POP \
         1 SWAP1 SUB @l JUMP e: POP END",
    ),
    (
        Fault::ClifHomeIsKept,
        "tier 2: A 15*3 1 l: READ SWAP16 SWAP15 SWAP16 CALLVALUE @b JUMPI SWAP16 SWAP15 SWAP16 \
         1 SWAP1 SUB DUP1 @l JUMPI 16*POP END b: SWAP16 SWAP15 SWAP16 1 SWAP1 SUB @l JUMP",
    ),
];

fn program(text: &str) -> (Bytes, Tier) {
    let (tier, text) = match text.strip_prefix("tier 2: ") {
        Some(text) => (Tier::Optimized, text),
        None => (Tier::Baseline, text),
    };
    let words = text.split(' ').map(|word| match word {
        "A" => "0 CALLDATALOAD".to_owned(),
        "B" => "32 CALLDATALOAD".to_owned(),
        "END" => "0 MSTORE 32 0 RETURN".to_owned(),
        "MANY" => "PC POP ".repeat(100),
        "READ" => (1..=16)
            .rev()
            .map(|n| format!("DUP{n} ISZERO POP "))
            .collect(),
        word => match word.split_once('*') {
            Some((n, word)) => format!("{word} ").repeat(n.parse().unwrap()),
            None => word.to_owned(),
        },
    });
    (asm(&words.collect::<Vec<_>>().join(" ")).into(), tier)
}

/// Words at which operations differ.
fn edges() -> Vec<U256> {
    let power = |n: usize| U256::ONE << n;
    let mut edges: Vec<U256> = [0, 1, 2, 3, 5, 31, 32, 128, 255, 256, 0x1234]
        .map(U256::from)
        .into();
    for n in [32, 63, 64, 128, 192, 255] {
        edges.extend([power(n) - U256::ONE, power(n), power(n) + U256::ONE]);
    }
    edges.extend([U256::MAX, U256::MAX - U256::ONE, U256::MAX << 64]);
    edges
}

/// What of the program differs, for the first input that shows it.
fn noticed(program: &CompiledProgram, code: &Bytes) -> Option<String> {
    let calldata = |a: U256, b: U256| -> Bytes {
        let mut data = [a.to_be_bytes::<32>(), b.to_be_bytes::<32>()].concat();
        data.resize(300, 0);
        data.into()
    };
    let input = |gas, a, b| Input {
        calldata: calldata(a, b),
        gas,
        seed: 1,
        ..Input::default()
    };
    let edges = edges();
    let pairs = edges
        .iter()
        .flat_map(|&a| edges.iter().map(move |&b| (a, b)));
    let pairs = pairs.map(|(a, b)| input(100_000, a, b));
    let limits = (0..3000).map(|gas| input(gas, U256::ONE, U256::from(2)));
    let mut inputs = pairs.chain(limits);
    inputs.find_map(|input| {
        let difference = replay(program, code, &input).err()?;
        Some(format!("{difference}, with {input}"))
    })
}

#[test]
fn each_is_found_in_its_program() {
    let mut missed = Vec::new();
    for &(fault, text) in TABLE {
        let (code, tier) = program(text);
        assert_eq!(
            noticed(&mainnet(&code, SpecId::OSAKA, tier), &code),
            None,
            "without a fault: {text}"
        );
        let planted = plant(fault, || mainnet(&code, SpecId::OSAKA, tier));
        let found = match noticed(&planted.result, &code) {
            _ if !planted.reached => Err("is not in the program"),
            Some(difference) => Ok(difference),
            None => Err("is not noticed"),
        };
        println!("{fault:?}: {text}: {found:?}");
        missed.extend(found.err().map(|why| format!("{fault:?} {why}: {text}")));
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Faults that leave to the interpreter what machine code could do: no result is another. The promises of
/// the passes find them (`compiler::tests_passes`).
const SLOWER: &[Fault] = &[Fault::LossIsForgotten];

/// No fault is without a row, here or among those that a trial has to find (`tests.rs`).
#[test]
fn every_fault_has_a_row() {
    let rows: Vec<Fault> = TABLE.iter().map(|(fault, _)| *fault).collect();
    for (index, fault) in rows.iter().enumerate() {
        assert!(!rows[..index].contains(fault), "{fault:?} has two rows");
    }
    for fault in Fault::ALL {
        let trial = super::tests::FOR_THE_TRIAL.contains(fault);
        let found = [trial, rows.contains(fault), SLOWER.contains(fault)];
        assert_eq!(found.iter().filter(|found| **found).count(), 1, "{fault:?}");
    }
}
