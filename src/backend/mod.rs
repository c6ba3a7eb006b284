//! The handle that an embedding client holds, and the thread behind it.
//!
//! | module | job |
//! |---|---|
//! | this one, `lookup`, `commands` | [`JitBackend`], what callers see |
//! | `core` | what a started backend consists of |
//! | `runtime`, `admission`, `outcome`, `warm` | the backend thread |
//! | `jobs`, `ledger`, `failures`, `costs`, `heat` | its books |
//! | `compile`, `keeper` | what workers do, and what the thread that stores does |
//! | `shared`, `persist`, `allowance`, `samples` | what all of these have in common |
//! | `request`, `job`, `answers` | messages, and what callers ask and are answered |
//!
//! Each imports from those below it only.
//!
//! * **H1** The core leaves its handle once, when the last handle is dropped, and is dropped there;
//!   in a forked child it is not dropped at all.

mod admission;
mod allowance;
mod answers;
mod commands;
mod compile;
mod core;
mod costs;
mod failures;
mod heat;
mod job;
mod jobs;
mod keeper;
mod ledger;
mod lookup;
mod outcome;
mod persist;
mod request;
mod runtime;
mod samples;
mod shared;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests_artifacts;
#[cfg(test)]
mod tests_attacks;
#[cfg(test)]
mod tests_handle;
#[cfg(test)]
mod tests_resident;
#[cfg(test)]
mod tests_runtime;
#[cfg(test)]
mod tests_stopped;
#[cfg(test)]
mod tests_trial;
#[cfg(test)]
mod tests_warm;
mod warm;

#[cfg(feature = "revm")]
pub(crate) use request::Code;

pub use answers::{
    AotRequest, BorrowedDecision, InterpretReason, LookupDecision, LookupRequest, ProgramRef,
    Verdict,
};

use crate::{config::RuntimeConfig, error::Result, panics::lock, stats::RuntimeStatsSnapshot};
use compile::Compiler;
use core::Core;
use std::{
    fmt,
    mem::ManuallyDrop,
    sync::{
        Arc, Mutex, OnceLock, Weak,
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
/// [`get_compiled`](Self::get_compiled), [`get_compiled_tracked`](Self::get_compiled_tracked),
/// [`record_interpreted`](Self::record_interpreted), [`record_input`](Self::record_input),
/// [`enabled`](Self::enabled), [`stats`](Self::stats), [`pause`](Self::pause) and
/// [`resume`](Self::resume) never wait for anything (in [blocking mode](RuntimeConfig::blocking),
/// lookups do). The others are commands; each says what it waits for. On the backend's own threads,
/// where `on_compilation` is called, a command that would have to wait is refused.
///
/// # Frames
///
/// A program may be looked up each time a frame goes on, at its beginning and behind each call: a frame
/// that was suspended natively can be continued by the interpreter, and the other way round
/// ([`revm`](crate::revm)). Not so with [revmc's front end](RuntimeConfig::front_end): there the program
/// that has begun a frame is kept until the frame is done.
///
/// # Forking
///
/// In a child process that was forked from one with a started backend, lookups answer from what
/// was resident; commands fail with [`Error::Forked`](crate::Error::Forked); nothing is waited for
/// or freed on drop.
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
/// assert_eq!(program.key(), key);
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
    /// A backend that does nothing: no thread, no memory but its configuration, which is the default one
    /// (a client whose chain or store is another starts with [`new`](Self::new) and `enabled: false`),
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
    /// [`enabled`](RuntimeConfig::enabled). Blocks while the threads start and the index of the
    /// [`store`](RuntimeConfig::store) is read.
    ///
    /// ```
    /// use revmc_jit::{ConfigError, Error, JitBackend, RuntimeConfig};
    ///
    /// let mut config = RuntimeConfig::default();
    /// config.tuning.jit_worker_count = 1;
    /// let backend = JitBackend::new(config.clone())?;
    /// let for_another_thread = backend.clone();
    /// assert!(for_another_thread.enabled());
    ///
    /// config.tuning.jit_hot_threshold = 0;
    /// assert!(matches!(JitBackend::new(config), Err(Error::Config(ConfigError::Zero(_)))));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) if the configuration cannot work, enabled or not;
    /// [`Error::Spawn`](crate::Error::Spawn) if a thread is refused.
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

    /// Whether lookups answer. False also when the backend thread has ended, or is another process's
    /// that this one was forked from: what is resident is still found then, but nothing is added.
    pub fn enabled(&self) -> bool {
        let dead = |core: &ManuallyDrop<Core>| !core.is_alive();
        self.is_on() && !self.0.core.get().is_some_and(dead)
    }

    /// Whether lookups are switched on.
    fn is_on(&self) -> bool {
        // Relaxed: a switch at this moment may or may not count.
        self.0.mode.load(Relaxed) != OFF
    }

    /// Switches lookups on, or off. The first time on it starts the threads, and blocks as
    /// [`new`](Self::new) does. Off is a switch for lookups alone: what is resident stays, and commands
    /// go on.
    ///
    /// ```
    /// let backend = revmc_jit::JitBackend::disabled();
    /// backend.set_enabled(true)?; // starts the threads
    /// backend.set_enabled(false)?; // every lookup interprets, at once
    /// # Ok::<(), revmc_jit::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`](crate::Error::Spawn) if a thread is refused,
    /// [`Error::Forked`](crate::Error::Forked) in a forked child; the backend stays off then.
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

    /// Stops compilation: workers finish what they are at and take nothing more. Lookups and
    /// everything else go on; requests wait, and are not refused before the queue is full. Who waits
    /// for a job that no worker has taken is told within a tick ([`Error::Paused`](crate::Error));
    /// the job stays. Nests: each `pause` needs its [`resume`](Self::resume). Never blocks.
    ///
    /// ```
    /// # use revmc_jit::{Error, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// backend.pause();
    /// let request = LookupRequest { key, code };
    /// assert!(matches!(backend.compile_jit_sync(request.clone()), Err(Error::Paused)));
    /// backend.resume();
    /// backend.compile_jit_sync(request)?;
    /// # Ok::<(), Error>(())
    /// ```
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
    ///
    /// ```
    /// # use revmc_jit::{JitBackend, RuntimeConfig};
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// assert_eq!(backend.stats().hits, 0);
    /// let exported: Vec<String> =
    ///     backend.stats().values().map(|(name, value)| format!("{name} {value}")).collect();
    /// assert!(exported.contains(&"panicked 0".to_owned()));
    /// # Ok::<(), revmc_jit::Error>(())
    /// ```
    pub fn stats(&self) -> RuntimeStatsSnapshot {
        let mut stats = RuntimeStatsSnapshot::default();
        if let Some(core) = self.0.core.get() {
            stats = core.shared.counters.snapshot();
            let lookups = core.reader.counters();
            (stats.hits, stats.misses) = (lookups.hits, lookups.misses);
            stats.negatives = lookups.negatives;
            stats.running_jobs = core.pool.running() as u64;
            stats.workers = core.pool.workers() as u64;
            stats.alive = u64::from(core.is_alive());
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
        let _starting = lock(&handle.starting);
        if let Some(core) = handle.core.get() {
            return Ok(core);
        }
        let compiler = handle.compiler.clone();
        let core = Core::start(&handle.config, Arc::clone(&handle.paused), compiler)?;
        Ok(handle.core.get_or_init(|| ManuallyDrop::new(core)))
    }
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
