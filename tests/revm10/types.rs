//! The EVM's types, at the version that revmc's translator speaks.

#[allow(
    unused_imports,
    reason = "the shared files name them under today's revm"
)]
pub use revmc_jit::revmc::{
    interpreter::opcode,
    primitives::{Address, B256, Bytes, SpecId, U256, address, hex, keccak256},
};

/// The fork that most generated programs run on.
pub const NEWEST: SpecId = SpecId::CANCUN;

/// Every fork with rules of its own that revmc 0.1.0 and the interpreter share.
pub const FORKS: [SpecId; 18] = [
    SpecId::FRONTIER,
    SpecId::FRONTIER_THAWING,
    SpecId::HOMESTEAD,
    SpecId::DAO_FORK,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::BYZANTIUM,
    SpecId::CONSTANTINOPLE,
    SpecId::PETERSBURG,
    SpecId::ISTANBUL,
    SpecId::MUIR_GLACIER,
    SpecId::BERLIN,
    SpecId::LONDON,
    SpecId::ARROW_GLACIER,
    SpecId::GRAY_GLACIER,
    SpecId::MERGE,
    SpecId::SHANGHAI,
    SpecId::CANCUN,
];

/// Instructions that few forks have: this version's interpreter has none of them.
pub const RECENT: &[(u8, usize, usize, SpecId, bool)] = &[];
