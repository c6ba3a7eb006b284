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
//! * **B3** This thread waits for nothing but the channel: not for workers, not for readers, not
//!   for a store.

use super::{
    compile::{CompileWork, Job, Made, is_ineligible, is_over_budget},
    core::{Shared, Writer},
    failures::Failures,
    jobs::{Jobs, Pending},
    ledger::{Ledger, can_improve},
    persist::Index,
    request::{Command, Request, Road, Verdict},
};
use crate::{
    CompilationKind, CompiledProgram, Error, ProgramKind, Result, RuntimeCacheKey, RuntimeConfig,
    RuntimeTuning,
    engine::Tier,
    resident::Lookup,
    stats::{add, set},
    worker::{Pool, Priority},
};
use alloy_primitives::{Bytes, keccak256};
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

/// Ages of the miss counter to catch up on after a long rest; more would find it empty.
const MAX_AGES: u32 = 32;

/// The state behind a backend. See the [module](self).
pub(super) struct Runtime {
    tuning: RuntimeTuning,
    shared: Arc<Shared>,
    writer: Writer,
    pool: Arc<Pool<CompileWork>>,
    jobs: Jobs,
    ledger: Ledger,
    failures: Failures,
    index: Index,
    /// Whether observed keys become artifacts.
    aot: bool,
    started: Instant,
    tick: u32,
    next_sweep: Instant,
    next_age: Instant,
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

