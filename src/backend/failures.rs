//! Keys that failed to compile, and when they may be tried again.
//!
//! A compile bomb is paid once per rest, and the rest doubles each time. The number of keys kept
//! in mind is bounded: a flood of distinct bombs pushes out the ones whose rest is nearest to its
//! end, and each of them was paid for once.

use crate::{RuntimeCacheKey, RuntimeTuning};
use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Copy, Debug)]
struct Failure {
    attempts: u32,
    /// Its place in `order`: the tick at which something happens to it, and a number that makes
    /// the place unique.
    place: (u32, u64),
    /// Whether it is still resting. Afterwards it is only remembered, for as long again, so that
    /// another failure counts on.
    resting: bool,
    /// Ticks of its last rest.
    rest: u32,
}

/// What is known of failed keys. The coarse clock is given to each method.
#[derive(Debug)]
pub(super) struct Failures {
    by_key: HashMap<RuntimeCacheKey, Failure>,
    order: BTreeMap<(u32, u64), RuntimeCacheKey>,
    next: u64,
    first_rest: u32,
    longest_rest: u32,
    capacity: usize,
}

impl Failures {
    pub(super) fn new(tuning: &RuntimeTuning) -> Self {
        Self {
            by_key: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
            first_rest: tuning.ticks(tuning.failure_retry_delay),
            longest_rest: tuning.ticks(tuning.failure_retry_delay_max),
            capacity: tuning.max_failures_remembered,
        }
    }

    /// Notes a failure. Returns a key that was resting and had to be forgotten for it.
    pub(super) fn fail(&mut self, key: RuntimeCacheKey, tick: u32) -> Option<RuntimeCacheKey> {
        let before = self.by_key.get(&key).copied();
        if let Some(before) = before {
            self.order.remove(&before.place);
        }
        let attempts = before
            .map_or(0, |failure| failure.attempts)
            .saturating_add(1);
        let rest = before.map_or(self.first_rest, |failure| failure.rest.saturating_mul(2));
        self.put(key, attempts, rest.min(self.longest_rest), tick, true);
        if self.by_key.len() <= self.capacity {
            return None;
        }
        let (_, forgotten) = self.order.pop_first()?;
        let failure = self.by_key.remove(&forgotten)?;
        failure.resting.then_some(forgotten)
    }

    fn put(&mut self, key: RuntimeCacheKey, attempts: u32, rest: u32, tick: u32, resting: bool) {
        let place = (tick.saturating_add(rest), self.next);
        self.next += 1;
        self.order.insert(place, key);
        self.by_key.insert(
            key,
            Failure {
                attempts,
                place,
                resting,
                rest,
            },
        );
    }

    /// Failures so far and ticks left, if the key is resting.
    pub(super) fn resting(&self, key: &RuntimeCacheKey, tick: u32) -> Option<(u32, u32)> {
        let failure = self.by_key.get(key).filter(|failure| failure.resting)?;
        Some((failure.attempts, failure.place.0.saturating_sub(tick)))
    }

    /// Ends the rests that are over, calling `retry` for each of those keys.
    pub(super) fn expire(&mut self, tick: u32, mut retry: impl FnMut(&RuntimeCacheKey)) {
        while let Some(entry) = self
            .order
            .first_entry()
            .filter(|entry| entry.key().0 <= tick)
        {
            let key = entry.remove();
            if let Some(failure) = self.by_key.remove(&key)
                && failure.resting
            {
                retry(&key);
                self.put(key, failure.attempts, failure.rest, tick, false);
            }
        }
    }

    /// Forgets a key, because it works now.
    pub(super) fn forget(&mut self, key: &RuntimeCacheKey) {
        if let Some(failure) = self.by_key.remove(key) {
            self.order.remove(&failure.place);
        }
    }

    pub(super) fn clear(&mut self) {
        self.by_key.clear();
        self.order.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::key;
    use super::*;
    use std::time::Duration;

    /// One tick to the second: rests of 10, 20, 40, 40, … ticks.
    fn failures(capacity: usize) -> Failures {
        let tuning = RuntimeTuning {
            tick_interval: Duration::from_secs(1),
            failure_retry_delay: Duration::from_secs(10),
            failure_retry_delay_max: Duration::from_secs(40),
            max_failures_remembered: capacity,
            ..RuntimeTuning::default()
        };
        Failures::new(&tuning)
    }

    /// The tick at which a key that fails whenever it may is retried, again and again.
    #[test]
    fn the_rest_doubles_up_to_its_limit() {
        let mut failures = failures(8);
        let mut retried = Vec::new();
        failures.fail(key(1), 0);
        for tick in 1..=200 {
            let mut due = false;
            failures.expire(tick, |_| due = true);
            if due {
                assert_eq!(failures.resting(&key(1), tick), None);
                retried.push(tick);
                failures.fail(key(1), tick);
            }
        }
        assert_eq!(retried, [10, 30, 70, 110, 150, 190]);
        assert_eq!(failures.resting(&key(1), 200), Some((7, 30)));
    }

    #[test]
    fn what_has_not_failed_again_is_forgotten_in_the_end() {
        let mut failures = failures(8);
        failures.fail(key(1), 0);
        failures.expire(10, |_| ());
        assert_eq!(failures.len(), 1);
        let mut retried = 0;
        failures.expire(20, |_| retried += 1);
        assert_eq!((failures.len(), retried), (0, 0));
        failures.fail(key(1), 30);
        assert_eq!(failures.resting(&key(1), 30), Some((1, 10)));
    }

    #[test]
    fn success_and_clear_forget() {
        let mut failures = failures(8);
        failures.fail(key(1), 0);
        failures.fail(key(2), 0);
        failures.forget(&key(1));
        assert_eq!(failures.resting(&key(1), 1), None);
        assert!(failures.resting(&key(2), 1).is_some());
        failures.clear();
        failures.expire(1000, |_| panic!("nothing is left to retry"));
        assert_eq!(failures.len(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut failures = failures(2);
        assert_eq!(failures.fail(key(1), 0), None);
        assert_eq!(failures.fail(key(2), 1), None);
        assert_eq!(failures.fail(key(3), 2), Some(key(1)));
        assert_eq!(failures.len(), 2);
        assert_eq!(failures.order.len(), 2);
    }
}
