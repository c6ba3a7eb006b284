//! An artifact as one sequence of bytes: header, manifest, library.
//!
//! One file per artifact makes atomicity simple: whoever has the file has all of it. The header has
//! a fixed length, all integers little-endian:
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 8 | `revmcaot` |
//! | 8 | 4 | format |
//! | 12 | 4 | flags: bit 0, authenticated; the others are zero |
//! | 16 | 4 | length of the manifest |
//! | 20 | 4 | zero |
//! | 24 | 8 | length of the library |
//! | 32 | 32 | keccak-256 of bytes 0 to 32 and the manifest |
//! | 64 | 32 | HMAC-SHA-256 of the same, or zeros |
//!
//! The manifest holds the library's keccak-256, so every bit of the artifact is under a digest. The
//! digest finds accidents; only the authentication code finds a forger.

use super::{
    auth::ManifestKey,
    error::{ArtifactError, AuthenticationProblem, ManifestField},
    host::{BuildOptions, Environment},
    manifest::{ArtifactManifest, FORMAT, MAX_MANIFEST_LEN},
    object::Layout,
};
use crate::{RuntimeCacheKey, compiler::Rules};
use alloy_primitives::{B256, Bytes, Keccak256, keccak256};

/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = 96;

const MAGIC: &[u8; 8] = b"revmcaot";
const AUTHENTICATED: u32 = 1;
/// What the digest covers of the header.
const COVERED: usize = 32;

/// An artifact in memory: a manifest and the shared object it speaks of.
///
/// What a store returns is not trusted: [`load`](super::load) verifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredArtifact {
    /// What the artifact says of itself.
    pub manifest: ArtifactManifest,
    /// The shared object.
    pub library: Bytes,
}

