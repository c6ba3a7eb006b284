//! A store that goes with its owner, for tests and trials.

use super::{
    dir::{DirArtifactStore, DirOptions},
    error::ArtifactError,
    key::ArtifactKey,
    store::{ArtifactIndex, ArtifactStore, Stored},
    verified::SealedArtifact,
};
use alloy_primitives::Bytes;
use std::{
    ops::Deref,
    sync::atomic::{AtomicU64, Ordering},
};

/// A [`DirArtifactStore`] in a new folder among the system's temporary files; dropping it removes
/// the folder. Meant for tests and trials.
#[derive(Debug)]
pub struct TempArtifactStore(DirArtifactStore);

impl TempArtifactStore {
    /// Creates a folder and opens it.
    ///
    /// # Errors
    /// As [`DirArtifactStore::open`].
    pub fn new(options: DirOptions) -> Result<Self, ArtifactError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only that each number is given out once matters.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("revmc-jit-{}-{serial}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Left by an earlier process with this id. If it is somebody else's, opening refuses it.
        let _ = std::fs::remove_dir_all(&path);
        DirArtifactStore::open(path, options).map(Self)
    }
}

impl Deref for TempArtifactStore {
    type Target = DirArtifactStore;

    fn deref(&self) -> &DirArtifactStore {
        &self.0
    }
}

impl ArtifactStore for TempArtifactStore {
    fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
        self.0.load_all()
    }

    fn load(&self, key: &ArtifactKey) -> Result<Option<Bytes>, ArtifactError> {
        self.0.load(key)
    }

    fn store(&self, artifact: &SealedArtifact) -> Result<Stored, ArtifactError> {
        self.0.store(artifact)
    }

    fn renew(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactError> {
        self.0.renew(keys)
    }

    fn delete(&self, key: &ArtifactKey) -> Result<bool, ArtifactError> {
        self.0.delete(key)
    }

    fn clear(&self) -> Result<usize, ArtifactError> {
        self.0.clear()
    }

    fn load_heat(&self) -> Result<Option<Bytes>, ArtifactError> {
        self.0.load_heat()
    }

    fn store_heat(&self, list: &Bytes) -> Result<(), ArtifactError> {
        self.0.store_heat(list)
    }
}

impl Drop for TempArtifactStore {
    fn drop(&mut self) {
        // A folder that cannot be removed is left to the system's cleaning.
        let _ = std::fs::remove_dir_all(self.0.path());
    }
}
