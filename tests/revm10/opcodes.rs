//! Every hand-written program on every fork, in a static call, and with each fork's set of opcodes.

use super::asm::{asm, opcode_named};
use super::case::{Case, FORKS, actor};
use super::native::{TIERS, check};
use super::programs::{self, ALL, Program};
use revmc_jit::compiler::{CompileError, CompileOptions};
use revmc_jit::revmc::interpreter::InstructionResult;
use revmc_jit::revmc::interpreter::opcode::{self, OpCode};
use revmc_jit::revmc::primitives::{SpecId, U256};
use revmc_jit::revmc::{TranslateError, compile};

/// Calldata for programs that read it: a zero word, then 33 and an odd tail.
fn calldata() -> Vec<u8> {
    let mut data = vec![0; 64];
    data[63] = 33;
    data.extend([0xde, 0xad, 0xbe]);
    data
}

fn on_every_fork(table: &[Program]) {
    for (name, text) in table {
        for fork in FORKS {
            check(name, &Case::asm(text).on(fork).input(calldata()));
            check(name, &Case::asm(text).on(fork).value(3));
        }
    }
}

#[test]
fn arithmetic() {
    on_every_fork(programs::ARITHMETIC);
}

#[test]
fn memory() {
    on_every_fork(programs::MEMORY);
}

#[test]
fn control() {
    on_every_fork(programs::CONTROL);
}

#[test]
fn environment() {
    on_every_fork(programs::ENVIRONMENT);
}

#[test]
fn calls() {
    on_every_fork(programs::CALLS);
}

#[test]
fn every_program_in_a_static_call() {
    for (name, text) in ALL.iter().flat_map(|(_, table)| *table) {
        for fork in [
            SpecId::BYZANTIUM,
            SpecId::ISTANBUL,
            SpecId::LONDON,
            SpecId::CANCUN,
        ] {
            check(
                name,
                &Case::asm(text).on(fork).input(calldata()).in_static_call(),
            );
        }
    }
}

/// Pins what the oracle itself says, so that an accident in the harness cannot hide.
#[test]
fn known_results() {
    let word = |text: &str| {
        let run = check(text, &Case::asm(&format!("{text} 0 MSTORE 32 0 RETURN")));
        assert_eq!(run.result.result, InstructionResult::Return, "{text}");
        U256::from_be_slice(&run.result.output)
    };
    assert_eq!(word("0 7 DIV"), U256::ZERO);
    assert_eq!(word("-1 MIN SDIV"), U256::from(1) << 255);
    assert_eq!(word("3 -8 SMOD"), U256::MAX - U256::from(1));
    assert_eq!(word("MAX MAX MAX ADDMOD"), U256::ZERO);
    assert_eq!(word("12 MAX MAX MULMOD"), U256::from(9));
    assert_eq!(word("MIN 256 SAR"), U256::MAX);
    assert_eq!(word("0xff 0 SIGNEXTEND"), U256::MAX);
    assert_eq!(
        word("32 0 0 0xa4 EXTCODECOPY 0 MLOAD") >> 240,
        U256::from(0x6000)
    );

    let ends = |text: &str| check(text, &Case::asm(text)).result.result;
    assert_eq!(ends("1 0 JUMP"), InstructionResult::InvalidJump);
    assert_eq!(ends("ADD"), InstructionResult::StackUnderflow);
    assert_eq!(ends("INVALID"), InstructionResult::InvalidEFOpcode);
    assert_eq!(ends("hex:0c"), InstructionResult::OpcodeNotFound);
    assert_eq!(ends("1 0 0 RETURNDATACOPY"), InstructionResult::OutOfOffset);
    assert_eq!(ends("0xa7 SELFDESTRUCT"), InstructionResult::SelfDestruct);
    assert_eq!(ends("0 0 REVERT"), InstructionResult::Revert);
    let stored = Case::asm("1 1 SSTORE").in_static_call();
    assert_eq!(
        check("SSTORE in a static call", &stored).result.result,
        InstructionResult::StateChangeDuringStaticCall
    );
}

/// Each byte as an opcode on each fork: gating, and operands that are mostly zero or small.
#[test]
fn every_opcode_byte_on_every_fork() {
    for fork in FORKS {
        for byte in 0..=u8::MAX {
            let mut code = asm("0 0 0 0 0 0 0 32");
            code.push(byte);
            // Behind the opcode there is data for a push, then one more word and an end.
            code.extend(asm("1 0 MSTORE 32 0 RETURN"));
            let name = format!("opcode 0x{byte:02x}");
            check(&name, &Case::new(code.clone()).on(fork));
            check(&name, &Case::new(vec![byte]).on(fork));
        }
    }
}

