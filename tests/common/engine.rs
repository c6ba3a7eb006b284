//! Runs a case's call tree, each frame on the side that it is told to, and compares.

use super::{
    case::{CONTRACT, Case, SENDER},
    database::{Broken, Read, Recorder, State},
    rng::Rng,
    types::{Address, Bytes, SpecId, U256, keccak256},
};
use revm::{
    Context, JournalEntry,
    bytecode::Bytecode,
    context::{BlockEnv, CfgEnv, ContextTr, Evm, JournalInner, JournalTr, LocalContextTr, TxEnv},
    context_interface::block::BlobExcessGasAndPrice,
    handler::{
        EthFrame, EthPrecompiles, EvmTr, FrameResult, ItemOrResult, evm::ContextDbError,
        instructions::EthInstructions,
    },
    interpreter::{
        CallInput, CallInputs, CallScheme, CallValue, FrameInput, Gas, InterpreterAction,
        SharedMemory, interpreter::EthInterpreter, interpreter_action::FrameInit,
        interpreter_types::Jumps,
    },
    primitives::TxKind,
};
use revmc_jit::{
    Chain, CompiledProgram, Error, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig,
    compiler::{OptimizationLevel, Tier},
    trial::Budget,
};
use std::{
    any::Any,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

pub type World = Context<BlockEnv, TxEnv, CfgEnv, Recorder>;
pub type Instructions = EthInstructions<EthInterpreter, World>;
type Frame = EthFrame<EthInterpreter>;
type Machine = Evm<World, (), Instructions, EthPrecompiles, Frame>;
type Failure = ContextDbError<World>;

pub const TIERS: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

/// Reads before the first frame runs: of the sender, and of the program's account and code.
pub const SETUP_READS: usize = 3;

/// Who runs the frames.
#[derive(Clone, Debug)]
pub enum Side {
    Interpreter,
    /// The programs of a tier, through `run_frame`.
    Native(Tier),
    /// Drawn for each frame each time that it goes on: one side, or both in turns wherever they can
    /// change. Now and then a program is dropped and compiled again.
    Mixed(u64),
}

/// A frame each time that it has run: all of the interpreter that can be seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    pub depth: usize,
    /// `None` after a panic.
    pub action: Option<InterpreterAction>,
    pub gas: Gas,
    pub stack: Vec<U256>,
    pub memory: Vec<u8>,
    pub pc: usize,
    pub return_data: Bytes,
}

/// Everything that a run can show.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub stops: Vec<Stop>,
    /// The result, or the error that ended the run.
    pub result: String,
    /// What a panic has carried.
    pub panic: Option<String>,
    /// State, transient storage, logs, warm addresses, and the journal's entries.
    pub journal: JournalInner<JournalEntry>,
    pub reads: Vec<Read>,
}

impl Outcome {
    /// What the last frame that ran has ended with.
    pub fn end(&self) -> String {
        let last = self.stops.last().and_then(|stop| stop.action.as_ref());
        match last.and_then(InterpreterAction::instruction_result) {
            Some(result) => format!("{result:?}"),
            None => "none".to_owned(),
        }
    }

    /// Gas that the outermost frame has spent.
    pub fn spent(&self) -> u64 {
        self.stops
            .iter()
            .rev()
            .find(|stop| stop.depth == 0)
            .map_or(0, |stop| stop.gas.limit() - stop.gas.remaining())
    }

    /// What of `other` differs.
    pub fn compare(&self, other: &Self) -> Result<(), String> {
        let differs = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
            Err(format!("{what}:\n  expected {a:?}\n  found    {b:?}"))
        };
        for (index, (a, b)) in self.stops.iter().zip(&other.stops).enumerate() {
            if a != b {
                return differs(&format!("stop {index}"), a, b);
            }
        }
        if self.stops.len() != other.stops.len() {
            return differs("stops", &self.stops.len(), &other.stops.len());
        }
        if self.reads != other.reads {
            return differs("reads", &self.reads, &other.reads);
        }
        if self.result != other.result {
            return differs("result", &self.result, &other.result);
        }
        if self.panic != other.panic {
            return differs("panic", &self.panic, &other.panic);
        }
        if self.journal != other.journal {
            return differs("journal", &self.journal, &other.journal);
        }
        Ok(())
    }
}

/// The programs of one tier.
struct Library {
    backend: JitBackend,
    programs: HashMap<RuntimeCacheKey, Option<Arc<CompiledProgram>>>,
}

