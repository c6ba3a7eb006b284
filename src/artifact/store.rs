//! The interface between the runtime and a place that keeps artifacts.

use super::{error::ArtifactError, key::ArtifactKey, verified::SealedArtifact};
use alloy_primitives::Bytes;
use std::{fmt, time::SystemTime};

/// One artifact of a store's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The artifact's key, as the store claims it.
    pub key: ArtifactKey,
    /// Bytes it takes in the store.
    pub stored_len: u64,
    /// When it was last stored or loaded, as far as the store knows.
    pub last_used: Option<SystemTime>,
}

/// Something in the store that is not an artifact, or may not be used as one.
#[derive(Debug)]
pub struct Rejected {
    /// Its name in the store; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Why it is not used.
    pub error: ArtifactError,
}

/// What a store holds.
#[derive(Debug, Default)]
pub struct ArtifactIndex {
    /// The artifacts, in no particular order; also those that other builds made.
    pub entries: Vec<IndexEntry>,
    /// What is not used, at most [`MAX_REJECTED`](Self::MAX_REJECTED) of them.
    pub rejected: Vec<Rejected>,
    /// How many are not used.
    pub rejected_count: usize,
}

impl ArtifactIndex {
    /// Bound of the list of what is not used.
    pub const MAX_REJECTED: usize = 1000;

    /// Bytes that the artifacts take in the store.
    pub fn stored_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.stored_len).sum()
    }

    /// Notes something that is not used.
    pub fn reject(&mut self, name: String, error: ArtifactError) {
        self.rejected_count += 1;
        if self.rejected.len() < Self::MAX_REJECTED {
            self.rejected.push(Rejected { name, error });
        }
    }
}

/// What a store did to keep an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Bytes that the artifact takes.
    pub len: u64,
    /// The artifacts that had to go for it.
    pub removed: Vec<ArtifactKey>,
}

/// A place that keeps artifacts over restarts of the process.
///
/// Used from the backend's workers, its thread that stores, and by callers of its commands only: every
/// method may block on storage. None is called on an execution thread.
///
/// A store keeps bytes, and what it returns is no more than that: a
/// [`TrustedStore`](super::TrustedStore), which a store has to be wrapped in, decides what may be
/// loaded. It may return less than it holds, fail, or lose artifacts at any time; the runtime then
/// compiles.
pub trait ArtifactStore: fmt::Debug + Send + Sync {
    /// The index of what is stored, without reading the artifacts.
    ///
    /// Cost: some microseconds for each artifact.
    ///
    /// # Errors
    /// If the store as a whole cannot be used. A single artifact that cannot be used is in
    /// [`ArtifactIndex::rejected`].
    fn load_all(&self) -> Result<ArtifactIndex, ArtifactError>;

    /// Reads the bytes of one artifact into memory; `None` if it is not there (any more).
    ///
    /// Also finds what other processes stored after the index was read.
    ///
    /// # Errors
    /// If the artifact cannot be read.
    fn load(&self, key: &ArtifactKey) -> Result<Option<Bytes>, ArtifactError>;

    /// Keeps an artifact under its key, in place of an earlier one. When this returns the artifact
    /// is durable; until then the earlier one is. Others may have to go to make room for it.
    ///
    /// # Errors
    /// If it cannot be stored durably; then there is the earlier one, the new one, or none if there
    /// was none, but never a part of one. [`ArtifactError::StoreFull`] if there is no room: the
    /// runtime then leaves the store alone for a while.
    fn store(&self, artifact: &SealedArtifact) -> Result<Stored, ArtifactError>;

    /// Notes that these artifacts are in use: a program of each is resident, and was run since the last
    /// time. Called every ten minutes or so, for a store that makes room by age. One that is not there
    /// any more is none of its errors. Does nothing by default.
    ///
    /// # Errors
    /// If the store as a whole cannot be used.
    fn renew(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactError> {
        let _ = keys;
        Ok(())
    }

    /// Removes an artifact; false if it was not there. A program that was loaded from it stays
    /// valid.
    ///
    /// # Errors
    /// If it could not be removed.
    fn delete(&self, key: &ArtifactKey) -> Result<bool, ArtifactError>;

    /// Removes all artifacts, of every build, and returns their number. The list of
    /// [`store_heat`](Self::store_heat) goes, too.
    ///
    /// # Errors
    /// If one could not be removed; others may have been.
    fn clear(&self) -> Result<usize, ArtifactError>;

    /// Reads the bytes that were last given to [`store_heat`](Self::store_heat), by any process; `None` if
    /// there are none, or the store keeps none, as by default. Longer ones than
    /// [`HeatList::MAX_LEN`](super::HeatList::MAX_LEN) need not be read.
    ///
    /// # Errors
    /// If they cannot be read. The backend then starts without.
    fn load_heat(&self) -> Result<Option<Bytes>, ArtifactError> {
        Ok(None)
    }

    /// Keeps the bytes of a [`HeatList`](super::HeatList), of every build together, in place of earlier
    /// ones. Keeps none by default. They need not be durable, but are all there or the earlier ones
    /// are.
    ///
    /// # Errors
    /// If they cannot be kept.
    fn store_heat(&self, list: &Bytes) -> Result<(), ArtifactError> {
        let _ = list;
        Ok(())
    }
}
