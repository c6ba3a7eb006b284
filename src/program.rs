//! A compiled contract and the one safe way to run it.
//!
//! # Invariants
//!
//! What makes [`CompiledProgram::run_frame`] a safe function, each checked before native code is
//! entered:
//!
//! * **P1** The entry point was produced by this crate's engine and its memory stays mapped and
//!   executable for as long as the program lives (the backing is dropped last, with the program).
//! * **P2** The operand stack has room for 1,024 words, the bound that native code enforces on the
//!   stack length (Yellow Paper, §9.4.2).
//! * **P3** The frame starts at the beginning, or at a point where code translated from the same
//!   bytecode for the same fork suspended it: the resume index is in range.
//! * **P4** The private layouts that native code reads were probed when the engine was set up
//!   ([`crate::engine::layout_fingerprint`]); without that no program exists.
//!
//! Running a program against a frame of *another* contract of the same length cannot corrupt
//! memory under P1–P4, but computes that other program; the code hash in the frame, where the
//! caller filled it in, is compared for this reason.

use crate::engine::{EngineError, ExecutableCode, NativeCode, Tier};
use crate::host::GuardedHost;
use alloy_primitives::B256;
use revmc::{
    EvmCompilerFn, HostExt,
    interpreter::{
        Contract, InstructionResult, Interpreter, InterpreterAction, STACK_LIMIT, SharedMemory,
    },
    primitives::SpecId,
};
use std::{
    any::Any,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// What identifies a compiled function: the code it was compiled from and the rules it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeCacheKey {
    /// keccak-256 of the bytecode.
    pub code_hash: B256,
    /// The fork whose gas schedule and opcodes are compiled in.
    pub spec_id: SpecId,
}

impl RuntimeCacheKey {
    /// 64 bits of the code hash, with the fork added at their top.
    ///
    /// Enough to spread keys with: keccak-256 has mixed all of the code into any 64 bits of its
    /// value, and whoever wants codes that agree in them tries 2^32 codes for one pair, and nearly
    /// 2^64 for a hundred. Not an identity; `Eq` compares everything.
    #[inline(always)]
    pub(crate) fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.code_hash.0;
        let code = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        code.wrapping_add((self.spec_id as u64) << 56)
    }
}

impl Hash for RuntimeCacheKey {
    /// One word, 64 bits of the code hash and the fork: all a hasher needs of what is a hash already.
    #[inline(always)]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.prefix());
    }
}

impl fmt::Display for RuntimeCacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:?}", self.code_hash, self.spec_id)
    }
}

/// Where a program's machine code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgramKind {
    /// Compiled in this process.
    Jit,
    /// Loaded from an artifact that was compiled ahead of time.
    Aot,
}

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
        }
    }
}

impl std::error::Error for FrameError {}

