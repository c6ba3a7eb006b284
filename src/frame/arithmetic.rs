//! Arithmetic that is too long to stand in every program.
//!
//! Semantics: Yellow Paper, appendix H; EIP-145 for shifts.
//!
//! # Invariants
//!
//! * **O1** An [`Operation`] is called with valid pointers, aligned to 8: `out` to one word, `operands` to
//!   as many as the operator takes ([`OPERATIONS`]; no operator takes more than three).
//! * **O2** The operand of [`Operator::Partial`] is the address of as many readable bytes as it says.

use super::Word;
use alloy_primitives::U256;

/// An operation: `operands` points to as many words as the instruction takes, the one that it takes
/// from the top of the stack first. `out` may be the first of them.
///
/// # Safety
///
/// O1, and O2 for [`Operator::Partial`].
pub type Operation = unsafe extern "C" fn(out: *mut Word, operands: *const Word);

/// How many operations there are.
pub const COUNT: usize = 14;

/// An operation, by its place in [`OPERATIONS`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// MUL.
    Mul,
    /// DIV.
    Div,
    /// SDIV.
    Sdiv,
    /// MOD.
    Mod,
    /// SMOD.
    Smod,
    /// ADDMOD.
    Addmod,
    /// MULMOD.
    Mulmod,
    /// SHL.
    Shl,
    /// SHR.
    Shr,
    /// SAR.
    Sar,
    /// SIGNEXTEND.
    Signextend,
    /// BYTE.
    Byte,
    /// CLZ.
    Clz,
    /// CALLDATALOAD over the end: its one operand is the address and the number, less than 32, of the
    /// bytes that are there.
    Partial,
}

/// The operations.
pub const OPERATIONS: [Operation; COUNT] = [
    mul, div, sdiv, rem, smod, addmod, mulmod, shl, shr, sar, signextend, byte, clz, partial,
];

/// # Safety
///
/// O1.
unsafe fn apply<const N: usize>(out: *mut Word, operands: *const Word, f: fn([U256; N]) -> U256) {
    // SAFETY: O1.
    let words = unsafe { operands.cast::<[Word; N]>().read() };
    let result = f(words.map(U256::from_limbs));
    // SAFETY: O1.
    unsafe { out.write(*result.as_limbs()) };
}

macro_rules! operations {
    ($($name:ident($n:literal) = $f:expr;)*) => {
        $(
        /// # Safety
        ///
        /// O1.
        unsafe extern "C" fn $name(out: *mut Word, operands: *const Word) {
            // SAFETY: O1.
            unsafe { apply::<$n>(out, operands, $f) }
        })*
    };
}

operations! {
    mul(2) = |[a, b]| a.wrapping_mul(b);
    div(2) = |[a, b]| a.checked_div(b).unwrap_or_default();
    rem(2) = |[a, b]| a.checked_rem(b).unwrap_or_default();
    sdiv(2) = |[a, b]| {
        let quotient = magnitude(a).checked_div(magnitude(b)).unwrap_or_default();
        with_sign(quotient, a.bit(255) != b.bit(255))
    };
    smod(2) = |[a, b]| {
        let remainder = magnitude(a).checked_rem(magnitude(b)).unwrap_or_default();
        with_sign(remainder, a.bit(255))
    };
    addmod(3) = |[a, b, n]| a.add_mod(b, n);
    mulmod(3) = |[a, b, n]| a.mul_mod(b, n);
    shl(2) = |[by, a]| amount(by).map_or(U256::ZERO, |by| a << by);
    shr(2) = |[by, a]| amount(by).map_or(U256::ZERO, |by| a >> by);
    sar(2) = |[by, a]| a.arithmetic_shr(amount(by).unwrap_or(255));
    signextend(2) = |[at, a]| match amount(at) {
        Some(at @ 0..31) => {
            let unused = 248 - 8 * at;
            (a << unused).arithmetic_shr(unused)
        }
        _ => a,
    };
    byte(2) = |[at, a]| match amount(at) {
        Some(at @ 0..32) => U256::from(a.byte(31 - at)),
        _ => U256::ZERO,
    };
    clz(1) = |[a]| U256::from(a.leading_zeros());
}

/// # Safety
///
/// O1, O2.
unsafe extern "C" fn partial(out: *mut Word, operands: *const Word) {
    // SAFETY: O1.
    let [address, len, ..] = unsafe { operands.read() };
    let mut bytes = [0; 32];
    let len = (len as usize).min(bytes.len());
    // SAFETY: O2, and there is room for 32 bytes.
    unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), len) };
    // SAFETY: O1.
    unsafe { out.write(*U256::from_be_bytes(bytes).as_limbs()) };
}

/// What an operation gives, for the compiler's constants. `operands` are as many as it takes; it is not
/// [`Operator::Partial`], whose operand is no number.
pub(crate) fn evaluate(operator: Operator, operands: &[U256]) -> U256 {
    if operator == Operator::Partial {
        return U256::ZERO;
    }
    let mut words = [[0; 4]; 3];
    for (word, operand) in words.iter_mut().zip(operands) {
        *word = *operand.as_limbs();
    }
    let mut out = [0; 4];
    // SAFETY: O1: there is room for three operands. O2 is of the one operator that is not evaluated.
    unsafe { OPERATIONS[operator as usize](&mut out, words.as_ptr()) };
    U256::from_limbs(out)
}

/// A number of bits that is less than 256.
fn amount(by: U256) -> Option<usize> {
    (by < U256::from(256)).then(|| by.as_limbs()[0] as usize)
}

fn magnitude(a: U256) -> U256 {
    with_sign(a, a.bit(255))
}

fn with_sign(a: U256, negative: bool) -> U256 {
    if negative { a.wrapping_neg() } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_limits() {
        let (one, min) = (U256::ONE, U256::ONE << 255);
        let minus = |n: u64| U256::from(n).wrapping_neg();
        assert_eq!(evaluate(Operator::Sdiv, &[min, minus(1)]), min);
        assert_eq!(
            evaluate(Operator::Sdiv, &[minus(7), U256::from(2)]),
            minus(3)
        );
        assert_eq!(
            evaluate(Operator::Smod, &[minus(7), U256::from(2)]),
            minus(1)
        );
        assert_eq!(evaluate(Operator::Smod, &[U256::from(7), minus(2)]), one);
        assert_eq!(evaluate(Operator::Smod, &[min, minus(1)]), U256::ZERO);
        for operator in [Operator::Div, Operator::Sdiv, Operator::Mod, Operator::Smod] {
            assert_eq!(evaluate(operator, &[one, U256::ZERO]), U256::ZERO);
        }
        assert_eq!(
            evaluate(Operator::Addmod, &[U256::MAX, U256::MAX, U256::ZERO]),
            U256::ZERO
        );
        assert_eq!(
            evaluate(Operator::Mulmod, &[U256::MAX, U256::MAX, U256::from(7)]),
            U256::ONE
        );
        assert_eq!(evaluate(Operator::Sar, &[U256::MAX, min]), U256::MAX);
        assert_eq!(evaluate(Operator::Shl, &[U256::from(256), one]), U256::ZERO);
        assert_eq!(
            evaluate(Operator::Signextend, &[U256::ZERO, U256::from(0x80)]),
            minus(0x80)
        );
        assert_eq!(evaluate(Operator::Signextend, &[U256::from(31), min]), min);
    }
}
