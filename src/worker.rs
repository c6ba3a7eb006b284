//! Compile threads: jobs by priority, panics contained, one stuck job costs one thread.
//!
//! The pool knows nothing of compilation; what a job is and what to do with its outcome is
//! [`Work`]. It does not decide what runs, only in which order: the backend thread pushes jobs
//! with a [`Priority`] and may take queued ones back.
//!
//! # Invariants
//!
//! * **W1** No user code runs while the lock is held, so the lock is never poisoned and never
//!   held for long.
//! * **W2** Every job that was taken is answered through [`Work::finished`] exactly once, a panic
//!   being one of the answers; a job that was not taken is dropped.
//! * **W3** A worker that was given up ([`Pool::replace_overdue`]) takes no further job: there are
//!   never more live workers than configured, and at most twice as many threads.

use crate::{Error, Result, cpu_time::thread_time};
use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
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

/// How often a paused worker looks whether the pause is over. [`Pool::wake`] is normally what ends
/// its wait; this bounds the one that falls between the worker's look and its wait.
const PAUSE_POLL: Duration = Duration::from_millis(50);

/// Which job goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// Somebody asked for it.
    Explicit,
    /// It became hot.
    Observed,
    /// It works already and stays hot.
    Optimize,
}

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

struct Running {
    worker: u64,
    job: u64,
    since: Instant,
}

struct State<J> {
    /// One queue for each [`Priority`].
    queues: [VecDeque<Queued<J>>; 3],
    running: Vec<Running>,
    /// Workers that may take jobs.
    live: Vec<u64>,
    /// Every thread not yet joined, with whether it has left its loop.
    threads: Vec<(u64, bool, JoinHandle<()>)>,
    next_worker: u64,
    replacements_left: usize,
    stopping: bool,
}

