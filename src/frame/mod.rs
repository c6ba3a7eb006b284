//! The native frame: everything that machine code and its caller know of each other.
//!
//! A program's entry point has the signature [`Entry`]. It reads and writes a [`NativeFrame`], what
//! the frame's pointers lead to, and nothing else: no layout of a Rust type is known to machine
//! code, so it depends neither on the host's type nor on the compiler or the library versions that
//! built the caller. [`ABI_VERSION`] names this file's contract; programs of another version are not
//! run.
//!
//! # Contract
//!
//! * **F1** At entry the frame is *canonical*: the words of the operand stack stand at
//!   `stack .. top`, the first at the bottom; `gas` is what remains; `memory` and `memory_len`
//!   (a multiple of 32) are the frame's memory; `entry` is the operand that the program's entry
//!   table gives for the program counter at which the frame stands, and the frame meets that entry's
//!   demand.
//! * **F2** `stack` has room for 1,024 words, and is aligned to 8.
//! * **F3** At exit the frame is canonical again, and `pc` is the program counter at which to go on, as
//!   the [`Exit`] says. Native code has done all that comes before `pc` and nothing that comes at or
//!   after it.
//! * **F4** A shim in [`Shims`] is called with a canonical frame, except that `gas` lacks what the
//!   run's static costs were charged ahead (for [`Shims::boundary`] only the instruction's own static
//!   cost, as the interpreter charges it before the instruction). It may change every field but
//!   `stack`, `entry`, `shims` and `context`.
//! * **F5** No shim unwinds. A panic is kept by the shim's owner and reported as [`Exit::PANICKED`].
//! * **F6** Machine code uses at most [`MAX_NATIVE_STACK`] bytes of the thread's stack, without what
//!   the shims use.
//!
//! Field offsets are part of the ABI; `compiler` takes them from the constants below.

pub mod arithmetic;
#[cfg(target_arch = "x86_64")]
pub mod x64;

use std::{ffi::c_void, mem::offset_of, ptr};

/// The version of this contract. Part of every artifact's key.
pub const ABI_VERSION: u32 = 5;

/// Bytes of the thread's stack that machine code itself may use: one frame, as calls of the EVM
/// leave native code and helpers do not recurse.
pub const MAX_NATIVE_STACK: usize = 64 << 10;

/// Words that an operand stack holds (Yellow Paper, section 9.1).
pub const STACK_LIMIT: usize = 1024;

/// Gas for static costs that machine code has made sure of ahead, at most: after memory has grown so
/// much is left, or machine code leaves.
pub const GAS_AHEAD: u32 = 1000;

/// What the code of a program's loops answers from here on is no [`Exit`], but where to go on.
pub const LOOP_EXITS: u32 = 8;

/// Memory beyond so many bytes is the interpreter's to grow.
pub const MAX_NATIVE_MEMORY: u64 = 1 << 32;

/// No program counter: that of an empty row in a table of them.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// An instruction, by its program counter and opcode: the bytecode need not be read for it.
pub const fn boundary_operand(pc: u32, opcode: u8) -> u64 {
    pc as u64 | (opcode as u64) << BOUNDARY_OPCODE_SHIFT
}

/// Program counter and opcode of a [`boundary_operand`].
pub const fn boundary_parts(operand: u64) -> (usize, u8) {
    let pc = operand & ((1 << BOUNDARY_OPCODE_SHIFT) - 1);
    (pc as usize, (operand >> BOUNDARY_OPCODE_SHIFT) as u8)
}

/// Where the opcode stands in a [`boundary_operand`], behind the program counter.
const BOUNDARY_OPCODE_SHIFT: u32 = 24;

/// A 256-bit word: four 64-bit limbs, the least significant first.
pub type Word = [u64; 4];

/// A program's entry point.
///
/// # Safety
///
/// The frame follows F1 and F2, for the bytecode and rules that the program was compiled from, its
/// pointers are valid for the call, and nothing else uses what they lead to, but the shims.
pub type Entry = unsafe extern "C" fn(frame: *mut NativeFrame) -> Exit;

/// Why native code has returned.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u32);

impl Exit {
    /// Only in an answer of a shim: go on.
    pub const GO_ON: Self = Self(0);
    /// The interpreter goes on at `pc`, where something fails or is not native code's to do.
    pub const LEAVE: Self = Self(1);
    /// An instruction ends or suspends the frame, or has an effect that the compiler does not know: the
    /// interpreter does that one. `pc` says which, as a [`boundary_operand`]. Native code may go on
    /// behind it.
    pub const STEP: Self = Self(2);
    /// A boundary instruction has ended the run; its result is with the shim's owner.
    pub const HALTED: Self = Self(3);
    /// A boundary instruction went on elsewhere than the compiler expects, or left another stack: the
    /// interpreter's state is the frame's.
    pub const DIVERGED: Self = Self(4);
    /// A shim's callee has panicked; its owner resumes the panic once native code has returned.
    pub const PANICKED: Self = Self(5);
}

