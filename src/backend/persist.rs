//! The backend's side of the artifact store: what workers store and load, and how a clear of the
//! store is ordered with both.
//!
//! # Invariants
//!
//! * **S1** The store is touched by workers, which load, and delete what is damaged; by the thread that
//!   stores, which also reads and writes the list of what is hot ([`keeper`](super::keeper)); by who starts
//!   the backend, for the index, and by callers of commands. Never by an execution thread, nor by the
//!   backend thread, which would hold everything up while a disk does.
//! * **S2** An artifact of a request that was made before a clear of the store is not in the store
//!   after it: the request carries the epoch of its making, a clear begins a new one, and storing
//!   holds the shared side of the lock that a clear holds alone.
//! * **S3** What the store does costs no program. A program that was compiled serves this process
//!   before the store is asked, and whatever becomes of its artifact; the processor time that the
//!   artifact takes is not compile time; a store that said it is full is left alone for [`FULL_REST`];
//!   and nothing is loaded from one that has not come back from a load that was given up.

use super::job::{Job, Kept, Made};
use crate::{
    aot::{self, BuildOptions},
    artifact::{
        ArtifactError, ArtifactKey, BuildId, HeatEntry, HeatList, Stored, TrustedStore, Verified,
    },
    chain::Chain,
    compiler::NativeCode,
    config::RuntimeConfig,
    cpu_time::Moment,
    error::{Error, Result, StoreError},
    key::RuntimeCacheKey,
    panics::lock,
    program::CompiledProgram,
    stats::{Counters, add},
    trial::Passed,
};
use revm_interpreter::primitives::hardfork::SpecId;
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How long a store that is full is not asked again.
const FULL_REST: Duration = Duration::from_secs(10);

/// The configured store, and what this process asks of it.
#[derive(Debug)]
pub(super) struct Persist {
    /// Whoever calls a method that blocks on it is one of S1's.
    store: TrustedStore,
    chain: Chain,
    options: BuildOptions,
    /// Whether only artifacts are loaded that were tried.
    only_tried: bool,
    /// What this process would make for each fork.
    builds: Vec<(SpecId, BuildId)>,
    /// Shared by those who store, exclusive for a clear (S2).
    gate: RwLock<()>,
    epoch: AtomicU64,
    /// When the store said that it is full, and with what words (S3).
    full: Mutex<Option<(Instant, StoreError)>>,
    /// Whether a load that was given up has not come back.
    silent: AtomicBool,
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

    /// Bytes that an artifact takes in the store; 0 if it is not there.
    pub(super) fn len_of(&self, key: &RuntimeCacheKey) -> usize {
        let len = self.stored_len.get(key).copied().unwrap_or(0);
        usize::try_from(len).unwrap_or(usize::MAX)
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
        Ok(Some(Self {
            store: store.clone(),
            chain: config.chain.clone(),
            options,
            only_tried: config.tuning.trial.is_on(),
            builds: aot::builds(&config.chain, options).map_err(StoreError::from)?,
            gate: RwLock::new(()),
            epoch: AtomicU64::new(0),
            full: Mutex::new(None),
            silent: AtomicBool::new(false),
            last_error: Mutex::new(None),
        }))
    }

