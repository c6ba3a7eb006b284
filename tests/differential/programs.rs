//! The hand-written programs: on every fork, in static calls, with calldata, and at every gas limit.
//!
//! `REVMC_JIT_UNITS` says up to which gas limit each unit of gas is tried. 200,000 is what a program
//! has, so with that every one is swept from its first unit to its last.

use crate::{
    common::{
        case::{Case, FORKS},
        engine::Engine,
        programs::ALL,
        rng::Rng,
        types::SpecId,
    },
    generated::number,
};

/// Names and texts; `turn` of `turns`, so that several tests share the work.
fn texts(turn: usize, turns: usize) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = ALL.iter().flat_map(|(_, table)| table.iter().copied());
    all.enumerate()
        .filter(move |(index, _)| index % turns == turn)
        .map(|(_, program)| program)
}

#[test]
fn on_every_fork() {
    let mut engine = Engine::new();
    let mut rng = Rng::new(7);
    for (name, text) in texts(0, 1) {
        let words = rng.bytes(77);
        for spec_id in FORKS {
            let case = Case::asm(text).on(spec_id);
            engine.check(name, &case);
            engine.check(name, &case.clone().in_static_call());
            engine.check(name, &case.input(words.clone()).value(3));
        }
        engine.forget();
    }
}

/// At every gas limit.
mod gas_sweeps {
    use super::*;

    /// Unit by unit up to `units`, and where the program is about to have enough; between them in steps.
    fn sweep(spec_id: SpecId, turn: usize, turns: usize, units: u64) {
        let units = number("REVMC_JIT_UNITS", units);
        let mut engine = Engine::new();
        let mut tried = 0u64;
        for (index, (name, text)) in texts(turn, turns).enumerate() {
            let case = Case::asm(text).on(spec_id).gas(200_000);
            let enough = engine.check(name, &case).spent();
            let near = enough.saturating_sub(100).max(units);
            let limits = (0..units.min(enough))
                .chain((units..near).step_by(997))
                .chain(near..enough + 2);
            for gas in limits {
                engine.check(name, &case.clone().gas(gas));
                tried += 1;
            }
            if index % 50 == 49 {
                engine.forget();
            }
        }
        println!("{spec_id:?}: {tried} gas limits");
    }

    #[test]
    fn on_the_newest_fork() {
        sweep(SpecId::AMSTERDAM, 0, 1, 500);
    }

    #[test]
    fn on_osaka() {
        sweep(SpecId::OSAKA, 0, 2, 1_500);
    }

    #[test]
    fn on_osaka_too() {
        sweep(SpecId::OSAKA, 1, 2, 1_500);
    }

    #[test]
    fn on_frontier() {
        sweep(SpecId::FRONTIER, 0, 1, 300);
    }
}
