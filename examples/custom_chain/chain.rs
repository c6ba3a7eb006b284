//! The chain: what a client of it writes, and the rules that its backend is given.

use revm::{
    Context, Database,
    context::{BlockEnv, CfgEnv, Evm, TxEnv},
    handler::{EthFrame, EthPrecompiles, instructions::EthInstructions},
    interpreter::{
        Host, Instruction, InstructionContext, InstructionExecResult, InstructionResult,
        interpreter::EthInterpreter,
    },
    precompile::{
        EthPrecompileOutput, EthPrecompileResult, Precompile, PrecompileHalt, PrecompileId,
        Precompiles, eth_precompile_fn,
    },
    primitives::{Address, hardfork::SpecId},
};
use revmc_jit::{Chain, ChainError, ForkRules};
use std::sync::OnceLock;

/// The chain's forks, by its own names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fork {
    /// The EVM of Shanghai.
    Basalt,
    /// The EVM of Osaka, with ISQRT and cheap hashing.
    #[default]
    Granite,
}

impl From<Fork> for SpecId {
    fn from(fork: Fork) -> Self {
        match fork {
            Fork::Basalt => Self::SHANGHAI,
            Fork::Granite => Self::OSAKA,
        }
    }
}

/// The added instruction: the integer square root of the top of the stack.
pub const ISQRT: u8 = 0x0c;
const ISQRT_GAS: u16 = 12;

/// The repriced one: KECCAK256's static part is 30 on mainnet.
const KECCAK256: u8 = 0x20;
const KECCAK256_GAS: u16 = 6;

/// A precompile that reverses its input.
pub const REVERSE: Address = Address::with_last_byte(0xf7);

/// The rules of the chain, for `RuntimeConfig::chain`. The precompile needs none.
///
/// # Errors
///
/// None; if the rules contradicted themselves, what of them does.
pub fn rules() -> Result<Chain, ChainError> {
    Chain::new(|spec_id| match spec_id == Fork::Granite.into() {
        true => ForkRules {
            repriced: vec![(KECCAK256, KECCAK256_GAS)],
            added: vec![(ISQRT, ISQRT_GAS)],
            ..ForkRules::default()
        },
        false => ForkRules::default(),
    })
}

/// The chain's context: mainnet's, with its own names of forks.
pub type ChainContext<DB> = Context<BlockEnv, TxEnv, CfgEnv<Fork>, DB>;

/// The chain's EVM.
pub type ChainEvm<DB> = Evm<
    ChainContext<DB>,
    (),
    EthInstructions<EthInterpreter, ChainContext<DB>>,
    EthPrecompiles,
    EthFrame,
>;

/// An EVM at a fork of the chain.
pub fn evm<DB: Database>(fork: Fork, db: DB) -> ChainEvm<DB> {
    let spec_id = fork.into();
    let mut instructions = EthInstructions::new_mainnet_with_spec(spec_id);
    if fork == Fork::Granite {
        instructions.insert_instruction(ISQRT, Instruction::new(isqrt), ISQRT_GAS);
        instructions.insert_gas(KECCAK256, KECCAK256_GAS);
    }
    let mut precompiles = EthPrecompiles::new(spec_id);
    precompiles.precompiles = match fork {
        Fork::Basalt => extended(&BASALT, precompiles.precompiles),
        Fork::Granite => extended(&GRANITE, precompiles.precompiles),
    };
    Evm::new(ChainContext::new(db, fork), instructions, precompiles)
}

fn isqrt<H: Host + ?Sized>(
    context: InstructionContext<'_, H, EthInterpreter>,
) -> InstructionExecResult {
    let top = context.interpreter.stack.data_mut().last_mut();
    let top = top.ok_or(InstructionResult::StackUnderflow)?;
    *top = top.root(2);
    Ok(())
}

static BASALT: OnceLock<Precompiles> = OnceLock::new();
static GRANITE: OnceLock<Precompiles> = OnceLock::new();

fn extended(all: &'static OnceLock<Precompiles>, mainnet: &Precompiles) -> &'static Precompiles {
    all.get_or_init(|| {
        let mut all = mainnet.clone();
        let id = PrecompileId::custom("reverse");
        all.extend([Precompile::new(id, REVERSE, reverse_precompile)]);
        all
    })
}

eth_precompile_fn!(reverse_precompile, reverse);

fn reverse(input: &[u8], gas_limit: u64) -> EthPrecompileResult {
    let gas = 20 + 2 * input.len() as u64;
    if gas > gas_limit {
        return Err(PrecompileHalt::OutOfGas);
    }
    let mut output = input.to_vec();
    output.reverse();
    Ok(EthPrecompileOutput::new(gas, output.into()))
}
