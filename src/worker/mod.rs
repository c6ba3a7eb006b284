//! Compile threads: jobs by priority, panics contained, one stuck job costs one thread.
//!
//! The pool knows nothing of compilation; what a job is and what to do with its outcome is
//! [`Work`]. It does not decide what runs, only in which order: the backend thread pushes jobs
//! with a [`Priority`] and may take queued ones back. Among the jobs that nobody asked for, the
//! order is [`Work::urgency`], asked anew whenever a worker is free.
//!
//! # A worker's life
//!
//! ```text
//! Idle → Working → Telling → Idle …
//!           ↓         ↑
//!        Overdue ─────┘
//!           ↓
//!        Replaced → Left
//! ```
//!
//! Only the processor time of `Working` counts towards giving up: neither what comes after the job
//! (callbacks), nor time in which the thread did not run. For a job that [waits](Work::waits), it is
//! the time of `Working`. Replacements are a credit of as many as there are places; a worker that comes
//! back gives its own back.
//!
//! # Invariants
//!
//! * **W1** No user code runs while the lock is held, so the lock is never poisoned and never
//!   held for long.
//! * **W2** Every job that was taken is answered through [`Work::finished`] exactly once, a panic
//!   being one of the answers; a job that was not taken is dropped.
//! * **W3** A worker in `Replaced` takes no further job: there are never more workers with a place
//!   than configured, and at most twice as many threads.
//! * **W4** A worker that comes back when another has its place is forgotten: its thread, which nobody
//!   joins, gives back all that it has when it ends.

use crate::{
    cpu_time::{Moment, ThreadClock},
    error::{Error, Result},
    panics::caught,
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Address space for a worker's stack. A compiler recurses over what it compiles, and running out
/// of stack ends the process; untouched pages cost nothing.
const STACK_BYTES: usize = 64 << 20;

/// How often a worker with nothing to do but jobs that must wait looks again. [`Pool::wake`] is
/// normally what ends a pause; this bounds the one that falls between the worker's look and its
/// wait, and is how the allowance of [`Work::urgency`] is followed.
const POLL: Duration = Duration::from_millis(50);

/// Which job goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// Somebody asked for it.
    Explicit,
    /// It became hot.
    Observed,
    /// It works already and stays hot. Before one of [`TURN`] that became hot, so that a flood of those
    /// does not keep it waiting for ever.
    Optimize,
    /// Nobody has missed it.
    Warm,
}

/// How many there are.
const PRIORITIES: usize = Priority::Warm as usize + 1;

/// Of so many jobs that nobody asked for, one is of [`Priority::Optimize`] if any waits and may run.
const TURN: u32 = 16;

/// How many of the waiting jobs [`Pool::lightest`] looks at.
const LOOKED_AT: usize = 16;

/// What workers do.
pub(crate) trait Work: Send + Sync + 'static {
    /// One piece of work.
    type Job: Send + 'static;
    /// What it makes.
    type Output;

    /// Called once on each worker before its first job.
    fn started(&self) {}
    /// Does the job. A panic is contained.
    fn run(&self, job: &Self::Job) -> Self::Output;
    /// Takes the outcome, or the message of the panic. A panic in here is contained, too.
    fn finished(&self, job: Self::Job, outcome: Result<Self::Output, String>, spent: Spent);
    /// Which of the jobs that nobody asked for goes first: the highest. `None`: not now. Called
    /// with the lock held (W1), once for each job that waits.
    fn urgency(&self, job: &Self::Job) -> Option<u64>;
    /// How long the job may take, if it waits for somebody else rather than computes: then it is given
    /// up by the wall clock. Called with the lock held (W1).
    fn waits(&self, job: &Self::Job) -> Option<Duration>;
}

/// What [`Pool::replace_overdue`] has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Overdue {
    /// Jobs that were given up now.
    pub(crate) jobs: Vec<u64>,
    /// Workers that were replaced now.
    pub(crate) replaced: usize,
    /// Workers that wait in a job that was given up, now or before.
    pub(crate) waiting: usize,
}

/// What a job cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

struct Queued<J> {
    id: u64,
    job: J,
}

