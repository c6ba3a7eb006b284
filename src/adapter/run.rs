//! Running a frame: machine code as far as it goes, the interpreter where it does not.

use super::{
    error::FrameError,
    shims::{Context, Eth, load_all, store},
    switch::{Asking, Never, Switch},
};
use crate::{
    frame::{Exit, NativeFrame, STACK_LIMIT, boundary_parts},
    program::CompiledProgram,
};
use revm_interpreter::{
    GasTable, Host, InstructionContext, InstructionResult, InstructionTable, Interpreter,
    InterpreterAction,
    interpreter_types::{Jumps, LegacyBytecode, LoopControl, RuntimeFlag},
};
use std::panic::resume_unwind;

/// Who goes on with a frame.
enum Next {
    /// Whoever can, from where the interpreter stands.
    Either,
    /// The interpreter with one instruction, which is this opcode, then whoever can.
    Step(u8),
    /// The interpreter, as far as it goes.
    Interpreter,
    /// Nobody: an instruction has ended the run.
    Nobody(InstructionResult),
}

/// What machine code has left of a frame.
#[must_use]
pub(crate) enum Ran {
    /// An action, which the interpreter holds.
    Ended,
    /// The rest, from where the interpreter stands.
    Left,
}

impl Ran {
    /// The frame's action, once the interpreter has done what is left.
    #[inline(always)]
    pub(crate) fn action<EXT, H: Host + ?Sized>(
        self,
        interpreter: &mut Interpreter<Eth<EXT>>,
        table: &InstructionTable<Eth<EXT>, H>,
        gas_table: &GasTable,
        host: &mut H,
    ) -> InterpreterAction {
        match self {
            Self::Ended => interpreter.take_next_action(),
            Self::Left => interpreter.run_plain(table, gas_table, host),
        }
    }
}

impl CompiledProgram {
    /// Runs a frame from where it stands until it ends, or is suspended at a call or a create, as
    /// [`Interpreter::run_plain`] does: the action, the interpreter's state and what the host is
    /// asked are the same.
    ///
    /// The frame may have been suspended by a program or by the interpreter, and may be continued
    /// by either. A panic of the host or of an instruction passes through. Blocks only as they do.
    /// Machine code takes at most [`MAX_NATIVE_STACK`](crate::frame::MAX_NATIVE_STACK) bytes of the
    /// thread's stack, besides what the interpreter's instructions and the host take. KECCAK256 of up to 88
    /// bytes is remembered: a thread with such a hash keeps 128 KiB until it ends, which it takes from the
    /// heap once ([`forget_hashes`](crate::revm::forget_hashes)).
    ///
    /// `table` is the instruction table for the program's [rules](Self::rules): its instructions
    /// run wherever the rules do not call an opcode [standard](crate::compiler::Rules::is_standard)
    /// or machine code has not got it in line, and for every failure. That an instruction which is
    /// standard by the rules does what mainnet's does is believed. So is the hash of the frame's code
    /// (as revm itself does): a frame with the hash of one contract and the code of another of the
    /// same length may compute nonsense.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if the program is not for this frame. The frame is untouched then.
    ///
    /// ```
    /// use revm_interpreter::{
    ///     InputsImpl, InstructionResult, Interpreter, SharedMemory, host::DummyHost,
    ///     instruction_table, instructions::gas_table_spec,
    ///     interpreter::{EthInterpreter, ExtBytecode},
    /// };
    /// use revmc_jit::{JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig};
    /// use revmc_jit::primitives::{Bytecode, Bytes, SpecId, keccak256};
    ///
    /// let code = Bytes::from_static(&[0x60, 0x01, 0x60, 0x02, 0x01, 0x00]); // 1 + 2; stop
    /// let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::OSAKA };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// backend.compile_jit_sync(LookupRequest { key, code: code.clone() })?;
    /// let program = backend.get_compiled(key.code_hash, key.spec_id).expect("resident");
    ///
    /// let mut interpreter = Interpreter::<EthInterpreter>::new(
    ///     SharedMemory::new(),
    ///     ExtBytecode::new_with_hash(Bytecode::new_legacy(code), key.code_hash),
    ///     InputsImpl::default(),
    ///     false,
    ///     key.spec_id,
    ///     100,
    /// );
    /// let mut host = DummyHost::new(key.spec_id);
    /// let action = program.run_frame(
    ///     &mut interpreter,
    ///     &instruction_table(),
    ///     &gas_table_spec(key.spec_id),
    ///     &mut host,
    /// ).expect("the program is for this frame");
    /// assert_eq!(action.instruction_result(), Some(InstructionResult::Stop));
    /// assert_eq!(interpreter.gas.remaining(), 100 - 3 * 3);
    /// # Ok::<(), revmc_jit::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the host or an instruction does.
    #[inline]
    pub fn run_frame<EXT, H: Host + ?Sized>(
        &self,
        interpreter: &mut Interpreter<Eth<EXT>>,
        table: &InstructionTable<Eth<EXT>, H>,
        gas_table: &GasTable,
        host: &mut H,
    ) -> Result<InterpreterAction, FrameError> {
        self.run_compared(interpreter, table, gas_table, host, &mut Never)
    }

