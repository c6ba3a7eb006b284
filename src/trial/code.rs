//! What a contract's code tells of the inputs that it tells apart.

use alloy_primitives::U256;
use revm_interpreter::bytecode::opcode as op;

/// Constants beyond so many are not kept of either kind.
const MAX_KEPT: usize = 512;

/// Instructions behind a PUSH in which its constant is looked for as an operand.
const REACH: usize = 3;

/// What was found in a code.
#[derive(Debug, Default)]
pub(super) struct Clues {
    /// What the first four bytes of the call's data are compared with.
    pub(super) selectors: Vec<[u8; 4]>,
    /// What words are compared, masked or computed with.
    pub(super) constants: Vec<U256>,
}

impl Clues {
    /// Goes through the instructions of `code`.
    ///
    /// A constant of at most four bytes is a selector if an EQ, SUB or XOR follows it, a DUP or SWAP at
    /// most in between (`DUP1 PUSH4 x EQ`, `PUSH4 x DUP2 EQ`, `PUSH4 x SUB`); of four bytes, also if a
    /// GT or LT does, as a search for the selector has them.
    pub(super) fn of(code: &[u8]) -> Self {
        let mut clues = Self::default();
        // Constants of the last instructions, the latest last.
        let mut recent: Vec<(usize, usize, U256)> = Vec::new();
        let (mut pc, mut number) = (0, 0);
        while pc < code.len() {
            let opcode = code[pc];
            pc += 1;
            number += 1;
            recent.retain(|(at, ..)| number - at <= REACH);
            match opcode {
                op::PUSH1..=op::PUSH32 => {
                    let len = usize::from(opcode - op::PUSH0);
                    let end = (pc + len).min(code.len());
                    let mut bytes = [0; 32];
                    bytes[32 - len..][..end - pc].copy_from_slice(&code[pc..end]);
                    recent.push((number, len, U256::from_be_bytes(bytes)));
                    pc = end;
                }
                op::EQ | op::SUB | op::XOR | op::GT | op::LT | op::SGT | op::SLT => {
                    let exact = matches!(opcode, op::EQ | op::SUB | op::XOR);
                    for (_, len, value) in recent.drain(..) {
                        if len == 4 || (len < 4 && exact && !value.is_zero()) {
                            let selector = (value.as_limbs()[0] as u32).to_be_bytes();
                            keep(&mut clues.selectors, selector);
                        }
                        keep(&mut clues.constants, value);
                    }
                }
                op::AND | op::DIV | op::MOD | op::ADD | op::SHL | op::SHR | op::BYTE => {
                    for (.., value) in recent.drain(..) {
                        keep(&mut clues.constants, value);
                    }
                }
                op::DUP1..=op::DUP16 | op::SWAP1..=op::SWAP16 => {}
                _ => recent.clear(),
            }
        }
        clues
    }
}

fn keep<T: PartialEq>(kept: &mut Vec<T>, value: T) {
    if kept.len() < MAX_KEPT && !kept.contains(&value) {
        kept.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_found_in_each_form() {
        let code = alloy_primitives::hex!(
            "80 63a9059cbb 14 61 0010 57" // DUP1 PUSH4 EQ
            "63095ea7b3 81 14 61 0010 57" // PUSH4 DUP2 EQ
            "6323b872dd 03 61 0010 57" // PUSH4 SUB
            "63dd62ed3e 81 18 61 0010 57" // PUSH4 DUP2 XOR
            "62123456 14 57" // leading zero
            "80 6370a08231 11 57" // a search's pivot
            "6380000000 50 14" // not compared
            "63ffffffff 16" // a mask
        );
        let clues = Clues::of(&code);
        let found: Vec<u32> = clues
            .selectors
            .iter()
            .map(|s| u32::from_be_bytes(*s))
            .collect();
        let expected = [
            0xa905_9cbb,
            0x095e_a7b3,
            0x23b8_72dd,
            0xdd62_ed3e,
            0x0012_3456,
            0x70a0_8231,
        ];
        assert_eq!(found, expected);
        assert!(clues.constants.contains(&U256::from(0xffff_ffffu64)));
        assert!(!clues.constants.contains(&U256::from(0x8000_0000u64)));
    }

    #[test]
    fn data_of_a_push_is_no_instruction_and_the_end_may_cut_it() {
        let clues = Clues::of(&[0x61, 0x63, 0x14, 0x50, 0x63, 0x01, 0x02]);
        assert!(clues.selectors.is_empty() && clues.constants.is_empty());
        let many: Vec<u8> = (0..2000u32)
            .flat_map(|n| [&[0x63][..], &n.to_be_bytes(), &[0x14]].concat())
            .collect();
        assert_eq!(Clues::of(&many).selectors.len(), MAX_KEPT);
    }
}
