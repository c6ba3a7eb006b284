//! Whole transactions, with every call frame run natively where there is a program for it.
//!
//! # How a frame is run
//!
//! * **E1** Each time a frame goes on, its program is looked up by the hash of the code that runs (with
//!   EIP-7702 that of the delegate) and the fork of the frame. A frame may change sides between two
//!   calls, and a program may be evicted in the middle of a transaction.
//! * **E2** Init code is interpreted: it runs once.
//! * **E3** With an inspector, frames are interpreted, as machine code has no steps to show; unless the
//!   inspector is a [`CallsOnly`](super::CallsOnly): then they run natively under its eyes.
//! * **E4** What is interpreted goes through the wrapped EVM's own `frame_run`.
//! * **E5** The gas table is compared with the program's rules at the first native frame of a transaction,
//!   and at the next one after the instructions have been in somebody's hands. Between these nobody
//!   can change it but the wrapped EVM's own methods, which have no business with prices.
//!
//! The hash of an account's code is believed (revm does, too): a database that reports the hash of
//! one contract with the code of another gets the program of the former, unless their lengths
//! differ.

use super::inspect::{self, watches_no_steps};
use crate::{
    BorrowedDecision, CompiledProgram, InterpretReason, JitBackend, RuntimeCacheKey,
    adapter::FrameError, backend::Code, compiler::Rules,
};
use alloy_primitives::{Address, Bytes};
use revm::{
    DatabaseCommit, ExecuteCommitEvm, ExecuteEvm, InspectCommitEvm, InspectEvm,
    InspectSystemCallEvm, Inspector, SystemCallCommitEvm, SystemCallEvm,
    context::{
        ContextSetters, ContextTr, Evm, FrameStack, JournalTr,
        result::{EVMError, ExecResultAndState, ExecutionResult, HaltReason, InvalidTransaction},
    },
    context_interface::Database,
    handler::{
        EthFrame, EvmTr, FrameInitOrResult, FrameTr, Handler, ItemOrResult, MainnetHandler,
        PrecompileProvider,
        evm::{ContextDbError, FrameInitResult},
        instructions::InstructionProvider,
        system_call::SystemCallTx,
    },
    inspector::{InspectorEvmTr, InspectorHandler, JournalExt, handler::frame_end},
    interpreter::{
        CallInput, FrameInput, Interpreter, InterpreterResult,
        instructions::GasTable,
        interpreter::{EthInterpreter, ExtBytecode},
        interpreter_types::{Jumps, LegacyBytecode, MemoryTr},
    },
    state::EvmState,
};
use std::{fmt, sync::Arc};

/// An EVM that runs its call frames through a [`JitBackend`]: a wrapper of revm's own, or of any with
/// its frames, contexts and instructions.
///
/// Everything but [`EvmTr::frame_run`] is the wrapped EVM's. Blocks where [`JitBackend::lookup`] does,
/// which is only in [blocking mode](crate::RuntimeConfig::blocking). The cost of an interpreted frame is
/// reported with [`JitBackend::record_interpreted`], the input of one that
/// may become a program's with [`JitBackend::record_input`].
///
/// A transaction begins and ends on one thread: a program that runs is protected in its thread's name, so that a
/// task which moves to another in the middle of a frame (with revm's `asyncdb`, say) must not hold one.
///
/// The backend's [`Chain`](crate::RuntimeConfig::chain) has to be that of the wrapped EVM: its gas
/// table is compared, in each transaction and after each call that lends the instructions; its instruction
/// table cannot be.
///
/// ```
/// use revm::{Context, ExecuteCommitEvm, MainBuilder, MainContext, context::TxEnv};
/// use revm::{database::InMemoryDB, primitives::{Address, TxKind, U256, bytes, hardfork::SpecId}};
/// use revm::state::{AccountInfo, Bytecode};
/// use revmc_jit::{JitBackend, RuntimeConfig, revm::JitEvm};
///
/// let backend = JitBackend::new(RuntimeConfig::default())?;
/// let target = Address::with_last_byte(0xcc);
/// let mut db = InMemoryDB::default();
/// let code = Bytecode::new_legacy(bytes!("6001600201600055")); // storage[0] = 1 + 2
/// db.insert_account_info(target, AccountInfo::new(U256::ZERO, 1, code.hash_slow(), code));
///
/// let evm = Context::mainnet().with_db(db).build_mainnet();
/// let mut evm = JitEvm::new(evm, backend.clone());
/// // The first calls are interpreted; then the contract has become hot, and native.
/// for nonce in (0..).take_while(|_| backend.stats().hits == 0) {
///     let tx = TxEnv::builder().kind(TxKind::Call(target)).gas_limit(100_000).nonce(nonce);
///     let tx = tx.build().unwrap();
///     assert!(evm.transact_commit(tx).unwrap().is_success());
/// }
/// # Ok::<(), revmc_jit::Error>(())
/// ```
pub struct JitEvm<EVM> {
    evm: EVM,
    backend: JitBackend,
    /// Whether the inspector's type is known to watch no steps.
    calls_only: bool,
    /// The rules whose prices the wrapped EVM's gas table has (E5).
    priced: Option<Arc<Rules>>,
}

