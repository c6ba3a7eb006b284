//! Whole transactions on revm 10, with every call frame run by a [`JitBackend`].
//!
//! Only with the cargo feature `revm-10`. [`handle_register`] makes what revm's builder takes to swap
//! the part of its handler that runs a frame; validation, precompiles, nested calls and creates,
//! the journal and the gas refunds stay revm's own.
//!
//! ```
//! use revmc_jit::revmc::evm::{handle_register, revm::{Evm, InMemoryDB, primitives::*}};
//! use revmc_jit::{JitBackend, RuntimeConfig, revmc};
//!
//! let config = RuntimeConfig { front_end: revmc::front_end(), ..RuntimeConfig::default() };
//! let backend = JitBackend::new(config)?;
//! let target = Address::with_last_byte(0xcc);
//! let mut db = InMemoryDB::default();
//! let code = Bytecode::new_raw(bytes!("6001600201600055")); // storage[0] = 1 + 2
//! db.insert_account_info(target, AccountInfo::new(U256::ZERO, 1, code.hash_slow(), code));
//!
//! let mut evm = Evm::builder()
//!     .with_db(db)
//!     // The builder's default, the latest fork it has heard of, is interpreted.
//!     .with_spec_id(SpecId::CANCUN)
//!     .append_handler_register_box(handle_register(backend.clone()))
//!     .modify_tx_env(|tx| tx.transact_to = TxKind::Call(target))
//!     .build();
//! // The first calls are interpreted; then the contract has become hot, and native.
//! while backend.stats().hits == 0 {
//!     assert!(evm.transact_commit()?.is_success());
//! }
//! # assert_eq!(evm.context.evm.db.accounts[&target].storage[&U256::ZERO], U256::from(3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a frame is run
//!
//! * **E1** A call frame is looked up once, when it starts, by the hash that revm's journal holds
//!   for the code and by the rules of the handler. What the backend has no program for is
//!   interpreted, to the end of the frame.
//! * **E2** A frame that a program suspended at a call or create is resumed by that program, which
//!   is kept until then whatever the backend evicts.
//! * **E3** A program of another front end is none, and neither has a fork past Cancun any: the frame is
//!   interpreted.
//! * **E4** Init code is interpreted: it runs once, and revm hashes it for CREATE2 only.
//! * **E5** Where an inspector is registered, everything is interpreted: native code has no steps
//!   to show. revm boxes the instruction table for inspectors; any boxed table is taken for one. A
//!   *plain* table with instructions of the caller's own cannot be told from revm's: do not combine
//!   it with this.
//!
//! Register this after whatever else replaces the handler's `execute_frame`; what it replaces is
//! what interprets.
//!
//! The hash of an account's code is believed (revm does, too): a database that reports the hash of
//! one contract with the code of another gets the program of the former, unless their lengths
//! differ.

pub use revm_10 as revm;

use super::{Program, key_spec_id, program::MAX_RESUME_INDEX};
use crate::{
    backend::{JitBackend, LookupDecision},
    key::RuntimeCacheKey,
    program::CompiledProgram,
};
use alloy_primitives::{B256, Bytes};
use revm_10::{
    Database, Frame,
    handler::register::{EvmHandler, HandleRegisterBox},
    interpreter::{Contract, Interpreter, InterpreterAction, opcode::InstructionTables},
    primitives::{EVMError, SpecId},
};
use std::{cell::RefCell, sync::Arc};

/// The handler register that runs call frames through `backend`, for
/// [`append_handler_register_box`](revm_10::EvmBuilder::append_handler_register_box).
///
/// Blocks where [`JitBackend::lookup`] does, which is only in
/// [blocking mode](crate::RuntimeConfig::blocking). The cost of an interpreted frame is reported
/// with [`JitBackend::record_interpreted`].
///
/// A transaction fails with [`EVMError::Custom`] if a frame that was suspended natively cannot be
/// resumed. That takes a caller who runs the handler's frames out of order, or changes them.
pub fn handle_register<EXT, DB: Database>(backend: JitBackend) -> HandleRegisterBox<EXT, DB> {
    Box::new(move |handler| register(handler, backend.clone()))
}

