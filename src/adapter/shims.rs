//! What machine code calls: the caller's instructions, and the growth of memory.
//!
//! A shim is one function for each type of host (and of interpreter extension), which Rust makes
//! from a generic; machine code finds it in the frame and is the same for all of them.
//!
//! # Invariants
//!
//! * **A1** While machine code runs, the interpreter and the host belong to it, through the
//!   [`Context`]: nothing else uses them, and a shim uses them only until it returns.
//! * **A2** [`NativeFrame::stack`] is the buffer of the interpreter's stack, with room for
//!   [`STACK_LIMIT`] words, from [`load_all`] until foreign code may have exchanged it; every word below
//!   [`NativeFrame::top`] is initialised. An instruction that exchanges the buffer, or takes room from
//!   it, ends the run ([`Exit::DIVERGED`]).
//! * **A3** [`NativeFrame::memory`] and [`NativeFrame::calldata`] are those of the interpreter after
//!   everything that can move or replace them ([`load`]), and the memory is exactly as long as its gas
//!   accounts say: if they can be made to say more, growing it does nothing.
//! * **A4** Machine code goes on behind an instruction ([`Exit::GO_ON`]) only if program counter,
//!   code and its length, stack buffer with its capacity and stack length are what the compiler expects
//!   of the opcode it has compiled, and the memory is no shorter; of words in the stack's memory it believes
//!   no more than it reads; whatever the instruction table holds, and whatever the frame's code
//!   hash claims.
//! * **A5** No shim unwinds (F5): all that can panic is inside of `catch_unwind`, and what was caught is
//!   kept in the context.
//! * **A6** Machine code keeps the contract of the native frame (`frame`, F3 and F4): where it exits, and
//!   where it calls a shim, the frame is canonical, its `top` within the stack and its program counter
//!   within the code, and it does not use the frame while a shim runs.
//! * **A7** Machine code is entered only with a frame that its program was admitted for and that was
//!   loaded since foreign code ran last, at an entry whose demand is met.
//! * **A8** The interpreter stands nowhere but within the code that the frame has, and nothing is run
//!   there whose operands or successor are not in it. A program counter of machine code is within the
//!   code that it was compiled from, to which analysis adds what its end needs; the frame's may be
//!   another one of the same length, under a hash that lies.

use super::{
    error::FrameError,
    hashes::{self, MAX_INPUT},
    switch::Switch,
};
use crate::{
    compiler::{effect, op},
    frame::{
        Exit, GAS_AHEAD, MAX_NATIVE_MEMORY, NativeFrame, STACK_LIMIT, Shims, Word, boundary_parts,
    },
};
use alloy_primitives::{Address, U256};
use revm_interpreter::{
    CallInput, Host, InstructionContext, InstructionResult, InstructionTable, Interpreter,
    interpreter::EthInterpreter,
    interpreter_types::{InputsTr, Jumps, LegacyBytecode, MemoryTr},
};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
};

pub(super) type Eth<EXT> = EthInterpreter<EXT>;

/// What the shims need, behind [`NativeFrame::context`].
pub(super) struct Context<'a, EXT, H: ?Sized, S> {
    pub(super) interpreter: &'a mut Interpreter<Eth<EXT>>,
    pub(super) table: &'a InstructionTable<Eth<EXT>, H>,
    pub(super) host: &'a mut H,
    pub(super) switch: &'a mut S,
    /// With what an instruction has ended the run ([`Exit::HALTED`]).
    pub(super) halted: Option<InstructionResult>,
    /// What a callee has panicked with.
    pub(super) panic: Option<Box<dyn Any + Send>>,
}

/// How an opcode changes the length of the stack; 0 for unknown ones, which are not compiled to
/// boundary instructions.
const GROWTH: [i16; 256] = {
    let mut growth = [0; 256];
    let mut opcode = 0;
    while opcode < 256 {
        if let Some(effect) = effect(opcode as u8) {
            growth[opcode] = effect.outputs as i16 - effect.inputs as i16;
        }
        opcode += 1;
    }
    growth
};

/// The value as machine code has it.
#[inline(always)]
fn word(value: U256) -> Word {
    value.into_limbs()
}

#[inline(always)]
fn word_of(address: Address) -> Word {
    word(address.into_word().into())
}

