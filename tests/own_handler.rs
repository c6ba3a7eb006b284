//! An EVM with a handler of its own, through `JitEvm`: it is run by that, and by no other.

use revm::{
    Context, ExecuteEvm, MainBuilder, MainContext, MainnetEvm,
    bytecode::Bytecode,
    context::{
        ContextTr, FrameStack, JournalTr, TxEnv,
        result::{EVMError, ExecResultAndState, ExecutionResult, HaltReason, InvalidTransaction},
    },
    database::InMemoryDB,
    handler::{
        EthFrame, EvmTr, FrameInitOrResult, FrameResult, FrameTr, Handler, MainnetContext,
        evm::{ContextDbError, FrameInitResult},
    },
    primitives::{Address, TxKind, U256, bytes},
    state::{AccountInfo, EvmState},
};
use revmc_jit::{JitBackend, RuntimeConfig, revm::JitEvm};
use std::{convert::Infallible, marker::PhantomData};

const CALLER: Address = Address::with_last_byte(0xca);
const TARGET: Address = Address::with_last_byte(0xaa);
const BENEFICIARY: Address = Address::with_last_byte(0xbe);

type Inner = MainnetEvm<MainnetContext<InMemoryDB>>;
type Failure = EVMError<Infallible, InvalidTransaction>;

/// An EVM with mainnet's types for everything.
struct Own(Inner);

impl EvmTr for Own {
    type Context = <Inner as EvmTr>::Context;
    type Instructions = <Inner as EvmTr>::Instructions;
    type Precompiles = <Inner as EvmTr>::Precompiles;
    type Frame = EthFrame;

    fn all(
        &self,
    ) -> (
        &Self::Context,
        &Self::Instructions,
        &Self::Precompiles,
        &FrameStack<EthFrame>,
    ) {
        self.0.all()
    }

    fn all_mut(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<EthFrame>,
    ) {
        self.0.all_mut()
    }

    fn frame_init(
        &mut self,
        input: <EthFrame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, EthFrame>, ContextDbError<Self::Context>> {
        self.0.frame_init(input)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<EthFrame>, ContextDbError<Self::Context>> {
        self.0.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<Self::Context>> {
        self.0.frame_return_result(result)
    }
}

/// Mainnet's, but that nobody is paid.
struct Unpaid<EVM>(PhantomData<EVM>);

impl<EVM> Handler for Unpaid<EVM>
where
    EVM: EvmTr<
            Context = <Inner as EvmTr>::Context,
            Instructions = <Inner as EvmTr>::Instructions,
            Precompiles = <Inner as EvmTr>::Precompiles,
            Frame = EthFrame,
        >,
{
    type Evm = EVM;
    type Error = Failure;
    type HaltReason = HaltReason;

    fn reward_beneficiary(&self, _: &mut EVM, _: &mut FrameResult) -> Result<(), Failure> {
        Ok(())
    }
}

impl ExecuteEvm for Own {
    type ExecutionResult = ExecutionResult<HaltReason>;
    type State = EvmState;
    type Error = Failure;
    type Tx = TxEnv;
    type Block = <Inner as ExecuteEvm>::Block;

    fn set_block(&mut self, block: Self::Block) {
        self.0.set_block(block);
    }

    fn transact_one(&mut self, tx: TxEnv) -> Result<Self::ExecutionResult, Failure> {
        self.0.ctx.tx = tx;
        Unpaid(PhantomData).run(self)
    }

    fn finalize(&mut self) -> EvmState {
        self.0.finalize()
    }

    fn replay(&mut self) -> Result<ExecResultAndState<Self::ExecutionResult>, Failure> {
        let result = Unpaid(PhantomData).run(self);
        let state = self.finalize();
        Ok(ExecResultAndState::new(result?, state))
    }
}

fn inner() -> Inner {
    let mut db = InMemoryDB::default();
    // What CALLER has is more than the gas costs.
    db.insert_account_info(CALLER, AccountInfo::from_balance(U256::from(1) << 64));
    // storage[0] += 1
    let code = Bytecode::new_legacy(bytes!("60015f54015f5500"));
    db.insert_account_info(
        TARGET,
        AccountInfo::new(U256::ZERO, 1, code.hash_slow(), code),
    );
    let mut context = Context::mainnet().with_db(db);
    context.block.beneficiary = BENEFICIARY;
    context.build_mainnet()
}

fn call() -> TxEnv {
    let tx = TxEnv::builder().caller(CALLER).kind(TxKind::Call(TARGET));
    let tx = tx.gas_limit(100_000).gas_price(7);
    tx.build().expect("a transaction")
}

/// Whether a type runs transactions by itself: an inherent method, which is there if it does, goes before a
/// trait's.
struct Probe<T>(PhantomData<T>);

impl<T: ExecuteEvm> Probe<T> {
    fn executes(&self) -> bool {
        true
    }
}

#[allow(
    dead_code,
    reason = "it is used where the inherent method is not there"
)]
trait Otherwise {
    fn executes(&self) -> bool;
}

impl<T> Otherwise for &Probe<T> {
    fn executes(&self) -> bool {
        false
    }
}

#[test]
fn only_what_mainnets_handler_runs_is_run_by_it() {
    assert!(Probe::<Own>(PhantomData).executes());
    assert!(Probe::<JitEvm<Inner>>(PhantomData).executes());
    assert!(!(&Probe::<JitEvm<Own>>(PhantomData)).executes());
}

#[test]
fn an_evm_with_a_handler_of_its_own_is_run_by_that() {
    let backend = JitBackend::new(RuntimeConfig {
        blocking: true,
        ..RuntimeConfig::default()
    })
    .expect("a configuration that works");
    let mut own = Own(inner());
    let expected = (own.transact_one(call()), own.finalize());
    assert!(expected.0.as_ref().is_ok_and(ExecutionResult::is_success));
    let paid = |state: &EvmState| state.get(&BENEFICIARY).is_some_and(|a| !a.info.is_empty());
    assert!(!paid(&expected.1));

    let mut jit = JitEvm::new(Own(inner()), backend.clone());
    jit.ctx().tx = call();
    let result = Unpaid(PhantomData).run(&mut jit);
    assert_eq!((result, jit.ctx().journal_mut().finalize()), expected);
    assert_eq!(backend.stats().hits, 1);

    let mut mainnet = JitEvm::new(inner(), backend);
    let result = mainnet.transact(call()).expect("mainnet's handler");
    assert!(paid(&result.state));
}
