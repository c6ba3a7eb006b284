//! The contracts of blocks compiled in one tier, and EVMs that run them.

use super::{format::Block, run};
use revm::{
    Database,
    primitives::{B256, Bytes, hardfork::SpecId},
};
use revmc_jit::{
    CompiledProgram, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig, compiler::Tier,
    primitives::OptimizationLevel, revm::JitEvm,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// A backend whose programs are all of one tier.
pub struct Native {
    pub backend: JitBackend,
    /// Bytes of bytecode and of machine code of all that was compiled.
    pub bytes: (usize, usize),
}

/// Compiles in one tier, whatever the size and however long it takes, and only when asked.
pub fn config(tier: Tier) -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    let tuning = &mut config.tuning;
    tuning.jit_tiered = false;
    tuning.jit_opt_level = match tier {
        Tier::Baseline => OptimizationLevel::None,
        Tier::Optimized => OptimizationLevel::Default,
    };
    // Nothing becomes hot, or cold, by itself.
    tuning.jit_hot_threshold = 1 << 20;
    tuning.idle_evict_duration = None;
    tuning.resident_code_cache_bytes = usize::MAX;
    tuning.jit_max_bytecode_len = 1 << 20;
    tuning.compile_time_base = Duration::from_secs(600);
    tuning.job_abandon_after = Duration::from_secs(3600);
    tuning.native_len_base = 1 << 30;
    tuning.jit_worker_count = threads();
    config
}

/// A backend for one tier in which a lookup that finds nothing compiles.
pub fn blocking(tier: Tier) -> revmc_jit::Result<JitBackend> {
    let mut config = config(tier);
    config.blocking = true;
    JitBackend::new(config)
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, |threads| threads.get())
}

impl Native {
    /// A backend without programs.
    pub fn new(tier: Tier) -> revmc_jit::Result<Self> {
        Self::with(config(tier))
    }

    /// The same with another configuration.
    pub fn with(config: RuntimeConfig) -> revmc_jit::Result<Self> {
        Ok(Self {
            backend: JitBackend::new(config)?,
            bytes: (0, 0),
        })
    }

    /// Compiles what is not compiled yet, on all processors; says what was refused, and why.
    pub fn compile(&mut self, contracts: &HashMap<B256, Bytes>, spec: SpecId) -> Vec<String> {
        let missing: Vec<LookupRequest> = contracts
            .iter()
            .map(|(&code_hash, code)| LookupRequest {
                key: RuntimeCacheKey {
                    code_hash,
                    spec_id: spec,
                },
                code: code.clone(),
            })
            .filter(|request| self.program(request).is_none())
            .collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut refused = Vec::new();
            // Relaxed: the number is all that is passed on.
            while let Some(request) = missing.get(next.fetch_add(1, Relaxed)) {
                if let Err(error) = self.backend.compile_jit_sync(request.clone()) {
                    refused.push(format!("{}: {error}", request.key));
                }
            }
            refused
        };
        let refused = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
            let refused = threads.into_iter().map(|thread| thread.join());
            refused
                .map(|refused| refused.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Vec<_>>()
                .concat()
        });
        for request in &missing {
            if let Some(program) = self.program(request) {
                self.bytes.0 += program.bytecode_len();
                self.bytes.1 += program.native_len();
            }
        }
        refused
    }

    fn program(&self, request: &LookupRequest) -> Option<Arc<CompiledProgram>> {
        let key = request.key;
        self.backend.get_compiled(key.code_hash, key.spec_id)
    }

    /// Bytes of machine code for each byte of bytecode.
    pub fn ratio(&self) -> f64 {
        let (bytecode, native) = self.bytes;
        native as f64 / bytecode.max(1) as f64
    }

    /// An EVM for the block, on this database, that runs frames natively where it can.
    pub fn evm<DB: Database>(&self, block: &Block, db: DB) -> JitEvm<run::Plain<DB>> {
        JitEvm::new(run::evm(block, db), self.backend.clone())
    }
}

/// The least time that a block takes in so many runs of each way, which take turns: the interpreter first,
/// then each tier.
pub fn times(block: &Block, tiers: &[Native], runs: usize) -> Vec<Duration> {
    let mut least = vec![Duration::MAX; 1 + tiers.len()];
    for _ in 0..runs {
        let mut evm = run::evm(block, block.state.clone());
        least[0] = least[0].min(run::time(&mut evm, block));
        for (least, tier) in least[1..].iter_mut().zip(tiers) {
            let mut evm = tier.evm(block, block.state.clone());
            *least = (*least).min(run::time(&mut evm, block));
        }
    }
    least
}
