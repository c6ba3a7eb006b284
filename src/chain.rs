//! A chain: which [`Rules`] it has at each of its forks.
//!
//! For mainnet both halves of the rules follow from the fork: the static gas from revm's own table,
//! the instructions from the fork that introduced each. A chain that differs in either brings its
//! own ([`Chain::new`]).

use crate::compiler::Rules;
use revm_interpreter::{instructions::gas_table_spec, primitives::hardfork::SpecId};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// How many forks there are.
const FORKS: usize = SpecId::NEXT as usize + 1;

/// The rules of a chain at each fork. A pointer: cloning is cheap.
///
/// ```
/// use revm_interpreter::instructions::gas_table_spec;
/// use revmc_jit::{Chain, compiler::Rules, primitives::SpecId};
///
/// // A chain on which KECCAK256 costs 10 gas more.
/// let chain = Chain::new(|spec_id| {
///     let mut gas = gas_table_spec(spec_id);
///     gas[0x20] += 10;
///     let mainnet = Chain::mainnet();
///     let rules = mainnet.rules(spec_id);
///     Rules::new(gas, (0..=255).filter(|&opcode| rules.is_standard(opcode)))
/// });
/// let mainnet = Chain::mainnet();
/// assert_ne!(chain.rules(SpecId::OSAKA), mainnet.rules(SpecId::OSAKA));
/// ```
#[derive(Clone)]
pub struct Chain(Arc<[Arc<Rules>; FORKS]>);

impl Chain {
    /// The chain with these rules: `rules` is called once for each fork.
    ///
    /// An opcode may be [standard](Rules::is_standard) only if the client's instruction table holds,
    /// at that fork, an instruction that does what mainnet's does; and frames are run natively only
    /// if the client's gas table is the one in the rules.
    pub fn new(mut rules: impl FnMut(SpecId) -> Rules) -> Self {
        let mut next = 0;
        Self(Arc::new([(); FORKS].map(|()| {
            let spec_id = SpecId::try_from_u8(next).unwrap_or(SpecId::NEXT);
            next += 1;
            Arc::new(rules(spec_id))
        })))
    }

    /// Ethereum's mainnet.
    pub fn mainnet() -> Self {
        static MAINNET: OnceLock<Chain> = OnceLock::new();
        let chain = MAINNET.get_or_init(|| Self::new(mainnet));
        chain.clone()
    }

    /// The rules at a fork.
    pub fn rules(&self, spec_id: SpecId) -> &Arc<Rules> {
        &self.0[spec_id as usize]
    }
}

impl Default for Chain {
    /// [`Chain::mainnet`].
    fn default() -> Self {
        Self::mainnet()
    }
}

impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Chain {}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::mainnet() {
            return f.write_str("Chain(mainnet)");
        }
        f.debug_tuple("Chain").field(&self.0).finish()
    }
}

fn mainnet(spec_id: SpecId) -> Rules {
    let standard = (0..=255)
        .filter(|&opcode| introduced(opcode).is_some_and(|since| spec_id.is_enabled_in(since)));
    Rules::new(gas_table_spec(spec_id), standard)
}

