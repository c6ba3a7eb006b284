//! Generated programs run on every side, now and then above a database that fails.

use super::{
    database::Fault,
    engine::{Engine, Side, TIERS},
    generate::Program,
    rng::Rng,
    shrink::shrink,
};

/// Now and then one of the database's reads fails or panics, or there is gas for state alone.
pub fn disturb(program: &mut Program, rng: &mut Rng) {
    if rng.chance(15) {
        let fault = *rng.pick(&[Fault::Error, Fault::Panic]);
        program.frame.fault = Some((rng.below(8), fault));
    }
    if rng.chance(30) {
        program.frame.reservoir = rng.below(400_000) as u64;
    }
}

/// Runs a program natively at both tiers, and with the sides changed as `seed` says.
///
/// # Errors
///
/// What differs from the interpreter, of the smallest program found that does.
pub fn everywhere(engine: &mut Engine, program: Program, seed: u64) -> Result<(), String> {
    let case = program.case();
    let mut sides: Vec<Side> = TIERS.map(Side::Native).into();
    sides.push(Side::Mixed(seed));
    let differing = sides
        .into_iter()
        .find(|side| engine.difference(&case, side).is_some());
    let Some(side) = differing else { return Ok(()) };
    let small = shrink(program, |program| {
        engine.difference(&program.case(), &side).is_some()
    });
    let case = small.case();
    let difference = engine.difference(&case, &side).unwrap_or_default();
    Err(format!("{side:?}: {difference}\n{case}"))
}
