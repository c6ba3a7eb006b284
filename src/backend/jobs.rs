//! Compilations under way: one per key and purpose, with everybody who waits for it.

use super::request::{Observation, Request, Road, Waiter};
use crate::{
    error::{Error, Result},
    event::CompilationKind,
    key::RuntimeCacheKey,
    worker::Priority,
};
use alloy_primitives::Bytes;
use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
};

/// A compilation under way.
pub(super) struct Pending {
    pub(super) id: u64,
    pub(super) key: RuntimeCacheKey,
    pub(super) kind: CompilationKind,
    pub(super) code: Bytes,
    /// Whether somebody asked for it by name; observed ones are limited in number.
    pub(super) explicit: bool,
    /// Whether somebody asked for an artifact.
    pub(super) artifact: bool,
    /// Whether the program may still become resident; a clear of the map in between takes that
    /// away from an artifact's compilation, which goes on.
    pub(super) publish: bool,
    /// The store's epoch that the request belongs to.
    pub(super) epoch: u64,
    /// As in the worker's job.
    pub(super) within_budget: Arc<AtomicBool>,
    /// Whether it is an artifact's load that nobody has missed, whose code is not known.
    pub(super) warm: bool,
    /// How often the system was in the way.
    pub(super) system_failures: u32,
    waiters: Vec<Waiter>,
}

impl Pending {
    /// Without a number, which it is given where it is entered.
    fn new(request: Request, kind: CompilationKind) -> Self {
        Self {
            id: 0,
            key: request.key,
            kind,
            code: request.code,
            explicit: request.explicit,
            artifact: request.road == Road::Aot,
            publish: true,
            epoch: request.epoch,
            within_budget: Arc::default(),
            warm: false,
            system_failures: 0,
            waiters: request.waiter.into_iter().collect(),
        }
    }

    fn is_observed(&self) -> bool {
        !self.explicit && !self.warm && !self.optimizes()
    }

    fn optimizes(&self) -> bool {
        self.kind == CompilationKind::Optimize
    }

    pub(super) fn answer(self, result: &Result<()>) {
        for waiter in self.waiters {
            waiter.answer(result.clone());
        }
    }
}

/// What two jobs for one key must not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    Resident,
    Optimize,
    Persist,
}

fn purpose(kind: CompilationKind) -> Purpose {
    match kind {
        CompilationKind::Jit | CompilationKind::Load => Purpose::Resident,
        CompilationKind::Optimize => Purpose::Optimize,
        CompilationKind::Aot => Purpose::Persist,
    }
}

/// All compilations under way.
///
/// A job's number is never used again: an outcome whose number is not here belongs to a job that
/// was cancelled, and is dropped. That is what keeps a cleared program from coming back.
#[derive(Default)]
pub(super) struct Jobs {
    by_id: HashMap<u64, Pending>,
    by_key: HashMap<(RuntimeCacheKey, Purpose), u64>,
    last_id: u64,
    observed: usize,
    /// Jobs with waiters.
    waited_for: usize,
    /// Loads that nobody has missed.
    warm: usize,
    optimizing: usize,
}

impl Jobs {
    /// Enters a job, returning its number.
    pub(super) fn insert(&mut self, request: Request, kind: CompilationKind) -> u64 {
        self.enter(Pending::new(request, kind), kind)
    }

    /// Enters the load of an artifact that nobody has missed, returning its number. `code` stands for
    /// the bytecode until somebody joins who knows it.
    pub(super) fn insert_warm(&mut self, key: RuntimeCacheKey, code: Bytes, epoch: u64) -> u64 {
        let kind = CompilationKind::Load;
        let request = Request {
            epoch,
            ..Observation { key, code }.into()
        };
        let pending = Pending {
            warm: true,
            ..Pending::new(request, kind)
        };
        self.enter(pending, kind)
    }