/// The fork with which an opcode came to mainnet, as revm counts forks: Petersburg for what
/// Constantinople brought.
fn introduced(opcode: u8) -> Option<SpecId> {
    Some(match opcode {
        // STOP to SIGNEXTEND; LT to BYTE; KECCAK256.
        0x00..=0x0b | 0x10..=0x1a | 0x20 => SpecId::FRONTIER,
        // SHL, SHR, SAR.
        0x1b..=0x1d => SpecId::PETERSBURG,
        // CLZ.
        0x1e => SpecId::OSAKA,
        // ADDRESS to EXTCODECOPY.
        0x30..=0x3c => SpecId::FRONTIER,
        // RETURNDATASIZE, RETURNDATACOPY.
        0x3d | 0x3e => SpecId::BYZANTIUM,
        // EXTCODEHASH.
        0x3f => SpecId::PETERSBURG,
        // BLOCKHASH to GASLIMIT.
        0x40..=0x45 => SpecId::FRONTIER,
        // CHAINID, SELFBALANCE.
        0x46 | 0x47 => SpecId::ISTANBUL,
        // BASEFEE.
        0x48 => SpecId::LONDON,
        // BLOBHASH, BLOBBASEFEE.
        0x49 | 0x4a => SpecId::CANCUN,
        // SLOTNUM.
        0x4b => SpecId::AMSTERDAM,
        // POP to JUMPDEST.
        0x50..=0x5b => SpecId::FRONTIER,
        // TLOAD, TSTORE, MCOPY.
        0x5c..=0x5e => SpecId::CANCUN,
        // PUSH0.
        0x5f => SpecId::SHANGHAI,
        // PUSH1 to LOG4.
        0x60..=0xa4 => SpecId::FRONTIER,
        // DUPN, SWAPN, EXCHANGE.
        0xe6..=0xe8 => SpecId::AMSTERDAM,
        // CREATE, CALL, CALLCODE, RETURN.
        0xf0..=0xf3 => SpecId::FRONTIER,
        // DELEGATECALL.
        0xf4 => SpecId::HOMESTEAD,
        // CREATE2.
        0xf5 => SpecId::PETERSBURG,
        // STATICCALL, REVERT.
        0xfa | 0xfd => SpecId::BYZANTIUM,
        // INVALID, SELFDESTRUCT.
        0xfe | 0xff => SpecId::FRONTIER,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm_interpreter::{
        Gas, InstructionResult, Interpreter, SharedMemory,
        host::DummyHost,
        instructions::{gas_table, instruction_table},
        interpreter::{EthInterpreter, ExtBytecode, InputsImpl},
        state::Bytecode,
    };

    /// What the interpreter says of a fork and an opcode, by running it on words of zero.
    fn interpreter_has(spec_id: SpecId, opcode: u8) -> bool {
        // DIFFICULTY is as old as the chain, and this host does not answer it since the merge.
        if opcode == 0x44 {
            return true;
        }
        let code = [opcode, 0x80, 0x5b, 0x5b];
        let code = Bytecode::new_legacy(code.to_vec().into());
        let mut interpreter = Interpreter::<EthInterpreter>::new(
            SharedMemory::new(),
            ExtBytecode::new(code),
            InputsImpl::default(),
            false,
            spec_id,
            1 << 24,
        );
        interpreter.gas = Gas::new(1 << 24);
        for _ in 0..20 {
            assert!(interpreter.stack.push(Default::default()));
        }
        let mut host = DummyHost::new(spec_id);
        let table = instruction_table::<EthInterpreter, DummyHost>();
        let result = interpreter.step(&table, &gas_table(), &mut host);
        let unknown = [
            InstructionResult::NotActivated,
            InstructionResult::OpcodeNotFound,
        ];
        !result.is_err_and(|result| unknown.contains(&result))
    }

    #[test]
    fn mainnet_has_the_instructions_that_the_interpreter_has() {
        let chain = Chain::mainnet();
        for spec_id in (0..).map_while(SpecId::try_from_u8) {
            let rules = chain.rules(spec_id);
            assert_eq!(*rules.gas(), gas_table_spec(spec_id));
            for opcode in 0..=255 {
                let expected = interpreter_has(spec_id, opcode);
                assert_eq!(
                    rules.is_standard(opcode),
                    expected,
                    "{spec_id:?} {opcode:#04x}"
                );
            }
        }
    }

    #[test]
    fn chains_are_equal_by_their_rules() {
        assert_eq!(Chain::new(mainnet), Chain::mainnet());
        let frozen = Chain::new(|_| mainnet(SpecId::CANCUN));
        assert_ne!(frozen, Chain::mainnet());
        let of = |chain: &Chain| chain.rules(SpecId::CANCUN).id();
        assert_eq!(of(&frozen), of(&Chain::mainnet()));
        assert_eq!(format!("{:?}", Chain::mainnet()), "Chain(mainnet)");
    }
}
