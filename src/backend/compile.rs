//! What a worker does with a job: compile within the budget, try the program, tell the backend, tell the
//! caller.

use super::{
    job::{Job, Made, Report},
    keeper::{Keep, Keeper, tell},
    request::Command,
    shared::Shared,
};
use crate::{
    chain::Chain,
    compiler::{self, CompileError, CompileOptions, NativeCode, Rules},
    config::{OnCompilation, RuntimeConfig, RuntimeTuning},
    cpu_time::Moment,
    diagnostics::{DumpDir, PerfMap, Turn},
    error::{Error, Result},
    event::{CompilationEvent, CompilationKind},
    front_end::FrontEnd,
    panics::caught,
    program::CompiledProgram,
    stats, trial,
    worker::{Spent, Work},
};
use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{Arc, mpsc::SyncSender},
    time::{Duration, Instant},
};

/// Makes programs. The engine does; tests put something slower, faster or worse in its place.
pub(super) trait Compiler: Send + Sync + 'static {
    /// May panic.
    fn compile(&self, job: &Job) -> Result<Made>;
}

/// The engine, within the budgets of the tuning, and the store.
pub(super) struct Engine {
    tuning: RuntimeTuning,
    debug_assertions: bool,
    pub(super) dumps: Option<DumpDir>,
    chain: Chain,
    front_end: FrontEnd,
    /// What trials have in common. Nobody can make a contract for the seed.
    pub(super) trial: trial::Options,
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
            dumps: dump_dir.as_deref().map(DumpDir::new),
            chain: chain.clone(),
            front_end,
            trial: trial::Options {
                seed: RandomState::new().hash_one(0),
                ..trial::Options::default()
            },
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
            portable: false,
            debug_assertions: self.debug_assertions,
            dump_dir: None,
        };
        let rules = self.chain.rules(job.key.spec_id);
        let begin = Moment::now();
        self.dump(job, rules, &options);
        let dumped = begin.cpu();
        if let Some(translator) = self.front_end.translator() {
            let program = translator.compile(job.key, rules, &job.code, &options)?;
            let mut made = Made::from(program);
            made.beside = dumped;
            return Ok(made);
        }
        let begin = Moment::now();
        let code = compiler::compile(&job.code, rules, &options)?;
        // Before anything is stored: an artifact in the store is a success.
        let compiled = begin.cpu();
        check_time(&self.tuning, job, compiled)?;
        let program = CompiledProgram::jit(job.key, Arc::clone(rules), job.code.len(), &code)?;
        let trial = self.try_out(job, &program, &code, compiled)?;
        let mut made = if job.kind == CompilationKind::Aot {
            let persist = self.shared.persist.as_ref().ok_or(Error::NoStore)?;
            persist.make(job, &code, program, trial.as_ref(), counters)?
        } else {
            program.into()
        };
        made.trial = trial;
        made.beside += dumped;
        made.beside += trial.map_or(Duration::ZERO, |trial| trial.time);
        Ok(made)
    }
}

impl Engine {
    /// Compiles once more, for a person to read what comes out: before the program is made, so that
    /// what breaks the compiler is there to be read, and apart from it, so that budgets are as without.
    fn dump(&self, job: &Job, rules: &Arc<Rules>, options: &CompileOptions) {
        let Some(dumps) = &self.dumps else {
            return;
        };
        let folder = match dumps.begin(&job.key, job.tier) {
            Ok(Turn::Now(folder)) => folder,
            Ok(Turn::Before) => return,
            Ok(Turn::Full) => return self.count_dump(Ok(false)),
            Err(error) => return self.count_dump(Err(error)),
        };
        let options = CompileOptions {
            dump_dir: Some(folder.clone()),
            ..options.clone()
        };
        let outcome = match self.front_end.translator() {
            Some(translator) => translator
                .compile(job.key, rules, &job.code, &options)
                .map(drop),
            None => compiler::compile(&job.code, rules, &options)
                .map(drop)
                .map_err(Error::from),
        };
        // Other errors come again without a dump.
        let failed = matches!(outcome, Err(Error::Compile(CompileError::Dump(_))));
        let filled = dumps.filled(&folder);
        match failed {
            true => stats::add(&self.shared.counters.dump_errors, 1),
            false => self.count_dump(filled.map(|()| true)),
        }
    }

    /// Counts a dump that was not written, or had no room.
    fn count_dump(&self, written: std::io::Result<bool>) {
        let counters = &self.shared.counters;
        match written {
            Ok(true) => {}
            Ok(false) => stats::add(&counters.dumps_left_out, 1),
            Err(_) => stats::add(&counters.dump_errors, 1),
        }
    }

