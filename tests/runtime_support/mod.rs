//! Contracts, frames and waiting, for the tests of the runtime.
//!
//! Each test crate uses a part of this.
#![allow(dead_code)]

#[cfg(target_os = "linux")]
pub mod suspend;

use revmc::interpreter::{
    Contract, DummyHost, InstructionResult, Interpreter, InterpreterAction, SharedMemory,
};
use revmc::primitives::{Address, Bytecode, SpecId, U256};
use revmc_jit::primitives::{Bytes, keccak256};
use revmc_jit::{
    CompiledProgram, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig,
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

/// Runs the contract's program and returns the word it returns.
pub fn run(program: &CompiledProgram, code: &Bytes) -> U256 {
    let contract = Contract::new(
        Default::default(),
        Bytecode::new_raw(code.clone()),
        Some(program.key.code_hash),
        Address::ZERO,
        Address::ZERO,
        U256::ZERO,
    );
    let mut interpreter = Interpreter::new(contract, 1_000_000, false);
    let mut memory = SharedMemory::new();
    let mut host = DummyHost::default();
    let action = program.run_frame(&mut interpreter, &mut memory, &mut host);
    match action.expect("a fresh frame") {
        InterpreterAction::Return { result } => {
            assert_eq!(result.result, InstructionResult::Return);
            U256::from_be_slice(&result.output)
        }
        other => panic!("unexpected {other:?}"),
    }
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
