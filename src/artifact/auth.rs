//! Authentication of manifests with a key that the caller keeps.
//!
//! Whoever has the secret decides what runs: keep it from those who can write where artifacts are
//! kept, or it authenticates nothing.

use super::error::{ArtifactError, AuthenticationProblem};
use alloy_primitives::{B256, Keccak256};

/// The keccak-256 of both parts, one behind the other: finds accidents.
pub(super) fn digest(parts: [&[u8]; 2]) -> B256 {
    let mut hasher = Keccak256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Whether the authentication code of what it covers is what it has to be: with a key the key's, without
/// one none, which is zeros. `authenticated` is what the header says, `header` what it is called.
pub(super) fn authenticate(
    key: Option<&ManifestKey>,
    authenticated: bool,
    covered: &[&[u8]],
    tag: &[u8; 32],
    header: &'static str,
) -> Result<(), ArtifactError> {
    let problem = match (key, authenticated) {
        (None, false) if *tag != [0; 32] => {
            return Err(ArtifactError::Malformed { what: header });
        }
        (None, false) => return Ok(()),
        (None, true) => AuthenticationProblem::NoKey,
        (Some(_), false) => AuthenticationProblem::Missing,
        (Some(key), true) if key.verify(covered, tag) => return Ok(()),
        (Some(_), true) => AuthenticationProblem::Wrong,
    };
    Err(ArtifactError::Authentication(problem))
}

/// A secret that authenticates the artifacts of one store: HMAC-SHA-256 (RFC 2104, FIPS 198-1)
/// over header and manifest, which in turn hold the keccak-256 of library and data. For
/// [`TrustedStore::authenticated`](super::TrustedStore::authenticated).
///
/// Made with `ManifestKey::new`, which needs the crate feature `hmac-manifest`; without the
/// feature no value of this type exists.
#[derive(Clone)]
pub struct ManifestKey {
    #[cfg(feature = "hmac-manifest")]
    mac: hmac::Hmac<sha2::Sha256>,
    #[cfg(not(feature = "hmac-manifest"))]
    mac: std::convert::Infallible,
}

impl std::fmt::Debug for ManifestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ManifestKey(..)")
    }
}

#[cfg(feature = "hmac-manifest")]
impl ManifestKey {
    /// A key from 32 bytes that are secret and uniformly random.
    pub fn new(secret: &[u8; 32]) -> Self {
        use hmac::Mac;
        // RFC 2104: a key shorter than a block is followed by zeros.
        let mut block = [0; 64];
        block[..32].copy_from_slice(secret);
        let mac = hmac::Hmac::new(&block.into());
        Self { mac }
    }

    /// The authentication code of the parts' concatenation.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        use hmac::Mac;
        self.absorb(parts).finalize().into_bytes().into()
    }

    /// Compares in constant time.
    pub(super) fn verify(&self, parts: &[&[u8]], tag: &[u8; 32]) -> bool {
        use hmac::Mac;
        self.absorb(parts).verify(tag.into()).is_ok()
    }

    fn absorb(&self, parts: &[&[u8]]) -> hmac::Hmac<sha2::Sha256> {
        use hmac::Mac;
        let mut mac = self.mac.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac
    }
}

#[cfg(not(feature = "hmac-manifest"))]
impl ManifestKey {
    pub(super) fn tag(&self, _parts: &[&[u8]]) -> [u8; 32] {
        match self.mac {}
    }

    pub(super) fn verify(&self, _parts: &[&[u8]], _tag: &[u8; 32]) -> bool {
        match self.mac {}
    }
}
