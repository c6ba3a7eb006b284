//! EVMs for clients that make them by alloy-evm's factories: block executors, payload builders, RPC.

use super::JitEvm;
use crate::JitBackend;
use alloy_evm::{
    Database, Evm, EvmEnv, EvmFactory, IntoTxEnv,
    env::BlockEnvironment,
    eth::EthEvmFactory,
    revm::{
        Context, ExecuteEvm, InspectEvm, Inspector, SystemCallEvm,
        context::{CfgEnv, Evm as RevmEvm, Journal, Transaction},
        context_interface::result::{
            EVMError, ExecutionResult, HaltReason, InvalidTransaction, ResultAndState,
        },
        handler::{EthFrame, instructions::EthInstructions},
        inspector::NoOpInspector,
        interpreter::interpreter::EthInterpreter,
        primitives::hardfork::SpecId,
        state::EvmState,
    },
};
use alloy_primitives::{Address, Bytes};
use std::{fmt, hash::Hash};

/// A factory whose EVMs are revm's own over mainnet's frames, so that their frames can be run by a
/// [`JitBackend`].
///
/// alloy-evm's own is one. A client with a factory of its own implements this for it in a few lines, if
/// what is inside of its EVM is a [`revm::context::Evm`](RevmEvm) and mainnet's handler runs it: with
/// whatever instructions, gas table, precompiles, block and transaction types, and fork names. An EVM
/// with another handler or other frames has no such inside, and no way to be wrapped: that does not
/// compile.
///
/// ```compile_fail,E0277
/// use alloy_evm::EvmFactory;
/// use revmc_jit::{JitBackend, revm::JitEvmFactory};
///
/// /// Wraps any factory, whatever its EVMs are.
/// fn wrap<F: EvmFactory>(factory: F, backend: JitBackend) -> JitEvmFactory<F> {
///     JitEvmFactory::new(factory, backend)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the EVMs of `{Self}` are not known to be revm's own over mainnet's frames",
    note = "implement `RevmFactory` for a factory of your own whose EVM holds a `revm::context::Evm`"
)]
pub trait RevmFactory: EvmFactory {
    /// Its EVM, with frames run by a backend: a [`JitAlloyEvm`].
    type JitEvm<DB: Database, I: Inspector<Self::Context<DB>>>: Evm<
            DB = DB,
            Tx = Self::Tx,
            Error = Self::Error<DB::Error>,
            HaltReason = Self::HaltReason,
            Spec = Self::Spec,
            BlockEnv = Self::BlockEnv,
            Precompiles = Self::Precompiles,
            Inspector = I,
        >;

    /// Takes revm's EVM out of the factory's and gives it a backend; `inspect` is whether transactions
    /// are shown to the inspector.
    fn jit<DB: Database, I: Inspector<Self::Context<DB>>>(
        evm: Self::Evm<DB, I>,
        backend: JitBackend,
        inspect: bool,
    ) -> Self::JitEvm<DB, I>;
}

impl RevmFactory for EthEvmFactory {
    type JitEvm<DB: Database, I: Inspector<Self::Context<DB>>> = JitAlloyEvm<
        RevmEvm<
            Self::Context<DB>,
            I,
            EthInstructions<EthInterpreter, Self::Context<DB>>,
            Self::Precompiles,
            EthFrame,
        >,
    >;

    fn jit<DB: Database, I: Inspector<Self::Context<DB>>>(
        evm: Self::Evm<DB, I>,
        backend: JitBackend,
        inspect: bool,
    ) -> Self::JitEvm<DB, I> {
        JitAlloyEvm::new(JitEvm::new(evm.into_inner(), backend), inspect)
    }
}

/// A factory of EVMs that run their frames through a [`JitBackend`].
///
/// Where a client has `EthEvmFactory::default()`, this stands in its place; nothing else changes. With
/// an inspector frames are interpreted, unless it is a [`CallsOnly`](super::CallsOnly).
///
/// ```
/// use alloy_evm::{Evm, EvmEnv, EvmFactory, EthEvmFactory};
/// use alloy_evm::revm::{context::TxEnv, database::InMemoryDB};
/// use revmc_jit::{JitBackend, RuntimeConfig, revm::JitEvmFactory};
///
/// let backend = JitBackend::new(RuntimeConfig::default())?;
/// let factory = JitEvmFactory::new(EthEvmFactory::default(), backend); // the line that changes
/// let mut evm = factory.create_evm(InMemoryDB::default(), EvmEnv::default());
/// let tx = TxEnv::builder().gas_limit(100_000).build().unwrap();
/// assert!(evm.transact_raw(tx).unwrap().result.is_success());
/// # Ok::<(), revmc_jit::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct JitEvmFactory<F = EthEvmFactory> {
    inner: F,
    backend: JitBackend,
}

impl<F> JitEvmFactory<F> {
    /// A factory that makes what `inner` makes, with frames run by `backend`.
    pub fn new(inner: F, backend: JitBackend) -> Self
    where
        F: RevmFactory,
    {
        Self { inner, backend }
    }

    /// The factory inside.
    pub fn inner(&self) -> &F {
        &self.inner
    }

    /// The backend of all its EVMs.
    pub fn backend(&self) -> &JitBackend {
        &self.backend
    }
}

