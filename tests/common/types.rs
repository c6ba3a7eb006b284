//! The EVM's types, at the version that the programs beside this file are written for.

pub use revm::{
    bytecode::opcode,
    primitives::{Address, B256, Bytes, U256, address, hardfork::SpecId, hex, keccak256},
};

/// The fork that most generated programs run on.
pub const NEWEST: SpecId = SpecId::OSAKA;

/// Every fork with rules of its own.
pub const FORKS: [SpecId; 15] = [
    SpecId::FRONTIER,
    SpecId::HOMESTEAD,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::BYZANTIUM,
    SpecId::PETERSBURG,
    SpecId::ISTANBUL,
    SpecId::BERLIN,
    SpecId::LONDON,
    SpecId::MERGE,
    SpecId::SHANGHAI,
    SpecId::CANCUN,
    SpecId::PRAGUE,
    SpecId::OSAKA,
    SpecId::AMSTERDAM,
];

/// Instructions that few forks have: (opcode, operands, results, first fork, whether an immediate
/// follows).
pub const RECENT: &[(u8, usize, usize, SpecId, bool)] = &[
    (opcode::CLZ, 1, 1, SpecId::OSAKA, false),
    (opcode::SLOTNUM, 0, 1, SpecId::AMSTERDAM, false),
    (opcode::DUPN, 0, 1, SpecId::AMSTERDAM, true),
    (opcode::SWAPN, 0, 0, SpecId::AMSTERDAM, true),
    (opcode::EXCHANGE, 0, 0, SpecId::AMSTERDAM, true),
];