/// The threads and their queue.
pub(crate) struct Pool<W: Work> {
    state: Mutex<State<W::Job>>,
    changed: Condvar,
    paused: Arc<AtomicU32>,
    work: W,
    name: String,
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
                running: Vec::new(),
                live: Vec::new(),
                threads: Vec::new(),
                next_worker: 0,
                replacements_left: count,
                stopping: false,
            }),
            changed: Condvar::new(),
            paused,
            work,
            name: name.to_owned(),
            running: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
        });
        for _ in 0..count {
            if let Err(error) = pool.spawn(&mut pool.lock()) {
                pool.stop(Instant::now() + Duration::from_secs(5));
                return Err(error);
            }
        }
        Ok(pool)
    }

    fn spawn(self: &Arc<Self>, state: &mut State<W::Job>) -> Result<()> {
        let worker = state.next_worker;
        let name = format!("{}-{worker}", self.name);
        let pool = Arc::clone(self);
        let handle = thread::Builder::new()
            .name(name.clone())
            .stack_size(STACK_BYTES)
            .spawn(move || pool.run_worker(worker))
            .map_err(|error| Error::Spawn {
                thread: name,
                kind: error.kind(),
            })?;
        state.next_worker += 1;
        state.live.push(worker);
        state.threads.push((worker, false, handle));
        self.workers.store(state.live.len(), Relaxed); // A gauge.
        Ok(())
    }

    /// W1: nothing that can panic runs under the lock, so poison carries no meaning.
    fn lock(&self) -> MutexGuard<'_, State<W::Job>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job.
    pub(crate) fn push(&self, id: u64, priority: Priority, job: W::Job) {
        self.lock().queues[priority as usize].push_back(Queued { id, job });
        self.changed.notify_one();
    }

    /// Moves a job that is still queued to the end of the explicit requests.
    pub(crate) fn make_explicit(&self, id: u64) {
        let mut state = self.lock();
        let [explicit, later @ ..] = &mut state.queues;
        for queue in later {
            if let Some(queued) = queue
                .iter()
                .position(|queued| queued.id == id)
                .and_then(|i| queue.remove(i))
            {
                explicit.push_back(queued);
                return;
            }
        }
    }

    /// Takes queued jobs back. Running ones go on.
    pub(crate) fn cancel(&self, which: impl Fn(&W::Job) -> bool) {
        let mut cancelled = Vec::new();
        for queue in &mut self.lock().queues {
            let (out, kept) = queue
                .drain(..)
                .partition::<Vec<_>, _>(|queued| which(&queued.job));
            queue.extend(kept);
            cancelled.extend(out);
        }
        // W1: a job may hold caller's data with a destructor; dropped after the lock.
        drop(cancelled);
    }

    /// Ends pauses early. Never waits.
    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Jobs on a worker now.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Relaxed) // A gauge.
    }

    /// Workers that take jobs.
    pub(crate) fn workers(&self) -> usize {
        self.workers.load(Relaxed) // A gauge.
    }

    /// Gives up on workers whose job is older than `limit` and starts others in their place, as
    /// often as the pool has workers. Returns the jobs, and how many workers were replaced.
    pub(crate) fn replace_overdue(
        self: &Arc<Self>,
        now: Instant,
        limit: Duration,
    ) -> (Vec<u64>, usize) {
        let mut state = self.lock();
        let mut overdue = Vec::new();
        let mut replaced = 0;
        let mut i = 0;
        while let Some(running) = state.running.get(i) {
            if now.saturating_duration_since(running.since) <= limit {
                i += 1;
                continue;
            }
            let given_up = state.running.swap_remove(i);
            overdue.push(given_up.job);
            if state.replacements_left > 0 && self.spawn(&mut state).is_ok() {
                state.replacements_left -= 1;
                replaced += 1;
                state.live.retain(|worker| *worker != given_up.worker);
                self.workers.store(state.live.len(), Relaxed); // A gauge.
            }
        }
        (overdue, replaced)
    }

    /// Stops all workers: queued jobs are dropped, running ones are waited for until `deadline`.
    /// A worker that has not ended by then does so by itself.
    pub(crate) fn stop(&self, deadline: Instant) {
        let mut state = self.lock();
        state.stopping = true;
        let dropped: Vec<_> = state.queues.iter_mut().flat_map(std::mem::take).collect();
        drop(state);
        drop(dropped);
        self.changed.notify_all();

        let mut state = self.lock();
        while state.threads.iter().any(|(_, left, _)| !left) {
            let Some(wait) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            state = self
                .changed
                .wait_timeout(state, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        for (_, left, handle) in threads {
            if left {
                // What is left of the thread is its teardown. It contains its panics: no error.
                let _ = handle.join();
            }
        }
    }

    fn run_worker(&self, worker: u64) {
        // The default hook prints a contained panic's message, as for every panic.
        let _ = catch_unwind(AssertUnwindSafe(|| self.work.started()));
        while let Some(Queued { id: _, job }) = self.take(worker) {
            self.run_job(job);
            self.running.fetch_sub(1, Relaxed); // A gauge.
            self.lock()
                .running
                .retain(|running| running.worker != worker);
        }
        let mut state = self.lock();
        state.live.retain(|live| *live != worker);
        self.workers.store(state.live.len(), Relaxed); // A gauge.
        if let Some((_, left, _)) = state.threads.iter_mut().find(|(id, ..)| *id == worker) {
            *left = true;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for a job; `None` ends the worker.
    fn take(&self, worker: u64) -> Option<Queued<W::Job>> {
        let mut state = self.lock();
        loop {
            if state.stopping || !state.live.contains(&worker) {
                return None;
            }
            // Relaxed: the flag only says when to look again, no data comes with it.
            let paused = self.paused.load(Relaxed) > 0;
            if !paused && let Some(queued) = state.queues.iter_mut().find_map(VecDeque::pop_front) {
                let (job, since) = (queued.id, Instant::now());
                state.running.push(Running { worker, job, since });
                self.running.fetch_add(1, Relaxed); // A gauge.
                return Some(queued);
            }
            state = if paused {
                let wait = self.changed.wait_timeout(state, PAUSE_POLL);
                wait.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    fn run_job(&self, job: W::Job) {
        let (wall, cpu) = (Instant::now(), thread_time());
        // Unwind safety: a job's data is dropped after a panic, `Work` is shared and holds none.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work.run(&job)));
        let wall = wall.elapsed();
        let cpu = match (cpu, thread_time()) {
            (Some(start), Some(end)) => end.saturating_sub(start),
            _ => wall,
        };
        let outcome = outcome.map_err(panic_message);
        let finish = || self.work.finished(job, outcome, Spent { wall, cpu });
        let _ = catch_unwind(AssertUnwindSafe(finish));
    }
}

impl<W: Work> fmt::Debug for Pool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The text of a panic.
pub(crate) fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let message = payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    // The destructor of a payload may panic itself.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
    message.unwrap_or_else(|| "(not a string)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    enum Job {
        Say(u32),
        Panic,
        /// Reports that it runs, then waits until the other end is dropped or sends.
        Stick(Sender<()>, Receiver<()>),
        PanicInFinished,
    }

    struct Echo(Mutex<Sender<Result<u32, String>>>);

    impl Work for Echo {
        type Job = Job;
        type Output = u32;

        fn run(&self, job: &Job) -> u32 {
            match job {
                Job::Say(n) => *n,
                Job::Panic => panic!("told to {}", "panic"),
                Job::Stick(started, release) => {
                    started.send(()).unwrap();
                    let _ = release.recv();
                    0
                }
                Job::PanicInFinished => u32::MAX,
            }
        }

        fn finished(&self, job: Job, outcome: Result<u32, String>, _: Spent) {
            if matches!(job, Job::PanicInFinished) {
                panic!("told to panic at the end");
            }
            self.0.lock().unwrap().send(outcome).unwrap();
        }
    }

    type Fixture = (
        Arc<Pool<Echo>>,
        Receiver<Result<u32, String>>,
        Arc<AtomicU32>,
    );

    fn pool(workers: usize) -> Fixture {
        let (tx, rx) = channel();
        let paused = Arc::new(AtomicU32::new(0));
        let echo = Echo(Mutex::new(tx));
        (
            Pool::start("test", workers, paused.clone(), echo).unwrap(),
            rx,
            paused,
        )
    }

    fn stick(pool: &Pool<Echo>, id: u64) -> Sender<()> {
        let (started, running) = channel();
        let (release, wait) = channel();
        pool.push(id, Priority::Explicit, Job::Stick(started, wait));
        running.recv().unwrap();
        release
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_panic_is_an_answer_and_the_worker_goes_on() {
        let (pool, rx, _) = pool(1);
        pool.push(1, Priority::Observed, Job::Panic);
        pool.push(2, Priority::Observed, Job::PanicInFinished);
        pool.push(3, Priority::Observed, Job::Say(7));
        assert_eq!(rx.recv().unwrap(), Err("told to panic".to_owned()));
        assert_eq!(rx.recv().unwrap(), Ok(7));
        pool.stop(soon());
        assert_eq!((pool.workers(), pool.running()), (0, 0));
    }

    #[test]
    fn explicit_jobs_go_first_and_a_job_can_become_one() {
        let (pool, rx, _) = pool(1);
        let release = stick(&pool, 0);
        pool.push(1, Priority::Optimize, Job::Say(1));
        pool.push(2, Priority::Observed, Job::Say(2));
        pool.push(3, Priority::Observed, Job::Say(3));
        pool.push(4, Priority::Explicit, Job::Say(4));
        pool.make_explicit(3);
        drop(release);
        let order: Vec<u32> = (0..5).map(|_| rx.recv().unwrap().unwrap()).collect();
        assert_eq!(order, [0, 4, 3, 2, 1]);
        pool.stop(soon());
    }

    #[test]
    fn queued_jobs_can_be_taken_back() {
        let (pool, rx, _) = pool(1);
        let release = stick(&pool, 0);
        for i in 1..=4 {
            pool.push(i, Priority::Observed, Job::Say(i as u32));
        }
        pool.cancel(|job| matches!(job, Job::Say(n) if n % 2 == 0));
        drop(release);
        let order: Vec<u32> = (0..3).map(|_| rx.recv().unwrap().unwrap()).collect();
        assert_eq!(order, [0, 1, 3]);
        pool.stop(soon());
        assert!(rx.try_recv().is_err());
    }

    #[test]
    fn a_pause_holds_jobs_back() {
        let (pool, rx, paused) = pool(2);
        paused.store(1, Relaxed);
        pool.push(1, Priority::Explicit, Job::Say(1));
        assert!(rx.recv_timeout(Duration::from_millis(200)).is_err());
        paused.store(0, Relaxed);
        pool.wake();
        assert_eq!(rx.recv().unwrap(), Ok(1));
        paused.store(1, Relaxed);
        pool.stop(soon());
        assert_eq!(pool.workers(), 0);
    }

    #[test]
    fn a_stuck_worker_is_replaced_and_not_waited_for() {
        let (pool, rx, _) = pool(1);
        let release = stick(&pool, 10);
        assert_eq!(
            pool.replace_overdue(Instant::now(), Duration::from_secs(60)),
            (vec![], 0)
        );
        let later = Instant::now() + Duration::from_secs(120);
        assert_eq!(
            pool.replace_overdue(later, Duration::from_secs(60)),
            (vec![10], 1)
        );
        assert_eq!(pool.workers(), 1);
        pool.push(11, Priority::Observed, Job::Say(11));
        assert_eq!(rx.recv().unwrap(), Ok(11));
        // Only as many replacements as workers: the next stuck job stays with its worker.
        let second = stick(&pool, 12);
        assert_eq!(
            pool.replace_overdue(later, Duration::from_secs(60)),
            (vec![12], 0)
        );
        assert_eq!(pool.workers(), 1);
        // Stopping does not wait for what is stuck.
        pool.stop(Instant::now());
        drop((release, second));
        assert_eq!(rx.recv().unwrap(), Ok(0));
        assert_eq!(rx.recv().unwrap(), Ok(0));
    }

    #[test]
    fn stopping_drops_what_is_queued() {
        let (pool, rx, paused) = pool(1);
        paused.store(1, Relaxed);
        let (started, _running) = channel();
        let (_release, wait) = channel::<()>();
        pool.push(1, Priority::Explicit, Job::Stick(started, wait));
        pool.stop(soon());
        assert!(rx.try_recv().is_err());
    }
}
