//! A backend that compiles with revmc's translator.

use super::asm::asm;
use revmc_jit::artifact::{DirOptions, TempArtifactStore};
use revmc_jit::primitives::{Bytes, SpecId, keccak256};
use revmc_jit::revmc::interpreter::{
    Contract, DummyHost, InstructionResult, Interpreter, SharedMemory,
};
use revmc_jit::revmc::{Program, front_end, primitives};
use revmc_jit::{
    Chain, ConfigError, Error, FrontEnd, InterpretReason, JitBackend, LookupDecision,
    LookupRequest, RuntimeCacheKey, RuntimeConfig,
    compiler::{CompileError, Rules},
};
use std::sync::Arc;

fn config() -> RuntimeConfig {
    RuntimeConfig {
        front_end: front_end(),
        blocking: true,
        ..RuntimeConfig::default()
    }
}

fn request(code: &[u8], spec_id: SpecId) -> LookupRequest {
    let code = Bytes::copy_from_slice(code);
    let code_hash = keccak256(&code);
    let key = RuntimeCacheKey { code_hash, spec_id };
    LookupRequest { key, code }
}

#[test]
fn its_programs_run_frames_of_revm_10() {
    let backend = JitBackend::new(config()).unwrap();
    let code = asm("2 40 ADD 0 MSTORE 32 0 RETURN");
    let request = request(&code, SpecId::LONDON);
    let Some(program) = backend.lookup(request.clone()).program() else {
        panic!("not compiled");
    };
    assert_eq!(program.key(), request.key);
    assert_eq!(program.rules(), Chain::mainnet().rules(SpecId::LONDON));

    let native = Program::of(&program).expect("revmc has compiled it");
    assert_eq!(native.spec_id(), primitives::SpecId::LONDON);
    assert_eq!(native.code_hash().0, request.key.code_hash.0);
    assert_eq!(native.bytecode_len(), program.bytecode_len());
    assert_eq!(native.mapped_len(), program.mapped_len());
    let code = primitives::Bytecode::new_raw(code.into());
    let contract = Contract::new_env(&Default::default(), code, Some(native.code_hash()));
    let mut frame = Interpreter::new(contract, 100_000, false);
    let action = native
        .run_frame(
            &mut frame,
            &mut SharedMemory::new(),
            &mut DummyHost::default(),
        )
        .unwrap();
    let result = action.into_result_return().unwrap();
    assert_eq!(result.result, InstructionResult::Return);
    assert_eq!(result.output[31], 42);
}

/// The backend says why, and remembers it.
fn refused(backend: &JitBackend, request: LookupRequest) {
    let error = backend.compile_jit_sync(request.clone()).unwrap_err();
    let unsupported = matches!(error, Error::Compile(CompileError::Unsupported(_)));
    assert!(unsupported, "{error:?}");
    let decision = backend.lookup(request);
    let LookupDecision::Interpret(reason) = decision else {
        panic!("compiled: {decision:?}");
    };
    assert_eq!(reason, InterpretReason::Ineligible);
}

#[test]
fn what_it_does_not_take_is_ineligible() {
    let backend = JitBackend::new(config()).unwrap();
    let wide = asm("PUSH9 11 JUMP JUMPDEST");
    refused(&backend, request(&wide, SpecId::CANCUN));
    refused(&backend, request(&asm("1"), SpecId::PRAGUE));
}

#[test]
fn rules_other_than_mainnets_are_not_its_own() {
    let chain = Chain::new(|_| Rules::new([1; 256], 0..=255));
    let backend = JitBackend::new(RuntimeConfig { chain, ..config() }).unwrap();
    refused(&backend, request(&asm("1"), SpecId::CANCUN));
}

#[test]
fn it_has_no_store() {
    let config = RuntimeConfig {
        store: Some(Arc::new(
            TempArtifactStore::new(DirOptions::default()).unwrap(),
        )),
        ..config()
    };
    let refused = Error::Config(ConfigError::StoreWithoutCompiler);
    assert_eq!(JitBackend::new(config.clone()).err(), Some(refused));
    let front_end = FrontEnd::default();
    assert_eq!(
        format!("{:?} {front_end:?}", config.front_end),
        "revmc compiler"
    );
    assert!(
        JitBackend::new(RuntimeConfig {
            front_end,
            ..config
        })
        .is_ok()
    );
}
