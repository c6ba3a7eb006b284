//! What the host of a trial answers: a function of a seed and the question, the same for both sides (R1).

use super::rng::{at_edges, hash};
use alloy_primitives::{Address, B256, U256, keccak256};
use revm_interpreter::{
    context_interface::cfg::GasParams,
    primitives::hardfork::SpecId,
    state::{AccountInfo, Bytecode},
};

/// The frame's account.
pub(super) const SELF: Address = Address::repeat_byte(0x5e);

/// Its caller, and the transaction's.
pub(super) const CALLER: Address = Address::repeat_byte(0xca);

/// One of the accounts that are delegated to others (EIP-7702).
const DELEGATED: u64 = 13;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum About {
    Storage = 1,
    Transient,
    Balance,
    Account,
    BlockHash,
    BlobHash,
    Block,
    Existence,
    Call,
    CallOutput,
}

/// What all runs of a trial have in common.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) spec_id: SpecId,
    pub(super) gas_params: GasParams,
    /// Constants of the contract, which are more likely than others to matter to it.
    pub(super) constants: Vec<U256>,
}

fn limbs(about: About, words: &[U256]) -> Vec<u64> {
    let limbs = words
        .iter()
        .flat_map(|word| word.as_limbs().iter().copied());
    std::iter::once(about as u64).chain(limbs).collect()
}

pub(super) fn word_of(address: Address) -> U256 {
    address.into_word().into()
}

impl Script {
    pub(super) fn new(spec_id: SpecId, constants: Vec<U256>) -> Self {
        Self {
            spec_id,
            gas_params: GasParams::new_spec(spec_id),
            constants,
        }
    }

    /// A number that follows from a question.
    pub(super) fn number(&self, seed: u64, about: About, words: &[U256]) -> u64 {
        hash(seed, &limbs(about, words))
    }

    /// A word that follows from a question, of a kind that contracts make a difference of.
    pub(super) fn word(&self, seed: u64, about: About, words: &[U256]) -> U256 {
        self.word_for(self.number(seed, about, words))
    }

    /// The word that a number stands for.
    pub(super) fn word_for(&self, number: u64) -> U256 {
        let more = |i| hash(number, &[i]);
        match number % 16 {
            0..=3 => U256::ZERO,
            4 | 5 => U256::ONE,
            6 => word_of(CALLER),
            7 => word_of(SELF),
            8 => U256::from(more(0) % 256),
            9 => U256::from(more(0)),
            10 if !self.constants.is_empty() => {
                self.constants[(more(0) % self.constants.len() as u64) as usize]
            }
            10 | 11 => U256::MAX >> (more(0) % 256) as usize,
            12 => U256::from_limbs([more(0), more(1), more(2) >> 32, 0]),
            13 => U256::MAX - U256::from(more(0) % 64),
            14 => at_edges(more(0)),
            _ => U256::from_limbs([more(0), more(1), more(2), more(3)]),
        }
    }

    /// The account at an address.
    pub(super) fn account(&self, seed: u64, address: Address) -> (AccountInfo, bool) {
        let at = word_of(address);
        let number = self.number(seed, About::Account, &[at]);
        if number.is_multiple_of(8) && address != SELF {
            return (AccountInfo::default(), true);
        }
        let balance = self.word(seed, About::Balance, &[at]) >> 128usize;
        let code = match number % 32 {
            1..=4 => Bytecode::default(),
            DELEGATED if self.spec_id.is_enabled_in(SpecId::PRAGUE) => {
                Bytecode::new_eip7702(Address::with_last_byte(number as u8))
            }
            _ => {
                let digest = keccak256(number.to_le_bytes());
                Bytecode::new_legacy(digest[..1 + (number >> 8) as usize % 32].to_vec().into())
            }
        };
        let hash = code.hash_slow();
        let info = AccountInfo::new(balance, number >> 56, hash, code);
        (info, false)
    }

    /// A hash of a block or a blob.
    pub(super) fn digest(&self, seed: u64, about: About, number: u64) -> B256 {
        keccak256(hash(seed, &[about as u64, number]).to_le_bytes())
    }
}
