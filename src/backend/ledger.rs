//! What is resident: bytes, tiers, and what goes or gets better next.
//!
//! The map knows when an entry was last used (readers stamp the coarse tick), this knows what
//! the entries cost. Only the backend thread sees it.

use crate::{
    compiler::Tier,
    key::RuntimeCacheKey,
    program::{CompiledProgram, ProgramKind},
};
use alloy_primitives::Bytes;
use std::collections::HashMap;

#[derive(Debug)]
struct Entry {
    kind: ProgramKind,
    bytes: usize,
    /// What to optimise it from, if it is a fast-tier program that may be.
    candidate: Option<Bytes>,
    /// Ticks in which it was used.
    heat: u32,
}

/// The books of the resident map.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: HashMap<RuntimeCacheKey, Entry>,
    jit: Amount,
    aot: Amount,
    candidates: usize,
}

/// How much there is, or may be, of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) programs: usize,
    pub(super) bytes: usize,
}

impl Amount {
    pub(super) fn fits(self, limit: Self) -> bool {
        self.programs <= limit.programs && self.bytes <= limit.bytes
    }

    /// Seven eighths.
    pub(super) fn lowered(self) -> Self {
        Self {
            programs: self.programs - self.programs / 8,
            bytes: self.bytes - self.bytes / 8,
        }
    }

    /// Seven eighths, and at least one program less.
    fn eased(self) -> Self {
        let lowered = self.lowered();
        Self {
            programs: lowered.programs.min(self.programs.saturating_sub(1)),
            ..lowered
        }
    }
}

impl Ledger {
    fn held_mut(&mut self, kind: ProgramKind) -> &mut Amount {
        match kind {
            ProgramKind::Jit => &mut self.jit,
            ProgramKind::Aot => &mut self.aot,
        }
    }

    /// Enters a program, in place of the key's former one. `candidate` is its bytecode, if it is
    /// to be optimised when it stays hot.
    pub(super) fn insert(&mut self, program: &CompiledProgram, candidate: Option<Bytes>) {
        self.remove(&program.key());
        let (kind, bytes) = (program.kind(), program.mapped_len());
        let held = self.held_mut(kind);
        held.programs += 1;
        held.bytes += bytes;
        self.candidates += usize::from(candidate.is_some());
        self.entries.insert(
            program.key(),
            Entry {
                kind,
                bytes,
                candidate,
                heat: 0,
            },
        );
    }

    /// Strikes a program out; its kind, if there was one.
    pub(super) fn remove(&mut self, key: &RuntimeCacheKey) -> Option<ProgramKind> {
        let entry = self.entries.remove(key)?;
        let held = self.held_mut(entry.kind);
        held.programs -= 1;
        held.bytes -= entry.bytes;
        self.candidates -= usize::from(entry.candidate.is_some());
        Some(entry.kind)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn kind(&self, key: &RuntimeCacheKey) -> Option<ProgramKind> {
        Some(self.entries.get(key)?.kind)
    }

    /// How much the programs of a kind are together.
    pub(super) fn held(&self, kind: ProgramKind) -> Amount {
        match kind {
            ProgramKind::Jit => self.jit,
            ProgramKind::Aot => self.aot,
        }
    }

    /// Whether any program waits to be optimised.
    pub(super) fn has_candidates(&self) -> bool {
        self.candidates > 0
    }

    /// Notes that `key` was used in this tick; true once that makes it worth optimising.
    pub(super) fn warm(&mut self, key: &RuntimeCacheKey, enough: u32) -> bool {
        match self.entries.get_mut(key) {
            Some(entry) if entry.candidate.is_some() => {
                entry.heat = entry.heat.saturating_add(1);
                entry.heat >= enough
            }
            _ => false,
        }
    }

    /// Takes the bytecode of a candidate: it is not one any more.
    pub(super) fn take_candidate(&mut self, key: &RuntimeCacheKey) -> Option<Bytes> {
        let code = self.entries.get_mut(key)?.candidate.take()?;
        self.candidates -= 1;
        Some(code)
    }

    /// Makes the key a candidate again, for a later try.
    pub(super) fn restore_candidate(&mut self, key: &RuntimeCacheKey, code: Bytes) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.candidate.is_none()
        {
            entry.candidate = Some(code);
            self.candidates += 1;
        }
    }

    /// Every key, for comparing with the map.
    pub(super) fn keys(&self) -> impl Iterator<Item = &RuntimeCacheKey> {
        self.entries.keys()
    }

    /// Which programs of `kind` to drop so that they keep within `budget`, given all keys with
    /// their last-used tick: the least recently used, and then some (an eighth of the budget) so
    /// that the next program does not need another round. Never `keep`.
    pub(super) fn over_budget(
        &self,
        kind: ProgramKind,
        budget: Amount,
        used: impl IntoIterator<Item = (RuntimeCacheKey, u64)>,
        keep: &RuntimeCacheKey,
    ) -> Vec<RuntimeCacheKey> {
        if self.held(kind).fits(budget) {
            return Vec::new();
        }
        self.least_used(kind, budget.lowered(), used, keep)
    }

    /// Which programs of `kind` to drop to make the system some room: an eighth of them, the least
    /// recently used, and at least one. Never `keep`.
    pub(super) fn to_ease(
        &self,
        kind: ProgramKind,
        used: impl IntoIterator<Item = (RuntimeCacheKey, u64)>,
        keep: &RuntimeCacheKey,
    ) -> Vec<RuntimeCacheKey> {
        self.least_used(kind, self.held(kind).eased(), used, keep)
    }

