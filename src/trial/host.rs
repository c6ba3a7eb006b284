//! The host of a trial: answers by the script, and remembers what it was asked.

use super::script::{About, CALLER, Script, word_of};
use alloy_primitives::{Address, B256, Log, U256};
use revm_interpreter::{
    Host, SStoreResult, SelfDestructResult, StateLoad,
    context_interface::{cfg::GasParams, host::LoadError, journaled_state::AccountInfoLoad},
    primitives::hardfork::SpecId,
    state::AccountInfo,
};
use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
};

/// What a host was asked, with all that it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// For something of the block or the transaction.
    Environment(&'static str),
    BlockHash(u64),
    BlobHash(usize),
    Account {
        address: Address,
        code: bool,
        skip_cold: bool,
    },
    Load {
        address: Address,
        key: U256,
        skip_cold: bool,
    },
    Store {
        address: Address,
        key: U256,
        value: U256,
        skip_cold: bool,
    },
    TransientLoad(Address, U256),
    TransientStore(Address, U256, U256),
    Log(Log),
    SelfDestruct {
        address: Address,
        target: Address,
        skip_cold: bool,
    },
}

/// Memory that the buffer of a frame's memory moves to (R5). What it has moved from stays allocated, for
/// whoever has an address of it.
#[derive(Debug)]
pub(super) struct Mover {
    buffer: Rc<RefCell<Vec<u8>>>,
    spare: RefCell<[Vec<u8>; SPARE]>,
}

/// Memory beyond so many bytes is not moved any more.
const MAX_MOVED: usize = 16 << 10;

/// What the buffers hold without being allocated anew.
const CAPACITY: usize = 4 * MAX_MOVED;

/// Buffers that memory moves through. An instruction asks for prices once or twice: after a few of them the
/// memory is not back where it was.
const SPARE: usize = 6;

/// What is left where memory was.
const LEFT: u8 = 0xa5;

impl Mover {
    pub(super) fn new(buffer: Rc<RefCell<Vec<u8>>>) -> Self {
        let empty = || Vec::with_capacity(CAPACITY);
        buffer.borrow_mut().reserve(CAPACITY);
        Self {
            buffer,
            spare: RefCell::new(std::array::from_fn(|_| empty())),
        }
    }

    fn move_buffer(&self) {
        // Borrowed: an instruction is in the middle of using it.
        let Ok(mut buffer) = self.buffer.try_borrow_mut() else {
            return;
        };
        if buffer.len() > MAX_MOVED {
            return;
        }
        let mut spare = self.spare.borrow_mut();
        let next = &mut spare[0];
        next.clear();
        next.extend_from_slice(&buffer);
        std::mem::swap(&mut *buffer, next);
        next.fill(LEFT);
        spare.rotate_left(1);
    }
}

/// A host for one run.
#[derive(Debug)]
pub(super) struct Scripted<'a> {
    script: &'a Script,
    seed: u64,
    fails_at: Option<u32>,
    loads: u32,
    pub(super) events: RefCell<Vec<Event>>,
    storage: HashMap<(Address, U256), U256>,
    transient: HashMap<(Address, U256), U256>,
    warm_slots: HashSet<(Address, U256)>,
    warm_accounts: HashSet<Address>,
    mover: Option<&'a Mover>,
}

impl<'a> Scripted<'a> {
    pub(super) fn new(
        script: &'a Script,
        seed: u64,
        fails_at: Option<u32>,
        mover: Option<&'a Mover>,
    ) -> Self {
        Self {
            script,
            seed,
            fails_at,
            loads: 0,
            events: RefCell::default(),
            storage: HashMap::new(),
            transient: HashMap::new(),
            warm_slots: HashSet::new(),
            warm_accounts: HashSet::new(),
            mover,
        }
    }

    fn note(&self, event: Event) {
        self.events.borrow_mut().push(event);
    }

    /// A word of the block or the transaction.
    fn environment(&self, name: &'static str) -> U256 {
        self.note(Event::Environment(name));
        let name = name.as_bytes().iter().fold(0u64, |hash, byte| {
            hash.wrapping_mul(131).wrapping_add((*byte).into())
        });
        self.script
            .word(self.seed, About::Block, &[U256::from(name)])
    }

    fn number(&self, about: About, words: &[U256]) -> u64 {
        self.script.number(self.seed, about, words)
    }

    /// Counts a load of something cold.
    fn load(&mut self) -> Result<(), LoadError> {
        self.loads += 1;
        match self.fails_at {
            Some(at) if at == self.loads => Err(LoadError::DBError),
            _ => Ok(()),
        }
    }

    fn load_account(&mut self, address: Address, skip_cold: bool) -> Result<bool, LoadError> {
        let is_cold = !self.warm_accounts.contains(&address);
        if is_cold {
            if skip_cold {
                return Err(LoadError::ColdLoadSkipped);
            }
            self.load()?;
            self.warm_accounts.insert(address);
        }
        Ok(is_cold)
    }

    fn load_slot(
        &mut self,
        address: Address,
        key: U256,
        skip_cold: bool,
    ) -> Result<(U256, bool), LoadError> {
        let is_cold = !self.warm_slots.contains(&(address, key));
        if is_cold {
            if skip_cold {
                return Err(LoadError::ColdLoadSkipped);
            }
            self.load()?;
            self.warm_slots.insert((address, key));
        }
        let value = match self.storage.get(&(address, key)) {
            Some(value) => *value,
            None => self.original(address, key),
        };
        Ok((value, is_cold))
    }

