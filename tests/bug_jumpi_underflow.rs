//! A JUMPI whose target is pushed right before it, on a stack without a condition.
//!
//! revmc's front end counts the pushed target, which it does not push, for the condition: the
//! check of the section's stack bounds let such a jump read below the stack. Found by shrinking a
//! generated program.

mod common;

use common::case::{Case, FORKS};
use common::native::check;
use revmc::interpreter::{InstructionResult, opcode};

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

#[test]
fn the_condition_is_missing() {
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
