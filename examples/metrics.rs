//! Every counter and gauge of a backend in the Prometheus text format, as an exporter would serve
//! it. The crate depends on no metrics library; this is all there is to wire.
//!
//! ```text
//! cargo run --example metrics
//! ```

use revmc_jit::primitives::{Bytes, SpecId, keccak256};
use revmc_jit::stats::is_gauge;
use revmc_jit::{
    JitBackend, LookupRequest, Result, RuntimeCacheKey, RuntimeConfig, RuntimeStatsSnapshot,
};
use std::fmt::Write;

/// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
fn exposition(stats: &RuntimeStatsSnapshot) -> String {
    let mut text = String::new();
    for (name, value) in stats.values() {
        let (kind, suffix) = if is_gauge(name) {
            ("gauge", "")
        } else {
            ("counter", "_total")
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "# TYPE revmc_jit_{name}{suffix} {kind}");
        let _ = writeln!(text, "revmc_jit_{name}{suffix} {value}");
    }
    text
}

fn main() -> Result<()> {
    let backend = JitBackend::new(RuntimeConfig::default())?;
    let code = Bytes::from_static(&[0x60, 0x01, 0x60, 0x02, 0x01, 0x00]); // 1 + 2; stop
    let key = RuntimeCacheKey {
        code_hash: keccak256(&code),
        spec_id: SpecId::CANCUN,
    };
    for _ in 0..3 {
        backend.lookup_ref(&key, &code);
    }
    backend.compile_jit_sync(LookupRequest {
        key,
        code: code.clone(),
    })?;
    backend.lookup_ref(&key, &code);

    // An exporter calls this on every scrape: it blocks nobody.
    print!("{}", exposition(&backend.stats()));
    Ok(())
}
