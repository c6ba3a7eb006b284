//! A deterministic in-memory state that implements [`Host`], with the journal that nested frames
//! need: every change is recorded as the value it replaced, and a revert puts those back.

use revmc_jit::revmc::interpreter::{Host, LoadAccountResult, SStoreResult, SelfDestructResult};
use revmc_jit::revmc::primitives::{
    Address, B256, BlobExcessGasAndPrice, Bytecode, Bytes, Env, KECCAK_EMPTY, Log, SpecId, TxKind,
    U256, keccak256,
};
use std::hash::{BuildHasherDefault, Hasher};

/// Number of ancestor blocks whose hash `BLOCKHASH` can see (Yellow Paper, section 9.4.2).
const BLOCK_HASH_HISTORY: u64 = 256;

type HashMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<WordHasher>>;
type HashSet<K> = std::collections::HashSet<K, BuildHasherDefault<WordHasher>>;

/// Multiplies word by word: what is measured on this state should not be its hashing.
#[derive(Default)]
pub struct WordHasher(u64);

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // The golden ratio's digits, as in Fibonacci hashing (Knuth, TAOCP vol. 3, 6.4).
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(32)
    }
}

/// A storage slot: its value when the transaction began and its value now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    pub original: U256,
    pub present: U256,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub balance: U256,
    pub nonce: u64,
    pub code: Bytecode,
    pub code_hash: B256,
    pub storage: HashMap<U256, Slot>,
    /// Whether the account was in the state before the transaction.
    pub existed: bool,
    pub touched: bool,
    pub created: bool,
    pub destroyed: bool,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            balance: U256::ZERO,
            nonce: 0,
            code: Bytecode::default(),
            code_hash: KECCAK_EMPTY,
            storage: HashMap::default(),
            existed: false,
            touched: false,
            created: false,
            destroyed: false,
        }
    }
}

impl Account {
    /// Empty as EIP-161 defines it.
    fn is_empty(&self) -> bool {
        self.balance.is_zero() && self.nonce == 0 && self.code_hash == KECCAK_EMPTY
    }
}

/// Everything a transaction can change. Two runs agree when their states are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub accounts: HashMap<Address, Account>,
    pub transient: HashMap<(Address, U256), U256>,
    pub logs: Vec<Log>,
    pub warm_accounts: HashSet<Address>,
    pub warm_slots: HashSet<(Address, U256)>,
}

/// What a change replaced.
#[derive(Clone, Debug)]
enum Undo {
    Balance(Address, U256),
    Nonce(Address, u64),
    Code(Address, Bytecode, B256),
    Storage(Address, U256, U256),
    Transient(Address, U256, U256),
    Touched(Address),
    Created(Address),
    Destroyed(Address),
    WarmAccount(Address),
    WarmSlot(Address, U256),
}

/// A point to which [`World::revert`] can go back.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    undo: usize,
    logs: usize,
}

/// What can go wrong in the database: the reading of an account.
pub type Breakage = Address;

#[derive(Clone, Debug)]
pub struct World {
    pub env: Box<Env>,
    pub spec_id: SpecId,
    pub state: State,
    undo: Vec<Undo>,
    /// Reading this account fails, as a database error would.
    pub broken_account: Option<Breakage>,
}