/// Keeps a program's machine code mapped.
enum Backing {
    Jit(#[expect(dead_code, reason = "held for its Drop")] ExecutableCode),
    Aot(#[expect(dead_code, reason = "held for its Drop")] Box<dyn Any + Send + Sync>),
}

/// A contract compiled to native code for one fork.
///
/// Aligned to a cache line, so that the reference counts of two programs never share one.
///
/// Dropping the last reference unmaps the code. [`crate::JitBackend`] keeps one reference of its
/// own, so that this happens on its thread and not on an execution thread.
#[repr(align(64))]
pub struct CompiledProgram {
    /// The raw entry point. Prefer [`run_frame`](Self::run_frame), which needs no `unsafe`; a
    /// caller of the raw function keeps the program alive and upholds P2 and P3 itself.
    pub func: EvmCompilerFn,
    /// What was compiled.
    pub key: RuntimeCacheKey,
    /// Where the machine code came from.
    pub kind: ProgramKind,
    tier: Tier,
    bytecode_len: usize,
    mapped_len: usize,
    resume_points: u32,
    _backing: Arc<Backing>,
}

impl CompiledProgram {
    /// Makes `code`, compiled from `bytecode_len` bytes of bytecode, executable.
    ///
    /// Costs a few system calls; not for an execution thread.
    pub fn jit(
        key: RuntimeCacheKey,
        bytecode_len: usize,
        code: &NativeCode,
    ) -> Result<Self, EngineError> {
        let memory = ExecutableCode::new(code)?;
        Ok(Self {
            func: memory.entry(),
            key,
            kind: ProgramKind::Jit,
            tier: code.tier(),
            bytecode_len,
            mapped_len: memory.mapped_len(),
            resume_points: code.resume_points(),
            _backing: Arc::new(Backing::Jit(memory)),
        })
    }

    /// Wraps code that an artifact's loader has verified and mapped; dropping `backing` unmaps it.
    pub(crate) fn aot(
        key: RuntimeCacheKey,
        tier: Tier,
        bytecode_len: usize,
        resume_points: u32,
        func: EvmCompilerFn,
        mapped_len: usize,
        backing: Box<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            func,
            key,
            kind: ProgramKind::Aot,
            tier,
            bytecode_len,
            mapped_len,
            resume_points,
            _backing: Arc::new(Backing::Aot(backing)),
        }
    }

    /// A copy with a reference count of its own, over the same machine code.
    pub(crate) fn share(&self) -> Self {
        Self {
            _backing: Arc::clone(&self._backing),
            ..*self
        }
    }

    /// The optimisation setting the code was compiled with.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Bytes of bytecode the program was compiled from.
    pub fn bytecode_len(&self) -> usize {
        self.bytecode_len
    }

    /// Bytes of address space the machine code occupies, whole pages.
    pub fn mapped_len(&self) -> usize {
        self.mapped_len
    }

    /// The highest index at which a suspended frame can be resumed; 0 if the code never suspends.
    pub fn resume_points(&self) -> u32 {
        self.resume_points
    }

    /// Runs a frame until it returns, fails, or suspends at a call or create.
    ///
    /// The counterpart of [`Interpreter::run`]: `memory` is lent to the interpreter for the run,
    /// the result stands in `interpreter.instruction_result`, and the returned action is what the
    /// interpreter would have returned. A suspended frame is continued by calling this again, on
    /// this program or on another compiled from the same bytecode for the same fork (another tier,
    /// or an artifact), after the outcome was inserted as for an interpreted frame. It cannot be
    /// continued by the interpreter, nor an interpreted frame by this.
    ///
    /// Gas: on success, revert and suspension the gas counter is the interpreter's. On a halt it is
    /// not (static gas is charged per section of straight-line code), which no rule of the EVM can
    /// see, as a halt consumes all gas.
    ///
    /// ```
    /// use revmc_jit::engine::{CompileOptions, compile};
    /// use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// use revmc_jit::revmc::interpreter::{
    ///     Contract, DummyHost, InstructionResult, Interpreter, SharedMemory,
    /// };
    /// use revmc_jit::revmc::primitives::{Bytecode, Env};
    /// use revmc_jit::{CompiledProgram, RuntimeCacheKey};
    ///
    /// // PUSH1 7 PUSH0 MSTORE, PUSH1 32 PUSH0 RETURN
    /// let code = Bytes::from_static(&[0x60, 7, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3]);
    /// let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let native = compile(&code, key.spec_id, &CompileOptions::default())?;
    /// let program = CompiledProgram::jit(key, code.len(), &native)?;
    ///
    /// let code = Bytecode::new_raw(code);
    /// let contract = Contract::new_env(&Env::default(), code, Some(key.code_hash));
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
        // SAFETY: P1 by construction; P2 and P3 were just checked; P4 as the program exists.
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
            && frame != self.key.code_hash
        {
            return Err(FrameError::CodeHash {
                program: self.key.code_hash,
                frame,
            });
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

/// The highest resume index that revmc's calling convention can tell from an address.
pub(crate) const MAX_RESUME_INDEX: usize = u16::MAX as usize;

impl fmt::Debug for CompiledProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledProgram")
            .field("key", &self.key)
            .field("kind", &self.kind)
            .field("tier", &self.tier)
            .field("bytecode_len", &self.bytecode_len)
            .field("mapped_len", &self.mapped_len)
            .finish_non_exhaustive()
    }
}
