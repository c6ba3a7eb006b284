//! What was hot when a process ended: the artifacts that the next one loads first.
//!
//! A list of names, kept beside the artifacts as one sequence of bytes. It holds no code, and what it
//! names is verified like every artifact when it is loaded: a list that lies costs the time of loading
//! what nobody uses, within the budget of the warm start.
//!
//! All integers are little-endian:
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 8 | `revmchot` |
//! | 8 | 4 | format |
//! | 12 | 4 | flags: bit 0, authenticated; the others are zero |
//! | 16 | 4 | number of entries |
//! | 20 | 4 | zero |
//! | 24 | 32 | keccak-256 of bytes 0 to 24 and the entries |
//! | 56 | 32 | HMAC-SHA-256 of the same, or zeros |
//! | 88 | 52 each | code hash (32), build (16), heat (4): the hottest first, and among equals by key |
//!
//! There is one way to write each list, and the reader accepts nothing else.

use super::{
    auth::{ManifestKey, authenticate, digest},
    determinants::BuildId,
    error::ArtifactError,
    key::ArtifactKey,
};
use alloy_primitives::B256;
use std::{
    cmp::{Ordering, Reverse},
    collections::HashSet,
};

const MAGIC: &[u8; 8] = b"revmchot";
const FORMAT: u32 = 1;
const AUTHENTICATED: u32 = 1;
/// What digest and authentication code cover of the header.
const COVERED: usize = 24;
const HEADER_LEN: usize = 88;
const ENTRY_LEN: usize = 52;

/// An artifact, and how hot its program was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeatEntry {
    /// The artifact.
    pub key: ArtifactKey,
    /// How much it was used, to be compared with others of the same list only.
    pub heat: u32,
}

impl HeatEntry {
    /// The hottest first; there is one order of different entries.
    fn order(&self, other: &Self) -> Ordering {
        let rank = |entry: &Self| (Reverse(entry.heat), entry.key);
        rank(self).cmp(&rank(other))
    }
}

/// What was hot, the hottest first, each artifact once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeatList {
    entries: Vec<HeatEntry>,
}

impl HeatList {
    /// Bound of the number of entries.
    pub const MAX_ENTRIES: usize = 16 * 1024;

    /// Bound of a list's bytes.
    pub const MAX_LEN: usize = HEADER_LEN + Self::MAX_ENTRIES * ENTRY_LEN;

    /// A list of these, in any order. Of several entries for one artifact the hottest counts; beyond
    /// [`MAX_ENTRIES`](Self::MAX_ENTRIES), the hottest are kept.
    pub fn new(mut entries: Vec<HeatEntry>) -> Self {
        entries.sort_unstable_by(HeatEntry::order);
        let mut seen = HashSet::with_capacity(entries.len());
        entries.retain(|entry| seen.insert(entry.key));
        entries.truncate(Self::MAX_ENTRIES);
        Self { entries }
    }

    /// The entries, the hottest first.
    pub fn entries(&self) -> &[HeatEntry] {
        &self.entries
    }

