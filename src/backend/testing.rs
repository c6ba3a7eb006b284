//! Programs and compilers for the tests of this folder, and a backend thread's state whose time
//! the test makes pass.
//!
//! * **T1** The programs of these tests are one function that does not read its argument.
//! * **T2** A store of these tests that is trusted for its word returns what it was given, or nothing.

use super::{
    JitBackend, LookupRequest,
    compile::{CompileWork, Compiler, Engine},
    job::{Job, Made},
    keeper::Keeper,
    request::{Answer, Command, Observation, Request, Road, Waiter},
    runtime::Runtime,
    shared::{Reader, Shared},
};
use crate::{
    chain::Chain,
    compiler::{Demand, EntryPoint, Tier},
    config::{RuntimeConfig, RuntimeTuning},
    error::{Error, Result},
    frame::{Exit, NativeFrame},
    key::RuntimeCacheKey,
    program::{CompiledProgram, ProgramKind},
    resident::{self, Lookup},
    stats::RuntimeStatsSnapshot,
    worker::Pool,
};
use alloy_primitives::{B256, Bytes, bytes, keccak256};
use revm_interpreter::primitives::hardfork::SpecId;
use std::{
    any::Any,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel, sync_channel},
    },
    time::{Duration, Instant},
};

/// Keys that differ in their code hash.
pub(super) fn key(n: u8) -> RuntimeCacheKey {
    RuntimeCacheKey {
        code_hash: B256::repeat_byte(n),
        spec_id: SpecId::CANCUN,
    }
}

/// The program of every contract here: it leaves at once.
///
/// # Safety
///
/// None is needed: it does not read its argument (T1).
unsafe extern "C" fn stop(_: *mut NativeFrame) -> Exit {
    Exit::LEAVE
}

fn made(
    key: RuntimeCacheKey,
    tier: Tier,
    len: usize,
    mapped: usize,
    backing: Box<dyn Any + Send + Sync>,
) -> CompiledProgram {
    let rules = Chain::mainnet().rules(key.spec_id).clone();
    let entries = vec![EntryPoint {
        pc: 0,
        operand: 0,
        demand: Demand::default(),
    }];
    CompiledProgram::aot(key, rules, tier, len, entries, stop, [1, mapped], backing)
        .said_to_be(ProgramKind::Jit)
}

/// A program that maps `mapped` bytes, for a key made of `n`.
pub(super) fn program(n: u8, mapped: usize) -> CompiledProgram {
    made(key(n), Tier::Baseline, 1, mapped, Box::new(()))
}

/// A contract and its key.
pub(super) fn contract(n: u32) -> (RuntimeCacheKey, Bytes) {
    let code = Bytes::from([&[0x63][..], &n.to_be_bytes(), &[0x00]].concat());
    (
        RuntimeCacheKey {
            code_hash: keccak256(&code),
            spec_id: SpecId::CANCUN,
        },
        code,
    )
}

/// A caller's bytecode, and what happens where it is dropped.
pub(super) fn code_that_ends(code: &[u8], end: impl FnMut() + Send + 'static) -> Bytes {
    struct Owner<F: FnMut()>(Vec<u8>, F);
    impl<F: FnMut()> AsRef<[u8]> for Owner<F> {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl<F: FnMut()> Drop for Owner<F> {
        fn drop(&mut self) {
            (self.1)();
        }
    }
    bytes::Bytes::from_owner(Owner(code.to_vec(), end)).into()
}

/// A compiler made of a closure.
pub(super) struct With<F>(pub(super) F);

impl<F: Fn(&Job) -> Result<CompiledProgram> + Send + Sync + 'static> Compiler for With<F> {
    fn compile(&self, job: &Job) -> Result<Made> {
        (self.0)(job).map(Made::from)
    }
}

/// What a compiler makes that always succeeds: one page.
pub(super) fn page(job: &Job) -> Result<CompiledProgram> {
    page_over(job, ())
}