/// Where a worker is in its life; see the [module](self).
#[derive(Debug)]
enum Life {
    /// Waits for a job.
    Idle,
    /// Does a job.
    Working {
        job: u64,
        since: Moment,
        waits: Option<Duration>,
    },
    /// Done with the job, it hands the outcome over and calls callbacks.
    Telling,
    /// Its job was given up, and nobody has its place yet.
    Overdue { waits: bool },
    /// Its job was given up and another has its place.
    Replaced { waits: bool },
    /// Has left its loop.
    Left,
}

struct Worker {
    id: u64,
    life: Life,
    /// Set by the thread itself.
    clock: Option<ThreadClock>,
    handle: JoinHandle<()>,
}

impl Worker {
    fn has_place(&self) -> bool {
        !matches!(self.life, Life::Replaced { .. } | Life::Left)
    }

    /// What the job it does has used: processor time, or time where it waits, or no thread's time can be
    /// read.
    fn spent(&self, since: &Moment, waits: bool) -> Duration {
        let clock = self.clock.filter(|_| !waits);
        since.cpu_at(clock.and_then(ThreadClock::time))
    }
}

struct State<J> {
    /// One queue for each [`Priority`].
    queues: [VecDeque<Queued<J>>; PRIORITIES],
    /// Every thread not yet joined.
    workers: Vec<Worker>,
    next_worker: u64,
    /// Jobs taken that nobody had asked for.
    taken: u32,
    stopping: bool,
}

/// What a free worker finds.
enum Next<J> {
    Job(Queued<J>),
    /// Jobs, but none for now.
    Later,
    Nothing,
}

impl<J> State<J> {
    fn worker(&mut self, id: u64) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.id == id)
    }

    fn next(&mut self, urgency: impl Fn(&J) -> Option<u64>) -> Next<J> {
        let [explicit, others @ ..] = &mut self.queues;
        if let Some(queued) = explicit.pop_front() {
            return Next::Job(queued);
        }
        let mut order = [Priority::Observed, Priority::Optimize, Priority::Warm];
        if self.taken.wrapping_add(1).is_multiple_of(TURN) {
            order.swap(0, 1);
        }
        for priority in order {
            let queue = &mut others[priority as usize - 1];
            let mut best = None;
            for (i, queued) in queue.iter().enumerate() {
                // The first of equals: they are in the order of their coming.
                if let Some(urgency) = urgency(&queued.job)
                    && best.is_none_or(|(_, highest)| urgency > highest)
                {
                    best = Some((i, urgency));
                }
            }
            if let Some(queued) = best.and_then(|(i, _)| queue.remove(i)) {
                self.taken = self.taken.wrapping_add(1);
                return Next::Job(queued);
            }
        }
        match others.iter().all(VecDeque::is_empty) {
            true => Next::Nothing,
            false => Next::Later,
        }
    }
}

/// The threads and their queue.
pub(crate) struct Pool<W: Work> {
    state: Mutex<State<W::Job>>,
    changed: Condvar,
    paused: Arc<AtomicU32>,
    work: W,
    name: String,
    /// Workers wanted.
    places: usize,
    running: AtomicUsize,
    workers: AtomicUsize,
}

impl<W: Work> Pool<W> {
    /// Starts `count` workers named `name-0`, `name-1`, …, which rest while `paused` is not 0.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`] if a thread is refused; those already started are stopped again.
    pub(crate) fn start(
        name: &str,
        count: usize,
        paused: Arc<AtomicU32>,
        work: W,
    ) -> Result<Arc<Self>> {
        let pool = Arc::new(Self {
            state: Mutex::new(State {
                queues: Default::default(),
                workers: Vec::new(),
                next_worker: 0,
                taken: 0,
                stopping: false,
            }),
            changed: Condvar::new(),
            paused,
            work,
            name: name.to_owned(),
            places: count,
            running: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
        });
        for _ in 0..count {
            // The lock is given back before it is stopped.
            let spawned = pool.spawn(&mut pool.lock());
            if let Err(error) = spawned {
                pool.stop(Instant::now() + Duration::from_secs(5));
                return Err(error);
            }
        }
        Ok(pool)
    }

    fn spawn(self: &Arc<Self>, state: &mut State<W::Job>) -> Result<()> {
        let id = state.next_worker;
        let name = format!("{}-{id}", self.name);
        let pool = Arc::clone(self);
        let handle = thread::Builder::new()
            .name(name.clone())
            .stack_size(STACK_BYTES)
            .spawn(move || pool.run_worker(id))
            .map_err(|error| Error::Spawn {
                thread: name,
                kind: error.kind(),
            })?;
        state.next_worker += 1;
        state.workers.push(Worker {
            id,
            life: Life::Idle,
            clock: None,
            handle,
        });
        self.show(state);
        Ok(())
    }

