//! The backend's side of the artifact store: what workers store and load, and how a clear of the
//! store is ordered with both.
//!
//! # Invariants
//!
//! * **S1** The store is touched by workers and by callers of commands, never by an execution
//!   thread, nor by the backend thread, which would hold everything up while a disk does.
//! * **S2** An artifact of a request that was made before a clear of the store is not in the store
//!   after it: the request carries the epoch of its making, a clear begins a new one, and a worker
//!   stores under the shared side of the lock that a clear holds alone.

use super::compile::{Job, Made};
use crate::{
    CompiledProgram, Error, Result, RuntimeCacheKey, RuntimeConfig,
    artifact::{
        self, ArtifactError, ArtifactKey, ArtifactStore, BuildId, BuildOptions, Environment,
        StoredArtifact,
    },
    chain::Chain,
    compiler::NativeCode,
    error::StoreError,
    stats::{Counters, add},
};
use revm_interpreter::primitives::hardfork::SpecId;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The configured store, and what this process asks of it.
#[derive(Debug)]
pub(super) struct Persist {
    store: Arc<dyn ArtifactStore>,
    options: BuildOptions,
    chain: Chain,
    /// Shared by those who store, exclusive for a clear (S2).
    gate: RwLock<()>,
    epoch: AtomicU64,
    last_error: Mutex<Option<StoreError>>,
}

/// The artifacts that this build can use, and the bytes each takes in the store.
#[derive(Debug, Default)]
pub(super) struct Index {
    stored_len: HashMap<RuntimeCacheKey, u64>,
    bytes: u64,
}

impl Index {
    pub(super) fn insert(&mut self, key: RuntimeCacheKey, len: u64) {
        self.bytes += len;
        self.bytes -= self.stored_len.insert(key, len).unwrap_or(0);
    }

    pub(super) fn remove(&mut self, key: &RuntimeCacheKey) {
        self.bytes -= self.stored_len.remove(key).unwrap_or(0);
    }

