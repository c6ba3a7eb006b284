//! Admission: which requests become jobs. What a stranger can make us spend is bounded here.

use super::{
    compile::Job,
    request::{Request, Road},
    runtime::Runtime,
};
use crate::{
    CompilationKind, Error, Result, RuntimeCacheKey, compiler::Tier, stats::add, worker::Priority,
};
use alloy_primitives::{B256, Bytes, keccak256};

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
                let code_hash = keccak256(code);
                if !is_load || (!explicit && code_hash != key.code_hash) {
                    return self.mismatch(request, code_hash);
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
                // No word to the key: it reports again at twice the heat, so that the more there is
                // to do, the less is asked for.
                return add(&self.shared.counters.refused_queue_full, 1);
            }
            if kind != CompilationKind::Load {
                let code_hash = keccak256(code);
                if code_hash != key.code_hash {
                    return self.mismatch(request, code_hash);
                }
            }
        }
        self.dispatch(request, kind);
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
        let (key, code, explicit) = (request.key, request.code.clone(), request.explicit);
        let epoch = match &self.shared.persist {
            Some(persist) if !explicit => persist.epoch(),
            _ => request.epoch,
        };
        let id = self.jobs.insert(Request { epoch, ..request }, kind);
        self.push(id, key, code, kind, epoch, explicit);
    }

    /// Hands an entered job to the workers.
    pub(super) fn push(
        &self,
        id: u64,
        key: RuntimeCacheKey,
        code: Bytes,
        kind: CompilationKind,
        epoch: u64,
        explicit: bool,
    ) {
        add(&self.shared.counters.dispatched, 1);
        let priority = match kind {
            CompilationKind::Optimize => Priority::Optimize,
            _ if explicit => Priority::Explicit,
            _ => Priority::Observed,
        };
        let job = Job {
            id,
            key,
            code,
            kind,
            tier: self.tier(kind),
            epoch,
            within_budget: within_budget(kind, explicit),
        };
        self.pool.push(id, priority, job);
    }

    fn tier(&self, kind: CompilationKind) -> Tier {
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