/// Fills the frame from an interpreter that [`CompiledProgram::admit`](crate::CompiledProgram) has
/// accepted.
///
/// # Errors
///
/// As [`load`]; the frame is not to be run then.
#[inline]
pub(super) fn load_all<EXT>(
    frame: &mut NativeFrame,
    interpreter: &mut Interpreter<Eth<EXT>>,
) -> Result<(), FrameError> {
    frame.stack = interpreter.stack.data_mut().as_mut_ptr().cast();
    let input = &interpreter.input;
    frame.address = word_of(input.target_address());
    frame.caller = word_of(input.caller_address());
    frame.callvalue = word(input.call_value());
    frame.code_len = interpreter.bytecode.bytecode_len() as u64;
    load(frame, interpreter)
}

/// Fills in what an instruction can change that leaves the stack's buffer where it is (A3).
///
/// # Errors
///
/// If the frame is one that machine code does not run.
#[inline]
fn load<EXT>(
    frame: &mut NativeFrame,
    interpreter: &mut Interpreter<Eth<EXT>>,
) -> Result<(), FrameError> {
    load_memory(frame, interpreter)?;
    frame.top = frame.stack.wrapping_add(interpreter.stack.len());
    frame.gas = interpreter.gas.remaining();
    frame.returndata_len = interpreter.return_data.0.len() as u64;
    Ok(())
}

/// The part of [`load`] that whoever shares the frame's memory can change, a host among them (A3).
///
/// # Errors
///
/// As [`load`].
#[inline]
fn load_memory<EXT>(
    frame: &mut NativeFrame,
    interpreter: &mut Interpreter<Eth<EXT>>,
) -> Result<(), FrameError> {
    let words = interpreter.gas.memory().words_num;
    {
        let mut memory = interpreter.memory.context_memory_mut();
        let len = memory.len();
        // Checked: words that an instruction has made up would seem to be paid for.
        if words.checked_mul(32) != Some(len) {
            return Err(FrameError::Memory { len, words });
        }
        frame.memory = memory.as_mut_ptr();
        frame.memory_len = len as u64;
    }
    (frame.calldata, frame.calldata_len) = match &interpreter.input.input {
        CallInput::Bytes(bytes) => (bytes.as_ptr(), bytes.len() as u64),
        CallInput::SharedBuffer(range) if range.is_empty() => (ptr::null(), 0),
        CallInput::SharedBuffer(range) => {
            if range.end > interpreter.memory.local_memory_offset() {
                return Err(FrameError::Input);
            }
            let input = interpreter.memory.global_slice(range.clone());
            (input.as_ptr(), input.len() as u64)
        }
    };
    Ok(())
}

/// Gives the interpreter the state in which machine code stands at `pc`, before `opcode` if it is to run
/// that, otherwise 0. False if the frame's code is not so long (A8); the interpreter stands at its end.
///
/// # Safety
///
/// The frame is canonical (A6) and the interpreter's (A2).
#[inline]
pub(super) unsafe fn store<EXT>(
    frame: &NativeFrame,
    interpreter: &mut Interpreter<Eth<EXT>>,
    pc: usize,
    opcode: u8,
) -> bool {
    let height = frame.top.addr().wrapping_sub(frame.stack.addr()) / size_of::<Word>();
    debug_assert!(height <= STACK_LIMIT);
    // SAFETY: A2, A6: `top` is within the stack.
    unsafe { interpreter.stack.data_mut().set_len(height) };
    interpreter.gas.set_remaining(frame.gas);
    // A8.
    let len = interpreter.bytecode.bytes_ref().len();
    let fits = pc + reach(opcode) < len;
    let pc = if fits { pc } else { len.saturating_sub(1) };
    interpreter.bytecode.absolute_jump(pc);
    fits
}

/// How far behind an instruction's program counter the interpreter looks, itself and what follows it: what
/// the analysis of code with this instruction makes sure of, be it the last one.
#[inline(always)]
fn reach(opcode: u8) -> usize {
    match opcode {
        // STOP, also where nobody says which instruction it is.
        0x00 => 0,
        0x60..=0x7f => usize::from(opcode) - 0x5f + 1,
        0xe6..=0xe8 => 2,
        _ => 1,
    }
}