impl StoredArtifact {
    /// Checks manifest and library against what is wanted, and returns the layout under which
    /// [`LoadedLibrary::open`](super::loader::LoadedLibrary::open) accepts the library. Costs a
    /// keccak-256 over the library.
    ///
    /// # Errors
    /// As [`ArtifactManifest::check`] and [`ArtifactManifest::layout`], then
    /// [`ArtifactError::Mismatch`] for the library's length or hash, then as [`Layout::verify`].
    pub fn verify(
        &self,
        program: &RuntimeCacheKey,
        rules: &Rules,
        options: BuildOptions,
        host: &Environment,
    ) -> Result<Layout<'_>, ArtifactError> {
        self.manifest.check(program, rules, options, host)?;
        let found = self.library.len() as u64;
        let expected = self.manifest.library_len;
        if found != expected {
            return Err(ArtifactError::mismatch(
                ManifestField::LibraryLen,
                expected,
                found,
            ));
        }
        let layout = self.manifest.layout()?;
        let hash = keccak256(&self.library);
        if hash != self.manifest.library_hash {
            let expected = self.manifest.library_hash;
            return Err(ArtifactError::mismatch(
                ManifestField::LibraryHash,
                expected,
                hash,
            ));
        }
        if let Some(stated) = Layout::stated_text_len(&self.library)
            && stated != self.manifest.text_len
        {
            let found = self.manifest.text_len;
            return Err(ArtifactError::mismatch(
                ManifestField::TextLen,
                stated,
                found,
            ));
        }
        layout.verify(&self.library)?;
        Ok(layout)
    }

    /// The artifact's bytes, authenticated if there is a key.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] if the manifest is longer than [`MAX_MANIFEST_LEN`].
    pub fn to_bytes(&self, key: Option<&ManifestKey>) -> Result<Vec<u8>, ArtifactError> {
        let manifest = self.manifest.encode();
        if manifest.len() > MAX_MANIFEST_LEN {
            return Err(ArtifactError::TooLarge {
                what: "manifest",
                len: manifest.len() as u64,
                limit: MAX_MANIFEST_LEN as u64,
            });
        }
        let mut bytes = Vec::with_capacity(HEADER_LEN + manifest.len() + self.library.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        let flags = if key.is_some() { AUTHENTICATED } else { 0 };
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(&(manifest.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&(self.library.len() as u64).to_le_bytes());
        let covered = [bytes.as_slice(), manifest.as_bytes()];
        let digest = digest(covered);
        let tag = key.map_or([0; 32], |key| key.tag(&covered));
        bytes.extend_from_slice(digest.as_slice());
        bytes.extend_from_slice(&tag);
        bytes.extend_from_slice(manifest.as_bytes());
        bytes.extend_from_slice(&self.library);
        Ok(bytes)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes: checks format, lengths, the manifest's
    /// digest, and its authentication code if there is a key. The library stays unverified, and
    /// shares its memory with `bytes`.
    ///
    /// # Errors
    /// [`ArtifactError::NotAnArtifact`], [`ArtifactError::Format`], [`ArtifactError::Length`],
    /// [`ArtifactError::Malformed`], [`ArtifactError::ManifestDigest`],
    /// [`ArtifactError::Authentication`], and as [`ArtifactManifest::parse`].
    pub fn from_bytes(bytes: &Bytes, key: Option<&ManifestKey>) -> Result<Self, ArtifactError> {
        let (manifest, start) = read_manifest(bytes, key)?;
        Ok(Self {
            manifest,
            library: bytes.slice(start..),
        })
    }
}

/// The manifest and where the library starts.
fn read_manifest(
    bytes: &[u8],
    key: Option<&ManifestKey>,
) -> Result<(ArtifactManifest, usize), ArtifactError> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or_else(|| {
        if bytes.starts_with(MAGIC) {
            ArtifactError::Length {
                found: bytes.len() as u64,
                expected: HEADER_LEN as u64,
            }
        } else {
            ArtifactError::NotAnArtifact
        }
    })?;
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[at + i]));
    if !header.starts_with(MAGIC) {
        return Err(ArtifactError::NotAnArtifact);
    }
    if word(8) != FORMAT {
        return Err(ArtifactError::Format {
            found: word(8),
            expected: FORMAT,
        });
    }
    let flags = word(12);
    if flags & !AUTHENTICATED != 0 || word(20) != 0 {
        return Err(ArtifactError::Malformed { what: "header" });
    }
    let manifest_len = word(16) as usize;
    if manifest_len > MAX_MANIFEST_LEN {
        return Err(ArtifactError::TooLarge {
            what: "manifest",
            len: manifest_len as u64,
            limit: MAX_MANIFEST_LEN as u64,
        });
    }
    let library_len = u64::from(word(24)) | u64::from(word(28)) << 32;
    let expected = library_len.saturating_add((HEADER_LEN + manifest_len) as u64);
    let (Some(manifest), true) = (rest.get(..manifest_len), expected == bytes.len() as u64) else {
        return Err(ArtifactError::Length {
            found: bytes.len() as u64,
            expected,
        });
    };

    let covered = [&header[..COVERED], manifest];
    if header[COVERED..64] != digest(covered)[..] {
        return Err(ArtifactError::ManifestDigest);
    }
    let tag: &[u8; 32] = header
        .last_chunk()
        .expect("the header is longer than 32 bytes");
    let problem = match (key, flags & AUTHENTICATED != 0) {
        (None, false) if *tag != [0; 32] => {
            return Err(ArtifactError::Malformed { what: "header" });
        }
        (None, false) => None,
        (None, true) => Some(AuthenticationProblem::NoKey),
        (Some(_), false) => Some(AuthenticationProblem::Missing),
        (Some(key), true) if key.verify(&covered, tag) => None,
        (Some(_), true) => Some(AuthenticationProblem::Wrong),
    };
    if let Some(problem) = problem {
        return Err(ArtifactError::Authentication(problem));
    }
    let manifest = ArtifactManifest::parse(manifest)?;
    if manifest.library_len != library_len {
        let found = manifest.library_len;
        return Err(ArtifactError::mismatch(
            ManifestField::LibraryLen,
            library_len,
            found,
        ));
    }
    Ok((manifest, HEADER_LEN + manifest_len))
}

fn digest(parts: [&[u8]; 2]) -> B256 {
    let mut hasher = Keccak256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}