impl<EVM> JitEvm<EVM> {
    /// Wraps `evm`.
    pub fn new(evm: EVM, backend: JitBackend) -> Self {
        Self {
            evm,
            backend,
            calls_only: false,
            priced: None,
        }
    }

    /// The wrapped EVM.
    pub fn inner(&self) -> &EVM {
        &self.evm
    }

    /// The wrapped EVM.
    #[inline]
    pub fn inner_mut(&mut self) -> &mut EVM {
        // E5: with it go the instructions.
        self.priced = None;
        &mut self.evm
    }

    /// The wrapped EVM, without the backend.
    pub fn into_inner(self) -> EVM {
        self.evm
    }

    /// The backend.
    pub fn backend(&self) -> &JitBackend {
        &self.backend
    }
}

impl<EVM> fmt::Debug for JitEvm<EVM> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JitEvm")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl Code for ExtBytecode {
    fn as_slice(&self) -> &[u8] {
        self.bytecode_slice()
    }

    fn to_bytes(&self) -> Bytes {
        self.original_bytes()
    }
}

/// A mainnet frame.
type Frame = EthFrame<EthInterpreter>;

/// What the frame's contract is called in the backend (E1).
#[inline]
fn key_of(frame: &Frame) -> Option<RuntimeCacheKey> {
    // E2
    if frame.data.is_create() {
        return None;
    }
    let interpreter = &frame.interpreter;
    Some(RuntimeCacheKey {
        code_hash: interpreter.bytecode.hash()?,
        spec_id: interpreter.runtime_flag.spec_id,
    })
}

/// What a [`JitEvm`] wraps: any EVM with mainnet's frames, and instructions for them.
pub trait MainnetFrames:
    EvmTr<
        Frame = Frame,
        Instructions: InstructionProvider<
            Context = <Self as EvmTr>::Context,
            InterpreterTypes = EthInterpreter,
        >,
    >
{
}

impl<EVM> MainnetFrames for EVM where
    EVM: EvmTr<
            Frame = Frame,
            Instructions: InstructionProvider<
                Context = EVM::Context,
                InterpreterTypes = EthInterpreter,
            >,
        >
{
}

impl<EVM: MainnetFrames> EvmTr for JitEvm<EVM> {
    type Context = EVM::Context;
    type Instructions = EVM::Instructions;
    type Precompiles = EVM::Precompiles;
    type Frame = Frame;

    #[inline]
    fn all(
        &self,
    ) -> (
        &Self::Context,
        &Self::Instructions,
        &Self::Precompiles,
        &FrameStack<Frame>,
    ) {
        self.evm.all()
    }

    #[inline]
    fn all_mut(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<Frame>,
    ) {
        self.inner_mut().all_mut()
    }

    // E5: these lend no instructions.

    #[inline]
    fn ctx(&mut self) -> &mut Self::Context {
        self.evm.ctx()
    }

    #[inline]
    fn ctx_precompiles(&mut self) -> (&mut Self::Context, &mut Self::Precompiles) {
        self.evm.ctx_precompiles()
    }

    #[inline]
    fn frame_stack(&mut self) -> &mut FrameStack<Frame> {
        self.evm.frame_stack()
    }

