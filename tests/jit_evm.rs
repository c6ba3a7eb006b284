//! Whole transactions through `JitEvm`, against the EVM that it wraps: results, the state with all that
//! was read, inspectors, system calls; programs that come and go in the middle of a transaction.

use revm::{
    Context, Database, DatabaseCommit, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext,
    MainnetEvm, SystemCallCommitEvm, SystemCallEvm,
    bytecode::Bytecode,
    context::{
        BlockEnv, CfgEnv, ContextSetters, ContextTr, Evm, Journal, JournalTr, TxEnv,
        result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction},
    },
    database::{CacheDB, EmptyDB, InMemoryDB},
    handler::{
        EthFrame, EvmTr, FrameResult, Handler, ItemOrResult,
        instructions::{EthInstructions, InstructionProvider},
    },
    inspector::{InspectorEvmTr, NoOpInspector},
    interpreter::{
        GasTable, Host, InstructionTable, interpreter::EthInterpreter,
        interpreter_action::FrameInit,
    },
    primitives::{Address, AddressMap, B256, Bytes, TxKind, U256, hex},
    state::{Account, AccountInfo, EvmState},
};
use revmc_jit::{
    JitBackend, RuntimeConfig, RuntimeTuning,
    primitives::{OptimizationLevel, SpecId},
    revm::JitEvm,
};
use std::{
    cell::Cell,
    collections::BTreeMap,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

const CALLER: Address = Address::with_last_byte(0xca);
const TARGET: Address = Address::with_last_byte(0xaa);
const OTHER: Address = Address::with_last_byte(0xbb);

/// What happens at the first read of a slot, in the middle of a transaction.
type AtRead = Rc<dyn Fn()>;

/// A database that calls a function at each read of a slot.
#[derive(Clone)]
struct Watched {
    inner: InMemoryDB,
    at_read: Option<AtRead>,
}

impl Database for Watched {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        self.inner.basic(address)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Infallible> {
        self.inner.code_by_hash(hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        if let Some(at_read) = &self.at_read {
            at_read();
        }
        self.inner.storage(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        self.inner.block_hash(number)
    }
}

impl DatabaseCommit for Watched {
    fn commit(&mut self, changes: AddressMap<Account>) {
        self.inner.commit(changes);
    }
}

/// Calls OTHER `rounds` times with 64 bytes of its memory, adds up what comes back, stores the sum.
fn looping(rounds: u8) -> Vec<u8> {
    let mut code = vec![0x60, rounds];
    code.extend(hex!(
        "5b"                     // 2: rounds left
        "80600052 7f"            // mstore(0, rounds)
        "1122334455667788112233445566778811223344556677881122334455667788"
        "602052"                 // mstore(32, ..)
        "6020 6080 6040 6000 5f 60bb 5a f1 50"
        "608051 60a051 01 60a052" // sum += returned
        "6001 90 03 80 6002 57"
        "60a051 5f 55"
        "60a051 600154 01 600155"
        "602060a0f3"
    ));
    code
}

/// Grows its memory past any buffer, then reads its input, which lies in its caller's memory, a slot,
/// and returns the sum of all.
fn callee() -> Vec<u8> {
    hex!(
        "6001 62010000 52" // mstore(0x10000, 1)
        "5f35 602035 01"   // calldata
        "603f35 01"
        "5f54 01 80 5f55"  // slot 0
        "5f52 60205ff3"
    )
    .to_vec()
}

fn database(contracts: &[(Address, Vec<u8>)]) -> InMemoryDB {
    let mut db = CacheDB::new(EmptyDB::new());
    let rich = AccountInfo::from_balance(U256::from(1) << 100);
    db.insert_account_info(CALLER, rich);
    for (address, code) in contracts {
        let code = Bytecode::new_raw(code.clone().into());
        let info = AccountInfo::new(U256::from(77), 1, code.hash_slow(), code);
        db.insert_account_info(*address, info);
    }
    db
}

fn contracts() -> [(Address, Vec<u8>); 2] {
    [(TARGET, looping(9)), (OTHER, callee())]
}

fn watched(contracts: &[(Address, Vec<u8>)]) -> Watched {
    Watched {
        inner: database(contracts),
        at_read: None,
    }
}

type Ctx<DB> = Context<BlockEnv, TxEnv, CfgEnv, DB, Journal<DB>>;

fn context<DB: Database>(db: DB, spec_id: SpecId) -> Ctx<DB> {
    let mut cfg = CfgEnv::new_with_spec(spec_id);
    cfg.set_spec_and_mainnet_gas_params(spec_id);
    Context::mainnet().with_db(db).with_cfg(cfg)
}

fn call(to: Address) -> TxEnv {
    let tx = TxEnv::builder().caller(CALLER).kind(TxKind::Call(to));
    tx.gas_limit(5_000_000).build().expect("a transaction")
}

/// A backend that compiles what it is asked for at once.
fn blocking(level: OptimizationLevel) -> JitBackend {
    let config = RuntimeConfig {
        blocking: true,
        tuning: RuntimeTuning {
            jit_opt_level: level,
            jit_tiered: false,
            ..RuntimeTuning::default()
        },
        ..RuntimeConfig::default()
    };
    JitBackend::new(config).expect("a configuration that works")
}

type Outcome = (
    Result<ExecutionResult, EVMError<Infallible, InvalidTransaction>>,
    EvmState,
);

/// Result, and the state with everything that was loaded.
fn outcome<E>(evm: &mut E, tx: TxEnv) -> Outcome
where
    E: ExecuteEvm<
            Tx = TxEnv,
            State = EvmState,
            ExecutionResult = ExecutionResult,
            Error = EVMError<Infallible, InvalidTransaction>,
        >,
{
    let result = evm.transact_one(tx);
    (result, evm.finalize())
}

#[test]
fn nested_calls_are_the_interpreters_on_every_fork() {
    for spec_id in (0..).map_while(SpecId::try_from_u8) {
        let mut plain = context(database(&contracts()), spec_id).build_mainnet();
        let expected = outcome(&mut plain, call(TARGET));
        for level in [OptimizationLevel::None, OptimizationLevel::Aggressive] {
            let backend = blocking(level);
            let evm = context(database(&contracts()), spec_id).build_mainnet();
            let mut jit = JitEvm::new(evm, backend.clone());
            for _ in 0..2 {
                assert_eq!(outcome(&mut jit, call(TARGET)), expected, "{spec_id:?}");
            }
            assert!(backend.stats().resident_entries >= 1, "{spec_id:?}");
            assert!(jit.backend().stats().hits > 0);
            if spec_id.is_enabled_in(SpecId::SHANGHAI) {
                assert!(expected.0.as_ref().is_ok_and(|result| result.is_success()));
                assert_eq!(backend.stats().resident_entries, 2);
            }
        }
    }
}

#[test]
fn programs_come_and_go_in_the_middle_of_a_transaction() {
    let mut plain = context(watched(&contracts()), SpecId::OSAKA).build_mainnet();
    let expected = outcome(&mut plain, call(TARGET));
    // Emptied in the middle; switched off, and on again; compiled only after the first frames.
    let actions: [fn(&JitBackend, u32); 3] = [
        |backend, _| backend.clear_resident().expect("cleared"),
        |backend, read| backend.set_enabled(read % 2 == 1).expect("switched"),
        |backend, read| {
            if read == 0 {
                backend.set_enabled(false).expect("switched off");
                backend.clear_resident().expect("cleared");
                backend.set_enabled(true).expect("switched on");
            }
        },
    ];
    for action in actions {
        let backend = blocking(OptimizationLevel::Aggressive);
        let reads = Rc::new(Cell::new(0));
        let mut db = watched(&contracts());
        db.at_read = Some(Rc::new({
            let (backend, reads) = (backend.clone(), reads.clone());
            move || action(&backend, reads.replace(reads.get() + 1))
        }));
        let mut jit = JitEvm::new(context(db, SpecId::OSAKA).build_mainnet(), backend);
        for _ in 0..3 {
            assert_eq!(outcome(&mut jit, call(TARGET)), expected);
        }
        assert!(reads.get() >= 3 * 2);
    }
}

/// What a database holds of each account.
fn kept(db: &InMemoryDB) -> BTreeMap<Address, (AccountInfo, BTreeMap<U256, U256>)> {
    let accounts = db.cache.accounts.iter();
    accounts
        .map(|(&address, account)| {
            let storage = account.storage.iter().map(|(&slot, &value)| (slot, value));
            (address, (account.info.clone(), storage.collect()))
        })
        .collect()
}

#[test]
fn system_calls_commits_and_replays_are_the_wrapped_ones() {
    for spec_id in [SpecId::CANCUN, SpecId::OSAKA, SpecId::AMSTERDAM] {
        system_calls_commits_and_replays(spec_id);
    }
}

fn system_calls_commits_and_replays(spec_id: SpecId) {
    let mut plain = context(database(&contracts()), spec_id).build_mainnet();
    let backend = blocking(OptimizationLevel::Aggressive);
    let evm = context(database(&contracts()), spec_id).build_mainnet();
    let mut jit = JitEvm::new(evm, backend.clone());

    let data = Bytes::from_static(&[3; 64]);
    let expected = plain.system_call_commit(OTHER, data.clone()).expect("runs");
    assert!(expected.is_success(), "{spec_id:?}");
    assert_eq!(
        jit.system_call_commit(OTHER, data.clone()).expect("runs"),
        expected
    );
    let expected = plain.system_call(OTHER, data.clone()).expect("runs");
    assert_eq!(jit.system_call(OTHER, data).expect("runs"), expected);

    for nonce in 0..2 {
        let tx = || TxEnv {
            nonce,
            ..call(TARGET)
        };
        let expected = plain.transact_commit(tx()).expect("runs");
        assert_eq!(jit.transact_commit(tx()).expect("runs"), expected);
    }
    let block = BlockEnv {
        number: U256::from(7),
        ..BlockEnv::default()
    };
    plain.set_block(block.clone());
    jit.set_block(block);
    // The nonce of what is replayed was used up.
    assert_eq!(
        jit.replay().map_err(|e| e.to_string()),
        plain.replay().map_err(|e| e.to_string())
    );
    let (mut found, mut expected) = (jit.into_inner(), plain);
    assert_eq!(kept(found.ctx.db_mut()), kept(expected.ctx.db_mut()));
    assert!(backend.stats().hits > 0);
}

#[test]
fn a_panic_of_the_database_passes_through() {
    /// Runs, panics in the middle, and runs again on what the panic has left.
    fn run<E>(evm: &mut E, calm: &Cell<bool>) -> [Outcome; 2]
    where
        E: ExecuteEvm<
                Tx = TxEnv,
                State = EvmState,
                ExecutionResult = ExecutionResult,
                Error = EVMError<Infallible, InvalidTransaction>,
            >,
    {
        let before = outcome(evm, call(TARGET));
        calm.set(false);
        let run = AssertUnwindSafe(|| outcome(evm, call(TARGET)));
        let payload = catch_unwind(run).expect_err("panics");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the database's own"));
        calm.set(true);
        evm.finalize();
        [before, outcome(evm, call(TARGET))]
    }
    let new = || {
        let calm = Rc::new(Cell::new(true));
        let mut db = watched(&contracts());
        let watch = calm.clone();
        db.at_read = Some(Rc::new(move || assert!(watch.get(), "the database's own")));
        (context(db, SpecId::OSAKA).build_mainnet(), calm)
    };
    let (mut plain, calm) = new();
    let expected = run(&mut plain, &calm);
    let backend = blocking(OptimizationLevel::Aggressive);
    let (evm, calm) = new();
    let mut jit = JitEvm::new(evm, backend.clone());
    assert_eq!(run(&mut jit, &calm), expected);
    assert!(backend.stats().hits > 0);
}

/// A backend that is off, and one whose programs are for other costs, leave everything to the
/// wrapped EVM.
#[test]
fn what_is_not_compiled_is_interpreted() {
    let new = || context(database(&contracts()), SpecId::OSAKA).build_mainnet();
    let expected = outcome(&mut new(), call(TARGET));
    let mut jit = JitEvm::new(new(), JitBackend::disabled());
    assert_eq!(outcome(&mut jit, call(TARGET)), expected);

    // An instruction that costs something else: every program is refused.
    let backend = blocking(OptimizationLevel::Aggressive);
    let dearer = || {
        let mut evm = new();
        evm.instruction.insert_gas(0x01, 1000);
        evm
    };
    let expected = outcome(&mut dearer(), call(TARGET));
    let mut jit = JitEvm::new(dearer(), backend.clone());
    assert_eq!(outcome(&mut jit, call(TARGET)), expected);
    assert!(backend.stats().hits > 0);
}

/// Instructions whose prices change behind the back of the EVM that has them.
struct Priced<CTX: Host> {
    cheap: EthInstructions<EthInterpreter, CTX>,
    dear: EthInstructions<EthInterpreter, CTX>,
    is_dear: Rc<Cell<bool>>,
}

impl<CTX: Host> Priced<CTX> {
    fn now(&self) -> &EthInstructions<EthInterpreter, CTX> {
        match self.is_dear.get() {
            true => &self.dear,
            false => &self.cheap,
        }
    }
}

impl<CTX: Host> InstructionProvider for Priced<CTX> {
    type Context = CTX;
    type InterpreterTypes = EthInterpreter;

    fn instruction_table(&self) -> &InstructionTable<EthInterpreter, CTX> {
        self.now().instruction_table()
    }

    fn gas_table(&self) -> &GasTable {
        self.now().gas_table()
    }
}

/// Mainnet's handler, but that it makes ADD dearer when the transaction makes its first call.
struct Raising<E: EvmTr>(fn(&mut E) -> &mut E::Instructions);

impl<E> Handler for Raising<E>
where
    E: EvmTr<
            Context: ContextTr<
                Db: Database<Error = Infallible>,
                Journal: JournalTr<State = EvmState>,
            >,
            Instructions = EthInstructions<EthInterpreter, Ctx<InMemoryDB>>,
            Frame = EthFrame,
        >,
{
    type Evm = E;
    type Error = EVMError<Infallible, InvalidTransaction>;
    type HaltReason = HaltReason;

    fn run_exec_loop(&mut self, evm: &mut E, first: FrameInit) -> Result<FrameResult, Self::Error> {
        let mut next = ItemOrResult::Item(first);
        let mut raised = false;
        loop {
            next = match next {
                ItemOrResult::Item(init) => match evm.frame_init(init)? {
                    ItemOrResult::Item(_) => evm.frame_run()?,
                    ItemOrResult::Result(result) => ItemOrResult::Result(result),
                },
                ItemOrResult::Result(result) => match evm.frame_return_result(result)? {
                    Some(result) => return Ok(result),
                    None => evm.frame_run()?,
                },
            };
            if !raised {
                dearer((self.0)(evm));
                raised = true;
            }
        }
    }
}

fn dearer<CTX: Host>(instructions: &mut EthInstructions<EthInterpreter, CTX>) {
    instructions.insert_gas(0x01, 1000);
}

fn inspected() -> MainnetEvm<Ctx<InMemoryDB>, NoOpInspector> {
    let context = context(database(&contracts()), SpecId::OSAKA);
    context.build_mainnet_with_inspector(NoOpInspector)
}

/// E5: in whatever way a handler gets at the prices, the next frame has the new ones.
#[test]
fn prices_may_change_between_frames() {
    type Jit = JitEvm<MainnetEvm<Ctx<InMemoryDB>, NoOpInspector>>;
    fn raised<E: EvmTr<Context = Ctx<InMemoryDB>>>(
        evm: &mut E,
        way: fn(&mut E) -> &mut E::Instructions,
    ) -> Outcome
    where
        Raising<E>: Handler<
                Evm = E,
                Error = EVMError<Infallible, InvalidTransaction>,
                HaltReason = HaltReason,
            >,
    {
        evm.ctx().set_tx(call(TARGET));
        let result = Raising(way).run(evm);
        (result, evm.ctx().journal_mut().finalize())
    }
    let expected = raised(&mut inspected(), |evm| &mut evm.instruction);
    assert_ne!(expected, outcome(&mut inspected(), call(TARGET)));
    let ways: [fn(&mut Jit) -> &mut _; 4] = [
        |jit| &mut jit.inner_mut().instruction,
        |jit| jit.all_mut().1,
        |jit| jit.ctx_instructions().1,
        |jit| jit.all_mut_inspector().1,
    ];
    for way in ways {
        let backend = blocking(OptimizationLevel::Aggressive);
        let mut jit = JitEvm::new(inspected(), backend.clone());
        assert_eq!(raised(&mut jit, way), expected);
        assert!(backend.stats().hits > 0);
    }
}

/// E5: a transaction has the prices of its time, however they came about.
#[test]
fn prices_may_change_between_transactions() {
    let mut evm = inspected();
    let cheap = outcome(&mut evm, call(TARGET));
    dearer(&mut evm.instruction);
    let dear = outcome(&mut evm, call(TARGET));
    assert_ne!(cheap, dear);

    let is_dear = Rc::new(Cell::new(false));
    let instruction = Priced {
        cheap: inspected().instruction,
        dear: evm.instruction,
        is_dear: is_dear.clone(),
    };
    let evm = Evm {
        ctx: evm.ctx,
        inspector: evm.inspector,
        instruction,
        precompiles: evm.precompiles,
        frame_stack: evm.frame_stack,
    };
    let backend = blocking(OptimizationLevel::Aggressive);
    let mut jit = JitEvm::new(evm, backend.clone());
    for expected in [&cheap, &dear, &cheap] {
        is_dear.set(std::ptr::eq(expected, &dear));
        assert_eq!(outcome(&mut jit, call(TARGET)), *expected);
    }
    assert!(backend.stats().hits > 0);
}

/// One interpreted transaction is much work: that alone makes its contracts hot.
#[test]
fn interpreted_work_is_reported() {
    let config = RuntimeConfig {
        tuning: RuntimeTuning {
            hot_gas_per_miss: 1000,
            jit_hot_threshold: 20,
            ..RuntimeTuning::default()
        },
        ..RuntimeConfig::default()
    };
    let backend = JitBackend::new(config).expect("a configuration that works");
    let evm = context(database(&contracts()), SpecId::OSAKA).build_mainnet();
    let mut jit = JitEvm::new(evm, backend.clone());
    let (result, _) = outcome(&mut jit, call(TARGET));
    assert!(result.is_ok_and(|result| result.is_success()));
    // Ten lookups a contract at most: it is not their number.
    assert!(backend.stats().misses <= 20);
    let hash = Bytecode::new_raw(callee().into()).hash_slow();
    while backend.get_compiled(hash, SpecId::OSAKA).is_none() {
        std::thread::yield_now();
    }
}
