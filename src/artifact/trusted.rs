//! Why what a store returns may run.

use super::{
    auth::ManifestKey,
    container::StoredArtifact,
    determinants::Determinants,
    dir::DirArtifactStore,
    error::ArtifactError,
    heat::HeatList,
    key::ArtifactKey,
    store::{ArtifactIndex, ArtifactStore, Stored},
    temp::TempArtifactStore,
    verified::Verified,
};
use crate::panics::caught;
use alloy_primitives::B256;
use std::sync::Arc;

/// A store, and why what it returns may run.
///
/// | made by | an artifact may run because |
/// |---|---|
/// | [`folder`](Self::folder), `From` | folder and file belong to this user, and nobody else can write them |
/// | [`authenticated`](Self::authenticated) | it carries an authentication code of the caller's key |
/// | [`promised`](Self::promised), `unsafe` | the caller says so |
///
/// There is no fourth way, and no way round: whoever makes the store, what [`load`](Self::load)
/// returns went through one of these checks, and with a key nothing that was not written with it is
/// ever returned.
///
/// A panic in a store is an error here: [`ArtifactError::StorePanicked`].
///
/// ```
/// use revmc_jit::artifact::{DirArtifactStore, DirOptions, TrustedStore};
/// # use revmc_jit::{JitBackend, RuntimeConfig};
///
/// # let path = std::env::temp_dir().join(format!("trusted-{}", std::process::id()));
/// let store = DirArtifactStore::open(&path, DirOptions::default())?;
/// let mut config = RuntimeConfig::default();
/// config.store = Some(TrustedStore::from(store));
/// # std::fs::remove_dir(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A store of one's own needs the key, or the promise:
///
/// ```compile_fail,E0133
/// use revmc_jit::artifact::{ArtifactStore, TrustedStore};
/// use std::sync::Arc;
/// fn trust(store: Arc<dyn ArtifactStore>) -> TrustedStore {
///     TrustedStore::promised(store)
/// }
/// ```
///
/// ```compile_fail,E0308
/// use revmc_jit::artifact::{ArtifactStore, TrustedStore};
/// use std::sync::Arc;
/// fn trust(store: Arc<dyn ArtifactStore>) -> TrustedStore {
///     TrustedStore::folder(store)
/// }
/// ```
///
/// ```compile_fail,E0277
/// use revmc_jit::{RuntimeConfig, artifact::ArtifactStore};
/// use std::sync::Arc;
/// fn configure(config: &mut RuntimeConfig, store: Arc<dyn ArtifactStore>) {
///     config.store = Some(store.into());
/// }
/// ```
///
/// ```
/// use revmc_jit::artifact::{ArtifactStore, ManifestKey, TrustedStore};
/// use std::sync::Arc;
/// fn trust(store: Arc<dyn ArtifactStore>, key: ManifestKey) -> TrustedStore {
///     TrustedStore::authenticated(store, key)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct TrustedStore {
    store: Arc<dyn ArtifactStore>,
    trust: Trust,
}

#[derive(Clone, Debug)]
enum Trust {
    /// The store's own checks of owner and permissions.
    Folder,
    Key(ManifestKey),
    Promise,
}

impl TrustedStore {
    /// Trusts a folder for its owner and permissions, which [`DirArtifactStore`] checks.
    pub fn folder(store: Arc<DirArtifactStore>) -> Self {
        let trust = Trust::Folder;
        Self { store, trust }
    }

    /// Trusts nothing but the key: what is stored gets its authentication code, and what does not
    /// carry it is refused.
    pub fn authenticated(store: Arc<dyn ArtifactStore>, key: ManifestKey) -> Self {
        let trust = Trust::Key(key);
        Self { store, trust }
    }

    /// Trusts the store for the caller's word.
    ///
    /// # Safety
    /// For each key, [`ArtifactStore::load`] returns only bytes that this crate gave to some
    /// [`ArtifactStore::store`] under that key, in this process or in another one that may decide
    /// which machine code runs here: they are taken for [`Verified`] (V1). A digest does not replace
    /// this: it is part of what was stored, and whoever changes an artifact can make it anew.
    pub unsafe fn promised(store: Arc<dyn ArtifactStore>) -> Self {
        let trust = Trust::Promise;
        Self { store, trust }
    }

