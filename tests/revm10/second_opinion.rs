//! Generated programs as transactions, by two translators that have nothing in common: revmc's on
//! revm 10 and this crate's compiler on today's revm.

use super::case::{self, CONTRACT, Case, SENDER};
use super::generate;
use super::transactions::{blocking, config};
use revm::context::{BlockEnv, Context, TxEnv};
use revm::database::InMemoryDB;
use revm::primitives::{Address, TxKind, U256};
use revm::state::{AccountInfo, Bytecode};
use revm::{ExecuteEvm, MainBuilder, MainContext};
use revmc_jit::compiler::Tier;
use revmc_jit::revm::JitEvm;
use revmc_jit::revmc::evm::{handle_register, revm as revm_10};
use revmc_jit::revmc::key_spec_id;
use revmc_jit::revmc::primitives as old;
use revmc_jit::{JitBackend, RuntimeConfig};
use std::collections::BTreeMap;

const NUMBER: u64 = 20_000_000;
const TIMESTAMP: u64 = 1_720_000_000;
const BENEFICIARY: u8 = 0xc0;
const DIFFICULTY: u64 = 0x1234_5678_9abc_def0;
const RANDAO: [u8; 32] = [0x77; 32];
const EXCESS_BLOB_GAS: u64 = 50_000_000;
/// EIP-4844's BLOB_BASE_FEE_UPDATE_FRACTION.
const BLOB_FRACTION: u64 = 3_338_477;

/// What a transaction has left of an account that it touched.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    balance: U256,
    nonce: u64,
    code_hash: [u8; 32],
    destroyed: bool,
    /// Slots that have another value than before.
    changed: BTreeMap<U256, U256>,
}

/// Address, topics and data.
type Log = ([u8; 20], Vec<[u8; 32]>, Vec<u8>);

/// What a transaction shows.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Success, revert or halt.
    end: &'static str,
    gas_used: u64,
    output: Vec<u8>,
    logs: Vec<Log>,
    accounts: BTreeMap<[u8; 20], Left>,
}

/// [`Outcome`] of a transaction. The two versions' types have the same names for the same things.
macro_rules! outcome {
    ($result:ident, $gas_used:ident, $done:expr) => {{
        let done = $done;
        let (end, output) = match &done.result {
            $result::Success { output, .. } => ("success", output.data().to_vec()),
            $result::Revert { output, .. } => ("revert", output.to_vec()),
            $result::Halt { .. } => ("halt", Vec::new()),
        };
        let logs = done.result.logs().iter().map(|log| {
            let topics = log.topics().iter().map(|topic| topic.0).collect();
            (log.address.into_array(), topics, log.data.data.to_vec())
        });
        let touched = done
            .state
            .iter()
            .filter(|(_, account)| account.is_touched());
        let accounts = touched.map(|(address, account)| {
            let slots = account.storage.iter().filter(|(_, slot)| slot.is_changed());
            let left = Left {
                balance: account.info.balance,
                nonce: account.info.nonce,
                code_hash: account.info.code_hash.0,
                destroyed: account.is_selfdestructed(),
                changed: slots
                    .map(|(key, slot)| (*key, slot.present_value))
                    .collect(),
            };
            (address.into_array(), left)
        });
        Outcome {
            end,
            gas_used: done.result.$gas_used(),
            output,
            logs: logs.collect(),
            accounts: accounts.collect(),
        }
    }};
}

/// The accounts before, all with the nonce 1: address, balance, code, slots.
type Before = ([u8; 20], U256, Vec<u8>, Vec<(U256, U256)>);

fn accounts(case: &Case) -> Vec<Before> {
    let others = case::accounts()
        .map(|(at, balance, code)| (at.into_array(), balance, code.to_vec(), Vec::new()));
    let (balance, slots) = (U256::from(1_000_000), case::slots().to_vec());
    let own = (CONTRACT.into_array(), balance, case.code.to_vec(), slots);
    others.chain([own]).collect()
}

/// The frame's gas, and at most what the transaction itself takes (Yellow Paper, section 6.2).
fn gas_limit(case: &Case) -> u64 {
    case.gas_limit + 21_000 + 68 * case.input.len() as u64
}

