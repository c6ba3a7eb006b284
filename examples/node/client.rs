//! A client: a factory of EVMs, and what it has seen.

use crate::{
    blocks::{
        alloy::{self, Factory},
        format::Block,
        receipts::Totals,
    },
    cpu_time,
    histogram::Histogram,
};
use alloy_evm::Evm;
use revm::{
    DatabaseCommit,
    context::TxEnv,
    context_interface::result::{ExecutionResult, HaltReason},
};
use revmc_jit::{JitBackend, RuntimeCacheKey};
use std::{
    hint::black_box,
    sync::LazyLock,
    time::{Duration, Instant},
};

/// Of so many transactions one is preceded by a lookup that is timed. It counts as another use of the
/// contract, so that there are not more.
const SAMPLED: usize = 16;

/// One execution thread with its factory.
pub struct Client<F> {
    factory: F,
    backend: Option<JitBackend>,
    /// What a lookup of a transaction's contract takes.
    pub lookups: Histogram,
    /// The same with nothing between the two readings of the clock: what the machine does by itself.
    pub clock: Histogram,
    /// Blocks that were not what their headers say.
    pub wrong: usize,
}

/// What a pass over all blocks has taken.
#[derive(Clone, Copy, Default)]
pub struct Pass {
    /// By the clock on the wall, and of the thread's processor time.
    pub time: Duration,
    pub processor: Duration,
    /// The transaction that has taken the longest, by the clock on the wall.
    pub longest: Duration,
}

/// What is not the execution's, of both times.
#[derive(Default)]
struct Outside {
    time: Duration,
    processor: Duration,
}

/// The thread's processor time, or where the system does not tell the time since the first call.
fn processor_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = START.elapsed();
    cpu_time::thread_time().unwrap_or(since)
}

impl<F: Factory> Client<F> {
    pub fn new(factory: F, backend: Option<JitBackend>) -> Self {
        Self {
            factory,
            backend,
            lookups: Histogram::new(),
            clock: Histogram::new(),
            wrong: 0,
        }
    }

    /// Executes all blocks; `done` is told how many are done.
    pub fn pass(&mut self, blocks: &[Block], mut done: impl FnMut(usize)) -> Pass {
        let mut pass = Pass::default();
        for (at, block) in blocks.iter().enumerate() {
            let state = block.state.clone();
            let (begin, processor) = (Instant::now(), processor_time());
            let mut evm = self.factory.create_evm(state, alloy::env(block));
            let mut outside = Outside::default();
            let results = self.block(&mut evm, block, &mut pass.longest, &mut outside);
            pass.processor += (processor_time() - processor).saturating_sub(outside.processor);
            pass.time += begin.elapsed().saturating_sub(outside.time);
            let wrong = match &results {
                Ok(results) => Totals::of(block, results).check(block),
                Err(error) => vec![error.clone()],
            };
            for what in &wrong {
                eprintln!("\nblock {}: {what}", block.header.number);
            }
            self.wrong += usize::from(!wrong.is_empty());
            done(at + 1);
        }
        pass
    }

    /// Executes a block; what is only for the report is `outside` of its time.
    fn block<E>(
        &mut self,
        evm: &mut E,
        block: &Block,
        longest: &mut Duration,
        outside: &mut Outside,
    ) -> Result<Vec<ExecutionResult>, String>
    where
        E: Evm<Tx = TxEnv, HaltReason = HaltReason, DB: DatabaseCommit>,
    {
        alloy::system_calls(evm, block)?;
        let mut results = Vec::with_capacity(block.transactions.len());
        for (at, transaction) in block.transactions.iter().enumerate() {
            if at % SAMPLED == 0 {
                let (begin, processor) = (Instant::now(), processor_time());
                self.sample(block, transaction);
                outside.processor += processor_time() - processor;
                outside.time += begin.elapsed();
            }
            let before = Instant::now();
            let result = evm.transact_commit(transaction.clone());
            *longest = (*longest).max(before.elapsed());
            results.push(result.map_err(|error| format!("transaction {at}: {error}"))?);
        }
        Ok(results)
    }

    /// Times the lookup that the transaction's first frame will make.
    fn sample(&mut self, block: &Block, transaction: &TxEnv) {
        let Some(backend) = &self.backend else {
            return;
        };
        let state = &block.state.cache;
        let account = transaction.kind.to().and_then(|to| state.accounts.get(to));
        let Some(account) = account.filter(|account| !account.info.is_empty_code_hash()) else {
            return;
        };
        let key = RuntimeCacheKey {
            code_hash: account.info.code_hash,
            spec_id: block.spec,
        };
        let Some(code) = state.contracts.get(&key.code_hash) else {
            return;
        };
        let code = code.original_bytes();
        let begin = Instant::now();
        let between = begin.elapsed();
        self.clock.record(between);
        let begin = Instant::now();
        drop(black_box(backend.lookup_borrowed(&key, &code)));
        self.lookups.record(begin.elapsed());
    }
}
