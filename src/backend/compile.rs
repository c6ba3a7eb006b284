//! What a worker does with a job: compile within the budget, tell the backend, tell the caller.

use super::{core::Shared, request::Command};
use crate::{
    CompilationEvent, CompilationKind, CompiledProgram, Error, Result, RuntimeCacheKey,
    RuntimeConfig, RuntimeTuning,
    config::OnCompilation,
    engine::{self, CompileOptions, EngineError, Tier},
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
}

/// Makes programs. The engine does; tests put something slower, faster or worse in its place.
pub(super) trait Compiler: Send + Sync + 'static {
    /// May panic.
    fn compile(&self, job: &Job) -> Result<CompiledProgram>;
}

/// The engine, within the budgets of the tuning.
pub(super) struct Engine {
    tuning: RuntimeTuning,
    debug_assertions: bool,
    dump_dir: Option<PathBuf>,
}

impl Engine {
    pub(super) fn new(config: &RuntimeConfig) -> Self {
        Self {
            tuning: config.tuning,
            debug_assertions: config.debug_assertions,
            dump_dir: config.dump_dir.clone(),
        }
    }
}

impl Compiler for Engine {
    fn compile(&self, job: &Job) -> Result<CompiledProgram> {
        let options = CompileOptions {
            tier: job.tier,
            max_bytecode_len: self.tuning.jit_max_bytecode_len,
            max_native_len: self.tuning.native_len(job.code.len()),
            debug_assertions: self.debug_assertions,
            dump_dir: self.dump_dir.clone(),
        };
        let code = engine::compile(&job.code, job.key.spec_id, &options)?;
        Ok(CompiledProgram::jit(job.key, job.code.len(), &code)?)
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
        outcome: Result<Result<CompiledProgram>, String>,
        spent: Spent,
    ) -> Result<CompiledProgram> {
        let program = outcome.unwrap_or_else(|message| Err(Error::Panicked(message)))?;
        let allowed = self.tuning.compile_time(job.code.len());
        if spent.cpu > allowed && job.kind != CompilationKind::Load {
            return Err(Error::CompileTime {
                spent: spent.cpu,
                allowed,
            });
        }
        Ok(program)
    }
}

impl Work for CompileWork {
    type Job = Job;
    type Output = Result<CompiledProgram>;

    fn started(&self) {
        self.shared.enter_thread();
    }

    fn run(&self, job: &Job) -> Result<CompiledProgram> {
        self.compiler.compile(job)
    }

    fn finished(&self, job: Job, outcome: Result<Result<CompiledProgram>, String>, spent: Spent) {
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
                    .map(|p| p.mapped_len())
                    .map_err(Clone::clone),
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
            | Error::Engine(
                EngineError::UnsupportedTarget(_)
                    | EngineError::UnsupportedFork(_)
                    | EngineError::Eof
                    | EngineError::BytecodeTooLong { .. }
                    | EngineError::TooManyResumePoints(_)
            )
    )
}

/// Whether a failure says that the code cost too much.
pub(super) fn is_over_budget(error: &Error) -> bool {
    matches!(
        error,
        Error::CompileTime { .. }
            | Error::LargerThanCache { .. }
            | Error::Engine(EngineError::NativeTooLarge { .. })
    )
}
