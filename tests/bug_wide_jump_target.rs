//! A jump whose target is pushed in nine bytes or more, with leading zeros.
//!
//! revmc's front end takes such a jump for invalid. Found among 100,000 generated programs
//! (`tests/differential.rs`, seeds 76,458 and 99,406); such bytecode is refused since.

mod common;

use common::case::{Case, FORKS};
use common::native::{TIERS, check};
use revmc::interpreter::{InstructionResult, opcode};
use revmc_jit::engine::{self, CompileOptions, EngineError};

/// A push of `len` bytes, a conditional jump that is taken, and behind it JUMPDEST and STOP.
fn jump(len: u8, high_byte: u8) -> Vec<u8> {
    let mut code = vec![opcode::PUSH1, 1, opcode::PUSH1 + len - 1];
    let mut operand = [0; 32];
    operand[32 - usize::from(len)] = high_byte;
    operand[31] = 5 + len;
    code.extend(&operand[32 - usize::from(len)..]);
    code.extend([opcode::JUMPI, opcode::INVALID]);
    code.extend([opcode::JUMPDEST, opcode::STOP]);
    code
}

#[test]
fn every_push_length() {
    for len in 2..=32 {
        for (high_byte, end) in [
            (0, InstructionResult::Stop),
            (1, InstructionResult::InvalidJump),
        ] {
            let code = jump(len, high_byte);
            for tier in TIERS {
                let options = CompileOptions {
                    tier,
                    ..CompileOptions::default()
                };
                for fork in FORKS {
                    let pc = 3 + usize::from(len);
                    match engine::compile(&code, fork, &options) {
                        Err(error) => assert_eq!(error, EngineError::WideJumpTarget { pc }),
                        Ok(_) => assert!(len <= 8 || high_byte != 0, "PUSH{len} taken"),
                    }
                }
            }
            let run = check(&format!("PUSH{len}"), &Case::new(code));
            assert_eq!(run.result.result, end);
        }
    }
}
