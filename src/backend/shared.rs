//! What execution threads, the backend thread and the workers have in common.

use super::{
    allowance::Allowance, answers::Verdict, persist::Persist, request::Observation,
    samples::Samples,
};
use crate::{
    config::{RuntimeConfig, RuntimeTuning},
    error::Result,
    hotness::{MISS, Sketch},
    key::RuntimeCacheKey,
    program::CompiledProgram,
    resident::{self, Seeded},
    stats::Counters,
};
use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub(super) type Reader =
    resident::Reader<RuntimeCacheKey, CompiledProgram, Verdict, Seeded, Observation>;
pub(super) type Writer =
    resident::Writer<RuntimeCacheKey, CompiledProgram, Verdict, Seeded, Observation>;

/// What execution threads, the backend thread and the workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) counters: Counters,
    pub(super) sketch: Sketch,
    /// Inputs for trials.
    pub(super) samples: Samples,
    pub(super) persist: Option<Persist>,
    pub(super) tuning: RuntimeTuning,
    /// Heat at which a missing key is reported.
    pub(super) hot: u32,
    /// Of processor time for what has never made a program.
    pub(super) allowance: Allowance,
    /// Whether the backend thread runs.
    alive: AtomicBool,
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
            samples: Samples::new(match tuning.trial.is_on() {
                true => tuning.sampled_inputs,
                false => 0,
            }),
            tuning: *tuning,
            hot: tuning.jit_hot_threshold.saturating_mul(MISS),
            allowance: Allowance::new(tuning, Instant::now()),
            alive: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            deadline: OnceLock::new(),
        })
    }

    /// Of what nobody asked for, the highest goes first: heat by expected cost, so that a bomb waits for what
    /// is as hot and cheaper.
    pub(super) fn urgency(&self, key: &RuntimeCacheKey, cost: Duration) -> u64 {
        let heat = u64::from(self.sketch.heat(key)).max(1);
        let cost = u64::try_from(cost.as_micros()).unwrap_or(u64::MAX);
        // A heat is below 2^32.
        (heat << 31) / cost.max(1)
    }

    /// Makes the calling thread one of the backend's.
    pub(super) fn enter_thread(&self) {
        BACKEND.set(std::ptr::from_ref(self).addr());
    }

    /// L3. False also while a thread's local data is being destroyed, when it is no longer in a
    /// callback or in the event loop.
    pub(super) fn is_own_thread(&self) -> bool {
        BACKEND.try_with(Cell::get) == Ok(std::ptr::from_ref(self).addr())
    }

    /// Whether the backend thread runs: without it nothing that is missing will come.
    #[inline(always)]
    pub(super) fn is_alive(&self) -> bool {
        // Relaxed: an answer to a question, nothing is ordered by it.
        self.alive.load(Ordering::Relaxed)
    }

    pub(super) fn set_dead(&self) {
        self.alive.store(false, Ordering::Relaxed);
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