    /// W1: nothing that can panic runs under the lock, so poison carries no meaning.
    fn lock(&self) -> MutexGuard<'_, State<W::Job>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how many workers have a place.
    fn show(&self, state: &State<W::Job>) {
        let places = state.workers.iter().filter(|worker| worker.has_place());
        self.workers.store(places.count(), Relaxed); // A gauge.
    }

    /// Adds a job.
    pub(crate) fn push(&self, id: u64, priority: Priority, job: W::Job) {
        self.lock().queues[priority as usize].push_back(Queued { id, job });
        self.changed.notify_one();
    }

    /// Moves a job that is still queued with a lower priority to the end of those with this one.
    pub(crate) fn hasten(&self, id: u64, priority: Priority) {
        let mut state = self.lock();
        let (sooner, later) = state.queues.split_at_mut(priority as usize + 1);
        for queue in later {
            if let Some(queued) = queue
                .iter()
                .position(|queued| queued.id == id)
                .and_then(|i| queue.remove(i))
            {
                sooner[priority as usize].push_back(queued);
                self.changed.notify_one();
                return;
            }
        }
    }

    /// Takes queued jobs back, and returns how many. Running ones go on.
    pub(crate) fn cancel(&self, which: impl Fn(&W::Job) -> bool) -> usize {
        let mut cancelled = Vec::new();
        for queue in &mut self.lock().queues {
            let (out, kept) = queue
                .drain(..)
                .partition::<Vec<_>, _>(|queued| which(&queued.job));
            queue.extend(kept);
            cancelled.extend(out);
        }
        // W1: a job may hold caller's data with a destructor; dropped after the lock.
        cancelled.len()
    }

    /// Of some of the jobs that wait with this priority, the one that weighs least, and what it weighs. Looks at
    /// [`LOOKED_AT`], others for each `turn`: a flood of callers cannot make this thread, or one that waits for
    /// the lock, look at all.
    pub(crate) fn lightest(
        &self,
        priority: Priority,
        turn: usize,
        weight: impl Fn(&W::Job) -> u64,
    ) -> Option<(u64, u64)> {
        let state = self.lock();
        let queue = &state.queues[priority as usize];
        let step = queue.len().div_ceil(LOOKED_AT).max(1);
        let some = queue.iter().skip(turn % step).step_by(step);
        let weights = some.map(|queued| (queued.id, weight(&queued.job)));
        // The last of equals, which came last.
        weights.rev().min_by_key(|(_, weight)| *weight)
    }

    /// The numbers of the jobs that no worker has taken.
    pub(crate) fn queued(&self) -> Vec<u64> {
        let state = self.lock();
        state
            .queues
            .iter()
            .flatten()
            .map(|queued| queued.id)
            .collect()
    }

    /// Ends pauses early. Never waits.
    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Whether workers rest.
    pub(crate) fn is_paused(&self) -> bool {
        // Relaxed: the number only says when to look again, no data comes with it.
        self.paused.load(Relaxed) > 0
    }

