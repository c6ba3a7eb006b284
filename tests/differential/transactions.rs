//! Whole transactions by `JitEvm` and by the EVM that it wraps: results, state with its warm and cold
//! flags, the order of the database's reads, and its errors.

use crate::common::{
    asm::asm,
    case::{CONTRACT, Case, actor},
    database::{Fault, Read, Recorder, State},
    engine::{World, describe, transaction, world},
    generate,
    programs::CALLS,
    types::{Address, Bytes, SpecId, U256, hex, keccak256},
};
use revm::{
    ExecuteEvm, MainBuilder,
    context::{
        ContextTr, TxEnv,
        either::Either,
        result::{EVMError, ExecutionResult, InvalidTransaction},
        transaction::{Authorization, RecoveredAuthority, RecoveredAuthorization},
    },
    handler::{EvmTr, MainnetEvm},
    primitives::TxKind,
    state::EvmState,
};
use revmc_jit::{JitBackend, RuntimeConfig, revm::JitEvm};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

pub type TxResult =
    Result<ExecutionResult, EVMError<crate::common::database::ReadError, InvalidTransaction>>;

/// What can be seen of a transaction.
#[derive(Debug, PartialEq)]
pub struct Seen {
    pub result: Result<TxResult, String>,
    pub state: EvmState,
    pub reads: Vec<Read>,
}

pub fn backend() -> JitBackend {
    let mut config = RuntimeConfig::default();
    config.blocking = true;
    config.tuning.jit_worker_count = 1;
    JitBackend::new(config).expect("a valid configuration")
}

pub fn see<EVM>(evm: &mut EVM, run: impl FnOnce(&mut EVM) -> TxResult) -> Seen
where
    EVM: ExecuteEvm<State = EvmState> + EvmTr<Context = World>,
{
    let caught = catch_unwind(AssertUnwindSafe(|| run(evm)));
    let result = caught.map_err(|payload| describe(&*payload));
    let state = evm.finalize();
    let reads = std::mem::take(&mut evm.ctx_mut().db_mut().reads);
    Seen {
        result,
        state,
        reads,
    }
}

/// A transaction with its surroundings.
#[derive(Clone)]
pub struct Setup {
    pub spec_id: SpecId,
    pub state: Arc<State>,
    pub fault: Option<(usize, Fault)>,
    pub tx: TxEnv,
}

impl Setup {
    pub fn of(case: &Case) -> Self {
        Self {
            spec_id: case.spec_id,
            state: case.state(),
            fault: case.fault,
            tx: transaction(case),
        }
    }

    fn evm(&self) -> MainnetEvm<World> {
        let mut database = Recorder::new(Arc::clone(&self.state));
        database.fault = self.fault;
        world(self.spec_id, database).build_mainnet()
    }

    pub fn interpreted(&self) -> Seen {
        see(&mut self.evm(), |evm| evm.transact_one(self.tx.clone()))
    }

    /// Runs it both ways and compares.
    pub fn check(&self, name: &str, backend: &JitBackend) -> Seen {
        let expected = self.interpreted();
        let mut evm = JitEvm::new(self.evm(), backend.clone());
        let found = see(&mut evm, |evm| evm.transact_one(self.tx.clone()));
        assert_eq!(expected, found, "{name} on {:?}", self.spec_id);
        expected
    }
}

#[test]
fn calls_and_creates() {
    let backend = backend();
    for (name, text) in CALLS {
        for spec_id in [
            SpecId::HOMESTEAD,
            SpecId::LONDON,
            SpecId::OSAKA,
            SpecId::AMSTERDAM,
        ] {
            let case = Case::asm(text).on(spec_id).gas(400_000);
            Setup::of(&case).check(name, &backend);
        }
    }
    let stats = backend.stats();
    assert!(stats.hits as usize > 3 * CALLS.len(), "{stats:?}");
}