    /// The thread's life.
    pub(super) fn run(mut self, rx: Receiver<Command>) {
        self.shared.enter_thread();
        while !self.shared.stopping() {
            match rx.recv_timeout(self.rest(Instant::now())) {
                Ok(command) => {
                    // First the clock: after a long rest, what comes in now is not old.
                    self.advance(Instant::now());
                    self.handle(command);
                    rx.try_iter()
                        .take(BATCH)
                        .for_each(|command| self.handle(command));
                }
                Err(RecvTimeoutError::Timeout) => self.advance(Instant::now()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.settle();
        }
        // Whoever still sends or waits is told now (L3); then the workers have the remaining time.
        drop(rx);
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

    /// How long to wait for a message: to the next tick, or, with nothing that could age, longer.
    fn rest(&self, now: Instant) -> Duration {
        let idle = self.ledger.len() == 0
            && self.failures.len() == 0
            && self.jobs.len() == 0
            && self.writer.gauges().backlog == 0;
        if idle {
            return self
                .next_age
                .saturating_duration_since(now)
                .max(self.tuning.tick_interval);
        }
        let next = self
            .tuning
            .tick_interval
            .saturating_mul(self.tick.saturating_add(1));
        self.started
            .checked_add(next)
            .map_or(self.tuning.tick_interval, |next| {
                next.saturating_duration_since(now)
            })
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

    // Admission.

    fn request(&mut self, request: Request) {
        let Request {
            key,
            code,
            road: _,
            explicit,
            epoch: _,
            waiter: _,
        } = &request;
        let (key, explicit) = (*key, *explicit);
        if let Err(reason) = self.tuning.check_eligible(code) {
            add(&self.shared.counters.refused_ineligible, 1);
            return refuse(request, Error::Ineligible(reason));
        }
        if request.road == Road::Aot && self.shared.persist.is_none() {
            return refuse(request, Error::NoStore);
        }
        let kind = match request.road {
            Road::Best | Road::Aot if self.index.contains(&key) => CompilationKind::Load,
            Road::Best if !self.aot => CompilationKind::Jit,
            Road::Best | Road::Aot => CompilationKind::Aot,
            Road::Jit => CompilationKind::Jit,
        };
        if self.ledger.kind(&key).is_some() && kind != CompilationKind::Aot {
            return answer(request, Ok(()));
        }
        if kind != CompilationKind::Load
            && let Some((attempts, ticks)) = self.failures.resting(&key, self.tick)
        {
            add(&self.shared.counters.refused_failed_before, 1);
            let retry_in = self.tuning.tick_interval.saturating_mul(ticks);
            return refuse(request, Error::RecentlyFailed { attempts, retry_in });
        }
        if let Some(pending) = self.jobs.find(&key, kind) {
            let (id, is_other_code) = (pending.id, pending.code != *code);
            let is_load = pending.kind == CompilationKind::Load;
            // B1: of two codes one at most has the key's hash. It is the job's, unless that loads
            // an artifact, for which no code was compared.
            if is_other_code {
                if !is_load || (!explicit && keccak256(code) != key.code_hash) {
                    return self.mismatch(request);
                }
                self.jobs.set_code(id, code.clone());
            }
            add(&self.shared.counters.joined, 1);
            if self.jobs.join(id, explicit, request.waiter) {
                self.pool.make_explicit(id);
            }
            return;
        }
        if !explicit {
            if self.jobs.observed() >= self.tuning.jit_max_pending_jobs {
                add(&self.shared.counters.refused_queue_full, 1);
                return self.shared.sketch.set(&key, self.shared.hot / 2);
            }
            if kind != CompilationKind::Load && keccak256(code) != key.code_hash {
                return self.mismatch(request);
            }
        }
        self.dispatch(request, kind);
    }

    /// B1: counted and answered, and nothing else. The key is to be heard again soon, should its
    /// own code come.
    fn mismatch(&self, request: Request) {
        add(&self.shared.counters.hash_mismatches, 1);
        self.shared.sketch.set(&request.key, self.shared.hot / 2);
        let (key, code) = (request.key.code_hash, keccak256(&request.code));
        refuse(request, Error::CodeHashMismatch { key, code });
    }

    fn dispatch(&mut self, request: Request, kind: CompilationKind) {
        let (key, code, explicit) = (request.key, request.code.clone(), request.explicit);
        let epoch = match &self.shared.persist {
            Some(persist) if !explicit => persist.epoch(),
            _ => request.epoch,
        };
        let id = self.jobs.insert(Request { epoch, ..request }, kind);
        self.push(
            Job {
                id,
                key,
                code,
                kind,
                tier: self.tier(kind),
                epoch,
                within_budget: within_budget(kind, explicit),
            },
            explicit,
        );
    }

    fn push(&self, job: Job, explicit: bool) {
        add(&self.shared.counters.dispatched, 1);
        let priority = match job.kind {
            CompilationKind::Optimize => Priority::Optimize,
            _ if explicit => Priority::Explicit,
            _ => Priority::Observed,
        };
        self.pool.push(job.id, priority, job);
    }

    fn tier(&self, kind: CompilationKind) -> Tier {
        match (kind, &self.shared.persist) {
            (CompilationKind::Aot | CompilationKind::Load, Some(persist)) => persist.options().tier,
            (CompilationKind::Jit, _) if self.tuning.jit_tiered => Tier::Baseline,
            _ => self.best_tier(),
        }
    }

    fn best_tier(&self) -> Tier {
        self.tuning.jit_opt_level.into()
    }

    // Outcomes.

    fn finished(&mut self, id: u64, outcome: Result<Made>) {
        // Not there: cancelled or given up. The program, if any, is dropped here and now.
        let Some(pending) = self.jobs.take(id) else {
            return;
        };
        match outcome.and_then(|made| self.check_size(made)) {
            Ok(made) => {
                add(&self.shared.counters.succeeded, 1);
                self.made(&pending, made);
                self.publish_gauges();
                pending.answer(&Ok(()));
            }
            Err(_) if pending.kind == CompilationKind::Load => {
                add(&self.shared.counters.failed, 1);
                self.compile_instead(pending);
            }
            Err(error) => {
                self.failed(&pending, &error);
                self.publish_gauges();
                pending.answer(&Err(error));
            }
        }
    }

    fn budget(&self, kind: ProgramKind) -> usize {
        match kind {
            ProgramKind::Jit => self.tuning.resident_code_cache_bytes,
            ProgramKind::Aot => self.tuning.aot_code_cache_bytes,
        }
    }

    fn check_size(&self, made: Made) -> Result<Made> {
        let (len, max) = (made.program.mapped_len(), self.budget(made.program.kind));
        if len <= max {
            Ok(made)
        } else {
            Err(Error::LargerThanCache { len, max })
        }
    }

    fn made(&mut self, pending: &Pending, made: Made) {
        let counters = &self.shared.counters;
        let key = pending.key;
        let is_load = pending.kind == CompilationKind::Load;
        add(&counters.artifacts_loaded, usize::from(is_load));
        if let Some(len) = made.stored {
            add(&counters.artifacts_stored, 1);
            // S2: a clear of the store since then has taken it out again.
            if self
                .shared
                .persist
                .as_ref()
                .is_some_and(|store| store.epoch() == pending.epoch)
            {
                self.index.insert(key, len);
            }
        }
        let resident = match self.writer.get(&key) {
            Lookup::Hit(program) => Some(program.tier()),
            _ => None,
        };
        let wanted = match pending.kind {
            // A program that was evicted while its successor was compiled is not wanted back.
            CompilationKind::Optimize => resident.is_some(),
            _ => resident.is_none_or(|tier| tier <= made.program.tier()),
        };
        if pending.publish && wanted {
            self.publish(pending, made.program);
        } else if resident.is_none() {
            self.vacate(&key);
        }
    }

    fn publish(&mut self, pending: &Pending, program: CompiledProgram) {
        let (key, kind) = (pending.key, program.kind);
        let improvable = kind == ProgramKind::Jit
            && self.tuning.jit_tiered
            && can_improve(program.tier(), self.best_tier());
        self.ledger
            .insert(&program, improvable.then(|| pending.code.clone()));
        self.failures.forget(&key);
        self.writer.insert_with(key, || program.share());
        // Should it be evicted one day, it has to become hot again.
        self.shared.sketch.set(&key, 0);
        let optimized = pending.kind == CompilationKind::Optimize;
        add(&self.shared.counters.published, 1);
        add(&self.shared.counters.optimized, usize::from(optimized));
        self.evict_over_budget(kind, &key);
    }

    /// An artifact that could not be loaded is compiled afresh, for the same people.
    fn compile_instead(&mut self, pending: Pending) {
        let Pending {
            key,
            explicit,
            epoch,
            ..
        } = pending;
        let code = pending.code.clone();
        self.index.remove(&key);
        if self.ledger.kind(&key).is_none() {
            self.vacate(&key);
        }
        let code_hash = keccak256(&code);
        if code_hash != key.code_hash {
            add(&self.shared.counters.hash_mismatches, 1);
            self.shared.sketch.set(&key, self.shared.hot / 2);
            let mismatch = Error::CodeHashMismatch {
                key: key.code_hash,
                code: code_hash,
            };
            return pending.answer(&Err(mismatch));
        }
        let kind = if self.aot {
            CompilationKind::Aot
        } else {
            CompilationKind::Jit
        };
        let id = self.jobs.enter(pending, kind);
        let within_budget = within_budget(kind, explicit);
        let tier = self.tier(kind);
        self.push(
            Job {
                id,
                key,
                code,
                kind,
                tier,
                epoch,
                within_budget,
            },
            explicit,
        );
    }

    /// Leaves in the map, for a key without program, what is known of it: an artifact or nothing.
    fn vacate(&mut self, key: &RuntimeCacheKey) {
        if self.index.contains(key) {
            self.writer.insert_negative(*key, Verdict::Indexed);
        } else {
            self.writer.remove(key);
        }
    }

    fn failed(&mut self, pending: &Pending, error: &Error) {
        let counters = &self.shared.counters;
        add(&counters.failed, 1);
        add(
            &counters.panicked,
            usize::from(matches!(error, Error::Panicked(_))),
        );
        add(&counters.over_budget, usize::from(is_over_budget(error)));
        // What is resident stays (B2); a failed optimisation is not tried again. What a caller
        // prepares by name says nothing of what compiling it for itself would cost, and a job that
        // the store's clear overtook nothing at all.
        if pending.kind == CompilationKind::Optimize
            || (pending.kind == CompilationKind::Aot && pending.explicit)
            || matches!(error, Error::Cleared(_))
            || self.ledger.kind(&pending.key).is_some()
        {
            return;
        }
        if let Some(forgotten) = self.failures.fail(pending.key, self.tick) {
            self.writer.remove(&forgotten);
        }
        let verdict = if is_ineligible(error) {
            Verdict::Ineligible
        } else {
            Verdict::Failed
        };
        self.writer.insert_negative(pending.key, verdict);
        self.shared.sketch.set(&pending.key, 0);
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
                && program.kind == ProgramKind::Jit
                && tick.saturating_sub(used) >= limit
            {
                idle.push(*key);
            }
        });
        add(&self.shared.counters.evicted_idle, idle.len());
        idle.iter().for_each(|key| self.evict(key));
    }

    fn evict_over_budget(&mut self, kind: ProgramKind, keep: &RuntimeCacheKey) {
        let budget = self.budget(kind);
        if self.ledger.bytes(kind) <= budget {
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

    fn publish_gauges(&self) {
        let counters = &self.shared.counters;
        set(&counters.resident_entries, self.ledger.len());
        set(&counters.code_bytes, self.ledger.bytes(ProgramKind::Jit));
        set(
            &counters.aot_code_bytes,
            self.ledger.bytes(ProgramKind::Aot),
        );
        set(&counters.pending_jobs, self.jobs.len());
        set(&counters.failures_remembered, self.failures.len());
        set(&counters.artifacts_indexed, self.index.len());
        counters.artifact_bytes.store(self.index.bytes(), Relaxed);
        set(&counters.tick, self.tick as usize);
        let gauges = self.writer.gauges();
        set(&counters.map_capacity, gauges.capacity);
        set(&counters.map_max_probe, gauges.max_probe);
        set(&counters.map_backlog, gauges.backlog);
    }
}

fn answer(request: Request, result: Result<()>) {
    if let Some(waiter) = request.waiter {
        waiter.answer(result);
    }
}

fn refuse(request: Request, error: Error) {
    answer(request, Err(error));
}

/// What a caller prepares by name may take its time; loading is not compiling.
fn within_budget(kind: CompilationKind, explicit: bool) -> bool {
    match kind {
        CompilationKind::Jit | CompilationKind::Optimize => true,
        CompilationKind::Aot => !explicit,
        CompilationKind::Load => false,
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
