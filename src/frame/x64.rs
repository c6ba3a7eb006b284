//! The routines that programs of the x86-64 emitter share: one copy for all of them.
//!
//! # Registers
//!
//! While a program runs:
//!
//! * **X1** `rbx` is the frame's address plus [`BIAS`], `rbp` the top of the stack at the last canonical
//!   point, `r12` the gas, `r13` the memory's base, `r15` the [`Shims`](super::Shims); `rsp` is a
//!   multiple of 16 outside routines.
//! * **X2** `ymm13` has the bits set that a memory offset below 2^32 does not have, `ymm14` orders the
//!   bytes of each half of a word the other way round, `ymm15` is zero.
//! * **X3** `rax`, `rdi`, `ymm0` and `ymm1` hold nothing over a routine. All other registers survive
//!   those that say so.
//! * **X4** A routine is called by machine code only, with the registers as X1 and X2 say; `enter` by a
//!   text's first instructions, with the frame of an `Entry`.
//!
//! The code needs AVX2, BMI2, LZCNT, MOVBE and POPCNT; the compiler asks before it emits any.

/// Loads X2's constants, from `masks`.
macro_rules! constants {
    () => {
        concat!(
            "vmovdqa ymm13, [rip + {masks}]\n",
            "vmovdqa ymm14, [rip + {masks} + 32]\n",
            "vpxor xmm15, xmm15, xmm15",
        )
    };
}

/// Saves the vector registers that hold values at `rsp`, or loads them from there.
macro_rules! vectors {
    (save $($ymm:literal at $at:literal)+) => {
        concat!($("vmovdqu [rsp + ", $at, "], ymm", $ymm, "\n"),+)
    };
    (load $($ymm:literal at $at:literal)+) => {
        concat!($("vmovdqu ymm", $ymm, ", [rsp + ", $at, "]\n"),+)
    };
    ($way:ident) => {
        vectors!(
            $way 2 at 0 3 at 32 4 at 64 5 at 96 6 at 128 7 at 160
            8 at 192 9 at 224 10 at 256 11 at 288 12 at 320
        )
    };
}

/// Saves the general-purpose registers that hold values and that a call of Rust clobbers, or loads them
/// again. The flags stay.
macro_rules! registers {
    (save) => {
        concat!(
            "push rcx\n",
            "push rdx\n",
            "push rsi\n",
            "push r8\n",
            "push r9\n",
            "push r10\n",
            "push r11",
        )
    };
    (load) => {
        concat!(
            "pop r11\n",
            "pop r10\n",
            "pop r9\n",
            "pop r8\n",
            "pop rsi\n",
            "pop rdx\n",
            "pop rcx",
        )
    };
}

mod arithmetic;

use super::{Exit, GAS_AHEAD, LOOP_EXITS, NOWHERE, at};
use arithmetic::{arithmetic, div, mul, rem, sdiv, smod};
use std::arch::naked_asm;

/// `rbx` minus the frame's address: more of its fields are in reach of a short displacement.
pub const BIAS: i32 = 128;

/// Gas that is left after every boundary instruction: with less, the interpreter goes on.
pub const RESERVE: u32 = 256;

/// A routine; called by machine code only.
pub type Routine = unsafe extern "C" fn();

/// The gas that a jump was charged, and the words that it takes.
pub const fn jump_operand(gas: u16, words: u16) -> u32 {
    gas as u32 | (words as u32 * 32) << 16
}

/// The routines' addresses, in the order of their displacements.
#[repr(C)]
#[derive(Debug)]
pub struct Routines {
    /// Takes `rdi`, the frame, and `rsi`, the text's base; enters at the frame's `entry`.
    pub enter: Routine,
    /// Takes `esi`, the program counter: ends with [`Exit::LEAVE`].
    pub leave: Routine,
    /// Takes `esi`, a [`boundary_operand`](super::boundary_operand): ends with [`Exit::STEP`].
    pub step: Routine,
    /// Takes `esi`, the shim's operand; what is not in X1 and X2 is lost. Ends the run if the shim says
    /// so, or if less than [`RESERVE`] remains.
    pub boundary: Routine,
    /// Takes `rdi`, the length that is needed, and pays with what is left over [`GAS_AHEAD`]. The zero flag says that it cannot be had. All
    /// registers but `rdi` survive.
    pub grow: Routine,
    /// The same where no vector register holds anything: only X2's survive.
    pub grow_bare: Routine,
    /// Takes `edi`, an operator, and its operands in the frame's scratch; gives `ymm0`. All registers
    /// but X3's survive.
    pub arithmetic: Routine,
    /// MUL of the operands in the frame's scratch; gives `ymm0`. All registers but X3's survive.
    pub mul: Routine,
    /// DIV, in the same way.
    pub div: Routine,
    /// MOD, in the same way.
    pub rem: Routine,
    /// SDIV, in the same way.
    pub sdiv: Routine,
    /// SMOD, in the same way.
    pub smod: Routine,
    /// Takes `rdi`, an offset; gives `ymm0`. All registers but X3's survive.
    pub calldataload: Routine,
    /// JUMP, and JUMPI whose condition holds. Takes `rdi`, the jump table, `ecx` and `edx`, the multiplier
    /// and the lines of its hash, `esi`, the program counter, and `eax`, a [`jump_operand`]; the target is
    /// the word under the top. Takes the operands from the stack and jumps there, or gives the gas back and
    /// leaves.
    pub jump: Routine,
    /// Takes `rdi`, the code of the program's loops, and `esi`, which way in; what is not in X1 and X2 is
    /// lost. Gives `eax`, from [`LOOP_EXITS`] on, or ends the run.
    pub looped: Routine,
}

