//! The routines for arithmetic. Operands stand in the frame's scratch, the one first that the instruction
//! takes from the top of the stack.

use super::{BIAS, MASKS};
use crate::frame::{arithmetic::Operator, at};
use std::arch::naked_asm;

/// # Safety
///
/// X4.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn arithmetic() {
    naked_asm!(
        registers!(save),
        "sub rsp, 352",
        vectors!(save),
        "mov eax, edi",
        "mov rax, [r15 + rax * 8 + {operations}]",
        "lea rdi, [rbx + {scratch}]",
        "mov rsi, rdi",
        "vzeroupper",
        "call rax",
        vectors!(load),
        constants!(),
        "vmovdqu ymm0, [rbx + {scratch}]",
        "add rsp, 352",
        registers!(load),
        "ret",
        operations = const at::ARITHMETIC,
        scratch = const at::SCRATCH - BIAS,
        masks = sym MASKS,
    )
}

/// The lower half of the product, by rows.
///
/// # Safety
///
/// X4.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn mul() {
    naked_asm!(
        registers!(save),
        "mov rdx, [rbx + {a}]",
        "mulx r9, r8, [rbx + {b}]",
        "mulx r10, rax, [rbx + {b} + 8]",
        "mulx r11, rdi, [rbx + {b} + 16]",
        "imul rdx, [rbx + {b} + 24]",
        "add r9, rax",
        "adc r10, rdi",
        "adc r11, rdx",
        "mov rdx, [rbx + {a} + 8]",
        "mulx rcx, rax, [rbx + {b}]",
        "mulx rsi, rdi, [rbx + {b} + 8]",
        "imul rdx, [rbx + {b} + 16]",
        "add r9, rax",
        "adc r10, rcx",
        "adc r11, rdx",
        "add r10, rdi",
        "adc r11, rsi",
        "mov rdx, [rbx + {a} + 16]",
        "mulx rcx, rax, [rbx + {b}]",
        "imul rdx, [rbx + {b} + 8]",
        "add r10, rax",
        "adc r11, rcx",
        "add r11, rdx",
        "mov rdx, [rbx + {a} + 24]",
        "imul rdx, [rbx + {b}]",
        "add r11, rdx",
        "vmovq xmm0, r8",
        "vpinsrq xmm0, xmm0, r9, 1",
        "vmovq xmm1, r10",
        "vpinsrq xmm1, xmm1, r11, 1",
        "vinserti128 ymm0, ymm0, xmm1, 1",
        registers!(load),
        "ret",
        a = const at::SCRATCH - BIAS,
        b = const at::SCRATCH - BIAS + 32,
    )
}

/// DIV by a divisor of more limbs than one that the dividend is no less than: a shift if it is a power of
/// two, as what takes apart a word that others have packed; else Rust's.
///
/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn div_long() {
    naked_asm!(
        "popcnt rax, [rbx + {b} + 8]",
        "popcnt rdi, [rbx + {b} + 16]",
        "add eax, edi",
        "popcnt rdi, [rbx + {b} + 24]",
        "add eax, edi",
        "popcnt rdi, [rbx + {b}]",
        "add eax, edi",
        "cmp eax, 1",
        "jne 5f",
        "push rcx",
        "push rdx",
        "vpxor xmm1, xmm1, xmm1",
        "mov rax, [rbx + {a} + 24]",
        "bsf rcx, [rbx + {b} + 24]",
        "jnz 3f",
        "mov rdx, [rbx + {a} + 16]",
        "bsf rcx, [rbx + {b} + 16]",
        "jnz 2f",
        "mov rdi, [rbx + {a} + 8]",
        "bsf rcx, [rbx + {b} + 8]",
        "shrd rdi, rdx, cl",
        "shrd rdx, rax, cl",
        "shr rax, cl",
        "vmovq xmm0, rdi",
        "vpinsrq xmm0, xmm0, rdx, 1",
        "vmovq xmm1, rax",
        "jmp 4f",
        "2:",
        "shrd rdx, rax, cl",
        "shr rax, cl",
        "vmovq xmm0, rdx",
        "vpinsrq xmm0, xmm0, rax, 1",
        "jmp 4f",
        "3:",
        "shr rax, cl",
        "vmovq xmm0, rax",
        "4:",
        "vinserti128 ymm0, ymm0, xmm1, 1",
        "pop rdx",
        "pop rcx",
        "ret",
        "5:",
        "mov edi, {operator}",
        "jmp {arithmetic}",
        a = const at::SCRATCH - BIAS,
        b = const at::SCRATCH - BIAS + 32,
        operator = const Operator::Div as u32,
        arithmetic = sym arithmetic,
    )
}

/// MOD, in the same case.
///
/// # Safety
///
/// X4.
#[unsafe(naked)]
unsafe extern "C" fn rem_long() {
    naked_asm!(
        "mov edi, {operator}",
        "jmp {arithmetic}",
        operator = const Operator::Mod as u32,
        arithmetic = sym arithmetic,
    )
}

