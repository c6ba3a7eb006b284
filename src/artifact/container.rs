//! An artifact as one sequence of bytes: header, manifest, library, data.
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
//! | 20 | 4 | length of the data |
//! | 24 | 8 | length of the library |
//! | 32 | 32 | keccak-256 of bytes 0 to 32 and the manifest |
//! | 64 | 32 | HMAC-SHA-256 of the same, or zeros |
//!
//! The manifest holds the keccak-256 of library and data, so every bit of the artifact is under a
//! digest. The digest finds accidents; only the authentication code finds a forger.

use super::{
    auth::{ManifestKey, authenticate, digest},
    determinants::{Determinants, FORMAT},
    error::{ArtifactError, ManifestField},
    manifest::{ArtifactManifest, MAX_MANIFEST_LEN},
    object::Layout,
};
use alloy_primitives::{B256, Bytes, keccak256};

/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = 96;

/// Bound of the translator's data in bytes.
pub const MAX_DATA_LEN: usize = 16 << 20;

const MAGIC: &[u8; 8] = b"revmcaot";
const AUTHENTICATED: u32 = 1;
/// What the digest covers of the header.
const COVERED: usize = 32;

/// What the bytes of an artifact say: a manifest, and the shared object and the data it speaks of.
///
/// Anybody can make one, so nothing runs it: only a [`Verified`](super::Verified) artifact can be
/// loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredArtifact {
    /// What the artifact says of itself.
    pub manifest: ArtifactManifest,
    /// The shared object.
    pub library: Bytes,
    /// What the translator keeps beside its code; only it knows the meaning. May be empty.
    pub data: Bytes,
}

impl StoredArtifact {
    /// Checks manifest, library and data against what is wanted, and returns the layout under which
    /// [`LoadedLibrary::open`](super::loader::LoadedLibrary::open) accepts the library. Costs a
    /// keccak-256 over library and data.
    ///
    /// This finds accidents and mix-ups, not forgers: whoever made the artifact could make its
    /// digests.
    ///
    /// # Errors
    /// As [`ArtifactManifest::check`] and [`ArtifactManifest::layout`], then
    /// [`ArtifactError::Mismatch`] for the length or hash of data or library, then as
    /// [`Layout::verify`].
    pub fn verify(
        &self,
        code_hash: B256,
        wanted: &Determinants,
    ) -> Result<Layout<'_>, ArtifactError> {
        use ManifestField as F;
        let manifest = &self.manifest;
        manifest.check(code_hash, wanted)?;
        ArtifactError::same(
            F::DataLen,
            u64::from(manifest.data_len),
            self.data.len() as u64,
        )?;
        ArtifactError::same(
            F::LibraryLen,
            manifest.library_len,
            self.library.len() as u64,
        )?;
        let layout = manifest.layout()?;
        ArtifactError::same(F::DataHash, manifest.data_hash, keccak256(&self.data))?;
        ArtifactError::same(
            F::LibraryHash,
            manifest.library_hash,
            keccak256(&self.library),
        )?;
        if let Some(stated) = Layout::stated_text_len(&self.library) {
            ArtifactError::same(F::TextLen, stated, manifest.text_len)?;
        }
        layout.verify(&self.library)?;
        Ok(layout)
    }

    /// The artifact's bytes, without an authentication code.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] if the manifest is longer than [`MAX_MANIFEST_LEN`] or the data
    /// than [`MAX_DATA_LEN`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtifactError> {
        self.encode(None)
    }

    /// The artifact's bytes, authenticated if there is a key.
    pub(super) fn encode(&self, key: Option<&ManifestKey>) -> Result<Vec<u8>, ArtifactError> {
        let manifest = self.manifest.encode();
        let (manifest_len, data_len) = bounded(manifest.len(), self.data.len())?;
        let len = HEADER_LEN + manifest.len() + self.library.len() + self.data.len();
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        let flags = if key.is_some() { AUTHENTICATED } else { 0 };
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(&manifest_len.to_le_bytes());
        bytes.extend_from_slice(&data_len.to_le_bytes());
        bytes.extend_from_slice(&(self.library.len() as u64).to_le_bytes());
        let covered = [bytes.as_slice(), manifest.as_bytes()];
        let digest = digest(covered);
        let tag = key.map_or([0; 32], |key| key.tag(&covered));
        bytes.extend_from_slice(digest.as_slice());
        bytes.extend_from_slice(&tag);
        bytes.extend_from_slice(manifest.as_bytes());
        bytes.extend_from_slice(&self.library);
        bytes.extend_from_slice(&self.data);
        Ok(bytes)
    }

    /// Reads what an artifact's bytes say: checks format, lengths, the manifest's digest, and its
    /// authentication code if there is a key. Library and data stay unverified, and share their
    /// memory with `bytes`.
    ///
    /// # Errors
    /// [`ArtifactError::NotAnArtifact`], [`ArtifactError::Format`], [`ArtifactError::Length`],
    /// [`ArtifactError::Malformed`], [`ArtifactError::ManifestDigest`],
    /// [`ArtifactError::Authentication`], and as [`ArtifactManifest::parse`].
    pub fn from_bytes(bytes: &Bytes, key: Option<&ManifestKey>) -> Result<Self, ArtifactError> {
        let (manifest, library, data) = read_manifest(bytes, key)?;
        Ok(Self {
            manifest,
            library: bytes.slice(library..data),
            data: bytes.slice(data..),
        })
    }
}

/// Lengths of manifest and data as the header holds them.
fn bounded(manifest: usize, data: usize) -> Result<(u32, u32), ArtifactError> {
    let manifest = ArtifactError::bound("manifest", manifest as u64, MAX_MANIFEST_LEN as u64)?;
    let data = ArtifactError::bound("data", data as u64, MAX_DATA_LEN as u64)?;
    Ok((manifest as u32, data as u32))
}

/// The manifest, and where library and data start.
fn read_manifest(
    bytes: &[u8],
    key: Option<&ManifestKey>,
) -> Result<(ArtifactManifest, usize, usize), ArtifactError> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or_else(|| {
        if bytes.starts_with(MAGIC) {
            ArtifactError::length(bytes.len() as u64, HEADER_LEN as u64)
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
    if flags & !AUTHENTICATED != 0 {
        return Err(ArtifactError::Malformed { what: "header" });
    }
    let (manifest_len, data_len) = (word(16) as usize, word(20));
    bounded(manifest_len, data_len as usize)?;
    let library_len = u64::from(word(24)) | u64::from(word(28)) << 32;
    let around = (HEADER_LEN + manifest_len) as u64 + u64::from(data_len);
    let expected = library_len.saturating_add(around);
    let (Some(manifest), true) = (rest.get(..manifest_len), expected == bytes.len() as u64) else {
        return Err(ArtifactError::length(bytes.len() as u64, expected));
    };

    let covered = [&header[..COVERED], manifest];
    if header[COVERED..64] != digest(covered)[..] {
        return Err(ArtifactError::ManifestDigest);
    }
    let tag: &[u8; 32] = header
        .last_chunk()
        .expect("the header is longer than 32 bytes");
    authenticate(key, flags & AUTHENTICATED != 0, &covered, tag, "header")?;
    let manifest = ArtifactManifest::parse(manifest)?;
    ArtifactError::same(ManifestField::LibraryLen, library_len, manifest.library_len)?;
    ArtifactError::same(ManifestField::DataLen, data_len, manifest.data_len)?;
    let library = HEADER_LEN + manifest_len;
    Ok((manifest, library, bytes.len() - data_len as usize))
}
