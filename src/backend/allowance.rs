//! Processor time for what has never made a program: a bucket that fills steadily.
//!
//! The budget of a single compilation bounds what one key costs. A stranger has keys without
//! number, so what all of them cost together is bounded here: a compilation that nobody asked for,
//! of a key and tier that never made a program, begins only while something is in the bucket, and
//! takes what it used out of it when it ends, if need be below zero. What made a program before
//! costs what it is known to cost, and is free.

use crate::config::RuntimeTuning;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Nanoseconds in the bucket at a moment.
#[derive(Debug)]
struct Level {
    nanos: i128,
    at: Instant,
}

/// The bucket. Workers look at it; locked for an addition.
#[derive(Debug)]
pub(super) struct Allowance {
    level: Mutex<Level>,
    burst: i128,
    /// Nanoseconds of processor time in a second.
    per_second: i128,
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

impl Allowance {
    /// A full bucket.
    pub(super) fn new(tuning: &RuntimeTuning, now: Instant) -> Self {
        let burst = nanos(tuning.new_code_cpu_burst);
        Self {
            level: Mutex::new(Level {
                nanos: burst,
                at: now,
            }),
            burst,
            per_second: nanos(tuning.new_code_cpu_per_second),
        }
    }

    /// The level at `now`. An assignment or two cannot unwind, so poison carries no meaning.
    fn filled(&self, now: Instant) -> MutexGuard<'_, Level> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = nanos(now.saturating_duration_since(level.at));
        let gained = elapsed.saturating_mul(self.per_second) / 1_000_000_000;
        // A gain too small to count is not lost: the time stays where it was.
        if gained > 0 {
            level.nanos = level.nanos.saturating_add(gained).min(self.burst);
            level.at = now;
        }
        level
    }

    /// Whether something may begin.
    pub(super) fn has_some(&self, now: Instant) -> bool {
        self.filled(now).nanos > 0
    }

    /// Takes out what was used.
    pub(super) fn spend(&self, now: Instant, cpu: Duration) {
        let mut level = self.filled(now);
        level.nanos = level.nanos.saturating_sub(nanos(cpu));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_comes_back_at_the_rate() {
        let tuning = RuntimeTuning {
            new_code_cpu_burst: Duration::from_secs(10),
            new_code_cpu_per_second: Duration::from_millis(500),
            ..RuntimeTuning::default()
        };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let allowance = Allowance::new(&tuning, start);
        // A hundred bombs of three seconds each, one after the other.
        let mut begun = Vec::new();
        for second in 0..100 {
            if allowance.has_some(at(second)) {
                allowance.spend(at(second), Duration::from_secs(3));
                begun.push(second);
            }
        }
        // Four at once empty the bucket; from then on one in six seconds.
        assert_eq!(begun[..4], [0, 1, 2, 3]);
        assert!(begun.len() <= 4 + 100 / 6, "{begun:?}");
        assert!(begun.len() >= 100 / 6, "{begun:?}");
        // A long rest fills it to the brim and no further.
        assert!(allowance.has_some(at(1_000_000)));
        allowance.spend(at(1_000_000), Duration::from_secs(10));
        assert!(!allowance.has_some(at(1_000_000)));
    }

    #[test]
    fn looking_often_loses_nothing() {
        let tuning = RuntimeTuning {
            new_code_cpu_burst: Duration::from_nanos(1),
            new_code_cpu_per_second: Duration::from_nanos(2),
            ..RuntimeTuning::default()
        };
        let start = Instant::now();
        let allowance = Allowance::new(&tuning, start);
        allowance.spend(start, Duration::from_nanos(1));
        let first = (1..2000).find(|ms| allowance.has_some(start + Duration::from_millis(*ms)));
        assert_eq!(first, Some(500));
    }
}
