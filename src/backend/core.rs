//! What a started backend consists of, seen from its handle: the map's reader, the miss counter,
//! the channel, the threads.
//!
//! # Invariants
//!
//! * **L1** No thread of the backend holds a [`JitBackend`](super::JitBackend) or this: the last
//!   handle's drop is seen, and stops the threads.
//! * **L2** An execution thread sends observations only, with [`SyncSender::try_send`], on a channel
//!   whose receiver never sleeps in it: there is nobody to wake, so sending takes no lock and makes
//!   no system call. Before that it makes sure (with getpid(2), which does not wait) that it is in
//!   the process that started the backend: in a forked child a sender that was copied in the middle
//!   of sending would be waited for.
//! * **L3** A callback on a thread of the backend never waits for the backend: what it sends does
//!   not block, and commands with an answer are refused ([`Error::WouldDeadlock`]). The one wait
//!   of a worker is for room to deliver an outcome; the backend thread waits for no worker before
//!   it has closed the channel.

use super::{
    compile::{CompileWork, Compiler, Engine},
    persist::Persist,
    request::{Command, Request, Verdict, Waiter},
    runtime::Runtime,
};
use crate::{
    CompiledProgram, Error, Result, RuntimeCacheKey, RuntimeConfig, RuntimeTuning,
    hotness::{MISS, Sketch},
    resident::{self, FencePolicy, Options},
    stats::{self, Counters},
    worker::Pool,
};
use alloy_primitives::Bytes;
use std::{
    cell::Cell,
    fmt, process,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub(super) type Reader = resident::Reader<RuntimeCacheKey, CompiledProgram, Verdict>;
pub(super) type Writer = resident::Writer<RuntimeCacheKey, CompiledProgram, Verdict>;

/// What execution threads, the backend thread and the workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) counters: Counters,
    pub(super) sketch: Sketch,
    pub(super) persist: Option<Persist>,
    pub(super) tuning: RuntimeTuning,
    /// Heat at which a missing key is reported.
    pub(super) hot: u32,
    stopping: AtomicBool,
    /// When the threads have to be gone.
    deadline: OnceLock<Instant>,
}

thread_local! {
    /// The backend this thread belongs to, by the address of its [`Shared`]; 0 for other threads.
    static BACKEND: Cell<usize> = const { Cell::new(0) };
}

impl Shared {
    pub(super) fn new(config: &RuntimeConfig) -> Result<Self> {
        let tuning = &config.tuning;
        Ok(Self {
            persist: Persist::new(config)?,
            counters: Counters::default(),
            sketch: Sketch::new(tuning.hotness_slots, tuning.hot_gas_per_miss),
            tuning: *tuning,
            hot: tuning.jit_hot_threshold.saturating_mul(MISS),
            stopping: AtomicBool::new(false),
            deadline: OnceLock::new(),
        })
    }

    /// Makes the calling thread one of the backend's.
    pub(super) fn enter_thread(&self) {
        BACKEND.set(std::ptr::from_ref(self).addr());
    }

    /// L3. False also while a thread's local data is being destroyed, when it is no longer in a
    /// callback or in the event loop.
    fn is_own_thread(&self) -> bool {
        BACKEND.try_with(Cell::get) == Ok(std::ptr::from_ref(self).addr())
    }

    pub(super) fn stop_by(&self, deadline: Instant) {
        let _ = self.deadline.set(deadline);
        // Release: whoever sees the flag sees the deadline.
        self.stopping.store(true, Ordering::Release);
    }

    pub(super) fn stopping(&self) -> bool {
        // Acquire: see `stop_by`.
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline.get().copied().unwrap_or_else(Instant::now)
    }
}

struct BackendThread {
    handle: JoinHandle<()>,
    /// Disconnected when the thread is done.
    done: Receiver<()>,
}

/// A started backend.
pub(super) struct Core {
    pub(super) reader: Reader,
    pub(super) shared: Arc<Shared>,
    tx: SyncSender<Command>,
    observed: SyncSender<Request>,
    pub(super) pool: Arc<Pool<CompileWork>>,
    /// The process whose threads these are.
    process: u32,
    thread: Mutex<Option<BackendThread>>,
}

