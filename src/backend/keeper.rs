//! The thread that stores: whatever a store does, nobody else waits for it.
//!
//! # Invariants
//!
//! * **K1** An artifact comes here after its program was told to the backend thread: what becomes of it
//!   costs no program. Nor does it cost a worker: there is room for [`MAX_WAITING`] artifacts of
//!   [`MAX_BYTES`]; beyond, a worker waits for [`PATIENCE`] at most, and not at all if another one has
//!   waited in vain and the store has ended nothing since. (In a pause it waits beyond that room.)
//! * **K2** Each artifact that was taken is answered by a [`Command::Kept`], unless the backend ends
//!   before; each event that came with one is told, with what the store said.
//! * **K3** No user code runs while the lock is held.
//! * **K4** While compilation is paused, nothing is begun here. At the end of the backend, what waits is
//!   stored as far as there is time.

use super::{job::Kept, request::Command, shared::Shared};
use crate::{
    artifact::{ArtifactError, Verified},
    config::OnCompilation,
    error::{Error, Result, StoreError},
    event::CompilationEvent,
    key::RuntimeCacheKey,
    panics::{caught, lock},
    stats::add,
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc::SyncSender,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Artifacts that wait to be stored, at most.
const MAX_WAITING: usize = 256;

/// Their bytes, at most; one larger than that waits alone.
const MAX_BYTES: usize = 64 << 20;

/// How long a worker waits for room.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a pause is looked at.
const POLL: Duration = Duration::from_millis(50);

/// An artifact to store.
pub(super) struct Keep {
    pub(super) key: RuntimeCacheKey,
    pub(super) epoch: u64,
    pub(super) artifact: Verified,
    /// What is told when that is done.
    pub(super) event: Option<(OnCompilation, CompilationEvent)>,
}

impl Keep {
    fn len(&self) -> usize {
        self.artifact.library().len() + self.artifact.data().len()
    }

    /// Tells what became of it (K2).
    fn tell(self, shared: &Shared, tx: &SyncSender<Command>, outcome: Result<Kept, StoreError>) {
        let (kept, store_error) = match outcome {
            Ok(kept) => (kept, None),
            Err(error) => (Kept::nothing(self.key, self.epoch), Some(error)),
        };
        // Waits while the channel is full, which the backend thread empties without waiting for this.
        let _ = tx.send(Command::Kept(kept));
        if let Some((callback, mut event)) = self.event {
            event.store_error = store_error.or(event.store_error);
            tell(shared, &callback, &event);
        }
    }
}

/// Calls the caller's callback. A panic in it is contained.
pub(super) fn tell(shared: &Shared, callback: &OnCompilation, event: &CompilationEvent) {
    if caught(|| callback(event)).is_err() {
        add(&shared.counters.callback_panics, 1);
    }
}

enum Task {
    Keep(Box<Keep>),
    /// An artifact that nobody is to load.
    Delete(RuntimeCacheKey),
    /// Artifacts that are in use.
    Renew(Vec<RuntimeCacheKey>),
    /// What was hot in the last run is wanted.
    LoadHeat,
    /// What is hot in this one, at an epoch of the store.
    StoreHeat(Vec<(RuntimeCacheKey, u32)>, u64),
}

#[derive(Default)]
struct State {
    queue: VecDeque<Task>,
    /// Bytes of the artifacts in it.
    bytes: usize,
    /// Tasks that were done.
    ended: u64,
    /// How many were, when somebody had waited for room in vain.
    silent: Option<u64>,
    /// Until when what waits may be done, once no more comes.
    until: Option<Instant>,
    left: bool,
}

impl State {
    fn has_room(&self, len: usize) -> bool {
        self.queue.is_empty()
            || (self.queue.len() < MAX_WAITING && self.bytes.saturating_add(len) <= MAX_BYTES)
    }

    fn is_over(&self) -> bool {
        self.until
            .is_some_and(|until| self.queue.is_empty() || Instant::now() >= until)
    }
}

/// The thread, seen from the others.
pub(super) struct Keeper {
    state: Mutex<State>,
    changed: Condvar,
    paused: Arc<AtomicU32>,
    shared: Arc<Shared>,
    tx: SyncSender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`].
    pub(super) fn start(
        name: String,
        paused: Arc<AtomicU32>,
        shared: Arc<Shared>,
        tx: SyncSender<Command>,
    ) -> Result<Arc<Self>> {
        let keeper = Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            paused,
            shared,
            tx,
            thread: Mutex::default(),
        });
        let running = Arc::clone(&keeper);
        let spawned = thread::Builder::new()
            .name(name.clone())
            .spawn(move || running.run());
        let handle = spawned.map_err(|error| Error::Spawn {
            thread: name,
            kind: error.kind(),
        })?;
        *lock(&keeper.thread) = Some(handle);
        Ok(keeper)
    }

    /// Has an artifact stored. Waits as K1 says.
    pub(super) fn keep(&self, keep: Keep) {
        let len = keep.len();
        let patience = Instant::now() + PATIENCE;
        // In a pause the store has done nothing wrong, and no worker takes a further job.
        let mut state = lock(&self.state);
        let has_room = |state: &State| state.has_room(len) || self.paused.load(Relaxed) > 0;
        while !has_room(&state) && state.until.is_none() && state.silent != Some(state.ended) {
            let Some(wait) = patience.checked_duration_since(Instant::now()) else {
                state.silent = Some(state.ended);
                break;
            };
            let woken = self.changed.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        if has_room(&state) && state.until.is_none() {
            state.bytes += len;
            state.queue.push_back(Task::Keep(Box::new(keep)));
            drop(state);
            self.changed.notify_all();
            return;
        }
        drop(state);
        let error = StoreError::from(ArtifactError::StoreSilent);
        if let Some(persist) = &self.shared.persist {
            persist.count(&self.shared.counters, error.clone());
        }
        keep.tell(&self.shared, &self.tx, Err(error));
    }

    /// Has the store told that these artifacts are in use; or not, if it has enough to do.
    pub(super) fn renew(&self, keys: Vec<RuntimeCacheKey>) {
        let mut state = lock(&self.state);
        if state.until.is_none() && state.queue.len() < MAX_WAITING {
            state.queue.push_back(Task::Renew(keys));
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Has an artifact deleted.
    pub(super) fn delete(&self, key: RuntimeCacheKey) {
        self.ask(Task::Delete(key));
    }

    /// Has the list of what was hot read, and told by a [`Command::Heat`].
    pub(super) fn load_heat(&self) {
        self.ask(Task::LoadHeat);
    }

    /// Has what is hot written down, as of an epoch of the store.
    pub(super) fn store_heat(&self, list: Vec<(RuntimeCacheKey, u32)>, epoch: u64) {
        self.ask(Task::StoreHeat(list, epoch));
    }

    fn ask(&self, task: Task) {
        let mut state = lock(&self.state);
        if state.until.is_none() {
            state.queue.push_back(task);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Takes no more, does what waits, and ends; waits for that until `deadline`. If the store does not
    /// come back by then, the thread ends by itself.
    pub(super) fn stop(&self, deadline: Instant) {
        let mut state = lock(&self.state);
        state.until.get_or_insert(deadline);
        self.changed.notify_all();
        while !state.left {
            let Some(wait) = deadline.checked_duration_since(Instant::now()) else {
                return;
            };
            let woken = self.changed.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        if let Some(handle) = lock(&self.thread).take() {
            // What is left of it is its teardown. It contains its panics.
            let _ = handle.join();
        }
    }

    fn run(&self) {
        self.shared.enter_thread();
        while let Some(task) = self.take() {
            let _ = caught(|| self.carry_out(task));
            lock(&self.state).ended += 1;
            self.changed.notify_all();
        }
        let mut state = lock(&self.state);
        state.left = true;
        let late = std::mem::take(&mut state.queue);
        drop(state);
        self.changed.notify_all();
        // K3.
        drop(late);
    }

    /// Waits for a task; `None` ends the thread.
    fn take(&self) -> Option<Task> {
        let mut state = lock(&self.state);
        loop {
            if state.is_over() {
                return None;
            }
            // K4. Relaxed: the number only says when to look again.
            let rests = self.paused.load(Relaxed) > 0 && state.until.is_none();
            let task = if rests { None } else { state.queue.pop_front() };
            if let Some(task) = task {
                if let Task::Keep(keep) = &task {
                    state.bytes -= keep.len();
                }
                return Some(task);
            }
            state = if rests && !state.queue.is_empty() {
                let woken = self.changed.wait_timeout(state, POLL);
                woken.unwrap_or_else(PoisonError::into_inner).0
            } else {
                let woken = self.changed.wait(state);
                woken.unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    fn carry_out(&self, task: Task) {
        let Some(persist) = &self.shared.persist else {
            return;
        };
        let counters = &self.shared.counters;
        match task {
            Task::Keep(keep) => {
                let outcome = persist.store(keep.key, keep.epoch, &keep.artifact, counters);
                keep.tell(&self.shared, &self.tx, outcome);
            }
            Task::Delete(key) => persist.delete(key, counters),
            Task::Renew(keys) => persist.renew(&keys, counters),
            Task::LoadHeat => {
                let list = persist.load_heat(counters);
                let _ = self.tx.send(Command::Heat(list));
            }
            Task::StoreHeat(list, epoch) => persist.store_heat(list, epoch, counters),
        }
    }
}