/// The same, with something that is dropped where the code would be unmapped.
pub(super) fn page_over(job: &Job, backing: impl Send + Sync + 'static) -> Result<CompiledProgram> {
    Ok(made(
        job.key,
        job.tier,
        job.code.len(),
        4096,
        Box::new(backing),
    ))
}

/// A compiler that says when it starts a job, and goes on when it is told.
pub(super) struct Gate {
    pub(super) entered: Receiver<Job>,
    pub(super) release: Sender<()>,
}

impl Gate {
    pub(super) fn new() -> (Self, impl Compiler) {
        let (gate, pass) = Self::before();
        let compiler = With(move |job: &Job| pass(job).and_then(|()| page(job)));
        (gate, compiler)
    }

    /// In front of whatever a test does then.
    pub(super) fn before() -> (Self, impl Fn(&Job) -> Result<()> + Send + Sync + 'static) {
        let (entered_tx, entered) = channel();
        let (release, wait) = channel::<()>();
        // `Sync` by mutex; one job after the other passes the gate.
        let gate = std::sync::Mutex::new((entered_tx, wait));
        let pass = move |job: &Job| {
            let gate = gate.lock().unwrap();
            gate.0.send(job.clone()).map_err(|_| Error::Stopped)?;
            gate.1.recv().map_err(|_| Error::Stopped)
        };
        (Self { entered, release }, pass)
    }
}

/// One tick to the second; failures rest 10, 20, 40, 40 … ticks; other numbers small enough to
/// reach.
pub(super) fn tuning() -> RuntimeTuning {
    RuntimeTuning {
        tick_interval: Duration::from_secs(1),
        jit_worker_count: 1,
        jit_hot_threshold: 2,
        jit_max_pending_jobs: 4,
        jit_optimize_after_ticks: 3,
        idle_evict_duration: Some(Duration::from_secs(100)),
        eviction_sweep_interval: Duration::from_secs(10),
        failure_retry_delay: Duration::from_secs(10),
        failure_retry_delay_max: Duration::from_secs(40),
        compile_time_base: Duration::from_secs(3600),
        // What is loaded, a test asks for.
        warm_start_programs: 0,
        ..RuntimeTuning::default()
    }
}

/// A backend thread's state, without the thread, and real workers.
pub(super) struct Bench {
    pub(super) runtime: Runtime,
    pub(super) reader: Reader,
    pub(super) shared: Arc<Shared>,
    pool: Arc<Pool<CompileWork>>,
    keeper: Option<Arc<Keeper>>,
    rx: Receiver<Command>,
    start: Instant,
    pub(super) tick: u64,
}

impl Bench {
    pub(super) fn new(tuning: RuntimeTuning, compiler: impl Compiler) -> Self {
        let config = RuntimeConfig {
            tuning,
            ..RuntimeConfig::default()
        };
        Self::with_config(config, compiler)
    }

    pub(super) fn with_config(config: RuntimeConfig, compiler: impl Compiler) -> Self {
        let shared = Arc::new(Shared::new(&config).unwrap());
        let compiler = Arc::new(compiler);
        Self::with_shared(config, shared, compiler)
    }

    /// With the engine itself, or what `wrap` makes of it.
    pub(super) fn with_engine<C: Compiler>(
        config: RuntimeConfig,
        wrap: impl FnOnce(Engine) -> C,
    ) -> Self {
        let shared = Arc::new(Shared::new(&config).unwrap());
        let engine = Engine::new(&config, Arc::clone(&shared));
        Self::with_shared(config, shared, Arc::new(wrap(engine)))
    }

