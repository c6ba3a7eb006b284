//! Frames by what revmc translated, and the check of a case at both tiers.

use super::case::Case;
use super::driver::{FrameExecutor, Oracle, Run};
use super::world::World;
use revmc_jit::compiler::{CompileError, CompileOptions, Tier};
use revmc_jit::revmc::interpreter::{
    Contract, Interpreter, InterpreterAction, MAX_INITCODE_SIZE, SharedMemory,
};
use revmc_jit::revmc::primitives::{B256, SpecId, keccak256};
use revmc_jit::revmc::{Program, TranslateError, compile};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

pub const TIERS: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

/// Compiles every code it meets, once, and runs it. Whatever keeps a frame from running natively
/// is remembered as a failure, and the frame is interpreted.
pub struct Native {
    options: CompileOptions,
    programs: HashMap<(B256, SpecId), Arc<Program>>,
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
            programs: HashMap::new(),
            failure: None,
        }
    }

    /// What kept a frame from running natively since the last call.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    fn fail(&mut self, failure: String) {
        self.failure.get_or_insert(failure);
    }

    fn compile(&self, spec_id: SpecId, contract: &Contract) -> Result<Option<Program>, String> {
        let code = contract.bytecode.original_bytes();
        match compile(&code, spec_id, &self.options).and_then(|native| Program::new(&native)) {
            Ok(program) => Ok(Some(program)),
            // Both are refused on purpose, which `opcodes.rs` and `refused.rs` check.
            Err(
                TranslateError::Compile(CompileError::Reserved)
                | TranslateError::WideJumpTarget { .. },
            ) => Ok(None),
            Err(error) => Err(format!("not compiled: {error}")),
        }
    }
}

impl FrameExecutor for Native {
    type Program = Option<Arc<Program>>;

    fn choose(&mut self, spec_id: SpecId, contract: &Contract) -> Self::Program {
        let code_hash = contract
            .hash
            .unwrap_or_else(|| keccak256(contract.bytecode.original_byte_slice()));
        if let Some(program) = self.programs.get(&(code_hash, spec_id)) {
            return Some(program.clone());
        }
        let program = match self.compile(spec_id, contract) {
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
    static NATIVE: RefCell<[Native; 2]> = RefCell::new(TIERS.map(Native::new));
}

/// Runs the case by the interpreter and at both tiers. `Err` names the tier and what differs.
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
