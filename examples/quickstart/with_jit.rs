//! What an embedder writes: the choice between native code and the interpreter, once per frame.

use crate::common::driver::{FrameExecutor, Oracle};
use crate::common::world::World;
use revmc::interpreter::{Contract, Interpreter, InterpreterAction, SharedMemory};
use revmc::primitives::SpecId;
use revmc_jit::engine::Tier;
use revmc_jit::{CompiledProgram, JitBackend, LookupDecision, LookupRequest, RuntimeCacheKey};
use std::sync::Arc;

/// Runs each frame natively if the backend has a program for it, else by the interpreter.
pub struct WithJit<'a> {
    backend: &'a JitBackend,
    /// Frames that the interpreter ran.
    pub interpreted: usize,
    /// Frames that began natively, and how many of them optimised.
    pub native: usize,
    pub optimized: usize,
}

impl<'a> WithJit<'a> {
    pub fn new(backend: &'a JitBackend) -> Self {
        Self {
            backend,
            interpreted: 0,
            native: 0,
            optimized: 0,
        }
    }
}

impl FrameExecutor for WithJit<'_> {
    /// Kept for the life of the frame, also while an inner call runs.
    type Program = Option<Arc<CompiledProgram>>;

    fn choose(&mut self, spec_id: SpecId, contract: &Contract) -> Self::Program {
        let request = LookupRequest {
            key: RuntimeCacheKey {
                code_hash: contract.hash?,
                spec_id,
            },
            code: contract.bytecode.original_bytes(),
        };
        match self.backend.lookup(request) {
            LookupDecision::Compiled(program) => {
                self.native += 1;
                self.optimized += usize::from(program.tier() == Tier::Optimized);
                Some(program)
            }
            LookupDecision::Interpret(_) => {
                self.interpreted += 1;
                None
            }
        }
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
                // The frame is untouched: the interpreter takes it.
                Err(_) => self.interpreted += 1,
            }
        }
        Oracle.run(&(), interpreter, memory, world)
    }
}
