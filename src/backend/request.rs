//! The messages to the backend thread, and how they are answered.

use super::job::{Kept, Report};
use crate::{
    error::{Error, Result},
    key::RuntimeCacheKey,
};
use alloy_primitives::Bytes;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Which program would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Road {
    /// Whatever is there or comes soonest, as the configuration says.
    Best,
    /// A JIT program, if nothing is resident.
    Jit,
    /// An artifact in the store.
    Aot,
}

/// A program to make.
pub(super) struct Request {
    pub(super) key: RuntimeCacheKey,
    pub(super) code: Bytes,
    pub(super) road: Road,
    /// Whether a caller asked by name. Its code has been compared with the hash then; an
    /// observation's has not.
    pub(super) explicit: bool,
    /// The store's epoch when the request was made; a later clear of the store voids it.
    pub(super) epoch: u64,
    pub(super) waiter: Option<Waiter>,
}

/// The code of a frame: looked at with every miss, and kept when its contract has become hot.
pub(crate) trait Code {
    fn as_slice(&self) -> &[u8];
    fn to_bytes(&self) -> Bytes;
}

impl Code for Bytes {
    fn as_slice(&self) -> &[u8] {
        self
    }

    fn to_bytes(&self) -> Bytes {
        self.clone()
    }
}

/// What an execution thread leaves for the backend thread: a key that is missing and has become hot.
pub(super) struct Observation {
    pub(super) key: RuntimeCacheKey,
    pub(super) code: Bytes,
}

impl From<Observation> for Request {
    fn from(Observation { key, code }: Observation) -> Self {
        Self {
            key,
            code,
            road: Road::Best,
            explicit: false,
            epoch: 0,
            waiter: None,
        }
    }
}

/// What the backend thread reacts to.
pub(super) enum Command {
    Request(Request),
    /// A worker is done with a job.
    Finished(Report),
    /// The store is done with an artifact, or was not asked.
    Kept(Kept),
    /// What was hot in the last run; nothing, if that is not known.
    Heat(Vec<(RuntimeCacheKey, u32)>),
    ClearResident(Waiter),
    /// The artifact store was emptied.
    ForgetArtifacts(Waiter),
    /// Look at the flags.
    Wake,
}

/// One end of an answer. Dropping it unanswered answers [`Error::Stopped`], so that whatever
/// becomes of the backend thread, nobody waits for ever.
#[derive(Debug)]
pub(super) struct Waiter(SyncSender<Result<()>>);

impl Waiter {
    pub(super) fn new() -> (Self, Answer) {
        let (tx, rx) = sync_channel(1);
        (Self(tx), Answer(rx))
    }

    pub(super) fn answer(self, result: Result<()>) {
        // There is room for the one answer; if nobody waits any more, nobody needs it.
        let _ = self.0.try_send(result);
    }
}

/// The other end of an answer.
#[derive(Debug)]
pub(super) struct Answer(Receiver<Result<()>>);

impl Answer {
    pub(super) fn wait(self) -> Result<()> {
        self.0.recv().unwrap_or(Err(Error::Stopped))
    }
}
