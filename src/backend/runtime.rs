//! The backend thread: what it owns and how it reacts.
//!
//! Everything that changes the map, and everything that remembers, is in [`Runtime`], and only
//! its thread touches it; there is no lock on the road of a compilation but the workers' queue.
//! The methods take the time from outside, so that tests can make it pass.
//!
//! # Invariants
//!
//! * **B1** The code of every job has the hash that its key names. Explicit requests are compared
//!   on the caller's thread, observations here; what does not match is refused without a trace on
//!   the key, so that a wrong observation cannot take a contract's turn.
//! * **B2** A key is in the ledger exactly if the map has a program for it; the map says that a key
//!   failed only if it has none.
//! * **B3** Until it stops, this thread waits for nothing but commands: not for workers, not for
//!   readers, not for a store, nor for a thread that leaves an observation.
//! * **B4** Each message, and each step of the clock, is contained: what panics in it (bytecode is
//!   the caller's, and so is its destructor) is counted, B2 is restored, and the thread goes on.

use super::{
    answers::Verdict,
    compile::CompileWork,
    costs::Costs,
    failures::{Failures, Refusals},
    heat::Heat,
    jobs::Jobs,
    keeper::Keeper,
    ledger::Ledger,
    persist::Index,
    request::{Command, Observation},
    shared::{Shared, Writer},
};
use crate::{
    config::{RuntimeConfig, RuntimeTuning},
    error::Error,
    event::CompilationKind,
    key::RuntimeCacheKey,
    panics::caught,
    program::ProgramKind,
    resident::Lookup,
    stats::{add, set},
    worker::{Overdue, Pool},
};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// Commands handled, and observations of one thread, between two looks at the clock.
const BATCH: usize = 256;

/// Between two looks for observations while there are some. Without, the pauses double up to the
/// tick interval.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// How often the store is told which artifacts are in use.
const RENEWAL: Duration = Duration::from_secs(600);

/// Of how many it is told at a time.
const MAX_RENEWALS: usize = 4096;

/// Ages of the miss counter to catch up on after a long rest; more would find it empty.
const MAX_AGES: u32 = 32;

/// The state behind a backend. See the [module](self).
pub(super) struct Runtime {
    pub(super) tuning: RuntimeTuning,
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Writer,
    pub(super) pool: Arc<Pool<CompileWork>>,
    pub(super) jobs: Jobs,
    pub(super) ledger: Ledger,
    pub(super) failures: Failures,
    pub(super) refusals: Refusals,
    /// How often a waiting job was looked for that is less urgent than another.
    pub(super) turn: usize,
    pub(super) costs: Costs,
    pub(super) index: Index,
    /// Artifacts on their way into the store.
    pub(super) keeping: HashSet<RuntimeCacheKey>,
    pub(super) keeper: Option<Arc<Keeper>>,
    /// What was and is hot of the store.
    pub(super) heat: Heat,
    /// When the store is told again which artifacts are in use, since which tick they have to be, and
    /// how many it was told of.
    next_renewal: Instant,
    renewed: u64,
    renewals: usize,
    /// Whether observed keys become artifacts.
    pub(super) aot: bool,
    pub(super) started: Instant,
    pub(super) tick: u64,
    pub(super) next_sweep: Instant,
    pub(super) next_age: Instant,
}

impl Runtime {
    /// Reads the store's index, if there is a store, and has its list of what was hot read.
    pub(super) fn new(
        config: &RuntimeConfig,
        shared: Arc<Shared>,
        mut writer: Writer,
        pool: Arc<Pool<CompileWork>>,
        keeper: Option<Arc<Keeper>>,
        now: Instant,
    ) -> Self {
        let tuning = config.tuning;
        let persist = shared.persist.as_ref();
        let index = persist
            .map(|persist| persist.index(&shared.counters))
            .unwrap_or_default();
        for key in index.keys() {
            writer.insert_negative(*key, Verdict::Indexed);
        }
        let heat = Heat::new(&tuning, now);
        if let Some(keeper) = keeper.as_ref().filter(|_| heat.is_on()) {
            keeper.load_heat();
        }
        let runtime = Self {
            tuning,
            shared,
            writer,
            pool,
            jobs: Jobs::default(),
            ledger: Ledger::default(),
            failures: Failures::new(&tuning),
            refusals: Refusals::new(&tuning),
            turn: 0,
            costs: Costs::new(&tuning),
            index,
            keeping: HashSet::new(),
            keeper,
            heat,
            next_renewal: now + RENEWAL,
            renewed: 0,
            renewals: 0,
            aot: config.aot,
            started: now,
            tick: 0,
            next_sweep: now + tuning.eviction_sweep_interval,
            next_age: now + tuning.hotness_age_interval,
        };
        runtime.publish_gauges();
        runtime
    }

