//! Single frames, and programs to run them with.

use revm::{
    bytecode::Bytecode,
    interpreter::{
        CallInput, InputsImpl, Instruction, InstructionContext, InstructionExecResult,
        InstructionTable, Interpreter, SharedMemory,
        host::DummyHost,
        instruction_table,
        interpreter::{EthInterpreter, ExtBytecode},
        interpreter_types::Jumps,
    },
};
use revmc_jit::{
    Chain, CompiledProgram, Error, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig,
    primitives::{Bytes, OptimizationLevel, SpecId, keccak256},
};
use std::sync::Arc;

/// The fork of the programs.
pub const SPEC: SpecId = SpecId::OSAKA;

pub type Table = InstructionTable<EthInterpreter, DummyHost>;
pub type Context<'a> = InstructionContext<'a, DummyHost, EthInterpreter>;

/// Mainnet with another instruction at BALANCE, a boundary instruction, and at 0x0c, which mainnet
/// does not have and the interpreter steps over.
pub fn table_with(f: fn(Context<'_>) -> InstructionExecResult) -> Table {
    let mut table = instruction_table();
    table[0x31] = Instruction::new(f);
    table[0x0c] = Instruction::new(f);
    table
}

/// A backend that compiles for a chain, at one level.
pub fn config(chain: &Chain, level: OptimizationLevel) -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    config.chain = chain.clone();
    config.tuning.jit_opt_level = level;
    config.tuning.jit_tiered = false;
    config
}

/// The program of a backend of its own.
pub fn program(
    config: RuntimeConfig,
    spec_id: SpecId,
    code: &[u8],
) -> Result<Arc<CompiledProgram>, Error> {
    let backend = JitBackend::new(config).expect("a configuration that works");
    let key = RuntimeCacheKey {
        code_hash: keccak256(code),
        spec_id,
    };
    let code = Bytes::copy_from_slice(code);
    backend.compile_jit_sync(LookupRequest { key, code })?;
    let program = backend.get_compiled(key.code_hash, key.spec_id);
    Ok(program.expect("was just compiled"))
}

pub const LEVELS: [OptimizationLevel; 2] = [OptimizationLevel::None, OptimizationLevel::Aggressive];

/// The programs of both tiers.
pub fn compile(code: &[u8], chain: &Chain) -> Vec<Arc<CompiledProgram>> {
    LEVELS
        .map(|level| program(config(chain, level), SPEC, code).expect("compiles"))
        .into()
}

/// Tosses that follow from a seed, for [`CompiledProgram::run_frame_switching`].
pub fn tosses(seed: u64) -> impl FnMut() -> bool {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move || {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        random >> 63 == 1
    }
}

pub fn frame(spec_id: SpecId, code: &[u8], gas: u64) -> Interpreter {
    let hash = keccak256(code);
    let code = Bytecode::new_legacy(Bytes::copy_from_slice(code));
    let input = InputsImpl {
        input: CallInput::Bytes(Bytes::from_static(&[0x11; 40])),
        ..InputsImpl::default()
    };
    Interpreter::new(
        SharedMemory::new(),
        ExtBytecode::new_with_hash(code, hash),
        input,
        false,
        spec_id,
        gas,
    )
}

/// Everything that can be told of a frame.
pub fn state(frame: &Interpreter) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        frame.bytecode.pc(),
        frame.gas,
        frame.stack.data().clone(),
        frame.memory.context_memory().to_vec(),
        frame.input.clone(),
        frame.return_data.0.clone(),
    )
}
