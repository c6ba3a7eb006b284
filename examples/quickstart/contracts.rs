//! The contracts, deployed, and the calls that are made to them.

use crate::blocks::run::Plain;
use revm::{
    Context, ExecuteCommitEvm, MainBuilder,
    context::{BlockEnv, CfgEnv, TxEnv},
    context_interface::result::{ExecutionResult, Output},
    database::InMemoryDB,
    primitives::{Address, Bytes, TxKind, U256, hardfork::SpecId, hex, keccak256},
    state::AccountInfo,
};

/// The fork that everything runs at.
pub const FORK: SpecId = SpecId::OSAKA;

/// A contract of `examples/contracts`, with what it needs around it.
pub struct Scenario {
    /// The contract's source file.
    pub file: &'static str,
    pub what: &'static str,
    /// The state in which the calls are made.
    pub state: InMemoryDB,
    pub calls: Vec<(&'static str, TxEnv)>,
}

const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);

/// revm's own EVM in the block of the scenarios, on this database.
pub fn evm<DB: revm::Database>(db: DB) -> Plain<DB> {
    let mut cfg = CfgEnv::new_with_spec(FORK);
    // A scenario's calls all begin in the same state.
    cfg.disable_nonce_check = true;
    let block = BlockEnv {
        number: U256::from(23_935_694),
        timestamp: U256::from(1_764_798_551),
        ..BlockEnv::default()
    };
    let context: revm::handler::MainnetContext<DB> = Context::new(db, FORK);
    context.with_cfg(cfg).with_block(block).build_mainnet()
}

/// All of them.
pub fn scenarios() -> Result<[Scenario; 3], String> {
    Ok([token()?, pair()?, loops()?])
}

fn ether(amount: u64) -> U256 {
    U256::from(amount) * U256::from(1_000_000_000_000_000_000u64)
}

fn token() -> Result<Scenario, String> {
    let mut world = World::new();
    let gold = world.deploy_token("Gold")?;
    let approval = [word(BOB), U256::MAX];
    world.send(call(ALICE, gold, "approve(address,uint256)", &approval))?;
    let transfer = [word(BOB), ether(3)];
    let transfer_from = [word(ALICE), word(BOB), ether(2)];
    Ok(Scenario {
        file: "Token.sol",
        what: "an ERC-20",
        state: world.state,
        calls: vec![
            ("totalSupply", call(BOB, gold, "totalSupply()", &[])),
            (
                "transfer",
                call(ALICE, gold, "transfer(address,uint256)", &transfer),
            ),
            (
                "transferFrom",
                call(
                    BOB,
                    gold,
                    "transferFrom(address,address,uint256)",
                    &transfer_from,
                ),
            ),
        ],
    })
}

fn pair() -> Result<Scenario, String> {
    let mut world = World::new();
    let gold = world.deploy_token("Gold")?;
    let silver = world.deploy_token("Silver")?;
    let code = include_str!("../contracts/Pair.hex");
    let pair = world.deploy(code, &[word(gold), word(silver)])?;
    let approval = [word(pair), U256::MAX];
    for token in [gold, silver] {
        world.send(call(ALICE, token, "approve(address,uint256)", &approval))?;
    }
    let mint = |amounts: [U256; 2]| call(ALICE, pair, "mint(uint256,uint256)", &amounts);
    world.send(mint([ether(1_000), ether(2_000)]))?;
    let swap = |zero_for_one: u64| {
        let arguments = [U256::from(zero_for_one), ether(5), U256::from(1)];
        call(ALICE, pair, "swap(bool,uint256,uint256)", &arguments)
    };
    Ok(Scenario {
        file: "Pair.sol",
        what: "a constant-product market between two tokens",
        state: world.state,
        calls: vec![
            ("swap gold for silver", swap(1)),
            ("swap silver for gold", swap(0)),
            ("mint", mint([ether(10), ether(20)])),
        ],
    })
}

fn loops() -> Result<Scenario, String> {
    let mut world = World::new();
    let loops = world.deploy(include_str!("../contracts/Loops.hex"), &[])?;
    let to_loops = |signature, arguments: &[u128]| {
        let words: Vec<U256> = arguments.iter().copied().map(U256::from).collect();
        call(BOB, loops, signature, &words)
    };
    let (two, prime) = (2_000_000_000_000_000_000, (1 << 127) - 1);
    Ok(Scenario {
        file: "Loops.sol",
        what: "computation",
        state: world.state,
        calls: vec![
            (
                "sieve, primes below 1000",
                to_loops("sieve(uint256)", &[1000]),
            ),
            (
                "sort 200 words",
                to_loops("sort(uint256,uint256)", &[200, 42]),
            ),
            ("300 hashes", to_loops("hashes(uint256,bytes32)", &[300, 7])),
            (
                "e^2, 40 terms",
                to_loops("exponential(int256,uint256)", &[two, 40]),
            ),
            (
                "matrix product, 10 by 10",
                to_loops("matrix(uint256,uint256)", &[10, prime]),
            ),
        ],
    })
}

/// A state on its way to a scenario's.
struct World {
    state: InMemoryDB,
}

impl World {
    fn new() -> Self {
        let mut state = InMemoryDB::default();
        for owner in [ALICE, BOB] {
            state.insert_account_info(owner, AccountInfo::from_balance(ether(100)));
        }
        Self { state }
    }

    fn deploy_token(&mut self, name: &str) -> Result<Address, String> {
        // ABI: offsets of the two strings and the supply, then length and text of each.
        let text = |text: &str| {
            let mut padded = [0; 32];
            padded[..text.len()].copy_from_slice(text.as_bytes());
            [U256::from(text.len()), U256::from_be_bytes(padded)]
        };
        let [name_len, name_text] = text(name);
        let [symbol_len, symbol_text] = text(&name[..1]);
        let arguments = [
            U256::from(96),
            U256::from(160),
            ether(1_000_000),
            name_len,
            name_text,
            symbol_len,
            symbol_text,
        ];
        self.deploy(include_str!("../contracts/Token.hex"), &arguments)
    }

    /// A transaction that creates a contract.
    fn deploy(&mut self, creation_code: &str, arguments: &[U256]) -> Result<Address, String> {
        let mut code = hex::decode(creation_code.trim()).map_err(|error| error.to_string())?;
        code.extend(encode(arguments));
        match self.send(transaction(ALICE, TxKind::Create, code.into()))? {
            Output::Create(_, Some(address)) => Ok(address),
            output => Err(format!("nothing was created: {output:?}")),
        }
    }

    /// A transaction that sets the scene, by the interpreter.
    fn send(&mut self, transaction: TxEnv) -> Result<Output, String> {
        let result = evm(&mut self.state).transact_commit(transaction);
        match result.map_err(|error| error.to_string())? {
            ExecutionResult::Success { output, .. } => Ok(output),
            failure => Err(format!("setting the scene: {failure:?}")),
        }
    }
}

fn call(from: Address, to: Address, signature: &str, arguments: &[U256]) -> TxEnv {
    let mut input = keccak256(signature)[..4].to_vec();
    input.extend(encode(arguments));
    transaction(from, TxKind::Call(to), input.into())
}

fn transaction(caller: Address, kind: TxKind, data: Bytes) -> TxEnv {
    TxEnv {
        caller,
        kind,
        data,
        gas_limit: 16_000_000,
        ..TxEnv::default()
    }
}

fn word(address: Address) -> U256 {
    address.into_word().into()
}

fn encode(arguments: &[U256]) -> Vec<u8> {
    let words = arguments.iter();
    words.flat_map(|word| word.to_be_bytes::<32>()).collect()
}
