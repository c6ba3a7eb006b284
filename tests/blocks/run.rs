//! An EVM for a block; a block run on an EVM, with everything kept or with a clock.

use super::{
    chain,
    format::Block,
    step::{Kind, Reads, Recorded, Runs, Step},
};
use revm::{
    Context, Database, InspectCommitEvm, Inspector, MainBuilder, MainnetEvm,
    context::{BlockEnv, CfgEnv, Journal, TxEnv, result::ExecutionResult},
    handler::MainnetContext,
    interpreter::{CallInputs, CallOutcome},
    primitives::{Address, B256, Bytes},
};
use revmc_jit::revm::forget_hashes;
use std::{
    collections::HashMap,
    hint::black_box,
    time::{Duration, Instant},
};

/// revm's own EVM on this database.
pub type Plain<DB> = MainnetEvm<MainnetContext<DB>>;

/// revm's EVM for the block, on this database.
pub fn evm<DB: Database>(block: &Block, db: DB) -> Plain<DB> {
    context(block, db).build_mainnet()
}

/// The chain's and the fork's settings.
pub fn cfg(block: &Block) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(block.spec);
    cfg.chain_id = block.chain_id;
    cfg
}

fn context<DB: Database>(block: &Block, db: DB) -> MainnetContext<DB> {
    let context: Context<BlockEnv, TxEnv, CfgEnv, DB, Journal<DB>, ()> =
        Context::new(db, block.spec);
    context.with_cfg(cfg(block)).with_block(block.env())
}

/// The calls that the block's fork makes first. A contract that is not there is not called.
pub fn system_calls(
    block: &Block,
) -> impl Iterator<Item = (&'static str, Address, Bytes)> + use<'_> {
    let calls = chain::system_calls(&block.header, block.spec).into_iter();
    calls.filter(|(_, contract, _)| {
        let account = block.state.cache.accounts.get(contract);
        account.is_some_and(|account| !account.info.is_empty_code_hash())
    })
}

/// Runs the block and keeps everything; `reads` are those of its database.
pub fn steps<E: Runs>(evm: &mut E, block: &Block, reads: &Reads) -> Vec<Step> {
    let mut steps = Vec::with_capacity(block.transactions.len() + 2);
    for (name, contract, input) in system_calls(block) {
        let result = evm.system_call_one(contract, input);
        steps.push(Step::take(evm, Kind::System(name), result, reads));
    }
    for (at, transaction) in block.transactions.iter().enumerate() {
        let result = evm.transact_one(transaction.clone());
        steps.push(Step::take(evm, Kind::Transaction(at), result, reads));
    }
    steps
}

/// What the interpreter does.
pub fn interpreted(block: &Block) -> Vec<Step> {
    let (db, reads) = Recorded::new(block.state.clone());
    steps(&mut evm(block, db), block, &reads)
}

/// Runs a transaction, and says how long that took and what came of it. As in a block: what a run before
/// has hashed is not this one's.
pub fn timed<E: Runs>(
    evm: &mut E,
    transaction: &TxEnv,
) -> (Duration, Result<ExecutionResult, E::Error>) {
    let transaction = transaction.clone();
    forget_hashes();
    let begin = Instant::now();
    let result = black_box(evm.transact_one(transaction));
    (begin.elapsed(), result)
}

/// Runs the block and says how long that took.
pub fn time<E: Runs>(evm: &mut E, block: &Block) -> Duration {
    let calls: Vec<_> = system_calls(block).collect();
    let transactions = block.transactions.clone();
    // As a thread begins that has not run this block before.
    forget_hashes();
    let begin = Instant::now();
    for (_, contract, input) in calls {
        let _ = black_box(evm.system_call_one(contract, input));
        evm.commit_inner();
    }
    for transaction in transactions {
        let _ = black_box(evm.transact_commit(transaction));
    }
    begin.elapsed()
}

/// Every contract that runs in the block, by code hash: not init code, which runs once.
pub fn contracts(block: &Block) -> HashMap<B256, Bytes> {
    let mut found = Contracts::default();
    for (_, contract, _) in system_calls(block) {
        let info = block.state.cache.accounts[&contract].info.clone();
        let code = &block.state.cache.contracts[&info.code_hash];
        found.0.insert(info.code_hash, code.original_bytes());
    }
    let db = block.state.clone();
    let mut evm = context(block, db).build_mainnet_with_inspector(&mut found);
    for transaction in &block.transactions {
        let _ = evm.inspect_tx_commit(transaction.clone());
    }
    drop(evm);
    found.0
}

/// Collects the contracts that are called.
#[derive(Default)]
struct Contracts(HashMap<B256, Bytes>);

impl<CTX> Inspector<CTX> for Contracts {
    fn call(&mut self, _: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        let (hash, code) = &inputs.known_bytecode;
        if !code.is_empty() {
            self.0.entry(*hash).or_insert_with(|| code.original_bytes());
        }
        None
    }
}
