//! Generated programs as state tests, for oracles that are not Rust: see `.ci/specification`.

use super::generated::number as setting;
use crate::common::{
    case::{CONTRACT, Case, FORKS, SENDER},
    engine::block,
    generate,
    types::{SpecId, U256, hex},
};
use serde_json::{Map, Value, json};
use std::{env, fs, path::PathBuf};

fn number(n: U256) -> String {
    format!("{n:#x}")
}

/// What state tests call the forks of [`FORKS`], but for the newest, which they do not have.
const NAMES: &str = "Frontier Homestead EIP150 EIP158 Byzantium ConstantinopleFix Istanbul Berlin London Paris \
    Shanghai Cancun Prague Osaka";

/// The name of a case's fork in state tests, if they have one.
fn fork(spec_id: SpecId) -> Option<&'static str> {
    let mut names = FORKS.into_iter().zip(NAMES.split(' '));
    names
        .find(|(fork, _)| *fork == spec_id)
        .map(|(_, name)| name)
}

/// The case as a transaction of an otherwise empty block, without an expectation. `None` if no
/// transaction starts such a frame, or no state test has its fork.
fn state_test(case: &Case) -> Option<Value> {
    if case.is_static || case.fault.is_some() || case.reservoir > 0 {
        return None;
    }
    let fork = fork(case.spec_id)?;
    let block = block();
    let state = case.state();
    let pre = state.accounts().map(|(address, account, code, slots)| {
        let slots = slots.into_iter();
        let slots = slots.map(|(key, value)| (number(key), number(value).into()));
        let account = json!({
            "balance": number(account.balance),
            "code": code.to_string(),
            "nonce": number(U256::from(account.nonce)),
            "storage": slots.collect::<Map<_, _>>(),
        });
        (address.to_string(), account)
    });
    let pre: Map<_, _> = pre.collect();
    // What the transaction itself takes, at most: Yellow Paper, section 6.2, and the floor of EIP-7623.
    let intrinsic = 21_000 + 68 * case.input.len() as u64;
    let mut transaction = json!({
        "data": [case.input.to_string()],
        "gasLimit": [number(U256::from(case.gas_limit + intrinsic))],
        "nonce": "0x1",
        "sender": SENDER.to_string(),
        "to": CONTRACT.to_string(),
        "value": [number(case.value)],
    });
    let fees = if case.spec_id.is_enabled_in(SpecId::CANCUN) {
        // EIP-4844
        json!({
            "blobVersionedHashes": [format!("0x01{}", hex::encode([7; 31]))],
            "maxFeePerBlobGas": "0x2540be400",
            "maxFeePerGas": "0x2540be400",
            "maxPriorityFeePerGas": "0x3b9aca00",
        })
    } else {
        json!({ "gasPrice": number(U256::from(9_000_000_000u64)) })
    };
    transaction
        .as_object_mut()?
        .extend(fees.as_object()?.clone());
    Some(json!({
        "env": {
            "currentBaseFee": number(U256::from(block.basefee)),
            "currentCoinbase": block.beneficiary.to_string(),
            "currentDifficulty": number(block.difficulty),
            "currentExcessBlobGas": "0x0",
            "currentGasLimit": number(U256::from(block.gas_limit)),
            "currentNumber": number(block.number),
            "currentRandom": block.prevrandao?.to_string(),
            "currentTimestamp": number(block.timestamp),
        },
        "post": { fork: [{ "indexes": { "data": 0, "gas": 0, "value": 0 } }] },
        "pre": pre,
        "transaction": transaction,
    }))
}

/// Writes the programs to the folder `REVMC_JIT_STATE_TESTS`, a hundred to a file.
#[test]
#[ignore = "writes files"]
fn write_state_tests() {
    let folder = PathBuf::from(env::var_os("REVMC_JIT_STATE_TESTS").expect("a folder"));
    fs::create_dir_all(&folder).unwrap();
    let first = setting("REVMC_JIT_SEED", 0);
    let seeds = Vec::from_iter(first..first + setting("REVMC_JIT_PROGRAMS", 4_000));
    let mut written = 0;
    for seeds in seeds.chunks(100) {
        let tests = seeds.iter().filter_map(|&seed| {
            let test = state_test(&generate::program(seed).case())?;
            Some((format!("seed_{seed}"), test))
        });
        let tests: Map<_, _> = tests.collect();
        written += tests.len();
        let text = serde_json::to_string_pretty(&Value::Object(tests)).unwrap() + "\n";
        fs::write(folder.join(format!("from_{}.json", seeds[0])), text).unwrap();
    }
    assert!(written > seeds.len() / 2, "{written} of {}", seeds.len());
}