impl<F: RevmFactory> EvmFactory for JitEvmFactory<F> {
    type Evm<DB: Database, I: Inspector<Self::Context<DB>>> = F::JitEvm<DB, I>;
    type Context<DB: Database> = F::Context<DB>;
    type Tx = F::Tx;
    type Error<DBError: alloy_evm::revm::context::DBErrorMarker> = F::Error<DBError>;
    type HaltReason = F::HaltReason;
    type Spec = F::Spec;
    type BlockEnv = F::BlockEnv;
    type Precompiles = F::Precompiles;

    fn create_evm<DB: Database>(
        &self,
        db: DB,
        env: EvmEnv<F::Spec, F::BlockEnv>,
    ) -> Self::Evm<DB, NoOpInspector> {
        F::jit(self.inner.create_evm(db, env), self.backend.clone(), false)
    }

    fn create_evm_with_inspector<DB: Database, I: Inspector<Self::Context<DB>>>(
        &self,
        db: DB,
        env: EvmEnv<F::Spec, F::BlockEnv>,
        inspector: I,
    ) -> Self::Evm<DB, I> {
        let evm = self.inner.create_evm_with_inspector(db, env, inspector);
        F::jit(evm, self.backend.clone(), true)
    }
}

/// A [`JitEvm`] as alloy-evm wants an EVM: what its own `EthEvm` does, with frames run by a backend.
pub struct JitAlloyEvm<EVM> {
    evm: JitEvm<EVM>,
    inspect: bool,
}

impl<EVM> JitAlloyEvm<EVM> {
    /// An EVM whose transactions are shown to its inspector if `inspect` says so.
    pub fn new(evm: JitEvm<EVM>, inspect: bool) -> Self {
        Self { evm, inspect }
    }

    /// The EVM.
    pub fn inner(&self) -> &JitEvm<EVM> {
        &self.evm
    }

    /// The EVM.
    pub fn inner_mut(&mut self) -> &mut JitEvm<EVM> {
        &mut self.evm
    }

    /// The EVM.
    pub fn into_inner(self) -> JitEvm<EVM> {
        self.evm
    }
}

impl<EVM> fmt::Debug for JitAlloyEvm<EVM> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JitAlloyEvm")
            .field("evm", &self.evm)
            .field("inspect", &self.inspect)
            .finish()
    }
}

/// revm's EVM in revm's context.
type InContext<BLOCK, TX, SPEC, DB, CHAIN, I, INST, P> =
    RevmEvm<Context<BLOCK, TX, CfgEnv<SPEC>, DB, Journal<DB>, CHAIN>, I, INST, P, EthFrame>;

impl<BLOCK, TX, SPEC, DB, CHAIN, I, INST, P> Evm
    for JitAlloyEvm<InContext<BLOCK, TX, SPEC, DB, CHAIN, I, INST, P>>
where
    BLOCK: BlockEnvironment + Clone,
    TX: Transaction + IntoTxEnv<TX>,
    SPEC: Into<SpecId> + fmt::Debug + Copy + Hash + Eq + Send + Sync + Default + 'static,
    DB: Database,
    JitEvm<InContext<BLOCK, TX, SPEC, DB, CHAIN, I, INST, P>>: InspectEvm
        + SystemCallEvm
        + ExecuteEvm<
            Tx = TX,
            Block = BLOCK,
            State = EvmState,
            ExecutionResult = ExecutionResult<HaltReason>,
            Error = EVMError<DB::Error, InvalidTransaction>,
        >,
{
    type DB = DB;
    type Tx = TX;
    type Error = EVMError<DB::Error, InvalidTransaction>;
    type HaltReason = HaltReason;
    type Spec = SPEC;
    type BlockEnv = BLOCK;
    type Precompiles = P;
    type Inspector = I;

    fn block(&self) -> &BLOCK {
        &self.evm.inner().ctx.block
    }

    fn cfg_env(&self) -> &CfgEnv<SPEC> {
        &self.evm.inner().ctx.cfg
    }

    fn chain_id(&self) -> u64 {
        self.cfg_env().chain_id
    }

    fn transact_raw(&mut self, tx: TX) -> Result<ResultAndState<HaltReason>, Self::Error> {
        match self.inspect {
            true => self.evm.inspect_tx(tx),
            false => self.evm.transact(tx),
        }
    }

    fn transact_system_call(
        &mut self,
        caller: Address,
        contract: Address,
        data: Bytes,
    ) -> Result<ResultAndState<HaltReason>, Self::Error> {
        self.evm.system_call_with_caller(caller, contract, data)
    }

    fn finish(self) -> (DB, EvmEnv<SPEC, BLOCK>) {
        let context = self.evm.into_inner().ctx;
        let env = EvmEnv::new(context.cfg, context.block);
        (context.journaled_state.database, env)
    }

    fn set_inspector_enabled(&mut self, enabled: bool) {
        self.inspect = enabled;
    }

    fn components(&self) -> (&DB, &I, &P) {
        let evm = self.evm.inner();
        (
            &evm.ctx.journaled_state.database,
            &evm.inspector,
            &evm.precompiles,
        )
    }

    fn components_mut(&mut self) -> (&mut DB, &mut I, &mut P) {
        let evm = self.evm.inner_mut();
        (
            &mut evm.ctx.journaled_state.database,
            &mut evm.inspector,
            &mut evm.precompiles,
        )
    }
}
