//! Inspectors that watch no steps, and frames that run natively under their eyes.
//!
//! Machine code has no steps to show. What else an inspector is told of, a native frame has: calls and
//! creates are the handler's, which is revm's own; logs and self-destructions are instructions, which
//! machine code leaves to the client's instruction table. [`Observed`] stands between the two and tells
//! the inspector after each instruction what revm's own loop would (`revm_inspector::inspect_instructions`),
//! in the same state of interpreter and journal. As an inspector has the whole interpreter in its hands at a
//! log, what machine code believes of that is compared: where it is another, the interpreter goes on.
//!
//! # Invariants
//!
//! * **N1** A `PhantomData` holds no value and no reference: that its type's lifetimes are forgotten is
//!   seen by nobody, and it is used for nothing but its type's identity.

use crate::{adapter::FrameError, program::CompiledProgram};
use alloy_primitives::{Address, B256, Bytes, Log, U256};
use revm::{
    context::{ContextTr, JournalEntry, JournalTr},
    context_interface::{
        cfg::GasParams,
        context::{SStoreResult, SelfDestructResult, StateLoad},
        host::LoadError,
        journaled_state::{AccountInfoLoad, AccountLoad},
    },
    inspector::{Inspector, JournalExt},
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, Host, Instruction,
        InstructionContext, InstructionExecResult, InstructionResult, InstructionTable,
        Interpreter, InterpreterAction, InterpreterTypes,
        instructions::GasTable,
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LoopControl},
    },
    primitives::hardfork::SpecId,
};
use std::{any::TypeId, cell::Cell, marker::PhantomData, mem::transmute};

/// An inspector, and the promise that it watches no steps: [`Inspector::step`] and
/// [`Inspector::step_end`] are not called, and frames run natively where they can. Calls, creates, logs
/// and self-destructions it is told of as ever, with the same state in its hands.
///
/// As the inspector of a [`JitEvm`](super::JitEvm); within another inspector (a pair, a reference) it
/// leaves out the steps only, and frames are interpreted. If the promise is wrong, the inspector misses
/// steps; the execution is what it would be with any inspector that does nothing at a step.
///
/// Of the tracers in `revm-inspectors` these watch none: `FourByteInspector`, `TransferInspector`, and
/// `TracingInspector` unless its configuration records steps (`record_steps`, `record_state_diff`,
/// `record_opcodes_filter` and what else is part of a step).
///
/// ```
/// use revm::{Context, InspectEvm, MainBuilder, MainContext, context::TxEnv};
/// use revm::inspector::Inspector;
/// use revm::interpreter::{CallInputs, CallOutcome};
/// use revmc_jit::{JitBackend, RuntimeConfig, revm::{CallsOnly, JitEvm}};
///
/// /// Counts calls.
/// struct Calls(usize);
///
/// impl<CTX> Inspector<CTX> for Calls {
///     fn call(&mut self, _: &mut CTX, _: &mut CallInputs) -> Option<CallOutcome> {
///         self.0 += 1;
///         None
///     }
/// }
///
/// let backend = JitBackend::new(RuntimeConfig::default())?;
/// let mut calls = Calls(0);
/// let evm = Context::mainnet().build_mainnet_with_inspector(CallsOnly(&mut calls));
/// let tx = TxEnv::builder().gas_limit(100_000).build().unwrap();
/// JitEvm::new(evm, backend).inspect_tx(tx).unwrap();
/// assert_eq!(calls.0, 1);
/// # Ok::<(), revmc_jit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallsOnly<I>(pub I);

/// Methods of a trait that are those of a field.
macro_rules! forward {
    ($field:tt:
     $(fn $name:ident(&mut $self:ident $(, $given:ident: $kind:ty)*) $(-> $made:ty)?;)*) => {
        $(fn $name(&mut $self $(, $given: $kind)*) $(-> $made)? {
            $self.$field.$name($($given),*)
        })*
    };
    ($field:tt: $(fn $name:ident(&$self:ident $(, $given:ident: $kind:ty)*) -> $made:ty;)*) => {
        $(fn $name(&$self $(, $given: $kind)*) -> $made {
            $self.$field.$name($($given),*)
        })*
    };
}

