//! How full a folder is, and which of its artifacts go first.
//!
//! A folder can hold a million artifacts, so looking at all of them is nothing that storing one may
//! wait for. It is looked at piece by piece: each time an artifact is stored, the next
//! [`SCAN`] entries of a reading of the folder that goes on and on. Where a round ends, the counts
//! are those of the folder, whatever other processes did to it in the meantime; in between, this
//! process counts what it does itself. So the bounds are kept up to what other processes store
//! within one round, and, before the first round of a process has ended, up to one part in
//! [`SCAN`].
//!
//! On the way, the round remembers the [`CANDIDATES`] artifacts that were used longest ago. If
//! there is no room for a new one, they go, oldest first, up to [`REMOVALS`] for one artifact. Each
//! is looked at once more before: one that was used since it was remembered has its place among the
//! candidates corrected instead. A folder of up to [`SCAN`] artifacts, and one that was listed
//! ([`Room::listed`]) just before, is in exact order; in others an artifact can go before an
//! older one that the round has not come to yet.
//!
//! Several processes may make room at the same time. Removing is atomic, and whoever has opened an
//! artifact reads it to its end. Between the last look and the removal another process can use the
//! artifact, or store it anew, and it is then compiled again some day: nothing worse than that. What
//! the others store and remove shows at the end of a round; until then each keeps the bound as if it
//! were alone, so the folder can be over the bound by what they stored in the meantime.

use super::{
    error::ArtifactError,
    key::ArtifactKey,
    store::IndexEntry,
    sys::{self, Entries},
};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::CStr,
    io,
    os::fd::OwnedFd,
    time::{SystemTime, UNIX_EPOCH},
};

/// Entries of the folder that are looked at for each artifact that is stored.
pub(super) const SCAN: usize = 32;

/// How many of the artifacts used longest ago are remembered.
const CANDIDATES: usize = 1024;

/// How many artifacts go at most for a new one. Beyond, it is refused; what went has gone, so that
/// a later one finds room.
const REMOVALS: usize = 64;

/// How many candidates are looked at for that.
const LOOKS: usize = 4 * REMOVALS;

/// Number and bytes of artifacts, as far as this process knows: others may store at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Number of artifacts.
    pub artifacts: usize,
    /// Bytes they take.
    pub bytes: u64,
}

impl StoreUsage {
    fn add(&mut self, len: u64) {
        self.artifacts += 1;
        self.bytes = self.bytes.saturating_add(len);
    }

    fn take(&mut self, len: u64) {
        self.artifacts = self.artifacts.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(len);
    }
}

/// What is known of a folder's room; see the [module](self).
#[derive(Debug)]
pub(super) struct Room {
    bounds: StoreUsage,
    /// Unknown before the first round has ended.
    usage: Option<StoreUsage>,
    round: Option<Round>,
    /// Number of the round under way, or of the next one.
    number: u64,
    /// Artifacts by the time of their last use.
    candidates: BTreeMap<(SystemTime, ArtifactKey), Candidate>,
    /// What had to go, and whoever stores has not been told yet: something failed behind it.
    untold: Vec<ArtifactKey>,
}

/// A reading of the folder under way.
#[derive(Debug)]
struct Round {
    entries: Entries,
    /// What it has counted.
    seen: StoreUsage,
    /// What this process stored since it began and it has not come across, which it may never do.
    fresh: HashMap<ArtifactKey, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    len: u64,
    /// The round that found it.
    round: u64,
}

impl Room {
    pub(super) fn new(bounds: StoreUsage) -> Self {
        Self {
            bounds,
            usage: None,
            round: None,
            number: 0,
            candidates: BTreeMap::new(),
            untold: Vec::new(),
        }
    }

    pub(super) fn usage(&self) -> StoreUsage {
        self.usage.unwrap_or_default()
    }

    /// Takes over what a reading of the whole folder found.
    pub(super) fn listed(&mut self, entries: &[IndexEntry]) {
        self.forget();
        let mut usage = StoreUsage::default();
        for entry in entries {
            usage.add(entry.stored_len);
            let used = entry.last_used.unwrap_or(UNIX_EPOCH);
            self.consider(used, entry.key, entry.stored_len);
        }
        self.usage = Some(usage);
    }

    /// Forgets all; the next round counts afresh.
    pub(super) fn forget(&mut self) {
        self.usage = None;
        self.end_round();
        self.candidates.clear();
    }

    /// Notes that this process stored an artifact, in place of one of `replaced` bytes. Returns what had to go,
    /// also for others since this was last asked, which could not be stored in the end.
    pub(super) fn stored(
        &mut self,
        key: &ArtifactKey,
        len: u64,
        replaced: Option<u64>,
    ) -> Vec<ArtifactKey> {
        if let Some(round) = &mut self.round
            && replaced.is_none()
        {
            round.fresh.insert(*key, len);
        }
        if let Some(usage) = &mut self.usage {
            if let Some(replaced) = replaced {
                usage.take(replaced);
            }
            usage.add(len);
        }
        let mut removed = std::mem::take(&mut self.untold);
        removed.retain(|removed| removed != key);
        removed
    }

