//! How hot programs with artifacts are, over restarts, and what a warm start has yet to load.

use crate::{config::RuntimeTuning, key::RuntimeCacheKey};
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// How often it is noted what was used.
const SAMPLE: Duration = Duration::from_secs(1);

/// The heat of use in one sample. More than 1, so that what is used now and then outlasts some halvings.
const USE: u32 = 256;

/// The books of the warm start. Only the backend thread sees them.
#[derive(Debug)]
pub(super) struct Heat {
    /// Halved as often as the miss counter.
    heat: HashMap<RuntimeCacheKey, u32>,
    /// What the warm start loaded, and in which tick: that alone is no use.
    loaded: HashMap<RuntimeCacheKey, u64>,
    /// What is to be loaded, the hottest first.
    plan: VecDeque<RuntimeCacheKey>,
    /// The tick in which loading ends.
    until: u64,
    /// Whether the last run's list has come, or is not wanted any more. Before, none is written: it would
    /// take the place of one that was not read.
    is_known: bool,
    /// Whether there is something that was not written.
    is_new: bool,
    next_sample: Instant,
    next_list: Instant,
    /// Since which tick use counts for the next sample.
    since: u64,
    is_on: bool,
    /// Programs that may yet be loaded.
    programs: usize,
    ticks: u64,
    interval: Duration,
}

impl Heat {
    pub(super) fn new(tuning: &RuntimeTuning, now: Instant) -> Self {
        Self {
            heat: HashMap::new(),
            loaded: HashMap::new(),
            plan: VecDeque::new(),
            until: 0,
            is_known: false,
            is_new: false,
            next_sample: now + SAMPLE,
            next_list: now + tuning.heat_list_interval,
            since: 0,
            is_on: tuning.warm_start_programs > 0,
            programs: tuning.warm_start_programs,
            ticks: tuning.ticks(tuning.warm_start_time),
            interval: tuning.heat_list_interval,
        }
    }

    /// Whether heat is kept at all.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Takes the last run's list over, and plans what is loaded of it.
    pub(super) fn begin(&mut self, mut list: Vec<(RuntimeCacheKey, u32)>, tick: u64) {
        if std::mem::replace(&mut self.is_known, true) {
            return;
        }
        for (key, heat) in &list {
            let sum = self.heat.entry(*key).or_default();
            *sum = sum.saturating_add(*heat);
        }
        list.sort_by_key(|(_, heat)| std::cmp::Reverse(*heat));
        self.plan = list.into_iter().map(|(key, _)| key).collect();
        self.until = tick.saturating_add(self.ticks);
    }

    /// The next program to load that `is_wanted`, within the budget.
    pub(super) fn next(
        &mut self,
        tick: u64,
        is_wanted: impl Fn(&RuntimeCacheKey) -> bool,
    ) -> Option<RuntimeCacheKey> {
        if tick >= self.until || self.programs == 0 {
            self.end();
        }
        while let Some(key) = self.plan.pop_front() {
            if is_wanted(&key) {
                self.programs -= 1;
                return Some(key);
            }
        }
        None
    }

    /// Whether nothing more is to be loaded.
    pub(super) fn has_ended(&self) -> bool {
        self.plan.is_empty()
    }

    /// Loads no more.
    pub(super) fn end(&mut self) {
        self.plan = VecDeque::new();
    }

    /// Notes that the warm start loaded a program.
    pub(super) fn loaded(&mut self, key: RuntimeCacheKey, tick: u64) {
        self.loaded.insert(key, tick);
    }

    /// Forgets all, and what is still to come of the last run.
    pub(super) fn clear(&mut self) {
        self.is_known = true;
        self.heat.clear();
        self.loaded.clear();
        self.end();
    }

    /// Whether a sample is due; the next one is later.
    pub(super) fn sample_is_due(&mut self, now: Instant) -> bool {
        due(&mut self.next_sample, SAMPLE, now)
    }

    /// Whether the list is due to be written; the next one is later.
    pub(super) fn list_is_due(&mut self, now: Instant) -> bool {
        due(&mut self.next_list, self.interval, now)
    }

    /// Notes what is resident, with the tick of its last use.
    pub(super) fn sample(&mut self, used: impl Iterator<Item = (RuntimeCacheKey, u64)>, tick: u64) {
        for (key, used) in used {
            if used < self.since || self.loaded.get(&key).is_some_and(|loaded| *loaded == used) {
                continue;
            }
            self.loaded.remove(&key);
            let heat = self.heat.entry(key).or_default();
            *heat = heat.saturating_add(USE);
            self.is_new = true;
        }
        self.since = tick;
    }

    /// Halves all.
    pub(super) fn age(&mut self) {
        self.is_new |= !self.heat.is_empty();
        self.heat.retain(|_, heat| {
            *heat /= 2;
            *heat > 0
        });
    }

