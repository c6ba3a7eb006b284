//! Makes a failing program small: takes away runs of items, then simplifies the frame, as long as
//! the failure stays.

use super::asm::Item;
use super::case::Case;
use super::generate::Program;
use super::types::{Bytes, U256};

/// The smallest program found for which `fails` is still true.
pub fn shrink(program: Program, mut fails: impl FnMut(&Program) -> bool) -> Program {
    let mut best = program;
    loop {
        let before = (best.items.len(), best.frame.clone());
        shrink_items(&mut best, &mut fails);
        shrink_frame(&mut best, &mut fails);
        shrink_pushes(&mut best, &mut fails);
        if (best.items.len(), best.frame.clone()) == before {
            return best;
        }
    }
}

fn adopt(best: &mut Program, candidate: Program, fails: &mut impl FnMut(&Program) -> bool) -> bool {
    let better = fails(&candidate);
    if better {
        *best = candidate;
    }
    better
}

fn shrink_items(best: &mut Program, fails: &mut impl FnMut(&Program) -> bool) {
    let mut run = best.items.len() / 2;
    while run > 0 {
        let mut at = 0;
        while at < best.items.len() {
            let mut candidate = best.clone();
            candidate.items.drain(at..(at + run).min(best.items.len()));
            if !adopt(best, candidate, fails) {
                at += run;
            }
        }
        run /= 2;
    }
}

fn shrink_frame(best: &mut Program, fails: &mut impl FnMut(&Program) -> bool) {
    let simpler: [fn(&mut Case); 4] = [
        |frame| frame.input = Bytes::new(),
        |frame| frame.value = U256::ZERO,
        |frame| frame.is_static = false,
        |frame| frame.gas_limit = 1_000_000,
    ];
    for simplify in simpler {
        let mut candidate = best.clone();
        simplify(&mut candidate.frame);
        if candidate.frame != best.frame {
            adopt(best, candidate, fails);
        }
    }
}

fn shrink_pushes(best: &mut Program, fails: &mut impl FnMut(&Program) -> bool) {
    for at in 0..best.items.len() {
        let Item::Push(_, value) = best.items[at] else {
            continue;
        };
        for simple in [
            Item::Push(1, U256::ZERO),
            Item::Push(1, U256::from(1)),
            Item::push(value),
        ] {
            if best.items[at] != simple && size(&simple) < size(&best.items[at]) {
                let mut candidate = best.clone();
                candidate.items[at] = simple;
                adopt(best, candidate, fails);
            }
        }
    }
}

fn size(item: &Item) -> (u8, U256) {
    match item {
        Item::Push(width, value) => (*width, *value),
        _ => (u8::MAX, U256::ZERO),
    }
}