    /// The list's bytes, authenticated if there is a key.
    pub fn to_bytes(&self, key: Option<&ManifestKey>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.entries.len() * ENTRY_LEN);
        bytes.extend_from_slice(MAGIC);
        let flags = if key.is_some() { AUTHENTICATED } else { 0 };
        for word in [FORMAT, flags, self.entries.len() as u32, 0] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.resize(HEADER_LEN, 0);
        for HeatEntry { key, heat } in &self.entries {
            bytes.extend_from_slice(key.code_hash.as_slice());
            bytes.extend_from_slice(&key.build.0);
            bytes.extend_from_slice(&heat.to_le_bytes());
        }
        let covered = [&bytes[..COVERED], &bytes[HEADER_LEN..]];
        let digest = digest(covered);
        let tag = key.map_or([0; 32], |key| key.tag(&covered));
        bytes[COVERED..56].copy_from_slice(digest.as_slice());
        bytes[56..HEADER_LEN].copy_from_slice(&tag);
        bytes
    }

    /// Whether a list can be so long, in bytes.
    pub(super) fn check_len(len: u64) -> Result<(), ArtifactError> {
        ArtifactError::bound("heat list", len, Self::MAX_LEN as u64).map(drop)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes, and nothing else: with a key what was written with
    /// that key, without one what was written without.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] beyond [`MAX_LEN`](Self::MAX_LEN), [`ArtifactError::Format`],
    /// [`ArtifactError::Length`], [`ArtifactError::Malformed`], [`ArtifactError::Authentication`].
    pub fn from_bytes(bytes: &[u8], key: Option<&ManifestKey>) -> Result<Self, ArtifactError> {
        let malformed = |what| Err(ArtifactError::Malformed { what });
        let length = |expected| ArtifactError::length(bytes.len() as u64, expected as u64);
        Self::check_len(bytes.len() as u64)?;
        if !bytes.starts_with(MAGIC) {
            return malformed("heat list: it does not start as one");
        }
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or_else(|| length(HEADER_LEN))?;
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        if word(8) != FORMAT {
            let (found, expected) = (word(8), FORMAT);
            return Err(ArtifactError::Format { found, expected });
        }
        let (flags, count) = (word(12), word(16) as usize);
        if flags & !AUTHENTICATED != 0 || word(20) != 0 {
            return malformed("heat list: header");
        }
        let len = HEADER_LEN.saturating_add(count.saturating_mul(ENTRY_LEN));
        Self::check_len(len as u64)?;
        if rest.len() != count * ENTRY_LEN {
            return Err(length(len));
        }
        let covered = [&header[..COVERED], rest];
        if header[COVERED..56] != digest(covered)[..] {
            return malformed("heat list: its keccak-256 does not match");
        }
        let tag: &[u8; 32] = header
            .last_chunk()
            .expect("the header is longer than 32 bytes");
        let authenticated = flags & AUTHENTICATED != 0;
        authenticate(key, authenticated, &covered, tag, "heat list: header")?;
        let entries: Vec<_> = rest.chunks_exact(ENTRY_LEN).map(entry).collect();
        let mut seen = HashSet::with_capacity(count);
        let in_order = entries.is_sorted_by(|one, next| one.order(next) == Ordering::Less);
        if !in_order || !entries.iter().all(|entry| seen.insert(entry.key)) {
            return malformed("heat list: not in its one form");
        }
        Ok(Self { entries })
    }
}