impl Library {
    fn new(tier: Tier, chain: Chain) -> Self {
        let mut config = RuntimeConfig::default();
        config.chain = chain;
        config.tuning.jit_worker_count = 1;
        config.tuning.jit_tiered = false;
        // Here everything is compared, and with more.
        config.tuning.trial = Budget::Off;
        config.tuning.jit_opt_level = match tier {
            Tier::Baseline => OptimizationLevel::None,
            Tier::Optimized => OptimizationLevel::Default,
        };
        Self {
            backend: JitBackend::new(config).expect("a valid configuration"),
            programs: HashMap::new(),
        }
    }

    fn program(&mut self, key: RuntimeCacheKey, code: &Bytes) -> Option<Arc<CompiledProgram>> {
        let backend = &self.backend;
        let found = self.programs.entry(key).or_insert_with(|| {
            let code = code.clone();
            match backend.compile_jit_sync(LookupRequest { key, code }) {
                Ok(()) => backend.get_compiled(key.code_hash, key.spec_id),
                // EOF containers and empty codes are nobody's to compile.
                Err(Error::Ineligible(_)) => None,
                Err(error) => panic!("{key}: {error}"),
            }
        });
        found.clone()
    }
}

/// What runs and compares cases.
pub struct Engine {
    libraries: [Library; 2],
    /// The instructions of a fork.
    instructions: Box<dyn Fn(SpecId) -> Instructions>,
    /// How often a frame was run by a program.
    pub native_runs: usize,
    /// How often a side was changed, or kept, where it could be changed.
    pub switches: usize,
    /// How often a program was dropped.
    pub dropped: usize,
    /// How often a frame was continued on the other side than it was suspended on.
    pub handed_over: usize,
    pub cases: usize,
}

impl Engine {
    pub fn new() -> Self {
        Self::with(Chain::mainnet(), EthInstructions::new_mainnet_with_spec)
    }

    pub fn with(chain: Chain, instructions: impl Fn(SpecId) -> Instructions + 'static) -> Self {
        Self {
            libraries: TIERS.map(|tier| Library::new(tier, chain.clone())),
            instructions: Box::new(instructions),
            native_runs: 0,
            switches: 0,
            dropped: 0,
            handed_over: 0,
            cases: 0,
        }
    }

    /// Forgets all programs, which makes room.
    pub fn forget(&mut self) {
        for library in &mut self.libraries {
            library.programs.clear();
            library.backend.clear_resident().expect("the backend runs");
        }
    }

    /// The program of a case.
    pub fn program(&mut self, case: &Case, tier: Tier) -> Arc<CompiledProgram> {
        let key = RuntimeCacheKey {
            code_hash: keccak256(&case.code),
            spec_id: case.spec_id,
        };
        let library = &mut self.libraries[tier as usize];
        library.program(key, &case.code).expect("eligible")
    }

    /// Runs a case on the interpreter and both tiers and compares.
    pub fn check(&mut self, name: &str, case: &Case) -> Outcome {
        let state = case.state();
        let expected = self.run(case, &state, &Side::Interpreter);
        for tier in TIERS {
            self.against(name, case, &state, &expected, &Side::Native(tier));
        }
        expected
    }

    /// The same with the sides mixed.
    pub fn check_mixed(&mut self, name: &str, case: &Case, seeds: u64) -> Outcome {
        let state = case.state();
        let expected = self.run(case, &state, &Side::Interpreter);
        for seed in 0..seeds {
            self.against(name, case, &state, &expected, &Side::Mixed(seed));
        }
        expected
    }

    fn against(
        &mut self,
        name: &str,
        case: &Case,
        state: &Arc<State>,
        expected: &Outcome,
        side: &Side,
    ) {
        let found = self.run(case, state, side);
        self.cases += 1;
        if let Err(difference) = expected.compare(&found) {
            panic!("{name}, {side:?}: {difference}\n{case}");
        }
    }

    /// What differs between the interpreter and `side`, if anything.
    pub fn difference(&mut self, case: &Case, side: &Side) -> Option<String> {
        let state = case.state();
        let expected = self.run(case, &state, &Side::Interpreter);
        expected.compare(&self.run(case, &state, side)).err()
    }