    /// Jobs on a worker now.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Relaxed) // A gauge.
    }

    /// Workers that have a place: all but those given up.
    pub(crate) fn workers(&self) -> usize {
        self.workers.load(Relaxed) // A gauge.
    }

    /// Gives up jobs that have used more processor time than `limit`, or more time than they may
    /// [wait](Work::waits), and starts other workers in the place of theirs, as long as no more than
    /// there are places are away.
    pub(crate) fn replace_overdue(self: &Arc<Self>, limit: Duration) -> Overdue {
        let mut state = self.lock();
        let mut jobs = Vec::new();
        for worker in &mut state.workers {
            if let Life::Working { job, since, waits } = &worker.life
                && worker.spent(since, waits.is_some()) > waits.unwrap_or(limit)
            {
                jobs.push(*job);
                worker.life = Life::Overdue {
                    waits: waits.is_some(),
                };
            }
        }
        let mut replaced = 0;
        let away = |worker: &Worker| matches!(worker.life, Life::Replaced { .. });
        let mut credit = self
            .places
            .saturating_sub(state.workers.iter().filter(|worker| away(worker)).count());
        for i in 0..state.workers.len() {
            if credit > 0
                && let Life::Overdue { waits } = state.workers[i].life
                && self.spawn(&mut state).is_ok()
            {
                state.workers[i].life = Life::Replaced { waits };
                credit -= 1;
                replaced += 1;
            }
        }
        self.show(&state);
        let lost = |worker: &&Worker| {
            let (Life::Overdue { waits } | Life::Replaced { waits }) = worker.life else {
                return false;
            };
            waits
        };
        Overdue {
            jobs,
            replaced,
            waiting: state.workers.iter().filter(lost).count(),
        }
    }

    /// Stops all workers: queued jobs are dropped, running ones are waited for until `deadline`.
    /// A worker that has not ended by then does so by itself.
    pub(crate) fn stop(&self, deadline: Instant) {
        let mut state = self.lock();
        state.stopping = true;
        let dropped: Vec<_> = state.queues.iter_mut().flat_map(std::mem::take).collect();
        drop(state);
        // A job's data may have a destructor of the caller's.
        let _ = caught(|| drop(dropped));
        self.changed.notify_all();

        let mut state = self.lock();
        let has_left = |worker: &Worker| matches!(worker.life, Life::Left);
        while !state.workers.iter().all(has_left) {
            let Some(wait) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            state = self
                .changed
                .wait_timeout(state, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let workers = std::mem::take(&mut state.workers);
        drop(state);
        for worker in workers.into_iter().filter(has_left) {
            // What is left of the thread is its teardown. It contains its panics: no error.
            let _ = worker.handle.join();
        }
    }

    fn run_worker(&self, id: u64) {
        // The default hook prints a contained panic's message, as for every panic.
        let _ = caught(|| self.work.started());
        if let Some(worker) = self.lock().worker(id) {
            worker.clock = ThreadClock::of_this_thread();
        }
        while let Some(Queued { id: _, job }) = self.take(id) {
            self.run_job(id, job);
            self.running.fetch_sub(1, Relaxed); // A gauge.
        }
        let mut state = self.lock();
        let mut forgotten = None;
        if let Some(at) = state.workers.iter().position(|worker| worker.id == id) {
            match state.stopping {
                true => state.workers[at].life = Life::Left,
                // W4
                false => forgotten = Some(state.workers.swap_remove(at)),
            }
        }
        self.show(&state);
        drop((state, forgotten));
        self.changed.notify_all();
    }

    /// Waits for a job; `None` ends the worker.
    fn take(&self, id: u64) -> Option<Queued<W::Job>> {
        let mut state = self.lock();
        // Not there: the pool has stopped without waiting for it.
        if !state.worker(id)?.has_place() {
            return None; // W3
        }
        state.worker(id)?.life = Life::Idle;
        loop {
            if state.stopping {
                return None;
            }
            let next = match self.is_paused() {
                true => Next::Later,
                false => state.next(|job| self.work.urgency(job)),
            };
            state = match next {
                Next::Job(queued) => {
                    let (job, since) = (queued.id, Moment::now());
                    let waits = self.work.waits(&queued.job);
                    state.worker(id)?.life = Life::Working { job, since, waits };
                    self.running.fetch_add(1, Relaxed); // A gauge.
                    return Some(queued);
                }
                Next::Later => {
                    let wait = self.changed.wait_timeout(state, POLL);
                    wait.unwrap_or_else(PoisonError::into_inner).0
                }
                Next::Nothing => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// W2: from the return of [`take`](Self::take) to [`Work::finished`] nothing ends this early.
    fn run_job(&self, id: u64, job: W::Job) {
        let begin = Moment::now();
        // Unwind safety: a job's data is dropped after a panic, `Work` is shared and holds none.
        let outcome = caught(|| self.work.run(&job));
        // From here on nothing is given up any more: what follows is not the job.
        if let Some(worker) = self.lock().worker(id)
            && worker.has_place()
        {
            worker.life = Life::Telling;
        }
        let spent = Spent {
            wall: begin.wall(),
            cpu: begin.cpu(),
        };
        let _ = caught(|| self.work.finished(job, outcome, spent));
    }
}

impl<W: Work> fmt::Debug for Pool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