/// Legacy code cannot begin with 0xef any more (EIP-3541); what does is an EOF container or ends at
/// once, and is left to the interpreter.
#[test]
fn code_that_begins_like_eof_is_refused() {
    for code in [&[0xef][..], &[0xef, 0x00], &[0xef, 0x00, 0x01, 0x00]] {
        for tier in TIERS {
            let options = CompileOptions {
                tier,
                ..CompileOptions::default()
            };
            let refused = compile(code, SpecId::CANCUN, &options);
            assert!(
                matches!(
                    refused,
                    Err(TranslateError::Compile(CompileError::Reserved))
                ),
                "{code:?}"
            );
        }
    }
}

/// Behind each byte, run or not, JUMPDESTs are where the interpreter sees them: only the data of a
/// PUSH hides one, whatever operands the opcode has in an EOF container.
#[test]
fn only_push_data_hides_a_jumpdest() {
    for byte in 0..=u8::MAX {
        let mut code = asm("0 CALLDATALOAD JUMP");
        let first = code.len();
        code.push(byte);
        code.extend([opcode::JUMPDEST; 40]);
        let case = Case::new(code.clone());
        for target in first..code.len() + 1 {
            let input = U256::from(target).to_be_bytes::<32>();
            check(&format!("0x{byte:02x}"), &case.clone().input(input));
        }
        // The same with targets that the compiler knows, and with data that reads as a PUSH.
        for gap in 0..4u8 {
            let mut code = vec![opcode::PUSH1, 5 + gap, opcode::JUMP, byte];
            code.extend([&[0; 4][..gap as usize], &[opcode::PUSH4]].concat());
            code.extend([opcode::JUMPDEST; 8]);
            check(&format!("0x{byte:02x}, gap {gap}"), &Case::new(code));
        }
    }
}

/// One operand too few, exactly enough, and one too many results, for every opcode.
#[test]
fn stack_bounds_of_every_opcode() {
    for byte in 0..=u8::MAX {
        let Some(info) = OpCode::new(byte) else {
            continue;
        };
        let inputs = info.inputs() as usize;
        let lowest = inputs.saturating_sub(1);
        for operands in [lowest, inputs, 1022, 1023, 1024] {
            // The words come from a loop, so that the compiler cannot know the height.
            let known = operands <= 17;
            let text = if known {
                "1 ".repeat(operands)
            } else {
                // 1022 words less the ones the loop itself leaves.
                format!(
                    "{} l: DUP1 DUP1 1 SWAP1 SUB DUP1 @l JUMPI",
                    operands / 2 - 1
                )
            };
            let mut code = asm(&text);
            code.push(byte);
            code.extend([opcode::PUSH1, 1, opcode::PUSH1, 2]);
            check(&format!("{info} with {operands} words"), &Case::new(code));
        }
    }
}

/// The stack filled to the last word and one further, by a straight line and by a loop.
#[test]
fn stack_overflow_at_the_last_word() {
    for words in [1022usize, 1023, 1024, 1025, 1026] {
        let run = check("straight line", &Case::new(asm(&"1 ".repeat(words))));
        let expected = if words > 1024 {
            InstructionResult::StackOverflow
        } else {
            InstructionResult::Stop
        };
        assert_eq!(run.result.result, expected, "{words} words");
        // n, then in each round one word under the counter.
        let text = format!("{} l: DUP1 1 SWAP1 SUB DUP1 @l JUMPI", words - 4);
        for tail in [
            "",
            "1",
            "1 2",
            "1 2 3",
            "DUP1 DUP1",
            "CALLER GAS",
            "MSIZE PC POP POP",
            // The target of a jump is pushed, too, although the jump takes it at once.
            "@d JUMP d:",
            "1 @d JUMPI d:",
            "GAS @d JUMP d:",
            "GAS POP 1 @d JUMP d:",
            "DUP1 GAS @d JUMPI d:",
        ] {
            check("by a loop", &Case::asm(&format!("{text} {tail}")));
        }
    }
}