    fn key(&self) -> Option<&ManifestKey> {
        match &self.trust {
            Trust::Key(key) => Some(key),
            // An artifact with an authentication code is refused: it was meant for a reader who
            // checks it.
            Trust::Folder | Trust::Promise => None,
        }
    }

    /// Reads the artifact of a bytecode that `wanted` describes, and verifies it; `None` if there is
    /// none. Blocks on storage, and for a keccak-256 over the artifact.
    ///
    /// # Errors
    /// As [`ArtifactStore::load`], [`StoredArtifact::from_bytes`], [`StoredArtifact::verify`].
    pub fn load(
        &self,
        code_hash: B256,
        wanted: &Determinants,
    ) -> Result<Option<Verified>, ArtifactError> {
        let key = ArtifactKey::new(code_hash, wanted.id());
        let Some(bytes) = contained(|| self.store.load(&key))? else {
            return Ok(None);
        };
        let artifact = StoredArtifact::from_bytes(&bytes, self.key())?;
        artifact.verify(code_hash, wanted)?;
        Ok(Some(Verified::new(artifact)))
    }

    /// Stores an artifact. Blocks on storage, as everything below does.
    ///
    /// # Errors
    /// As [`ArtifactStore::store`] and [`Verified::seal`].
    pub fn store(&self, artifact: &Verified) -> Result<Stored, ArtifactError> {
        let sealed = artifact.seal(self.key())?;
        contained(|| self.store.store(&sealed))
    }

    /// As [`ArtifactStore::renew`].
    ///
    /// # Errors
    /// The same.
    pub fn renew(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactError> {
        contained(|| self.store.renew(keys))
    }

    /// As [`ArtifactStore::load_all`].
    ///
    /// # Errors
    /// The same.
    pub fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
        contained(|| self.store.load_all())
    }

    /// As [`ArtifactStore::delete`].
    ///
    /// # Errors
    /// The same.
    pub fn delete(&self, key: &ArtifactKey) -> Result<bool, ArtifactError> {
        contained(|| self.store.delete(key))
    }

    /// As [`ArtifactStore::clear`].
    ///
    /// # Errors
    /// The same.
    pub fn clear(&self) -> Result<usize, ArtifactError> {
        contained(|| self.store.clear())
    }

    /// What was hot when a process that shares the store last said so; `None` if the store keeps no such
    /// list. With a key only a list that carries its code is believed. Blocks on storage.
    ///
    /// # Errors
    /// As [`ArtifactStore::load_heat`] and [`HeatList::from_bytes`].
    pub fn load_heat(&self) -> Result<Option<HeatList>, ArtifactError> {
        let bytes = contained(|| self.store.load_heat())?;
        bytes
            .map(|bytes| HeatList::from_bytes(&bytes, self.key()))
            .transpose()
    }

    /// Keeps the list in place of an earlier one, authenticated if there is a key. Blocks on storage.
    ///
    /// # Errors
    /// As [`ArtifactStore::store_heat`].
    pub fn store_heat(&self, list: &HeatList) -> Result<(), ArtifactError> {
        let bytes = list.to_bytes(self.key()).into();
        contained(|| self.store.store_heat(&bytes))
    }
}

/// Calls into a store. Unwind safety: a store that panicked is used again through `&self` only, as
/// it has to expect from its other callers anyway.
fn contained<T>(call: impl FnOnce() -> Result<T, ArtifactError>) -> Result<T, ArtifactError> {
    caught(call).unwrap_or_else(|text| Err(ArtifactError::StorePanicked(text)))
}

impl From<DirArtifactStore> for TrustedStore {
    fn from(store: DirArtifactStore) -> Self {
        Self::folder(Arc::new(store))
    }
}

impl From<Arc<DirArtifactStore>> for TrustedStore {
    fn from(store: Arc<DirArtifactStore>) -> Self {
        Self::folder(store)
    }
}

impl From<TempArtifactStore> for TrustedStore {
    fn from(store: TempArtifactStore) -> Self {
        Arc::new(store).into()
    }
}

impl From<Arc<TempArtifactStore>> for TrustedStore {
    fn from(store: Arc<TempArtifactStore>) -> Self {
        let trust = Trust::Folder;
        Self { store, trust }
    }
}
