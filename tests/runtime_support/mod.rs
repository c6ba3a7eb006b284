//! Contracts, frames and waiting, for the tests of the runtime.
//!
//! Each test crate uses a part of this.
#![allow(dead_code)]

#[cfg(target_os = "linux")]
pub mod maps;
pub mod stores;
#[cfg(target_os = "linux")]
pub mod suspend;

use alloy_primitives::U256;
use revm_interpreter::{
    CallInput, InputsImpl, InstructionResult, Interpreter, InterpreterAction, SharedMemory,
    host::DummyHost,
    instruction_table,
    instructions::gas_table_spec,
    interpreter::{EthInterpreter, ExtBytecode},
};
use revmc_jit::primitives::Bytecode;
use revmc_jit::primitives::{Bytes, SpecId, keccak256};
use revmc_jit::{
    AotRequest, CompiledProgram, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig,
    RuntimeStatsSnapshot, RuntimeTuning,
};
use std::time::{Duration, Instant};

/// A contract that returns `n` as a word, and its key.
pub fn contract(n: u32) -> (RuntimeCacheKey, Bytes) {
    // PUSH4 n; PUSH0; MSTORE; PUSH1 32; PUSH0; RETURN
    let mut code = vec![0x63];
    code.extend(n.to_be_bytes());
    code.extend([0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3]);
    keyed(code)
}

/// The key of a bytecode under Cancun's rules.
pub fn keyed(code: Vec<u8>) -> (RuntimeCacheKey, Bytes) {
    let code = Bytes::from(code);
    let key = RuntimeCacheKey {
        code_hash: keccak256(&code),
        spec_id: SpecId::CANCUN,
    };
    (key, code)
}

pub fn request(n: u32) -> LookupRequest {
    let (key, code) = contract(n);
    LookupRequest { key, code }
}

/// Asks for the contract's artifact.
pub fn aot(n: u32) -> AotRequest {
    let (key, code) = contract(n);
    AotRequest {
        code_hash: key.code_hash,
        code,
        spec_id: key.spec_id,
    }
}

/// A frame of the contract at its beginning.
pub fn frame(key: RuntimeCacheKey, code: &Bytes, input: &Bytes, gas_limit: u64) -> Frame {
    Frame::new(
        SharedMemory::new(),
        ExtBytecode::new_with_hash(Bytecode::new_legacy(code.clone()), key.code_hash),
        InputsImpl {
            input: CallInput::Bytes(input.clone()),
            ..InputsImpl::default()
        },
        false,
        key.spec_id,
        gas_limit,
    )
}

pub type Frame = Interpreter<EthInterpreter>;

/// Runs the contract's program and returns the word it returns.
pub fn run(program: &CompiledProgram, code: &Bytes) -> U256 {
    let mut frame = frame(program.key(), code, &Bytes::new(), 1_000_000);
    match natively(program, &mut frame) {
        InterpreterAction::Return(result) => {
            assert_eq!(result.result, InstructionResult::Return);
            U256::from_be_slice(&result.output)
        }
        other => panic!("unexpected {other:?}"),
    }
}

pub fn natively(program: &CompiledProgram, frame: &mut Frame) -> InterpreterAction {
    let spec_id = program.key().spec_id;
    let action = program.run_frame(
        frame,
        &instruction_table(),
        &gas_table_spec(spec_id),
        &mut DummyHost::new(spec_id),
    );
    action.expect("a fresh frame")
}

/// A configuration in which little is needed to become hot and old.
pub fn config() -> RuntimeConfig {
    RuntimeConfig {
        tuning: tuning(),
        ..RuntimeConfig::default()
    }
}

pub fn tuning() -> RuntimeTuning {
    RuntimeTuning {
        tick_interval: Duration::from_millis(5),
        jit_hot_threshold: 4,
        jit_worker_count: 1,
        jit_optimize_after_ticks: 3,
        // An unoptimised test build on a busy machine is no measure of a compiler.
        compile_time_base: Duration::from_secs(3600),
        // What is loaded, a test asks for.
        warm_start_programs: 0,
        ..RuntimeTuning::default()
    }
}

/// Waits until the statistics say so. The patience is for slow machines; a condition that never
/// holds fails the test.
pub fn eventually(backend: &JitBackend, holds: impl Fn(&RuntimeStatsSnapshot) -> bool) {
    let patience = Instant::now() + Duration::from_secs(120);
    loop {
        let stats = backend.stats();
        if holds(&stats) {
            return;
        }
        assert!(Instant::now() < patience, "still {stats}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
