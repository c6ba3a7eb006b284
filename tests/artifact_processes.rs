//! A second process with a warm store runs natively and compiles nothing.
#![cfg(target_os = "linux")]

mod artifact_support;
mod common;

use artifact_support::{child, role};
use common::{
    case::Case,
    driver::{FrameExecutor, Oracle},
    generate,
    world::World,
};
use revmc_jit::{
    AotRequest, CompiledProgram, JitBackend, LookupDecision, ProgramKind, RuntimeCacheKey,
    RuntimeConfig,
    artifact::{DirArtifactStore, DirOptions, TempArtifactStore, TrustedStore},
    primitives::{SpecId, keccak256},
    revmc::interpreter::{Contract, Interpreter, InterpreterAction, SharedMemory},
};
use std::{sync::Arc, thread::yield_now};

fn cases() -> Vec<Case> {
    (0..20)
        .map(|seed| generate::program(seed).case().on(SpecId::CANCUN))
        .collect()
}

fn key_of(case: &Case) -> RuntimeCacheKey {
    RuntimeCacheKey {
        code_hash: keccak256(&case.code),
        spec_id: case.spec_id,
    }
}

fn backend(store: impl Into<TrustedStore>) -> JitBackend {
    let config = RuntimeConfig {
        store: Some(store.into()),
        ..RuntimeConfig::default()
    };
    JitBackend::new(config).unwrap()
}

/// Frames of the contract under test by the program, others by the interpreter.
struct Loaded(Arc<CompiledProgram>);

impl FrameExecutor for Loaded {
    type Program = bool;

    fn choose(&mut self, _: SpecId, contract: &Contract) -> bool {
        contract.hash == Some(self.0.key.code_hash)
    }

    fn run(
        &mut self,
        ours: &bool,
        interpreter: &mut Interpreter,
        memory: &mut SharedMemory,
        world: &mut World,
    ) -> InterpreterAction {
        if *ours {
            self.0.run_frame(interpreter, memory, world).unwrap()
        } else {
            Oracle.run(&(), interpreter, memory, world)
        }
    }
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
        code_hash: key_of(case).code_hash,
        code: case.code.clone(),
        spec_id: case.spec_id,
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
        let key = key_of(&case);
        let program = loop {
            match second.lookup_ref(&key, &case.code) {
                LookupDecision::Compiled(program) => break program,
                LookupDecision::Interpret(_) => yield_now(),
            }
        };
        assert_eq!((program.kind, program.key), (ProgramKind::Aot, key));
        case.compare(&mut Loaded(program))
            .unwrap_or_else(|error| panic!("{error}\n{case}"));
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