    #[inline]
    fn frame_init(
        &mut self,
        input: <Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Frame>, ContextDbError<Self::Context>> {
        // E5
        if input.depth == 0 {
            self.priced = None;
        }
        self.evm.frame_init(input)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Frame>, ContextDbError<Self::Context>> {
        let Self {
            evm,
            backend,
            priced,
            ..
        } = self;
        let (context, instructions, _, frames) = evm.all_mut();
        let frame = frames.get();
        let Some(key) = key_of(frame) else {
            return evm.frame_run();
        };
        let decision = backend.lookup_borrowed_of(&key, &frame.interpreter.bytecode);
        if let BorrowedDecision::Interpret(InterpretReason::NotReady) = decision {
            show_input(backend, &key, &frame.interpreter);
        }
        if let BorrowedDecision::Compiled(program) = decision {
            let (table, gas_table) = (instructions.instruction_table(), instructions.gas_table());
            let interpreter = &mut frame.interpreter;
            let ran = price(priced, &program, gas_table)
                .and_then(|()| program.run_looked_up(interpreter, table, gas_table, context));
            match ran {
                Ok(ran) => {
                    drop(program);
                    let action = ran.action(interpreter, table, gas_table, context);
                    return frame.process_next_action(context, action).inspect(|next| {
                        if next.is_result() {
                            frame.set_finished(true);
                        }
                    });
                }
                // E4: the frame is untouched.
                Err(_) => backend.count_refused_frame(),
            }
        }
        interpret(evm, backend, key, EVM::frame_run)
    }

    #[inline]
    fn frame_return_result(
        &mut self,
        result: <Frame as FrameTr>::FrameResult,
    ) -> Result<Option<<Frame as FrameTr>::FrameResult>, ContextDbError<Self::Context>> {
        self.evm.frame_return_result(result)
    }
}

/// E5: compares the gas table with the program's rules, unless it is known to have their prices.
#[inline]
fn price(
    priced: &mut Option<Arc<Rules>>,
    program: &CompiledProgram,
    gas_table: &GasTable,
) -> Result<(), FrameError> {
    let rules = program.rules();
    let known = |priced: &Arc<Rules>| Arc::ptr_eq(priced, rules);
    if !priced.as_ref().is_some_and(known) {
        program.compare_prices(gas_table)?;
        *priced = Some(Arc::clone(rules));
    }
    Ok(())
}

/// Shows the backend the input of a frame that begins.
fn show_input(
    backend: &JitBackend,
    key: &RuntimeCacheKey,
    interpreter: &Interpreter<EthInterpreter>,
) {
    if interpreter.bytecode.pc() != 0 {
        return;
    }
    match &interpreter.input.input {
        CallInput::Bytes(input) => backend.record_input(key, input),
        CallInput::SharedBuffer(range)
            if range.end <= interpreter.memory.local_memory_offset() && !range.is_empty() =>
        {
            let input = interpreter.memory.global_slice(range.clone());
            backend.record_input(key, &input);
        }
        CallInput::SharedBuffer(_) => {}
    }
}

/// E4, and reports the work.
fn interpret<EVM: EvmTr<Frame = Frame>>(
    evm: &mut EVM,
    backend: &JitBackend,
    key: RuntimeCacheKey,
    frame_run: impl FnOnce(&mut EVM) -> Result<FrameInitOrResult<Frame>, ContextDbError<EVM::Context>>,
) -> Result<FrameInitOrResult<Frame>, ContextDbError<EVM::Context>> {
    let before = evm.frame_stack().get().interpreter.gas.remaining();
    let next = frame_run(evm)?;
    let frame = evm.frame_stack().get();
    let spent = before.saturating_sub(frame.interpreter.gas.remaining());
    let code = &frame.interpreter.bytecode;
    backend.record_interpreted_of(&key, code, spent.saturating_sub(lent(&next)));
    Ok(next)
}

/// Gas that a frame has handed to the one it starts: not spent by its own code.
fn lent(next: &FrameInitOrResult<Frame>) -> u64 {
    match next {
        ItemOrResult::Item(init) => match &init.frame_input {
            FrameInput::Call(inputs) => inputs.gas_limit,
            FrameInput::Create(inputs) => inputs.gas_limit(),
            FrameInput::Empty => 0,
        },
        ItemOrResult::Result(_) => 0,
    }
}

/// The error of a transaction on `EVM`.
type TransactionError<EVM> =
    EVMError<<<<EVM as EvmTr>::Context as ContextTr>::Db as Database>::Error, InvalidTransaction>;

/// An EVM whose transactions mainnet's handler runs, so that [`JitEvm`] can run them as they are.
///
/// revm's own is one. One of another type may have a handler of its own, with other fees, checks or rewards:
/// nothing in its types says so, so it is run by that, `handler.run(&mut jit_evm)`, or says here that it has none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not known to be run by mainnet's handler",
    note = "run it by its own, `handler.run(&mut jit_evm)`, or implement `MainnetHandled` if that is mainnet's"
)]
pub trait MainnetHandled: MainnetFrames {}

