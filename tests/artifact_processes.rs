//! A second process with a warm store runs natively and compiles nothing.
#![cfg(target_os = "linux")]

mod artifact_support;
mod runtime_support;

use artifact_support::{child, role};
use revmc_jit::{
    AotRequest, JitBackend, LookupDecision, ProgramKind, RuntimeConfig,
    artifact::{DirArtifactStore, DirOptions, TempArtifactStore, TrustedStore},
};
use runtime_support::{Edge, edge_programs, same_as_interpreter};
use std::{collections::HashSet, sync::Arc, thread::yield_now};

/// Programs with different keys.
fn cases() -> Vec<Edge> {
    let mut keys = HashSet::new();
    let mut cases = edge_programs();
    cases.retain(|case| keys.insert(case.key));
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
    let requests = cases.iter().map(|case| AotRequest {
        code_hash: case.key.code_hash,
        code: case.code.clone(),
        spec_id: case.key.spec_id,
    });
    first.prepare_aot_batch(requests.collect());
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
            match second.lookup_ref(&case.key, &case.code) {
                LookupDecision::Compiled(program) => break program,
                LookupDecision::Interpret(_) => yield_now(),
            }
        };
        assert_eq!(
            (program.kind(), program.key()),
            (ProgramKind::Aot, case.key)
        );
        same_as_interpreter(&program, &case.code, &case.input, case.gas_limit);
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
