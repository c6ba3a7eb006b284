//! The hashes that state tests expect.

use alloy_rlp::{Encodable, Header};
use alloy_trie::{HashBuilder, Nibbles};
use revm::database::{CacheState, states::plain_account::PlainAccount};
use revm::primitives::{B256, Log, keccak256};

/// The root of the state trie (Yellow Paper, §4.1).
pub fn state_root(state: &CacheState) -> B256 {
    trie_root(
        state
            .trie_account()
            .into_iter()
            .map(|(address, account)| (keccak256(address), encode_account(account))),
    )
}

/// keccak-256 of the encoded list of logs.
pub fn logs_hash(logs: &[Log]) -> B256 {
    let mut out = Vec::new();
    alloy_rlp::encode_list::<_, Log>(logs, &mut out);
    keccak256(out)
}

fn encode_account(account: &PlainAccount) -> Vec<u8> {
    let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
    let storage_root = trie_root(
        slots.map(|(key, value)| (keccak256(key.to_be_bytes::<32>()), alloy_rlp::encode(value))),
    );
    let info = &account.info;
    let fields: [&dyn Encodable; 4] = [&info.nonce, &info.balance, &storage_root, &info.code_hash];
    let mut out = Vec::new();
    let payload_length = fields.iter().map(|field| field.length()).sum();
    Header {
        list: true,
        payload_length,
    }
    .encode(&mut out);
    for field in fields {
        field.encode(&mut out);
    }
    out
}

fn trie_root(leaves: impl Iterator<Item = (B256, Vec<u8>)>) -> B256 {
    let mut leaves: Vec<_> = leaves.collect();
    leaves.sort();
    let mut trie = HashBuilder::default();
    for (key, value) in leaves {
        trie.add_leaf(Nibbles::unpack(key), &value);
    }
    trie.root()
}