impl<CTX, INTR, FI, FR, I> Inspector<CTX, INTR, FI, FR> for CallsOnly<I>
where
    INTR: InterpreterTypes,
    I: Inspector<CTX, INTR, FI, FR>,
{
    fn initialize_interp(&mut self, interp: &mut Interpreter<INTR>, context: &mut CTX) {
        self.0.initialize_interp(interp, context);
        // Last: the inspector may have run another EVM.
        LAST.set(Some(identity::<Self>()));
    }

    forward! { 0:
        fn log(&mut self, context: &mut CTX, log: Log);
        fn log_full(&mut self, interp: &mut Interpreter<INTR>, context: &mut CTX, log: Log);
        fn frame_start(&mut self, context: &mut CTX, input: &mut FI) -> Option<FR>;
        fn frame_end(&mut self, context: &mut CTX, input: &FI, result: &mut FR);
        fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome>;
        fn call_end(&mut self, context: &mut CTX, inputs: &CallInputs, outcome: &mut CallOutcome);
        fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome>;
        fn create_end(
            &mut self, context: &mut CTX, inputs: &CreateInputs, outcome: &mut CreateOutcome);
        fn selfdestruct(&mut self, contract: Address, target: Address, value: U256);
    }
}

thread_local! {
    /// The [`CallsOnly`] type that a frame was begun for last.
    static LAST: Cell<Option<TypeId>> = const { Cell::new(None) };
}

/// Whether `I` is known to be a [`CallsOnly`]: it has said so, by its own type. The type of an inspector
/// is the client's choice and bound by revm's trait alone, so that it can be asked in no other way.
pub(super) fn watches_no_steps<I>() -> bool {
    LAST.get() == Some(identity::<I>())
}

