//! Jumps that revmc's front end reads otherwise than the EVM: what the lowering corrects, and what is
//! refused.

use super::case::{Case, FORKS};
use super::native::{TIERS, check};
use revmc_jit::compiler::CompileOptions;
use revmc_jit::revmc::interpreter::{InstructionResult, opcode};
use revmc_jit::revmc::{TranslateError, compile};

/// A push of `len` bytes, a conditional jump that is taken, and behind it JUMPDEST and STOP.
fn wide_jump(len: u8, high_byte: u8) -> Vec<u8> {
    let mut code = vec![opcode::PUSH1, 1, opcode::PUSH1 + len - 1];
    let mut operand = [0; 32];
    operand[32 - usize::from(len)] = high_byte;
    operand[31] = 5 + len;
    code.extend(&operand[32 - usize::from(len)..]);
    code.extend([opcode::JUMPI, opcode::INVALID]);
    code.extend([opcode::JUMPDEST, opcode::STOP]);
    code
}

/// A valid target in more than eight bytes is one that the front end takes for invalid.
#[test]
fn jump_targets_of_every_length() {
    for len in 2..=32 {
        for (high_byte, end) in [
            (0, InstructionResult::Stop),
            (1, InstructionResult::InvalidJump),
        ] {
            let code = wide_jump(len, high_byte);
            for tier in TIERS {
                let options = CompileOptions {
                    tier,
                    ..CompileOptions::default()
                };
                for fork in FORKS {
                    let pc = 3 + usize::from(len);
                    match compile(&code, fork, &options) {
                        Err(error) => assert_eq!(error, TranslateError::WideJumpTarget { pc }),
                        Ok(_) => assert!(len <= 8 || high_byte != 0, "PUSH{len} taken"),
                    }
                }
            }
            let run = check(&format!("PUSH{len}"), &Case::new(code));
            assert_eq!(run.result.result, end);
        }
    }
}

/// `below` words, then a loop's head or not, then `PUSH1 target JUMPI`, and the target.
fn jump(below: usize, behind_a_jumpdest: bool, rest: &[u8]) -> Vec<u8> {
    let mut code = [opcode::PUSH1, 0].repeat(below);
    if behind_a_jumpdest {
        code.push(opcode::JUMPDEST);
    }
    code.extend(rest);
    let target = code.len() as u8 + 4;
    code.extend([opcode::PUSH1, target, opcode::JUMPI, opcode::STOP]);
    code.extend([opcode::JUMPDEST, opcode::STOP]);
    code
}

/// The front end counts the pushed target, which it does not push, for the condition.
#[test]
fn the_condition_of_a_jump_is_missing() {
    for fork in FORKS {
        for behind_a_jumpdest in [false, true] {
            // What else the section does with the stack, and how many words it takes in all.
            for (rest, takes) in [
                (&[][..], 0),
                (&[opcode::POP], 1),
                (&[opcode::POP, opcode::POP], 2),
                (&[opcode::DUP1, opcode::POP, opcode::POP], 1),
                (&[opcode::ADD, opcode::POP], 2),
            ] {
                for below in 0..5 {
                    let code = jump(below, behind_a_jumpdest, rest);
                    let run = check("JUMPI", &Case::new(code).on(fork));
                    let end = if below > takes {
                        InstructionResult::Stop
                    } else {
                        InstructionResult::StackUnderflow
                    };
                    assert_eq!(run.result.result, end, "{below} words, {rest:?}");
                }
            }
        }
    }
}