    fn least_used(
        &self,
        kind: ProgramKind,
        aim: Amount,
        used: impl IntoIterator<Item = (RuntimeCacheKey, u64)>,
        keep: &RuntimeCacheKey,
    ) -> Vec<RuntimeCacheKey> {
        let mut held = self.held(kind);
        let mut by_age: Vec<(u64, usize, RuntimeCacheKey)> = used
            .into_iter()
            .filter(|(key, _)| key != keep)
            .filter_map(|(key, tick)| {
                let entry = self.entries.get(&key).filter(|entry| entry.kind == kind)?;
                Some((tick, entry.bytes, key))
            })
            .collect();
        by_age.sort_unstable_by_key(|(tick, bytes, _)| (*tick, *bytes));
        let mut out = Vec::new();
        for (_, bytes, key) in by_age {
            if held.fits(aim) {
                break;
            }
            held.programs -= 1;
            held.bytes -= bytes;
            out.push(key);
        }
        out
    }
}

/// Whether `tier` has a better one above it.
pub(super) fn can_improve(tier: Tier, best: Tier) -> bool {
    tier == Tier::Baseline && best == Tier::Optimized
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::testing::program;

    fn ledger(sizes: &[usize]) -> (Ledger, Vec<RuntimeCacheKey>) {
        let mut ledger = Ledger::default();
        let mut keys = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            let program = program(i as u8, *size);
            keys.push(program.key());
            ledger.insert(&program, None);
        }
        (ledger, keys)
    }

    #[test]
    fn bytes_follow_what_comes_and_goes() {
        let (mut ledger, keys) = ledger(&[100, 200, 300]);
        let kind = ledger.kind(&keys[0]).unwrap();
        let held = |ledger: &Ledger| (ledger.held(kind).programs, ledger.held(kind).bytes);
        assert_eq!(held(&ledger), (3, 600));
        ledger.insert(&program(1, 50), Some(Bytes::new()));
        assert_eq!(held(&ledger), (3, 450));
        assert_eq!((ledger.len(), ledger.has_candidates()), (3, true));
        assert_eq!(ledger.remove(&keys[1]), Some(kind));
        assert_eq!(ledger.remove(&keys[1]), None);
        assert_eq!((held(&ledger), ledger.has_candidates()), ((2, 400), false));
        ledger.clear();
        assert_eq!((held(&ledger), ledger.len()), ((0, 0), 0));
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let (ledger, keys) = ledger(&[400, 300, 200, 100]);
        let kind = ledger.kind(&keys[0]).unwrap();
        let used = |ticks: [u64; 4]| keys.clone().into_iter().zip(ticks);
        let bytes = |bytes| Amount {
            programs: usize::MAX,
            bytes,
        };
        // 1000 bytes; 800 allowed, so 700 is the aim.
        let out = ledger.over_budget(kind, bytes(800), used([4, 1, 2, 3]), &keys[3]);
        assert_eq!(out, [keys[1]]);
        let out = ledger.over_budget(kind, bytes(800), used([1, 2, 3, 4]), &keys[0]);
        assert_eq!(out, [keys[1]]);
        let out = ledger.over_budget(kind, bytes(500), used([1, 2, 3, 4]), &keys[3]);
        assert_eq!(out, [keys[0], keys[1]]);
        // Nothing goes before the budget is exceeded.
        assert_eq!(
            ledger.over_budget(kind, bytes(1000), used([1, 2, 3, 4]), &keys[3]),
            []
        );
    }

    #[test]
    fn too_many_go_like_too_large_ones() {
        let (ledger, keys) = ledger(&[1; 10]);
        let kind = ledger.kind(&keys[0]).unwrap();
        let at_most = |programs| Amount {
            programs,
            bytes: usize::MAX,
        };
        let used = || keys.iter().copied().zip(1..);
        assert_eq!(ledger.over_budget(kind, at_most(10), used(), &keys[9]), []);
        // Ten, of eight allowed: down to seven.
        let out = ledger.over_budget(kind, at_most(8), used(), &keys[0]);
        assert_eq!(out, keys[1..4]);
    }

    #[test]
    fn a_program_is_optimised_once_after_enough_ticks() {
        let mut ledger = Ledger::default();
        let program = program(1, 100);
        ledger.insert(&program, Some(Bytes::from_static(&[1, 2])));
        assert!(!ledger.warm(&program.key(), 3));
        assert!(!ledger.warm(&program.key(), 3));
        assert!(ledger.warm(&program.key(), 3));
        assert_eq!(
            ledger.take_candidate(&program.key()),
            Some(Bytes::from_static(&[1, 2]))
        );
        assert!(!ledger.warm(&program.key(), 3) && !ledger.has_candidates());
        assert_eq!(ledger.take_candidate(&program.key()), None);
        // It may be one again, and is as hot as it was.
        ledger.restore_candidate(&program.key(), Bytes::new());
        assert!(ledger.warm(&program.key(), 3));
        ledger.restore_candidate(&program.key(), Bytes::new());
        ledger.remove(&program.key());
        assert!(!ledger.has_candidates());
    }

    #[test]
    fn the_system_is_eased_by_at_least_one_program() {
        for (count, out) in [(1, 0), (2, 1), (16, 2)] {
            let (ledger, keys) = ledger(&vec![100; count]);
            let kind = ledger.kind(&keys[0]).unwrap();
            let used = keys.iter().copied().zip(1..);
            let eased = ledger.to_ease(kind, used, &keys[0]);
            assert_eq!(eased.len(), out, "of {count}");
        }
    }
}