impl Core {
    /// Starts the threads.
    pub(super) fn start(
        config: &RuntimeConfig,
        paused: Arc<AtomicU32>,
        compiler: Option<Arc<dyn Compiler>>,
    ) -> Result<Self> {
        config.validate()?;
        let tuning = config.tuning;
        let fences = if config.symmetric_fences {
            FencePolicy::Symmetric
        } else {
            FencePolicy::Auto
        };
        let (writer, reader) = resident::new(&Options {
            fences,
            ..Options::default()
        });
        let shared = Arc::new(Shared::new(config)?);
        let compiler =
            compiler.unwrap_or_else(|| Arc::new(Engine::new(config, Arc::clone(&shared))));
        let (tx, commands) = sync_channel(tuning.channel_capacity);
        let (observed, observations) = sync_channel(tuning.channel_capacity);
        let work = CompileWork::new(compiler, config, Arc::clone(&shared), tx.clone());
        let name = &config.thread_name;
        let pool = Pool::start(name, tuning.jit_worker_count, paused, work)?;
        let runtime = Runtime::new(
            config,
            Arc::clone(&shared),
            writer,
            Arc::clone(&pool),
            Instant::now(),
        );
        let (done_tx, done) = sync_channel(0);
        let spawned = thread::Builder::new().name(name.clone()).spawn(move || {
            // Dropped last, whatever happens in between.
            let _done = done_tx;
            runtime.run(commands, observations);
        });
        match spawned {
            Ok(handle) => {
                let thread = Mutex::new(Some(BackendThread { handle, done }));
                Ok(Self {
                    reader,
                    shared,
                    tx,
                    observed,
                    pool,
                    process: process::id(),
                    thread,
                })
            }
            Err(error) => {
                pool.stop(Instant::now() + tuning.shutdown_timeout);
                Err(Error::Spawn {
                    thread: name.clone(),
                    kind: error.kind(),
                })
            }
        }
    }

    /// L2.
    pub(super) fn check_process(&self) -> Result<()> {
        if process::id() == self.process {
            Ok(())
        } else {
            Err(Error::Forked)
        }
    }

    /// Reports a key that has become hot. Never blocks; a report that does not fit is counted, and
    /// the key made to report again soon.
    #[cold]
    pub(super) fn report(&self, key: &RuntimeCacheKey, code: &Bytes) {
        if self.check_process().is_ok() && self.observed.try_send(observation(key, code)).is_err() {
            stats::add(&self.shared.counters.events_dropped, 1);
            self.shared.sketch.set(key, self.shared.hot / 2);
        }
    }

    /// Sends a command, waiting while the channel is full.
    pub(super) fn send(&self, command: Command) -> Result<()> {
        self.check_process()?;
        if self.shared.is_own_thread() {
            return self.tx.try_send(command).map_err(|error| match error {
                TrySendError::Full(_) => Error::WouldDeadlock,
                TrySendError::Disconnected(_) => Error::Stopped,
            });
        }
        self.tx.send(command).map_err(|_| Error::Stopped)
    }

    /// L2 and L3: whether a command that waits can be carried out from here.
    pub(super) fn check_may_wait(&self) -> Result<()> {
        self.check_process()?;
        if self.shared.is_own_thread() {
            Err(Error::WouldDeadlock)
        } else {
            Ok(())
        }
    }

    /// Sends a command and waits for its answer.
    pub(super) fn ask(&self, command: impl FnOnce(Waiter) -> Command) -> Result<()> {
        self.check_may_wait()?;
        let (waiter, answer) = Waiter::new();
        self.send(command(waiter))?;
        answer.wait()
    }

    /// The store's epoch, for a request that is made now.
    pub(super) fn epoch(&self) -> u64 {
        self.shared.persist.as_ref().map_or(0, Persist::epoch)
    }

    /// Stops the threads and waits for them, at most `timeout`. On a thread of the backend itself,
    /// and in a forked child, nothing is waited for.
    pub(super) fn stop(&self, timeout: Duration) {
        self.shared.stop_by(Instant::now() + timeout);
        // If the channel is full, the backend thread has something to receive, and looks at the
        // flag then.
        let _ = self.tx.try_send(Command::Wake);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(BackendThread { handle, done }) = thread else {
            return;
        };
        if self.shared.is_own_thread() {
            return;
        }
        if done.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected) {
            // Only the thread's teardown is left. A panic on it has been reported by the hook.
            let _ = handle.join();
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

/// An observation of a missing program.
pub(super) fn observation(key: &RuntimeCacheKey, code: &Bytes) -> Request {
    let road = super::request::Road::Best;
    Request {
        key: *key,
        code: code.clone(),
        road,
        explicit: false,
        epoch: 0,
        waiter: None,
    }
}