    /// Enters a job that ended once more, for another purpose, with everybody who waits for it.
    pub(super) fn enter(&mut self, pending: Pending, kind: CompilationKind) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let pending = Pending {
            id,
            kind,
            ..pending
        };
        self.observed += usize::from(pending.is_observed());
        self.waited_for += usize::from(!pending.waiters.is_empty());
        self.warm += usize::from(pending.warm);
        self.optimizing += usize::from(pending.optimizes());
        self.by_key.insert((pending.key, purpose(kind)), id);
        self.by_id.insert(id, pending);
        id
    }

    /// Exchanges the code of a job under way.
    pub(super) fn set_code(&mut self, id: u64, code: Bytes) {
        if let Some(pending) = self.by_id.get_mut(&id) {
            pending.code = code;
        }
    }

    /// The job under way for the same key and purpose.
    pub(super) fn find(&self, key: &RuntimeCacheKey, kind: CompilationKind) -> Option<&Pending> {
        self.by_id.get(self.by_key.get(&(*key, purpose(kind)))?)
    }

    pub(super) fn get(&self, id: u64) -> Option<&Pending> {
        self.by_id.get(&id)
    }

    /// Answers everybody who waits for one of these jobs, which go on for nobody.
    pub(super) fn answer(&mut self, ids: &[u64], result: &Result<()>) {
        if self.waited_for == 0 {
            return;
        }
        for id in ids {
            let Some(pending) = self.by_id.get_mut(id) else {
                continue;
            };
            self.waited_for -= usize::from(!pending.waiters.is_empty());
            for waiter in pending.waiters.drain(..) {
                waiter.answer(result.clone());
            }
        }
    }

    /// Whether somebody waits for a job.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waited_for > 0
    }

    /// Jobs under way that somebody asked for.
    pub(super) fn requested(&self) -> usize {
        self.by_id.len() - self.observed - self.optimizing - self.warm
    }

    /// Somebody wants the artifact of a job under way.
    pub(super) fn want_artifact(&mut self, id: u64) {
        if let Some(pending) = self.by_id.get_mut(&id) {
            pending.artifact = true;
        }
    }

    /// Adds somebody to a job under way; the priority that it has by that, if it had a lower one.
    pub(super) fn join(
        &mut self,
        id: u64,
        explicit: bool,
        waiter: Option<Waiter>,
    ) -> Option<Priority> {
        let pending = self.by_id.get_mut(&id)?;
        let (was_warm, was_observed) = (pending.warm, pending.is_observed());
        let had = !pending.waiters.is_empty();
        pending.waiters.extend(waiter);
        self.waited_for += usize::from(!had && !pending.waiters.is_empty());
        pending.warm = false;
        pending.explicit |= explicit;
        self.warm -= usize::from(was_warm);
        self.observed -= usize::from(was_observed);
        self.observed += usize::from(pending.is_observed());
        match was_warm || was_observed {
            true if explicit => Some(Priority::Explicit),
            true => was_warm.then_some(Priority::Observed),
            false => None,
        }
    }

    /// Takes a job out, because it ended.
    pub(super) fn take(&mut self, id: u64) -> Option<Pending> {
        let pending = self.by_id.remove(&id)?;
        self.by_key.remove(&(pending.key, purpose(pending.kind)));
        self.observed -= usize::from(pending.is_observed());
        self.waited_for -= usize::from(!pending.waiters.is_empty());
        self.warm -= usize::from(pending.warm);
        self.optimizing -= usize::from(pending.optimizes());
        Some(pending)
    }

    /// Takes the jobs out that would make something resident, and answers those who wait for them
    /// with [`Error::Cleared`]. Artifacts in the making go on to the store, but not into the map.
    pub(super) fn cancel_resident(&mut self) -> usize {
        let ids: Vec<u64> = self
            .by_id
            .values_mut()
            .filter_map(|pending| {
                pending.publish = false;
                (pending.kind != CompilationKind::Aot).then_some(pending.id)
            })
            .collect();
        for id in &ids {
            if let Some(pending) = self.take(*id) {
                let cleared = Err(Error::Cleared(pending.key));
                pending.answer(&cleared);
            }
        }
        ids.len()
    }

    /// Observed jobs under way, but for optimising ones.
    pub(super) fn observed(&self) -> usize {
        self.observed
    }

    /// Optimising jobs under way.
    pub(super) fn optimizing(&self) -> usize {
        self.optimizing
    }

    /// Loads under way that nobody has missed.
    pub(super) fn warm(&self) -> usize {
        self.warm
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::key;
    use super::*;

    fn request(n: u8, explicit: bool, waiter: Option<Waiter>) -> Request {
        let (road, code) = (Road::Jit, Bytes::new());
        Request {
            key: key(n),
            code,
            road,
            explicit,
            epoch: 0,
            waiter,
        }
    }

    #[test]
    fn everybody_who_waits_for_a_job_is_answered() {
        let mut jobs = Jobs::default();
        let (first, first_answer) = Waiter::new();
        let (second, second_answer) = Waiter::new();
        let id = jobs.insert(request(1, false, Some(first)), CompilationKind::Jit);
        assert_eq!(
            jobs.find(&key(1), CompilationKind::Load).map(|p| p.id),
            Some(id)
        );
        assert!(jobs.find(&key(1), CompilationKind::Optimize).is_none());
        assert_eq!(jobs.observed(), 1);
        let promoted = Some(Priority::Explicit);
        assert_eq!(jobs.join(id, true, Some(second)), promoted);
        assert_eq!(jobs.join(id, true, None), None);
        assert_eq!(jobs.observed(), 0);
        jobs.take(id).unwrap().answer(&Ok(()));
        assert_eq!(
            (first_answer.wait(), second_answer.wait()),
            (Ok(()), Ok(()))
        );
        assert!(jobs.take(id).is_none() && jobs.find(&key(1), CompilationKind::Jit).is_none());
    }

    #[test]
    fn a_warm_load_is_one_until_somebody_joins() {
        let mut jobs = Jobs::default();
        let [one, other, third] = [1, 2, 3].map(|n| jobs.insert_warm(key(n), Bytes::new(), 0));
        assert_eq!((jobs.warm(), jobs.observed(), jobs.requested()), (3, 0, 0));
        assert_eq!(jobs.join(one, false, None), Some(Priority::Observed));
        assert_eq!(jobs.join(one, false, None), None);
        assert_eq!(jobs.join(other, true, None), Some(Priority::Explicit));
        assert_eq!((jobs.warm(), jobs.observed(), jobs.requested()), (1, 1, 1));
        assert!(jobs.take(third).unwrap().warm && !jobs.take(one).unwrap().warm);
        assert_eq!((jobs.warm(), jobs.observed()), (0, 0));
    }

    #[test]
    fn cancelling_answers_and_forgets_all_but_artifacts() {
        let mut jobs = Jobs::default();
        let (waiter, answer) = Waiter::new();
        let jit = jobs.insert(request(1, true, Some(waiter)), CompilationKind::Jit);
        let aot = jobs.insert(request(1, true, None), CompilationKind::Aot);
        assert_eq!(jobs.cancel_resident(), 1);
        assert_eq!(answer.wait(), Err(Error::Cleared(key(1))));
        assert!(jobs.take(jit).is_none());
        assert!(!jobs.take(aot).unwrap().publish);
        assert_eq!((jobs.len(), jobs.observed()), (0, 0));
        // The next job for the key is another one.
        assert!(jobs.insert(request(1, true, None), CompilationKind::Jit) > aot);
    }

    #[test]
    fn who_waits_for_a_dropped_table_is_told_that_all_has_stopped() {
        let mut jobs = Jobs::default();
        let (waiter, answer) = Waiter::new();
        jobs.insert(request(1, true, Some(waiter)), CompilationKind::Jit);
        drop(jobs);
        assert_eq!(answer.wait(), Err(Error::Stopped));
    }
}
