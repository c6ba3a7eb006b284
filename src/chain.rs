//! A chain: which [`Rules`] it has at each of its forks.
//!
//! For mainnet both halves of the rules follow from the fork: the static gas from revm's own table,
//! the instructions from the fork that introduced each. A chain that differs in either says in what
//! ([`ForkRules`]); what it says is checked once, when the chain is made.
//!
//! What else a chain has of its own, native code leaves to the client and needs no word of: precompiles,
//! dynamic gas ([`GasParams`](revm_interpreter::context_interface::cfg::GasParams)), limits, and names of
//! forks, as long as each of them is one of revm's for the interpreter (`Into<SpecId>`).

use crate::compiler::Rules;
use revm_interpreter::{instructions::gas_table_spec, primitives::hardfork::SpecId};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// How many forks there are.
const FORKS: usize = SpecId::NEXT as usize + 1;

/// In what a chain differs from mainnet at a fork. By default in nothing.
///
/// An opcode stands in one of the lists at most, with the static gas that the client's gas table has for
/// it. An opcode in none of them does and costs what it does on mainnet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForkRules {
    /// Instructions that do what they do on mainnet, at another price.
    pub repriced: Vec<(u8, u16)>,
    /// Instructions of mainnet's that do something else here, or nothing (with `Instruction::unknown`, at
    /// price 0). They run by the client's instruction table, from native code where their effect on the
    /// stack and the program counter is as on mainnet, and between two runs of native code else.
    pub replaced: Vec<(u8, u16)>,
    /// Instructions that mainnet does not have at this fork. They run by the client's instruction table,
    /// between two runs of native code.
    pub added: Vec<(u8, u16)>,
}

/// Rules that contradict themselves, or mainnet's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainError {
    /// An opcode is named twice.
    Twice {
        /// The fork whose rules they are.
        spec_id: SpecId,
        /// The opcode.
        opcode: u8,
    },
    /// An opcode is repriced or replaced that mainnet does not have at the fork.
    Unknown {
        /// The fork whose rules they are.
        spec_id: SpecId,
        /// The opcode.
        opcode: u8,
    },
    /// An opcode is added that mainnet has at the fork: that is to replace or to reprice it.
    Known {
        /// The fork whose rules they are.
        spec_id: SpecId,
        /// The opcode.
        opcode: u8,
    },
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice { spec_id, opcode } => {
                write!(f, "{spec_id:?}: opcode {opcode:#04x} is named twice")
            }
            Self::Unknown { spec_id, opcode } => write!(
                f,
                "{spec_id:?}: opcode {opcode:#04x} is repriced or replaced, and mainnet has none"
            ),
            Self::Known { spec_id, opcode } => write!(
                f,
                "{spec_id:?}: opcode {opcode:#04x} is added, and mainnet has it"
            ),
        }
    }
}

impl std::error::Error for ChainError {}

impl ForkRules {
    /// What it comes to at the fork.
    fn rules(&self, spec_id: SpecId) -> Result<Rules, ChainError> {
        let mainnet = Chain::mainnet();
        let mainnet = mainnet.rules(spec_id);
        let mut gas = *mainnet.gas();
        let mut standard: [bool; 256] = std::array::from_fn(|at| mainnet.is_standard(at as u8));
        let mut named = [false; 256];
        let Self {
            repriced,
            replaced,
            added,
        } = self;
        for (list, known, stays) in [
            (repriced, true, true),
            (replaced, true, false),
            (added, false, false),
        ] {
            for &(opcode, price) in list {
                let at = usize::from(opcode);
                if std::mem::replace(&mut named[at], true) {
                    return Err(ChainError::Twice { spec_id, opcode });
                }
                match (known, mainnet.is_standard(opcode)) {
                    (true, false) => return Err(ChainError::Unknown { spec_id, opcode }),
                    (false, true) => return Err(ChainError::Known { spec_id, opcode }),
                    _ => {}
                }
                gas[at] = price;
                standard[at] = stays;
            }
        }
        Ok(Rules::new(
            gas,
            (0..=255u8).filter(|&opcode| standard[usize::from(opcode)]),
        ))
    }
}

/// The rules of a chain at each fork. A pointer: cloning is cheap.
///
/// ```
/// use revmc_jit::{Chain, ChainError, ForkRules, primitives::SpecId};
///
/// // A chain on which KECCAK256 costs 40 gas, and 0x0c is an instruction of its own.
/// let chain = Chain::new(|_| ForkRules {
///     repriced: vec![(0x20, 40)],
///     added: vec![(0x0c, 5)],
///     ..ForkRules::default()
/// })?;
/// assert_ne!(chain.rules(SpecId::OSAKA), Chain::mainnet().rules(SpecId::OSAKA));
///
/// // Mainnet has a CLZ since Osaka only.
/// let wrong = Chain::new(|_| ForkRules { repriced: vec![(0x1e, 3)], ..ForkRules::default() });
/// let opcode = 0x1e;
/// assert_eq!(wrong.err(), Some(ChainError::Unknown { spec_id: SpecId::FRONTIER, opcode }));
/// # Ok::<(), ChainError>(())
/// ```
#[derive(Clone)]
pub struct Chain(Arc<[Arc<Rules>; FORKS]>);