/// A halt behind a charge of state gas (EIP-8037).
#[test]
fn a_halt_behind_a_charge_of_state_gas() {
    let case = Case::new(hex::decode("600160ea5501").expect("hex digits"));
    let backend = backend();
    for gas in (21_000..1_000_000).step_by(1_013) {
        let setup = Setup::of(&case.clone().on(SpecId::AMSTERDAM).gas(gas));
        let seen = setup.check("SSTORE, ADD", &backend);
        let halted = matches!(&seen.result, Ok(Ok(ExecutionResult::Halt { .. })));
        assert!(
            halted || seen.result.as_ref().is_ok_and(Result::is_err),
            "{seen:?}"
        );
    }
}

#[test]
fn generated_programs() {
    let backend = backend();
    let mut successes = 0;
    for seed in 0..400 {
        let mut case = generate::program(0x7000_0000 + seed).case();
        case.gas_limit = case.gas_limit.min(10_000_000) + 30_000;
        let seen = Setup::of(&case).check(&format!("seed {seed}"), &backend);
        successes += usize::from(matches!(&seen.result, Ok(Ok(result)) if result.is_success()));
    }
    assert!(successes > 60, "{successes}");
}

/// Several transactions on one EVM: accounts stay warm in the cache, and cold in the journal.
#[test]
fn one_after_the_other() {
    let backend = backend();
    let case = Case::asm("1 SLOAD 1 ADD 1 SSTORE 0xa1 BALANCE 0 0 32 0 0 0xa8 50000 CALL 5 0 LOG0");
    for spec_id in [SpecId::BYZANTIUM, SpecId::OSAKA, SpecId::AMSTERDAM] {
        let setup = Setup::of(&case.clone().on(spec_id).gas(500_000));
        let run = |evm: &mut dyn FnMut(TxEnv) -> TxResult| {
            let txs = (1..5).map(|nonce| TxEnv {
                nonce,
                ..setup.tx.clone()
            });
            txs.map(evm).collect::<Vec<_>>()
        };
        let mut plain = setup.evm();
        let expected = run(&mut |tx| plain.transact_one(tx));
        let mut jit = JitEvm::new(setup.evm(), backend.clone());
        let found = run(&mut |tx| jit.transact_one(tx));
        assert_eq!(expected, found);
        assert_eq!(plain.finalize(), jit.finalize());
        assert_eq!(plain.ctx.db_mut().reads, jit.ctx_mut().db_mut().reads);
    }
}

/// At each read of the transaction in turn.
#[test]
fn databases_that_fail_or_panic() {
    let backend = backend();
    let text = "1 SLOAD POP 0xa1 BALANCE POP 20 0 0 0xa2 EXTCODECOPY 0 0 32 0 0 0xa4 90000 CALL \
        0 0 0 0 0 0xa5 90000 CALL 0xa7 EXTCODEHASH 19999990 BLOCKHASH 5 9 SSTORE 0xa6 SELFDESTRUCT";
    for spec_id in [SpecId::PETERSBURG, SpecId::CANCUN, SpecId::AMSTERDAM] {
        let case = Case::asm(text).on(spec_id).gas(900_000);
        let reads = Setup::of(&case).check("healthy", &backend).reads.len();
        assert!(reads > 12, "{reads}");
        for read in 0..reads {
            let setup = Setup::of(&case.clone().fault(read, Fault::Error));
            let seen = setup.check("a database error", &backend);
            assert!(
                matches!(seen.result, Ok(Err(EVMError::Database(_)))),
                "{seen:?}"
            );
            let setup = Setup::of(&case.clone().fault(read, Fault::Panic));
            let seen = setup.check("a panicking database", &backend);
            let panic = seen.result.expect_err("the database panics");
            assert!(panic.starts_with("the database broke"), "{panic}");
        }
    }
}

#[test]
fn at_many_gas_limits() {
    let backend = backend();
    let case = Case::asm(
        "7 0 MSTORE 0 0 32 0 0 0xa4 GAS CALL 32 0 0 CREATE 0 32 32 0 0 0xa9 GAS CALL 0 0 REVERT",
    );
    for spec_id in [SpecId::HOMESTEAD, SpecId::OSAKA, SpecId::AMSTERDAM] {
        for gas in (21_000..23_000).chain((23_000..190_000).step_by(173)) {
            Setup::of(&case.clone().on(spec_id).gas(gas)).check("a gas limit", &backend);
        }
    }
}