    /// What is to be written of those that `has_artifact`, if it is another list than the last; forgets
    /// the rest.
    pub(super) fn list(
        &mut self,
        has_artifact: impl Fn(&RuntimeCacheKey) -> bool,
    ) -> Option<Vec<(RuntimeCacheKey, u32)>> {
        self.heat.retain(|key, _| has_artifact(key));
        self.loaded.retain(|key, _| has_artifact(key));
        if !self.is_known || !self.is_new || self.heat.is_empty() {
            return None;
        }
        self.is_new = false;
        // `HeatList` keeps the hottest, if it cannot keep all.
        Some(self.heat.iter().map(|(key, heat)| (*key, *heat)).collect())
    }
}

fn due(next: &mut Instant, interval: Duration, now: Instant) -> bool {
    let is_due = now >= *next;
    if is_due {
        *next = now + interval;
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::{super::testing::key, *};

    fn heat(programs: usize) -> (Heat, Instant) {
        let now = Instant::now();
        let tuning = RuntimeTuning {
            tick_interval: Duration::from_secs(1),
            warm_start_programs: programs,
            warm_start_time: Duration::from_secs(10),
            ..RuntimeTuning::default()
        };
        (Heat::new(&tuning, now), now)
    }

    fn heat_of_none() -> Heat {
        heat(0).0
    }

    fn sorted(list: Option<Vec<(RuntimeCacheKey, u32)>>) -> Vec<(RuntimeCacheKey, u32)> {
        let mut list = list.unwrap();
        list.sort_by_key(|(key, _)| key.code_hash);
        list
    }

    #[test]
    fn the_hottest_are_loaded_first_and_no_more_than_the_budget() {
        let (mut heat, _) = heat(2);
        let last = (1..=5).map(|n| (key(n), u32::from(n))).collect();
        heat.begin(last, 7);
        // What is not wanted is not counted.
        let is_wanted = |wanted: &RuntimeCacheKey| *wanted != key(5);
        assert_eq!(heat.next(7, is_wanted), Some(key(4)));
        assert_eq!(heat.next(16, is_wanted), Some(key(3)));
        assert_eq!((heat.next(16, is_wanted), heat.has_ended()), (None, true));
        // It is kept on.
        assert!(heat.is_on() && !heat_of_none().is_on());
    }

    #[test]
    fn loading_ends_with_its_time() {
        let (mut heat, _) = heat(10);
        heat.begin(vec![(key(1), 1), (key(2), 2)], 7);
        assert_eq!(heat.next(16, |_| true), Some(key(2)));
        assert_eq!((heat.next(17, |_| true), heat.has_ended()), (None, true));
    }

    #[test]
    fn what_is_used_becomes_hotter_and_what_is_not_cools_down() {
        let (mut heat, now) = heat(10);
        assert!(!heat.sample_is_due(now) && heat.sample_is_due(now + SAMPLE));
        heat.sample([(key(1), 0)].into_iter(), 5);
        heat.begin(vec![(key(1), 8), (key(2), 2 * USE)], 5);
        // Not since; in the tick; loaded in it, which is no use.
        heat.loaded(key(4), 6);
        heat.sample([(key(2), 4), (key(3), 5), (key(4), 6)].into_iter(), 9);
        let all = |_: &_| true;
        let first = [(key(1), USE + 8), (key(2), 2 * USE), (key(3), USE)];
        assert_eq!(sorted(heat.list(all)), first);
        // Nothing new, nothing to write.
        assert_eq!(heat.list(all), None);
        heat.age();
        heat.sample([(key(4), 9)].into_iter(), 12);
        let (cooler, used) = ((key(1), USE / 2 + 4), (key(4), USE));
        assert_eq!(
            sorted(heat.list(|key| *key == cooler.0 || *key == used.0)),
            [cooler, used]
        );
        for _ in 0..10 {
            heat.age();
        }
        assert_eq!(heat.list(all), None);
    }

    #[test]
    fn a_list_that_was_not_read_is_not_overwritten() {
        let (mut heat, _) = heat(10);
        heat.sample([(key(1), 0)].into_iter(), 1);
        assert_eq!(heat.list(|_| true), None);
        heat.begin(Vec::new(), 1);
        assert_eq!(heat.list(|_| true), Some(vec![(key(1), USE)]));
    }

    #[test]
    fn what_comes_after_a_clear_stays_away() {
        let (mut heat, _) = heat(10);
        heat.clear();
        heat.begin(vec![(key(1), 1)], 0);
        assert_eq!((heat.next(0, |_| true), heat.has_ended()), (None, true));
        heat.sample([(key(2), 0)].into_iter(), 1);
        assert_eq!(heat.list(|_| true), Some(vec![(key(2), USE)]));
    }
}
