//! A block run on an EVM that a factory of alloy-evm has made, as clients do.

use super::{format::Block, run};
use alloy_evm::{Evm, EvmEnv, EvmFactory};
use revm::{
    DatabaseCommit,
    context::BlockEnv,
    context::TxEnv,
    context_interface::result::{ExecutionResult, HaltReason},
    handler::SYSTEM_ADDRESS,
    primitives::hardfork::SpecId,
};

/// A factory of EVMs for Ethereum's blocks: alloy-evm's own, or one around it.
pub trait Factory:
    EvmFactory<Tx = TxEnv, HaltReason = HaltReason, Spec = SpecId, BlockEnv = BlockEnv>
{
}

impl<F> Factory for F where
    F: EvmFactory<Tx = TxEnv, HaltReason = HaltReason, Spec = SpecId, BlockEnv = BlockEnv>
{
}

/// What the block's transactions see around them.
pub fn env(block: &Block) -> EvmEnv {
    EvmEnv::new(run::cfg(block), block.env())
}

/// Makes the calls that the block's fork makes first, and commits them.
///
/// # Errors
///
/// What the EVM says of one that it refuses.
pub fn system_calls<E: Evm<DB: DatabaseCommit>>(evm: &mut E, block: &Block) -> Result<(), String> {
    for (name, contract, input) in run::system_calls(block) {
        let result = evm.transact_system_call(SYSTEM_ADDRESS, contract, input);
        let result = result.map_err(|error| format!("{name}: {error}"))?;
        evm.db_mut().commit(result.state);
    }
    Ok(())
}

/// Runs the block, every state committed.
///
/// # Errors
///
/// Which transaction was refused, and why.
pub fn execute<E>(evm: &mut E, block: &Block) -> Result<Vec<ExecutionResult>, String>
where
    E: Evm<Tx = TxEnv, HaltReason = HaltReason, DB: DatabaseCommit>,
{
    system_calls(evm, block)?;
    let transactions = block.transactions.iter().enumerate();
    transactions
        .map(|(at, transaction)| {
            let result = evm.transact_commit(transaction.clone());
            result.map_err(|error| format!("transaction {at}: {error}"))
        })
        .collect()
}
