//! Every opcode on every fork, with operands at the edges, as constants and as words that the
//! compiler does not know.

use crate::common::{
    asm::{Item, assemble},
    case::{Case, FORKS},
    engine::Engine,
    rng::Rng,
    types::{SpecId, U256, opcode as op},
};
use revmc_jit::compiler::effect;

fn edges() -> Vec<U256> {
    let power = |n: usize| U256::from(1) << n;
    let one = U256::from(1);
    let mut edges: Vec<U256> = [0u64, 1, 31, 32, 255, 256].map(U256::from).into();
    edges.extend([power(32) - one, power(32), power(32) + one, power(63)]);
    edges.extend([
        power(64) - one,
        power(64),
        power(64) + one,
        power(128),
        power(255),
    ]);
    edges.extend([power(255) - one, U256::MAX, U256::MAX - one]);
    edges
}

/// How many words an opcode is given.
fn inputs(opcode: u8) -> usize {
    effect(opcode).map_or(3, |effect| usize::from(effect.inputs))
}

/// Words below the operands, so that what is taken too much shows.
const BELOW: usize = 3;

fn ending(opcode: u8) -> Vec<u8> {
    let mut ending = vec![opcode];
    if (op::PUSH1..=op::PUSH32).contains(&opcode) {
        ending.extend((0..opcode - op::PUSH0).map(|byte| 0x80 | byte));
    }
    ending.extend([op::JUMPDEST, op::PC, op::MSIZE, op::GAS, op::STOP]);
    ending
}

/// The operands come from calldata: one program for all of them.
fn unknown(opcode: u8) -> Vec<u8> {
    let mut items = Vec::new();
    for index in (0..inputs(opcode) + BELOW).rev() {
        items.push(Item::push(U256::from(index * 32)));
        items.push(Item::Op(op::CALLDATALOAD));
    }
    items.push(Item::Raw(ending(opcode)));
    assemble(&items)
}

fn known(opcode: u8, operands: &[U256]) -> Vec<u8> {
    let pushes = operands.iter().rev().map(|&operand| Item::push(operand));
    let mut items: Vec<Item> = pushes.collect();
    items.push(Item::Raw(ending(opcode)));
    assemble(&items)
}

fn calldata(operands: &[U256]) -> Vec<u8> {
    operands
        .iter()
        .flat_map(|operand| operand.to_be_bytes::<32>())
        .collect()
}

/// Choices of operands: all pairs for an opcode of two, if `all`, or some drawn ones.
fn choices(opcode: u8, all: bool, rng: &mut Rng) -> Vec<Vec<U256>> {
    let edges = edges();
    let count = inputs(opcode);
    let mut choices: Vec<Vec<U256>> = match count {
        0 => vec![vec![]],
        1 => edges.iter().map(|&a| vec![a]).collect(),
        2 if all => edges
            .iter()
            .flat_map(|&a| edges.iter().map(move |&b| vec![a, b]))
            .collect(),
        _ => {
            let drawn = if all { 150 } else { 12 };
            (0..drawn)
                .map(|_| (0..count).map(|_| *rng.pick(&edges)).collect())
                .collect()
        }
    };
    for choice in &mut choices {
        choice.extend((0..BELOW).map(|index| U256::from(0xb0 + index)));
    }
    choices
}

fn opcode_on(engine: &mut Engine, opcode: u8, spec_id: SpecId, all: bool, rng: &mut Rng) {
    let case = Case::new(unknown(opcode)).on(spec_id).gas(100_000).value(2);
    for operands in choices(opcode, all, rng) {
        let name = format!("{opcode:#04x} of {operands:x?}");
        engine.check(&name, &case.clone().input(calldata(&operands)));
        if all && rng.chance(15) || rng.chance(4) {
            let case = Case::new(known(opcode, &operands)).on(spec_id).gas(100_000);
            engine.check(&name, &case);
            let short = known(opcode, &operands[..rng.below(operands.len())]);
            engine.check(&name, &Case::new(short).on(spec_id).gas(100_000));
        }
    }
}

#[test]
fn on_every_fork() {
    let mut engine = Engine::new();
    let mut rng = Rng::new(0x0c0de);
    for spec_id in FORKS {
        for opcode in 0..=255 {
            opcode_on(&mut engine, opcode, spec_id, false, &mut rng);
        }
        engine.forget();
    }
    assert!(
        engine.native_runs > 2 * 15 * 256 * 5,
        "{}",
        engine.native_runs
    );
}

