//! Outcomes: what becomes of a job that ended. A program is published, a failure is remembered.

use super::{
    answers::Verdict,
    job::{Kept, Report},
    jobs::Pending,
    ledger::{Amount, can_improve},
    runtime::Runtime,
};
use crate::{
    artifact::{ArtifactError, loader::max_loaded},
    error::{Blame, Error, Result, StoreError},
    event::CompilationKind,
    key::RuntimeCacheKey,
    program::{CompiledProgram, ProgramKind},
    resident::Lookup,
    stats::add,
};
use alloy_primitives::keccak256;

/// How often a job is tried again when the system was in its way.
const SYSTEM_RETRIES: u32 = 1;

impl Runtime {
    pub(super) fn finished(&mut self, report: Report) {
        if report.kind != CompilationKind::Load {
            let made = report.outcome.is_ok();
            self.costs.note(report.key, report.tier, report.cpu, made);
        }
        if report.keeping {
            self.keeping.insert(report.key);
        }
        // Not there: cancelled or given up. The program, if any, is dropped here and now.
        let Some(pending) = self.jobs.take(report.id) else {
            return;
        };
        match report.outcome.and_then(|program| self.check_size(program)) {
            Ok(program) => {
                add(&self.shared.counters.succeeded, 1);
                if pending.warm {
                    self.warmed(&pending);
                }
                self.made(&pending, program);
                self.publish_gauges();
                pending.answer(&Ok(()));
            }
            Err(error) if pending.warm => {
                add(&self.shared.counters.failed, 1);
                self.not_warmed(pending, &error);
            }
            Err(_) if pending.kind == CompilationKind::Load => {
                add(&self.shared.counters.failed, 1);
                self.compile_instead(pending);
            }
            Err(error) if self.may_be_eased(&pending, &error) => self.try_again(pending),
            Err(error) => self.fail(pending, error),
        }
        self.go_on_warming();
    }

    /// Ends a job without a program.
    pub(super) fn fail(&mut self, pending: Pending, error: Error) {
        self.failed(&pending, &error);
        self.publish_gauges();
        pending.answer(&Err(error));
    }

    /// An artifact that was stored counts, whatever became of who wanted it.
    pub(super) fn kept(&mut self, kept: &Kept) {
        self.keeping.remove(&kept.key);
        for displaced in &kept.displaced {
            self.index.remove(displaced);
            if let Lookup::Negative(Verdict::Indexed) = self.writer.get(displaced) {
                self.writer.remove(displaced);
            }
        }
        let Some(len) = kept.stored else {
            return;
        };
        add(&self.shared.counters.artifacts_stored, 1);
        // S2: a clear of the store since then has taken it out again.
        let persist = self.shared.persist.as_ref();
        if persist.is_none_or(|store| store.epoch() != kept.epoch)
            || self.failures.rests_for_good(&kept.key)
        {
            return;
        }
        self.index.insert(kept.key, len);
        self.vacate_unless_resident(&kept.key);
        self.publish_gauges();
    }

    /// A load that does not come back is given up: the code is compiled.
    pub(super) fn give_up_load(&mut self, pending: Pending) {
        if let Some(persist) = &self.shared.persist {
            let error = StoreError::from(ArtifactError::StoreSilent);
            persist.count(&self.shared.counters, error);
        }
        add(&self.shared.counters.failed, 1);
        if pending.warm {
            let error = StoreError::from(ArtifactError::StoreSilent);
            return self.not_warmed(pending, &Error::Artifact(error));
        }
        self.compile_instead(pending);
    }

    /// Whether a job may be done once programs are dropped. While the system refuses, that is for who asks by
    /// name: each of those under way would drop more.
    fn may_be_eased(&self, pending: &Pending, error: &Error) -> bool {
        let room = match error {
            Error::Code(error) => error.is_for_want_of_room(),
            error => error.blame() == Blame::System,
        };
        room && pending.system_failures < SYSTEM_RETRIES
            && (pending.explicit || !self.refusals.resting(self.tick))
    }

    /// The system was in the way: programs that are not used go, and the job once more to the
    /// workers. The code has no part in it.
    fn try_again(&mut self, mut pending: Pending) {
        add(&self.shared.counters.system_retries, 1);
        pending.system_failures += 1;
        self.ease_system(&pending.key);
        let (kind, by_name) = (pending.kind, pending.explicit);
        let id = self.jobs.enter(pending, kind);
        self.push(id, by_name);
    }

    /// How much may be resident of a kind. Artifacts are limited in number too: of those that the
    /// process can have loaded, an eighth is left for what callers hold beyond its eviction.
    pub(super) fn budget(&self, kind: ProgramKind) -> Amount {
        match kind {
            ProgramKind::Jit => Amount {
                programs: self.tuning.resident_code_cache_programs,
                bytes: self.tuning.resident_code_cache_bytes,
            },
            ProgramKind::Aot => Amount {
                programs: max_loaded() - max_loaded() / 8,
                bytes: self.tuning.aot_code_cache_bytes,
            },
        }
    }

    fn check_size(&self, program: CompiledProgram) -> Result<CompiledProgram> {
        let len = program.mapped_len();
        let max = self.budget(program.kind()).bytes;
        if len <= max {
            Ok(program)
        } else {
            Err(Error::LargerThanCache { len, max })
        }
    }