    /// With what the compiler may share with it.
    pub(super) fn with_shared(
        config: RuntimeConfig,
        shared: Arc<Shared>,
        compiler: Arc<dyn Compiler>,
    ) -> Self {
        let tuning = config.tuning;
        let (writer, reader) = resident::with_messages(&resident::Options::default());
        let (tx, rx) = sync_channel(1024);
        let keeper = shared.persist.is_some().then(|| {
            let (name, shared) = ("bench-store".into(), Arc::clone(&shared));
            Keeper::start(name, Arc::default(), shared, tx.clone()).unwrap()
        });
        let work = CompileWork::new(compiler, &config, Arc::clone(&shared), tx, keeper.clone());
        let pool = Pool::start("bench", tuning.jit_worker_count, Arc::default(), work).unwrap();
        let start = Instant::now();
        let runtime = Runtime::new(
            &config,
            Arc::clone(&shared),
            writer,
            pool.clone(),
            keeper.clone(),
            start,
        );
        Self {
            runtime,
            reader,
            shared,
            pool,
            keeper,
            rx,
            start,
            tick: 0,
        }
    }

    /// An observed miss that became hot.
    pub(super) fn observe(&mut self, (key, code): &(RuntimeCacheKey, Bytes)) {
        let (key, code) = (*key, code.clone());
        self.runtime
            .handle(Command::Request(Observation { key, code }.into()));
    }

    /// A request by name.
    pub(super) fn ask(&mut self, contract: &(RuntimeCacheKey, Bytes)) -> Answer {
        self.by_name(contract, Road::Jit)
    }

    /// A request for an artifact by name.
    pub(super) fn prepare(&mut self, contract: &(RuntimeCacheKey, Bytes)) -> Answer {
        self.by_name(contract, Road::Aot)
    }

    fn by_name(&mut self, (key, code): &(RuntimeCacheKey, Bytes), road: Road) -> Answer {
        let (waiter, answer) = Waiter::new();
        self.runtime.handle(Command::Request(Request {
            key: *key,
            code: code.clone(),
            road,
            explicit: true,
            epoch: 0,
            waiter: Some(waiter),
        }));
        answer
    }

    pub(super) fn clear(&mut self) {
        let (waiter, answer) = Waiter::new();
        self.runtime.handle(Command::ClearResident(waiter));
        assert_eq!(answer.wait(), Ok(()));
    }

    /// Handles the next outcome of a worker.
    pub(super) fn settle(&mut self) {
        let command = self.rx.recv().expect("the pool lives");
        self.runtime.handle(command);
        self.runtime.settle();
    }

    /// Lets ticks pass one by one.
    pub(super) fn pass(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.tick += 1;
            self.runtime
                .advance(self.start + Duration::from_secs(self.tick));
            self.runtime.settle();
        }
    }

    /// A lookup, counted and stamped.
    pub(super) fn get(
        &self,
        (key, _): &(RuntimeCacheKey, Bytes),
    ) -> Lookup<Arc<CompiledProgram>, super::Verdict> {
        self.reader.get(key)
    }

    /// What the map says of a contract without a program.
    pub(super) fn verdict(&self, contract: &(RuntimeCacheKey, Bytes)) -> Option<super::Verdict> {
        match self.get(contract) {
            Lookup::Negative(verdict) => Some(verdict),
            _ => None,
        }
    }

    pub(super) fn is_resident(&self, (key, _): &(RuntimeCacheKey, Bytes)) -> bool {
        self.reader.peek(key).hit().is_some()
    }

    pub(super) fn stats(&self) -> RuntimeStatsSnapshot {
        self.shared.counters.snapshot()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        self.pool.stop(deadline);
        if let Some(keeper) = &self.keeper {
            keeper.stop(deadline);
        }
    }
}

/// A started backend with this compiler.
pub(super) fn backend(config: RuntimeConfig, compiler: impl Compiler) -> JitBackend {
    let backend = JitBackend::with_compiler(config, Some(Arc::new(compiler)));
    backend.set_enabled(true).unwrap();
    backend
}

/// A configuration whose backend thread has this name.
pub(super) fn config(thread: &str) -> RuntimeConfig {
    RuntimeConfig {
        tuning: tuning(),
        thread_name: thread.into(),
        ..RuntimeConfig::default()
    }
}

pub(super) fn request(n: u32) -> LookupRequest {
    let (key, code) = contract(n);
    LookupRequest { key, code }
}