    pub(super) fn contains(&self, key: &RuntimeCacheKey) -> bool {
        self.stored_len.contains_key(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &RuntimeCacheKey> {
        self.stored_len.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.stored_len.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Persist {
    /// The store of a configuration, if it has one.
    pub(super) fn new(config: &RuntimeConfig) -> Result<Option<Self>> {
        let Some(store) = &config.store else {
            return Ok(None);
        };
        let tier = config.tuning.aot_opt_level.into();
        let options = BuildOptions {
            tier,
            debug_assertions: config.debug_assertions,
        };
        // Says now where artifacts are not supported.
        Environment::host().map_err(StoreError::from)?;
        Ok(Some(Self {
            store: Arc::clone(store),
            options,
            chain: config.chain.clone(),
            gate: RwLock::new(()),
            epoch: AtomicU64::new(0),
            last_error: Mutex::new(None),
        }))
    }

    pub(super) fn options(&self) -> BuildOptions {
        self.options
    }

    /// What this process makes for a fork.
    fn build(&self, spec_id: SpecId) -> Result<BuildId, ArtifactError> {
        BuildId::host(self.options, self.chain.rules(spec_id))
    }

    /// The epoch that a request made now belongs to.
    pub(super) fn epoch(&self) -> u64 {
        // Relaxed: read together with a clear it may be the old or the new one, and both are right;
        // a worker's read is ordered by the lock.
        self.epoch.load(Relaxed)
    }

    /// Reads the index. A store that cannot be read is an empty one, counted: the backend
    /// compiles.
    pub(super) fn index(&self, counters: &Counters) -> Index {
        let mut index = Index::default();
        match self.store.load_all() {
            Ok(found) => {
                add(&counters.artifacts_rejected, found.rejected_count);
                if let Some(rejected) = found.rejected.into_iter().next() {
                    self.note(rejected.error.into());
                }
                let mut builds = HashMap::new();
                for entry in &found.entries {
                    let spec_id = entry.key.spec_id;
                    let build = builds
                        .entry(spec_id)
                        .or_insert_with(|| self.build(spec_id).ok());
                    if *build != Some(entry.key.build) {
                        continue;
                    }
                    index.insert(entry.key.program(), entry.stored_len);
                }
            }
            Err(error) => self.count(counters, error.into()),
        }
        index
    }

    /// Stores what was compiled and loads it from what was stored. Where one of these fails, the
    /// program serves this process all the same, as a JIT program.
    pub(super) fn keep(&self, job: &Job, code: &NativeCode, counters: &Counters) -> Result<Made> {
        let rules = self.chain.rules(job.key.spec_id);
        let (stored, loaded) = match self.store(job, code)? {
            Ok((artifact, len)) => {
                let loaded = artifact::load(&artifact, job.key, rules, self.options);
                (Some(len), loaded.map_err(StoreError::from))
            }
            Err(error) => (None, Err(StoreError::from(error))),
        };
        let (program, store_error) = match loaded {
            Ok(program) => (program, None),
            Err(error) => {
                self.count(counters, error.clone());
                let program =
                    CompiledProgram::jit(job.key, Arc::clone(rules), job.code.len(), code)?;
                (program, Some(error))
            }
        };
        Ok(Made {
            program,
            stored,
            store_error,
        })
    }

    /// Makes an artifact and stores it; how many bytes it takes.
    fn store(
        &self,
        job: &Job,
        code: &NativeCode,
    ) -> Result<Result<(StoredArtifact, u64), ArtifactError>> {
        let made = artifact::build(
            job.key,
            self.chain.rules(job.key.spec_id),
            job.code.len(),
            self.options,
            code,
        );
        let artifact = match made {
            Ok(artifact) => artifact,
            Err(error) => return Ok(Err(error)),
        };
        // No panic under this lock leaves anything half done here.
        let _storing = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if self.epoch() != job.epoch {
            return Err(Error::Cleared(job.key));
        }
        Ok(self.store.store(&artifact).map(|len| (artifact, len)))
    }

    /// Loads an artifact that the index knows. One that is damaged is deleted from the store: no
    /// process can use it, and each would find that out anew. (If another process has stored a
    /// whole one in between, that one is deleted, and compiled again some day.) What others may be
    /// able to use stays: another key's, another CPU's.
    pub(super) fn load(&self, key: RuntimeCacheKey, counters: &Counters) -> Result<Made> {
        let rules = self.chain.rules(key.spec_id);
        let build = self.build(key.spec_id).map_err(StoreError::from)?;
        let stored_key = ArtifactKey::new(key, build);
        let found = self.store.load(&stored_key).and_then(|artifact| {
            artifact
                .map(|artifact| artifact::load(&artifact, key, rules, self.options))
                .transpose()
        });
        match found {
            Ok(Some(program)) => Ok(program.into()),
            Ok(None) => Err(Error::ArtifactGone(key)),
            Err(error) => {
                if error.is_damage()
                    && let Err(error) = self.store.delete(&stored_key)
                {
                    self.count(counters, error.into());
                }
                let error = StoreError::from(error);
                self.count(counters, error.clone());
                Err(Error::Artifact(error))
            }
        }
    }

    /// Empties the store, on the caller's thread. Requests made before belong to a past epoch.
    pub(super) fn clear(&self, counters: &Counters) -> Result<()> {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.epoch.fetch_add(1, Relaxed);
        self.store.clear().map(drop).map_err(|error| {
            let error = StoreError::from(error);
            self.count(counters, error.clone());
            Error::Artifact(error)
        })
    }

    /// What the store last failed with.
    pub(super) fn last_error(&self) -> Option<StoreError> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, error: StoreError) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn count(&self, counters: &Counters, error: StoreError) {
        let of_the_store = matches!(
            *error,
            ArtifactError::Io { .. }
                | ArtifactError::Folder { .. }
                | ArtifactError::StoreFull { .. }
        );
        let counter = if of_the_store {
            &counters.store_errors
        } else {
            &counters.artifacts_rejected
        };
        add(counter, 1);
        self.note(error);
    }
}