impl<CTX, INSP, I, P> MainnetHandled for Evm<CTX, INSP, I, P, Frame> where Self: MainnetFrames {}

/// As the wrapped EVM's own.
impl<EVM> ExecuteEvm for JitEvm<EVM>
where
    EVM: ExecuteEvm<
            ExecutionResult = ExecutionResult<HaltReason>,
            State = EvmState,
            Error = TransactionError<EVM>,
        > + MainnetHandled<
            Context: ContextTr<Journal: JournalTr<State = EvmState>> + ContextSetters,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    type ExecutionResult = ExecutionResult<HaltReason>;
    type State = EvmState;
    type Error = TransactionError<EVM>;
    type Tx = <EVM::Context as ContextTr>::Tx;
    type Block = <EVM::Context as ContextTr>::Block;

    fn set_block(&mut self, block: Self::Block) {
        self.ctx_mut().set_block(block);
    }

    fn transact_one(&mut self, tx: Self::Tx) -> Result<Self::ExecutionResult, Self::Error> {
        self.ctx_mut().set_tx(tx);
        MainnetHandler::default().run(self)
    }

    fn finalize(&mut self) -> Self::State {
        self.ctx_mut().journal_mut().finalize()
    }

    fn replay(
        &mut self,
    ) -> Result<ExecResultAndState<Self::ExecutionResult, Self::State>, Self::Error> {
        let result: Result<_, Self::Error> = MainnetHandler::default().run(self);
        // Also after an error: the journal is emptied.
        let state = self.finalize();
        Ok(ExecResultAndState::new(result?, state))
    }
}

impl<EVM> ExecuteCommitEvm for JitEvm<EVM>
where
    Self: ExecuteEvm<State = EvmState>,
    EVM: MainnetFrames<Context: ContextTr<Db: DatabaseCommit>>,
{
    fn commit(&mut self, state: Self::State) {
        self.ctx_mut().db_mut().commit(state);
    }
}

impl<EVM> SystemCallEvm for JitEvm<EVM>
where
    Self: ExecuteEvm<ExecutionResult = ExecutionResult<HaltReason>, Error = TransactionError<EVM>>,
    EVM: MainnetHandled<
            Context: ContextTr<Journal: JournalTr<State = EvmState>, Tx: SystemCallTx>
                         + ContextSetters,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    fn system_call_one_with_caller(
        &mut self,
        caller: Address,
        system_contract_address: Address,
        data: Bytes,
    ) -> Result<Self::ExecutionResult, Self::Error> {
        let tx = SystemCallTx::new_system_tx_with_caller(caller, system_contract_address, data);
        self.ctx_mut().set_tx(tx);
        MainnetHandler::default().run_system_call(self)
    }
}

impl<EVM> SystemCallCommitEvm for JitEvm<EVM>
where
    Self: SystemCallEvm + ExecuteCommitEvm,
{
    fn system_call_with_caller_commit(
        &mut self,
        caller: Address,
        system_contract_address: Address,
        data: Bytes,
    ) -> Result<Self::ExecutionResult, Self::Error> {
        let result = self.system_call_with_caller(caller, system_contract_address, data)?;
        self.commit(result.state);
        Ok(result.result)
    }
}