    /// Runs a case.
    pub fn run(&mut self, case: &Case, state: &Arc<State>, side: &Side) -> Outcome {
        let rng = match side {
            Side::Mixed(seed) => Rng::new(*seed ^ 0x5eed_0000),
            _ => Rng::new(0),
        };
        let mut run = Run {
            machine: machine(case, state, (self.instructions)(case.spec_id)),
            engine: self,
            side,
            rng,
            stops: Vec::new(),
            suspended: Vec::new(),
        };
        let caught = catch_unwind(AssertUnwindSafe(|| run.frames(case)));
        let Run {
            mut machine, stops, ..
        } = run;
        let (result, panic) = match caught {
            Ok(result) => (format!("{result:?} {:?}", machine.ctx.error), None),
            Err(payload) => (String::new(), Some(describe(&*payload))),
        };
        let reads = std::mem::take(&mut machine.ctx.db_mut().reads);
        let journal = machine.ctx.journaled_state.inner.clone();
        Outcome {
            stops,
            result,
            panic,
            journal,
            reads,
        }
    }
}

/// What a panic says.
pub fn describe(payload: &(dyn Any + Send)) -> String {
    if let Some(Broken(read)) = payload.downcast_ref() {
        return format!("the database broke at {read:?}");
    }
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic of an unknown type".to_owned())
}

/// The block around every case.
pub fn block() -> BlockEnv {
    BlockEnv {
        number: U256::from(20_000_000u64),
        beneficiary: Address::repeat_byte(0xc0),
        timestamp: U256::from(1_720_000_000u64),
        gas_limit: 30_000_000,
        basefee: 7_000_000_007,
        difficulty: U256::from(0x1234_5678_9abc_def0u64),
        prevrandao: Some(keccak256(b"prevrandao")),
        blob_excess_gas_and_price: Some(BlobExcessGasAndPrice::new(50_000_000, 5_007_716)),
        slot_num: 9_876_543,
    }
}

/// A transaction that runs a case's program.
pub fn transaction(case: &Case) -> TxEnv {
    TxEnv::builder()
        .caller(SENDER)
        .nonce(1)
        .kind(TxKind::Call(CONTRACT))
        .gas_limit(case.gas_limit)
        .gas_price(9_000_000_000)
        .value(case.value)
        .data(case.input.clone())
        .build()
        .expect("a transaction")
}

/// A context at a case's fork.
pub fn world(spec_id: SpecId, database: Recorder) -> World {
    let mut world: World = Context::new(database, spec_id);
    world.block = block();
    world.tx.caller = Address::repeat_byte(0xca);
    world.tx.gas_limit = 30_000_000;
    world.tx.gas_price = 9_000_000_000;
    world.tx.gas_priority_fee = Some(1_000_000_000);
    world.tx.kind = TxKind::Call(CONTRACT);
    world.tx.blob_hashes = vec![keccak256(b"blob 0"), keccak256(b"blob 1")];
    world
}

fn machine(case: &Case, state: &Arc<State>, instructions: Instructions) -> Machine {
    let mut world = world(case.spec_id, Recorder::new(Arc::clone(state)));
    let journal = &mut world.journaled_state;
    for address in [SENDER, CONTRACT] {
        journal
            .load_account_with_code(address)
            .expect("no fault yet");
    }
    journal.db_mut().fault = case.fault;
    Evm::new(world, instructions, EthPrecompiles::new(case.spec_id))
}

struct Run<'a> {
    engine: &'a mut Engine,
    machine: Machine,
    side: &'a Side,
    rng: Rng,
    stops: Vec<Stop>,
    /// For each frame that waits for a call: whether a program suspended it.
    suspended: Vec<bool>,
}

