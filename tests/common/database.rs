//! A database that records what is read, in order, and can fail or panic at any read.

use super::types::{Address, B256, Bytes, U256, keccak256};
use revm::{
    Database, bytecode::Bytecode, database_interface::DBErrorMarker, primitives::HashMap,
    state::AccountInfo,
};
use std::{fmt, panic::resume_unwind, sync::Arc};

/// The read that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError(pub Read);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} failed", self.0)
    }
}

impl std::error::Error for ReadError {}
impl DBErrorMarker for ReadError {}

/// A read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Account(Address),
    Code(B256),
    Slot(Address, U256),
    BlockHash(u64),
}

/// What happens at a read instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Error,
    Panic,
}

/// Which read goes wrong, and how.
pub type Breakage = (usize, Fault);

/// What the panic of [`Fault::Panic`] carries.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken(pub Read);

/// What a database holds.
#[derive(Clone, Debug, Default)]
pub struct State {
    accounts: HashMap<Address, AccountInfo>,
    slots: HashMap<(Address, U256), U256>,
    codes: HashMap<B256, Bytecode>,
}

impl State {
    pub fn insert(&mut self, address: Address, balance: U256, nonce: u64, code: Bytes) {
        let mut info = AccountInfo::default()
            .with_balance(balance)
            .with_nonce(nonce);
        // The code is read by its hash.
        info.code = None;
        if !code.is_empty() {
            let code = Bytecode::new_raw(code);
            info.code_hash = keccak256(code.original_bytes());
            self.codes.insert(info.code_hash, code);
        }
        self.accounts.insert(address, info);
    }

    pub fn insert_slot(&mut self, address: Address, key: U256, value: U256) {
        self.slots.insert((address, key), value);
    }

    /// Every account with its code and its slots.
    pub fn accounts(
        &self,
    ) -> impl Iterator<Item = (Address, &AccountInfo, Bytes, Vec<(U256, U256)>)> {
        self.accounts.iter().map(|(&address, info)| {
            let code = self.codes.get(&info.code_hash);
            let code = code.map(Bytecode::original_bytes).unwrap_or_default();
            let own = self.slots.iter().filter(|((of, _), _)| *of == address);
            let slots = own.map(|(&(_, key), &value)| (key, value)).collect();
            (address, info, code, slots)
        })
    }
}

/// A database over a shared state.
#[derive(Clone, Debug)]
pub struct Recorder {
    pub state: Arc<State>,
    /// Everything that was asked for.
    pub reads: Vec<Read>,
    /// Which read from now on is answered how: 0 is the next one.
    pub fault: Option<(usize, Fault)>,
}

impl Recorder {
    pub fn new(state: Arc<State>) -> Self {
        Self {
            state,
            reads: Vec::new(),
            fault: None,
        }
    }

    fn record(&mut self, read: Read) -> Result<(), ReadError> {
        self.reads.push(read);
        match &mut self.fault {
            Some((0, Fault::Error)) => Err(ReadError(read)),
            // No hook: the panic is expected.
            Some((0, Fault::Panic)) => resume_unwind(Box::new(Broken(read))),
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Database for Recorder {
    type Error = ReadError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, ReadError> {
        self.record(Read::Account(address))?;
        Ok(self.state.accounts.get(&address).cloned())
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, ReadError> {
        self.record(Read::Code(hash))?;
        Ok(self.state.codes.get(&hash).cloned().unwrap_or_default())
    }

    fn storage(&mut self, address: Address, key: U256) -> Result<U256, ReadError> {
        self.record(Read::Slot(address, key))?;
        Ok(self
            .state
            .slots
            .get(&(address, key))
            .copied()
            .unwrap_or_default())
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, ReadError> {
        self.record(Read::BlockHash(number))?;
        Ok(keccak256(number.to_be_bytes()))
    }
}