    /// Notes that an artifact is gone.
    pub(super) fn gone(&mut self, len: u64) {
        if let Some(usage) = &mut self.usage {
            usage.take(len);
        }
    }

    /// Notes that a candidate is gone, by this process.
    fn removed(&mut self, key: &ArtifactKey, candidate: Candidate) {
        if let Some(round) = &mut self.round
            && round.fresh.remove(key).is_none()
            && candidate.round == self.number
        {
            round.seen.take(candidate.len);
        }
        self.gone(candidate.len);
    }

    /// Goes on with the round by [`SCAN`] entries. Names that are not artifacts' go to `other`. A
    /// folder that cannot be read is not worth an error here: writing to it will tell.
    pub(super) fn look(&mut self, folder: &OwnedFd, mut other: impl FnMut(&CStr)) {
        let round = match self.round.take() {
            None => Entries::new(folder).map(|entries| Round {
                entries,
                seen: StoreUsage::default(),
                fresh: HashMap::new(),
            }),
            Some(round) => Ok(round),
        };
        let Ok(mut round) = round else {
            return;
        };
        for _ in 0..SCAN {
            match round.entries.next() {
                Ok(Some(name)) => match ArtifactKey::from_c_name(&name) {
                    Some(key) => {
                        if let Ok(status) = sys::entry_status(folder, &name)
                            && status.is_file
                        {
                            round.fresh.remove(&key);
                            round.seen.add(status.len);
                            self.consider(status.modified, key, status.len);
                        }
                    }
                    None => other(&name),
                },
                Ok(None) => {
                    let mut usage = round.seen;
                    round.fresh.values().for_each(|len| usage.add(*len));
                    self.usage = Some(usage);
                    return self.end_round();
                }
                Err(_) => return self.end_round(),
            }
        }
        self.round = Some(round);
    }

    fn end_round(&mut self) {
        self.round = None;
        self.number += 1;
    }

    fn consider(&mut self, used: SystemTime, key: ArtifactKey, len: u64) {
        let round = self.number;
        self.candidates
            .insert((used, key), Candidate { len, round });
        if self.candidates.len() > CANDIDATES {
            self.candidates.pop_last();
        }
    }

    /// What speaks against `len` more bytes, in place of `replaced` ones.
    fn full(
        &self,
        mut usage: StoreUsage,
        len: u64,
        replaced: Option<u64>,
    ) -> Option<ArtifactError> {
        if let Some(replaced) = replaced {
            usage.take(replaced);
        }
        usage.add(len);
        let (what, limit) = if usage.artifacts > self.bounds.artifacts {
            ("artifacts", self.bounds.artifacts as u64)
        } else if usage.bytes > self.bounds.bytes {
            ("bytes", self.bounds.bytes)
        } else {
            return None;
        };
        Some(ArtifactError::StoreFull { what, limit })
    }

    /// Makes room for `len` bytes under `key`, in place of `replaced` ones.
    ///
    /// # Errors
    /// [`ArtifactError::StoreFull`] if it is not enough for that to remove [`REMOVALS`] artifacts;
    /// [`ArtifactError::Io`] if one could not be removed.
    pub(super) fn make(
        &mut self,
        folder: &OwnedFd,
        key: &ArtifactKey,
        len: u64,
        replaced: Option<u64>,
    ) -> Result<(), ArtifactError> {
        // What would not fit into an empty folder is not worth emptying it.
        if let Some(error) = self.full(StoreUsage::default(), len, None) {
            return Err(error);
        }
        let failed = |error| ArtifactError::io("making room", error);
        let mut removals = 0;
        for _ in 0..LOOKS {
            let Some(error) = self.full(self.usage(), len, replaced) else {
                return Ok(());
            };
            let oldest = self.candidates.pop_first();
            let Some(((used, oldest), candidate)) = oldest.filter(|_| removals < REMOVALS) else {
                return Err(error);
            };
            // Renaming replaces it anyway.
            if oldest == *key {
                continue;
            }
            let name = oldest.c_name();
            match sys::entry_status(folder, &name) {
                Ok(status) if status.modified != used => {
                    self.consider(status.modified, oldest, status.len);
                    continue;
                }
                Ok(_) => match sys::remove(folder, &name) {
                    Ok(()) => {
                        removals += 1;
                        self.untold.push(oldest);
                        self.removed(&oldest, candidate);
                    }
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(failed(e)),
                },
                // Whether the count includes it is not known: it is the bound that is kept.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed(e)),
            }
        }
        self.full(self.usage(), len, replaced).map_or(Ok(()), Err)
    }
}