    /// [`run_frame`](Self::run_frame) for a frame by whose hash and fork the program was looked up, and for a gas table
    /// that has been [compared](Self::compare_prices). The action is still to be taken.
    ///
    /// # Errors
    ///
    /// As [`run_frame`](Self::run_frame).
    #[cfg(feature = "revm")]
    #[inline]
    pub(crate) fn run_looked_up<EXT, H: Host + ?Sized>(
        &self,
        interpreter: &mut Interpreter<Eth<EXT>>,
        table: &InstructionTable<Eth<EXT>, H>,
        gas_table: &GasTable,
        host: &mut H,
    ) -> Result<Ran, FrameError> {
        debug_assert_eq!(self.compare_code(interpreter), Ok(()));
        self.run(interpreter, table, gas_table, host, &mut Never)
    }

    /// [`run_frame`](Self::run_frame), leaving machine code behind each boundary instruction for which
    /// `leaves` says so.
    ///
    /// # Errors
    ///
    /// As [`run_frame`](Self::run_frame).
    #[cfg(feature = "revm")]
    pub(crate) fn run_frame_leaving<EXT, H: Host + ?Sized>(
        &self,
        interpreter: &mut Interpreter<Eth<EXT>>,
        table: &InstructionTable<Eth<EXT>, H>,
        gas_table: &GasTable,
        host: &mut H,
        leaves: impl FnMut() -> bool,
    ) -> Result<InterpreterAction, FrameError> {
        let leaves = &mut Asking::<_, false>(leaves);
        self.run_compared(interpreter, table, gas_table, host, leaves)
    }

    /// [`run_frame`](Self::run_frame), changing sides wherever `switch` says so: at each program
    /// counter at which the frame could enter machine code, behind each boundary instruction, and
    /// where memory grows.
    ///
    /// # Errors
    ///
    /// As [`run_frame`](Self::run_frame).
    #[doc(hidden)]
    pub fn run_frame_switching<EXT, H: Host + ?Sized>(
        &self,
        interpreter: &mut Interpreter<Eth<EXT>>,
        table: &InstructionTable<Eth<EXT>, H>,
        gas_table: &GasTable,
        host: &mut H,
        switch: impl FnMut() -> bool,
    ) -> Result<InterpreterAction, FrameError> {
        let switch = &mut Asking::<_, true>(switch);
        self.run_compared(interpreter, table, gas_table, host, switch)
    }

    /// Runs any frame, to its action.
    #[inline(always)]
    fn run_compared<EXT, H: Host + ?Sized, S: Switch>(
        &self,
        interpreter: &mut Interpreter<Eth<EXT>>,
        table: &InstructionTable<Eth<EXT>, H>,
        gas_table: &GasTable,
        host: &mut H,
        switch: &mut S,
    ) -> Result<InterpreterAction, FrameError> {
        self.compare_code(interpreter)?;
        self.compare_prices(gas_table)?;
        let ran = self.run(interpreter, table, gas_table, host, switch)?;
        Ok(ran.action(interpreter, table, gas_table, host))
    }

    #[inline(always)]
    fn run<EXT, H: Host + ?Sized, S: Switch>(
        &self,
        interpreter: &mut Interpreter<Eth<EXT>>,
        table: &InstructionTable<Eth<EXT>, H>,
        gas_table: &GasTable,
        host: &mut H,
        switch: &mut S,
    ) -> Result<Ran, FrameError> {
        self.admit(interpreter)?;
        let mut frame = NativeFrame::EMPTY;
        load_all(&mut frame, interpreter)?;
        let frame = &mut frame;
        frame.shims = Context::<EXT, H, S>::SHIMS;
        loop {
            let next = match self.entry(interpreter).filter(|_| !switch.switch()) {
                Some(entry) => {
                    frame.entry = entry;
                    self.enter(frame, interpreter, table, host, switch)
                }
                None => Next::Interpreter,
            };
            let stepped = match next {
                Next::Nobody(result) => return Ok(end(interpreter, result)),
                Next::Either => Ok(()),
                Next::Step(opcode) => step(interpreter, opcode, table, gas_table, host),
                Next::Interpreter if S::SWITCHES => interpreter.step(table, gas_table, host),
                Next::Interpreter => return Ok(Ran::Left),
            };
            if let Err(result) = stepped {
                return Ok(end(interpreter, result));
            }
            // The instruction is the client's, and has had the whole interpreter in its hands: code,
            // stack, memory and input may be others; the gas table is lent to us.
            if self.reload(frame, interpreter).is_err() {
                return Ok(Ran::Left);
            }
        }
    }

    /// Prepares the frame for an interpreter in which foreign code has run.
    #[inline]
    fn reload<EXT>(
        &self,
        frame: &mut NativeFrame,
        interpreter: &mut Interpreter<Eth<EXT>>,
    ) -> Result<(), FrameError> {
        self.compare_code(interpreter)?;
        self.admit(interpreter)?;
        load_all(frame, interpreter)
    }

