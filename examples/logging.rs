//! One log line for each compilation, with a level, as a subscriber of `tracing` or `log` would
//! print it. The crate writes no log of its own; this is all there is to wire.
//!
//! ```text
//! cargo run --example logging
//! ```

use revmc_jit::primitives::{Bytes, SpecId, keccak256};
use revmc_jit::{
    Blame, CompilationEvent, JitBackend, LookupRequest, Result, RuntimeCacheKey, RuntimeConfig,
};
use std::sync::Arc;

/// What deserves whose attention.
fn level(event: &CompilationEvent) -> &'static str {
    match &event.outcome {
        Err(error) => match error.blame() {
            // A bug: please report it.
            Blame::Compiler | Blame::Miscompiled => "ERROR",
            // A clear came first.
            Blame::Overtaken => "DEBUG",
            // A compile bomb, a contract that cannot be compiled, no memory: it is interpreted.
            _ => "WARN",
        },
        // The store needs a look.
        Ok(_) if event.store_error.is_some() => "WARN",
        Ok(_) => "INFO",
    }
}

fn main() -> Result<()> {
    let backend = JitBackend::new(RuntimeConfig {
        // Called on the worker: a slow log holds up a compilation and nothing else.
        on_compilation: Some(Arc::new(|event: &CompilationEvent| {
            eprintln!("{} revmc_jit: {event}", level(event));
        })),
        ..RuntimeConfig::default()
    })?;
    let code = Bytes::from_static(&[0x60, 0x01, 0x60, 0x02, 0x01, 0x00]); // 1 + 2; stop
    let code_hash = keccak256(&code);
    for spec_id in [SpecId::FRONTIER, SpecId::CANCUN, SpecId::OSAKA] {
        let key = RuntimeCacheKey { code_hash, spec_id };
        let request = LookupRequest {
            key,
            code: code.clone(),
        };
        backend.compile_jit_sync(request)?;
    }
    // What is refused before it reaches a worker is the caller's to log.
    let key = RuntimeCacheKey {
        code_hash,
        spec_id: SpecId::OSAKA,
    };
    let code = Bytes::from_static(&[0x00]);
    if let Err(error) = backend.compile_jit_sync(LookupRequest { key, code }) {
        eprintln!("WARN revmc_jit: refused: {error}");
    }
    // The last drop waits for the workers, and so for their log lines.
    drop(backend);
    Ok(())
}
