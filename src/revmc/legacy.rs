//! Legacy bytecode in the form in which revmc's parser reads it as the EVM does.
//!
//! - The parser takes the operands of EOF's opcodes (EIP-4200, EIP-4750, EIP-663, EIP-7480, …) for
//!   data also in legacy code, where these bytes are undefined opcodes without operands. What
//!   follows one would be decoded at the wrong place: a JUMPDEST could be missed or invented. Such
//!   opcodes are replaced.
//! - The parser takes a jump directly behind a PUSH9 or longer for invalid, also where leading
//!   zeros leave a valid target. No sequence of the same length, gas and effect exists, so that
//!   such bytecode is refused. Compilers push a target with as few bytes as it needs.

use super::TranslateError;
use revmc::interpreter::opcode::{JUMP, JUMPDEST, JUMPI, OpCode};
use std::borrow::Cow;

/// An undefined opcode: halts with the same class of error, and has no operand.
const UNDEFINED: u8 = 0x0c;

/// Bytes of a pushed jump target that the parser reads.
const TARGET_LEN: usize = size_of::<u64>();

/// Whether an EOF container gives this opcode an operand in the code, and legacy code does not.
fn has_eof_operand(byte: u8) -> bool {
    OpCode::new(byte).is_some_and(|op| !op.is_push() && op.info().immediate_size() > 0)
}

/// The instructions of legacy bytecode: where each begins, its opcode, and its operand, which the
/// end of the code may cut short.
fn instructions(code: &[u8]) -> impl Iterator<Item = (usize, u8, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (&byte, rest) = code.get(at..)?.split_first()?;
        let len = match OpCode::new(byte) {
            Some(op) if op.is_push() => usize::from(op.info().immediate_size()),
            _ => 0,
        };
        let operand = &rest[..len.min(rest.len())];
        let pc = at;
        at += 1 + len;
        Some((pc, byte, operand))
    })
}

/// The bytecode with an undefined opcode in place of each opcode that has an operand only in EOF.
///
/// The length and the position of everything else stay; code that reads itself (`CODECOPY`) reads
/// the frame's bytecode, not this.
///
/// # Errors
///
/// [`TranslateError::WideJumpTarget`].
pub(super) fn for_parser(bytecode: &[u8]) -> Result<Cow<'_, [u8]>, TranslateError> {
    let mut code = Cow::Borrowed(bytecode);
    let (mut jumpdests, mut wide) = (Vec::new(), Vec::new());
    let mut pushed: &[u8] = &[];
    for (pc, byte, operand) in instructions(bytecode) {
        if has_eof_operand(byte) {
            code.to_mut()[pc] = UNDEFINED;
        }
        match byte {
            JUMPDEST => jumpdests.push(pc as u64),
            JUMP | JUMPI if pushed.len() > TARGET_LEN => {
                wide.extend(target(pushed).map(|target| (pc, target)));
            }
            _ => {}
        }
        pushed = operand;
    }
    // The JUMPDESTs are in the order of the code.
    match wide
        .into_iter()
        .find(|(_, target)| jumpdests.binary_search(target).is_ok())
    {
        Some((pc, _)) => Err(TranslateError::WideJumpTarget { pc }),
        None => Ok(code),
    }
}

/// The number in a pushed operand, if it fits.
fn target(pushed: &[u8]) -> Option<u64> {
    let (leading, target) = pushed.split_last_chunk::<TARGET_LEN>()?;
    leading
        .iter()
        .all(|&byte| byte == 0)
        .then(|| u64::from_be_bytes(*target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_operands_of_eof_are_taken_away() {
        assert!(OpCode::new(UNDEFINED).is_none());
        let plain = [0x60, 0xe3, 0x5b, 0x7f, 0xe0];
        assert!(matches!(for_parser(&plain).unwrap(), Cow::Borrowed(_)));
        // CALLF, then a PUSH27 whose data ends the code.
        assert_eq!(
            for_parser(&[0xe3, 0xab, 0x7a, 0x5b]).unwrap()[..],
            [0x0c, 0xab, 0x7a, 0x5b]
        );
        // In push data it is data; behind it an opcode.
        assert_eq!(
            for_parser(&[0x61, 0xe3, 0xe3, 0xe8]).unwrap()[..],
            [0x61, 0xe3, 0xe3, 0x0c]
        );
    }

    #[test]
    fn only_valid_wide_targets_are_refused() {
        // PUSH9 target, JUMP or JUMPI, then data.
        let code = |target: u8, leading: u8, jump: u8, end: u8| {
            let mut code = vec![0x68, leading, 0, 0, 0, 0, 0, 0, 0, target, jump];
            code.push(end);
            code
        };
        for jump in [JUMP, JUMPI] {
            let refused = Err(TranslateError::WideJumpTarget { pc: 10 });
            assert_eq!(for_parser(&code(11, 0, jump, JUMPDEST)), refused);
            // Not to a JUMPDEST, beyond the code, into the operand, beyond 64 bits.
            assert!(for_parser(&code(11, 0, jump, JUMP)).is_ok());
            assert!(for_parser(&code(12, 0, jump, JUMPDEST)).is_ok());
            assert!(for_parser(&code(JUMPDEST, 0, jump, JUMPDEST)).is_ok());
            assert!(for_parser(&code(11, 1, jump, JUMPDEST)).is_ok());
        }
        // PUSH8, and a push that the jump does not follow.
        assert!(for_parser(&[0x67, 0, 0, 0, 0, 0, 0, 0, 10, JUMP, JUMPDEST]).is_ok());
        assert!(for_parser(&[0x68, 0, 0, 0, 0, 0, 0, 0, 0, 10, JUMPDEST, JUMP]).is_ok());
    }
}
