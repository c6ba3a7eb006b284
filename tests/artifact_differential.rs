//! Programs that took the road through an artifact's bytes do what the interpreter does, in both tiers and
//! in a second process, which compiles nothing.
#![cfg(target_os = "linux")]

mod artifact_support;
mod common;
mod runtime_support;

use artifact_support::{child, role};
use common::{
    case::{Case, edge_programs},
    frame::state,
};
use revm::interpreter::{host::DummyHost, instruction_table, instructions::gas_table_spec};
use revmc_jit::{
    AotRequest, CompiledProgram, JitBackend, LookupDecision, ProgramKind, RuntimeCacheKey,
    RuntimeConfig,
    artifact::{DirArtifactStore, DirOptions, TempArtifactStore, TrustedStore},
    primitives::{OptimizationLevel, keccak256},
};
use runtime_support::{config, frame, natively};
use std::{collections::HashSet, sync::Arc, thread::yield_now};

fn key(case: &Case) -> RuntimeCacheKey {
    RuntimeCacheKey {
        code_hash: keccak256(&case.code),
        spec_id: case.spec_id,
    }
}

fn aot(case: &Case) -> AotRequest {
    AotRequest {
        code_hash: key(case).code_hash,
        code: case.code.clone(),
        spec_id: case.spec_id,
    }
}

/// Runs a frame by the program and one by the interpreter: all that is left of them has to be equal.
fn same_as_interpreter(program: &CompiledProgram, case: &Case, gas: u64) {
    let new = || frame(program.key(), &case.code, &case.input, gas);
    let (mut expected, mut found) = (new(), new());
    let action = expected.run_plain(
        &instruction_table(),
        &gas_table_spec(case.spec_id),
        &mut DummyHost::new(case.spec_id),
    );
    assert_eq!(natively(program, &mut found), action, "{case}");
    assert_eq!(state(&found), state(&expected), "{case}");
}

#[test]
fn artifacts_do_what_the_interpreter_does() {
    for level in [OptimizationLevel::None, OptimizationLevel::Aggressive] {
        let store = TempArtifactStore::new(DirOptions::default()).unwrap();
        let mut config = RuntimeConfig {
            store: Some(store.into()),
            ..config()
        };
        config.tuning.aot_opt_level = level;
        let backend = JitBackend::new(config).unwrap();
        for case in edge_programs() {
            backend.prepare_aot(aot(&case));
            let program = loop {
                match backend.get_compiled(key(&case).code_hash, case.spec_id) {
                    Some(program) => break program,
                    None => yield_now(),
                }
            };
            assert_eq!(program.kind(), ProgramKind::Aot);
            for gas in [case.gas_limit, case.gas_limit / 100, 30] {
                same_as_interpreter(&program, &case, gas);
            }
        }
        let stats = backend.stats();
        assert_eq!((stats.artifacts_rejected, stats.store_errors), (0, 0));
    }
}

/// Programs with different keys.
fn cases() -> Vec<Case> {
    let mut keys = HashSet::new();
    let mut cases = edge_programs();
    cases.retain(|case| keys.insert(key(case)));
    cases.truncate(20);
    cases
}

fn backend(store: impl Into<TrustedStore>) -> JitBackend {
    let config = RuntimeConfig {
        store: Some(store.into()),
        ..RuntimeConfig::default()
    };
    JitBackend::new(config).unwrap()
}

#[test]
fn a_second_process_compiles_nothing() {
    if let Some(folder) = role() {
        return second_process(&folder);
    }
    let store = Arc::new(TempArtifactStore::new(DirOptions::default()).unwrap());
    let first = backend(store.clone());
    let cases = cases();
    first.prepare_aot_batch(cases.iter().map(aot).collect());
    while first.stats().artifacts_stored < cases.len() as u64 {
        assert_eq!(first.stats().failed, 0);
        yield_now();
    }
    drop(first);
    let output = child("a_second_process_compiles_nothing", store.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("child done"),
        "{output:?}"
    );
}

fn second_process(folder: &std::path::Path) {
    let second = backend(DirArtifactStore::open(folder, DirOptions::default()).unwrap());
    for case in cases() {
        let program = loop {
            match second.lookup_ref(&key(&case), &case.code) {
                LookupDecision::Compiled(program) => break program,
                LookupDecision::Interpret(_) => yield_now(),
            }
        };
        assert_eq!(
            (program.kind(), program.key()),
            (ProgramKind::Aot, key(&case))
        );
        same_as_interpreter(&program, &case, case.gas_limit);
    }
    let (stats, count) = (second.stats(), cases().len() as u64);
    assert_eq!(
        (stats.artifacts_indexed, stats.artifacts_loaded),
        (count, count)
    );
    assert_eq!(
        (stats.dispatched, stats.artifacts_stored),
        (count, 0),
        "loads and nothing else"
    );
    println!("child done");
}