impl Chain {
    /// The chain with these rules: `rules` is called once for each fork that revm knows, in their order.
    ///
    /// That an instruction which the rules do not name does what mainnet's does is believed. The gas
    /// table is compared: a frame whose table is not that of the rules is interpreted.
    ///
    /// # Errors
    ///
    /// [`ChainError`] for the first fork whose rules contradict themselves.
    pub fn new(mut rules: impl FnMut(SpecId) -> ForkRules) -> Result<Self, ChainError> {
        let mut wrong = None;
        let chain = Self::of(|spec_id| {
            // The others need not be asked for, and are not what is returned.
            let found = match wrong {
                None => rules(spec_id).rules(spec_id),
                Some(_) => ForkRules::default().rules(spec_id),
            };
            found.unwrap_or_else(|error| {
                wrong = Some(error);
                mainnet(spec_id)
            })
        });
        match wrong {
            None => Ok(chain),
            Some(error) => Err(error),
        }
    }

    fn of(mut rules: impl FnMut(SpecId) -> Rules) -> Self {
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
        let chain = MAINNET.get_or_init(|| Self::of(mainnet));
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
        let same = Chain::new(|_| ForkRules::default()).unwrap();
        assert_eq!(same, Chain::mainnet());
        let own = ForkRules {
            repriced: vec![(0x01, 3)],
            ..ForkRules::default()
        };
        // ADD costs that anyway.
        let same = Chain::new(|_| own.clone()).unwrap();
        assert_eq!(same, Chain::mainnet());
        let own = ForkRules {
            replaced: vec![(0x01, 3)],
            ..ForkRules::default()
        };
        assert_ne!(Chain::new(|_| own.clone()).unwrap(), Chain::mainnet());
        assert_eq!(format!("{:?}", Chain::mainnet()), "Chain(mainnet)");
    }

    #[test]
    fn rules_say_what_an_opcode_costs_and_is() {
        let chain = Chain::new(|spec_id| ForkRules {
            repriced: vec![(0x20, 31)],
            replaced: vec![(0x02, 9)],
            added: match spec_id.is_enabled_in(SpecId::OSAKA) {
                true => vec![(0x0c, 11)],
                // CLZ, before mainnet has it.
                false => vec![(0x0c, 11), (0x1e, 4)],
            },
        })
        .unwrap();
        for spec_id in (0..).map_while(SpecId::try_from_u8) {
            let (rules, mainnet) = (chain.rules(spec_id), Chain::mainnet());
            let mainnet = mainnet.rules(spec_id);
            for opcode in 0..=255 {
                let clz = opcode == 0x1e && !spec_id.is_enabled_in(SpecId::OSAKA);
                let (price, standard) = match opcode {
                    0x20 => (31, true),
                    0x02 => (9, false),
                    0x0c => (11, false),
                    _ if clz => (4, false),
                    _ => (mainnet.gas_of(opcode), mainnet.is_standard(opcode)),
                };
                let found = (rules.gas_of(opcode), rules.is_standard(opcode));
                assert_eq!(found, (price, standard), "{spec_id:?} {opcode:#04x}");
            }
        }
    }

    #[test]
    fn rules_that_contradict_themselves_are_refused() {
        let at = SpecId::SHANGHAI;
        let refused = |wrong: ForkRules| {
            let chain = Chain::new(|spec_id| match spec_id == at {
                true => wrong.clone(),
                false => ForkRules::default(),
            });
            let error = chain.expect_err("refused");
            assert!(error.to_string().starts_with("SHANGHAI"), "{error}");
            error
        };
        let (spec_id, opcode) = (at, 0x01);
        let twice = ForkRules {
            repriced: vec![(0x01, 3), (0x02, 3), (0x01, 3)],
            ..ForkRules::default()
        };
        assert_eq!(refused(twice), ChainError::Twice { spec_id, opcode });
        let both = ForkRules {
            repriced: vec![(0x01, 3)],
            replaced: vec![(0x01, 3)],
            ..ForkRules::default()
        };
        assert_eq!(refused(both), ChainError::Twice { spec_id, opcode });
        let known = ForkRules {
            added: vec![(0x01, 3)],
            ..ForkRules::default()
        };
        assert_eq!(refused(known), ChainError::Known { spec_id, opcode });
        let opcode = 0x5c; // TLOAD came later.
        for (repriced, replaced) in [(vec![(opcode, 3)], vec![]), (vec![], vec![(opcode, 3)])] {
            let unknown = ForkRules {
                repriced,
                replaced,
                ..ForkRules::default()
            };
            assert_eq!(refused(unknown), ChainError::Unknown { spec_id, opcode });
        }
    }
}