/// Puts an instruction's result in the place of its two operands.
///
/// # Safety
///
/// The frame is canonical, with two operands (A6).
#[inline(always)]
unsafe fn replace_two(frame: &mut NativeFrame, result: Word, gas: u64) {
    frame.gas = gas;
    // SAFETY: A6.
    unsafe {
        frame.top = frame.top.sub(1);
        frame.top.sub(1).write(result);
    }
}

impl<EXT, H: Host + ?Sized, S: Switch> Context<'_, EXT, H, S> {
    /// The table of this context's shims.
    pub(super) const SHIMS: &'static Shims = &Shims::new(boundary::<EXT, H, S>, grow::<EXT, H, S>);

    /// The gas behind an instruction that costs so much, if the way ahead has what it needs then, so that
    /// nobody has to look at the gas. None if the instruction is better left to the table.
    #[inline(always)]
    fn pay(&mut self, frame: &mut NativeFrame, cost: u64) -> Option<u64> {
        // The host has run, for the price: the memory may be elsewhere, and another.
        let memory_len = frame.memory_len;
        load_memory(frame, self.interpreter).ok()?;
        if frame.memory_len < memory_len {
            return None;
        }
        let rest = frame.gas.checked_sub(cost);
        rest.filter(|rest| *rest >= GAS_AHEAD.into())
    }

    /// KECCAK256 of a short input that the memory holds, where it can be paid with gas to spare: as revm's
    /// instruction does it, but with what this thread remembers. False if nothing is done, and the
    /// instruction is the table's.
    ///
    /// # Safety
    ///
    /// The frame is canonical, with two operands (A6).
    #[inline(always)]
    unsafe fn keccak(&mut self, frame: &mut NativeFrame) -> bool {
        // SAFETY: A6: both are on the stack.
        let [len, offset] = unsafe { *frame.top.sub(2).cast::<[Word; 2]>() };
        let ([len, 0, 0, 0], [offset, 0, 0, 0]) = (len, offset) else {
            return false;
        };
        let Some(end) = offset.checked_add(len) else {
            return false;
        };
        if !(1..=MAX_INPUT as u64).contains(&len) {
            return false;
        }
        let cost = self.host.gas_params().keccak256_cost(len as usize);
        let Some(rest) = self.pay(frame, cost).filter(|_| end <= frame.memory_len) else {
            return false;
        };
        // SAFETY: A3: the memory has `memory_len` bytes, and the input ends in it.
        let input =
            unsafe { slice::from_raw_parts(frame.memory.add(offset as usize), len as usize) };
        // SAFETY: A6.
        unsafe { replace_two(frame, hashes::hash(input), rest) };
        true
    }

    /// EXP of a power of two, in the same way: compilers select parts of words by it.
    ///
    /// # Safety
    ///
    /// The frame is canonical, with two operands (A6).
    #[inline(never)]
    unsafe fn power(&mut self, frame: &mut NativeFrame) -> bool {
        // SAFETY: A6: both are on the stack.
        let [exponent, base] = unsafe { *frame.top.sub(2).cast::<[Word; 2]>() };
        let ([exponent, 0, 0, 0], [base, 0, 0, 0]) = (exponent, base) else {
            return false;
        };
        if !base.is_power_of_two() {
            return false;
        }
        let cost = self.host.gas_params().exp_cost(U256::from(exponent));
        let Some(rest) = self.pay(frame, cost) else {
            return false;
        };
        let bits = exponent.saturating_mul(base.trailing_zeros().into());
        let mut power = [0; 4];
        if let Some(limb) = power.get_mut((bits / 64) as usize) {
            *limb = 1 << (bits % 64);
        }
        // SAFETY: A6.
        unsafe { replace_two(frame, power, rest) };
        true
    }

    /// Runs the instruction at `pc`, which is `opcode`: the code is not read for it, as machine code
    /// runs through contracts whose bytecode is in no cache.
    #[inline(always)]
    fn instruction(&mut self, frame: &mut NativeFrame, pc: usize, opcode: u8) -> Exit {
        // What machine code remembers; asking for a price may change it already.
        let memory_len = frame.memory_len;
        let done = match opcode {
            // SAFETY: A6.
            op::KECCAK256 => unsafe { self.keccak(frame) },
            // SAFETY: A6.
            op::EXP => unsafe { self.power(frame) },
            _ => false,
        };
        if done {
            if !self.switch.switch() {
                return Exit::GO_ON;
            }
            // SAFETY: A6. Where the code is not so long (A8), the interpreter stands at its end.
            unsafe { store(frame, self.interpreter, pc + 1, 0) };
            return Exit::DIVERGED;
        }
        // SAFETY: A6.
        if !unsafe { store(frame, self.interpreter, pc, opcode) } {
            return Exit::DIVERGED;
        }
        let code = self.interpreter.bytecode.bytes_ref().as_ptr_range();
        let expected = self.interpreter.stack.len() as isize + GROWTH[opcode as usize] as isize;
        self.interpreter.bytecode.relative_jump(1);
        let result = self.table[opcode as usize].execute(InstructionContext {
            interpreter: &mut *self.interpreter,
            host: &mut *self.host,
        });
        if let Err(result) = result {
            self.halted = Some(result);
            return Exit::HALTED;
        }
        // A4; boundary instructions are one byte long.
        let interpreter = &mut *self.interpreter;
        let as_compiled = interpreter.stack.len() as isize == expected
            && interpreter.stack.data().as_ptr().addr() == frame.stack.addr()
            && interpreter.stack.data().capacity() >= STACK_LIMIT
            && interpreter.bytecode.bytes_ref().as_ptr_range() == code
            && interpreter.bytecode.pc() == pc + 1;
        let as_loaded = load(frame, interpreter).is_ok() && frame.memory_len >= memory_len;
        if !as_compiled || !as_loaded || self.switch.switch() {
            return Exit::DIVERGED;
        }
        Exit::GO_ON
    }

    /// Grows the memory to hold `end` bytes, if that can be done and paid.
    #[inline(always)]
    fn grow(&mut self, frame: &mut NativeFrame, end: u64) -> bool {
        if end > MAX_NATIVE_MEMORY || self.switch.switch() {
            return false;
        }
        let interpreter = &mut *self.interpreter;
        interpreter.gas.set_remaining(frame.gas);
        let grown = interpreter.resize_memory(self.host.gas_params(), 0, end as usize);
        if grown.is_err() {
            return false;
        }
        let top = frame.top;
        let loaded = load(frame, interpreter);
        // The stack belongs to machine code here, and its length is stale in the interpreter.
        frame.top = top;
        // A3: what is paid for is there.
        loaded.is_ok() && frame.memory_len >= end
    }
}