/// The state of a running frame. See the module documentation.
#[repr(C)]
#[derive(Debug)]
pub struct NativeFrame {
    /// The bottom of the operand stack.
    pub stack: *mut Word,
    /// Just above its highest word.
    pub top: *mut Word,
    /// Gas that remains.
    pub gas: u64,
    /// The frame's memory; moves when it, or a callee's, grows.
    pub memory: *mut u8,
    /// Bytes of memory, a multiple of 32.
    pub memory_len: u64,
    /// The call's input; moves with the memory, of which it may be a part.
    pub calldata: *const u8,
    /// Bytes of the call's input.
    pub calldata_len: u64,
    /// At exit: where to go on. With [`Exit::STEP`] a [`boundary_operand`].
    pub pc: u64,
    /// At entry: the entry table's operand.
    pub entry: u64,
    /// What machine code may call.
    pub shims: *const Shims,
    /// The shims' own.
    pub context: *mut c_void,
    /// Machine code's own: operands and result of [`arithmetic`].
    pub scratch: [Word; 3],
    /// What ADDRESS pushes.
    pub address: Word,
    /// What CALLER pushes.
    pub caller: Word,
    /// What CALLVALUE pushes.
    pub callvalue: Word,
    /// Bytes of code, what CODESIZE pushes.
    pub code_len: u64,
    /// Bytes of return data, what RETURNDATASIZE pushes: of the last call, so it changes only while
    /// the frame is suspended, or in a boundary instruction.
    pub returndata_len: u64,
}

impl NativeFrame {
    /// A frame to be filled in.
    pub(crate) const EMPTY: Self = Self {
        stack: ptr::null_mut(),
        top: ptr::null_mut(),
        gas: 0,
        memory: ptr::null_mut(),
        memory_len: 0,
        calldata: ptr::null(),
        calldata_len: 0,
        pc: 0,
        entry: 0,
        shims: ptr::null(),
        context: ptr::null_mut(),
        scratch: [[0; 4]; 3],
        address: [0; 4],
        caller: [0; 4],
        callvalue: [0; 4],
        code_len: 0,
        returndata_len: 0,
    };
}

/// Functions that machine code calls through the frame.
#[repr(C)]
#[derive(Debug)]
pub struct Shims {
    /// The routines of the x86-64 emitter, which it reaches with short displacements.
    #[cfg(target_arch = "x86_64")]
    pub routines: x64::Routines,
    /// Runs an instruction of the caller's own instruction table, whose static gas has been charged;
    /// which one, the [`boundary_operand`] says. [`Exit::GO_ON`] if the frame stands behind the instruction as the
    /// compiler expects: program counter and stack length are those of `compiler::effect`.
    pub boundary: unsafe extern "C" fn(frame: *mut NativeFrame, operand: u64) -> Exit,
    /// Grows the memory to hold `end` bytes and charges for it: 1, or 0 with nothing changed if that
    /// cannot be done or paid.
    pub grow: unsafe extern "C" fn(frame: *mut NativeFrame, end: u64) -> u64,
    /// Arithmetic on words, by [`arithmetic::Operator`].
    pub arithmetic: [arithmetic::Operation; arithmetic::COUNT],
}

impl Shims {
    /// The table with these two shims.
    pub const fn new(
        boundary: unsafe extern "C" fn(frame: *mut NativeFrame, operand: u64) -> Exit,
        grow: unsafe extern "C" fn(frame: *mut NativeFrame, end: u64) -> u64,
    ) -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            routines: x64::ROUTINES,
            boundary,
            grow,
            arithmetic: arithmetic::OPERATIONS,
        }
    }
}

macro_rules! offsets {
    ($($name:ident = $type:ident.$field:ident,)*) => {
        /// Offsets of the fields, in bytes.
        pub mod at {
            use super::{NativeFrame, Shims, offset_of};
            $(
                #[doc = concat!("Of [`", stringify!($type), "::", stringify!($field), "`].")]
                pub const $name: i32 = offset_of!($type, $field) as i32;
            )*
        }
    };
}

offsets! {
    STACK = NativeFrame.stack,
    TOP = NativeFrame.top,
    GAS = NativeFrame.gas,
    MEMORY = NativeFrame.memory,
    MEMORY_LEN = NativeFrame.memory_len,
    CALLDATA = NativeFrame.calldata,
    CALLDATA_LEN = NativeFrame.calldata_len,
    PC = NativeFrame.pc,
    ENTRY = NativeFrame.entry,
    SHIMS = NativeFrame.shims,
    ADDRESS = NativeFrame.address,
    CALLER = NativeFrame.caller,
    CALLVALUE = NativeFrame.callvalue,
    CODE_LEN = NativeFrame.code_len,
    RETURNDATA_LEN = NativeFrame.returndata_len,
    SCRATCH = NativeFrame.scratch,
    BOUNDARY = Shims.boundary,
    GROW = Shims.grow,
    ARITHMETIC = Shims.arithmetic,
}
