//! The handle that an embedding client holds, and the thread behind it.
//!
//! [`JitBackend`] is what callers see. Behind it: `request` (questions, answers, messages), `core`
//! (what a started backend consists of), `runtime` (the backend thread) with its books `jobs`,
//! `ledger` and `failures`, `persist` (the artifact store), and `compile` (what workers do).
//!
//! * **H1** The core leaves its handle once, when the last handle is dropped, and is dropped there;
//!   in a forked child it is not dropped at all.

mod compile;
mod core;
mod failures;
mod jobs;
mod ledger;
mod persist;
mod request;
mod runtime;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests_handle;
#[cfg(test)]
mod tests_runtime;

pub use request::{
    AotRequest, BorrowedDecision, InterpretReason, LookupDecision, LookupRequest, ProgramRef,
    Verdict,
};

use crate::{
    CompiledProgram, Error, Result, RuntimeCacheKey, RuntimeConfig, RuntimeStatsSnapshot,
    StoreError, hotness::MISS, resident::Lookup, stats,
};
use alloy_primitives::{B256, Bytes, keccak256};
use compile::Compiler;
use core::{Core, observation};
use request::{Command, Request, Road};
use revmc::primitives::SpecId;
use std::{
    fmt,
    mem::ManuallyDrop,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

/// Runs hot contracts natively: the one type a client holds.
///
/// One pointer; clones share the thread, the map and the statistics. When the last clone is
/// dropped, the threads stop ([`RuntimeTuning::shutdown_timeout`](crate::RuntimeTuning)); programs
/// that callers hold stay valid.
///
/// # What blocks
///
/// [`lookup`](Self::lookup), [`lookup_ref`](Self::lookup_ref),
/// [`lookup_borrowed`](Self::lookup_borrowed), [`lookup_with`](Self::lookup_with),
/// [`get_compiled`](Self::get_compiled), [`record_interpreted`](Self::record_interpreted),
/// [`stats`](Self::stats), [`pause`](Self::pause) and [`resume`](Self::resume) never wait for
/// anything (in [blocking mode](RuntimeConfig::blocking), lookups do). The others are commands;
/// each says what it waits for. On the backend's own threads, where `on_compilation` is called, a
/// command that would have to wait is refused.
///
/// # Frames
///
/// A frame that a program has suspended at a call cannot be continued by the interpreter. Look a
/// contract up once per frame, and keep the program until the frame is done.
///
/// # Forking
///
/// In a child process that was forked from one with a started backend, lookups answer from what
/// was resident; commands fail with [`Error::Forked`]; nothing is waited for or freed on drop.
///
/// ```
/// use revmc_jit::{JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig};
/// use revmc_jit::primitives::{B256, Bytes, SpecId, keccak256};
///
/// let backend = JitBackend::new(RuntimeConfig::default())?;
/// let code = Bytes::from_static(&[0x60, 0x01, 0x60, 0x02, 0x01, 0x00]); // 1 + 2; stop
/// let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
///
/// backend.compile_jit_sync(LookupRequest { key, code: code.clone() })?;
/// let program = backend.lookup_ref(&key, &code).program().expect("it was just compiled");
/// assert_eq!(program.key, key);
/// # Ok::<(), revmc_jit::Error>(())
/// ```
#[derive(Clone)]
pub struct JitBackend(Arc<Handle>);

/// [`Handle::mode`]: every lookup is `Interpret(Disabled)`.
const OFF: u8 = 0;
/// Lookups answer at once.
const ON: u8 = 1;
/// Lookups compile what is missing.
const BLOCKING: u8 = 2;

struct Handle {
    /// How lookups answer: one load decides. Leaves [`OFF`] only after `core` is there.
    mode: AtomicU8,
    /// Present once the threads were started. Not dropped in a forked child.
    core: OnceLock<ManuallyDrop<Core>>,
    starting: Mutex<()>,
    paused: Arc<AtomicU32>,
    /// Of commands that return nothing and were not delivered, also before `core` exists.
    rejected: AtomicU64,
    config: RuntimeConfig,
    compiler: Option<Arc<dyn Compiler>>,
}

impl JitBackend {
    /// A backend that does nothing: no thread, no memory but its configuration (the default one),
    /// and every lookup is `Interpret(Disabled)`. [`set_enabled(true)`](Self::set_enabled), or a
    /// command to compile, starts it.
    ///
    /// ```
    /// let backend = revmc_jit::JitBackend::disabled();
    /// assert!(!backend.enabled());
    /// ```
    pub fn disabled() -> Self {
        Self::with_compiler(
            RuntimeConfig {
                enabled: false,
                ..RuntimeConfig::default()
            },
            None,
        )
    }

    /// A backend with this configuration, started if it is
    /// [`enabled`](RuntimeConfig::enabled).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the configuration cannot work, enabled or not; [`Error::Spawn`] if a
    /// thread is refused.
    pub fn new(config: RuntimeConfig) -> Result<Self> {
        config.validate()?;
        let enabled = config.enabled;
        let backend = Self::with_compiler(config, None);
        backend.set_enabled(enabled)?;
        Ok(backend)
    }

    fn with_compiler(config: RuntimeConfig, compiler: Option<Arc<dyn Compiler>>) -> Self {
        Self(Arc::new(Handle {
            mode: AtomicU8::new(OFF),
            core: OnceLock::new(),
            starting: Mutex::new(()),
            paused: Arc::new(AtomicU32::new(0)),
            rejected: AtomicU64::new(0),
            config,
            compiler,
        }))
    }

    /// Whether lookups answer.
    pub fn enabled(&self) -> bool {
        self.0.mode.load(Relaxed) != OFF
    }

    /// Switches lookups on, starting the threads the first time, or off. Off is a switch for
    /// lookups alone: what is resident stays, and commands go on.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`] if a thread is refused, [`Error::Forked`] in a forked child; the backend
    /// stays off then.
    pub fn set_enabled(&self, enabled: bool) -> Result<()> {
        let mode = match enabled {
            false => OFF,
            true => {
                self.started()?.check_process()?;
                if self.0.config.blocking { BLOCKING } else { ON }
            }
        };
        // Relaxed: the core has its own acquire and release. A lookup that sees the mode before
        // the core interprets.
        self.0.mode.store(mode, Relaxed);
        Ok(())
    }

    // Lookups.

    /// How to run a frame of this contract. Never blocks, except in
    /// [blocking mode](RuntimeConfig::blocking).
    ///
    /// A hit is a read of the map. A miss counts towards the contract's heat, and the one that
    /// makes it hot sends a message to the backend thread, or drops it if there is no room.
    #[inline]
    pub fn lookup(&self, request: LookupRequest) -> LookupDecision {
        self.lookup_ref(&request.key, &request.code)
    }

    /// [`lookup`](Self::lookup) for a caller who keeps the bytecode: no reference count of it is
    /// touched unless the contract becomes hot.
    #[inline]
    pub fn lookup_ref(&self, key: &RuntimeCacheKey, code: &Bytes) -> LookupDecision {
        let (core, found) = match self.on() {
            Some(core) => (core, core.reader.get(key)),
            None => return self.lookup_slow(key, code),
        };
        LookupDecision::Interpret(match found {
            Lookup::Hit(program) => return LookupDecision::Compiled(program),
            Lookup::Negative(verdict) => self.missed(core, key, code, Some(verdict)),
            Lookup::Miss => self.missed(core, key, code, None),
        })
    }

    /// [`lookup`](Self::lookup) without a reference count of the program either: a hit costs no
    /// atomic read-modify-write. The program may be kept for as long as a frame runs; that delays
    /// the freeing of no other.
    ///
    /// In [blocking mode](RuntimeConfig::blocking) a miss that was compiled counts as a miss and
    /// as a hit.
    #[inline]
    pub fn lookup_borrowed(&self, key: &RuntimeCacheKey, code: &Bytes) -> BorrowedDecision<'_> {
        let core = match self.on() {
            Some(core) => core,
            None => match self.lookup_slow(key, code) {
                LookupDecision::Interpret(reason) => return BorrowedDecision::Interpret(reason),
                LookupDecision::Compiled(_) => return self.borrow_resident(key),
            },
        };
        BorrowedDecision::Interpret(match core.reader.borrow(key) {
            Lookup::Hit(program) => return BorrowedDecision::Compiled(program),
            Lookup::Negative(verdict) => self.missed(core, key, code, Some(verdict)),
            Lookup::Miss => self.missed(core, key, code, None),
        })
    }

    /// Calls `f` with the program, or with the reason to interpret. The cheapest lookup; `f`
    /// should be short, as nothing that is dropped meanwhile is freed before it returns.
    #[inline]
    pub fn lookup_with<R>(
        &self,
        key: &RuntimeCacheKey,
        code: &Bytes,
        f: impl FnOnce(Result<&CompiledProgram, InterpretReason>) -> R,
    ) -> R {
        let Some(core) = self.on() else {
            return match self.lookup_slow(key, code) {
                LookupDecision::Compiled(program) => f(Ok(&program)),
                LookupDecision::Interpret(reason) => f(Err(reason)),
            };
        };
        let found = core.reader.with(key, |found| match found {
            Lookup::Hit(program) => Ok(f(Ok(program))),
            Lookup::Negative(verdict) => Err((f, Some(verdict))),
            Lookup::Miss => Err((f, None)),
        });
        match found {
            Ok(result) => result,
            Err((f, verdict)) => f(Err(self.missed(core, key, code, verdict))),
        }
    }

    /// The resident program, without counting or heating anything, and whatever
    /// [`enabled`](Self::enabled) says. Never blocks.
    pub fn get_compiled(&self, code_hash: B256, spec_id: SpecId) -> Option<Arc<CompiledProgram>> {
        let key = RuntimeCacheKey { code_hash, spec_id };
        self.0.core.get()?.reader.peek(&key).hit()
    }

    /// [`get_compiled`](Self::get_compiled), counted as a hit or a miss, and as a use of the
    /// program. A miss does not heat the contract. Never blocks.
    pub fn get_compiled_tracked(
        &self,
        code_hash: B256,
        spec_id: SpecId,
    ) -> Option<Arc<CompiledProgram>> {
        let key = RuntimeCacheKey { code_hash, spec_id };
        self.0.core.get()?.reader.get(&key).hit()
    }

    /// A lookup that compiles what is missing, and waits for it.
    ///
    /// `Interpret` if the contract is ineligible, if compilation fails or has failed lately, or,
    /// as [`InterpretReason::NotReady`], if nobody is there to compile: the backend has stopped, is
    /// paused, or this is one of its own threads.
    pub fn lookup_blocking(&self, request: LookupRequest) -> LookupDecision {
        match self.0.core.get() {
            Some(core) if self.enabled() => {
                self.lookup_or_compile(core, &request.key, &request.code)
            }
            _ => LookupDecision::Interpret(InterpretReason::Disabled),
        }
    }

    /// Reports that the interpreter ran this contract and used so much gas, so that promotion
    /// follows work and not only the number of calls: every
    /// [`hot_gas_per_miss`](crate::RuntimeTuning::hot_gas_per_miss) of it weigh like one more miss.
    /// Optional, in addition to lookups. Never blocks.
    pub fn record_interpreted(&self, key: &RuntimeCacheKey, code: &Bytes, gas: u64) {
        let Some(core) = self.0.core.get().filter(|_| self.enabled()) else {
            return;
        };
        let weight = core.shared.sketch.weight_of_gas(gas);
        if weight > 0
            && self.0.config.tuning.should_compile(code)
            && core.shared.sketch.record(key, weight, core.shared.hot)
        {
            core.report(observation(key, code));
        }
    }

    /// The core, if lookups answer at once.
    #[inline]
    fn on(&self) -> Option<&Core> {
        // Relaxed: see `set_enabled`.
        if self.0.mode.load(Relaxed) != ON {
            return None;
        }
        self.0.core.get().map(|core| &**core)
    }

    /// A lookup while [`on`](Self::on) says no.
    #[cold]
    fn lookup_slow(&self, key: &RuntimeCacheKey, code: &Bytes) -> LookupDecision {
        match self.0.core.get() {
            Some(core) if self.0.mode.load(Relaxed) == BLOCKING => {
                self.lookup_or_compile(core, key, code)
            }
            _ => LookupDecision::Interpret(InterpretReason::Disabled),
        }
    }

    #[cold]
    fn borrow_resident(&self, key: &RuntimeCacheKey) -> BorrowedDecision<'_> {
        match self.0.core.get().map(|core| core.reader.borrow(key)) {
            Some(Lookup::Hit(program)) => BorrowedDecision::Compiled(program),
            _ => BorrowedDecision::Interpret(InterpretReason::NotReady),
        }
    }

    /// Counts a miss, and says why to interpret.
    fn missed(
        &self,
        core: &Core,
        key: &RuntimeCacheKey,
        code: &Bytes,
        verdict: Option<Verdict>,
    ) -> InterpretReason {
        let threshold = match verdict {
            Some(Verdict::Failed) => return InterpretReason::JitFailed,
            Some(Verdict::Ineligible) => return InterpretReason::Ineligible,
            // An artifact is as good as compiled: the first use loads it.
            Some(Verdict::Indexed) => MISS,
            None => core.shared.hot,
        };
        if !self.0.config.tuning.should_compile(code) {
            return InterpretReason::Ineligible;
        }
        if core.shared.sketch.record(key, MISS, threshold) {
            core.report(observation(key, code));
        }
        InterpretReason::NotReady
    }

    fn lookup_or_compile(
        &self,
        core: &Core,
        key: &RuntimeCacheKey,
        code: &Bytes,
    ) -> LookupDecision {
        let verdict = match core.reader.get(key) {
            Lookup::Hit(program) => return LookupDecision::Compiled(program),
            Lookup::Negative(verdict) => Some(verdict),
            Lookup::Miss => None,
        };
        if let Err(reason) = self.compile_missing(core, key, code, verdict) {
            return LookupDecision::Interpret(reason);
        }
        // Not counted again.
        match core.reader.peek(key) {
            Lookup::Hit(program) => LookupDecision::Compiled(program),
            _ => LookupDecision::Interpret(InterpretReason::NotReady),
        }
    }

    fn compile_missing(
        &self,
        core: &Core,
        key: &RuntimeCacheKey,
        code: &Bytes,
        verdict: Option<Verdict>,
    ) -> Result<(), InterpretReason> {
        match verdict {
            Some(Verdict::Failed) => return Err(InterpretReason::JitFailed),
            Some(Verdict::Ineligible) => return Err(InterpretReason::Ineligible),
            Some(Verdict::Indexed) | None => {}
        }
        self.compile_sync(core, key, code, Road::Best)
            .map_err(|error| match error {
                Error::Ineligible(_) => InterpretReason::Ineligible,
                Error::Paused
                | Error::Stopped
                | Error::Forked
                | Error::Cleared(_)
                | Error::WouldDeadlock => InterpretReason::NotReady,
                _ => InterpretReason::JitFailed,
            })
    }

    // Commands.

    /// Has the contract compiled, unless it is resident. Returns at once, or when there is room in
    /// the channel; a full channel is waited for. Starts the threads if they do not run.
    ///
    /// A request that cannot be delivered (the backend has stopped, this is a forked child) or is
    /// not valid (the code is not the key's) is counted
    /// ([`commands_rejected`](RuntimeStatsSnapshot::commands_rejected)) and otherwise a no-op; who
    /// needs to know uses [`compile_jit_sync`](Self::compile_jit_sync).
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
    /// # Errors
    ///
    /// Why it is not resident: any [`Error`] but the ones of configuration. A contract that failed
    /// is not compiled again before its retry delay has passed ([`Error::RecentlyFailed`]);
    /// [`clear_resident`](Self::clear_resident) forgets failures.
    pub fn compile_jit_sync(&self, request: LookupRequest) -> Result<()> {
        self.compile_sync(self.started()?, &request.key, &request.code, Road::Jit)
    }

    fn compile_sync(
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
    /// back. Programs that callers hold stay valid until they are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`], [`Error::Forked`], [`Error::WouldDeadlock`]. Nothing to clear, with the threads never started, is
    /// not an error.
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
    /// or is made without a [`store`](RuntimeConfig::store), is counted and otherwise a no-op. What
    /// became of it later is in the [`CompilationEvent`](crate::CompilationEvent).
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

    /// [`prepare_aot`](Self::prepare_aot) for each of them.
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

    /// What the artifact store, or an artifact in it, last failed with. May wait for a moment for
    /// another thread that asks the same.
    pub fn last_store_error(&self) -> Option<StoreError> {
        self.0.core.get()?.shared.persist.as_ref()?.last_error()
    }

    /// Stops compilation: workers finish what they are at and take nothing more. Lookups and
    /// everything else go on; requests wait, and are not refused before the queue is full. Nests:
    /// each `pause` needs its [`resume`](Self::resume). Never blocks.
    pub fn pause(&self) {
        // Relaxed: workers poll the depth; nothing else is ordered by it. Saturates.
        let deeper = |depth: u32| depth.checked_add(1);
        let _ = self.0.paused.fetch_update(Relaxed, Relaxed, deeper);
    }

    /// Ends one [`pause`](Self::pause). Without one it does nothing. Never blocks.
    pub fn resume(&self) {
        let shallower = |depth: u32| depth.checked_sub(1);
        let _ = self.0.paused.fetch_update(Relaxed, Relaxed, shallower);
        if let Some(core) = self.0.core.get()
            && core.check_process().is_ok()
        {
            core.pool.wake();
        }
    }

    /// Every counter and gauge. Never blocks; costs a walk over the threads that look up.
    pub fn stats(&self) -> RuntimeStatsSnapshot {
        let mut stats = RuntimeStatsSnapshot::default();
        if let Some(core) = self.0.core.get() {
            stats = core.shared.counters.snapshot();
            let lookups = core.reader.counters();
            (stats.hits, stats.misses) = (lookups.hits, lookups.misses);
            stats.negatives = lookups.negatives;
            stats.running_jobs = core.pool.running() as u64;
            stats.workers = core.pool.workers() as u64;
        }
        stats.commands_rejected = self.0.rejected.load(Relaxed);
        stats.paused = u64::from(self.0.paused.load(Relaxed));
        stats
    }

    /// A handle that does not keep the backend alive, for callbacks.
    pub fn downgrade(&self) -> WeakJitBackend {
        WeakJitBackend(Arc::downgrade(&self.0))
    }

    /// The core, started if it is not.
    fn started(&self) -> Result<&Core> {
        let handle = &*self.0;
        if let Some(core) = handle.core.get() {
            return Ok(core);
        }
        let _starting = handle
            .starting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(core) = handle.core.get() {
            return Ok(core);
        }
        let compiler = handle.compiler.clone();
        let core = Core::start(&handle.config, Arc::clone(&handle.paused), compiler)?;
        Ok(handle.core.get_or_init(|| ManuallyDrop::new(core)))
    }

    fn count_rejected(&self, sent: Result<()>) {
        if sent.is_err() {
            stats::add(&self.0.rejected, 1);
        }
    }
}

/// A request that somebody makes by name, its code compared with its key.
fn explicit(key: &RuntimeCacheKey, code: &Bytes, road: Road, epoch: u64) -> Result<Request> {
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

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(mut core) = self.core.take() else {
            return;
        };
        // In a forked child the threads are not there, and what they had locked stays locked.
        if core.check_process().is_ok() {
            core.stop(self.config.tuning.shutdown_timeout);
            // SAFETY: H1: it was taken out of the handle and is not used again.
            unsafe { ManuallyDrop::drop(&mut core) };
        }
    }
}

impl fmt::Debug for JitBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JitBackend")
            .field("enabled", &self.enabled())
            .field("started", &self.0.core.get().is_some())
            .field("config", &self.0.config)
            .finish()
    }
}

/// A [`JitBackend`] that does not keep the backend alive; from [`JitBackend::downgrade`].
#[derive(Clone)]
pub struct WeakJitBackend(Weak<Handle>);

impl WeakJitBackend {
    /// The backend, if another handle still keeps it alive.
    pub fn upgrade(&self) -> Option<JitBackend> {
        self.0.upgrade().map(JitBackend)
    }
}

impl fmt::Debug for WeakJitBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakJitBackend").finish_non_exhaustive()
    }
}