    pub(super) fn options(&self) -> BuildOptions {
        self.options
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
                for entry in found.entries {
                    if let Some(key) = self.program(&entry.key) {
                        index.insert(key, entry.stored_len);
                    }
                }
            }
            Err(error) => self.count(counters, error.into()),
        }
        index
    }

    /// The program that an artifact is of, if this process could have made it.
    fn program(&self, key: &ArtifactKey) -> Option<RuntimeCacheKey> {
        let (spec_id, _) = *self.builds.iter().find(|(_, build)| *build == key.build)?;
        let code_hash = key.code_hash;
        Some(RuntimeCacheKey { code_hash, spec_id })
    }

    /// Makes an artifact of what was compiled, to be stored, and loads it. Where one of these fails, the
    /// `program`, the same code, serves this process all the same (S3).
    ///
    /// # Errors
    ///
    /// [`Error::Cleared`] if the store was emptied since it was asked for.
    pub(super) fn make(
        &self,
        job: &Job,
        code: &NativeCode,
        program: CompiledProgram,
        trial: Option<&Passed>,
        counters: &Counters,
    ) -> Result<Made> {
        if self.epoch() != job.epoch {
            return Err(Error::Cleared(job.key));
        }
        let started = Moment::now();
        let rules = self.chain.rules(job.key.spec_id);
        let counted = |error| self.counted(counters, error);
        let artifact = match self.said_full(counters) {
            Some(error) => Err(error),
            None => aot::build(job.key, rules, job.code.len(), self.options, code, trial)
                .map_err(counted),
        };
        let loaded = match &artifact {
            Ok(artifact) => aot::load(artifact, job.key, rules, self.options).map_err(counted),
            Err(error) => Err(error.clone()),
        };
        let (program, store_error) = match loaded {
            Ok(program) => (program, None),
            Err(error) => (program, Some(error)),
        };
        Ok(Made {
            program,
            artifact: artifact.ok(),
            store_error,
            trial: None,
            beside: started.cpu(),
        })
    }

    /// What the store said, if it said a short time ago that it is full.
    fn said_full(&self, counters: &Counters) -> Option<StoreError> {
        let full = lock(&self.full);
        let (since, error) = full.as_ref()?;
        if since.elapsed() >= FULL_REST {
            return None;
        }
        add(&counters.store_full, 1);
        Some(error.clone())
    }

    /// Stores an artifact of an epoch. Blocks on storage.
    pub(super) fn store(
        &self,
        key: RuntimeCacheKey,
        epoch: u64,
        artifact: &Verified,
        counters: &Counters,
    ) -> Result<Kept, StoreError> {
        // It may have become full while this one waited.
        if let Some(error) = self.said_full(counters) {
            return Err(error);
        }
        // No panic under this lock leaves anything half done here.
        let _storing = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if self.epoch() != epoch {
            return Ok(Kept::nothing(key, epoch));
        }
        let stored = self.store.store(artifact);
        let full = stored.as_ref().is_err_and(ArtifactError::is_full);
        let stored = stored.map_err(StoreError::from);
        add(&counters.store_full, usize::from(full));
        *lock(&self.full) = match &stored {
            Err(error) if full => Some((Instant::now(), error.clone())),
            _ => None,
        };
        match stored {
            Ok(Stored { len, removed }) => {
                add(&counters.artifacts_displaced, removed.len());
                Ok(Kept {
                    key,
                    epoch,
                    stored: Some(len),
                    displaced: removed.iter().filter_map(|key| self.program(key)).collect(),
                })
            }
            Err(error) => {
                self.count(counters, error.clone());
                Err(error)
            }
        }
    }

    /// Tells the store which artifacts are in use. Blocks on storage.
    pub(super) fn renew(&self, keys: &[RuntimeCacheKey], counters: &Counters) {
        let keys: Vec<_> = keys.iter().filter_map(|key| self.artifact(key)).collect();
        if let Err(error) = self.store.renew(&keys) {
            self.count(counters, error.into());
        }
    }

    /// Reads what was hot in the last run, of what this process could have made. A list that is refused
    /// is none, counted. Blocks on storage.
    pub(super) fn load_heat(&self, counters: &Counters) -> Vec<(RuntimeCacheKey, u32)> {
        match self.store.load_heat() {
            Ok(list) => {
                let list = list.unwrap_or_default();
                let entries = list.entries().iter();
                entries
                    .filter_map(|entry| Some((self.program(&entry.key)?, entry.heat)))
                    .collect()
            }
            Err(error) => {
                self.count_heat(counters, error);
                Vec::new()
            }
        }
    }

    /// Writes down what is hot, unless the store was emptied since that epoch. Blocks on storage.
    pub(super) fn store_heat(
        &self,
        list: Vec<(RuntimeCacheKey, u32)>,
        epoch: u64,
        counters: &Counters,
    ) {
        let entries = list.into_iter().filter_map(|(key, heat)| {
            let key = self.artifact(&key)?;
            Some(HeatEntry { key, heat })
        });
        let list = HeatList::new(entries.collect());
        // As for an artifact (S2).
        let _storing = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if self.epoch() != epoch {
            return;
        }
        match self.store.store_heat(&list) {
            Ok(()) => add(&counters.heat_stored, 1),
            Err(error) => self.count_heat(counters, error),
        }
    }

    fn count_heat(&self, counters: &Counters, error: ArtifactError) {
        let counter = match error.is_refusal() {
            true => &counters.heat_rejected,
            false => &counters.store_errors,
        };
        add(counter, 1);
        self.note(error.into());
    }

    /// S3: whether a load that was given up has not come back.
    pub(super) fn set_silent(&self, silent: bool) {
        // Relaxed: a load that begins at this moment may or may not be.
        self.silent.store(silent, Relaxed);
    }

    /// Loads an artifact that the index knows. One that is damaged is deleted from the store: no
    /// process can use it, and each would find that out anew. (If another process has stored a
    /// whole one in between, that one is deleted, and compiled again some day.) What others may be
    /// able to use stays: another key's, another CPU's.
    pub(super) fn load(&self, key: RuntimeCacheKey, counters: &Counters) -> Result<Made> {
        // Relaxed: as in `set_silent`.
        if self.silent.load(Relaxed) {
            let error = self.counted(counters, ArtifactError::StoreSilent);
            return Err(Error::Artifact(error));
        }
        let found = self.read(key);
        match found {
            Ok(Some(program)) => Ok(program.into()),
            Ok(None) => Err(Error::ArtifactGone(key)),
            Err(error) => {
                if error.is_damage() {
                    self.delete(key, counters);
                }
                Err(Error::Artifact(self.counted(counters, error)))
            }
        }
    }

    /// Deletes an artifact from the store. Blocks on storage.
    pub(super) fn delete(&self, key: RuntimeCacheKey, counters: &Counters) {
        if let Some(key) = self.artifact(&key)
            && let Err(error) = self.store.delete(&key)
        {
            self.count(counters, error.into());
        }
    }

    fn read(&self, key: RuntimeCacheKey) -> Result<Option<CompiledProgram>, ArtifactError> {
        let rules = self.chain.rules(key.spec_id);
        let wanted = aot::determinants(key.spec_id, rules, self.options)?;
        let found = self.store.load(key.code_hash, &wanted)?;
        let Some(artifact) = found else {
            return Ok(None);
        };
        if self.only_tried && artifact.manifest().trial_runs == 0 {
            return Err(ArtifactError::Untried);
        }
        aot::load(&artifact, key, rules, self.options).map(Some)
    }

    /// What this process would store a program as.
    fn artifact(&self, key: &RuntimeCacheKey) -> Option<ArtifactKey> {
        let (_, build) = *self.builds.iter().find(|(spec, _)| *spec == key.spec_id)?;
        Some(ArtifactKey::new(key.code_hash, build))
    }

    /// Empties the store, on the caller's thread. Requests made before belong to a past epoch.
    pub(super) fn clear(&self, counters: &Counters) -> Result<()> {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.epoch.fetch_add(1, Relaxed);
        *lock(&self.full) = None;
        let cleared = self.store.clear().map(drop);
        cleared.map_err(|error| Error::Artifact(self.counted(counters, error)))
    }

    /// What the store last failed with.
    pub(super) fn last_error(&self) -> Option<StoreError> {
        lock(&self.last_error).clone()
    }

    fn note(&self, error: StoreError) {
        *lock(&self.last_error) = Some(error);
    }

    fn counted(&self, counters: &Counters, error: ArtifactError) -> StoreError {
        let error = StoreError::from(error);
        self.count(counters, error.clone());
        error
    }

    pub(super) fn count(&self, counters: &Counters, error: StoreError) {
        let counter = match error.is_refusal() {
            true => &counters.artifacts_rejected,
            false => &counters.store_errors,
        };
        add(counter, 1);
        self.note(error);
    }
}