impl World {
    /// A world with no accounts and a block environment in which every field is set.
    pub fn new(spec_id: SpecId) -> Self {
        let mut env = Env::default();
        env.cfg.chain_id = 1;
        env.block.number = U256::from(20_000_000u64);
        env.block.coinbase = Address::repeat_byte(0xc0);
        env.block.timestamp = U256::from(1_720_000_000u64);
        env.block.gas_limit = U256::from(30_000_000u64);
        env.block.basefee = U256::from(7_000_000_007u64);
        env.block.difficulty = U256::from(0x1234_5678_9abc_def0u64);
        env.block.prevrandao = Some(keccak256(b"prevrandao"));
        env.block.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice::new(50_000_000));
        env.tx.caller = Address::repeat_byte(0xca);
        env.tx.gas_limit = 30_000_000;
        env.tx.gas_price = U256::from(9_000_000_000u64);
        env.tx.gas_priority_fee = Some(U256::from(1_000_000_000u64));
        env.tx.transact_to = TxKind::Call(Address::repeat_byte(0xee));
        env.tx.blob_hashes = vec![keccak256(b"blob 0"), keccak256(b"blob 1")];
        Self {
            env: Box::new(env),
            spec_id,
            state: State::default(),
            undo: Vec::new(),
            broken_account: None,
        }
    }

    /// Puts an account into the state as if it had been there before the transaction.
    pub fn insert(&mut self, address: Address, balance: U256, nonce: u64, code: Bytes) {
        let code_hash = if code.is_empty() {
            KECCAK_EMPTY
        } else {
            keccak256(&code)
        };
        self.state.accounts.insert(
            address,
            Account {
                balance,
                nonce,
                code: analysed(code),
                code_hash,
                existed: true,
                ..Account::default()
            },
        );
    }

    /// Sets a slot as if it had had that value before the transaction.
    pub fn insert_storage(&mut self, address: Address, key: U256, value: U256) {
        let slot = Slot {
            original: value,
            present: value,
        };
        self.account_mut(address).storage.insert(key, slot);
    }

    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            undo: self.undo.len(),
            logs: self.state.logs.len(),
        }
    }

    /// Undoes every change made since `checkpoint`.
    pub fn revert(&mut self, checkpoint: Checkpoint) {
        while self.undo.len() > checkpoint.undo {
            match self.undo.pop().expect("longer than the checkpoint") {
                Undo::Balance(a, v) => self.account_mut(a).balance = v,
                Undo::Nonce(a, v) => self.account_mut(a).nonce = v,
                Undo::Code(a, code, hash) => {
                    let account = self.account_mut(a);
                    account.code = code;
                    account.code_hash = hash;
                }
                Undo::Storage(a, k, v) => {
                    self.account_mut(a).storage.entry(k).or_default().present = v;
                }
                Undo::Transient(a, k, v) => self.set_transient(a, k, v),
                Undo::Touched(a) => self.account_mut(a).touched = false,
                Undo::Created(a) => self.account_mut(a).created = false,
                Undo::Destroyed(a) => self.account_mut(a).destroyed = false,
                Undo::WarmAccount(a) => {
                    self.state.warm_accounts.remove(&a);
                }
                Undo::WarmSlot(a, k) => {
                    self.state.warm_slots.remove(&(a, k));
                }
            }
        }
        self.state.logs.truncate(checkpoint.logs);
    }

    /// Marks the account warm. Returns whether it was cold.
    pub fn warm(&mut self, address: Address) -> bool {
        // Precompiles and the coinbase's warmth (EIP-3651) are not modelled: both runs see the
        // same host, so only that the answer is deterministic matters.
        let cold = self.state.warm_accounts.insert(address);
        if cold {
            self.undo.push(Undo::WarmAccount(address));
        }
        cold
    }

    pub fn account(&self, address: Address) -> Option<&Account> {
        self.state.accounts.get(&address)
    }

    fn account_mut(&mut self, address: Address) -> &mut Account {
        self.state.accounts.entry(address).or_default()
    }

    fn balance_of(&self, address: Address) -> U256 {
        self.account(address).map_or(U256::ZERO, |a| a.balance)
    }

    pub fn touch(&mut self, address: Address) {
        if !self.account_mut(address).touched {
            self.account_mut(address).touched = true;
            self.undo.push(Undo::Touched(address));
        }
    }

    fn set_balance(&mut self, address: Address, value: U256) {
        let account = self.account_mut(address);
        let old = std::mem::replace(&mut account.balance, value);
        self.undo.push(Undo::Balance(address, old));
        self.touch(address);
    }

    /// Moves `value`, or changes nothing and returns `false` when `from` has too little.
    pub fn transfer(&mut self, from: Address, to: Address, value: U256) -> bool {
        let Some(rest) = self.balance_of(from).checked_sub(value) else {
            return false;
        };
        self.set_balance(from, rest);
        let sum = self.balance_of(to).saturating_add(value);
        self.set_balance(to, sum);
        true
    }

    /// Increments the nonce and returns the old one, or `None` when it would overflow.
    pub fn increment_nonce(&mut self, address: Address) -> Option<u64> {
        let old = self.account_mut(address).nonce;
        self.account_mut(address).nonce = old.checked_add(1)?;
        self.undo.push(Undo::Nonce(address, old));
        self.touch(address);
        Some(old)
    }

    /// Whether a contract may not be created at this address (EIP-684).
    pub fn collides(&self, address: Address) -> bool {
        self.account(address)
            .is_some_and(|a| a.nonce != 0 || a.code_hash != KECCAK_EMPTY)
    }

    pub fn mark_created(&mut self, address: Address) {
        if !self.account_mut(address).created {
            self.account_mut(address).created = true;
            self.undo.push(Undo::Created(address));
        }
        self.touch(address);
    }

    pub fn set_code(&mut self, address: Address, code: Bytes) {
        let hash = if code.is_empty() {
            KECCAK_EMPTY
        } else {
            keccak256(&code)
        };
        let account = self.account_mut(address);
        let old = std::mem::replace(&mut account.code, analysed(code));
        let old_hash = std::mem::replace(&mut account.code_hash, hash);
        self.undo.push(Undo::Code(address, old, old_hash));
        self.touch(address);
    }

    fn set_transient(&mut self, address: Address, key: U256, value: U256) {
        if value.is_zero() {
            self.state.transient.remove(&(address, key));
        } else {
            self.state.transient.insert((address, key), value);
        }
    }

    fn is_broken(&self, address: Address) -> bool {
        self.broken_account == Some(address)
    }
}

