//! Legacy bytecode in the form in which revmc's parser reads it as the EVM does.
//!
//! The parser takes the operands of EOF's opcodes (EIP-4200, EIP-4750, EIP-663, EIP-7480, …) for
//! data also in legacy code, where these bytes are undefined opcodes without operands. What
//! follows one would be decoded at the wrong place: a JUMPDEST could be missed or invented.

use revmc::interpreter::opcode::OpCode;
use std::borrow::Cow;

/// An undefined opcode: halts with the same class of error, and has no operand.
const UNDEFINED: u8 = 0x0c;

/// Whether an EOF container gives this opcode an operand in the code, and legacy code does not.
fn has_eof_operand(byte: u8) -> bool {
    OpCode::new(byte).is_some_and(|op| !op.is_push() && op.info().immediate_size() > 0)
}

/// The bytecode with an undefined opcode in place of each opcode that has an operand only in EOF.
///
/// The length and the position of everything else stay; code that reads itself (`CODECOPY`) reads
/// the frame's bytecode, not this.
pub(super) fn without_eof_operands(bytecode: &[u8]) -> Cow<'_, [u8]> {
    let mut code = Cow::Borrowed(bytecode);
    let mut at = 0;
    while let Some(&byte) = bytecode.get(at) {
        let data = match OpCode::new(byte) {
            Some(op) if op.is_push() => usize::from(op.info().immediate_size()),
            _ => 0,
        };
        if has_eof_operand(byte) {
            code.to_mut()[at] = UNDEFINED;
        }
        at += 1 + data;
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_operands_of_eof_are_taken_away() {
        assert!(OpCode::new(UNDEFINED).is_none());
        let plain = [0x60, 0xe3, 0x5b, 0x7f, 0xe0];
        assert!(matches!(without_eof_operands(&plain), Cow::Borrowed(_)));
        // CALLF, then a PUSH27 whose data ends the code.
        assert_eq!(
            without_eof_operands(&[0xe3, 0xab, 0x7a, 0x5b])[..],
            [0x0c, 0xab, 0x7a, 0x5b]
        );
        // In push data it is data; behind it an opcode.
        assert_eq!(
            without_eof_operands(&[0x61, 0xe3, 0xe3, 0xe8])[..],
            [0x61, 0xe3, 0xe3, 0x0c]
        );
    }
}