/// An entry from its [`ENTRY_LEN`] bytes.
fn entry(bytes: &[u8]) -> HeatEntry {
    let mut build = [0; 16];
    build.copy_from_slice(&bytes[32..48]);
    let mut heat = [0; 4];
    heat.copy_from_slice(&bytes[48..]);
    HeatEntry {
        key: ArtifactKey::new(B256::from_slice(&bytes[..32]), BuildId(build)),
        heat: u32::from_le_bytes(heat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::AuthenticationProblem;

    fn key(n: u8) -> ArtifactKey {
        ArtifactKey::new(B256::repeat_byte(n), BuildId([n; 16]))
    }

    fn list(entries: &[(u8, u32)]) -> HeatList {
        let entries = entries.iter().map(|(n, heat)| HeatEntry {
            key: key(*n),
            heat: *heat,
        });
        HeatList::new(entries.collect())
    }

    /// Writes the digest anew, so that what is behind it is reached.
    fn with_digest(mut bytes: Vec<u8>) -> Vec<u8> {
        let digest = digest([&bytes[..COVERED], &bytes[HEADER_LEN..]]);
        bytes[COVERED..56].copy_from_slice(digest.as_slice());
        bytes
    }

    fn refusal(bytes: &[u8]) -> ArtifactError {
        let error = HeatList::from_bytes(bytes, None).unwrap_err();
        assert!(error.is_refusal(), "{error}");
        error
    }

    #[test]
    fn the_hottest_come_first_and_each_once() {
        let found = list(&[(1, 5), (2, 9), (1, 7), (3, 7), (2, 1)]);
        let heats: Vec<_> = found.entries().iter().map(|e| (e.key, e.heat)).collect();
        assert_eq!(heats, [(key(2), 9), (key(1), 7), (key(3), 7)]);
        let many = (0..HeatList::MAX_ENTRIES as u32 + 10).map(|heat| HeatEntry {
            key: ArtifactKey::new(
                B256::left_padding_from(&heat.to_be_bytes()),
                BuildId([0; 16]),
            ),
            heat,
        });
        let many = HeatList::new(many.collect());
        assert_eq!(many.entries().len(), HeatList::MAX_ENTRIES);
        assert_eq!(many.entries().last().unwrap().heat, 10);
        assert_eq!(many.to_bytes(None).len(), HeatList::MAX_LEN);
    }

    #[test]
    fn what_is_written_is_read() {
        for list in [list(&[]), list(&[(1, 0)]), list(&[(1, 5), (2, u32::MAX)])] {
            let bytes = list.to_bytes(None);
            assert_eq!(HeatList::from_bytes(&bytes, None).unwrap(), list);
        }
    }

    #[test]
    fn every_changed_bit_and_every_other_length_is_refused() {
        let bytes = list(&[(1, 5), (2, 9)]).to_bytes(None);
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            refusal(&changed);
        }
        for len in 0..bytes.len() {
            refusal(&bytes[..len]);
        }
        refusal(&[&bytes[..], &[0]].concat());
        let oversized = refusal(&vec![0; HeatList::MAX_LEN + 1]);
        assert!(matches!(oversized, ArtifactError::TooLarge { .. }));
    }

    #[test]
    fn a_digest_makes_nothing_true() {
        let bytes = list(&[(1, 5), (2, 5)]).to_bytes(None);
        let (header, entries) = bytes.split_at(HEADER_LEN);
        let (first, second) = entries.split_at(ENTRY_LEN);
        let form = |bytes: Vec<u8>| match refusal(&with_digest(bytes)) {
            ArtifactError::Malformed { what } => what,
            other => panic!("{other}"),
        };
        let not_its_form = "heat list: not in its one form";
        assert_eq!(form([header, second, first].concat()), not_its_form);
        assert_eq!(form([header, first, first].concat()), not_its_form);
        // The same artifact twice, in order.
        let mut cooler = first.to_vec();
        cooler[48] -= 1;
        assert_eq!(form([header, first, &cooler].concat()), not_its_form);
        let with = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            refusal(&with_digest(bytes))
        };
        assert!(matches!(with(8, 2), ArtifactError::Format { found: 2, .. }));
        assert!(matches!(with(12, 2), ArtifactError::Malformed { .. }));
        assert!(matches!(with(20, 1), ArtifactError::Malformed { .. }));
        assert!(matches!(with(19, 1), ArtifactError::TooLarge { .. }));
        assert!(matches!(with(16, 3), ArtifactError::Length { .. }));
        assert!(matches!(with(60, 1), ArtifactError::Malformed { .. }));
        let no_key = ArtifactError::Authentication(AuthenticationProblem::NoKey);
        assert_eq!(with(12, 1).to_string(), no_key.to_string());
    }

    #[cfg(feature = "hmac-manifest")]
    #[test]
    fn with_a_key_only_its_own_lists_are_read() {
        let (key, other) = (ManifestKey::new(&[1; 32]), ManifestKey::new(&[2; 32]));
        let list = list(&[(1, 5)]);
        let bytes = list.to_bytes(Some(&key));
        assert_eq!(HeatList::from_bytes(&bytes, Some(&key)).unwrap(), list);
        let problem = |bytes: &[u8], key| match HeatList::from_bytes(bytes, key) {
            Err(ArtifactError::Authentication(problem)) => problem,
            other => panic!("{other:?}"),
        };
        assert_eq!(problem(&bytes, None), AuthenticationProblem::NoKey);
        assert_eq!(problem(&bytes, Some(&other)), AuthenticationProblem::Wrong);
        let plain = list.to_bytes(None);
        assert_eq!(problem(&plain, Some(&key)), AuthenticationProblem::Missing);
        let mut forged = bytes;
        forged[HEADER_LEN] ^= 1;
        let forged = with_digest(forged);
        assert_eq!(problem(&forged, Some(&key)), AuthenticationProblem::Wrong);
    }
}
