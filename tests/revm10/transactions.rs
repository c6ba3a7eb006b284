//! Whole transactions on revm 10: as interpreted, and the frames that are easy to lose.

use super::asm::asm;
use super::case::{ACTORS, actor};
use super::programs::ALL;
use revmc_jit::compiler::{OptimizationLevel, Tier};
use revmc_jit::revmc::evm::handle_register;
use revmc_jit::revmc::evm::revm::db::InMemoryDB;
use revmc_jit::revmc::evm::revm::inspectors::NoOpInspector;
use revmc_jit::revmc::evm::revm::primitives::{
    AccountInfo, Address, B256, Bytecode, Bytes, ResultAndState, SpecId, TxKind, U256, bytes,
};
use revmc_jit::revmc::evm::revm::{Database, Evm, inspector_handle_register};
use revmc_jit::revmc::{front_end, key_spec_id};
use revmc_jit::{JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig};

pub fn config() -> RuntimeConfig {
    RuntimeConfig {
        front_end: front_end(),
        ..RuntimeConfig::default()
    }
}

/// A backend in which whatever was called once is native, at one tier.
pub fn blocking(mut config: RuntimeConfig, tier: Tier) -> JitBackend {
    config.blocking = true;
    config.tuning.jit_tiered = false;
    config.tuning.jit_opt_level = match tier {
        Tier::Baseline => OptimizationLevel::None,
        Tier::Optimized => OptimizationLevel::Default,
    };
    JitBackend::new(config).unwrap()
}

/// Calls the last account of `db`, which has this code.
fn transact(code: &[u8], spec_id: SpecId, backend: Option<&JitBackend>) -> ResultAndState {
    let mut db = InMemoryDB::default();
    let accounts = ACTORS.map(|(low, balance, text)| (actor(low), balance, asm(text)));
    for (address, balance, code) in accounts
        .into_iter()
        .chain([(OUTER, 1_000_000, code.to_vec())])
    {
        let code = Bytecode::new_raw(code.into());
        let info = AccountInfo::new(U256::from(balance), 1, code.hash_slow(), code);
        db.insert_account_info(address, info);
    }
    let builder = Evm::builder()
        .with_db(db)
        .with_spec_id(spec_id)
        .modify_tx_env(|tx| {
            tx.transact_to = TxKind::Call(OUTER);
            tx.gas_limit = 1_000_000;
        });
    let mut evm = match backend {
        Some(backend) => builder
            .append_handler_register_box(handle_register(backend.clone()))
            .build(),
        None => builder.build(),
    };
    evm.transact().unwrap()
}

/// A transaction that halts is not compared beyond its result: it may have read less.
#[test]
fn transactions_end_as_interpreted() {
    for tier in [Tier::Baseline, Tier::Optimized] {
        let backend = blocking(config(), tier);
        let (mut natively, mut halted) = (0, 0);
        for (name, text) in ALL.iter().flat_map(|(_, table)| *table) {
            for spec_id in [SpecId::HOMESTEAD, SpecId::ISTANBUL, SpecId::CANCUN] {
                let code = asm(text);
                let interpreted = transact(&code, spec_id, None);
                let native = transact(&code, spec_id, Some(&backend));
                let code_hash = request(code.into()).key.code_hash;
                let spec = key_spec_id(spec_id).unwrap();
                natively += usize::from(backend.get_compiled(code_hash, spec).is_some());
                if interpreted.result.is_halt() {
                    halted += 1;
                    assert!(native.result.is_halt(), "{name}: {:?}", native.result);
                    let gas_used = native.result.gas_used();
                    assert_eq!(gas_used, interpreted.result.gas_used(), "{name}");
                } else {
                    assert_eq!(native, interpreted, "{name} at {spec_id:?}");
                }
            }
        }
        assert!(
            natively > 400 && halted < 300,
            "{natively} native, {halted} halted"
        );
    }
}

