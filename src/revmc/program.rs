//! A translated contract and the one safe way to run it.
//!
//! # Invariants
//!
//! What makes [`Program::run_frame`] a safe function, each checked before native code is entered:
//!
//! * **P1** The entry point is the first byte of a [`NativeCode`], which only [`compile`] makes, and
//!   its memory stays mapped and executable for as long as the program lives. No field can be changed,
//!   and none is public.
//! * **P2** The operand stack has room for 1,024 words, the bound that native code enforces on the
//!   stack length (Yellow Paper, §9.4.2).
//! * **P3** The frame starts at the beginning, or at a point where code translated from the same
//!   bytecode for the same fork suspended it: the resume index is in range.
//! * **P4** The private layouts that native code reads were probed (`layout`); without that nothing
//!   is compiled.
//! * **P5** The frame's gas does not pay for memory that the process cannot address: growth neither
//!   overflows nor panics, which could not pass through native code.
//!
//! Running a program against a frame of *another* contract of the same length cannot corrupt
//! memory under P1–P5, but computes that other program; the code hash in the frame, where the
//! caller filled it in, is compared for this reason.
//!
//! [`compile`]: super::compile

use super::{NativeCode, TranslateError, host::GuardedHost};
use crate::{code::CodeMemory, compiler::Tier};
use revmc::{
    EvmCompilerFn, HostExt, RawEvmCompilerFn,
    interpreter::{
        Contract, InstructionResult, Interpreter, InterpreterAction, STACK_LIMIT, SharedMemory,
    },
    primitives::{B256, SpecId},
};
use std::{fmt, mem};

/// Gas of a frame that native code still runs: less than what 4 GiB of memory cost (Yellow Paper,
/// equation 331: `3w + w² / 512` for `w` words), and more than any block has.
pub const MAX_GAS: u64 = 1 << 45;

/// The highest resume index that revmc's calling convention can tell from an address.
pub(super) const MAX_RESUME_INDEX: usize = u16::MAX as usize;