/// Code with the interpreter's jump analysis done, so that a frame does not repeat it.
fn analysed(code: Bytes) -> Bytecode {
    revmc_jit::revmc::interpreter::analysis::to_analysed(Bytecode::new_raw(code))
}

impl Host for World {
    fn env(&self) -> &Env {
        &self.env
    }

    fn env_mut(&mut self) -> &mut Env {
        &mut self.env
    }

    fn load_account(&mut self, address: Address) -> Option<LoadAccountResult> {
        if self.is_broken(address) {
            return None;
        }
        let is_cold = self.warm(address);
        let account = self.account(address);
        let is_empty = if self.spec_id.is_enabled_in(SpecId::SPURIOUS_DRAGON) {
            account.is_none_or(Account::is_empty)
        } else {
            account.is_none_or(|a| !a.existed && !a.touched)
        };
        Some(LoadAccountResult { is_cold, is_empty })
    }

    fn block_hash(&mut self, number: U256) -> Option<B256> {
        let current: u64 = self.env.block.number.to();
        let hash = u64::try_from(number)
            .ok()
            .filter(|&n| n < current && current - n <= BLOCK_HASH_HISTORY)
            .map_or(B256::ZERO, |n| keccak256(n.to_be_bytes()));
        Some(hash)
    }

    fn balance(&mut self, address: Address) -> Option<(U256, bool)> {
        if self.is_broken(address) {
            return None;
        }
        let cold = self.warm(address);
        Some((self.balance_of(address), cold))
    }

    fn code(&mut self, address: Address) -> Option<(Bytes, bool)> {
        if self.is_broken(address) {
            return None;
        }
        let cold = self.warm(address);
        let code = self.account(address).map(|a| a.code.original_bytes());
        Some((code.unwrap_or_default(), cold))
    }

    fn code_hash(&mut self, address: Address) -> Option<(B256, bool)> {
        if self.is_broken(address) {
            return None;
        }
        let cold = self.warm(address);
        let hash = match self.account(address) {
            Some(account) if !account.is_empty() => account.code_hash,
            _ => B256::ZERO,
        };
        Some((hash, cold))
    }

    fn sload(&mut self, address: Address, index: U256) -> Option<(U256, bool)> {
        if self.is_broken(address) {
            return None;
        }
        let cold = self.state.warm_slots.insert((address, index));
        if cold {
            self.undo.push(Undo::WarmSlot(address, index));
        }
        let slot = self.account(address).and_then(|a| a.storage.get(&index));
        Some((slot.map_or(U256::ZERO, |s| s.present), cold))
    }

    fn sstore(&mut self, address: Address, index: U256, value: U256) -> Option<SStoreResult> {
        let (present_value, is_cold) = self.sload(address, index)?;
        let slot = self.account_mut(address).storage.entry(index).or_default();
        slot.present = value;
        let original_value = slot.original;
        if present_value != value {
            self.undo.push(Undo::Storage(address, index, present_value));
        }
        Some(SStoreResult {
            original_value,
            present_value,
            new_value: value,
            is_cold,
        })
    }

    fn tload(&mut self, address: Address, index: U256) -> U256 {
        let value = self.state.transient.get(&(address, index));
        value.copied().unwrap_or_default()
    }

    fn tstore(&mut self, address: Address, index: U256, value: U256) {
        let old = self.tload(address, index);
        self.undo.push(Undo::Transient(address, index, old));
        self.set_transient(address, index, value);
    }

    fn log(&mut self, log: Log) {
        self.state.logs.push(log);
    }

    fn selfdestruct(&mut self, address: Address, target: Address) -> Option<SelfDestructResult> {
        if self.is_broken(target) {
            return None;
        }
        let load = self.load_account(target)?;
        let account = self.account_mut(address);
        let (balance, created, previously_destroyed) =
            (account.balance, account.created, account.destroyed);
        // EIP-6780: from Cancun on only an account created in the same transaction goes.
        let goes = created || !self.spec_id.is_enabled_in(SpecId::CANCUN);
        if address != target {
            let sum = self.balance_of(target).saturating_add(balance);
            self.set_balance(target, sum);
        }
        if goes || address != target {
            self.set_balance(address, U256::ZERO);
        }
        if goes && !previously_destroyed {
            self.account_mut(address).destroyed = true;
            self.undo.push(Undo::Destroyed(address));
        }
        Some(SelfDestructResult {
            had_value: !balance.is_zero(),
            target_exists: !load.is_empty,
            is_cold: load.is_cold,
            previously_destroyed,
        })
    }
}