    /// The operand with which the frame can enter machine code where it stands.
    #[inline(always)]
    fn entry<EXT>(&self, interpreter: &Interpreter<Eth<EXT>>) -> Option<u64> {
        self.entry_at(
            interpreter.bytecode.pc(),
            interpreter.stack.len(),
            interpreter.memory.len(),
            interpreter.gas.remaining(),
        )
    }

    /// Runs machine code from the frame's entry on.
    #[inline(always)]
    fn enter<EXT, H: Host + ?Sized, S: Switch>(
        &self,
        frame: &mut NativeFrame,
        interpreter: &mut Interpreter<Eth<EXT>>,
        table: &InstructionTable<Eth<EXT>, H>,
        host: &mut H,
        switch: &mut S,
    ) -> Next {
        let mut context = Context {
            interpreter,
            table,
            host,
            switch,
            halted: None,
            panic: None,
        };
        frame.context = (&raw mut context).cast();
        // SAFETY: A7 by `run`, whose frame this is; A1 while `context` lives.
        let exit = unsafe { self.entry_point()(frame) };
        let Context {
            interpreter,
            halted,
            panic,
            ..
        } = context;
        let next = match exit {
            Exit::LEAVE => {
                // SAFETY: A6.
                unsafe { store(frame, interpreter, frame.pc as usize, 0) };
                Next::Interpreter
            }
            Exit::STEP => {
                let (pc, opcode) = boundary_parts(frame.pc);
                // SAFETY: A6.
                match unsafe { store(frame, interpreter, pc, opcode) } {
                    true => Next::Step(opcode),
                    false => Next::Interpreter,
                }
            }
            // An instruction that ends the run says with what.
            Exit::HALTED => Next::Nobody(halted.unwrap_or(InstructionResult::Stop)),
            _ => Next::Either,
        };
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        next
    }

    /// Whether a client with this gas table has the prices of the program's [rules](Self::rules).
    #[inline]
    pub(crate) fn compare_prices(&self, gas_table: &GasTable) -> Result<(), FrameError> {
        let rules = self.rules().gas();
        if rules != gas_table {
            let mut costs = (0..=255u8).zip(rules.iter().zip(gas_table));
            let differs = costs.find(|(_, (rule, cost))| rule != cost);
            let (opcode, (&program, &frame)) = differs.unwrap_or((0, (&0, &0)));
            return Err(FrameError::GasTable {
                opcode,
                program,
                frame,
            });
        }
        Ok(())
    }

    /// Whether the program was compiled from this frame's code, for its fork.
    #[inline(always)]
    fn compare_code<EXT>(&self, interpreter: &Interpreter<Eth<EXT>>) -> Result<(), FrameError> {
        let (key, hash) = (self.key(), interpreter.bytecode.hash());
        if hash != Some(key.code_hash) {
            return Err(FrameError::CodeHash {
                program: key.code_hash,
                frame: hash,
            });
        }
        let spec = interpreter.runtime_flag.spec_id();
        if spec != key.spec_id {
            return Err(FrameError::Spec {
                program: key.spec_id,
                frame: spec,
            });
        }
        Ok(())
    }

    /// Whether a frame with the program's code can be run by it.
    #[inline(always)]
    fn admit<EXT>(&self, interpreter: &mut Interpreter<Eth<EXT>>) -> Result<(), FrameError> {
        if !self.has_entries() {
            return Err(FrameError::FrontEnd);
        }
        let len = interpreter.bytecode.bytecode_len();
        if len != self.bytecode_len() {
            return Err(FrameError::CodeLen {
                program: self.bytecode_len(),
                frame: len,
            });
        }
        if interpreter.bytecode.action().is_some() {
            return Err(FrameError::ActionPending);
        }
        let capacity = interpreter.stack.data().capacity();
        if capacity < STACK_LIMIT || interpreter.stack.len() > STACK_LIMIT {
            return Err(FrameError::Stack { capacity });
        }
        Ok(())
    }
}

/// [`Interpreter::step`], for an opcode that is known: the code, which may be in no cache, is not read.
#[inline(always)]
fn step<EXT, H: Host + ?Sized>(
    interpreter: &mut Interpreter<Eth<EXT>>,
    opcode: u8,
    table: &InstructionTable<Eth<EXT>, H>,
    gas_table: &GasTable,
    host: &mut H,
) -> Result<(), InstructionResult> {
    interpreter.bytecode.relative_jump(1);
    let cost = gas_table[opcode as usize].into();
    if interpreter.gas.record_cost_unsafe(cost) {
        return Err(InstructionResult::OutOfGas);
    }
    table[opcode as usize].execute(InstructionContext { interpreter, host })
}

/// What [`Interpreter::run_plain`] does after an instruction has ended the run, but for taking the action.
fn end<EXT>(interpreter: &mut Interpreter<Eth<EXT>>, result: InstructionResult) -> Ran {
    if interpreter.bytecode.action().is_none() {
        interpreter.halt(result);
    }
    Ran::Ended
}
