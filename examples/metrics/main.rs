//! Every counter and gauge of a backend in the Prometheus text format, and its switches, over HTTP.
//! The crate depends on no metrics library and no web server; this is all there is to wire.
//!
//! ```text
//! cargo run --example metrics                    # prints one scrape
//! REVMC_JIT_TOKEN=secret cargo run --example metrics -- 127.0.0.1:9400
//! curl http://127.0.0.1:9400/metrics
//! curl -X POST -H 'Authorization: Bearer secret' http://127.0.0.1:9400/pause
//! ```
//!
//! The endpoint is for one machine, or behind something that speaks TLS. Without a token in the
//! environment it only answers scrapes.

mod server;

use revmc_jit::primitives::{Bytes, SpecId, keccak256};
use revmc_jit::{JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig};
use server::{Server, exposition};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
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

    let Some(address) = std::env::args().nth(1) else {
        // An exporter calls this on every scrape: it blocks nobody.
        print!("{}", exposition(&backend.stats()));
        return Ok(());
    };
    let token = std::env::var("REVMC_JIT_TOKEN").ok();
    let server = Server::start(backend, &address, token)?;
    println!("listening on http://{}/metrics", server.address());
    loop {
        std::thread::park();
    }
}