impl Run<'_> {
    /// The loop of revm's handler.
    fn frames(&mut self, case: &Case) -> Result<FrameResult, Failure> {
        let first = self.first(case);
        if let ItemOrResult::Result(result) = self.machine.frame_init(first)? {
            return Ok(result);
        }
        let mut resumed = None;
        loop {
            let (next, native) = self.frame_run(resumed.take())?;
            let result = match next {
                ItemOrResult::Item(init) => {
                    self.suspended.push(native);
                    match self.machine.frame_init(init)? {
                        ItemOrResult::Item(_) => continue,
                        ItemOrResult::Result(result) => result,
                    }
                }
                ItemOrResult::Result(result) => result,
            };
            if let Some(result) = self.machine.frame_return_result(result)? {
                return Ok(result);
            }
            resumed = self.suspended.pop();
        }
    }

    fn first(&mut self, case: &Case) -> FrameInit {
        let world = &self.machine.ctx;
        let buffer = world.local().shared_memory_buffer().clone();
        let code = Bytecode::new_raw(case.code.clone());
        let inputs = CallInputs {
            input: CallInput::Bytes(case.input.clone()),
            return_memory_offset: 0..0,
            gas_limit: case.gas_limit,
            reservoir: case.reservoir,
            bytecode_address: CONTRACT,
            known_bytecode: (keccak256(&case.code), code),
            target_address: CONTRACT,
            caller: SENDER,
            value: CallValue::Transfer(case.value),
            scheme: CallScheme::Call,
            is_static: case.is_static,
            charged_new_account_state_gas: false,
        };
        FrameInit {
            depth: 0,
            memory: SharedMemory::new_with_buffer(buffer),
            frame_input: FrameInput::Call(Box::new(inputs)),
        }
    }

    /// Runs the innermost frame, and says whether a program did.
    fn frame_run(
        &mut self,
        resumed: Option<bool>,
    ) -> Result<(revm::handler::FrameInitOrResult<Frame>, bool), Failure> {
        let frame = self.machine.frame_stack.get();
        let plan = match self.side {
            Side::Interpreter => Plan::Interpreter,
            Side::Native(tier) => Plan::Native(*tier),
            Side::Mixed(_) => {
                let tier = *self.rng.pick(&TIERS);
                match self.rng.below(4) {
                    0 => Plan::Interpreter,
                    1 => Plan::Native(tier),
                    _ => Plan::Switching(tier, *self.rng.pick(&[2, 10, 50, 90])),
                }
            }
        };
        let key = frame
            .interpreter
            .bytecode
            .hash()
            .map(|code_hash| RuntimeCacheKey {
                code_hash,
                spec_id: frame.interpreter.runtime_flag.spec_id,
            });
        // Init code is interpreted, as `JitEvm` does.
        let key = key.filter(|_| !frame.data.is_create());
        let engine = &mut *self.engine;
        let mut program = None;
        if let (Some(key), Some(tier)) = (key, plan.tier()) {
            let library = &mut engine.libraries[tier as usize];
            if matches!(self.side, Side::Mixed(_)) && self.rng.chance(2) {
                library.programs.remove(&key);
                library.backend.clear_resident().expect("the backend runs");
                engine.dropped += 1;
            }
            program = library.program(key, &frame.interpreter.bytecode.original_bytes());
        }
        let native = program.is_some();
        engine.native_runs += usize::from(native);
        engine.handed_over += usize::from(resumed.is_some_and(|before| before != native));

        let world = &mut self.machine.ctx;
        let instructions = &self.machine.instruction;
        let (table, gas_table) = (instructions.instruction_table(), instructions.gas_table());
        let interpreter = &mut frame.interpreter;
        let rng = &mut self.rng;
        let caught = catch_unwind(AssertUnwindSafe(|| match (program, plan) {
            (Some(program), Plan::Switching(_, percent)) => {
                let switch = || {
                    engine.switches += 1;
                    rng.chance(percent)
                };
                program
                    .run_frame_switching(interpreter, table, gas_table, world, switch)
                    .expect("the program is for this frame")
            }
            (Some(program), _) => program
                .run_frame(interpreter, table, gas_table, world)
                .expect("the program is for this frame"),
            (None, _) => interpreter.run_plain(table, gas_table, world),
        }));
        self.stops.push(Stop {
            depth: frame.depth,
            action: caught.as_ref().ok().cloned(),
            gas: interpreter.gas,
            stack: interpreter.stack.data().clone(),
            memory: interpreter.memory.context_memory().to_vec(),
            pc: interpreter.bytecode.pc(),
            return_data: interpreter.return_data.0.clone(),
        });
        let action = caught.unwrap_or_else(|payload| resume_unwind(payload));
        let next = frame.process_next_action::<_, Failure>(world, action)?;
        frame.set_finished(next.is_result());
        Ok((next, native))
    }
}

/// How a frame goes on this time.
#[derive(Clone, Copy)]
enum Plan {
    Interpreter,
    Native(Tier),
    /// Both in turns, the interpreter in so many of 100 cases.
    Switching(Tier, usize),
}

impl Plan {
    fn tier(self) -> Option<Tier> {
        match self {
            Self::Interpreter => None,
            Self::Native(tier) | Self::Switching(tier, _) => Some(tier),
        }
    }
}
