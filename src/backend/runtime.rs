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
//! * **B2** A key is in the ledger exactly if the map has a program for it; it is resting in the
//!   failures only if it is not.
//! * **B3** This thread waits for nothing but commands: not for workers, not for readers, not
//!   for a store.

use super::{
    compile::CompileWork,
    core::{Shared, Writer},
    failures::Failures,
    jobs::Jobs,
    ledger::Ledger,
    persist::Index,
    request::{Command, Request, Road, Verdict},
};
use crate::{
    CompilationKind, Error, ProgramKind, RuntimeCacheKey, RuntimeConfig, RuntimeTuning,
    resident::Lookup,
    stats::{add, set},
    worker::Pool,
};
use alloy_primitives::Bytes;
use std::{
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// Messages handled between two looks at the clock.
const BATCH: usize = 256;

/// Between two looks for observations while there are some. Without, the pauses double up to the
/// tick interval.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

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
    pub(super) index: Index,
    /// Whether observed keys become artifacts.
    pub(super) aot: bool,
    pub(super) started: Instant,
    pub(super) tick: u32,
    pub(super) next_sweep: Instant,
    pub(super) next_age: Instant,
}

impl Runtime {
    /// Reads the store's index, if there is a store.
    pub(super) fn new(
        config: &RuntimeConfig,
        shared: Arc<Shared>,
        mut writer: Writer,
        pool: Arc<Pool<CompileWork>>,
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
        let runtime = Self {
            tuning,
            shared,
            writer,
            pool,
            jobs: Jobs::default(),
            ledger: Ledger::default(),
            failures: Failures::new(&tuning),
            index,
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
    pub(super) fn run(mut self, commands: Receiver<Command>, observed: Receiver<Request>) {
        self.shared.enter_thread();
        let longest = self.tuning.tick_interval;
        // A client that starts uses what is stored: the first observations come at once.
        let mut pause = SHORTEST_PAUSE.min(longest);
        while !self.shared.stopping() {
            let command = match commands.recv_timeout(pause) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // First the clock: what comes in now is not old. Then what was observed before.
            self.advance(Instant::now());
            let seen = self.observe(&observed, BATCH);
            pause = if seen > 0 {
                SHORTEST_PAUSE
            } else {
                pause.saturating_mul(2)
            }
            .min(longest);
            for command in command.into_iter().chain(commands.try_iter().take(BATCH)) {
                if let Command::ClearResident(_) = command {
                    // What was observed before a clear is cleared, too.
                    observed
                        .try_iter()
                        .take(self.tuning.channel_capacity)
                        .for_each(drop);
                }
                self.handle(command);
            }
            self.settle();
        }
        // Whoever still sends or waits is told now (L3); then the workers have the remaining time.
        drop((commands, observed));
        let Self {
            pool,
            shared,
            jobs,
            writer,
            ..
        } = self;
        drop(jobs);
        pool.stop(shared.deadline());
        drop(writer);
    }

    /// Handles at most `limit` observations, and returns how many there were.
    fn observe(&mut self, observed: &Receiver<Request>, limit: usize) -> usize {
        observed
            .try_iter()
            .take(limit)
            .map(|request| self.request(request))
            .count()
    }

    /// Reacts to a message.
    pub(super) fn handle(&mut self, command: Command) {
        match command {
            Command::Request(request) => self.request(request),
            Command::Finished { id, outcome } => self.finished(id, outcome),
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
        let tick = u32::try_from(tick).unwrap_or(u32::MAX);
        if tick != self.tick {
            self.optimize_what_stays_hot();
            self.tick = tick;
            self.writer.set_tick(tick);
            self.end_rests();
            let limit = self.tuning.job_abandon_after;
            let (overdue, replaced) = self.pool.replace_overdue(now, limit);
            add(&self.shared.counters.workers_replaced, replaced);
            for id in overdue {
                add(&self.shared.counters.abandoned, 1);
                self.finished(id, Err(Error::Abandoned(limit)));
            }
        }
        if now >= self.next_sweep {
            self.next_sweep = now + self.tuning.eviction_sweep_interval;
            self.evict_idle();
        }
        for _ in 0..MAX_AGES {
            if now < self.next_age {
                break;
            }
            self.next_age += self.tuning.hotness_age_interval;
            self.shared.sketch.age();
        }
        if now >= self.next_age {
            self.next_age = now + self.tuning.hotness_age_interval;
        }
    }

    fn end_rests(&mut self) {
        let Self {
            failures,
            writer,
            shared,
            tick,
            ..
        } = self;
        failures.expire(*tick, |key| {
            writer.remove(key);
            add(&shared.counters.retries, 1);
        });
    }

    // Tiers.

    /// Called at the end of each tick: a program whose entry carries the tick was used in it.
    fn optimize_what_stays_hot(&mut self) {
        if !self.ledger.has_candidates() {
            return;
        }
        let (tick, enough) = (self.tick, self.tuning.jit_optimize_after_ticks);
        let ledger = &mut self.ledger;
        let mut ready = Vec::new();
        self.writer.for_each(|key, _, used| {
            if used == tick && ledger.warm(key, enough) {
                ready.push(*key);
            }
        });
        let room = self
            .tuning
            .jit_max_pending_jobs
            .saturating_sub(self.jobs.observed());
        for key in ready.into_iter().take(room) {
            if let Some(code) = self.ledger.take_candidate(&key) {
                self.dispatch(optimization(key, code), CompilationKind::Optimize);
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
        self.failures.clear();
        self.shared.sketch.clear();
        // Artifacts are still in the store, and are loaded again when they are used again.
        for key in self.index.keys() {
            self.writer.insert_negative(*key, Verdict::Indexed);
        }
    }

    fn forget_artifacts(&mut self) {
        add(&self.shared.counters.clears, 1);
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
        set(&counters.tick, self.tick as usize);
        let gauges = self.writer.gauges();
        set(&counters.map_capacity, gauges.capacity);
        set(&counters.map_max_probe, gauges.max_probe);
        set(&counters.map_tombstones, gauges.tombstones);
        set(&counters.map_backlog, gauges.backlog);
        set(&counters.map_lent, gauges.lent);
    }
}

fn optimization(key: RuntimeCacheKey, code: Bytes) -> Request {
    Request {
        key,
        code,
        road: Road::Jit,
        explicit: false,
        epoch: 0,
        waiter: None,
    }
}