fn on_revm_10(case: &Case, backend: &JitBackend) -> Outcome {
    use revm_10::primitives::{ExecutionResult, KECCAK_EMPTY};
    let mut db = revm_10::InMemoryDB::default();
    for (address, balance, code, slots) in accounts(case) {
        let code = old::Bytecode::new_raw(code.into());
        let hash = match code.is_empty() {
            true => KECCAK_EMPTY,
            false => code.hash_slow(),
        };
        let info = old::AccountInfo::new(balance, 1, hash, code);
        db.insert_account_info(address.into(), info);
        for (key, value) in slots {
            db.insert_account_storage(address.into(), key, value)
                .unwrap();
        }
    }
    let mut evm = revm_10::Evm::builder()
        .with_db(db)
        .with_spec_id(case.spec_id)
        .append_handler_register_box(handle_register(backend.clone()))
        .modify_block_env(|block| {
            block.number = U256::from(NUMBER);
            block.timestamp = U256::from(TIMESTAMP);
            block.coinbase = old::Address::repeat_byte(BENEFICIARY);
            block.gas_limit = U256::from(u64::MAX);
            block.difficulty = U256::from(DIFFICULTY);
            block.prevrandao = Some(RANDAO.into());
            block.set_blob_excess_gas_and_price(EXCESS_BLOB_GAS);
        })
        .modify_tx_env(|tx| {
            tx.caller = SENDER;
            tx.transact_to = old::TxKind::Call(CONTRACT);
            tx.gas_limit = gas_limit(case);
            tx.data = case.input.clone();
            tx.value = case.value;
            tx.nonce = Some(1);
        })
        .build();
    let done = evm.transact().unwrap();
    outcome!(ExecutionResult, gas_used, done)
}

/// Cancun's point evaluation precompile: revm 10 has it only with its own `c-kzg`, which cannot be
/// linked beside today's.
const POINT_EVALUATION: Address = Address::with_last_byte(0x0a);

/// `None` if the transaction looks at the precompile that revm 10 does not have here.
fn today(case: &Case, backend: &JitBackend) -> Option<Outcome> {
    use revm::context::result::ExecutionResult;
    let mut db = InMemoryDB::default();
    for (address, balance, code, slots) in accounts(case) {
        let code = Bytecode::new_legacy(code.into());
        let info = AccountInfo::new(balance, 1, code.hash_slow(), code);
        db.insert_account_info(address.into(), info);
        for (key, value) in slots {
            db.insert_account_storage(address.into(), key, value)
                .unwrap();
        }
    }
    let mut block = BlockEnv {
        number: U256::from(NUMBER),
        timestamp: U256::from(TIMESTAMP),
        beneficiary: Address::repeat_byte(BENEFICIARY),
        gas_limit: u64::MAX,
        difficulty: U256::from(DIFFICULTY),
        prevrandao: Some(RANDAO.into()),
        ..BlockEnv::default()
    };
    block.set_blob_excess_gas_and_price(EXCESS_BLOB_GAS, BLOB_FRACTION);
    let spec_id = key_spec_id(case.spec_id).unwrap();
    let evm = Context::mainnet()
        .with_db(db)
        .with_block(block)
        .modify_cfg_chained(|cfg| cfg.set_spec_and_mainnet_gas_params(spec_id))
        .build_mainnet();
    let mut evm = JitEvm::new(evm, backend.clone());
    let done = evm
        .transact(TxEnv {
            caller: SENDER.into_array().into(),
            kind: TxKind::Call(CONTRACT.into_array().into()),
            gas_limit: gas_limit(case),
            data: case.input.0.clone().into(),
            value: case.value,
            nonce: 1,
            chain_id: None,
            ..TxEnv::default()
        })
        .unwrap();
    if done.state.contains_key(&POINT_EVALUATION) {
        return None;
    }
    Some(outcome!(ExecutionResult, tx_gas_used, done))
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect(name))
}

/// `REVMC_JIT_PROGRAMS` sets how many, `REVMC_JIT_SEED` the first seed.
#[test]
fn generated_transactions() {
    let first = setting("REVMC_JIT_SEED", 0);
    let count = setting("REVMC_JIT_PROGRAMS", 1_000);
    let backends = [Tier::Baseline, Tier::Optimized].map(|tier| {
        let todays = RuntimeConfig::default();
        (blocking(config(), tier), blocking(todays, tier))
    });
    let mut ends = BTreeMap::new();
    for seed in first..first + count {
        let case = generate::program(seed).case();
        if case.is_static || case.fault.is_some() {
            continue;
        }
        let (revmc, compiler) = &backends[seed as usize % 2];
        let Some(new) = today(&case, compiler) else {
            continue;
        };
        assert_eq!(on_revm_10(&case, revmc), new, "seed {seed}: {case}");
        *ends.entry(new.end).or_insert(0) += 1;
    }
    println!("{ends:?}");
    let often = ends.values().filter(|&&number| number > count / 20);
    assert_eq!(often.count(), 3, "{ends:?}");
    for backend in backends
        .iter()
        .flat_map(|(revmc, compiler)| [revmc, compiler])
    {
        let stats = backend.stats();
        assert!(stats.published > count / 3, "{stats:?}");
    }
}
