//! Commands: what a caller asks for by name, and may wait for.

use super::{
    JitBackend,
    answers::{AotRequest, LookupRequest},
    core::Core,
    request::{Command, Request, Road},
};
use crate::{
    error::{Error, Result, StoreError},
    key::RuntimeCacheKey,
    stats,
};
use alloy_primitives::{Bytes, keccak256};
use std::sync::atomic::Ordering::Relaxed;

impl JitBackend {
    /// Has the contract compiled, unless it is resident. Returns at once, or when there is room in
    /// the channel; a full channel is waited for. Starts the threads if they do not run.
    ///
    /// A request that cannot be delivered (the backend has stopped, this is a forked child) or is
    /// not valid (the code is not the key's) is counted
    /// ([`commands_rejected`](crate::RuntimeStatsSnapshot::commands_rejected)) and otherwise a no-op; who
    /// needs to know uses [`compile_jit_sync`](Self::compile_jit_sync).
    ///
    /// ```
    /// # use revmc_jit::{Error, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// backend.compile_jit(LookupRequest { key, code }); // native some milliseconds later
    /// assert_eq!(backend.stats().commands_rejected, 0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn compile_jit(&self, request: LookupRequest) {
        let LookupRequest { key, code } = request;
        let sent = self.started().and_then(|core| {
            let request = explicit(&key, &code, Road::Jit, 0)?;
            core.send(Command::Request(request))
        });
        self.count_rejected(sent);
    }

    /// Has the contract compiled and waits until it is resident. Starts the threads if they do not
    /// run. Nothing happens if it is resident already.
    ///
    /// ```
    /// # use revmc_jit::{Error, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// backend.compile_jit_sync(LookupRequest { key, code: code.clone() })?;
    /// assert!(backend.get_compiled(key.code_hash, key.spec_id).is_some());
    ///
    /// // Code that is not the key's is never compiled.
    /// let code = Bytes::from_static(&[0x60, 0x02, 0x00]);
    /// let refused = backend.compile_jit_sync(LookupRequest { key, code });
    /// assert!(matches!(refused, Err(Error::CodeHashMismatch { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Why it is not resident: any [`Error`] but the ones of configuration. A contract that failed
    /// is not compiled again before its retry delay has passed ([`Error::RecentlyFailed`]), or a
    /// [`clear_resident`](Self::clear_resident) came. A [`pause`](Self::pause) that
    /// begins before a worker has taken the job answers [`Error::Paused`].
    pub fn compile_jit_sync(&self, request: LookupRequest) -> Result<()> {
        self.compile_sync(self.started()?, &request.key, &request.code, Road::Jit)
    }

    pub(super) fn compile_sync(
        &self,
        core: &Core,
        key: &RuntimeCacheKey,
        code: &Bytes,
        road: Road,
    ) -> Result<()> {
        core.check_process()?;
        self.0
            .config
            .tuning
            .check_eligible(code)
            .map_err(Error::Ineligible)?;
        let request = explicit(key, code, road, core.epoch())?;
        // Relaxed: a pause that begins at this moment may or may not count.
        if self.0.paused.load(Relaxed) > 0 {
            return Err(Error::Paused);
        }
        core.ask(|waiter| {
            Command::Request(Request {
                waiter: Some(waiter),
                ..request
            })
        })
    }

    /// Drops every resident program, every remembered failure and all heat, and waits until that
    /// is done. What was asked for before this and is not finished is cancelled; it does not come
    /// back. Programs that callers hold stay valid until they are dropped. That a key was
    /// [miscompiled](Error::Miscompiled) is not forgotten.
    ///
    /// ```
    /// # use revmc_jit::{Error, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// backend.compile_jit_sync(LookupRequest { key, code })?;
    /// let held = backend.get_compiled(key.code_hash, key.spec_id);
    /// backend.clear_resident()?;
    /// assert!(backend.get_compiled(key.code_hash, key.spec_id).is_none());
    /// assert!(held.is_some());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`], [`Error::Forked`], [`Error::WouldDeadlock`]. Nothing to clear, with the
    /// threads never started, is not an error.
    pub fn clear_resident(&self) -> Result<()> {
        match self.0.core.get() {
            Some(core) => core.ask(Command::ClearResident),
            None => Ok(()),
        }
    }

    /// Has an artifact made: compiled on a worker, kept in the store, and loaded. Returns at once,
    /// or when there is room in the channel. Starts the threads if they do not run. An artifact
    /// that is in the store already is only loaded.
    ///
    /// As for [`compile_jit`](Self::compile_jit), a request that cannot be delivered or is not valid,
    /// or is made without a [`store`](crate::RuntimeConfig::store), is counted and otherwise a no-op. What
    /// became of it later is in the [`CompilationEvent`](crate::CompilationEvent).
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use revmc_jit::artifact::{ArtifactStore, DirOptions, TempArtifactStore};
    /// use revmc_jit::{AotRequest, JitBackend, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # use std::sync::Arc;
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    ///
    /// // A node keeps its artifacts in a `DirArtifactStore`.
    /// let store = Arc::new(TempArtifactStore::new(DirOptions::default())?);
    /// let mut config = RuntimeConfig::default();
    /// config.store = Some(store.clone().into());
    /// let backend = JitBackend::new(config)?;
    /// let (code_hash, spec_id) = (keccak256(&code), SpecId::CANCUN);
    /// backend.prepare_aot(AotRequest { code_hash, code, spec_id });
    /// while store.load_all()?.entries.is_empty() {
    ///     std::thread::yield_now(); // a worker compiles and stores
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prepare_aot(&self, request: AotRequest) {
        let AotRequest {
            code_hash,
            code,
            spec_id,
        } = request;
        let key = RuntimeCacheKey { code_hash, spec_id };
        let sent = self.started().and_then(|core| {
            if core.shared.persist.is_none() {
                return Err(Error::NoStore);
            }
            let request = explicit(&key, &code, Road::Aot, core.epoch())?;
            core.send(Command::Request(request))
        });
        self.count_rejected(sent);
    }

    /// [`prepare_aot`](Self::prepare_aot) for each of them, each of which waits for room in the channel.
    pub fn prepare_aot_batch(&self, requests: Vec<AotRequest>) {
        requests
            .into_iter()
            .for_each(|request| self.prepare_aot(request));
    }

    /// Empties the artifact store, of every build, on the calling thread. What was asked for before
    /// this does not appear in the store afterwards. Programs that are resident stay.
    ///
    /// # Errors
    ///
    /// [`Error::Artifact`] if the store cannot be emptied (a part of it may be), [`Error::Stopped`],
    /// [`Error::Forked`], [`Error::WouldDeadlock`]. Having no store is not an error.
    pub fn clear_persisted(&self) -> Result<()> {
        let Some(core) = self.0.core.get() else {
            // Nothing runs that could store or load.
            let cleared = self
                .0
                .config
                .store
                .as_ref()
                .map_or(Ok(0), |store| store.clear());
            return cleared
                .map(drop)
                .map_err(|error| Error::Artifact(error.into()));
        };
        core.check_may_wait()?;
        if let Some(persist) = &core.shared.persist {
            persist.clear(&core.shared.counters)?;
            core.ask(Command::ForgetArtifacts)?;
        }
        Ok(())
    }

    /// [`clear_persisted`](Self::clear_persisted), then
    /// [`clear_resident`](Self::clear_resident), also if the first failed.
    ///
    /// # Errors
    ///
    /// As these two; the first error.
    pub fn clear_all(&self) -> Result<()> {
        let persisted = self.clear_persisted();
        let resident = self.clear_resident();
        persisted.and(resident)
    }

    /// What the artifact store, or an artifact in it, last failed with; nothing in a forked child. May wait
    /// for a moment for another thread that asks the same.
    pub fn last_store_error(&self) -> Option<StoreError> {
        let core = self.0.core.get()?;
        core.check_process().ok()?;
        core.shared.persist.as_ref()?.last_error()
    }

    fn count_rejected(&self, sent: Result<()>) {
        if sent.is_err() {
            stats::add(&self.0.rejected, 1);
        }
    }
}

/// A request that somebody makes by name, its code compared with its key.
pub(super) fn explicit(
    key: &RuntimeCacheKey,
    code: &Bytes,
    road: Road,
    epoch: u64,
) -> Result<Request> {
    let hash = keccak256(code);
    if hash != key.code_hash {
        return Err(Error::CodeHashMismatch {
            key: key.code_hash,
            code: hash,
        });
    }
    Ok(Request {
        key: *key,
        code: code.clone(),
        road,
        explicit: true,
        epoch,
        waiter: None,
    })
}