/// The routines.
pub const ROUTINES: Routines = Routines {
    enter,
    leave,
    step,
    boundary,
    grow,
    grow_bare,
    arithmetic,
    mul,
    div,
    rem,
    sdiv,
    smod,
    calldataload,
    jump,
    looped,
};

/// The constants of X2.
#[repr(C, align(32))]
struct Masks([[u64; 4]; 2]);

static MASKS: Masks = Masks([
    [0xffff_ffff_0000_0000, u64::MAX, u64::MAX, u64::MAX],
    [
        0x0809_0a0b_0c0d_0e0f,
        0x0001_0203_0405_0607,
        0x0809_0a0b_0c0d_0e0f,
        0x0001_0203_0405_0607,
    ],
]);

/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn enter() {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "lea rbx, [rdi + {bias}]",
        "mov rbp, [rdi + {top}]",
        "mov r12, [rdi + {gas}]",
        "mov r13, [rdi + {memory}]",
        "mov r15, [rdi + {shims}]",
        "add rsi, [rdi + {entry}]",
        constants!(),
        "jmp rsi",
        bias = const BIAS,
        top = const at::TOP,
        gas = const at::GAS,
        memory = const at::MEMORY,
        shims = const at::SHIMS,
        entry = const at::ENTRY,
        masks = sym MASKS,
    )
}

/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn leave() {
    naked_asm!(
        "mov eax, {exit}",
        "jmp {finish}",
        exit = const Exit::LEAVE.0,
        finish = sym finish,
    )
}

/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn step() {
    naked_asm!(
        "mov eax, {exit}",
        "jmp {finish}",
        exit = const Exit::STEP.0,
        finish = sym finish,
    )
}

/// Writes the frame back, with the program counter in `esi`, and returns `eax` to the adapter.
///
/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn finish() {
    naked_asm!(
        "mov [rbx + {top}], rbp",
        "mov [rbx + {gas}], r12",
        "mov [rbx + {pc}], rsi",
        "jmp {unwind}",
        top = const at::TOP - BIAS,
        gas = const at::GAS - BIAS,
        pc = const at::PC - BIAS,
        unwind = sym unwind,
    )
}

