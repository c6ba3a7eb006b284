//! A block whose frames are run by a function of the caller's.

use super::{format::Block, run, step::Kind};
use revm::{
    Database, ExecuteCommitEvm,
    context::{ContextSetters, ContextTr, JournalTr, TxEnv},
    context_interface::result::{EVMError, HaltReason, InvalidTransaction},
    handler::{
        EthFrame, EvmTr, FrameInitOrResult, FrameResult, Handler, ItemOrResult, SYSTEM_ADDRESS,
        SystemCallTx, evm::ContextDbError,
    },
    interpreter::{interpreter::EthInterpreter, interpreter_action::FrameInit},
    state::EvmState,
};
use std::{hint::black_box, marker::PhantomData};

type Frame = EthFrame<EthInterpreter>;

/// What running a frame comes to: another one, or its result.
pub type Next<EVM> =
    Result<FrameInitOrResult<<EVM as EvmTr>::Frame>, ContextDbError<<EVM as EvmTr>::Context>>;

/// Mainnet's handler; frames are run by the function.
struct Frames<EVM, F>(F, PhantomData<EVM>);

impl<EVM, F> Handler for Frames<EVM, F>
where
    EVM: EvmTr<Context: ContextTr<Journal: JournalTr<State = EvmState>>, Frame = Frame>,
    F: FnMut(&mut EVM) -> Next<EVM>,
{
    type Evm = EVM;
    type Error = EVMError<<<EVM::Context as ContextTr>::Db as Database>::Error, InvalidTransaction>;
    type HaltReason = HaltReason;

    fn run_exec_loop(
        &mut self,
        evm: &mut EVM,
        first: FrameInit,
    ) -> Result<FrameResult, Self::Error> {
        if let ItemOrResult::Result(result) = evm.frame_init(first)? {
            return Ok(result);
        }
        loop {
            let result = match self.0(evm)? {
                ItemOrResult::Item(init) => match evm.frame_init(init)? {
                    ItemOrResult::Item(_) => continue,
                    ItemOrResult::Result(result) => result,
                },
                ItemOrResult::Result(result) => result,
            };
            if let Some(result) = evm.frame_return_result(result)? {
                return Ok(result);
            }
        }
    }
}

/// All that the block runs, as transactions.
pub fn steps(block: &Block) -> Vec<(Kind, TxEnv)> {
    let system = run::system_calls(block).map(|(name, contract, input)| {
        let call = TxEnv::new_system_tx_with_caller(SYSTEM_ADDRESS, contract, input);
        (Kind::System(name), call)
    });
    let transactions = block.transactions.iter().cloned().enumerate();
    system
        .chain(transactions.map(|(at, transaction)| (Kind::Transaction(at), transaction)))
        .collect()
}

/// Runs the steps of a block, whose frames `run` runs.
pub fn run<EVM>(evm: &mut EVM, steps: Vec<(Kind, TxEnv)>, run: impl FnMut(&mut EVM) -> Next<EVM>)
where
    EVM: ExecuteCommitEvm<State = EvmState>
        + EvmTr<
            Context: ContextTr<Tx = TxEnv, Journal: JournalTr<State = EvmState>> + ContextSetters,
            Frame = Frame,
        >,
{
    let mut handler = Frames(run, PhantomData);
    for (kind, transaction) in steps {
        evm.ctx().set_tx(transaction);
        let _ = black_box(match kind {
            Kind::System(_) => handler.run_system_call(evm),
            Kind::Transaction(_) => handler.run(evm),
        });
        evm.commit_inner();
    }
}
