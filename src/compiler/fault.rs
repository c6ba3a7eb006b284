//! Faults that unit tests plant in the compiler, to show that something notices them.
//!
//! A fault is a [`Fault`] and a place, or several, that asks [`planted`] for it and does the wrong thing
//! if it is. Outside of this crate's unit tests the answer is a constant `false`, and nothing of a
//! fault is built.
//!
//! To add one: name it below, with what goes wrong; ask for it where that goes wrong; and give it a row
//! in the table of `src/trial/faults.rs`, which plants it around a compilation and
//! sees whether the comparison with the interpreter notices. A fault that would write out of bounds ends
//! the tests' process: one beside it that does not shows the same, and bounds of the stack have none.
//! `Planted::reached` says whether the compilation came by its place, so that a
//! program that does not reach it cannot pass for one that survives it. What is compiled by a worker is
//! planted on the worker's thread.

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What can be made to go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($(#[$doc])* $name,)*
        }

        #[cfg(test)]
        impl Fault {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

faults! {
    /// x64: a leave to the start of its run keeps the gas that the run was charged ahead.
    StubKeepsGas,
    /// x64: a leave in the middle of a run keeps the gas of what it leaves to the interpreter.
    LeaveKeepsGas,
    /// x64: a run is taken for charged that has not been.
    RunNotCharged,
    /// x64: the memory's base is not read again behind a boundary instruction.
    BoundaryKeepsBase,
    /// x64: the memory's base is not read again when the memory has grown.
    GrowthKeepsBase,
    /// x64: vector registers are taken for empty where the memory grows.
    GrowthLosesVectors,
    /// x64: a word is not written back at a boundary instruction.
    BoundaryLosesWord,
    /// x64: EXP of constants is taken for the next power.
    PowerIsAnother,
    /// x64: a static edge leads to a stack that is a word too high. (One that is too low is written to
    /// below its bottom, which ends the test's process.)
    EdgeRaisesTop,
    /// x64: what a block costs that continues another is not counted.
    ChainForgetsGas,
    /// x64: a sum is taken for as short as its operands.
    SumIgnoresCarry,
    /// Cranelift: a loop's counter is not kept in the range that it was taken to have.
    CounterUnchecked,
    /// x64: what is folded is one more.
    FoldedIsMore,
    /// x64: a sum's limbs do not pass their carry on.
    SumLosesCarry,
    /// x64: a difference's limbs do not pass their borrow on.
    DifferenceLosesBorrow,
    /// x64: the limbs above a difference are zero, whatever was borrowed.
    DifferenceIsNeverNegative,
    /// x64: a multiplication by a power of two shifts by one more.
    ProductByPower,
    /// x64: a product of two limbs is taken for one limb.
    ProductIsNarrow,
    /// x64: a division by a power of two shifts by one more.
    QuotientByPower,
    /// x64: a remainder by a power of two keeps that power's bit only.
    RemainderByPower,
    /// x64: a quotient by zero is the dividend.
    DivisionByZeroIsTheDividend,
    /// x64: the sign of a word whose sign bit may be set is taken for clear.
    SignBitIsAnother,
    /// x64: the shared routine is given the operands in the other order.
    OperandsInTheOtherOrder,
    /// x64: a signed comparison is made without signs.
    ComparisonIsUnsigned,
    /// x64: a comparison looks at the lowest limb only.
    ComparisonOfOneLimb,
    /// x64: an equality in limbs looks at the lowest only.
    EqualityOfOneLimb,
    /// x64: an equality in vectors asks whether the words share no bit.
    EqualityOfVectors,
    /// x64: ISZERO of a comparison is the comparison.
    FlagsAreNotInverted,
    /// x64: whether limbs are zero is asked of the lowest only.
    TestOfOneLimb,
    /// x64: a mask is left out that would have cleared a byte.
    MaskLetsMoreThrough,
    /// x64: a shift by 256 leaves one.
    ShiftOfAllLeavesOne,
    /// x64: a left shift does not pass bits from limb to limb.
    LeftShiftLosesBits,
    /// x64: a right shift does not pass bits from limb to limb.
    RightShiftLosesBits,
    /// x64: an arithmetic shift brings in zeros.
    ArithmeticShiftIsLogical,
    /// x64: BYTE counts from the other end.
    BytesFromTheOtherEnd,
    /// x64: OR and XOR are taken for each other.
    OrIsXor,
    /// x64: AND keeps the lowest limb only.
    ConjunctionIsNarrow,
    /// x64: an access at a constant offset is compared as if it ended a byte before.
    ConstantEndIsShort,
    /// x64: an access above a known one is not compared, though it reaches a word further.
    ExtentIsShort,
    /// x64: a comparison that is to cover more is not changed.
    WidenedWithoutEffect,
    /// x64: an offset is bounded by its lowest limb only.
    OffsetOfOneLimb,
    /// x64: a run that has seen the memory's size is begun again after it has grown.
    GrowthIsForgotten,
    /// x64: MLOAD does not exchange a word's halves.
    LoadKeepsHalves,
    /// x64: MSTORE of a short word keeps the memory above it.
    StoreOfLimbsKeepsOld,
    /// x64: MSTORE of a short constant keeps the memory above it.
    StoreOfConstantKeepsOld,
    /// x64: MSTORE8 of a constant stores another byte of it.
    ByteOfConstantIsAnother,
    /// x64: a run that has stored to memory is begun again.
    StoreCanBeRepeated,
    /// x64: CALLDATALOAD looks at the lowest limb of the offset only.
    CalldataOffsetOfOneLimb,
    /// x64: a conditional jump is taken where it should not be.
    BranchIsInverted,
    /// x64: the same where the condition is a constant.
    KnownConditionIsInverted,
    /// x64: the same where the target is not known.
    TableJumpIsInverted,
    /// x64: the gas of an instruction that the interpreter steps over is not given back.
    StepIsPaidTwice,
    /// x64: a jump that the interpreter is to fail costs less.
    FailedJumpGivesBackMore,
    /// x64: a run's gas is charged and not compared.
    GasIsNotCompared,
    /// x64: the gas of the way ahead is not compared.
    GasAheadIsNotCompared,
    /// x64: a leave in the middle of a run writes no word back.
    LeaveLosesWords,
    /// x64: a leave in the middle of a run does not move the stack's top.
    LeaveKeepsTop,
    /// x64: what a chain of blocks costs is not charged at its end.
    RestIsNotPaid,
    /// x64: words that change places are exchanged with another's neighbour.
    CycleSavesAnother,
    /// x64: a short word that is written back keeps what was above it.
    WriteBackKeepsOldLimbs,
    /// x64: behind a boundary instruction no run is compared.
    ReserveIsEndless,
    /// x64: a block that continues another takes the memory for longer than it is.
    ChainTrustsMemory,
    /// x64: one side of a branch widens a comparison that is the other's, too.
    BranchLeavesComparisonOpen,
    /// x64: all of a run's gas is ahead.
    NothingIsSpent,
    /// x64: on a way out of a chain a unit of gas is not charged.
    WayOutIsNotPaid,
    /// x64: GAS does not see what is charged ahead.
    GasIsThatOfTheRun,
    /// x64: PC is that of the next instruction.
    CounterIsTheNext,
    /// x64: DUP takes the word above.
    DuplicateOfTheNext,
    /// x64: SWAP takes the word above.
    SwapWithTheNext,
    /// x64: ADDRESS is CALLER.
    AddressIsTheCallers,
    /// x64: CALLDATASIZE is RETURNDATASIZE.
    CalldataIsReturned,
    /// x64: sizes are taken for less than 256.
    SizesAreBytes,
    /// Demands: a block does not demand the gas of the way behind it (D3).
    WayBehindIsFree,
    /// Demands: a block that an edge leads back to compares nothing (D3).
    LoopsAreFree,
    /// Demands: memory is taken to be as long as on the first way (D2).
    LongestMemoryCounts,
    /// Demands: one is taken over though no stack meets it then (D1).
    DemandOfNoStack,
    /// Edges: memory is a word longer at a block's end than it made sure of (D2).
    ReachIsAWordLonger,
    /// Edges: a block that two ways lead to continues one of them (C1).
    TwoWaysAreOne,
    /// Copies: one falls into what is behind the block that it should fall into.
    CopyFallsElsewhere,
    /// Edges: what one of several callers has pushed is taken for what all have (C2).
    FirstWayIsBelieved,
    /// Edges: what several callers have pushed is lost and not jumped to (C4).
    LossIsForgotten,
    /// Edges: the target of a jump is followed through another word.
    ConstantOfTheNext,
    /// Edges: memory is taken to reach a word further than a block makes it.
    BlockReachesFurther,
    /// Blocks: a boundary instruction's static gas is not part of its run.
    BoundaryIsFree,
    /// Decoding: the data of a PUSH is code.
    PushDataIsCode,
    /// Decoding: the last byte of a PUSH is not its.
    PushIsShort,
    /// Cranelift: a run's gas is charged and not compared.
    ClifGasIsNotCompared,
    /// Cranelift: a leave keeps the gas of what it leaves to the interpreter.
    ClifLeaveKeepsGas,
    /// Cranelift: a leave writes no word back.
    ClifLeaveLosesWords,
    /// Cranelift: a loop is entered whatever its counter is.
    ClifGuessIsBelieved,
    /// Cranelift: the gas that a loop has used is not written back at its end.
    ClifLoopKeepsGas,
    /// Cranelift: what a block costs is not taken off the gas that it passes on.
    ClifLoopIsFree,
    /// Cranelift: a word that is zero behind a branch is taken for one that is not.
    ClifZeroIsNotZero,
    /// Cranelift: the stack's top is taken for the base of the loop that is entered.
    ClifTopIsTheBase,
    /// Cranelift: a word that no block of a loop writes is taken to stand where another was put meanwhile.
    ClifSlotIsKept,
    /// Cranelift: a word that stays is taken to stand where another was written.
    ClifHomeIsKept,
}

/// Whether this fault is planted.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}

#[cfg(test)]
pub(crate) use planting::planted;

/// What is wrong if this fault is planted; otherwise what is right. Both are worked out, whichever it is.
#[inline(always)]
pub(crate) fn either<T>(fault: Fault, wrong: T, right: T) -> T {
    if planted(fault) { wrong } else { right }
}

#[cfg(test)]
pub(crate) mod planting {
    use super::Fault;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
        static REACHED: Cell<bool> = const { Cell::new(false) };
    }

    /// What came of a closure in which a fault was planted.
    pub(crate) struct Planted<R> {
        pub(crate) result: R,
        /// Whether the place of the fault was come by.
        pub(crate) reached: bool,
    }

    /// Calls `f` with a fault planted, on this thread.
    pub(crate) fn plant<R>(fault: Fault, f: impl FnOnce() -> R) -> Planted<R> {
        /// Takes it out however `f` ends.
        struct Out(Option<Fault>);
        impl Drop for Out {
            fn drop(&mut self) {
                PLANTED.set(self.0);
            }
        }
        let _out = Out(PLANTED.replace(Some(fault)));
        REACHED.set(false);
        let result = f();
        let reached = REACHED.get();
        Planted { result, reached }
    }

    /// Whether this fault is planted.
    pub(crate) fn planted(fault: Fault) -> bool {
        let planted = PLANTED.get() == Some(fault);
        if planted {
            REACHED.set(true);
        }
        planted
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, planted, planting::plant};

    #[test]
    fn a_fault_is_planted_alone_and_only_there() {
        assert!(Fault::ALL.iter().all(|fault| !planted(*fault)));
        for &fault in Fault::ALL {
            let found = plant(fault, || {
                let other = std::thread::spawn(move || planted(fault));
                assert!(!other.join().unwrap());
                Fault::ALL.iter().filter(|fault| planted(**fault)).count()
            });
            assert!(found.reached);
            assert_eq!(found.result, 1);
            assert!(!planted(fault));
        }
        assert!(!plant(Fault::StubKeepsGas, || ()).reached);
    }

    #[test]
    fn a_panic_takes_it_out() {
        let panicked =
            std::panic::catch_unwind(|| plant(Fault::StubKeepsGas, || panic!("planted")));
        assert!(panicked.is_err() && !planted(Fault::StubKeepsGas));
    }
}
