//! Artifacts that may run, as a type.
//!
//! A function that gives machine code to the processor cannot ask whether the code is good; it can
//! only ask where it came from. So the answer is a type: [`Verified`] has no public constructor, and
//! there are two ways to one:
//!
//! * this process made the artifact, from code that a translator of this crate made;
//! * [`TrustedStore::load`](super::TrustedStore::load) read it, and the store's trust covers it.
//!
//! The same holds for what is written: a store is given a [`SealedArtifact`], which only a
//! [`Verified`] one can be made into, so that no safe call puts bytes of somebody's choice where
//! they are read back as trusted ones.
//!
//! Invariant **V1**: the artifact in a [`Verified`] passed [`StoredArtifact::verify`] for its own
//! claims, or was made with them; and somebody whom the configuration trusts made its machine code
//! with the translator that its determinants name.
//!
//! ```compile_fail,E0451
//! use revmc_jit::artifact::{StoredArtifact, Verified};
//! // What bytes say is not verified, and nothing makes it so.
//! fn believe(artifact: StoredArtifact) -> Verified {
//!     Verified { artifact }
//! }
//! ```
//!
//! ```compile_fail,E0624
//! use revmc_jit::artifact::{StoredArtifact, Verified};
//! fn believe(artifact: StoredArtifact) -> Verified {
//!     Verified::new(artifact)
//! }
//! ```
//!
//! ```compile_fail,E0308
//! use revmc_jit::artifact::{Determinants, StoredArtifact, load};
//! fn run(artifact: &StoredArtifact, wanted: &Determinants) {
//!     let _ = load(artifact, artifact.manifest.code_hash, wanted, &[]);
//! }
//! ```
//!
//! ```compile_fail,E0599
//! use revmc_jit::artifact::{SealedArtifact, StoredArtifact};
//! fn seal(artifact: &StoredArtifact) -> SealedArtifact {
//!     artifact.seal(None).unwrap()
//! }
//! ```
//!
//! ```compile_fail,E0451
//! use revmc_jit::artifact::{ArtifactKey, SealedArtifact};
//! use revmc_jit::primitives::Bytes;
//! fn forge(key: ArtifactKey, bytes: Bytes) -> SealedArtifact {
//!     SealedArtifact { key, bytes }
//! }
//! ```
//!
//! ```compile_fail,E0594
//! use revmc_jit::artifact::Verified;
//! fn exchange(artifact: &mut Verified) {
//!     artifact.manifest().bytecode_len = 0;
//! }
//! ```
//!
//! The same lines compile with the type that is meant for them:
//!
//! ```
//! use revmc_jit::artifact::{Determinants, SealedArtifact, Verified, load};
//! fn run(artifact: &Verified, wanted: &Determinants) {
//!     let _ = load(artifact, artifact.manifest().code_hash, wanted, &[]);
//! }
//! fn seal(artifact: &Verified) -> SealedArtifact {
//!     artifact.seal(None).unwrap()
//! }
//! ```

use super::{
    auth::ManifestKey, container::StoredArtifact, error::ArtifactError, key::ArtifactKey,
    manifest::ArtifactManifest,
};
use alloy_primitives::Bytes;

/// An artifact that may be loaded; see the [module](self).
#[derive(Clone, Debug)]
pub struct Verified {
    artifact: StoredArtifact,
}

impl Verified {
    /// Only for what V1 holds of.
    pub(super) fn new(artifact: StoredArtifact) -> Self {
        Self { artifact }
    }

    /// What the artifact says of itself.
    pub fn manifest(&self) -> &ArtifactManifest {
        &self.artifact.manifest
    }

    /// The shared object.
    pub fn library(&self) -> &Bytes {
        &self.artifact.library
    }

    /// What the translator keeps beside its code.
    pub fn data(&self) -> &Bytes {
        &self.artifact.data
    }

    /// The bytes to store, authenticated if there is a key.
    ///
    /// # Errors
    /// As [`StoredArtifact::to_bytes`].
    pub fn seal(&self, key: Option<&ManifestKey>) -> Result<SealedArtifact, ArtifactError> {
        Ok(SealedArtifact {
            key: self.manifest().key(),
            bytes: self.artifact.encode(key)?.into(),
        })
    }
}

/// The bytes of a [`Verified`] artifact, as a store keeps them.
#[derive(Clone, Debug)]
pub struct SealedArtifact {
    key: ArtifactKey,
    bytes: Bytes,
}

impl SealedArtifact {
    /// What it is stored under.
    pub fn key(&self) -> &ArtifactKey {
        &self.key
    }

    /// What is stored; [`ArtifactStore::load`](super::ArtifactStore::load) returns the same.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
