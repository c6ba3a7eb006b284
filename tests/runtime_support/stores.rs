//! Stores that do something before they do what they are told.

use revmc_jit::artifact::{
    ArtifactError, ArtifactIndex, ArtifactKey, ArtifactStore, DirOptions, SealedArtifact, Stored,
    TempArtifactStore, TrustedStore,
};
use revmc_jit::primitives::Bytes;
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

pub fn temp() -> Arc<TempArtifactStore> {
    Arc::new(TempArtifactStore::new(DirOptions::default()).unwrap())
}

pub fn own<F: Does + 'static>(store: Arc<Before<F>>) -> TrustedStore {
    // SAFETY: such a store returns what a folder of ours does, or nothing.
    unsafe { TrustedStore::promised(store) }
}

pub fn disk_full() -> ArtifactError {
    ArtifactError::StoreFull {
        what: "bytes",
        limit: 0,
    }
}

/// What a [`Before`] stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    LoadAll,
    Load,
    Store,
    Delete,
    Clear,
    LoadHeat,
    StoreHeat,
}

/// What a [`Before`] does.
pub trait Does: Fn(Call) -> Result<(), ArtifactError> + Send + Sync {}

impl<F: Fn(Call) -> Result<(), ArtifactError> + Send + Sync> Does for F {}

/// A store that does something first, and fails where that fails.
pub struct Before<F>(pub Arc<TempArtifactStore>, pub F);

impl<F> fmt::Debug for Before<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<F: Does> ArtifactStore for Before<F> {
    fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
        (self.1)(Call::LoadAll)?;
        self.0.load_all()
    }
    fn load(&self, key: &ArtifactKey) -> Result<Option<Bytes>, ArtifactError> {
        (self.1)(Call::Load)?;
        self.0.load(key)
    }
    fn store(&self, artifact: &SealedArtifact) -> Result<Stored, ArtifactError> {
        (self.1)(Call::Store)?;
        self.0.store(artifact)
    }
    fn delete(&self, key: &ArtifactKey) -> Result<bool, ArtifactError> {
        (self.1)(Call::Delete)?;
        self.0.delete(key)
    }
    fn clear(&self) -> Result<usize, ArtifactError> {
        (self.1)(Call::Clear)?;
        self.0.clear()
    }
    fn load_heat(&self) -> Result<Option<Bytes>, ArtifactError> {
        (self.1)(Call::LoadHeat)?;
        self.0.load_heat()
    }
    fn store_heat(&self, list: &Bytes) -> Result<(), ArtifactError> {
        (self.1)(Call::StoreHeat)?;
        self.0.store_heat(list)
    }
}

/// Says that it was entered for `held` and waits to be told to go on; what it says, and what lets it
/// go on.
pub fn hold(held: Call) -> (impl Fn(Call) + Send + Sync, Receiver<()>, Sender<()>) {
    let (entered, is_entered) = channel();
    let (release, wait) = channel();
    let (entered, wait) = (Mutex::new(entered), Mutex::new(wait));
    let hold = move |call| {
        if call == held {
            let _ = entered.lock().unwrap().send(());
            let _ = wait.lock().unwrap().recv();
        }
    };
    (hold, is_entered, release)
}

/// A store that holds a call.
pub fn slow(
    inner: Arc<TempArtifactStore>,
    held: Call,
) -> (Arc<Before<impl Does>>, Receiver<()>, Sender<()>) {
    let (hold, is_entered, release) = hold(held);
    let store = Before(inner, move |call| {
        hold(call);
        Ok(())
    });
    (Arc::new(store), is_entered, release)
}
