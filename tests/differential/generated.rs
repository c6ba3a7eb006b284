//! Random programs. `REVMC_JIT_PROGRAMS` says how many, `REVMC_JIT_SEED` the first one's seed.

use crate::common::{
    case::{self, FORKS},
    disturb::{disturb, everywhere},
    engine::Engine,
    generate,
    rng::Rng,
};
use std::env;

pub fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// Runs a seed's program.
fn check(engine: &mut Engine, seed: u64) {
    let mut program = generate::program(seed);
    disturb(&mut program, &mut Rng::new(!seed));
    if let Err(difference) = everywhere(engine, program, seed) {
        panic!("seed {seed}, {difference}");
    }
}

fn many(first: u64, count: u64) {
    let mut engine = Engine::new();
    for index in 0..count {
        check(&mut engine, first + index);
        if index % 512 == 511 {
            engine.forget();
        }
    }
    assert!(engine.native_runs as u64 > count && engine.switches as u64 > count);
}

#[test]
fn programs() {
    many(
        number("REVMC_JIT_SEED", 0),
        number("REVMC_JIT_PROGRAMS", 3_000) / 2,
    );
}

/// On a second processor.
#[test]
fn more_programs() {
    let count = number("REVMC_JIT_PROGRAMS", 3_000) / 2;
    many(number("REVMC_JIT_SEED", 0) + count, count);
}

#[test]
fn edge_programs() {
    let mut engine = Engine::new();
    let cases = case::edge_programs();
    assert_eq!(cases.len(), 62);
    for (index, case) in cases.iter().enumerate() {
        let name = format!("edge program {index}");
        engine.check(&name, case);
        engine.check_mixed(&name, case, 4);
        for gas in (0..600).step_by(7) {
            engine.check(&name, &case.clone().gas(gas));
        }
        for fork in FORKS {
            engine.check(&name, &case.clone().on(fork));
        }
    }
}
