//! Gas used, logs bloom and receipts root, against the header.

use super::{
    format::Block,
    step::{Kind, Step},
};
use alloy_primitives::Bloom;
use alloy_rlp::{Encodable, Header};
use alloy_trie::root::ordered_trie_root_encoded;
use revm::{
    context_interface::result::ExecutionResult,
    primitives::{B256, Log, hardfork::SpecId},
};

/// What a header says of its transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    pub gas_used: u64,
    pub logs_bloom: Bloom,
    /// As it is since Byzantium; before, receipts held the state's root.
    pub receipts_root: B256,
}

impl Totals {
    /// What the steps of a block come to; `Err`: a transaction was refused.
    pub fn new(block: &Block, steps: &[Step]) -> Result<Self, String> {
        let mut results = Vec::with_capacity(steps.len());
        for step in steps {
            if let Kind::Transaction(at) = step.kind {
                let refused = |error| format!("transaction {at} was refused: {error}");
                results.push(step.result.as_ref().map_err(refused)?);
            }
        }
        Ok(Self::of(block, results))
    }

    /// What the results of a block's transactions come to.
    pub fn of<'a>(block: &Block, results: impl IntoIterator<Item = &'a ExecutionResult>) -> Self {
        let (mut gas_used, mut logs_bloom, mut receipts) = (0, Bloom::ZERO, Vec::new());
        for (transaction, result) in block.transactions.iter().zip(results) {
            // A transaction that fails leaves no logs.
            let logs = match result.is_success() {
                true => result.logs(),
                false => &[],
            };
            let bloom = logs.iter().collect::<Bloom>();
            gas_used += result.tx_gas_used();
            logs_bloom |= bloom;
            receipts.push(receipt(
                transaction.tx_type,
                result.is_success(),
                gas_used,
                &bloom,
                logs,
            ));
        }
        Self {
            gas_used,
            logs_bloom,
            receipts_root: ordered_trie_root_encoded(&receipts),
        }
    }

    /// What disagrees with the block's header. Where transactions were left out, they alone may make
    /// the difference.
    pub fn check(&self, block: &Block) -> Vec<String> {
        let header = &block.header;
        let whole = block.left_out == 0;
        let gas = match whole {
            true => self.gas_used == header.gas_used,
            false => self.gas_used < header.gas_used,
        };
        let bloom = match whole {
            true => self.logs_bloom == header.logs_bloom,
            false => (self.logs_bloom | header.logs_bloom) == header.logs_bloom,
        };
        let root = !whole
            || !block.spec.is_enabled_in(SpecId::BYZANTIUM)
            || self.receipts_root == header.receipts_root;
        let (ours, theirs) = (self.gas_used, header.gas_used);
        [
            (gas, format!("gas used {ours}, the header {theirs}")),
            (bloom, "logs bloom".to_owned()),
            (root, "receipts root".to_owned()),
        ]
        .into_iter()
        .filter_map(|(right, what)| (!right).then_some(what))
        .collect()
    }
}

/// A receipt as it stands in the trie (EIP-658, EIP-2718).
fn receipt(tx_type: u8, success: bool, gas_used: u64, bloom: &Bloom, logs: &[Log]) -> Vec<u8> {
    let mut encoded_logs = Vec::new();
    alloy_rlp::encode_list::<_, Log>(logs, &mut encoded_logs);
    let mut out = Vec::new();
    if tx_type != 0 {
        out.push(tx_type);
    }
    let payload_length = success.length() + gas_used.length() + bloom.length() + encoded_logs.len();
    Header {
        list: true,
        payload_length,
    }
    .encode(&mut out);
    success.encode(&mut out);
    gas_used.encode(&mut out);
    bloom.encode(&mut out);
    out.extend_from_slice(&encoded_logs);
    out
}
