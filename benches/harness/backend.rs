//! Contracts, and backends that know them.

use revmc_jit::primitives::{Bytes, OptimizationLevel, SpecId, keccak256};
use revmc_jit::{
    BorrowedDecision, JitBackend, LookupDecision, LookupRequest, RuntimeCacheKey, RuntimeConfig,
};
use std::hint::black_box;
use std::time::Duration;

/// A contract as an execution thread has it.
#[derive(Clone)]
pub struct Contract {
    pub key: RuntimeCacheKey,
    pub code: Bytes,
}

impl Contract {
    pub fn new(code: Vec<u8>) -> Self {
        let code = Bytes::from(code);
        let key = RuntimeCacheKey {
            code_hash: keccak256(&code),
            spec_id: SpecId::OSAKA,
        };
        Self { key, code }
    }

    /// PUSH4 n, STOP.
    pub fn tiny(n: u32) -> Self {
        Self::new([&[0x63][..], &n.to_be_bytes(), &[0x00]].concat())
    }

    pub fn request(&self) -> LookupRequest {
        LookupRequest {
            key: self.key,
            code: self.code.clone(),
        }
    }
}

/// `count` contracts from number `first` on.
pub fn contracts(first: u32, count: u32) -> Vec<Contract> {
    (first..first + count).map(Contract::tiny).collect()
}

/// One tier, one worker, and no miss is ever enough.
fn config() -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    config.tuning.jit_opt_level = OptimizationLevel::None;
    config.tuning.jit_worker_count = 1;
    config.tuning.jit_hot_threshold = 1 << 20;
    config.tuning.idle_evict_duration = None;
    config
}

fn start(config: RuntimeConfig) -> JitBackend {
    JitBackend::new(config).expect("the configuration is valid and threads can be had")
}

/// A backend in which these are resident.
pub fn backend_with(contracts: &[Contract]) -> JitBackend {
    resident(config(), contracts)
}

/// The same, whose coarse clock stands still: the first hit in each of its ticks is another matter.
pub fn backend_without_ticks(contracts: &[Contract]) -> JitBackend {
    let mut config = config();
    config.tuning.tick_interval = Duration::from_secs(3600);
    resident(config, contracts)
}

fn resident(config: RuntimeConfig, contracts: &[Contract]) -> JitBackend {
    let backend = start(config);
    for contract in contracts {
        let compiled = backend.compile_jit_sync(contract.request());
        compiled.expect("PUSH4, STOP compiles");
    }
    backend
}

/// `count` contracts that are never compiled.
pub fn eof_contracts(count: u32) -> Vec<Contract> {
    let eof = |n: u32| Contract {
        key: RuntimeCacheKey {
            code_hash: keccak256(n.to_le_bytes()),
            spec_id: SpecId::OSAKA,
        },
        code: Bytes::from_static(&[0xef, 0x00]),
    };
    (0..count).map(eof).collect()
}

/// A backend that failed to compile these and remembers it.
pub fn backend_without(contracts: &[Contract]) -> JitBackend {
    let mut config = config();
    // No machine code is that short.
    config.tuning.native_len_base = 1;
    config.tuning.native_len_per_byte = 0;
    config.tuning.failure_retry_delay = Duration::from_secs(3600);
    let backend = start(config);
    for contract in contracts {
        let compiled = backend.compile_jit_sync(contract.request());
        compiled.expect_err("a byte of machine code is too much");
    }
    backend
}

/// Looks at the decision as an embedder does: at which one it is, then at what is in it. (To move
/// it as a whole, sixteen bytes of which a miss has just written two, stalls the processor.)
#[inline(always)]
pub fn take(decision: LookupDecision) {
    match decision {
        LookupDecision::Compiled(program) => drop(black_box(program)),
        LookupDecision::Interpret(reason) => {
            black_box(reason);
        }
    }
}

/// [`take`] for a borrowed program.
#[inline(always)]
pub fn take_borrowed(decision: BorrowedDecision<'_>) {
    match decision {
        BorrowedDecision::Compiled(program) => {
            black_box(program.tier());
        }
        BorrowedDecision::Interpret(reason) => {
            black_box(reason);
        }
    }
}