/// [`Shims::boundary`].
///
/// # Safety
///
/// Called by machine code (A6), and `frame.context` is a [`Context`] of these types (A1).
unsafe extern "C" fn boundary<EXT, H: Host + ?Sized, S: Switch>(
    frame: *mut NativeFrame,
    operand: u64,
) -> Exit {
    // SAFETY: A6: nobody else uses the frame.
    let frame = unsafe { &mut *frame };
    // SAFETY: A1.
    let context = unsafe { &mut *frame.context.cast::<Context<'_, EXT, H, S>>() };
    let (pc, opcode) = boundary_parts(operand);
    // A5. The interpreter stands where its own panic would leave it.
    let run = AssertUnwindSafe(|| context.instruction(frame, pc, opcode));
    catch_unwind(run).unwrap_or_else(|payload| {
        context.panic = Some(payload);
        Exit::PANICKED
    })
}

/// [`Shims::grow`].
///
/// # Safety
///
/// As [`boundary`] (A1, A6).
unsafe extern "C" fn grow<EXT, H: Host + ?Sized, S: Switch>(
    frame: *mut NativeFrame,
    end: u64,
) -> u64 {
    // SAFETY: A6: nobody else uses the frame.
    let frame = unsafe { &mut *frame };
    // SAFETY: A1.
    let context = unsafe { &mut *frame.context.cast::<Context<'_, EXT, H, S>>() };
    let (saved, gas) = (context.interpreter.gas, frame.gas);
    // A5. Machine code leaves after a failure, and the panic is resumed then.
    let grown = catch_unwind(AssertUnwindSafe(|| context.grow(frame, end)));
    let grown = grown.unwrap_or_else(|payload| {
        context.panic = Some(payload);
        false
    });
    if !grown {
        // Also what was paid for memory that could not be had: the interpreter decides anew.
        context.interpreter.gas = saved;
        frame.gas = gas;
    }
    grown.into()
}
