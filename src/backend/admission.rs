//! Admission: which requests become jobs. What a stranger can make us spend is bounded here.

use super::{
    job::Job,
    jobs::Pending,
    request::{Request, Road},
    runtime::Runtime,
};
use crate::{
    compiler::Tier,
    error::{Error, Result},
    event::CompilationKind,
    key::RuntimeCacheKey,
    stats::add,
    worker::Priority,
};
use alloy_primitives::{B256, keccak256};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

impl Runtime {
    pub(super) fn request(&mut self, request: Request) {
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
        // It is compiled, and on its way into the store.
        if kind == CompilationKind::Aot
            && self.keeping.contains(&key)
            && (request.road == Road::Aot || self.ledger.kind(&key).is_some())
        {
            add(&self.shared.counters.joined, 1);
            return answer(request, Ok(()));
        }
        let what = (key, self.tier(kind));
        if kind != CompilationKind::Load
            && let Some((attempts, ticks)) = self.failures.resting(&what, self.tick)
        {
            add(&self.shared.counters.refused_failed_before, 1);
            let retry_in = match u32::try_from(ticks) {
                Ok(ticks) => self.tuning.tick_interval.saturating_mul(ticks),
                Err(_) => Duration::MAX,
            };
            return refuse(request, Error::RecentlyFailed { attempts, retry_in });
        }
        if let Some(pending) = self.under_way(&key, kind) {
            let (id, is_other_code) = (pending.id, pending.code != *code);
            let is_load = pending.kind == CompilationKind::Load;
            // B1: of two codes one at most has the key's hash. It is the job's, unless that loads
            // an artifact, for which no code was compared.
            if is_other_code {
                let code_hash = keccak256(code);
                if !is_load || (!explicit && code_hash != key.code_hash) {
                    return self.mismatch(request, code_hash);
                }
                self.jobs.set_code(id, code.clone());
            }
            add(&self.shared.counters.joined, 1);
            if explicit
                && kind == CompilationKind::Aot
                && let Some(pending) = self.jobs.get(id)
            {
                // Relaxed: the flag alone.
                pending.within_budget.store(false, Relaxed);
            }
            if request.road == Road::Aot {
                self.jobs.want_artifact(id);
            }
            if let Some(priority) = self.jobs.join(id, explicit, request.waiter) {
                self.pool.hasten(id, priority);
            }
            return;
        }
        if explicit && self.jobs.requested() >= self.tuning.max_requested_jobs {
            add(&self.shared.counters.refused_queue_full, 1);
            return refuse(request, Error::QueueFull(self.tuning.max_requested_jobs));
        }
        if !explicit && self.refusals.resting(self.tick) {
            return add(&self.shared.counters.refused_by_system, 1);
        }
        if !explicit && kind != CompilationKind::Load {
            let mut way = None;
            if self.jobs.observed() >= self.tuning.jit_max_pending_jobs {
                way = self.less_urgent(&key, kind, code.len());
                if way.is_none() {
                    // No word to the key: it reports again at twice the heat, so that the more there is
                    // to do, the less is asked for.
                    return add(&self.shared.counters.refused_queue_full, 1);
                }
            }
            let code_hash = keccak256(code);
            if code_hash != key.code_hash {
                return self.mismatch(request, code_hash);
            }
            if let Some(id) = way {
                self.give_way(id);
            }
        }
        if kind == CompilationKind::Aot
            && let Some(queued) = self.take_back(&key)
        {
            return self.keep_as_well(queued, request);
        }
        self.dispatch(request, kind);
    }

    /// The job under way that will do: one of the same purpose, or one that makes an artifact where
    /// a resident program is wanted.
    fn under_way(&self, key: &RuntimeCacheKey, kind: CompilationKind) -> Option<&Pending> {
        let same = self.jobs.find(key, kind);
        same.or_else(|| {
            let resident = kind == CompilationKind::Jit;
            let other = self.jobs.find(key, CompilationKind::Aot);
            other.filter(|pending| resident && pending.publish)
        })
    }

