//! Programs on the chain, by its interpreter and natively.

use crate::{
    chain::{ChainEvm, Fork, ISQRT, evm},
    common::{
        asm::{Item, assemble},
        case::Case,
        database::{Read, ReadError, Recorder},
        engine::{block, transaction},
        generate,
        types::opcode as op,
    },
};
use revm::{
    ExecuteEvm,
    context::ContextTr,
    context_interface::result::{EVMError, ExecutionResult, InvalidTransaction},
    handler::EvmTr,
    state::EvmState,
};
use revmc_jit::{JitBackend, revm::JitEvm};

/// What can be seen of a transaction: its result, the state with all that was loaded, and the reads.
type Seen = (
    Result<ExecutionResult, EVMError<ReadError, InvalidTransaction>>,
    EvmState,
    Vec<Read>,
);

/// Runs a case's program as a transaction, interpreted and by the backend; says what both did.
///
/// # Errors
///
/// In words, what they did not do alike.
pub fn compare(case: &Case, fork: Fork, backend: &JitBackend) -> Result<Seen, String> {
    let new = || -> ChainEvm<Recorder> {
        let mut evm = evm(fork, case.database());
        evm.ctx.block = block();
        evm
    };
    let expected = seen(&mut new(), case);
    let found = seen(&mut JitEvm::new(new(), backend.clone()), case);
    match expected == found {
        true => Ok(expected),
        false => Err(format!(
            "natively {found:?}\nthe interpreter {expected:?}\n{case}"
        )),
    }
}

fn seen<E>(evm: &mut E, case: &Case) -> Seen
where
    E: ExecuteEvm<
            Tx = revm::context::TxEnv,
            State = EvmState,
            ExecutionResult = ExecutionResult,
            Error = EVMError<ReadError, InvalidTransaction>,
        > + EvmTr<Context: ContextTr<Db = Recorder>>,
{
    let result = evm.transact_one(transaction(case));
    let state = evm.finalize();
    let reads = std::mem::take(&mut evm.ctx_mut().db_mut().reads);
    (result, state, reads)
}

/// A generated program for the chain: in place of some of mainnet's instructions that take a word and
/// give one it has ISQRT.
pub fn program(seed: u64) -> Case {
    let mut program = generate::program(seed);
    for (at, item) in program.items.iter_mut().enumerate() {
        let unary = matches!(item, Item::Op(op::NOT | op::ISZERO | op::MLOAD | op::SLOAD));
        if unary && !(at as u64 + seed).is_multiple_of(3) {
            *item = Item::Op(ISQRT);
        }
    }
    let mut case = program.frame.clone();
    case.code = assemble(&program.items).into();
    case.gas_limit = case.gas_limit.min(10_000_000) + 30_000;
    case
}
