//! A transaction on an EVM, with everything that it did.

use revm::{
    Database, DatabaseCommit, ExecuteCommitEvm, ExecuteEvm, SystemCallEvm,
    context::TxEnv,
    context_interface::result::ExecutionResult,
    primitives::{Address, AddressMap, B256, U256},
    state::{Account, AccountInfo, Bytecode, EvmState},
};
use std::{cell::RefCell, fmt, rc::Rc};

/// An EVM with revm's types: its own, or one that runs its frames elsewhere.
pub trait Runs:
    SystemCallEvm
    + ExecuteCommitEvm
    + ExecuteEvm<Tx = TxEnv, State = EvmState, ExecutionResult = ExecutionResult, Error: fmt::Debug>
{
}

impl<E> Runs for E where
    E: SystemCallEvm
        + ExecuteCommitEvm
        + ExecuteEvm<
            Tx = TxEnv,
            State = EvmState,
            ExecutionResult = ExecutionResult,
            Error: fmt::Debug,
        >
{
}

/// What a database was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Account(Address),
    Code(B256),
    Slot(Address, U256),
    BlockHash(u64),
}

/// The reads of a [`Recorded`] database so far.
pub type Reads = Rc<RefCell<Vec<Read>>>;

/// A database that keeps what it was asked for, in order.
pub struct Recorded<DB> {
    pub inner: DB,
    reads: Reads,
}

impl<DB> Recorded<DB> {
    /// The database, and where its reads are kept.
    pub fn new(inner: DB) -> (Self, Reads) {
        let reads = Reads::default();
        let kept = Rc::clone(&reads);
        (Self { inner, reads }, kept)
    }

    fn note(&self, read: Read) {
        self.reads.borrow_mut().push(read);
    }
}

impl<DB: Database> Database for Recorded<DB> {
    type Error = DB::Error;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, DB::Error> {
        self.note(Read::Account(address));
        self.inner.basic(address)
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, DB::Error> {
        self.note(Read::Code(code_hash));
        self.inner.code_by_hash(code_hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, DB::Error> {
        self.note(Read::Slot(address, slot));
        self.inner.storage(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, DB::Error> {
        self.note(Read::BlockHash(number));
        self.inner.block_hash(number)
    }
}

impl<DB: DatabaseCommit> DatabaseCommit for Recorded<DB> {
    fn commit(&mut self, changes: AddressMap<Account>) {
        self.inner.commit(changes);
    }
}

/// What a step of a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call that the fork makes before the transactions.
    System(&'static str),
    /// The index among the transactions that are run.
    Transaction(usize),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(name) => write!(f, "{name}"),
            Self::Transaction(at) => write!(f, "transaction {at}"),
        }
    }
}

/// All that a step did.
pub struct Step {
    pub kind: Kind,
    /// `Err`: the transaction was refused.
    pub result: Result<ExecutionResult, String>,
    /// Every account and slot that the journal has loaded, changed or not.
    pub state: EvmState,
    /// What the database was asked for, in order.
    pub reads: Vec<Read>,
}

impl Step {
    /// A transaction that no EVM has seen.
    pub fn refused(kind: Kind, why: String) -> Self {
        Self {
            kind,
            result: Err(why),
            state: EvmState::default(),
            reads: Vec::new(),
        }
    }

    /// What is left in the EVM's journal of a step with this result; it is committed, or dropped if
    /// the transaction was refused. `reads` are those of the EVM's database.
    pub fn take<E: Runs>(
        evm: &mut E,
        kind: Kind,
        result: Result<ExecutionResult, E::Error>,
        reads: &Reads,
    ) -> Self {
        let state = evm.finalize();
        if result.is_ok() {
            evm.commit(state.clone());
        }
        Self {
            kind,
            result: result.map_err(|error| format!("{error:?}")),
            state,
            reads: reads.take(),
        }
    }
}
