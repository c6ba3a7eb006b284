//! K7: expressions over edge words, with every word as it is and as it was taken to be.

use super::{super::emit::emit_all, tests::rules};
use crate::{
    common::rng::Rng,
    compiler::{
        CompileOptions, Passes,
        effect::{effect, op},
        fault::{Fault, planting::plant},
    },
    frame::arithmetic::{Operator, evaluate},
};
use alloy_primitives::U256;

/// Operations on words, in which ranges are made.
const OPERATIONS: [u8; 26] = [
    op::ADD,
    op::MUL,
    op::SUB,
    op::DIV,
    op::SDIV,
    op::MOD,
    op::SMOD,
    op::ADDMOD,
    op::MULMOD,
    op::SIGNEXTEND,
    op::LT,
    op::GT,
    op::SLT,
    op::SGT,
    op::EQ,
    op::ISZERO,
    op::AND,
    op::AND,
    op::OR,
    op::XOR,
    op::NOT,
    op::BYTE,
    op::SHL,
    op::SHR,
    op::SAR,
    op::CLZ,
];

fn run(opcode: u8, words: &[U256]) -> U256 {
    let signed = |word: U256| word ^ (U256::ONE << 255);
    let operator = match opcode {
        op::ADD => return words[0].wrapping_add(words[1]),
        op::SUB => return words[0].wrapping_sub(words[1]),
        op::LT => return U256::from(words[0] < words[1]),
        op::GT => return U256::from(words[0] > words[1]),
        op::SLT => return U256::from(signed(words[0]) < signed(words[1])),
        op::SGT => return U256::from(signed(words[0]) > signed(words[1])),
        op::EQ => return U256::from(words[0] == words[1]),
        op::ISZERO => return U256::from(words[0].is_zero()),
        op::AND => return words[0] & words[1],
        op::OR => return words[0] | words[1],
        op::XOR => return words[0] ^ words[1],
        op::NOT => return !words[0],
        op::MUL => Operator::Mul,
        op::DIV => Operator::Div,
        op::SDIV => Operator::Sdiv,
        op::MOD => Operator::Mod,
        op::SMOD => Operator::Smod,
        op::ADDMOD => Operator::Addmod,
        op::MULMOD => Operator::Mulmod,
        op::SIGNEXTEND => Operator::Signextend,
        op::BYTE => Operator::Byte,
        op::SHL => Operator::Shl,
        op::SHR => Operator::Shr,
        op::SAR => Operator::Sar,
        _ => Operator::Clz,
    };
    evaluate(operator, words)
}

/// An expression, and the words that are on top before each of its instructions.
fn expression(rng: &mut Rng) -> (Vec<u8>, Vec<Option<U256>>) {
    let (mut code, mut stack, mut tops) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..60 {
        let opcode = *rng.pick(&OPERATIONS);
        let inputs = effect(opcode).map_or(0, |effect| usize::from(effect.inputs));
        let top = stack.last().copied();
        match rng.below(5) {
            0 => {
                let word = rng.word();
                code.push(op::PUSH32);
                code.extend(word.to_be_bytes::<32>());
                stack.push(word);
            }
            // Whatever the interpreter would find there.
            1 => {
                let word = rng.word();
                code.extend([op::PUSH0, op::CALLDATALOAD]);
                tops.push(top);
                tops.push(Some(U256::ZERO));
                stack.push(word);
                continue;
            }
            2 if !stack.is_empty() => {
                let depth = rng.below(stack.len().min(16));
                code.push(op::DUP1 + depth as u8);
                stack.push(stack[stack.len() - 1 - depth]);
            }
            _ if stack.len() >= inputs => {
                code.push(opcode);
                let words: Vec<U256> = (0..inputs).filter_map(|_| stack.pop()).collect();
                stack.push(run(opcode, &words));
            }
            _ => continue,
        }
        tops.push(top);
    }
    tops.push(stack.last().copied());
    code.push(op::STOP);
    (code, tops)
}

/// What is wrong with an expression's ranges; how many are narrow if nothing is.
fn look(seed: u64, fault: Option<Fault>) -> Result<usize, String> {
    let (code, tops) = expression(&mut Rng::new(seed));
    let rules = rules();
    let emitted = || {
        let passes = Passes::run(&code, &rules, true).unwrap();
        emit_all(
            &passes.program(&code, &rules),
            None,
            &CompileOptions::default(),
        )
        .unwrap()
    };
    let emitted = match fault {
        None => emitted(),
        Some(fault) => plant(fault, emitted).result,
    };
    let mut narrow = 0;
    for mark in emitted.marks.iter().filter(|mark| mark.begins.is_none()) {
        let Some(word) = tops.get(mark.at as usize).copied().flatten() else {
            continue;
        };
        if word.bit_len() > usize::from(mark.bits) {
            let at = mark.at;
            return Err(format!(
                "before {at}: {word} in {} bits, seed {seed}",
                mark.bits
            ));
        }
        narrow += usize::from(mark.bits < 256);
    }
    Ok(narrow)
}

#[test]
fn words_are_in_their_ranges() {
    let narrow: usize = (0..3_000).map(|seed| look(seed, None).unwrap()).sum();
    assert!(narrow > 30_000, "{narrow}");
}

#[test]
fn ranges_that_are_too_narrow_are_found() {
    for fault in [Fault::SumIgnoresCarry, Fault::ConjunctionIsNarrow] {
        assert!(
            (0..3_000).any(|seed| look(seed, Some(fault)).is_err()),
            "{fault:?}"
        );
    }
}