fn register<'a, EXT, DB: Database>(handler: &mut EvmHandler<'a, EXT, DB>, backend: JitBackend) {
    let spec_id = handler.cfg.spec_id;
    let interpret = handler.execution.execute_frame.clone();
    let suspended = RefCell::new(Suspended::default());
    handler.execution.execute_frame = Arc::new(move |frame, memory, tables, context| {
        let depth = context.evm.journaled_state.depth();
        let is_call = matches!(frame, Frame::Call(_));
        let interpreter = frame.interpreter_mut();
        let stage = stage(interpreter);
        let program = match stage {
            Stage::Interpreted => None,
            Stage::Suspended => {
                // E2
                let program = suspended.borrow_mut().take(depth);
                Some(program.ok_or_else(|| broken("no program is waiting for this frame"))?)
            }
            // E1
            Stage::Fresh => {
                suspended.borrow_mut().forget_from(depth);
                // E4, E5
                if is_call && matches!(tables, InstructionTables::Plain(_)) {
                    lookup(&backend, spec_id, &interpreter.contract)
                } else {
                    None
                }
            }
        };
        // E3
        if let Some(program) = program
            && let Some(native) = Program::of(&program)
        {
            match native.run_frame(interpreter, memory, context) {
                Ok(action) => {
                    if !action.is_return() {
                        suspended.borrow_mut().push(depth, program);
                    }
                    return Ok(action);
                }
                // The frame is untouched.
                Err(_) if stage == Stage::Fresh => {}
                Err(error) => return Err(broken(error)),
            }
        }
        let before = interpreter.gas.remaining();
        let action = interpret(frame, memory, tables, context)?;
        if is_call {
            let interpreter = frame.interpreter();
            let spent = before.saturating_sub(interpreter.gas.remaining());
            if let Some((key, code)) = identity(spec_id, &interpreter.contract) {
                backend.record_interpreted(&key, &code, spent.saturating_sub(lent(&action)));
            }
        }
        Ok(action)
    });
}

/// Where a frame stands.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// At its beginning: anything may run it.
    Fresh,
    /// In the middle of an interpreted run.
    Interpreted,
    /// Suspended by a program.
    Suspended,
}

/// A program leaves its resume index where the interpreter keeps its program counter; an address
/// is never that small ([`Program::run_frame`]). The interpreter suspends a frame behind
/// an instruction, so never at its beginning.
fn stage(interpreter: &Interpreter) -> Stage {
    let at = interpreter.instruction_pointer;
    if at == interpreter.bytecode.as_ptr() {
        Stage::Fresh
    } else if at.addr() <= MAX_RESUME_INDEX {
        Stage::Suspended
    } else {
        Stage::Interpreted
    }
}

fn lookup(
    backend: &JitBackend,
    spec_id: SpecId,
    contract: &Contract,
) -> Option<Arc<CompiledProgram>> {
    let (key, code) = identity(spec_id, contract)?;
    match backend.lookup_ref(&key, &code) {
        LookupDecision::Compiled(program) => Some(program),
        LookupDecision::Interpret(_) => None,
    }
}

/// What a contract is called in the backend, and its code as deployed. Copies no bytes.
fn identity(spec_id: SpecId, contract: &Contract) -> Option<(RuntimeCacheKey, Bytes)> {
    let key = RuntimeCacheKey {
        code_hash: B256::from(contract.hash?.0),
        spec_id: key_spec_id(spec_id)?,
    };
    Some((key, Bytes::from(contract.bytecode.original_bytes().0)))
}

/// Gas that a frame has handed to the one it starts: not spent by its own code.
fn lent(action: &InterpreterAction) -> u64 {
    match action {
        InterpreterAction::Call { inputs } => inputs.gas_limit,
        InterpreterAction::Create { inputs } => inputs.gas_limit,
        InterpreterAction::EOFCreate { inputs } => inputs.gas_limit,
        InterpreterAction::Return { .. } | InterpreterAction::None => 0,
    }
}

fn broken<E>(why: impl std::fmt::Display) -> EVMError<E> {
    EVMError::Custom(format!(
        "a natively suspended frame cannot be resumed: {why}"
    ))
}

/// The programs of natively suspended frames, innermost last, each with the depth of its frame in
/// revm's journal.
#[derive(Default)]
struct Suspended(Vec<(u64, Arc<CompiledProgram>)>);

impl Suspended {
    fn push(&mut self, depth: u64, program: Arc<CompiledProgram>) {
        self.forget_from(depth);
        self.0.push((depth, program));
    }

    fn take(&mut self, depth: u64) -> Option<Arc<CompiledProgram>> {
        self.forget_from(depth + 1);
        self.0
            .pop_if(|(at, _)| *at == depth)
            .map(|(_, program)| program)
    }

    /// Drops what frames of a transaction that ended in a database's error have left behind.
    fn forget_from(&mut self, depth: u64) {
        while self.0.pop_if(|(at, _)| *at >= depth).is_some() {}
    }
}
