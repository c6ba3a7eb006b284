//! A program to make, and what came out.

use crate::{
    artifact::Verified,
    compiler::Tier,
    error::{Result, StoreError},
    event::CompilationKind,
    key::RuntimeCacheKey,
    program::CompiledProgram,
    trial::Passed,
};
use alloy_primitives::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// A program to make. The code has been compared with the key.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) key: RuntimeCacheKey,
    pub(super) code: Bytes,
    pub(super) kind: CompilationKind,
    pub(super) tier: Tier,
    /// The store's epoch that the request belongs to.
    pub(super) epoch: u64,
    /// Whether the budget of compile time applies: not to what a caller prepares by name. Shared
    /// with the books, as somebody may ask for it while it is under way.
    pub(super) within_budget: Arc<AtomicBool>,
    /// What it will cost, as far as one knows.
    pub(super) cost: Duration,
    /// Whether it is a load that nobody had missed when it was handed out.
    pub(super) warm: bool,
    /// Whether it is on the allowance for what has never made a program: nobody asked for it, and
    /// its key and tier have not.
    pub(super) on_allowance: bool,
}

impl Job {
    pub(super) fn is_within_budget(&self) -> bool {
        // Relaxed: the flag alone, no data comes with it.
        self.within_budget.load(Relaxed)
    }
}

/// What came out of a job.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) program: CompiledProgram,
    /// What is to be stored of it.
    pub(super) artifact: Option<Verified>,
    /// Why there is no artifact although there should be.
    pub(super) store_error: Option<StoreError>,
    /// What its trial came to, if it was tried.
    pub(super) trial: Option<Passed>,
    /// Processor time that the trial and the artifact took. The budget is for the compiler alone (S3).
    pub(super) beside: Duration,
}

impl From<CompiledProgram> for Made {
    fn from(program: CompiledProgram) -> Self {
        Self {
            program,
            artifact: None,
            store_error: None,
            trial: None,
            beside: Duration::ZERO,
        }
    }
}

/// What a worker tells of a job that ended.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) id: u64,
    pub(super) key: RuntimeCacheKey,
    pub(super) tier: Tier,
    pub(super) kind: CompilationKind,
    pub(super) outcome: Result<CompiledProgram>,
    /// Whether its artifact is handed to the store now: a [`Kept`] follows.
    pub(super) keeping: bool,
    /// Processor time it took.
    pub(super) cpu: Duration,
}

/// What became of an artifact that was to be stored.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) key: RuntimeCacheKey,
    /// The store's epoch that it belongs to.
    pub(super) epoch: u64,
    /// Bytes that it takes in the store, if it is there.
    pub(super) stored: Option<u64>,
    /// What was taken out of the store for it.
    pub(super) displaced: Vec<RuntimeCacheKey>,
}

impl Kept {
    /// It was not stored.
    pub(super) fn nothing(key: RuntimeCacheKey, epoch: u64) -> Self {
        Self {
            key,
            epoch,
            stored: None,
            displaced: Vec::new(),
        }
    }
}
