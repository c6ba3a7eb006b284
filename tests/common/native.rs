//! Frames by compiled code, and the check of a case at both tiers.

use super::case::Case;
use super::driver::{FrameExecutor, Oracle, Run};
use super::world::World;
use revmc::interpreter::{Interpreter, InterpreterAction, SharedMemory};
use revmc::primitives::{B256, SpecId, keccak256};
use revmc_jit::engine::{self, CompileOptions, Tier};
use revmc_jit::{CompiledProgram, RuntimeCacheKey};
use std::cell::RefCell;
use std::collections::HashMap;

pub const TIERS: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

/// Compiles every code it meets, once, and runs it. Whatever keeps a frame from running natively
/// is remembered as a failure, and the frame is interpreted.
pub struct Native {
    options: CompileOptions,
    programs: HashMap<(B256, SpecId), CompiledProgram>,
    failure: Option<String>,
    pub native_frames: u64,
}

/// Programs kept before all are dropped; each maps memory of its own.
const KEPT_PROGRAMS: usize = 256;

impl Native {
    pub fn new(tier: Tier) -> Self {
        let options = CompileOptions { tier, ..CompileOptions::default() };
        Self { options, programs: HashMap::new(), failure: None, native_frames: 0 }
    }

    /// What kept a frame from running natively since the last call.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    fn program(&mut self, spec_id: SpecId, code: &[u8], hash: B256) -> Result<&CompiledProgram, String> {
        if !self.programs.contains_key(&(hash, spec_id)) {
            let native = engine::compile(code, spec_id, &self.options)
                .map_err(|error| format!("not compiled: {error}"))?;
            let key = RuntimeCacheKey { code_hash: hash, spec_id };
            let program = CompiledProgram::jit(key, code.len(), &native)
                .map_err(|error| format!("not mapped: {error}"))?;
            if self.programs.len() >= KEPT_PROGRAMS {
                self.programs.clear();
            }
            self.programs.insert((hash, spec_id), program);
        }
        Ok(&self.programs[&(hash, spec_id)])
    }

    fn try_run(
        &mut self,
        spec_id: SpecId,
        interpreter: &mut Interpreter,
        memory: &mut SharedMemory,
        world: &mut World,
    ) -> Result<InterpreterAction, String> {
        let code = interpreter.contract.bytecode.original_bytes();
        let hash = interpreter.contract.hash.unwrap_or_else(|| keccak256(&code));
        let program = self.program(spec_id, &code, hash)?;
        let action = program
            .run_frame(interpreter, memory, world)
            .map_err(|error| format!("frame not run: {error}"))?;
        self.native_frames += 1;
        Ok(action)
    }
}

impl FrameExecutor for Native {
    fn run(
        &mut self,
        spec_id: SpecId,
        interpreter: &mut Interpreter,
        memory: &mut SharedMemory,
        world: &mut World,
    ) -> InterpreterAction {
        self.try_run(spec_id, interpreter, memory, world)
            .unwrap_or_else(|failure| {
                self.failure.get_or_insert(failure);
                Oracle.run(spec_id, interpreter, memory, world)
            })
    }
}

thread_local! {
    static NATIVE: RefCell<[Native; 2]> = RefCell::new(TIERS.map(Native::new));
}

/// Runs the case by the interpreter and at both tiers. `Err` names the tier and what differs.
pub fn compare(case: &Case) -> Result<Run, String> {
    NATIVE.with_borrow_mut(|tiers| {
        let mut oracle = None;
        for (native, tier) in tiers.iter_mut().zip(TIERS) {
            let run = case.compare(native).map_err(|error| format!("{tier:?}: {error}"))?;
            if let Some(failure) = native.take_failure() {
                return Err(format!("{tier:?}: {failure}"));
            }
            oracle = Some(run);
        }
        Ok(oracle.expect("there are two tiers"))
    })
}

/// Like [`compare`].
///
/// # Panics
/// If anything differs, with all that is needed to run the case again.
pub fn check(name: &str, case: &Case) -> Run {
    compare(case).unwrap_or_else(|error| panic!("{name}: {error}\n{case}"))
}