    /// A waiting job that is less urgent than what would come in its place.
    fn less_urgent(
        &mut self,
        key: &RuntimeCacheKey,
        kind: CompilationKind,
        len: usize,
    ) -> Option<u64> {
        let urgency = self
            .shared
            .urgency(key, self.costs.expected(key, self.tier(kind), len));
        self.turn = self.turn.wrapping_add(1);
        let shared = &self.shared;
        let weight = |job: &Job| shared.urgency(&job.key, job.cost);
        let lightest = self.pool.lightest(Priority::Observed, self.turn, weight);
        lightest
            .filter(|(_, lightest)| *lightest < urgency)
            .map(|(id, _)| id)
    }

    /// Drops a job, unless a worker has it now. Its key reports again as one that found no room.
    fn give_way(&mut self, id: u64) {
        if self.pool.cancel(|job| job.id == id) > 0 && self.jobs.take(id).is_some() {
            add(&self.shared.counters.refused_queue_full, 1);
        }
    }

    /// Takes a compilation back that no worker has begun.
    fn take_back(&mut self, key: &RuntimeCacheKey) -> Option<Pending> {
        let pending = self.jobs.find(key, CompilationKind::Jit)?;
        let (id, is_jit) = (pending.id, pending.kind == CompilationKind::Jit);
        if is_jit && self.pool.cancel(|job| job.id == id) > 0 {
            self.jobs.take(id)
        } else {
            None
        }
    }

    /// One compilation for who wants the program and who wants the artifact.
    fn keep_as_well(&mut self, mut queued: Pending, request: Request) {
        add(&self.shared.counters.joined, 1);
        let explicit = request.explicit;
        queued.epoch = match &self.shared.persist {
            Some(persist) if !explicit => persist.epoch(),
            _ => request.epoch,
        };
        let asked = queued.explicit;
        let id = self.jobs.enter(queued, CompilationKind::Aot);
        self.jobs.join(id, explicit || asked, request.waiter);
        self.push(id, explicit);
    }

    /// B1: counted and answered, and nothing else.
    fn mismatch(&self, request: Request, code_hash: B256) {
        let error = self.count_mismatch(&request.key, code_hash);
        refuse(request, error);
    }

    /// The key is to be heard again soon, should its own code come.
    pub(super) fn count_mismatch(&self, key: &RuntimeCacheKey, code: B256) -> Error {
        add(&self.shared.counters.hash_mismatches, 1);
        self.shared.sketch.set(key, self.shared.hot / 2);
        let key = key.code_hash;
        Error::CodeHashMismatch { key, code }
    }

    pub(super) fn dispatch(&mut self, request: Request, kind: CompilationKind) {
        let explicit = request.explicit;
        let epoch = match &self.shared.persist {
            Some(persist) if !explicit => persist.epoch(),
            _ => request.epoch,
        };
        let id = self.jobs.insert(Request { epoch, ..request }, kind);
        self.push(id, explicit);
    }

    /// Hands an entered job to the workers. `by_name`: who asked for it takes what it costs.
    pub(super) fn push(&self, id: u64, by_name: bool) {
        let Some(pending) = self.jobs.get(id) else {
            return;
        };
        add(&self.shared.counters.dispatched, 1);
        let (key, kind, code) = (pending.key, pending.kind, pending.code.clone());
        let priority = match kind {
            CompilationKind::Optimize => Priority::Optimize,
            _ if pending.explicit => Priority::Explicit,
            _ if pending.warm => Priority::Warm,
            _ => Priority::Observed,
        };
        let tier = self.tier(kind);
        let is_load = kind == CompilationKind::Load;
        // Relaxed: the queue's lock orders it.
        pending
            .within_budget
            .store(within_budget(kind, by_name), Relaxed);
        let job = Job {
            id,
            key,
            kind,
            tier,
            epoch: pending.epoch,
            within_budget: Arc::clone(&pending.within_budget),
            warm: pending.warm,
            cost: match is_load {
                true => Duration::ZERO,
                false => self.costs.expected(&key, tier, code.len()),
            },
            on_allowance: !is_load && !pending.explicit && !self.costs.is_proven(&key, tier),
            code,
        };
        self.pool.push(id, priority, job);
    }

    pub(super) fn tier(&self, kind: CompilationKind) -> Tier {
        match (kind, &self.shared.persist) {
            (CompilationKind::Aot | CompilationKind::Load, Some(persist)) => persist.options().tier,
            (CompilationKind::Jit, _) if self.tuning.jit_tiered => Tier::Baseline,
            _ => self.best_tier(),
        }
    }

    pub(super) fn best_tier(&self) -> Tier {
        self.tuning.jit_opt_level.into()
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
