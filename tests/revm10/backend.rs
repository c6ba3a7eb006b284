//! A backend that compiles with revmc's translator.

use super::asm::asm;
use revmc_jit::artifact::{DirOptions, TempArtifactStore};
use revmc_jit::primitives::{Bytes, SpecId, keccak256};
use revmc_jit::revmc::interpreter::{
    Contract, DummyHost, InstructionResult, Interpreter, SharedMemory,
};
use revmc_jit::revmc::{Program, front_end, primitives};
use revmc_jit::{
    Chain, ConfigError, Error, ForkRules, FrontEnd, InterpretReason, JitBackend, LookupDecision,
    LookupRequest, RuntimeCacheKey, RuntimeConfig, compiler::CompileError,
};

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

/// One binary, two front ends: each kind of program is for its own EVM.
#[test]
fn programs_are_not_taken_for_the_other_front_ends() {
    use revm::interpreter::interpreter::{EthInterpreter, ExtBytecode};
    use revm::interpreter::{self, InputsImpl, host::DummyHost};
    let code = asm("1 2 ADD");
    let request = request(&code, SpecId::CANCUN);
    let key = request.key;
    let compiled = |front_end| {
        let config = RuntimeConfig {
            front_end,
            ..config()
        };
        let backend = JitBackend::new(config).unwrap();
        backend.compile_jit_sync(request.clone()).unwrap();
        backend.get_compiled(key.code_hash, key.spec_id).unwrap()
    };
    assert!(Program::of(&compiled(FrontEnd::default())).is_none());

    let program = compiled(front_end());
    let code = revm::state::Bytecode::new_legacy(code.into());
    let mut frame = interpreter::Interpreter::<EthInterpreter>::new(
        interpreter::SharedMemory::new(),
        ExtBytecode::new_with_hash(code, key.code_hash),
        InputsImpl::default(),
        false,
        key.spec_id,
        100,
    );
    let refused = program.run_frame(
        &mut frame,
        &interpreter::instruction_table(),
        &interpreter::instructions::gas_table_spec(key.spec_id),
        &mut DummyHost::new(key.spec_id),
    );
    assert_eq!(refused.err(), Some(revmc_jit::revm::FrameError::FrontEnd));
    assert_eq!(frame.gas.remaining(), 100);
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
    let chain = Chain::new(|_| ForkRules {
        repriced: vec![(0x01, 1)],
        ..ForkRules::default()
    });
    let chain = chain.unwrap();
    let backend = JitBackend::new(RuntimeConfig { chain, ..config() }).unwrap();
    refused(&backend, request(&asm("1"), SpecId::CANCUN));
}

#[test]
fn it_has_no_store() {
    let store = TempArtifactStore::new(DirOptions::default()).unwrap();
    let config = RuntimeConfig {
        store: Some(store.into()),
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