/// EIP-7702: the delegate's code runs, natively, under its own hash.
#[test]
fn delegated_code_runs_natively() {
    let text = "ADDRESS 0 MSTORE CODESIZE 32 MSTORE 1 SLOAD 1 ADD 1 SSTORE 64 0 RETURN";
    let code: Bytes = asm(text).into();
    let delegation = |to: Address| Bytes::from([&[0xef, 0x01, 0x00], to.as_slice()].concat());
    let delegator = Address::repeat_byte(0xd1);
    for spec_id in [SpecId::PRAGUE, SpecId::OSAKA, SpecId::AMSTERDAM] {
        let backend = backend();
        let case = Case::new(code.clone()).on(spec_id).gas(600_000);
        let mut setup = Setup::of(&case);
        let state = Arc::make_mut(&mut setup.state);
        state.insert(delegator, U256::from(5), 3, delegation(CONTRACT));
        setup.tx.kind = TxKind::Call(delegator);
        let seen = setup.check("a delegated account", &backend);
        let Ok(Ok(ExecutionResult::Success { output, .. })) = seen.result else {
            panic!("{seen:?}");
        };
        assert_eq!(&output.data()[12..32], delegator.as_slice());
        assert!(backend.get_compiled(keccak256(&code), spec_id).is_some());
        assert!(
            backend
                .get_compiled(keccak256(delegation(CONTRACT)), spec_id)
                .is_none()
        );

        // And by a transaction that sets the delegation, with a call to it from a contract.
        let mut setup = Setup::of(&case);
        let caller: Bytes = asm("0 0 64 0 0 0xd1 DUP1 8 SHL OR GAS CALL").into();
        let state = Arc::make_mut(&mut setup.state);
        state.insert(delegator, U256::from(5), 3, Bytes::new());
        state.insert(actor(0xab), U256::ZERO, 1, caller);
        let authorization = Authorization {
            chain_id: U256::from(1),
            address: CONTRACT,
            nonce: 3,
        };
        let signed = RecoveredAuthorization::new_unchecked(
            authorization,
            RecoveredAuthority::Valid(delegator),
        );
        setup.tx.authorization_list = vec![Either::Right(signed)];
        setup.tx.tx_type = 4;
        setup.tx.kind = TxKind::Call(delegator);
        let seen = setup.check("a new delegation", &backend);
        let Ok(Ok(ExecutionResult::Success { output, .. })) = seen.result else {
            panic!("{seen:?}");
        };
        assert_eq!(&output.data()[12..32], delegator.as_slice());
    }
}

#[test]
fn init_code_is_interpreted() {
    let backend = backend();
    let init: Bytes = asm("7 0 MSTORE 1 2 ADD 5 SSTORE 32 0 RETURN").into();
    let case = Case::asm("STOP").gas(500_000).input(init.clone());
    let mut setup = Setup::of(&case);
    setup.tx.kind = TxKind::Create;
    let seen = setup.check("a create transaction", &backend);
    assert!(
        matches!(&seen.result, Ok(Ok(result)) if result.is_success()),
        "{seen:?}"
    );
    assert!(
        backend
            .get_compiled(keccak256(&init), case.spec_id)
            .is_none()
    );
    let stats = backend.stats();
    let asked = (stats.hits, stats.misses, stats.resident_entries);
    assert_eq!(asked, (0, 0, 0));
    // CREATE2 knows the hash of the init code.
    let text = "CALLDATASIZE 0 0 CALLDATACOPY 9 CALLDATASIZE 0 0 CREATE2 0 MSTORE 32 0 RETURN";
    let case = Case::asm(text).gas(500_000).input(init.clone());
    Setup::of(&case).check("CREATE2", &backend);
    assert!(
        backend
            .get_compiled(keccak256(&case.code), case.spec_id)
            .is_some()
    );
    assert!(
        backend
            .get_compiled(keccak256(&init), case.spec_id)
            .is_none()
    );
}
