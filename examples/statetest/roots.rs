//! A table of what state tests end with, for those whose files do not say.
//!
//! A line has the test's [identity], an entry's place in its `post`, and what the entry ends with on
//! each of [`FORKS`] in turn: six bytes in hexadecimal, the first of the keccak-256 of the state's root
//! and the hash of the logs; `-` if the transaction is refused, `?` if nobody knows, `=` what the fork
//! before it has. Forks that a line is too short for are not known; `#` begins a remark.
//!
//! `.ci/specification table` makes it, with the executable specification of the execution layer.

use crate::fixture::{Expected, FORKS};
use revm::primitives::{B256, hex, keccak256};
use serde_json::Value;
use std::collections::HashMap;

/// What is known of a state and its logs.
pub type Digest = [u8; 6];

/// The table: by test, then by the entry's place in its `post`.
#[derive(Default)]
pub struct Roots(HashMap<u64, Entries>);

/// What is known of a test's entries, for each of [`FORKS`].
pub type Entries = HashMap<usize, Vec<Known>>;

/// What a word of a line says.
#[derive(Clone, Copy)]
pub enum Known {
    Nothing,
    Refused,
    Digest(Digest),
}

/// The digest of a state and its logs.
pub fn digest(root: B256, logs: B256) -> Digest {
    let hash = keccak256([root, logs].concat());
    *hash.first_chunk().expect("a hash has 32 bytes")
}

/// What a test executes: the first eight bytes of the keccak-256 of its block, accounts and
/// transaction, written as JSON with sorted names and no spaces.
fn identity(test: &Value) -> u64 {
    let parts = ["env", "pre", "transaction"].map(|part| format!("\"{part}\":{}", test[part]));
    let hash = keccak256(format!("{{{}}}", parts.join(",")));
    u64::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes"))
}

impl Roots {
    /// The table that `text` is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tests = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let (key, known) = entry(line).ok_or_else(|| format!("line {}: {line}", index + 1))?;
            let (test, at) = key;
            let entries: &mut Entries = tests.entry(test).or_default();
            if entries.insert(at, known).is_some() {
                return Err(format!("line {}: a second one for its test", index + 1));
            }
        }
        Ok(Self(tests))
    }

    /// What is known of a test.
    pub fn of(&self, test: &Value) -> Option<&Entries> {
        // Most runs are without a table, and a test's identity is all of it, written and hashed.
        (!self.0.is_empty()).then(|| self.0.get(&identity(test)))?
    }
}

/// What an entry ends with on a fork, by its place among [`FORKS`].
pub fn expected(entries: &Entries, index: usize, fork: usize) -> Option<Expected> {
    match entries.get(&index)?.get(fork)? {
        Known::Nothing => None,
        Known::Refused => Some(Expected::Refused),
        Known::Digest(digest) => Some(Expected::Digest(*digest)),
    }
}

/// A line.
fn entry(line: &str) -> Option<((u64, usize), Vec<Known>)> {
    let mut words = line.split(' ');
    let identity = u64::from_str_radix(words.next()?, 16).ok()?;
    let index = words.next()?.parse().ok()?;
    let mut known = Vec::with_capacity(FORKS.len());
    for word in words {
        known.push(match word {
            "?" => Known::Nothing,
            "-" => Known::Refused,
            "=" => *known.last()?,
            word => Known::Digest(hex::decode_to_array(word).ok()?),
        });
    }
    (known.len() <= FORKS.len()).then_some(((identity, index), known))
}