    fn original(&self, address: Address, key: U256) -> U256 {
        self.script
            .word(self.seed, About::Storage, &[word_of(address), key])
    }
}

/// Words of the block or the transaction as the script has them.
macro_rules! environment {
    ($($name:ident: $noted:literal;)*) => {
        $(fn $name(&self) -> U256 {
            self.environment($noted)
        })*
    };
}

impl Host for Scripted<'_> {
    environment! {
        basefee: "basefee";
        blob_gasprice: "blob gas price";
        gas_limit: "gas limit";
        difficulty: "difficulty";
        slot_num: "slot number";
        chain_id: "chain id";
        effective_gas_price: "gas price";
    }

    fn prevrandao(&self) -> Option<U256> {
        Some(self.environment("prevrandao"))
    }

    fn block_number(&self) -> U256 {
        // 2^16: what a contract asks of past blocks is not all of one kind.
        self.environment("number") & U256::from(u32::MAX) | U256::from(1u64 << 16)
    }

    fn timestamp(&self) -> U256 {
        // A time of the years since the chain began.
        (self.environment("timestamp") & U256::from(0x0fff_ffff)) + U256::from(1_500_000_000u64)
    }

    fn beneficiary(&self) -> Address {
        Address::from_word(self.environment("beneficiary").into())
    }

    fn caller(&self) -> Address {
        self.note(Event::Environment("caller"));
        CALLER
    }

    fn blob_hash(&self, number: usize) -> Option<U256> {
        self.note(Event::BlobHash(number));
        let found = number < 2;
        let digest = |number| self.script.digest(self.seed, About::BlobHash, number);
        found.then(|| digest(number as u64).into())
    }

    fn max_initcode_size(&self) -> usize {
        // EIP-3860.
        0xc000
    }

    /// Not an event: machine code asks for it as often as it grows the memory itself.
    fn gas_params(&self) -> &GasParams {
        if let Some(mover) = self.mover {
            mover.move_buffer();
        }
        &self.script.gas_params
    }

    fn is_amsterdam_eip8037_enabled(&self) -> bool {
        self.script.spec_id.is_enabled_in(SpecId::AMSTERDAM)
    }

    fn block_hash(&mut self, number: u64) -> Option<B256> {
        self.note(Event::BlockHash(number));
        self.load().ok()?;
        Some(self.script.digest(self.seed, About::BlockHash, number))
    }

    fn selfdestruct(
        &mut self,
        address: Address,
        target: Address,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SelfDestructResult>, LoadError> {
        self.note(Event::SelfDestruct {
            address,
            target,
            skip_cold: skip_cold_load,
        });
        let is_cold = self.load_account(target, skip_cold_load)?;
        let number = self.number(About::Existence, &[word_of(address), word_of(target)]);
        let result = SelfDestructResult {
            had_value: number & 1 != 0,
            target_exists: number & 2 != 0,
            previously_destroyed: number & 0x1c == 0,
        };
        Ok(StateLoad::new(result, is_cold))
    }

    fn log(&mut self, log: Log) {
        self.note(Event::Log(log));
    }

    fn sstore_skip_cold_load(
        &mut self,
        address: Address,
        key: U256,
        value: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SStoreResult>, LoadError> {
        self.note(Event::Store {
            address,
            key,
            value,
            skip_cold: skip_cold_load,
        });
        let (present_value, is_cold) = self.load_slot(address, key, skip_cold_load)?;
        self.storage.insert((address, key), value);
        let result = SStoreResult {
            original_value: self.original(address, key),
            present_value,
            new_value: value,
        };
        Ok(StateLoad::new(result, is_cold))
    }

    fn sload_skip_cold_load(
        &mut self,
        address: Address,
        key: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<U256>, LoadError> {
        self.note(Event::Load {
            address,
            key,
            skip_cold: skip_cold_load,
        });
        let (value, is_cold) = self.load_slot(address, key, skip_cold_load)?;
        Ok(StateLoad::new(value, is_cold))
    }

    fn tstore(&mut self, address: Address, key: U256, value: U256) {
        self.note(Event::TransientStore(address, key, value));
        self.transient.insert((address, key), value);
    }

    fn tload(&mut self, address: Address, key: U256) -> U256 {
        self.note(Event::TransientLoad(address, key));
        match self.transient.get(&(address, key)) {
            Some(value) => *value,
            None => self
                .script
                .word(self.seed, About::Transient, &[word_of(address), key]),
        }
    }

    fn load_account_info_skip_cold_load(
        &mut self,
        address: Address,
        load_code: bool,
        skip_cold_load: bool,
    ) -> Result<AccountInfoLoad<'_>, LoadError> {
        self.note(Event::Account {
            address,
            code: load_code,
            skip_cold: skip_cold_load,
        });
        let is_cold = self.load_account(address, skip_cold_load)?;
        let (account, is_empty): (AccountInfo, bool) = self.script.account(self.seed, address);
        Ok(AccountInfoLoad {
            account: Cow::Owned(account),
            is_cold,
            is_empty,
        })
    }
}
