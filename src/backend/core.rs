//! What a started backend consists of, seen from its handle: the map's reader, the miss counter,
//! the channel, the threads.
//!
//! # Invariants
//!
//! * **L1** No thread of the backend holds a [`JitBackend`](super::JitBackend) or this: the last
//!   handle's drop is seen, and stops the threads.
//! * **L2** An execution thread sends observations only, as messages of the map
//!   ([`Reader::post`](resident::Reader::post)), which wait for nobody and wake nobody: no lock, no
//!   system call, and in a forked child nothing that a thread which is not there holds.
//! * **L3** A callback on a thread of the backend never waits for the backend: what it sends does
//!   not block, and commands with an answer are refused ([`Error::WouldDeadlock`]). The one wait
//!   of a worker is for room to deliver an outcome; the backend thread waits for no worker before
//!   it has closed the channel.

use super::{
    compile::{CompileWork, Compiler, Engine},
    keeper::Keeper,
    persist::Persist,
    request::{Code, Command, Observation, Waiter},
    runtime::Runtime,
    shared::{Reader, Shared},
};
use crate::{
    config::RuntimeConfig,
    error::{Error, Result},
    key::RuntimeCacheKey,
    panics::lock,
    resident::{self, FencePolicy, Options},
    stats,
    worker::Pool,
};
use std::{
    fmt, process,
    sync::{
        Arc, Mutex,
        atomic::AtomicU32,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Stops the workers and the thread that stores when it goes, however the backend thread ends, or does
/// not begin.
struct PoolGuard {
    pool: Arc<Pool<CompileWork>>,
    keeper: Option<Arc<Keeper>>,
    shared: Arc<Shared>,
    patience: Duration,
}

impl Drop for PoolGuard {
    fn drop(&mut self) {
        self.shared.set_dead();
        // Stopped already, on the ordinary way.
        self.shared.stop_by(Instant::now() + self.patience);
        self.pool.stop(self.shared.deadline());
        // What the workers have made, it stores as far as there is time.
        if let Some(keeper) = &self.keeper {
            keeper.stop(self.shared.deadline());
        }
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
        let (writer, reader) = resident::with_messages(&Options {
            fences,
            messages: tuning.observations_per_thread,
            ..Options::default()
        });
        let shared = Arc::new(Shared::new(config)?);
        let compiler =
            compiler.unwrap_or_else(|| Arc::new(Engine::new(config, Arc::clone(&shared))));
        let (tx, commands) = sync_channel(tuning.channel_capacity);
        let name = &config.thread_name;
        let keeper = match shared.persist {
            Some(_) => {
                let (name, shared) = (format!("{name}-store"), Arc::clone(&shared));
                Some(Keeper::start(
                    name,
                    Arc::clone(&paused),
                    shared,
                    tx.clone(),
                )?)
            }
            None => None,
        };
        let work = CompileWork::new(
            compiler,
            config,
            Arc::clone(&shared),
            tx.clone(),
            keeper.clone(),
        );
        let pool = match Pool::start(name, tuning.jit_worker_count, paused, work) {
            Ok(pool) => pool,
            Err(error) => {
                if let Some(keeper) = &keeper {
                    keeper.stop(Instant::now() + tuning.shutdown_timeout);
                }
                return Err(error);
            }
        };
        let guard = PoolGuard {
            pool: Arc::clone(&pool),
            keeper: keeper.clone(),
            shared: Arc::clone(&shared),
            patience: tuning.shutdown_timeout,
        };
        let runtime = Runtime::new(
            config,
            Arc::clone(&shared),
            writer,
            Arc::clone(&pool),
            keeper,
            Instant::now(),
        );
        let (done_tx, done) = sync_channel(0);
        let spawned = thread::Builder::new().name(name.clone()).spawn(move || {
            // L1: nothing that is moved in here leads to the handle or to `Core`.
            // Dropped last, whatever happens in between.
            let _done = done_tx;
            let _guard = guard;
            runtime.run(commands);
        });
        match spawned {
            Ok(handle) => {
                let thread = Mutex::new(Some(BackendThread { handle, done }));
                Ok(Self {
                    reader,
                    shared,
                    tx,
                    pool,
                    process: process::id(),
                    thread,
                })
            }
            // The guard went with the closure.
            Err(error) => Err(Error::Spawn {
                thread: name.clone(),
                kind: error.kind(),
            }),
        }
    }

    /// Whether the threads are in this process.
    pub(super) fn check_process(&self) -> Result<()> {
        if process::id() == self.process {
            Ok(())
        } else {
            Err(Error::Forked)
        }
    }

    /// Whether the backend thread runs, in this process.
    pub(super) fn is_alive(&self) -> bool {
        self.shared.is_alive() && self.check_process().is_ok()
    }

    /// L2: reports a key that has become hot. A report for which there is no room is counted, and
    /// the key made to report again soon.
    #[cold]
    pub(super) fn report(&self, key: &RuntimeCacheKey, code: &impl Code) {
        let observation = || Observation {
            key: *key,
            code: code.to_bytes(),
        };
        if !self.reader.post(observation) {
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

    /// L3: whether a command that waits can be carried out from here.
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
        let thread = lock(&self.thread).take();
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
