//! The contracts, deployed, and the calls that are made to them.

use crate::common::driver::{Message, Oracle, run_message};
use crate::common::world::World;
use revmc::primitives::{Address, Bytes, SpecId, U256, hex, keccak256};

pub struct Scenario {
    /// The contract's source file.
    pub file: &'static str,
    pub what: &'static str,
    /// The state in which the calls are made.
    pub world: World,
    pub calls: Vec<(&'static str, Message)>,
}

impl Scenario {
    /// The code of the contract that is called.
    pub fn code(&self) -> Bytes {
        let account = self.calls.first().map(|call| call.1.to);
        let account = account.and_then(|address| self.world.account(address));
        account.map_or_else(Bytes::new, |account| account.code.original_bytes())
    }
}

const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);
const GOLD: Address = Address::repeat_byte(0x60);
const SILVER: Address = Address::repeat_byte(0x51);
const PAIR: Address = Address::repeat_byte(0x99);
const LOOPS: Address = Address::repeat_byte(0x10);

pub fn scenarios() -> [Scenario; 3] {
    [token(), pair(), loops()]
}

fn ether(amount: u64) -> U256 {
    U256::from(amount) * U256::from(1_000_000_000_000_000_000u64)
}

fn token() -> Scenario {
    let mut world = new_world();
    deploy_token(&mut world, GOLD, "Gold");
    send(
        &mut world,
        call(
            ALICE,
            GOLD,
            "approve(address,uint256)",
            &[word(BOB), U256::MAX],
        ),
    );
    let supply = call(BOB, GOLD, "totalSupply()", &[]);
    let transfer = call(
        ALICE,
        GOLD,
        "transfer(address,uint256)",
        &[word(BOB), ether(3)],
    );
    let transfer_from = call(
        BOB,
        GOLD,
        "transferFrom(address,address,uint256)",
        &[word(ALICE), word(BOB), ether(2)],
    );
    Scenario {
        file: "Token.sol",
        what: "an ERC-20",
        world,
        calls: vec![
            ("totalSupply", supply),
            ("transfer", transfer),
            ("transferFrom", transfer_from),
        ],
    }
}

fn pair() -> Scenario {
    let mut world = new_world();
    deploy_token(&mut world, GOLD, "Gold");
    deploy_token(&mut world, SILVER, "Silver");
    deploy(
        &mut world,
        PAIR,
        include_str!("../contracts/Pair.hex"),
        &[word(GOLD), word(SILVER)],
    );
    for token in [GOLD, SILVER] {
        send(
            &mut world,
            call(
                ALICE,
                token,
                "approve(address,uint256)",
                &[word(PAIR), U256::MAX],
            ),
        );
    }
    let amounts = [ether(1_000), ether(2_000)];
    send(
        &mut world,
        call(ALICE, PAIR, "mint(uint256,uint256)", &amounts),
    );
    let swap = |zero_for_one: u64| {
        let arguments = [U256::from(zero_for_one), ether(5), U256::from(1)];
        call(ALICE, PAIR, "swap(bool,uint256,uint256)", &arguments)
    };
    let more = call(
        ALICE,
        PAIR,
        "mint(uint256,uint256)",
        &[ether(10), ether(20)],
    );
    Scenario {
        file: "Pair.sol",
        what: "a constant-product market between two tokens",
        world,
        calls: vec![
            ("swap gold for silver", swap(1)),
            ("swap silver for gold", swap(0)),
            ("mint", more),
        ],
    }
}

fn loops() -> Scenario {
    let mut world = new_world();
    deploy(
        &mut world,
        LOOPS,
        include_str!("../contracts/Loops.hex"),
        &[],
    );
    let to_loops = |signature, arguments: &[u128]| {
        let words: Vec<U256> = arguments
            .iter()
            .map(|argument| U256::from(*argument))
            .collect();
        call(BOB, LOOPS, signature, &words)
    };
    let prime = (1 << 127) - 1;
    Scenario {
        file: "Loops.sol",
        what: "computation",
        world,
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
                to_loops(
                    "exponential(int256,uint256)",
                    &[2_000_000_000_000_000_000, 40],
                ),
            ),
            (
                "matrix product, 10 by 10",
                to_loops("matrix(uint256,uint256)", &[10, prime]),
            ),
        ],
    }
}

fn new_world() -> World {
    let mut world = World::new(SpecId::CANCUN);
    for owner in [ALICE, BOB] {
        world.insert(owner, ether(100), 0, Bytes::new());
    }
    world
}

fn deploy_token(world: &mut World, at: Address, name: &str) {
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
    deploy(
        world,
        at,
        include_str!("../contracts/Token.hex"),
        &arguments,
    );
}

/// Runs creation code at a chosen address and puts what it returns there.
fn deploy(world: &mut World, at: Address, creation_code: &str, arguments: &[U256]) {
    let mut code = hex::decode(creation_code.trim()).expect("compiler output is hex");
    code.extend(encode(arguments));
    world.insert(at, U256::ZERO, 1, code.into());
    let output = send(world, message(ALICE, at, Bytes::new()));
    world.set_code(at, output);
}

/// A transaction that sets the scene, by the interpreter.
fn send(world: &mut World, message: Message) -> Bytes {
    let run = run_message(&mut Oracle, world, &message, false);
    assert!(run.result.is_ok(), "setting the scene: {:?}", run.result);
    world.commit();
    run.result.output
}

fn call(from: Address, to: Address, signature: &str, arguments: &[U256]) -> Message {
    let mut input = keccak256(signature)[..4].to_vec();
    input.extend(encode(arguments));
    message(from, to, input.into())
}

fn message(caller: Address, to: Address, input: Bytes) -> Message {
    Message {
        caller,
        to,
        value: U256::ZERO,
        input,
        gas_limit: 30_000_000,
        is_static: false,
    }
}

fn word(address: Address) -> U256 {
    address.into_word().into()
}

fn encode(arguments: &[U256]) -> Vec<u8> {
    arguments
        .iter()
        .flat_map(|word| word.to_be_bytes::<32>())
        .collect()
}
