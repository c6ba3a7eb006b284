//! Blocks that are entered in ways the compiler does not follow, with just enough, and just too few, words
//! and memory for what they do.

use crate::common::{
    case::Case,
    engine::Engine,
    types::{SpecId, U256},
};

fn words(words: &[u64]) -> Vec<u8> {
    let bytes = words
        .iter()
        .map(|&word| U256::from(word).to_be_bytes::<32>());
    bytes.flatten().collect()
}

/// Leaves calldata[0] + 1 words on the stack, then goes on where the compiler does not know.
const FILL: &str = "0 CALLDATALOAD loop: DUP1 ISZERO @full JUMPI DUP1 1 SWAP1 SUB @loop JUMP \
    full: @target 32 CALLDATALOAD ADD";

#[test]
fn stacks_that_are_nearly_full() {
    let mut engine = Engine::new();
    for grows in [1, 2, 3, 24, 300] {
        for jump in ["JUMP", "1 SWAP1 JUMPI", "CALLVALUE ISZERO SWAP1 JUMPI"] {
            let pushes = "PC ".repeat(grows);
            let text = format!("{FILL} {jump} STOP target: {pushes} GAS ADD ADD MSIZE STOP");
            let case = Case::asm(&text);
            let full = 1024 - grows as u64;
            for height in full.saturating_sub(6)..(full + 5).min(1024) {
                let name = format!("{height} words and {grows}, {jump}");
                engine.check(&name, &case.clone().input(words(&[height])));
            }
        }
    }
}

#[test]
fn stacks_that_are_nearly_empty() {
    let mut engine = Engine::new();
    for takes in [
        "POP",
        "ADD",
        "POP POP POP ADDMOD",
        "SWAP5",
        "DUP7",
        "0 MSTORE MSIZE",
    ] {
        for target in [format!("target: {takes}"), format!("9 target: POP {takes}")] {
            let case = Case::asm(&format!("{FILL} JUMP {target} GAS STOP"));
            for height in 0..12 {
                engine.check(takes, &case.clone().input(words(&[height])));
                engine.check_mixed(takes, &case.clone().input(words(&[height])), 2);
            }
        }
    }
}

/// One way into a block has made the memory long enough, the other has perhaps not.
#[test]
fn memory_that_is_nearly_long_enough() {
    let mut engine = Engine::new();
    let text = "32 CALLDATALOAD MLOAD POP 0 CALLDATALOAD @long JUMPI @both 64 CALLDATALOAD ADD JUMP \
        long: 7 160 MSTORE both: 160 MLOAD 1 128 MSTORE 96 MLOAD MSIZE 32 KECCAK256 \
        4 MSIZE MSTORE 160 MLOAD ADD 0 MSTORE";
    for spec_id in [SpecId::PETERSBURG, SpecId::OSAKA, SpecId::AMSTERDAM] {
        let case = Case::asm(text).on(spec_id);
        for long in [0, 1] {
            for at in (0..=224).step_by(8) {
                let case = case.clone().input(words(&[long, at, 0]));
                let enough = engine.check("memory", &case).spent();
                engine.check_mixed("memory", &case, 2);
                for gas in 0..enough + 1 {
                    engine.check("memory", &case.clone().gas(gas));
                }
            }
        }
    }
}

/// The same, where a loop leads back into the block.
#[test]
fn memory_in_loops() {
    let mut engine = Engine::new();
    let text = "0 CALLDATALOAD 32 CALLDATALOAD MLOAD POP @head 64 CALLDATALOAD ADD JUMP \
        head: DUP1 96 MSTORE 96 MLOAD POP 1 SWAP1 SUB DUP1 @head JUMPI 64 MLOAD";
    let case = Case::asm(text);
    for rounds in 1..4 {
        for at in (0..=128).step_by(16) {
            let case = case.clone().input(words(&[rounds, at, 0]));
            let enough = engine.check("loop", &case).spent();
            for gas in 0..enough + 1 {
                engine.check("loop", &case.clone().gas(gas));
            }
        }
    }
}