    /// Compares the program with the interpreter before anybody has it.
    fn try_out(
        &self,
        job: &Job,
        program: &CompiledProgram,
        code: &NativeCode,
        compiled: Duration,
    ) -> Result<Option<trial::Passed>> {
        let Some(time) = self.tuning.trial.time(compiled) else {
            return Ok(None);
        };
        let options = trial::Options {
            seed: self.trial.seed.wrapping_add(job.id),
            time,
            samples: self.shared.samples.of(&job.key),
            ..self.trial
        };
        match trial::run(program, &job.code, &options) {
            Ok(passed) => {
                let counters = &self.shared.counters;
                stats::add(&counters.trials_passed, 1);
                stats::add(&counters.trial_runs, passed.runs as usize);
                let covered = passed.blocks_covered as usize;
                stats::add(&counters.trial_blocks_covered, covered);
                stats::add(&counters.trial_blocks, passed.blocks_total as usize);
                let micros = usize::try_from(passed.time.as_micros()).unwrap_or(usize::MAX);
                stats::add(&counters.trial_cpu_micros, micros);
                Ok(Some(passed))
            }
            Err(difference) => {
                if let Some(dumps) = &self.dumps {
                    // What cannot be written is in the event all the same.
                    self.count_dump(dumps.difference(&job.code, code, &difference));
                }
                Err(Error::Miscompiled(difference))
            }
        }
    }
}

/// The workers' work.
pub(super) struct CompileWork {
    compiler: Arc<dyn Compiler>,
    tuning: RuntimeTuning,
    on_compilation: Option<OnCompilation>,
    perf_map: Option<PerfMap>,
    shared: Arc<Shared>,
    tx: SyncSender<Command>,
    /// Where there is a store.
    keeper: Option<Arc<Keeper>>,
}

impl CompileWork {
    pub(super) fn new(
        compiler: Arc<dyn Compiler>,
        config: &RuntimeConfig,
        shared: Arc<Shared>,
        tx: SyncSender<Command>,
        keeper: Option<Arc<Keeper>>,
    ) -> Self {
        let on_compilation = config.on_compilation.clone();
        Self {
            compiler,
            tuning: config.tuning,
            on_compilation,
            perf_map: PerfMap::new(config),
            shared,
            tx,
            keeper,
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
        // Loading an artifact compiles nothing, and what trial and artifact take is not the compiler's (S3).
        if job.kind != CompilationKind::Load {
            check_time(&self.tuning, job, spent.cpu.saturating_sub(made.beside))?;
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
        let mut outcome = self.verdict(&job, outcome, spent);
        let made = outcome.as_mut().ok();
        if let (Some(map), Some(made)) = (&self.perf_map, &made)
            && map.add(&made.program).is_err()
        {
            stats::add(&self.shared.counters.perf_map_errors, 1);
        }
        let keep = made.and_then(|made| made.artifact.take().zip(self.keeper.as_ref()));
        let event = self.on_compilation.as_ref().map(|callback| {
            let event = CompilationEvent {
                key: job.key,
                kind: job.kind,
                tier: job.tier,
                duration: spent.wall,
                cpu_time: spent.cpu,
                // A load that nobody has missed does not know its code.
                bytecode_len: outcome
                    .as_ref()
                    .map_or(job.code.len(), |made| made.program.bytecode_len()),
                outcome: outcome
                    .as_ref()
                    .map(|made| made.program.mapped_len())
                    .map_err(Clone::clone),
                trial: outcome.as_ref().ok().and_then(|made| made.trial),
                store_error: outcome
                    .as_ref()
                    .ok()
                    .and_then(|made| made.store_error.clone()),
            };
            (Arc::clone(callback), event)
        });
        if job.on_allowance {
            self.shared.allowance.spend(Instant::now(), spent.cpu);
        }
        let report = Report {
            id: job.id,
            key: job.key,
            tier: job.tier,
            kind: job.kind,
            keeping: keep.is_some(),
            outcome: outcome.map(|made| made.program),
            cpu: spent.cpu,
        };
        let (key, epoch) = (job.key, job.epoch);
        // The bytecode's owner may be the caller's, and its destructor may panic: the outcome is
        // told all the same.
        let _ = caught(|| drop(job));
        // Waits while the channel is full, which the backend thread empties without ever waiting
        // for a worker. If it has gone, so has whoever wanted the program.
        let _ = self.tx.send(Command::Finished(report));
        if let Some((artifact, keeper)) = keep {
            keeper.keep(Keep {
                key,
                epoch,
                artifact,
                event,
            });
        } else if let Some((callback, event)) = event {
            tell(&self.shared, &callback, &event);
        }
    }

    fn waits(&self, job: &Job) -> Option<Duration> {
        let limit = self.tuning.job_abandon_after;
        match job.kind {
            CompilationKind::Load if job.warm => Some(limit.min(self.tuning.warm_start_time)),
            CompilationKind::Load => Some(limit),
            _ => None,
        }
    }

    fn urgency(&self, job: &Job) -> Option<u64> {
        if job.on_allowance && !self.shared.allowance.has_some(Instant::now()) {
            return None;
        }
        Some(self.shared.urgency(&job.key, job.cost))
    }
}

/// Whether the budget of compile time was kept.
fn check_time(tuning: &RuntimeTuning, job: &Job, spent: Duration) -> Result<()> {
    let allowed = tuning.compile_time(job.code.len());
    if job.is_within_budget() && spent > allowed {
        return Err(Error::CompileTime { spent, allowed });
    }
    Ok(())
}
