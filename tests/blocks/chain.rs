//! Which fork a block is of, and what the fork does before the first transaction.

use super::format::Header;
use revm::primitives::{
    Address, Bytes, address,
    hardfork::SpecId::{self, *},
};

/// A family of chains: what of its rules can be told from a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Ethereum's main network.
    Mainnet,
    /// A chain of the Optimism type; its deposit transactions and its fees for the layer below are
    /// outside the EVM.
    Optimism,
}

/// The forks before the merge, by the first block of each.
const BY_NUMBER: [(u64, SpecId); 10] = [
    (0, FRONTIER),
    (1_150_000, HOMESTEAD),
    (2_463_000, TANGERINE),
    (2_675_000, SPURIOUS_DRAGON),
    (4_370_000, BYZANTIUM),
    (7_280_000, PETERSBURG),
    (9_069_000, ISTANBUL),
    (12_244_000, BERLIN),
    (12_965_000, LONDON),
    (15_537_394, MERGE),
];

/// The forks since, by the time from which each holds.
const BY_TIME: [(u64, SpecId); 4] = [
    (1_681_338_455, SHANGHAI),
    (1_710_338_135, CANCUN),
    (1_746_612_311, PRAGUE),
    (1_764_798_551, OSAKA),
];

/// The same of the Optimism type, whose first block is of the merge: Canyon, Ecotone, Isthmus.
const BY_TIME_OPTIMISM: [(u64, SpecId); 4] = [
    (0, MERGE),
    (1_704_992_401, SHANGHAI),
    (1_710_374_401, CANCUN),
    (1_746_806_401, PRAGUE),
];

/// Update fractions of the blob base fee, by the time from which each holds: EIP-4844, EIP-7691, and
/// the two forks that change blob parameters only (EIP-7892).
const BLOB_FRACTIONS: [(u64, u64); 4] = [
    (0, 3_338_477),
    (1_746_612_311, 5_007_716),
    (1_765_290_071, 8_346_193),
    (1_767_747_671, 11_684_671),
];

/// The block whose transactions find the DAO's ether gone (EIP-779).
const DAO_FORK: u64 = 1_920_000;

/// The value of the last entry that is not after `at`.
fn last<T: Copy>(table: &[(u64, T)], at: u64) -> Option<T> {
    table
        .iter()
        .rev()
        .find(|(from, _)| *from <= at)
        .map(|(_, value)| *value)
}

impl Network {
    /// The fork whose rules the block follows.
    pub fn fork(self, number: u64, timestamp: u64) -> SpecId {
        let since = match self {
            Self::Mainnet => last(&BY_TIME, timestamp).or_else(|| last(&BY_NUMBER, number)),
            Self::Optimism => last(&BY_TIME_OPTIMISM, timestamp),
        };
        since.unwrap_or(FRONTIER)
    }

    /// The denominator of the exponent of the price of blobs.
    pub fn blob_fraction(self, timestamp: u64) -> u64 {
        last(&BLOB_FRACTIONS, timestamp).unwrap_or(BLOB_FRACTIONS[0].1)
    }

    /// Whether the block moves the DAO's ether before its transactions.
    pub fn is_dao_fork(self, number: u64) -> bool {
        self == Self::Mainnet && number == DAO_FORK
    }
}

/// What a block calls before its transactions: a name, the contract and the input.
pub fn system_calls(header: &Header, spec: SpecId) -> Vec<(&'static str, Address, Bytes)> {
    let mut calls = Vec::new();
    if let (true, Some(root)) = (spec.is_enabled_in(CANCUN), header.parent_beacon_root) {
        let contract = address!("0x000f3df6d732807ef1319fb7b8bb8522d0beac02");
        calls.push(("beacon root (EIP-4788)", contract, root.into()));
    }
    if spec.is_enabled_in(PRAGUE) {
        let contract = address!("0x0000f90827f1c53a10cb7a02335b175320002935");
        calls.push(("block hash (EIP-2935)", contract, header.parent_hash.into()));
    }
    calls
}
