//! A program of the grammar in `tests/common/generate`, its choices drawn from the input: on the
//! interpreter, at both tiers, and with the sides changed wherever they can be. Whatever can be seen of each
//! frame each time that it stops, of the journal and of the database's reads must be equal.
//!
//! The first eight bytes of an input say where the sides change; the others are the choices.

use crate::common::{
    disturb::{disturb, everywhere},
    engine::Engine,
    generate::{self, Program},
    rng::Rng,
};
use std::cell::RefCell;

/// Inputs after which the engine forgets its programs.
const FORGET_AFTER: usize = 256;

/// Longer code only slows the search.
const MAX_ITEMS: usize = 1500;

/// The program that an input stands for, and where its sides change; `None` for one that is too short or
/// makes a program that is too long.
pub fn program(data: &[u8]) -> Option<(Program, u64)> {
    let (head, choices) = data.split_first_chunk()?;
    let mut rng = Rng::from_bytes(choices);
    let mut program = generate::draw(&mut rng);
    disturb(&mut program, &mut rng);
    (program.items.len() <= MAX_ITEMS).then_some((program, u64::from_le_bytes(*head)))
}

thread_local! {
    static ENGINE: RefCell<(Engine, usize)> = RefCell::new((Engine::new(), 0));
}

/// Runs one input.
///
/// # Panics
/// If native code differs from the interpreter.
pub fn run(data: &[u8]) {
    let Some((program, sides)) = program(data) else {
        return;
    };
    ENGINE.with_borrow_mut(|(engine, used)| {
        *used += 1;
        if used.is_multiple_of(FORGET_AFTER) {
            engine.forget();
        }
        if let Err(difference) = everywhere(engine, program, sides) {
            panic!("{difference}");
        }
    });
}
