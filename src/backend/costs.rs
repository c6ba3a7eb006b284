//! What compilations cost, by key and tier, beyond the program's life: what to expect of a job, and
//! whether its key and tier ever made a program.

use crate::{compiler::Tier, config::RuntimeTuning, key::RuntimeCacheKey};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// Keys and tiers kept in mind; the oldest goes first. Some megabytes.
const CAPACITY: usize = 32 * 1024;

#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu: Duration,
    /// Whether a program came out of it once.
    proven: bool,
}

/// Costs by key and tier.
#[derive(Debug)]
pub(super) struct Costs {
    known: HashMap<(RuntimeCacheKey, Tier), Cost>,
    order: VecDeque<(RuntimeCacheKey, Tier)>,
    base: Duration,
    per_byte: Duration,
}

impl Costs {
    pub(super) fn new(tuning: &RuntimeTuning) -> Self {
        Self {
            known: HashMap::new(),
            order: VecDeque::new(),
            base: tuning.expected_cpu_base,
            per_byte: tuning.expected_cpu_per_byte,
        }
    }

    /// Notes what a compilation cost, and whether it made a program.
    pub(super) fn note(&mut self, key: RuntimeCacheKey, tier: Tier, cpu: Duration, made: bool) {
        let before = self.known.get(&(key, tier)).copied();
        let proven = made || before.is_some_and(|cost| cost.proven);
        self.known.insert((key, tier), Cost { cpu, proven });
        if before.is_none() {
            self.order.push_back((key, tier));
        }
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether the key made a program of this tier.
    pub(super) fn is_proven(&self, key: &RuntimeCacheKey, tier: Tier) -> bool {
        self.known
            .get(&(*key, tier))
            .is_some_and(|cost| cost.proven)
    }

    /// What compiling `len` bytes of this key will cost: what it did, or what such a length does.
    pub(super) fn expected(&self, key: &RuntimeCacheKey, tier: Tier, len: usize) -> Duration {
        let by_length = || {
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            let cost = self.per_byte.saturating_mul(len);
            self.base.saturating_add(cost)
        };
        self.known
            .get(&(*key, tier))
            .map_or_else(by_length, |cost| cost.cpu)
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::testing::contract;

    #[test]
    fn what_was_seen_is_expected_and_what_made_a_program_is_proven() {
        let tuning = RuntimeTuning {
            expected_cpu_base: Duration::from_micros(500),
            expected_cpu_per_byte: Duration::from_micros(5),
            ..RuntimeTuning::default()
        };
        let mut costs = Costs::new(&tuning);
        let (key, tier) = (contract(1).0, Tier::Baseline);
        let expected = |costs: &Costs| costs.expected(&key, tier, 100);
        assert_eq!(expected(&costs), Duration::from_millis(1));
        costs.note(key, tier, Duration::from_secs(3), false);
        assert_eq!(expected(&costs), Duration::from_secs(3));
        assert!(!costs.is_proven(&key, tier));
        costs.note(key, tier, Duration::from_secs(2), true);
        assert!(costs.is_proven(&key, tier) && !costs.is_proven(&key, Tier::Optimized));
        // Another failure does not take it back.
        costs.note(key, tier, Duration::from_secs(1), false);
        assert!(costs.is_proven(&key, tier));
        assert_eq!(costs.order.len(), 1);
        costs.clear();
        assert_eq!(expected(&costs), Duration::from_millis(1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut costs = Costs::new(&RuntimeTuning::default());
        for n in 0..CAPACITY as u32 + 10 {
            costs.note(contract(n).0, Tier::Baseline, Duration::ZERO, true);
        }
        assert_eq!((costs.known.len(), costs.order.len()), (CAPACITY, CAPACITY));
        assert!(!costs.is_proven(&contract(9).0, Tier::Baseline));
        assert!(costs.is_proven(&contract(10).0, Tier::Baseline));
    }
}
