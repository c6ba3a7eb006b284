//! The warm start: what was hot in the last run is loaded before anybody misses it, and what is hot in
//! this one is written down.
//!
//! The thread that stores reads and writes the list, so that neither the start, nor a lookup, nor the
//! backend thread waits for it. Of what the list names, workers are handed a few at a time, and take
//! them when there is nothing else to do. Whoever misses one that is under way takes the load over.

use super::{jobs::Pending, runtime::Runtime};
use crate::{
    error::Error, event::CompilationKind, key::RuntimeCacheKey, program::ProgramKind,
    resident::Lookup, stats::add,
};
use alloy_primitives::Bytes;
use std::time::Instant;

impl Runtime {
    /// The last run's list is there, or there is none.
    pub(super) fn begin_warm_start(&mut self, list: Vec<(RuntimeCacheKey, u32)>) {
        self.heat.begin(list, self.tick);
        self.go_on_warming();
    }

    /// Hands the workers more to load, if they have room: half of them are left to what is asked for.
    pub(super) fn go_on_warming(&mut self) {
        if self.heat.has_ended() {
            return;
        }
        let places = (self.tuning.jit_worker_count / 2).max(1);
        while self.jobs.warm() < places {
            let Some(key) = self.next_to_warm() else {
                return;
            };
            let epoch = self
                .shared
                .persist
                .as_ref()
                .map_or(0, |store| store.epoch());
            // The code is not known before somebody misses it.
            let id = self.jobs.insert_warm(key, Bytes::new(), epoch);
            self.push(id, false);
        }
    }

    fn next_to_warm(&mut self) -> Option<RuntimeCacheKey> {
        let (index, ledger, jobs) = (&self.index, &self.ledger, &self.jobs);
        let key = self.heat.next(self.tick, |key| {
            index.contains(key)
                && ledger.kind(key).is_none()
                && jobs.find(key, CompilationKind::Load).is_none()
        })?;
        // Nothing goes for the sake of what may not be used again.
        let mut then = self.ledger.held(ProgramKind::Aot);
        then.programs += self.jobs.warm() + 1;
        then.bytes = then.bytes.saturating_add(self.index.len_of(&key));
        if then.fits(self.budget(ProgramKind::Aot).lowered()) {
            Some(key)
        } else {
            self.heat.end();
            None
        }
    }

    /// A load that nobody waits for brought a program.
    pub(super) fn warmed(&mut self, pending: &Pending) {
        add(&self.shared.counters.warm_loaded, 1);
        self.heat.loaded(pending.key, self.tick);
    }

    /// A load that nobody waits for brought none. Nothing is compiled: the code is not known.
    pub(super) fn not_warmed(&mut self, pending: Pending, error: &Error) {
        let refused = match error {
            Error::Artifact(error) => error.is_refusal(),
            Error::ArtifactGone(_) => true,
            _ => false,
        };
        if refused {
            self.index.remove(&pending.key);
            self.vacate_unless_resident(&pending.key);
        } else {
            // The store or the system is in the way, and would be in the next one's.
            self.heat.end();
        }
        pending.answer(&Err(error.clone()));
    }

    /// Notes what was used, and has the list written, when it is time.
    pub(super) fn keep_heat(&mut self, now: Instant) {
        if self.heat.sample_is_due(now) {
            self.sample_heat();
        }
        if self.heat.list_is_due(now) {
            self.store_heat();
        }
    }

    /// Has what is hot now written down, as this run ends.
    pub(super) fn keep_last_heat(&mut self) {
        self.sample_heat();
        self.store_heat();
    }

    fn sample_heat(&mut self) {
        if !self.heat.is_on() || self.keeper.is_none() {
            return;
        }
        let (index, keeping) = (&self.index, &self.keeping);
        let mut used = Vec::new();
        self.writer.for_each(|key, found, tick| {
            if let Lookup::Hit(_) = found
                && (index.contains(key) || keeping.contains(key))
            {
                used.push((*key, tick));
            }
        });
        self.heat.sample(used.into_iter(), self.tick);
    }

    fn store_heat(&mut self) {
        let (index, keeping) = (&self.index, &self.keeping);
        let has_artifact = |key: &RuntimeCacheKey| index.contains(key) || keeping.contains(key);
        if self.heat.is_on()
            && let (Some(keeper), Some(persist)) = (&self.keeper, &self.shared.persist)
            && let Some(list) = self.heat.list(has_artifact)
        {
            keeper.store_heat(list, persist.epoch());
        }
    }
}
