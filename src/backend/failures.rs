//! Keys that failed to compile, by tier, and when they may be tried again.
//!
//! A program that works at one tier may be a bomb at the other. What is remembered here outlives
//! the program: one that was evicted and comes back is not optimised again before its rest is over.
//!
//! A compile bomb is paid once per rest, and the rest doubles each time. The number of keys kept
//! in mind is bounded: a flood of distinct bombs pushes out the ones whose rest is nearest to its
//! end, and each of them was paid for once.
//!
//! What was miscompiled rests for good, at all tiers: it does not expire, survives a clear, and is pushed out
//! last.

use crate::{compiler::Tier, config::RuntimeTuning, key::RuntimeCacheKey};
use std::collections::{BTreeMap, HashMap, HashSet};

#[derive(Clone, Copy, Debug)]
struct Failure {
    attempts: u32,
    /// Its place in `order`: the tick at which something happens to it, and a number that makes
    /// the place unique.
    place: (u64, u64),
    /// Whether it is still resting. Afterwards it is only remembered, for as long again, so that
    /// another failure counts on.
    resting: bool,
    /// Ticks of its last rest; [`FOR_GOOD`] of what was miscompiled.
    rest: u64,
    /// Whether the map says so too.
    shown: bool,
}

/// A rest without end.
const FOR_GOOD: u64 = u64::MAX;

const TIERS: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

/// What fails: a key at a tier.
pub(super) type What = (RuntimeCacheKey, Tier);

/// What is known of failed keys. The coarse clock is given to each method.
#[derive(Debug)]
pub(super) struct Failures {
    by_key: HashMap<What, Failure>,
    order: BTreeMap<(u64, u64), What>,
    next: u64,
    first_rest: u64,
    longest_rest: u64,
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

    /// Notes a failure, and whether the map shows it. Returns a key that was shown and resting, and
    /// had to be forgotten for it.
    pub(super) fn fail(&mut self, what: What, tick: u64, shown: bool) -> Option<RuntimeCacheKey> {
        let rest = match self.by_key.get(&what).map(|failure| failure.rest) {
            None => self.first_rest.min(self.longest_rest),
            Some(FOR_GOOD) => FOR_GOOD,
            Some(rest) => rest.saturating_mul(2).min(self.longest_rest),
        };
        self.rest(what, tick, shown, rest)
    }

    /// The same for what was miscompiled, which the map shows: at every tier, as they have most of the
    /// compiler's passes in common.
    pub(super) fn fail_for_good(&mut self, key: RuntimeCacheKey) -> Vec<RuntimeCacheKey> {
        let tiers = TIERS.into_iter();
        let forgotten = tiers.filter_map(|tier| self.rest((key, tier), 0, true, FOR_GOOD));
        forgotten.collect()
    }

    /// Whether a key rests for good.
    pub(super) fn rests_for_good(&self, key: &RuntimeCacheKey) -> bool {
        let failures = TIERS.map(|tier| self.by_key.get(&(*key, tier)));
        let mut failures = failures.into_iter().flatten();
        failures.any(|failure| failure.rest == FOR_GOOD)
    }

    fn rest(&mut self, what: What, tick: u64, shown: bool, rest: u64) -> Option<RuntimeCacheKey> {
        let before = self.by_key.get(&what).copied();
        if let Some(before) = before {
            self.order.remove(&before.place);
        }
        let attempts = before
            .map_or(0, |failure| failure.attempts)
            .saturating_add(1);
        let failure = Failure {
            attempts,
            place: (0, 0),
            resting: true,
            rest,
            shown,
        };
        self.put(what, failure, tick);
        if self.by_key.len() <= self.capacity {
            return None;
        }
        let (_, forgotten) = self.order.pop_first()?;
        let failure = self.by_key.remove(&forgotten)?;
        (failure.resting && failure.shown).then_some(forgotten.0)
    }

    #[cfg(test)]
    fn is_ordered(&self) -> bool {
        self.order.len() == self.by_key.len()
    }

    fn put(&mut self, what: What, failure: Failure, tick: u64) {
        let place = (tick.saturating_add(failure.rest), self.next);
        self.next += 1;
        self.order.insert(place, what);
        self.by_key.insert(what, Failure { place, ..failure });
    }

    /// Failures so far and ticks left, `u64::MAX` for good, if the key is resting at this tier.
    pub(super) fn resting(&self, what: &What, tick: u64) -> Option<(u32, u64)> {
        let failure = self.by_key.get(what).filter(|failure| failure.resting)?;
        let left = match failure.rest {
            FOR_GOOD => FOR_GOOD,
            _ => failure.place.0.saturating_sub(tick),
        };
        Some((failure.attempts, left))
    }

    /// Ends the rests that are over. Returns them, each with whether the map showed it.
    pub(super) fn expire(&mut self, tick: u64) -> Vec<(What, bool)> {
        let mut over = Vec::new();
        while let Some(entry) = self
            .order
            .first_entry()
            .filter(|entry| entry.key().0 <= tick)
        {
            let what = entry.remove();
            if let Some(failure) = self.by_key.remove(&what)
                && failure.resting
            {
                over.push((what, failure.shown));
                let resting = false;
                self.put(what, Failure { resting, ..failure }, tick);
            }
        }
        over
    }

    /// Forgets a key, because it works now.
    pub(super) fn forget(&mut self, what: &What) {
        if let Some(failure) = self.by_key.remove(what) {
            self.order.remove(&failure.place);
        }
    }

