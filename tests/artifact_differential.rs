//! Programs that took the road through an artifact's bytes do what the interpreter does, in both tiers.
#![cfg(target_os = "linux")]

mod runtime_support;

use revmc_jit::{
    AotRequest, JitBackend, ProgramKind, RuntimeConfig,
    artifact::{DirOptions, TempArtifactStore},
    primitives::OptimizationLevel,
};
use runtime_support::{config, edge_programs, same_as_interpreter};

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
            backend.prepare_aot(AotRequest {
                code_hash: case.key.code_hash,
                code: case.code.clone(),
                spec_id: case.key.spec_id,
            });
            let program = loop {
                let found = backend.get_compiled(case.key.code_hash, case.key.spec_id);
                match found {
                    Some(program) => break program,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(program.kind(), ProgramKind::Aot);
            for gas in [case.gas_limit, case.gas_limit / 100, 30] {
                same_as_interpreter(&program, &case.code, &case.input, gas);
            }
        }
        let stats = backend.stats();
        assert_eq!((stats.artifacts_rejected, stats.store_errors), (0, 0));
    }
}