impl<EVM> InspectorEvmTr for JitEvm<EVM>
where
    EVM: InspectorEvmTr<Context: ContextTr<Journal: JournalExt>> + MainnetFrames,
{
    type Inspector = EVM::Inspector;

    fn inspect_frame_init(
        &mut self,
        input: <Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Frame>, ContextDbError<Self::Context>> {
        self.evm.inspect_frame_init(input)
    }

    fn inspect_frame_run(
        &mut self,
    ) -> Result<FrameInitOrResult<Frame>, ContextDbError<Self::Context>> {
        // E3
        self.calls_only = self.calls_only || watches_no_steps::<EVM::Inspector>();
        if !self.calls_only {
            return self.evm.inspect_frame_run();
        }
        let Self { evm, backend, .. } = self;
        let (context, instructions, _, frames, inspector) = evm.all_mut_inspector();
        let frame = frames.get();
        let Some(key) = key_of(frame) else {
            return evm.inspect_frame_run();
        };
        let decision = backend.lookup_borrowed_of(&key, &frame.interpreter.bytecode);
        if let BorrowedDecision::Compiled(program) = decision {
            let action = inspect::run_frame(
                &program,
                &mut frame.interpreter,
                instructions.instruction_table(),
                instructions.gas_table(),
                context,
                inspector,
            );
            match action {
                Ok(action) => {
                    drop(program);
                    let mut next = frame.process_next_action(context, action);
                    if let Ok(ItemOrResult::Result(result)) = &mut next {
                        frame_end(context, inspector, &frame.input, result);
                        frame.set_finished(true);
                    }
                    return next;
                }
                // E4
                Err(_) => backend.count_refused_frame(),
            }
        }
        interpret(evm, backend, key, EVM::inspect_frame_run)
    }

    fn all_inspector(
        &self,
    ) -> (
        &Self::Context,
        &Self::Instructions,
        &Self::Precompiles,
        &FrameStack<Frame>,
        &Self::Inspector,
    ) {
        self.evm.all_inspector()
    }

    fn all_mut_inspector(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<Frame>,
        &mut Self::Inspector,
    ) {
        self.inner_mut().all_mut_inspector()
    }
}

impl<EVM> InspectEvm for JitEvm<EVM>
where
    Self: ExecuteEvm<
            ExecutionResult = ExecutionResult<HaltReason>,
            State = EvmState,
            Error = TransactionError<EVM>,
            Tx = <EVM::Context as ContextTr>::Tx,
        >,
    EVM: MainnetHandled
        + InspectorEvmTr<
            Context: ContextTr<Journal: JournalTr<State = EvmState> + JournalExt> + ContextSetters,
            Inspector: Inspector<EVM::Context, EthInterpreter>,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    type Inspector = EVM::Inspector;

    fn set_inspector(&mut self, inspector: Self::Inspector) {
        *self.evm.inspector() = inspector;
    }

    fn inspect_one_tx(&mut self, tx: Self::Tx) -> Result<Self::ExecutionResult, Self::Error> {
        self.ctx_mut().set_tx(tx);
        MainnetHandler::default().inspect_run(self)
    }
}

impl<EVM> InspectCommitEvm for JitEvm<EVM> where Self: InspectEvm + ExecuteCommitEvm {}

impl<EVM> InspectSystemCallEvm for JitEvm<EVM>
where
    Self: ExecuteEvm<
            ExecutionResult = ExecutionResult<HaltReason>,
            State = EvmState,
            Error = TransactionError<EVM>,
            Tx = <EVM::Context as ContextTr>::Tx,
        >,
    EVM: MainnetHandled
        + InspectorEvmTr<
            Context: ContextTr<
                Journal: JournalTr<State = EvmState> + JournalExt,
                Tx: SystemCallTx,
            > + ContextSetters,
            Inspector: Inspector<EVM::Context, EthInterpreter>,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    fn inspect_one_system_call_with_caller(
        &mut self,
        caller: Address,
        system_contract_address: Address,
        data: Bytes,
    ) -> Result<Self::ExecutionResult, Self::Error> {
        let tx = SystemCallTx::new_system_tx_with_caller(caller, system_contract_address, data);
        self.ctx_mut().set_tx(tx);
        MainnetHandler::default().inspect_run_system_call(self)
    }
}
