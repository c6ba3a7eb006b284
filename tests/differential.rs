//! Generated programs by the interpreter and by compiled code at both tiers.
//!
//! `REVMC_JIT_PROGRAMS` sets how many, `REVMC_JIT_SEED` the first seed:
//!
//! ```text
//! REVMC_JIT_PROGRAMS=100000 cargo test --release --test differential -- --nocapture
//! ```
//!
//! The same programs as state tests, for oracles that are not Rust: see `.ci/specification`.

mod common;

use common::case::{CONTRACT, Case, SENDER};
use common::generate::{self, Program};
use common::native;
use common::shrink::shrink;
use revmc::primitives::{SpecId, U256, hex};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Differences reported before the search ends.
const REPORTED: usize = 5;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, is {text:?}")),
        Err(_) => default,
    }
}

/// A panic in the compiler is a difference too.
fn compare(program: &Program) -> Result<String, String> {
    let case = program.case();
    catch_unwind(AssertUnwindSafe(|| native::compare(&case)))
        .unwrap_or_else(|_| Err("panicked".to_owned()))
        .map(|run| format!("{:?}", run.result.result))
}

#[test]
fn generated_programs() {
    let (first, count) = (
        setting("REVMC_JIT_SEED", 0),
        setting("REVMC_JIT_PROGRAMS", 4_000),
    );
    let next = AtomicU64::new(first);
    let found = Mutex::new((Vec::<String>::new(), BTreeMap::<String, u64>::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    // Only a counter: nothing else is published through it.
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || found.lock().unwrap().0.len() >= REPORTED {
                        break;
                    }
                    let program = generate::program(seed);
                    match compare(&program) {
                        Ok(end) => *found.lock().unwrap().1.entry(end).or_default() += 1,
                        Err(_) => {
                            let report = report(seed, program);
                            found.lock().unwrap().0.push(report);
                        }
                    }
                }
            });
        }
    });
    let (differences, ends) = found.into_inner().unwrap();
    println!("{count} programs from seed {first}, by result: {ends:?}");
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// The difference on the smallest program that still shows one.
fn report(seed: u64, program: Program) -> String {
    let small = shrink(program, |candidate| compare(candidate).is_err());
    let error = compare(&small).expect_err("shrinking keeps the failure");
    format!("seed {seed}: {error}\n{}\n{:?}", small.case(), small.items)
}

/// The case as a transaction of an otherwise empty block, without an expectation. `None` if no
/// transaction starts such a frame.
fn state_test(case: &Case) -> Option<Value> {
    if case.is_static || case.broken_account.is_some() {
        return None;
    }
    let number = |n: U256| format!("{n:#x}");
    let world = case.world();
    let block = &world.env.block;
    let env = json!({
        "currentBaseFee": number(block.basefee),
        "currentCoinbase": block.coinbase.to_string(),
        "currentDifficulty": number(block.difficulty),
        "currentExcessBlobGas": number(U256::from(block.get_blob_excess_gas()?)),
        "currentGasLimit": number(block.gas_limit),
        "currentNumber": number(block.number),
        "currentRandom": block.prevrandao?.to_string(),
        "currentTimestamp": number(block.timestamp),
    });
    let pre = world.state.accounts.iter().map(|(address, account)| {
        let slots = account.storage.iter();
        let account = json!({
            "balance": number(account.balance),
            "code": account.code.original_bytes().to_string(),
            "nonce": number(U256::from(account.nonce)),
            "storage": slots
                .map(|(key, slot)| (number(*key), number(slot.present).into()))
                .collect::<Map<_, _>>(),
        });
        (address.to_string(), account)
    });
    // What the transaction itself takes (Yellow Paper, section 6.2), at most.
    let intrinsic = 21_000 + 68 * case.input.len() as u64;
    let mut transaction = json!({
        "data": [case.input.to_string()],
        "gasLimit": [number(U256::from(case.gas_limit + intrinsic))],
        "nonce": "0x1",
        "sender": SENDER.to_string(),
        "to": CONTRACT.to_string(),
        "value": [number(case.value)],
    });
    let fees = match case.spec_id {
        // EIP-4844
        SpecId::CANCUN => json!({
            "blobVersionedHashes": [format!("0x01{}", hex::encode([7; 31]))],
            "maxFeePerBlobGas": "0x2540be400",
            "maxFeePerGas": "0x2540be400",
            "maxPriorityFeePerGas": "0x3b9aca00",
        }),
        _ => json!({ "gasPrice": number(world.env.tx.gas_price) }),
    };
    let fees = fees.as_object()?.clone();
    transaction.as_object_mut()?.extend(fees);
    let fork = match case.spec_id {
        SpecId::FRONTIER | SpecId::FRONTIER_THAWING => "Frontier",
        SpecId::HOMESTEAD | SpecId::DAO_FORK => "Homestead",
        SpecId::TANGERINE => "EIP150",
        SpecId::SPURIOUS_DRAGON => "EIP158",
        SpecId::BYZANTIUM => "Byzantium",
        // No state test has the fork before its correction.
        SpecId::CONSTANTINOPLE => return None,
        SpecId::PETERSBURG => "ConstantinopleFix",
        SpecId::ISTANBUL | SpecId::MUIR_GLACIER => "Istanbul",
        SpecId::BERLIN => "Berlin",
        SpecId::LONDON | SpecId::ARROW_GLACIER | SpecId::GRAY_GLACIER => "London",
        SpecId::MERGE => "Paris",
        SpecId::SHANGHAI => "Shanghai",
        SpecId::CANCUN => "Cancun",
        _ => return None,
    };
    let indexes = json!({ "data": 0, "gas": 0, "value": 0 });
    Some(json!({
        "env": env,
        "post": { fork: [{ "indexes": indexes }] },
        "pre": pre.collect::<Map<_, _>>(),
        "transaction": transaction,
    }))
}

/// Writes the programs to the folder `REVMC_JIT_STATE_TESTS`, a hundred to a file.
#[test]
#[ignore = "writes files"]
fn write_state_tests() {
    let folder = PathBuf::from(std::env::var_os("REVMC_JIT_STATE_TESTS").expect("a folder"));
    std::fs::create_dir_all(&folder).unwrap();
    let first = setting("REVMC_JIT_SEED", 0);
    let seeds = Vec::from_iter(first..first + setting("REVMC_JIT_PROGRAMS", 4_000));
    for seeds in seeds.chunks(100) {
        let tests = seeds.iter().filter_map(|&seed| {
            let test = state_test(&generate::program(seed).case())?;
            Some((format!("seed_{seed}"), test))
        });
        let tests = Value::Object(tests.collect());
        let text = serde_json::to_string_pretty(&tests).unwrap() + "\n";
        std::fs::write(folder.join(format!("from_{}.json", seeds[0])), text).unwrap();
    }
}
