//! What a transaction asks of the hash function and of the host, and how long that takes alone.

use crate::blocks::run::Plain;
use revm::{
    Database, InspectEvm, Inspector,
    bytecode::opcode,
    context::TxEnv,
    context_interface::{Host, JournalTr},
    interpreter::{
        Interpreter,
        interpreter_types::{InputsTr, Jumps},
    },
    primitives::{Address, Log, TxKind, U256, keccak256},
};
use std::{
    collections::BTreeSet,
    hint::black_box,
    ops::Range,
    time::{Duration, Instant},
};

/// Something that stays to be done however fast frames are.
#[derive(Clone, Debug)]
pub enum Request {
    /// Of these bytes among the [`Requests`]' own.
    Hash(Range<usize>),
    Load(Address, U256),
    Store(Address, U256, U256),
    LoadTransient(Address, U256),
    StoreTransient(Address, U256, U256),
    Log(Log),
}

/// An inspector that records them.
#[derive(Debug, Default)]
pub struct Requests {
    pub list: Vec<Request>,
    /// What is hashed, all in one piece: a frame's memory is in the cache, too.
    bytes: Vec<u8>,
}

impl<CTX> Inspector<CTX> for Requests {
    fn step(&mut self, interpreter: &mut Interpreter, _: &mut CTX) {
        let request = self.request(interpreter);
        self.list.extend(request);
    }

    fn log(&mut self, _: &mut CTX, log: Log) {
        self.list.push(Request::Log(log));
    }
}

impl Requests {
    /// What the instruction at which the frame stands will ask for.
    fn request(&mut self, interpreter: &Interpreter) -> Option<Request> {
        let mut words = interpreter.stack.data().iter().rev().copied();
        let mut word = || words.next();
        let account = interpreter.input.target_address();
        Some(match interpreter.bytecode.opcode() {
            opcode::KECCAK256 => Request::Hash(self.hashed(interpreter, word()?, word()?)?),
            opcode::SLOAD => Request::Load(account, word()?),
            opcode::SSTORE => Request::Store(account, word()?, word()?),
            opcode::TLOAD => Request::LoadTransient(account, word()?),
            opcode::TSTORE => Request::StoreTransient(account, word()?, word()?),
            _ => return None,
        })
    }

    /// Keeps a part of the frame's memory, which may have to grow for it.
    fn hashed(&mut self, frame: &Interpreter, offset: U256, len: U256) -> Option<Range<usize>> {
        let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(len).ok()?);
        // More can hardly be paid for.
        let len = Some(len).filter(|&len| len <= 1 << 24)?;
        let memory = frame.memory.context_memory();
        let found = memory.get(offset..).unwrap_or_default();
        let begin = self.bytes.len();
        self.bytes.extend(found.iter().take(len));
        self.bytes.resize(begin + len, 0);
        Some(begin..begin + len)
    }

    /// Those of a transaction.
    pub fn of<DB: Database>(evm: Plain<DB>, transaction: TxEnv) -> Self {
        let mut requests = Self::default();
        let mut evm = evm.with_inspector(&mut requests);
        let _ = evm.inspect_one_tx(transaction);
        drop(evm);
        requests
    }

    /// How long they take one after the other, with nothing between them, on an EVM in the state before
    /// the transaction.
    pub fn time<DB: Database>(&self, evm: &mut Plain<DB>) -> Duration {
        let context = &mut evm.ctx;
        let accounts: BTreeSet<Address> = self.list.iter().filter_map(account).collect();
        for account in accounts {
            let _ = context.journaled_state.load_account(account);
        }
        let begin = Instant::now();
        for request in &self.list {
            match *request {
                Request::Hash(ref bytes) => {
                    black_box(keccak256(&self.bytes[bytes.clone()]));
                }
                Request::Load(account, key) => {
                    black_box(context.sload(account, key));
                }
                Request::Store(account, key, value) => {
                    black_box(context.sstore(account, key, value));
                }
                Request::LoadTransient(account, key) => {
                    black_box(context.tload(account, key));
                }
                Request::StoreTransient(account, key, value) => context.tstore(account, key, value),
                Request::Log(ref log) => Host::log(context, log.clone()),
            }
        }
        begin.elapsed()
    }
}

/// The account whose storage it is about.
fn account(request: &Request) -> Option<Address> {
    match request {
        Request::Load(account, _) | Request::Store(account, ..) => Some(*account),
        _ => None,
    }
}

/// The same transaction to an account without code.
pub fn without_code(transaction: &TxEnv) -> TxEnv {
    TxEnv {
        kind: TxKind::Call(Address::repeat_byte(0x77)),
        ..transaction.clone()
    }
}
