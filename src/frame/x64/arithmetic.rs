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

/// DIV or MOD. What keeps a quotient's limb, the remainder in `rdx`, and a dividend that is less than the
/// divisor, is theirs.
macro_rules! divide {
    ($name:ident, $operator:ident, [$limb0:literal, $limb1:literal, $limb2:literal, $limb3:literal], $remainder:literal, $less:literal) => {
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
                // From the highest limb on that is not zero.
                "mov rax, [rbx + {a} + 24]",
                "test rax, rax",
                "jnz 5f",
                "mov rax, [rbx + {a} + 16]",
                "test rax, rax",
                "jnz 4f",
                "mov rax, [rbx + {a} + 8]",
                "test rax, rax",
                "jnz 3f",
                "mov rax, [rbx + {a}]",
                "jmp 2f",
                "5:",
                "div rdi",
                $limb3,
                "mov rax, [rbx + {a} + 16]",
                "4:",
                "div rdi",
                $limb2,
                "mov rax, [rbx + {a} + 8]",
                "3:",
                "div rdi",
                $limb1,
                "mov rax, [rbx + {a}]",
                "2:",
                "div rdi",
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
                "jae 8f",
                $less,
                "ret",
                "8:",
                "mov edi, {operator}",
                "jmp {arithmetic}",
                a = const at::SCRATCH - BIAS,
                b = const at::SCRATCH - BIAS + 32,
                operator = const Operator::$operator as u32,
                arithmetic = sym arithmetic,
            )
        }
    };
}

divide!(
    div,
    Div,
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
    Mod,
    ["", "", "", ""],
    "vmovq xmm0, rdx",
    "vmovdqu ymm0, [rbx + {a}]"
);