    fn made(&mut self, pending: &Pending, program: CompiledProgram) {
        let key = pending.key;
        let is_load = pending.kind == CompilationKind::Load;
        add(&self.shared.counters.artifacts_loaded, usize::from(is_load));
        let resident = match self.writer.get(&key) {
            Lookup::Hit(program) => Some(program.tier()),
            _ => None,
        };
        let wanted = match pending.kind {
            // A program that was evicted while its successor was compiled is not wanted back.
            CompilationKind::Optimize => resident.is_some(),
            _ => resident.is_none_or(|tier| tier <= program.tier()),
        };
        if self.failures.rests_for_good(&key) {
            // Another program of it was wrong meanwhile.
            return;
        }
        if pending.publish && wanted {
            self.publish(pending, program);
        } else if resident.is_none() {
            self.vacate(&key);
        }
    }

    fn publish(&mut self, pending: &Pending, program: CompiledProgram) {
        let (key, kind) = (pending.key, program.kind());
        // A load maps a file, which may be where memory may not be made executable.
        if pending.kind != CompilationKind::Load {
            self.refusals.worked();
        }
        let improvable = kind == ProgramKind::Jit
            && self.tuning.jit_tiered
            && can_improve(program.tier(), self.best_tier());
        self.ledger
            .insert(&program, improvable.then(|| pending.code.clone()));
        self.failures.forget(&(key, program.tier()));
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
        let (key, explicit) = (pending.key, pending.explicit);
        self.index.remove(&key);
        self.vacate_unless_resident(&key);
        let code_hash = keccak256(&pending.code);
        if code_hash != key.code_hash {
            let error = self.count_mismatch(&key, code_hash);
            return pending.answer(&Err(error));
        }
        // If the store was emptied meanwhile, nobody waits for an artifact any more.
        let persist = self.shared.persist.as_ref();
        let stored = persist.is_some_and(|persist| persist.epoch() == pending.epoch);
        let kind = if stored && (self.aot || pending.artifact) {
            CompilationKind::Aot
        } else {
            CompilationKind::Jit
        };
        let id = self.jobs.enter(pending, kind);
        self.push(id, explicit);
    }

    /// Leaves in the map, for a key without program, what is known of it: an artifact or nothing.
    pub(super) fn vacate(&mut self, key: &RuntimeCacheKey) {
        if self.index.contains(key) {
            self.writer.insert_negative(*key, Verdict::Indexed);
        } else {
            self.writer.remove(key);
        }
    }

    /// What follows from a failure, as [`Blame`] says.
    fn failed(&mut self, pending: &Pending, error: &Error) {
        let (key, blame) = (pending.key, error.blame());
        let counters = &self.shared.counters;
        add(&counters.failed, 1);
        add(
            &counters.panicked,
            usize::from(matches!(error, Error::Panicked(_))),
        );
        let counter = match blame {
            Blame::Code => Some(&counters.failed_code),
            Blame::Compiler => Some(&counters.failed_compiler),
            Blame::Miscompiled => Some(&counters.miscompiled),
            Blame::Budget => Some(&counters.over_budget),
            Blame::System => Some(&counters.failed_system),
            Blame::Overtaken => Some(&counters.overtaken),
            Blame::Caller => None,
        };
        if let Some(counter) = counter {
            add(counter, 1);
        }
        if blame == Blame::Miscompiled {
            return self.distrust(key);
        }
        if blame == Blame::System && !pending.explicit {
            self.refusals.refused(self.tick);
        }
        let optimizes = pending.kind == CompilationKind::Optimize;
        if optimizes {
            // What is resident stays (B2), and may be optimised when the rest is over.
            self.ledger.restore_candidate(&key, pending.code.clone());
        }
        if !blame.is_remembered() {
            // Should it stay hot, it is heard again soon.
            return self.shared.sketch.set(&key, self.shared.hot / 2);
        }
        // What a caller prepares by name says nothing of what compiling it for itself would cost.
        if pending.kind == CompilationKind::Aot && pending.explicit {
            return;
        }
        let shown = !optimizes && self.ledger.kind(&key).is_none();
        let what = (key, self.tier(pending.kind));
        if let Some(forgotten) = self.failures.fail(what, self.tick, shown) {
            self.vacate_unless_resident(&forgotten);
        }
        // Not if there was no room to remember it: nothing would end it.
        if shown && self.failures.resting(&what, self.tick).is_some() {
            let verdict = match blame {
                Blame::Code => Verdict::Ineligible,
                _ => Verdict::Failed,
            };
            self.writer.insert_negative(key, verdict);
            self.shared.sketch.set(&key, 0);
        }
    }

    /// Leaves a contract that was miscompiled to the interpreter, with all that there is of it: the tiers have
    /// passes in common, and another program may never have been tried with the input that has shown it. Its
    /// artifact goes as well: another process would load it.
    fn distrust(&mut self, key: RuntimeCacheKey) {
        self.index.remove(&key);
        if let Some(keeper) = &self.keeper {
            keeper.delete(key);
        }
        self.ledger.remove(&key);
        for forgotten in self.failures.fail_for_good(key) {
            self.vacate_unless_resident(&forgotten);
        }
        self.writer.insert_negative(key, Verdict::Failed);
        self.shared.sketch.set(&key, 0);
    }

    /// Strikes out what the map says of a key without program that is no longer so (B2).
    pub(super) fn vacate_unless_resident(&mut self, key: &RuntimeCacheKey) {
        if self.ledger.kind(key).is_none() {
            self.vacate(key);
        }
    }
}