    /// Forgets all but what was miscompiled, and returns that.
    pub(super) fn clear(&mut self) -> HashSet<RuntimeCacheKey> {
        let of_good = |failure: &Failure| failure.rest == FOR_GOOD;
        self.by_key.retain(|_, failure| of_good(failure));
        let by_key = &self.by_key;
        self.order.retain(|_, what| by_key.contains_key(what));
        by_key.keys().map(|(key, _)| *key).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// How long nobody's turn comes, because the system refuses what no key is to blame for: as for a key, twice
/// as long each time, until something works.
#[derive(Debug)]
pub(super) struct Refusals {
    /// The tick at which it is over.
    until: u64,
    /// Ticks of the last rest; 0 if something has worked since.
    rest: u64,
    first: u64,
    longest: u64,
}

impl Refusals {
    pub(super) fn new(tuning: &RuntimeTuning) -> Self {
        Self {
            until: 0,
            rest: 0,
            first: tuning.ticks(tuning.failure_retry_delay),
            longest: tuning.ticks(tuning.failure_retry_delay_max),
        }
    }

    /// Notes a refusal. What was under way when the rest began makes it no longer.
    pub(super) fn refused(&mut self, tick: u64) {
        if self.resting(tick) {
            return;
        }
        let twice = self.rest.saturating_mul(2);
        self.rest = twice.max(self.first).min(self.longest);
        self.until = tick.saturating_add(self.rest);
    }

    pub(super) fn worked(&mut self) {
        (self.until, self.rest) = (0, 0);
    }

    pub(super) fn resting(&self, tick: u64) -> bool {
        tick < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use std::time::Duration;

    fn key(n: u8) -> What {
        (testing::key(n), Tier::Baseline)
    }

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
        failures.fail(key(1), 0, true);
        for tick in 1..=200 {
            if !failures.expire(tick).is_empty() {
                assert_eq!(failures.resting(&key(1), tick), None);
                retried.push(tick);
                failures.fail(key(1), tick, true);
            }
        }
        assert_eq!(retried, [10, 30, 70, 110, 150, 190]);
        assert_eq!(failures.resting(&key(1), 200), Some((7, 30)));
    }

    #[test]
    fn what_has_not_failed_again_is_forgotten_in_the_end() {
        let mut failures = failures(8);
        failures.fail(key(1), 0, true);
        assert_eq!(failures.expire(10), [(key(1), true)]);
        assert_eq!(failures.len(), 1);
        assert_eq!(failures.expire(20), []);
        assert_eq!(failures.len(), 0);
        failures.fail(key(1), 30, true);
        assert_eq!(failures.resting(&key(1), 30), Some((1, 10)));
    }

    #[test]
    fn success_and_clear_forget() {
        let mut failures = failures(8);
        failures.fail(key(1), 0, true);
        failures.fail(key(2), 0, true);
        failures.forget(&key(1));
        assert_eq!(failures.resting(&key(1), 1), None);
        assert!(failures.resting(&key(2), 1).is_some());
        failures.clear();
        assert_eq!(failures.expire(1000), []);
        assert_eq!(failures.len(), 0);
    }

    #[test]
    fn what_was_miscompiled_rests_for_good() {
        let mut failures = failures(4);
        failures.fail(key(1), 0, true);
        assert_eq!(failures.fail_for_good(key(2).0), []);
        assert_eq!(failures.fail_for_good(key(1).0), []);
        assert_eq!(failures.expire(u64::MAX - 1), []);
        assert_eq!(failures.resting(&key(1), 1000), Some((2, u64::MAX)));
        assert!(failures.rests_for_good(&key(1).0));
        assert_eq!(failures.clear(), HashSet::from([key(1).0, key(2).0]));
        assert_eq!((failures.len(), failures.is_ordered()), (4, true));
        for tier in TIERS {
            assert!(failures.resting(&(key(2).0, tier), 1000).is_some());
        }
        // What rests for a while goes first.
        assert_eq!(failures.fail(key(3), 0, true), Some(key(3).0));
        assert!(!failures.rests_for_good(&key(3).0));
        assert!(failures.rests_for_good(&key(1).0) && failures.rests_for_good(&key(2).0));
    }

    #[test]
    fn refusals_rest_longer_each_time_until_something_works() {
        let tuning = RuntimeTuning {
            failure_retry_delay: Duration::from_secs(10),
            failure_retry_delay_max: Duration::from_secs(30),
            ..testing::tuning()
        };
        let mut refusals = Refusals::new(&tuning);
        let mut tick = 0;
        for rest in [10, 20, 30, 30] {
            assert!(!refusals.resting(tick));
            refusals.refused(tick);
            refusals.refused(tick + 1);
            assert!(refusals.resting(tick + rest - 1));
            tick += rest;
        }
        refusals.worked();
        refusals.refused(tick);
        assert!(refusals.resting(tick + 9) && !refusals.resting(tick + 10));
    }

    #[test]
    fn memory_is_bounded() {
        let mut failures = failures(2);
        assert_eq!(failures.fail(key(1), 0, true), None);
        assert_eq!(failures.fail(key(2), 1, true), None);
        assert_eq!(failures.fail(key(3), 2, true), Some(key(1).0));
        assert_eq!(failures.len(), 2);
        assert_eq!(failures.order.len(), 2);
    }

    #[test]
    fn tiers_are_remembered_apart() {
        let mut failures = failures(8);
        let other = (key(1).0, Tier::Optimized);
        failures.fail(other, 0, false);
        assert_eq!(failures.resting(&key(1), 1), None);
        assert_eq!(failures.resting(&other, 1), Some((1, 9)));
        failures.forget(&key(1));
        assert_eq!(failures.expire(10), [(other, false)]);
    }
}