/// DIV or MOD. What keeps a quotient's limb, the remainder in `rdx`, a dividend that is less than the
/// divisor, and what is longer, is theirs.
macro_rules! divide {
    ($name:ident, $long:ident, [$limb0:literal, $limb1:literal, $limb2:literal, $limb3:literal], $remainder:literal, $less:literal) => {
        /// Divides by one limb; the rest is Rust's.
        ///
        /// # Safety
        ///
        /// X4.
        #[unsafe(naked)]
        pub(super) unsafe extern "C" fn $name() {
            naked_asm!(
                "mov rax, [rbx + {b} + 8]",
                "or rax, [rbx + {b} + 16]",
                "or rax, [rbx + {b} + 24]",
                "jnz 7f",
                "vpxor xmm0, xmm0, xmm0",
                "vpxor xmm1, xmm1, xmm1",
                "mov rdi, [rbx + {b}]",
                "test rdi, rdi",
                "jz 6f",
                "push rdx",
                "xor edx, edx",
                // From the highest limb on that is not zero. One that is less than the divisor is
                // the remainder of those above.
                "mov rax, [rbx + {a} + 24]",
                "test rax, rax",
                "jnz 5f",
                "mov rax, [rbx + {a} + 16]",
                "test rax, rax",
                "jnz 4f",
                "mov rax, [rbx + {a} + 8]",
                "test rax, rax",
                "jnz 3f",
                // 32 bits take less than half the time of 64 where division is slow.
                "mov rax, [rbx + {a}]",
                "mov rdx, rax",
                "or rdx, rdi",
                "shr rdx, 32",
                "jz 9f",
                "xor edx, edx",
                "jmp 2f",
                "9:",
                "div edi",
                "jmp 22f",
                "5:",
                "cmp rax, rdi",
                "jae 55f",
                "mov rdx, rax",
                "mov rax, [rbx + {a} + 16]",
                "jmp 44f",
                "55:",
                "div rdi",
                $limb3,
                "mov rax, [rbx + {a} + 16]",
                "jmp 44f",
                "4:",
                "cmp rax, rdi",
                "jae 44f",
                "mov rdx, rax",
                "mov rax, [rbx + {a} + 8]",
                "jmp 33f",
                "44:",
                "div rdi",
                $limb2,
                "mov rax, [rbx + {a} + 8]",
                "jmp 33f",
                "3:",
                "cmp rax, rdi",
                "jae 33f",
                "mov rdx, rax",
                "mov rax, [rbx + {a}]",
                "jmp 2f",
                "33:",
                "div rdi",
                $limb1,
                "mov rax, [rbx + {a}]",
                "2:",
                "div rdi",
                "22:",
                $limb0,
                $remainder,
                "pop rdx",
                "6:",
                "ret",
                // More than one limb: of the dividend nothing is left, or all of it.
                "7:",
                "mov rax, [rbx + {a}]",
                "cmp rax, [rbx + {b}]",
                "mov rax, [rbx + {a} + 8]",
                "sbb rax, [rbx + {b} + 8]",
                "mov rax, [rbx + {a} + 16]",
                "sbb rax, [rbx + {b} + 16]",
                "mov rax, [rbx + {a} + 24]",
                "sbb rax, [rbx + {b} + 24]",
                "jae {long}",
                $less,
                "ret",
                a = const at::SCRATCH - BIAS,
                b = const at::SCRATCH - BIAS + 32,
                long = sym $long,
            )
        }
    };
}

divide!(
    div,
    div_long,
    [
        "vpinsrq xmm0, xmm0, rax, 0",
        "vpinsrq xmm0, xmm0, rax, 1",
        "vpinsrq xmm1, xmm1, rax, 0",
        "vpinsrq xmm1, xmm1, rax, 1"
    ],
    "vinserti128 ymm0, ymm0, xmm1, 1",
    "vpxor xmm0, xmm0, xmm0"
);

divide!(
    rem,
    rem_long,
    ["", "", "", ""],
    "vmovq xmm0, rdx",
    "vmovdqu ymm0, [rbx + {a}]"
);

/// Makes the word at `rdi` its magnitude. `rax` is lost.
///
/// # Safety
///
/// X4, and `rdi` is of a word in the frame's scratch.
#[unsafe(naked)]
unsafe extern "C" fn magnitude() {
    naked_asm!(
        "cmp qword ptr [rdi + 24], 0",
        "jge 2f",
        "neg qword ptr [rdi]",
        "mov eax, 0",
        "sbb rax, [rdi + 8]",
        "mov [rdi + 8], rax",
        "mov eax, 0",
        "sbb rax, [rdi + 16]",
        "mov [rdi + 16], rax",
        "mov eax, 0",
        "sbb rax, [rdi + 24]",
        "mov [rdi + 24], rax",
        "2:",
        "ret",
    )
}

/// SDIV or SMOD, by DIV or MOD of the magnitudes. `$sign` makes the dividend's sign, of `rax`, the result's.
macro_rules! divide_signed {
    ($name:ident, $unsigned:ident, $sign:literal) => {
        /// # Safety
        ///
        /// X4.
        #[unsafe(naked)]
        pub(super) unsafe extern "C" fn $name() {
            naked_asm!(
                "mov rax, [rbx + {a} + 24]",
                $sign,
                "push rax",
                "lea rdi, [rbx + {a}]",
                "call {magnitude}",
                "lea rdi, [rbx + {b}]",
                "call {magnitude}",
                "call {unsigned}",
                "pop rax",
                "test rax, rax",
                "js 3f",
                "ret",
                "3:",
                "vmovdqu [rbx + {a}], ymm0",
                "mov rax, [rbx + {a}]",
                "neg rax",
                "vmovq xmm0, rax",
                "mov eax, 0",
                "sbb rax, [rbx + {a} + 8]",
                "vpinsrq xmm0, xmm0, rax, 1",
                "mov eax, 0",
                "sbb rax, [rbx + {a} + 16]",
                "vmovq xmm1, rax",
                "mov eax, 0",
                "sbb rax, [rbx + {a} + 24]",
                "vpinsrq xmm1, xmm1, rax, 1",
                "vinserti128 ymm0, ymm0, xmm1, 1",
                "ret",
                a = const at::SCRATCH - BIAS,
                b = const at::SCRATCH - BIAS + 32,
                magnitude = sym magnitude,
                unsigned = sym $unsigned,
            )
        }
    };
}

divide_signed!(sdiv, div, "xor rax, [rbx + {b} + 24]");
divide_signed!(smod, rem, "");