#[test]
fn with_all_operands_on_the_newest_forks() {
    let mut engine = Engine::new();
    let mut rng = Rng::new(0x0c0e0);
    for spec_id in [SpecId::OSAKA, SpecId::AMSTERDAM] {
        for opcode in 0..=255 {
            opcode_on(
                &mut engine,
                opcode,
                spec_id,
                spec_id == SpecId::OSAKA || opcode & 3 == 1,
                &mut rng,
            );
        }
        engine.forget();
    }
}

/// The case, of [`unknown`] operands, with these.
fn of_two(engine: &mut Engine, case: &Case, opcode: u8, operands: [U256; 2]) {
    let name = format!("{opcode:#04x} of {operands:x?}");
    engine.check(&name, &case.clone().input(calldata(&operands)));
}

/// Products and quotients of words whose limbs are at the edges: what is carried from one to the next.
#[test]
fn of_edge_limbs() {
    let mut engine = Engine::new();
    let mut rng = Rng::new(0x0c0e1);
    let limbs = [0, 1, u64::MAX];
    let word = |n: usize| U256::from_limbs([1, 3, 9, 27].map(|by| limbs[n / by % 3]));
    for opcode in [op::MUL, op::DIV, op::MOD, op::SDIV, op::SMOD] {
        let case = Case::new(unknown(opcode)).gas(100_000);
        let mut check = |a: U256, b: U256| of_two(&mut engine, &case, opcode, [a, b]);
        for n in 0..81 * 81 {
            check(word(n / 81), word(n % 81));
        }
        for _ in 0..4000 {
            let [a, b] = [0; 2].map(|_| {
                let word = rng.u256() >> rng.below(256);
                if rng.below(2) == 0 {
                    word
                } else {
                    word.wrapping_neg()
                }
            });
            check(a, b);
        }
    }
}

/// Quotients by powers of two, and by words with one bit more.
#[test]
fn of_powers_of_two() {
    let mut engine = Engine::new();
    let mut rng = Rng::new(0x0c0e2);
    for opcode in [op::DIV, op::MOD, op::SDIV, op::SMOD] {
        let case = Case::new(unknown(opcode)).gas(100_000);
        for power in (0..256usize).map(|by| U256::ONE << by) {
            let more = power | U256::ONE << rng.below(256);
            for b in [power, more, power.wrapping_neg()] {
                for a in [U256::MAX, rng.u256(), rng.u256() >> 1, b, power - U256::ONE] {
                    of_two(&mut engine, &case, opcode, [a, b]);
                }
            }
        }
    }
}

/// Results of constants in one long run, so that folding and register allocation meet many of them.
#[test]
fn of_constants_in_one_run() {
    let mut engine = Engine::new();
    let edges = edges();
    for opcode in (0x01..=0x1e).filter(|&opcode| effect(opcode).is_some()) {
        let count = inputs(opcode);
        let mut rng = Rng::new(opcode.into());
        for part in edges.chunks(6) {
            let mut items = Vec::new();
            for &first in part {
                for &second in &edges {
                    let third = *rng.pick(&edges);
                    let words = [first, second, third];
                    items.extend(words[..count].iter().map(|&word| Item::push(word)));
                    items.push(Item::Op(opcode));
                }
            }
            let case = Case::new(assemble(&items));
            engine.check(&format!("constants of {opcode:#04x}"), &case);
        }
    }
}

/// DUPN, SWAPN and EXCHANGE (EIP-8024): every immediate, on stacks of many heights.
#[test]
fn immediates_of_stack_instructions() {
    let mut engine = Engine::new();
    for opcode in [op::DUPN, op::SWAPN, op::EXCHANGE] {
        for immediate in 0..=255 {
            for height in [
                0, 1, 2, 16, 17, 18, 30, 107, 108, 109, 235, 236, 237, 1023, 1024,
            ] {
                if height > 40 && (usize::from(immediate) + height) % 4 != 0 {
                    continue;
                }
                let mut code = Vec::new();
                for index in 0..height {
                    code.extend([op::PUSH1, index as u8]);
                }
                code.extend([opcode, immediate, op::PC, op::JUMPDEST]);
                let name = format!("{opcode:#04x} {immediate:#04x} on {height} words");
                engine.check(&name, &Case::new(code.clone()).on(SpecId::AMSTERDAM));
                if immediate % 64 == 0 {
                    engine.check(&name, &Case::new(code).on(SpecId::OSAKA));
                }
            }
        }
        engine.forget();
    }
}
