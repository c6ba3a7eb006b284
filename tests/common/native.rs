//! Frames by compiled code, and the check of a case at both tiers.

use super::case::Case;
use super::driver::{FrameExecutor, Oracle, Run};
use super::world::World;
use revmc::interpreter::{
    Contract, Interpreter, InterpreterAction, MAX_INITCODE_SIZE, SharedMemory,
};
use revmc::primitives::{B256, SpecId, keccak256};
use revmc_jit::aot::{self, BuildOptions};
use revmc_jit::engine::{self, CompileOptions, EngineError, Tier};
use revmc_jit::{CompiledProgram, RuntimeCacheKey};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

pub const TIERS: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

/// Compiles every code it meets, once, and runs it. Whatever keeps a frame from running natively
/// is remembered as a failure, and the frame is interpreted.
pub struct Native {
    options: CompileOptions,
    /// Whether code takes the road through an artifact's bytes.
    artifacts: bool,
    programs: HashMap<(B256, SpecId), Arc<CompiledProgram>>,
    failure: Option<String>,
}

/// Programs kept before all are dropped; each maps memory of its own.
const KEPT_PROGRAMS: usize = 256;

impl Native {
    pub fn new(tier: Tier) -> Self {
        Self {
            options: CompileOptions {
                tier,
                // Init code may be twice as long as a contract (EIP-3860), before Shanghai longer.
                max_bytecode_len: MAX_INITCODE_SIZE + 1024,
                ..CompileOptions::default()
            },
            artifacts: false,
            programs: HashMap::new(),
            failure: None,
        }
    }

    /// Like [`new`](Self::new), but runs what is loaded from artifacts.
    pub fn from_artifacts(tier: Tier) -> Self {
        Self {
            artifacts: true,
            ..Self::new(tier)
        }
    }

    /// What kept a frame from running natively since the last call.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    fn fail(&mut self, failure: String) {
        self.failure.get_or_insert(failure);
    }

    fn compile(
        &self,
        key: RuntimeCacheKey,
        contract: &Contract,
    ) -> Result<Option<CompiledProgram>, String> {
        let code = contract.bytecode.original_bytes();
        let native = match engine::compile(&code, key.spec_id, &self.options) {
            Ok(native) => native,
            // Both are refused on purpose, which `tests/opcodes.rs` checks.
            Err(EngineError::Eof | EngineError::WideJumpTarget { .. }) => return Ok(None),
            Err(error) => return Err(format!("not compiled: {error}")),
        };
        if self.artifacts {
            let options = BuildOptions::from(&self.options);
            return aot::build(key, code.len(), options, &native)
                .and_then(|artifact| aot::load(&artifact, key, options))
                .map(Some)
                .map_err(|error| format!("no artifact: {error}"));
        }
        CompiledProgram::jit(key, code.len(), &native)
            .map(Some)
            .map_err(|error| format!("not mapped: {error}"))
    }
}

impl FrameExecutor for Native {
    type Program = Option<Arc<CompiledProgram>>;

    fn choose(&mut self, spec_id: SpecId, contract: &Contract) -> Self::Program {
        let code_hash = contract
            .hash
            .unwrap_or_else(|| keccak256(contract.bytecode.original_byte_slice()));
        if let Some(program) = self.programs.get(&(code_hash, spec_id)) {
            return Some(program.clone());
        }
        let key = RuntimeCacheKey { code_hash, spec_id };
        let program = match self.compile(key, contract) {
            Ok(program) => Arc::new(program?),
            Err(failure) => {
                self.fail(failure);
                return None;
            }
        };
        if self.programs.len() >= KEPT_PROGRAMS {
            self.programs.clear();
        }
        self.programs.insert((code_hash, spec_id), program.clone());
        Some(program)
    }

    fn run(
        &mut self,
        program: &Self::Program,
        interpreter: &mut Interpreter,
        memory: &mut SharedMemory,
        world: &mut World,
    ) -> InterpreterAction {
        if let Some(program) = program {
            match program.run_frame(interpreter, memory, world) {
                Ok(action) => return action,
                Err(error) => self.fail(format!("frame not run: {error}")),
            }
        }
        Oracle.run(&(), interpreter, memory, world)
    }
}

thread_local! {
    static NATIVE: RefCell<[Native; 2]> = RefCell::new(TIERS.map(|tier| {
        if std::env::var_os("REVMC_JIT_ARTIFACTS").is_some() {
            Native::from_artifacts(tier)
        } else {
            Native::new(tier)
        }
    }));
}

/// Runs the case by the interpreter and at both tiers, from artifacts if `REVMC_JIT_ARTIFACTS` is
/// set. `Err` names the tier and what differs.
pub fn compare(case: &Case) -> Result<Run, String> {
    NATIVE.with_borrow_mut(|tiers| {
        let mut oracle = None;
        for (native, tier) in tiers.iter_mut().zip(TIERS) {
            let run = case.compare(native);
            if let Some(failure) = native.take_failure() {
                return Err(format!("{tier:?}: {failure}"));
            }
            oracle = Some(run.map_err(|error| format!("{tier:?}: {error}"))?);
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
