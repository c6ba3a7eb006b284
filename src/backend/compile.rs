//! What a worker does with a job: compile within the budget, tell the backend, tell the caller.

use super::{core::Shared, request::Command};
use crate::{
    CompilationEvent, CompilationKind, CompiledProgram, Error, FrontEnd, Result, RuntimeCacheKey,
    RuntimeConfig, RuntimeTuning,
    chain::Chain,
    compiler::{self, CompileError, CompileOptions, Tier},
    config::OnCompilation,
    error::StoreError,
    stats,
    worker::{Spent, Work, panic_message},
};
use alloy_primitives::Bytes;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, mpsc::SyncSender},
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
    /// Whether the budget of compile time applies: not to what a caller prepares by name.
    pub(super) within_budget: bool,
}

/// What came out of a job.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) program: CompiledProgram,
    /// Bytes that its artifact takes in the store, if one was stored.
    pub(super) stored: Option<u64>,
    /// Why the program is not that of an artifact although it should be.
    pub(super) store_error: Option<StoreError>,
}

impl From<CompiledProgram> for Made {
    fn from(program: CompiledProgram) -> Self {
        Self {
            program,
            stored: None,
            store_error: None,
        }
    }
}

/// Makes programs. The engine does; tests put something slower, faster or worse in its place.
pub(super) trait Compiler: Send + Sync + 'static {
    /// May panic.
    fn compile(&self, job: &Job) -> Result<Made>;
}

/// The engine, within the budgets of the tuning, and the store.
pub(super) struct Engine {
    tuning: RuntimeTuning,
    debug_assertions: bool,
    dump_dir: Option<PathBuf>,
    chain: Chain,
    front_end: FrontEnd,
    shared: Arc<Shared>,
}

impl Engine {
    pub(super) fn new(config: &RuntimeConfig, shared: Arc<Shared>) -> Self {
        let RuntimeConfig {
            tuning,
            debug_assertions,
            ref dump_dir,
            ref chain,
            front_end,
            ..
        } = *config;
        Self {
            tuning,
            debug_assertions,
            dump_dir: dump_dir.clone(),
            chain: chain.clone(),
            front_end,
            shared,
        }
    }
}

impl Compiler for Engine {
    fn compile(&self, job: &Job) -> Result<Made> {
        let counters = &self.shared.counters;
        if job.kind == CompilationKind::Load {
            let persist = self.shared.persist.as_ref().ok_or(Error::NoStore)?;
            return persist.load(job.key, counters);
        }
        let options = CompileOptions {
            tier: job.tier,
            max_bytecode_len: self.tuning.jit_max_bytecode_len,
            max_native_len: self.tuning.native_len(job.code.len()),
            debug_assertions: self.debug_assertions,
            dump_dir: self.dump_dir.clone(),
        };
        let rules = self.chain.rules(job.key.spec_id);
        if let Some(translator) = self.front_end.translator() {
            let program = translator.compile(job.key, rules, &job.code, &options)?;
            return Ok(program.into());
        }
        let code = compiler::compile(&job.code, rules, &options)?;
        if job.kind == CompilationKind::Aot {
            let persist = self.shared.persist.as_ref().ok_or(Error::NoStore)?;
            return persist.keep(job, &code, counters);
        }
        Ok(CompiledProgram::jit(job.key, Arc::clone(rules), job.code.len(), &code)?.into())
    }
}

/// The workers' work.
pub(super) struct CompileWork {
    compiler: Arc<dyn Compiler>,
    tuning: RuntimeTuning,
    on_compilation: Option<OnCompilation>,
    shared: Arc<Shared>,
    tx: SyncSender<Command>,
}

impl CompileWork {
    pub(super) fn new(
        compiler: Arc<dyn Compiler>,
        config: &RuntimeConfig,
        shared: Arc<Shared>,
        tx: SyncSender<Command>,
    ) -> Self {
        let on_compilation = config.on_compilation.clone();
        Self {
            compiler,
            tuning: config.tuning,
            on_compilation,
            shared,
            tx,
        }
    }

    /// What became of the job, by the rules of the budget.
    fn verdict(
        &self,
        job: &Job,
        outcome: Result<Result<Made>, String>,
        spent: Spent,
    ) -> Result<Made> {
        let made = outcome.unwrap_or_else(|message| Err(Error::Panicked(message)))?;
        let allowed = self.tuning.compile_time(job.code.len());
        if job.within_budget && spent.cpu > allowed {
            return Err(Error::CompileTime {
                spent: spent.cpu,
                allowed,
            });
        }
        Ok(made)
    }
}

impl Work for CompileWork {
    type Job = Job;
    type Output = Result<Made>;

    fn started(&self) {
        self.shared.enter_thread();
    }

    fn run(&self, job: &Job) -> Result<Made> {
        self.compiler.compile(job)
    }

    fn finished(&self, job: Job, outcome: Result<Result<Made>, String>, spent: Spent) {
        let outcome = self.verdict(&job, outcome, spent);
        let event = self.on_compilation.as_ref().map(|callback| {
            let event = CompilationEvent {
                key: job.key,
                kind: job.kind,
                tier: job.tier,
                duration: spent.wall,
                cpu_time: spent.cpu,
                bytecode_len: job.code.len(),
                outcome: outcome
                    .as_ref()
                    .map(|made| made.program.mapped_len())
                    .map_err(Clone::clone),
                store_error: outcome
                    .as_ref()
                    .ok()
                    .and_then(|made| made.store_error.clone()),
            };
            (callback, event)
        });
        let id = job.id;
        drop(job);
        // Waits while the channel is full, which the backend thread empties without ever waiting
        // for a worker. If it has gone, so has whoever wanted the program.
        let _ = self.tx.send(Command::Finished { id, outcome });
        if let Some((callback, event)) = event
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| callback(&event)))
        {
            panic_message(payload);
            stats::add(&self.shared.counters.callback_panics, 1);
        }
    }
}

/// Whether a failure is the bytecode's own fault for good: no retry would change it.
pub(super) fn is_ineligible(error: &Error) -> bool {
    matches!(
        error,
        Error::Ineligible(_)
            | Error::Compile(
                CompileError::Unsupported(_)
                    | CompileError::UnsupportedTarget(_)
                    | CompileError::Reserved
                    | CompileError::BytecodeTooLong { .. }
            )
    )
}

/// Whether a failure says that the code cost too much.
pub(super) fn is_over_budget(error: &Error) -> bool {
    matches!(
        error,
        Error::CompileTime { .. }
            | Error::LargerThanCache { .. }
            | Error::Compile(
                CompileError::NativeTooLarge { .. }
                    | CompileError::TooComplex { .. }
                    | CompileError::FrameTooLarge { .. }
            )
    )
}