/// What a database error stops, at each opcode that reads state.
#[test]
fn host_failure() {
    let broken = actor(0xa7);
    for text in [
        "0xa7 BALANCE",
        "0xa7 EXTCODESIZE",
        "0xa7 EXTCODEHASH",
        "8 0 0 0xa7 EXTCODECOPY",
        "0 0 0 0 0 0xa7 1000 CALL",
        "0 0 0 0 0 0xa7 1000 CALLCODE",
        "0 0 0 0 0xa7 1000 DELEGATECALL",
        "0 0 0 0 0xa7 1000 STATICCALL",
        "0xa7 SELFDESTRUCT",
    ] {
        let mut case = Case::asm(&format!("{text} 1 0 MSTORE"));
        case.fault = Some(broken);
        let run = check(text, &case);
        assert_eq!(
            run.result.result,
            InstructionResult::FatalExternalError,
            "{text}"
        );
    }
    for text in ["1 SLOAD", "1 1 SSTORE", "SELFBALANCE"] {
        let mut case = Case::asm(&format!("{text} 1 0 MSTORE"));
        case.fault = Some(super::case::CONTRACT);
        let run = check(text, &case);
        assert_eq!(
            run.result.result,
            InstructionResult::FatalExternalError,
            "{text}"
        );
    }
}

#[test]
fn deep_recursion_reaches_the_call_limit() {
    let text = "32 0 CALLDATASIZE 0 0 ADDRESS GAS CALL 0 MSTORE 32 0 RETURN";
    // Before EIP-150 a call may pass on all its gas, so 1,024 calls are affordable.
    let case = Case::asm("GAS 0 MSTORE 32 0 32 0 0 ADDRESS 100 GAS SUB CALL 0 MSTORE 32 0 RETURN")
        .on(SpecId::HOMESTEAD)
        .gas(10_000_000);
    let run = check("all gas", &case);
    assert!(
        run.events.iter().map(|e| e.depth).max() >= Some(1024),
        "the limit was not reached"
    );
    check("63/64 of the gas", &Case::asm(text).gas(3_000_000));
}

/// Every two- and three-operand opcode on every pair of edges: operands from calldata, so that one
/// compilation serves all pairs, and each operand in turn a constant.
#[test]
fn arithmetic_edges() {
    let edges: Vec<U256> = [
        0u64,
        1,
        2,
        3,
        31,
        32,
        63,
        64,
        65,
        127,
        128,
        255,
        256,
        257,
        u64::MAX,
    ]
    .into_iter()
    .map(U256::from)
    .chain([
        U256::from(1) << 64,
        U256::from(1) << 128,
        (U256::from(1) << 128) - U256::from(1),
        (U256::from(1) << 192) + U256::from(5),
        U256::MAX >> 1,
        U256::from(1) << 255,
        (U256::from(1) << 255) + U256::from(1),
        U256::MAX - U256::from(255),
        U256::MAX - U256::from(1),
        U256::MAX,
    ])
    .collect();
    let binary = [
        "ADD",
        "MUL",
        "SUB",
        "DIV",
        "SDIV",
        "MOD",
        "SMOD",
        "EXP",
        "SIGNEXTEND",
        "LT",
        "GT",
        "SLT",
        "SGT",
        "EQ",
        "AND",
        "OR",
        "XOR",
        "BYTE",
        "SHL",
        "SHR",
        "SAR",
    ];
    let word = |value: &U256| value.to_be_bytes::<32>();
    for name in binary {
        let op = opcode_named(name).expect("an opcode");
        for a in &edges {
            // A constant on the left, on the right, and (with the pair's other half) on both sides.
            let left = Case::asm(&format!("0 CALLDATALOAD {a} {name} 0 MSTORE"));
            let right = Case::asm(&format!("{a} 0 CALLDATALOAD {name} 0 MSTORE"));
            let dynamic = Case::asm(&format!(
                "0 CALLDATALOAD 32 CALLDATALOAD {name} 0 MSTORE \
                 32 CALLDATALOAD 0 CALLDATALOAD DUP2 SWAP1 {name} 32 MSTORE POP"
            ));
            let mut both = Vec::new();
            for b in &edges {
                check(name, &left.clone().input(word(b)));
                check(name, &right.clone().input(word(b)));
                check(name, &dynamic.clone().input([word(a), word(b)].concat()));
                both.extend(asm(&format!("{b} {a}")));
                both.push(op);
                both.extend(asm("MSIZE MSTORE"));
            }
            check(name, &Case::new(both));
        }
    }
    for name in ["ADDMOD", "MULMOD"] {
        let dynamic = Case::asm(&format!(
            "64 CALLDATALOAD 32 CALLDATALOAD 0 CALLDATALOAD {name} 0 MSTORE"
        ));
        for a in edges.iter().step_by(2) {
            for n in &edges {
                let constant = Case::asm(&format!("{n} 0 CALLDATALOAD {a} {name} 0 MSTORE"));
                for b in edges.iter().skip(1).step_by(2) {
                    check(
                        name,
                        &dynamic.clone().input([word(a), word(b), word(n)].concat()),
                    );
                    check(name, &constant.clone().input(word(b)));
                }
            }
        }
    }
}
