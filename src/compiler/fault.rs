//! Faults that unit tests plant in the compiler, to show that something notices them.
//!
//! A fault is a [`Fault`] and a place, or several, that asks [`planted`] for it and does the wrong thing
//! if it is. Outside of this crate's unit tests the answer is a constant `false`, and nothing of a
//! fault is built.
//!
//! To add one: name it below, with what goes wrong; ask for it where that goes wrong; and have a test
//! [`plant`](planting::plant) it around a compilation and see what notices.
//! [`Planted::reached`](planting::Planted) says whether the compilation came by its place, so that a
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
    /// x64: a word is not written back at a boundary instruction.
    BoundaryLosesWord,
    /// x64: a static edge leads to a stack that is a word too high. (One that is too low is written to
    /// below its bottom, which ends the test's process.)
    EdgeRaisesTop,
    /// x64: what a block costs that continues another is not counted.
    ChainForgetsGas,
    /// x64: a sum is taken for as short as its operands.
    SumIgnoresCarry,
    /// Cranelift: a loop's counter is not kept in the range that it was taken to have.
    CounterUnchecked,
}

/// Whether this fault is planted.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}

#[cfg(test)]
pub(crate) use planting::planted;

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
