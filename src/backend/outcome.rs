//! Outcomes: what becomes of a job that ended. A program is published, a failure is remembered.

use super::{
    compile::{Made, is_ineligible, is_over_budget},
    jobs::Pending,
    ledger::{Amount, can_improve},
    request::Verdict,
    runtime::Runtime,
};
use crate::{
    CompilationKind, CompiledProgram, Error, ProgramKind, Result, RuntimeCacheKey,
    artifact::loader::max_loaded, resident::Lookup, stats::add,
};
use alloy_primitives::keccak256;

impl Runtime {
    pub(super) fn finished(&mut self, id: u64, outcome: Result<Made>) {
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

    /// How much may be resident of a kind. Artifacts are limited in number too: of those that the
    /// process can have loaded, an eighth is left for what callers hold beyond its eviction.
    pub(super) fn budget(&self, kind: ProgramKind) -> Amount {
        match kind {
            ProgramKind::Jit => Amount {
                programs: usize::MAX,
                bytes: self.tuning.resident_code_cache_bytes,
            },
            ProgramKind::Aot => Amount {
                programs: max_loaded() - max_loaded() / 8,
                bytes: self.tuning.aot_code_cache_bytes,
            },
        }
    }

    fn check_size(&self, made: Made) -> Result<Made> {
        let len = made.program.mapped_len();
        let max = self.budget(made.program.kind()).bytes;
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
        let (key, kind) = (pending.key, program.kind());
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
            let error = self.count_mismatch(&key, code_hash);
            return pending.answer(&Err(error));
        }
        let kind = if self.aot {
            CompilationKind::Aot
        } else {
            CompilationKind::Jit
        };
        let id = self.jobs.enter(pending, kind);
        self.push(id, key, code, kind, epoch, explicit);
    }

    /// Leaves in the map, for a key without program, what is known of it: an artifact or nothing.
    pub(super) fn vacate(&mut self, key: &RuntimeCacheKey) {
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
}
