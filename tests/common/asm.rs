//! An assembler for test programs.
//!
//! [`asm`] reads text: mnemonics as in the Yellow Paper, and
//! - a number (`7`, `0xff`), `MAX`, `MIN` (the least signed word), `2^k`, `2^k-1` or `-n`: a push of
//!   that word in the fewest bytes (at least one, so that it exists on every fork);
//! - `PUSHn number`: a push of that width;
//! - `name:` a JUMPDEST, `@name` a two-byte push of its offset;
//! - `hex:6001..` raw bytes.
//!
//! Operands are in the order they are pushed: `2 7 SUB` is 7 − 2.

use revm::bytecode::opcode::{self, OpCode};
use revm::primitives::{U256, hex};
use std::collections::HashMap;
use std::sync::OnceLock;

/// One element of a program, small enough for the shrinker to take away alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Op(u8),
    /// `PUSH` of this width in bytes (0 is PUSH0).
    Push(u8, U256),
    /// A push of a label's offset; 0 when the label is nowhere.
    PushLabel(u32),
    /// A JUMPDEST.
    Label(u32),
    Raw(Vec<u8>),
}

impl Item {
    /// A push in the fewest bytes, at least one.
    pub fn push(value: U256) -> Self {
        Self::Push(value.byte_len().max(1) as u8, value)
    }

    fn len(&self) -> usize {
        match self {
            Self::Op(_) | Self::Label(_) => 1,
            Self::Push(width, _) => 1 + *width as usize,
            Self::PushLabel(_) => 3,
            Self::Raw(bytes) => bytes.len(),
        }
    }
}

/// The bytes of a program.
pub fn assemble(items: &[Item]) -> Vec<u8> {
    let mut offsets = HashMap::new();
    let mut at = 0;
    for item in items {
        if let Item::Label(label) = item {
            offsets.insert(*label, at);
        }
        at += item.len();
    }
    let mut code = Vec::with_capacity(at);
    for item in items {
        match item {
            Item::Op(op) => code.push(*op),
            Item::Label(_) => code.push(opcode::JUMPDEST),
            Item::Push(width, value) => {
                code.push(opcode::PUSH0 + width);
                code.extend_from_slice(&value.to_be_bytes::<32>()[32 - *width as usize..]);
            }
            Item::PushLabel(label) => {
                let offset = offsets.get(label).copied().unwrap_or(0);
                code.push(opcode::PUSH2);
                code.extend_from_slice(&(offset as u16).to_be_bytes());
            }
            Item::Raw(bytes) => code.extend_from_slice(bytes),
        }
    }
    code
}

/// Assembles text.
///
/// # Panics
/// On a word it does not know: the text is part of a test.
pub fn asm(text: &str) -> Vec<u8> {
    assemble(&parse(text))
}

pub fn parse(text: &str) -> Vec<Item> {
    let mut labels = Vec::new();
    let mut label = |name: &str| {
        let found = labels.iter().position(|known: &String| known == name);
        found.unwrap_or_else(|| {
            labels.push(name.to_owned());
            labels.len() - 1
        }) as u32
    };
    let mut items = Vec::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if let Some(raw) = word.strip_prefix("hex:") {
            items.push(Item::Raw(hex::decode(raw).expect("hex digits")));
        } else if let Some(name) = word.strip_suffix(':') {
            items.push(Item::Label(label(name)));
        } else if let Some(name) = word.strip_prefix('@') {
            items.push(Item::PushLabel(label(name)));
        } else if let Some(value) = number(word) {
            items.push(Item::push(value));
        } else {
            let op = opcode_named(word).unwrap_or_else(|| panic!("unknown word {word:?}"));
            if (opcode::PUSH1..=opcode::PUSH32).contains(&op) {
                let operand = words.next().and_then(number);
                let value = operand.unwrap_or_else(|| panic!("{word} needs a number"));
                items.push(Item::Push(op - opcode::PUSH0, value));
            } else {
                items.push(Item::Op(op));
            }
        }
    }
    items
}

fn number(word: &str) -> Option<U256> {
    match word {
        "MAX" => return Some(U256::MAX),
        "MIN" => return Some(U256::from(1) << 255usize),
        _ => {}
    }
    if let Some(power) = word.strip_prefix("2^") {
        let (power, less) = match power.strip_suffix("-1") {
            Some(power) => (power, U256::from(1)),
            None => (power, U256::ZERO),
        };
        return Some((U256::from(1) << power.parse::<usize>().ok()?) - less);
    }
    if let Some(digits) = word.strip_prefix('-') {
        return Some(U256::ZERO.wrapping_sub(U256::from_str_radix(digits, 10).ok()?));
    }
    match word.strip_prefix("0x") {
        Some(digits) => U256::from_str_radix(digits, 16).ok(),
        None if word.starts_with(|c: char| c.is_ascii_digit()) => {
            U256::from_str_radix(word, 10).ok()
        }
        None => None,
    }
}

/// The opcode with this mnemonic.
pub fn opcode_named(name: &str) -> Option<u8> {
    static NAMES: OnceLock<HashMap<&'static str, u8>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        (0..=u8::MAX)
            .filter_map(|byte| Some((OpCode::new(byte)?.as_str(), byte)))
            .collect()
    });
    names.get(name).copied()
}