/// The identity of a type whatever its lifetimes are.
fn identity<T: ?Sized>() -> TypeId {
    trait Identity {
        fn identity(&self) -> TypeId
        where
            Self: 'static;
    }
    impl<T: ?Sized> Identity for PhantomData<T> {
        fn identity(&self) -> TypeId
        where
            Self: 'static,
        {
            TypeId::of::<Self>()
        }
    }
    let phantom = PhantomData::<T>;
    let short: &dyn Identity = &phantom;
    // SAFETY: N1.
    let long = unsafe { transmute::<&dyn Identity, &(dyn Identity + 'static)>(short) };
    long.identity()
}

/// A host that tells an inspector what each instruction has done.
pub(super) struct Observed<'a, CTX, I> {
    context: &'a mut CTX,
    inspector: &'a mut I,
    table: &'a InstructionTable<EthInterpreter, CTX>,
    /// Whether the inspector has changed what machine code believes, and nobody has asked since.
    changed: &'a Cell<bool>,
    /// Entries of the journal before the last instruction.
    entries: usize,
}

impl<'a, CTX, I> Observed<'a, CTX, I>
where
    CTX: ContextTr<Journal: JournalExt> + Host,
    I: Inspector<CTX, EthInterpreter>,
{
    /// Every instruction through [`observed`].
    const TABLE: &'a InstructionTable<EthInterpreter, Self> = &[Instruction::new(observed); 256];
}

/// [`CompiledProgram::run_frame`] in front of an inspector.
pub(super) fn run_frame<CTX, I>(
    program: &CompiledProgram,
    interpreter: &mut Interpreter<EthInterpreter>,
    table: &InstructionTable<EthInterpreter, CTX>,
    gas_table: &GasTable,
    context: &mut CTX,
    inspector: &mut I,
) -> Result<InterpreterAction, FrameError>
where
    CTX: ContextTr<Journal: JournalExt> + Host,
    I: Inspector<CTX, EthInterpreter>,
{
    let changed = Cell::new(false);
    let mut host = Observed {
        context,
        inspector,
        table,
        changed: &changed,
        entries: 0,
    };
    let table = Observed::TABLE;
    let leaves = || changed.take();
    let action = program.run_frame_leaving(interpreter, table, gas_table, &mut host, leaves)?;
    if action.instruction_result() == Some(InstructionResult::SelfDestruct) {
        let entries = host.context.journal().journal().get(host.entries..);
        if let Some(
            JournalEntry::AccountDestroyed {
                address: contract,
                target: to,
                had_balance: balance,
                ..
            }
            | JournalEntry::BalanceTransfer {
                from: contract,
                to,
                balance,
                ..
            },
        ) = entries.and_then(<[_]>::last)
        {
            host.inspector.selfdestruct(*contract, *to, *balance);
        }
    }
    Ok(action)
}

/// The client's instruction, and its logs to the inspector.
fn observed<CTX, I>(
    instruction: InstructionContext<'_, Observed<'_, CTX, I>, EthInterpreter>,
) -> InstructionExecResult
where
    CTX: ContextTr<Journal: JournalExt> + Host,
    I: Inspector<CTX, EthInterpreter>,
{
    let InstructionContext { interpreter, host } = instruction;
    // Whoever runs an instruction has stepped over its opcode.
    let at = interpreter.bytecode.pc().wrapping_sub(1);
    let opcode = interpreter.bytecode.bytes_ref().get(at);
    let opcode = opcode.copied().unwrap_or_default();
    let journal = host.context.journal();
    let logs = journal.logs().len();
    host.entries = journal.journal().len();
    let result = host.table[opcode as usize].execute(InstructionContext {
        interpreter: &mut *interpreter,
        host: &mut *host.context,
    });
    if host.context.journal().logs().len() == logs {
        return result;
    }
    show(interpreter, host, logs, result)
}

/// What machine code goes on with behind an instruction and does not look at again: the words on the stack,
/// who calls whom with what value, and the fork.
fn believed(
    interpreter: &Interpreter<EthInterpreter>,
) -> (&[U256], (Address, Address, U256, SpecId)) {
    let input = &interpreter.input;
    let (target, caller) = (input.target_address, input.caller_address);
    let spec_id = interpreter.runtime_flag.spec_id;
    (
        interpreter.stack.data(),
        (target, caller, input.call_value, spec_id),
    )
}

/// Shows the inspector the logs from the one with the number `since` on.
#[cold]
fn show<CTX, I>(
    interpreter: &mut Interpreter<EthInterpreter>,
    host: &mut Observed<'_, CTX, I>,
    since: usize,
    result: InstructionExecResult,
) -> InstructionExecResult
where
    CTX: ContextTr<Journal: JournalExt> + Host,
    I: Inspector<CTX, EthInterpreter>,
{
    if let Err(error) = result
        && interpreter.bytecode.action().is_none()
    {
        interpreter.halt(error);
    }
    let (words, others) = believed(interpreter);
    let words = words.to_vec();
    let logs = host.context.journal().logs()[since..].to_vec();
    for log in logs {
        host.inspector.log_full(interpreter, host.context, log);
    }
    if (&words[..], others) != believed(interpreter) {
        host.changed.set(true);
    }
    // Also if the inspector has ended the frame: the action stands, this only ends the run.
    match interpreter.bytecode.is_end() {
        true => Err(result.err().unwrap_or(InstructionResult::Stop)),
        false => result,
    }
}

/// The context's own; whatever the trait provides, the context may do otherwise.
impl<CTX: Host, I> Host for Observed<'_, CTX, I> {
    forward! { context:
        fn basefee(&self) -> U256;
        fn blob_gasprice(&self) -> U256;
        fn gas_limit(&self) -> U256;
        fn difficulty(&self) -> U256;
        fn prevrandao(&self) -> Option<U256>;
        fn block_number(&self) -> U256;
        fn timestamp(&self) -> U256;
        fn beneficiary(&self) -> Address;
        fn slot_num(&self) -> U256;
        fn chain_id(&self) -> U256;
        fn effective_gas_price(&self) -> U256;
        fn caller(&self) -> Address;
        fn blob_hash(&self, number: usize) -> Option<U256>;
        fn max_initcode_size(&self) -> usize;
        fn gas_params(&self) -> &GasParams;
        fn is_amsterdam_eip8037_enabled(&self) -> bool;
    }

    forward! { context:
        fn block_hash(&mut self, number: u64) -> Option<B256>;
        fn selfdestruct(&mut self, address: Address, target: Address, skip_cold_load: bool)
            -> Result<StateLoad<SelfDestructResult>, LoadError>;
        fn log(&mut self, log: Log);
        fn sstore_skip_cold_load(
            &mut self, address: Address, key: U256, value: U256, skip_cold_load: bool)
            -> Result<StateLoad<SStoreResult>, LoadError>;
        fn sstore(&mut self, address: Address, key: U256, value: U256)
            -> Option<StateLoad<SStoreResult>>;
        fn sload_skip_cold_load(&mut self, address: Address, key: U256, skip_cold_load: bool)
            -> Result<StateLoad<U256>, LoadError>;
        fn sload(&mut self, address: Address, key: U256) -> Option<StateLoad<U256>>;
        fn tstore(&mut self, address: Address, key: U256, value: U256);
        fn tload(&mut self, address: Address, key: U256) -> U256;
        fn load_account_info_skip_cold_load(
            &mut self, address: Address, load_code: bool, skip_cold_load: bool)
            -> Result<AccountInfoLoad<'_>, LoadError>;
        fn balance(&mut self, address: Address) -> Option<StateLoad<U256>>;
        fn load_account_delegated(&mut self, address: Address) -> Option<StateLoad<AccountLoad>>;
        fn load_account_code(&mut self, address: Address) -> Option<StateLoad<Bytes>>;
        fn load_account_code_hash(&mut self, address: Address) -> Option<StateLoad<B256>>;
    }
}