/// Why a frame cannot be run by a program. The frame is untouched: interpret it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame's code hash is not the one the program was compiled from.
    CodeHash {
        /// The hash the program was compiled from.
        program: B256,
        /// The hash the frame names.
        frame: B256,
    },
    /// The frame's bytecode has another length than the one the program was compiled from.
    CodeLength {
        /// Bytes of bytecode the program was compiled from.
        program: usize,
        /// Bytes of bytecode in the frame.
        frame: usize,
    },
    /// The frame's bytecode is an EOF container (EIP-3540), which is not compiled.
    Eof,
    /// The frame has ended with this result, or its suspension has no outcome yet.
    Ended(InstructionResult),
    /// The frame is in the middle of an interpreted run, which only the interpreter can continue.
    Interpreted,
    /// The frame was suspended at a point that this program does not have.
    ResumePoint {
        /// The frame's resume index.
        index: u32,
        /// The highest index the program has.
        max: u32,
    },
    /// The frame's operand stack cannot hold 1,024 words.
    StackCapacity(usize),
    /// The frame has more gas than [`MAX_GAS`].
    Gas(u64),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CodeHash { program, frame } => {
                write!(
                    f,
                    "the frame's code hash {frame} is not the program's {program}"
                )
            }
            Self::CodeLength { program, frame } => {
                write!(
                    f,
                    "the frame's code has {frame} bytes, the program's {program}"
                )
            }
            Self::Eof => f.write_str("the frame's code is an EOF container"),
            Self::Ended(result) => write!(f, "the frame has stopped with {result:?}"),
            Self::Interpreted => f.write_str("the frame was begun by the interpreter"),
            Self::ResumePoint { index, max } => {
                write!(
                    f,
                    "the frame's resume index {index} is above the program's highest, {max}"
                )
            }
            Self::StackCapacity(words) => {
                write!(
                    f,
                    "the frame's stack has room for {words} words of {STACK_LIMIT}"
                )
            }
            Self::Gas(gas) => write!(f, "the frame has {gas} gas, the limit is {MAX_GAS}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// A contract that revmc has translated for the rules of one fork, executable.
///
/// Dropping it unmaps the code. What it is cannot be changed (P1):
///
/// ```compile_fail,E0616
/// fn exchange(program: &mut revmc_jit::revmc::Program, other: &revmc_jit::revmc::Program) {
///     program.func = other.func;
/// }
/// ```
pub struct Program {
    func: EvmCompilerFn,
    code_hash: B256,
    spec_id: SpecId,
    tier: Tier,
    bytecode_len: usize,
    native_len: usize,
    resume_points: u32,
    memory: CodeMemory,
}

impl Program {
    /// Makes `code` executable.
    ///
    /// Costs a few system calls; not for an execution thread.
    ///
    /// # Errors
    ///
    /// [`TranslateError::Memory`], or [`TranslateError::Relocation`] if the code cannot be linked.
    pub fn new(code: &NativeCode) -> Result<Self, TranslateError> {
        let memory = code.map()?;
        // SAFETY: P1: the text is complete and executable and starts with a function of this
        // signature.
        let entry = unsafe { mem::transmute::<*mut u8, RawEvmCompilerFn>(memory.base().as_ptr()) };
        Ok(Self {
            func: EvmCompilerFn::new(entry),
            code_hash: code.code_hash,
            spec_id: code.spec_id,
            tier: code.tier,
            bytecode_len: code.bytecode_len,
            native_len: code.text_len(),
            resume_points: code.resume_points,
            memory,
        })
    }

    /// keccak-256 of the bytecode it was compiled from.
    pub fn code_hash(&self) -> B256 {
        self.code_hash
    }

    /// The fork whose rules are compiled in.
    pub fn spec_id(&self) -> SpecId {
        self.spec_id
    }

    /// The optimisation setting the code was compiled with.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Bytes of bytecode it was compiled from.
    pub fn bytecode_len(&self) -> usize {
        self.bytecode_len
    }

    /// Bytes of machine code.
    pub fn native_len(&self) -> usize {
        self.native_len
    }

    /// Where the machine code is.
    pub(super) fn address(&self) -> usize {
        self.memory.base().addr().get()
    }

    /// Bytes of address space the machine code occupies, whole pages.
    pub fn mapped_len(&self) -> usize {
        self.memory.mapped_len()
    }

    /// The highest index at which a suspended frame can be resumed; 0 if the code never suspends.
    pub fn resume_points(&self) -> u32 {
        self.resume_points
    }

    /// Runs a frame until it returns, fails, or suspends at a call or create.
    ///
    /// The counterpart of revm 10's [`Interpreter::run`]: `memory` is lent to the interpreter for the
    /// run, the result stands in `interpreter.instruction_result`, and the returned action is what
    /// the interpreter would have returned, but for what the [module](super) says of halts. A
    /// suspended frame is continued by calling this again, on this program or on another compiled
    /// from the same bytecode for the same fork (another tier), after the outcome was inserted as for
    /// an interpreted frame. It cannot be continued by the interpreter, nor an interpreted frame by
    /// this.
    ///
    /// ```
    /// use revmc::interpreter::{
    ///     Contract, DummyHost, InstructionResult, Interpreter, SharedMemory,
    /// };
    /// use revmc::primitives::{Bytecode, Bytes, Env, SpecId};
    /// use revmc_jit::compiler::CompileOptions;
    /// use revmc_jit::revmc::{Program, compile};
    ///
    /// // PUSH1 7 PUSH0 MSTORE, PUSH1 32 PUSH0 RETURN
    /// let code = Bytes::from_static(&[0x60, 7, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3]);
    /// let native = compile(&code, SpecId::CANCUN, &CompileOptions::default())?;
    /// let program = Program::new(&native)?;
    ///
    /// let code = Bytecode::new_raw(code);
    /// let contract = Contract::new_env(&Env::default(), code, Some(program.code_hash()));
    /// let mut frame = Interpreter::new(contract, 100_000, false);
    /// let (mut memory, mut host) = (SharedMemory::new(), DummyHost::default());
    /// let action = program.run_frame(&mut frame, &mut memory, &mut host)?;
    /// let result = action.into_result_return().expect("it makes no calls");
    /// assert_eq!((result.result, result.output[31]), (InstructionResult::Return, 7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FrameError`] if the frame is not one this program can run; nothing has been changed then.
    ///
    /// # Panics
    ///
    /// If the host panics, after native code has been left.
    pub fn run_frame(
        &self,
        interpreter: &mut Interpreter,
        memory: &mut SharedMemory,
        host: &mut dyn HostExt,
    ) -> Result<InterpreterAction, FrameError> {
        self.check_frame(interpreter)?;
        let mut host = GuardedHost::new(host);
        // SAFETY: P1, as nothing else makes a `Program` and no field is public; P2, P3 and P5 were just checked; P4 as the program exists.
        let action = unsafe {
            self.func
                .call_with_interpreter_and_memory(interpreter, memory, &mut host)
        };
        if interpreter.instruction_result != InstructionResult::CallOrCreate {
            // The frame has ended, and its operand stack was not brought up to date.
            interpreter.stack.data_mut().clear();
        }
        host.finish();
        Ok(action)
    }

    fn check_frame(&self, interpreter: &mut Interpreter) -> Result<(), FrameError> {
        if interpreter.instruction_result != InstructionResult::Continue {
            return Err(FrameError::Ended(interpreter.instruction_result));
        }
        let contract: &Contract = &interpreter.contract;
        if interpreter.is_eof || contract.bytecode.is_eof() {
            return Err(FrameError::Eof);
        }
        if contract.bytecode.len() != self.bytecode_len {
            return Err(FrameError::CodeLength {
                program: self.bytecode_len,
                frame: contract.bytecode.len(),
            });
        }
        if let Some(frame) = contract.hash
            && frame != self.code_hash
        {
            return Err(FrameError::CodeHash {
                program: self.code_hash,
                frame,
            });
        }
        let gas = interpreter.gas.remaining();
        if gas > MAX_GAS {
            return Err(FrameError::Gas(gas));
        }
        // A suspended frame keeps its resume index where the interpreter keeps its program
        // counter; an address is never that small.
        let ip = interpreter.instruction_pointer;
        if ip != interpreter.bytecode.as_ptr() {
            let index = ip.addr();
            if index > MAX_RESUME_INDEX {
                return Err(FrameError::Interpreted);
            }
            if index > self.resume_points as usize {
                return Err(FrameError::ResumePoint {
                    index: index as u32,
                    max: self.resume_points,
                });
            }
        }
        let capacity = interpreter.stack.data().capacity();
        if capacity < STACK_LIMIT {
            return Err(FrameError::StackCapacity(capacity));
        }
        Ok(())
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("code_hash", &self.code_hash)
            .field("spec_id", &self.spec_id)
            .field("tier", &self.tier)
            .field("bytecode_len", &self.bytecode_len)
            .field("mapped_len", &self.mapped_len())
            .finish_non_exhaustive()
    }
}