/// Undoes `enter`.
///
/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn unwind() {
    naked_asm!(
        "vzeroupper",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn boundary() {
    naked_asm!(
        "mov [rbx + {top}], rbp",
        "mov [rbx + {gas}], r12",
        "vzeroupper",
        "lea rdi, [rbx - {bias}]",
        "sub rsp, 8",
        "call [r15 + {shim}]",
        "add rsp, 8",
        "test eax, eax",
        "jnz 2f",
        "mov rbp, [rbx + {top}]",
        "mov r12, [rbx + {gas}]",
        "mov r13, [rbx + {memory}]",
        constants!(),
        "mov eax, {diverged}",
        "cmp r12, {reserve}",
        "jb 2f",
        "ret",
        // The frame is as the shim left it. The return address goes, too.
        "2:",
        "add rsp, 8",
        "jmp {unwind}",
        bias = const BIAS,
        top = const at::TOP - BIAS,
        gas = const at::GAS - BIAS,
        memory = const at::MEMORY - BIAS,
        shim = const at::BOUNDARY,
        reserve = const RESERVE,
        diverged = const Exit::DIVERGED.0,
        masks = sym MASKS,
        unwind = sym unwind,
    )
}

/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn looped() {
    naked_asm!(
        "mov [rbx + {top}], rbp",
        "mov [rbx + {gas}], r12",
        "mov rax, rdi",
        "vzeroupper",
        "lea rdi, [rbx - {bias}]",
        "sub rsp, 8",
        "call rax",
        "add rsp, 8",
        "cmp eax, {exits}",
        "jb 2f",
        "mov rbp, [rbx + {top}]",
        "mov r12, [rbx + {gas}]",
        "mov r13, [rbx + {memory}]",
        constants!(),
        "ret",
        // The frame is as it has to be. The return address goes, too.
        "2:",
        "add rsp, 8",
        "jmp {unwind}",
        bias = const BIAS,
        top = const at::TOP - BIAS,
        gas = const at::GAS - BIAS,
        memory = const at::MEMORY - BIAS,
        exits = const LOOP_EXITS,
        masks = sym MASKS,
        unwind = sym unwind,
    )
}

/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn grow() {
    naked_asm!(
        "sub rsp, 424",
        vectors!(save),
        "vmovdqu [rsp + 352], ymm0",
        "vmovdqu [rsp + 384], ymm1",
        "call {bare}",
        vectors!(load),
        "vmovdqu ymm0, [rsp + 352]",
        "vmovdqu ymm1, [rsp + 384]",
        // The zero flag is the answer.
        "lea rsp, [rsp + 424]",
        "ret",
        bare = sym grow_bare,
    )
}

/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn grow_bare() {
    naked_asm!(
        "push rax",
        registers!(save),
        "sub rsp, 8",
        // What the way ahead needs is not there for memory.
        "xor eax, eax",
        "sub r12, {ahead}",
        "jb 2f",
        "mov [rbx + {gas}], r12",
        "mov rsi, rdi",
        "lea rdi, [rbx - {bias}]",
        "vzeroupper",
        "call [r15 + {shim}]",
        "mov r12, [rbx + {gas}]",
        "mov r13, [rbx + {memory}]",
        constants!(),
        "2:",
        "add r12, {ahead}",
        "add rsp, 8",
        "test eax, eax",
        registers!(load),
        "pop rax",
        "ret",
        bias = const BIAS,
        gas = const at::GAS - BIAS,
        memory = const at::MEMORY - BIAS,
        shim = const at::GROW,
        ahead = const GAS_AHEAD,
        masks = sym MASKS,
    )
}

/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn calldataload() {
    naked_asm!(
        "mov rax, [rbx + {len}]",
        "sub rax, rdi",
        "jbe 3f",
        "add rdi, [rbx + {data}]",
        "cmp rax, 32",
        "jb 4f",
        "vpermq ymm0, [rdi], 0x4e",
        "vpshufb ymm0, ymm0, ymm14",
        "ret",
        // Behind the end.
        "3:",
        "vpxor xmm0, xmm0, xmm0",
        "ret",
        // Over the end: zeros follow.
        "4:",
        "push rcx",
        "push rsi",
        "sub rsp, 40",
        "vmovdqu [rsp], ymm15",
        "mov rsi, rdi",
        "mov rdi, rsp",
        "mov rcx, rax",
        "rep movsb",
        "vpermq ymm0, [rsp], 0x4e",
        "vpshufb ymm0, ymm0, ymm14",
        "add rsp, 40",
        "pop rsi",
        "pop rcx",
        "ret",
        len = const at::CALLDATA_LEN - BIAS,
        data = const at::CALLDATA - BIAS,
    )
}

/// The table's form is `compiler::x64::table`'s.
///
/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn jump() {
    naked_asm!(
        // No program counter has more than 32 bits.
        "vptest ymm13, [rbp - 32]",
        "jnz 2f",
        "mov r8d, [rbp - 32]",
        // The line that it hashes to.
        "imul ecx, r8d",
        "imul rcx, rdx",
        "shr rcx, 32",
        "shl rcx, 6",
        "add rcx, rdi",
        // Which row of the line it is in is anybody's guess: no branch guesses.
        "3:",
        "mov r9, rcx",
        "lea r10, [rcx + 16]",
        "lea r11, [rcx + 32]",
        "cmp [rcx + 16], r8d",
        "cmove r9, r10",
        "lea r10, [rcx + 48]",
        "cmp [rcx + 32], r8d",
        "cmove r9, r11",
        "cmp [rcx + 48], r8d",
        "cmove r9, r10",
        "cmp [r9], r8d",
        "jne 4f",
        // What the destination demands.
        "mov edx, eax",
        "shr edx, 16",
        "mov r8, rbp",
        "sub r8, rdx",
        "mov rcx, r8",
        "sub rcx, [rbx + {stack}]",
        "shr rcx, 5",
        "movzx edx, word ptr [r9 + 8]",
        "cmp ecx, edx",
        "jb 2f",
        "movzx edx, word ptr [r9 + 10]",
        "cmp ecx, edx",
        "ja 2f",
        "movzx edx, word ptr [r9 + 12]",
        "shl edx, 5",
        "cmp [rbx + {memory_len}], rdx",
        "jb 2f",
        "movzx edx, word ptr [r9 + 14]",
        "cmp r12, rdx",
        "jb 2f",
        "movsxd rdx, dword ptr [r9 + 4]",
        "add rdi, rdx",
        "mov rbp, r8",
        "jmp rdi",
        // The search goes on behind a line that is full.
        "4:",
        "cmp dword ptr [rcx + 48], {nowhere}",
        "lea rcx, [rcx + 64]",
        "jne 3b",
        "2:",
        "movzx eax, ax",
        "add r12, rax",
        "jmp {leave}",
        stack = const at::STACK - BIAS,
        memory_len = const at::MEMORY_LEN - BIAS,
        nowhere = const NOWHERE as i32,
        leave = sym leave,
    )
}