    /// The thread's life. Commands wake it; observations are looked for, so that an execution
    /// thread that leaves one has nobody to wake (L2).
    pub(super) fn run(mut self, commands: Receiver<Command>) {
        self.shared.enter_thread();
        let longest = self.tuning.tick_interval;
        // A client that starts uses what is stored: the first observations come at once.
        let mut pause = SHORTEST_PAUSE.min(longest);
        while !self.shared.stopping() {
            // B3: the one wait.
            let command = match commands.recv_timeout(pause) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // First the clock: what comes in now is not old. Then what was observed before.
            self.contained(|runtime| runtime.advance(Instant::now()));
            let seen = self.observe(BATCH);
            pause = if seen > 0 {
                SHORTEST_PAUSE
            } else {
                pause.saturating_mul(2)
            }
            .min(longest);
            for command in command.into_iter().chain(commands.try_iter().take(BATCH)) {
                if let Command::ClearResident(_) = command {
                    // What was observed before a clear is cleared, too.
                    for observation in self.writer.take_messages(usize::MAX) {
                        self.contained(|_| drop(observation));
                    }
                }
                self.contained(|runtime| runtime.handle(command));
            }
            self.contained(|runtime| {
                runtime.answer_paused();
                runtime.settle();
            });
        }
        // Whoever still sends or waits is told now (L3); then the workers have the remaining time.
        self.contained(Self::keep_last_heat);
        self.contained(|runtime| {
            drop(commands);
            runtime.jobs = Jobs::default();
        });
        self.pool.stop(self.shared.deadline());
    }

    /// B4.
    pub(super) fn contained(&mut self, step: impl FnOnce(&mut Self)) {
        if caught(|| step(self)).is_err() {
            add(&self.shared.counters.backend_panics, 1);
            // What panics here again is the program's end that was to be dropped: once is enough.
            let _ = caught(|| self.reconcile());
        }
    }

    /// Restores B2 where a step was left in its middle: what the map and the ledger do not both
    /// have goes.
    fn reconcile(&mut self) {
        let mut resident = Vec::new();
        self.writer.for_each(|key, found, _| {
            if let Lookup::Hit(_) = found {
                resident.push(*key);
            }
        });
        for key in &resident {
            if self.ledger.kind(key).is_none() {
                self.vacate(key);
            }
        }
        let unknown: Vec<_> = self
            .ledger
            .keys()
            .filter(|key| !matches!(self.writer.get(key), Lookup::Hit(_)))
            .copied()
            .collect();
        for key in &unknown {
            self.ledger.remove(key);
        }
    }

    /// Handles at most `each` observations of every thread, and returns how many there were.
    fn observe(&mut self, each: usize) -> usize {
        let observations = self.writer.take_messages(each);
        let seen = observations.len();
        for observation in observations {
            self.contained(|runtime| runtime.request(observation.into()));
        }
        seen
    }

    /// While compilation is paused, whoever waits for a job that no worker has begun is told so.
    /// The jobs stay.
    pub(super) fn answer_paused(&mut self) {
        if self.pool.is_paused() && self.jobs.is_waited_for() {
            let queued = self.pool.queued();
            self.jobs.answer(&queued, &Err(Error::Paused));
        }
    }

