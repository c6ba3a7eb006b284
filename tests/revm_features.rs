//! Features of revm that change what an instruction does are the interpreter's to know: whatever they
//! are, machine code does what the interpreter does. They cannot be seen from here; `.ci/run features`
//! runs this with them and without.

mod runtime_support;

use alloy_primitives::Bytes;
use revm_interpreter::{
    InstructionResult, host::DummyHost, instruction_table, instructions::gas_table_spec,
};
use revmc_jit::{JitBackend, LookupRequest, primitives::OptimizationLevel};
use runtime_support::{config, frame, keyed};

/// With `memory_limit`, growth beyond the limit is a halt of its own; without, it is only gas.
#[test]
fn a_limit_of_memory_is_the_interpreters() {
    // MSTORE at 1 MiB, with a constant offset and one that is not; STOP.
    let constant = vec![0x60, 1, 0x62, 0x10, 0, 0, 0x52, 0x00];
    let computed = vec![0x60, 1, 0x62, 0x10, 0, 0, 0x36, 0x01, 0x52, 0x00];
    let mut results = Vec::new();
    for code in [constant, computed] {
        for level in [OptimizationLevel::None, OptimizationLevel::Aggressive] {
            let (key, code) = keyed(code.clone());
            let mut config = config();
            config.tuning.jit_tiered = false;
            config.tuning.jit_opt_level = level;
            let backend = JitBackend::new(config).unwrap();
            let request = LookupRequest {
                key,
                code: code.clone(),
            };
            backend.compile_jit_sync(request).unwrap();
            let program = backend.get_compiled(key.code_hash, key.spec_id).unwrap();
            let table = instruction_table();
            let gas_table = gas_table_spec(key.spec_id);
            let run = |native: bool| {
                let mut frame = frame(key, &code, &Bytes::new(), 100_000_000);
                frame.memory.set_memory_limit(64 << 10);
                let mut host = DummyHost::new(key.spec_id);
                let action = if native {
                    let run = program.run_frame(&mut frame, &table, &gas_table, &mut host);
                    run.unwrap()
                } else {
                    frame.run_plain(&table, &gas_table, &mut host)
                };
                (action, frame.gas, frame.memory.len())
            };
            let expected = run(false);
            assert_eq!(run(true), expected, "{code} {level:?}");
            results.push(expected.0.instruction_result().unwrap());
        }
    }
    // One feature, one answer.
    let known = [InstructionResult::Stop, InstructionResult::MemoryLimitOOG];
    assert!(known.contains(&results[0]), "{results:?}");
    assert!(results.iter().all(|result| *result == results[0]));
}