/// One binary, two backends: each runs its own programs, and refuses the other's.
#[test]
fn a_backend_of_another_front_end_leaves_the_frames_to_the_interpreter() {
    let backend = JitBackend::new(RuntimeConfig {
        front_end: revmc_jit::FrontEnd::default(),
        blocking: true,
        ..config()
    })
    .unwrap();
    assert_eq!(call(&backend, |_| Ok(()), 2), stored());
}

const OUTER: Address = Address::with_last_byte(0xaa);
const INNER: Address = Address::with_last_byte(0xbb);
/// `call(gas, INNER, 0, 0, 0, 0, 32) sstore(0, mload(0)) sstore(1, 7)`
const OUTER_CODE: Bytes = bytes!("6020600060006000600060bb5af150600051600055600760015500");
/// `return sload(0) + 1`
const INNER_CODE: Bytes = bytes!("60005460010160005260206000f3");

/// A database that calls something whenever storage is read, which happens in the middle of
/// [`INNER`]'s frame, while [`OUTER`]'s is suspended.
struct Hooked<F> {
    inner: InMemoryDB,
    hook: F,
}

impl<F: FnMut(Address) -> Result<(), String>> Database for Hooked<F> {
    type Error = String;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, String> {
        self.inner.basic(address).map_err(|never| match never {})
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, String> {
        self.inner
            .code_by_hash(hash)
            .map_err(|never| match never {})
    }

    fn storage(&mut self, address: Address, index: U256) -> Result<U256, String> {
        (self.hook)(address)?;
        self.inner
            .storage(address, index)
            .map_err(|never| match never {})
    }

    fn block_hash(&mut self, number: U256) -> Result<B256, String> {
        self.inner
            .block_hash(number)
            .map_err(|never| match never {})
    }
}

fn database() -> InMemoryDB {
    let mut db = InMemoryDB::default();
    for (address, code) in [(OUTER, OUTER_CODE), (INNER, INNER_CODE)] {
        let code = Bytecode::new_raw(code);
        db.insert_account_info(
            address,
            AccountInfo::new(U256::ZERO, 1, code.hash_slow(), code),
        );
    }
    db.insert_account_storage(INNER, U256::ZERO, U256::from(41))
        .unwrap();
    db
}

fn request(code: Bytes) -> LookupRequest {
    let code = revmc_jit::primitives::Bytes::from(code.0);
    let key = RuntimeCacheKey {
        code_hash: revmc_jit::primitives::keccak256(&code),
        spec_id: revmc_jit::primitives::SpecId::CANCUN,
    };
    LookupRequest { key, code }
}

/// A backend that compiles what it is told to, and nothing else.
fn obedient(codes: &[Bytes]) -> JitBackend {
    let mut config = config();
    config.tuning.jit_hot_threshold = 1 << 20;
    let backend = JitBackend::new(config).unwrap();
    for code in codes {
        backend.compile_jit_sync(request(code.clone())).unwrap();
    }
    backend
}

/// Calls [`OUTER`] so many times and returns what the last call stored in its slots 0 and 1.
fn call<F: FnMut(Address) -> Result<(), String>>(
    backend: &JitBackend,
    hook: F,
    times: usize,
) -> Result<[U256; 2], String> {
    let mut evm = Evm::builder()
        .with_db(Hooked {
            inner: database(),
            hook,
        })
        .with_spec_id(SpecId::CANCUN)
        .append_handler_register_box(handle_register(backend.clone()))
        .modify_tx_env(|tx| tx.transact_to = TxKind::Call(OUTER))
        .build();
    let mut last = Err("not called".to_owned());
    for _ in 0..times {
        last = evm.transact().map_err(|e| format!("{e:?}")).map(|done| {
            assert!(done.result.is_success(), "{:?}", done.result);
            let storage = &done.state[&OUTER].storage;
            [0, 1].map(|slot| storage[&U256::from(slot)].present_value)
        });
    }
    last
}

fn stored() -> Result<[U256; 2], String> {
    Ok([U256::from(42), U256::from(7)])
}

#[test]
fn a_suspended_frame_outlives_the_eviction_of_its_program() {
    let backend = obedient(&[OUTER_CODE, INNER_CODE]);
    let clear = |address| match address {
        INNER => backend.clear_resident().map_err(|error| error.to_string()),
        _ => Ok(()),
    };
    assert_eq!(call(&backend, clear, 1), stored());
    let stats = backend.stats();
    assert_eq!((stats.hits, stats.misses, stats.clears), (2, 0, 1));
}

#[test]
fn a_frame_begun_by_the_interpreter_is_finished_by_it() {
    let backend = obedient(&[INNER_CODE]);
    let compile = |address| match address {
        INNER => backend
            .compile_jit_sync(request(OUTER_CODE))
            .map_err(|error| error.to_string()),
        _ => Ok(()),
    };
    // The second transaction finds both.
    assert_eq!(call(&backend, compile, 2), stored());
    let stats = backend.stats();
    assert_eq!((stats.hits, stats.misses), (3, 1));
}

#[test]
fn an_error_of_the_database_in_a_nested_frame_leaves_nothing_behind() {
    let backend = obedient(&[OUTER_CODE, INNER_CODE]);
    assert_eq!(
        call(&backend, |_| Err("gone".to_owned()), 1),
        Err("Database(\"gone\")".to_owned())
    );
    let mut first = true;
    let fail_once = |_| match std::mem::take(&mut first) {
        true => Err("gone".to_owned()),
        false => Ok(()),
    };
    assert_eq!(call(&backend, fail_once, 2), stored());
    assert_eq!(backend.stats().misses, 0);
}

#[test]
fn code_of_another_length_than_its_hash_says_is_interpreted() {
    let backend = obedient(&[OUTER_CODE, INNER_CODE]);
    let mut db = database();
    let lie = AccountInfo::new(
        U256::ZERO,
        1,
        request(INNER_CODE).key.code_hash.0.into(),
        Bytecode::new_raw(OUTER_CODE),
    );
    db.insert_account_info(OUTER, lie);
    let mut evm = Evm::builder()
        .with_db(db)
        .with_spec_id(SpecId::CANCUN)
        .append_handler_register_box(handle_register(backend.clone()))
        .modify_tx_env(|tx| tx.transact_to = TxKind::Call(OUTER))
        .build();
    let done = evm.transact().unwrap();
    assert_eq!(
        done.state[&OUTER].storage[&U256::ZERO].present_value,
        U256::from(42)
    );
    assert_eq!(backend.stats().hits, 2);
}

#[test]
fn an_inspector_sees_every_frame_interpreted() {
    let backend = blocking(config(), Tier::Baseline);
    let mut evm = Evm::builder()
        .with_db(database())
        .with_external_context(NoOpInspector)
        .with_spec_id(SpecId::CANCUN)
        .append_handler_register(inspector_handle_register)
        .append_handler_register_box(handle_register(backend.clone()))
        .modify_tx_env(|tx| tx.transact_to = TxKind::Call(OUTER))
        .build();
    assert!(evm.transact_commit().unwrap().is_success());
    assert_eq!(
        evm.db().accounts[&OUTER].storage[&U256::ZERO],
        U256::from(42)
    );
    let stats = backend.stats();
    assert_eq!((stats.hits, stats.misses), (0, 0));
}

#[test]
fn a_change_of_the_fork_changes_the_programs() {
    let backend = blocking(config(), Tier::Baseline);
    let mut evm = Evm::builder()
        .with_db(database())
        .with_spec_id(SpecId::CANCUN)
        .append_handler_register_box(handle_register(backend.clone()))
        .modify_tx_env(|tx| tx.transact_to = TxKind::Call(OUTER))
        .build();
    for (spec_id, same) in [
        (SpecId::ARROW_GLACIER, SpecId::LONDON),
        (SpecId::CANCUN, SpecId::CANCUN),
    ] {
        evm = evm.modify().with_spec_id(spec_id).build();
        assert!(evm.transact_commit().unwrap().is_success());
        let key = request(OUTER_CODE).key.code_hash;
        let same = key_spec_id(same).unwrap();
        assert!(backend.get_compiled(key, same).is_some());
    }
    assert_eq!(backend.stats().misses, 4);
}