    /// Reacts to a message.
    pub(super) fn handle(&mut self, command: Command) {
        match command {
            Command::Request(request) => self.request(request),
            Command::Finished(report) => self.finished(report),
            Command::Kept(kept) => self.kept(&kept),
            Command::Heat(list) => self.begin_warm_start(list),
            Command::ClearResident(waiter) => {
                self.clear_resident();
                self.publish_gauges();
                waiter.answer(Ok(()));
            }
            Command::ForgetArtifacts(waiter) => {
                self.forget_artifacts();
                self.publish_gauges();
                waiter.answer(Ok(()));
            }
            Command::Wake => {}
        }
    }

    /// Frees what is free to go, and shows how things stand.
    pub(super) fn settle(&mut self) {
        self.writer.reclaim();
        self.publish_gauges();
    }

    /// Lets time pass up to `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.started);
        let tick = elapsed.as_nanos() / self.tuning.tick_interval.as_nanos().max(1);
        let tick = u64::try_from(tick).unwrap_or(u64::MAX);
        if tick != self.tick {
            self.optimize_what_stays_hot();
            self.tick = tick;
            self.writer.set_tick(tick);
            self.end_rests();
            let limit = self.tuning.job_abandon_after;
            let Overdue {
                jobs,
                replaced,
                waiting,
            } = self.pool.replace_overdue(limit);
            add(&self.shared.counters.workers_replaced, replaced);
            if let Some(persist) = &self.shared.persist {
                persist.set_silent(waiting > 0);
            }
            for pending in jobs
                .into_iter()
                .filter_map(|id| self.jobs.take(id))
                .collect::<Vec<_>>()
            {
                if pending.kind == CompilationKind::Load {
                    self.give_up_load(pending);
                    continue;
                }
                add(&self.shared.counters.abandoned, 1);
                self.fail(pending, Error::Abandoned(limit));
            }
            self.go_on_warming();
        }
        self.keep_heat(now);
        if now >= self.next_sweep {
            self.next_sweep = now + self.tuning.eviction_sweep_interval;
            self.evict_idle();
        }
        if now >= self.next_renewal {
            self.next_renewal = now + RENEWAL;
            self.renew_artifacts();
        }
        for _ in 0..MAX_AGES {
            if now < self.next_age {
                break;
            }
            self.next_age += self.tuning.hotness_age_interval;
            self.shared.sketch.age();
            self.heat.age();
        }
        if now >= self.next_age {
            self.next_age = now + self.tuning.hotness_age_interval;
        }
    }

    fn end_rests(&mut self) {
        for ((key, _), shown) in self.failures.expire(self.tick) {
            add(&self.shared.counters.retries, 1);
            if shown {
                self.vacate_unless_resident(&key);
            }
        }
    }

    // Tiers.

    /// Called at the end of each tick: a program whose entry carries the tick was used in it.
    fn optimize_what_stays_hot(&mut self) {
        if !self.ledger.has_candidates() || self.refusals.resting(self.tick) {
            return;
        }
        let (tick, enough) = (self.tick, self.tuning.jit_optimize_after_ticks);
        let best = self.best_tier();
        let (ledger, failures) = (&mut self.ledger, &self.failures);
        let mut ready = Vec::new();
        self.writer.for_each(|key, _, used| {
            if used == tick
                && ledger.warm(key, enough)
                && failures.resting(&(*key, best), tick).is_none()
            {
                ready.push(*key);
            }
        });
        let room = self
            .tuning
            .jit_max_pending_jobs
            .saturating_sub(self.jobs.optimizing());
        for key in ready.into_iter().take(room) {
            if let Some(code) = self.ledger.take_candidate(&key) {
                let request = Observation { key, code }.into();
                self.dispatch(request, CompilationKind::Optimize);
            }
        }
    }

    // Eviction.

    fn evict_idle(&mut self) {
        let Some(limit) = self.tuning.idle_evict_duration else {
            return;
        };
        let (tick, limit) = (self.tick, self.tuning.ticks(limit));
        let mut idle = Vec::new();
        self.writer.for_each(|key, found, used| {
            if let Lookup::Hit(program) = found
                && program.kind() == ProgramKind::Jit
                && tick.saturating_sub(used) >= limit
            {
                idle.push(*key);
            }
        });
        add(&self.shared.counters.evicted_idle, idle.len());
        idle.iter().for_each(|key| self.evict(key));
    }

    pub(super) fn evict_over_budget(&mut self, kind: ProgramKind, keep: &RuntimeCacheKey) {
        let budget = self.budget(kind);
        if self.ledger.held(kind).fits(budget) {
            return;
        }
        let mut used = Vec::with_capacity(self.ledger.len());
        self.writer.for_each(|key, _, tick| used.push((*key, tick)));
        let out = self.ledger.over_budget(kind, budget, used, keep);
        add(&self.shared.counters.evicted_over_budget, out.len());
        out.iter().for_each(|key| self.evict(key));
    }

    /// Drops JIT programs so that the system has room for `keep`.
    pub(super) fn ease_system(&mut self, keep: &RuntimeCacheKey) {
        let mut used = Vec::with_capacity(self.ledger.len());
        self.writer.for_each(|key, _, tick| used.push((*key, tick)));
        let out = self.ledger.to_ease(ProgramKind::Jit, used, keep);
        add(&self.shared.counters.evicted_over_budget, out.len());
        out.iter().for_each(|key| self.evict(key));
        self.writer.reclaim();
    }

    /// Has the store told which artifacts are in use. What is resident is not loaded, so that the store
    /// would take the hottest for the least used.
    fn renew_artifacts(&mut self) {
        let Some(keeper) = &self.keeper else {
            return;
        };
        let (since, index) = (self.renewed, &self.index);
        let mut used = Vec::new();
        self.writer.for_each(|key, found, tick| {
            if let Lookup::Hit(_) = found
                && tick >= since
                && index.contains(key)
            {
                used.push(*key);
            }
        });
        self.renewed = self.tick;
        if used.is_empty() {
            return;
        }
        // Those that were left out have their turn the next time.
        let from = self.renewals % used.len();
        used.rotate_left(from);
        used.truncate(MAX_RENEWALS);
        self.renewals = self.renewals.wrapping_add(used.len());
        keeper.renew(used);
    }

    fn evict(&mut self, key: &RuntimeCacheKey) {
        self.ledger.remove(key);
        self.vacate(key);
    }

    fn clear_resident(&mut self) {
        add(&self.shared.counters.cancelled, self.jobs.cancel_resident());
        add(&self.shared.counters.clears, 1);
        self.pool.cancel(|job| job.kind != CompilationKind::Aot);
        self.writer.clear();
        self.ledger.clear();
        let miscompiled = self.failures.clear();
        self.costs.clear();
        self.heat.clear();
        self.shared.sketch.clear();
        // Artifacts are still in the store, and are loaded again when they are used again.
        for key in self.index.keys() {
            self.writer.insert_negative(*key, Verdict::Indexed);
        }
        for key in miscompiled {
            self.writer.insert_negative(key, Verdict::Failed);
        }
    }

    fn forget_artifacts(&mut self) {
        add(&self.shared.counters.clears, 1);
        self.heat.clear();
        for key in std::mem::take(&mut self.index).keys() {
            if let Lookup::Negative(Verdict::Indexed) = self.writer.get(key) {
                self.writer.remove(key);
            }
        }
    }

    pub(super) fn publish_gauges(&self) {
        let counters = &self.shared.counters;
        set(&counters.resident_entries, self.ledger.len());
        let held = |kind| self.ledger.held(kind).bytes;
        set(&counters.code_bytes, held(ProgramKind::Jit));
        set(&counters.aot_code_bytes, held(ProgramKind::Aot));
        set(&counters.pending_jobs, self.jobs.len());
        set(&counters.failures_remembered, self.failures.len());
        set(&counters.artifacts_indexed, self.index.len());
        counters.artifact_bytes.store(self.index.bytes(), Relaxed);
        counters.tick.store(self.tick, Relaxed);
        let gauges = self.writer.gauges();
        set(&counters.map_capacity, gauges.capacity);
        set(&counters.map_max_probe, gauges.max_probe);
        set(&counters.map_tombstones, gauges.tombstones);
        set(&counters.map_backlog, gauges.backlog);
        set(&counters.map_lent, gauges.lent);
    }
}
