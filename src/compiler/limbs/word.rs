//! 256-bit arithmetic on limbs.
//!
//! Every operation is total and follows the EVM (Yellow Paper, appendix H.2): division by zero is
//! zero, a shift by 256 or more leaves nothing but the sign. Carries run through pairs of limbs as
//! 128-bit additions, which x86-64 and aarch64 both do in two instructions.

use super::emit::{Emit, Limb};
use crate::frame::arithmetic::Operator;
use alloy_primitives::U256;
use cranelift_codegen::ir::{
    self, InstBuilder,
    condcodes::{CondCode, IntCC},
    types,
};

/// A 256-bit value, least significant limb first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) [Limb; 4]);

impl Word {
    pub(crate) const ZERO: Self = Self([Limb::ZERO; 4]);

    pub(crate) fn constant(value: U256) -> Self {
        Self(value.into_limbs().map(Limb::Const))
    }

    pub(crate) fn from_limb(limb: Limb) -> Self {
        Self([limb, Limb::ZERO, Limb::ZERO, Limb::ZERO])
    }

    /// The value, if it is known when compiling.
    pub(crate) fn as_const(&self) -> Option<U256> {
        let mut limbs = [0; 4];
        for (out, limb) in limbs.iter_mut().zip(self.0) {
            let Limb::Const(c) = limb else { return None };
            *out = c;
        }
        Some(U256::from_limbs(limbs))
    }

    /// How many limbs may be other than zero.
    pub(crate) fn width(&self) -> usize {
        self.0
            .iter()
            .rposition(|limb| !limb.is_zero())
            .map_or(0, |i| i + 1)
    }

    fn is_zero(&self) -> bool {
        self.width() == 0
    }
}

impl Emit {
    fn pair(&mut self, low: Limb, high: Limb) -> ir::Value {
        let low = self.value(low);
        let high = self.value(high);
        self.cursor().ins().iconcat(low, high)
    }

    fn split(&mut self, pair: ir::Value) -> [Limb; 2] {
        let (low, high) = self.cursor().ins().isplit(pair);
        [Limb::Val(low), Limb::Val(high)]
    }

    /// The sum of two 128-bit numbers, modulo 2^128.
    fn add_pairs(&mut self, a: [Limb; 2], b: [Limb; 2]) -> ir::Value {
        let is_zero = |pair: [Limb; 2]| pair.iter().all(|limb| limb.is_zero());
        let x = self.pair(a[0], a[1]);
        if is_zero(b) {
            return x;
        }
        let y = self.pair(b[0], b[1]);
        if is_zero(a) {
            return y;
        }
        self.cursor().ins().iadd(x, y)
    }

    fn map2(&mut self, a: Word, b: Word, f: impl Fn(&mut Self, Limb, Limb) -> Limb) -> Word {
        Word(std::array::from_fn(|i| f(self, a.0[i], b.0[i])))
    }

    pub(crate) fn word_or(&mut self, a: Word, b: Word) -> Word {
        self.map2(a, b, Self::or)
    }

    pub(crate) fn word_and(&mut self, a: Word, b: Word) -> Word {
        self.map2(a, b, Self::and)
    }

    pub(crate) fn word_xor(&mut self, a: Word, b: Word) -> Word {
        self.map2(a, b, Self::xor)
    }

    pub(crate) fn word_not(&mut self, a: Word) -> Word {
        Word(a.0.map(|limb| self.not(limb)))
    }

    pub(crate) fn word_select(&mut self, cond: ir::Value, a: Word, b: Word) -> Word {
        self.map2(a, b, |e, a, b| e.select(cond, a, b))
    }

    /// The union of the limbs from `from` on: zero iff all of them are.
    pub(crate) fn union(&mut self, a: &Word, from: usize) -> Limb {
        a.0[from..]
            .iter()
            .fold(Limb::ZERO, |union, &limb| self.or(union, limb))
    }

    pub(crate) fn word_add(&mut self, a: Word, b: Word) -> Word {
        if let (Some(a), Some(b)) = (a.as_const(), b.as_const()) {
            return Word::constant(a.wrapping_add(b));
        }
        if a.is_zero() {
            return b;
        }
        if b.is_zero() {
            return a;
        }
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.0, b.0);
        match a.width().max(b.width()) {
            1 => {
                let (x, y) = (self.value(a0), self.value(b0));
                let (sum, carry) = self.cursor().ins().uadd_overflow(x, y);
                Word([Limb::Val(sum), Limb::Flag(carry), Limb::ZERO, Limb::ZERO])
            }
            width => {
                let (x, y) = (self.pair(a0, a1), self.pair(b0, b1));
                let (low, carry) = self.cursor().ins().uadd_overflow(x, y);
                let [s0, s1] = self.split(low);
                if width == 2 {
                    return Word([s0, s1, Limb::Flag(carry), Limb::ZERO]);
                }
                let carry = self.cursor().ins().uextend(types::I128, carry);
                let high = self.add_pairs([a2, a3], [b2, b3]);
                let high = self.cursor().ins().iadd(high, carry);
                let [s2, s3] = self.split(high);
                Word([s0, s1, s2, s3])
            }
        }
    }

    pub(crate) fn word_sub(&mut self, a: Word, b: Word) -> Word {
        if let (Some(a), Some(b)) = (a.as_const(), b.as_const()) {
            return Word::constant(a.wrapping_sub(b));
        }
        if b.is_zero() {
            return a;
        }
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.0, b.0);
        let (x, y) = (self.pair(a0, a1), self.pair(b0, b1));
        let (low, borrow) = self.cursor().ins().usub_overflow(x, y);
        let [s0, s1] = self.split(low);
        if a.width().max(b.width()) <= 2 {
            // The high half is all ones if there was a borrow, else zero.
            let borrow = self.cursor().ins().uextend(types::I64, borrow);
            let fill = Limb::Val(self.cursor().ins().ineg(borrow));
            return Word([s0, s1, fill, fill]);
        }
        let borrow = self.cursor().ins().uextend(types::I128, borrow);
        let mut high = self.pair(a2, a3);
        if !(b2.is_zero() && b3.is_zero()) {
            let y = self.pair(b2, b3);
            high = self.cursor().ins().isub(high, y);
        }
        let high = self.cursor().ins().isub(high, borrow);
        let [s2, s3] = self.split(high);
        Word([s0, s1, s2, s3])
    }

    /// What `MUL` comes to: a word, or a test whether the factors need more than
    /// [`word_mul_narrow`](Self::word_mul_narrow).
    pub(crate) fn word_mul(&mut self, a: Word, b: Word) -> Plan {
        let by_const = |e: &mut Self, word: Word, c: U256| {
            if c.is_zero() {
                Some(Word::ZERO)
            } else if c.is_power_of_two() {
                Some(e.shl_const(word, c.trailing_zeros() as u32))
            } else {
                None
            }
        };
        let known = match (a.as_const(), b.as_const()) {
            (Some(a), Some(b)) => Some(Word::constant(a.wrapping_mul(b))),
            (Some(c), None) => by_const(self, b, c),
            (None, Some(c)) => by_const(self, a, c),
            (None, None) => None,
        };
        if let Some(word) = known {
            return Plan::Done(word);
        }
        if a.width().min(b.width()) <= 1 && a.width().max(b.width()) <= 2 {
            return Plan::Done(self.word_mul_wide(a, b));
        }
        let a_overhang = self.overhang(&a);
        let b_overhang = self.overhang(&b);
        let overhang = self.or(a_overhang, b_overhang);
        Plan::IfWide(self.is_nonzero(overhang))
    }

    /// The product of two numbers that are the sign extensions of their low limbs.
    pub(crate) fn word_mul_narrow(&mut self, a: Word, b: Word) -> Word {
        let (a, b) = (self.value(a.0[0]), self.value(b.0[0]));
        let low = self.cursor().ins().imul(a, b);
        let high = Limb::Val(self.cursor().ins().smulhi(a, b));
        let sign = self.sar_imm(high, 63);
        Word([Limb::Val(low), high, sign, sign])
    }

    /// Zero iff the two's-complement number is the sign extension of its low limb.
    fn overhang(&mut self, a: &Word) -> Limb {
        let sign = self.sar_imm(a.0[0], 63);
        a.0[1..].iter().fold(Limb::ZERO, |union, &limb| {
            let difference = self.xor(limb, sign);
            self.or(union, difference)
        })
    }

    /// 64 × 64 → 128 bits, or nothing if a factor is known to be zero.
    fn wide_product(&mut self, a: Limb, b: Limb) -> Option<ir::Value> {
        if a.is_zero() || b.is_zero() {
            return None;
        }
        let (a, b) = (self.value(a), self.value(b));
        let a = self.cursor().ins().uextend(types::I128, a);
        let b = self.cursor().ins().uextend(types::I128, b);
        Some(self.cursor().ins().imul(a, b))
    }

    /// Schoolbook multiplication modulo 2^256, by columns of 64 bits.
    pub(crate) fn word_mul_wide(&mut self, a: Word, b: Word) -> Word {
        let (a, b) = (a.0, b.0);
        let Some(p00) = self.wide_product(a[0], b[0]) else {
            // A factor's low limb is zero: shift the other product up by a limb.
            let shift = |word: [Limb; 4]| Word([word[1], word[2], word[3], Limb::ZERO]);
            let (a, b) = if a[0].is_zero() {
                (shift(a), Word(b))
            } else {
                (Word(a), shift(b))
            };
            if a.is_zero() || b.is_zero() {
                return Word::ZERO;
            }
            let product = self.word_mul_wide(a, b);
            return Word([Limb::ZERO, product.0[0], product.0[1], product.0[2]]);
        };
        let [r0, carry1] = self.split(p00);

        // Column 1 starts at bit 64; it may overflow its 128 bits by one, into bit 192.
        let mut column = self.uextend_pair(carry1);
        let mut overflow = Limb::ZERO;
        let mut narrow = true;
        for (i, j) in [(0, 1), (1, 0)] {
            if let Some(product) = self.wide_product(a[i], b[j]) {
                if narrow {
                    // A product and a limb never overflow 128 bits.
                    column = self.cursor().ins().iadd(column, product);
                    narrow = false;
                } else {
                    let (sum, carry) = self.cursor().ins().uadd_overflow(column, product);
                    column = sum;
                    overflow = Limb::Flag(carry);
                }
            }
        }
        let [r1, carry2] = self.split(column);
        if narrow
            && [a[1], a[2], a[3], b[1], b[2], b[3]]
                .iter()
                .all(|limb| limb.is_zero())
        {
            return Word([r0, carry1, Limb::ZERO, Limb::ZERO]);
        }

        // Columns 2 and 3 together, modulo 2^128.
        let carry2 = if narrow { Limb::ZERO } else { carry2 };
        let r1 = if narrow { carry1 } else { r1 };
        let mut high: Option<ir::Value> = None;
        let mut add = |e: &mut Self, term: ir::Value| {
            high = Some(match high {
                None => term,
                Some(sum) => e.cursor().ins().iadd(sum, term),
            });
        };
        if !(carry2.is_zero() && overflow.is_zero()) {
            let term = self.pair(carry2, overflow);
            add(self, term);
        }
        for (i, j) in [(0, 2), (1, 1), (2, 0)] {
            if let Some(product) = self.wide_product(a[i], b[j]) {
                add(self, product);
            }
        }
        let mut top: Option<ir::Value> = None;
        for (i, j) in [(0, 3), (1, 2), (2, 1), (3, 0)] {
            if a[i].is_zero() || b[j].is_zero() {
                continue;
            }
            let (x, y) = (self.value(a[i]), self.value(b[j]));
            let product = self.cursor().ins().imul(x, y);
            top = Some(match top {
                None => product,
                Some(sum) => self.cursor().ins().iadd(sum, product),
            });
        }
        let high = high.map(|high| self.split(high));
        let [r2, r3] = high.unwrap_or([Limb::ZERO; 2]);
        let r3 = match (r3, top) {
            (_, None) => r3,
            (Limb::Const(_), Some(top)) => Limb::Val(top),
            (_, Some(top)) => {
                let r3 = self.value(r3);
                Limb::Val(self.add_values(r3, top))
            }
        };
        Word([r0, r1, r2, r3])
    }

    fn uextend_pair(&mut self, limb: Limb) -> ir::Value {
        let value = self.value(limb);
        self.cursor().ins().uextend(types::I128, value)
    }

    // Comparisons. Each gives a constant or a flag.

    pub(crate) fn word_cmp(&mut self, cc: IntCC, a: Word, b: Word) -> Limb {
        match cc {
            IntCC::Equal => {
                let difference = self.word_xor(a, b);
                let union = self.union(&difference, 0);
                self.is_zero(union)
            }
            IntCC::NotEqual => {
                let difference = self.word_xor(a, b);
                let union = self.union(&difference, 0);
                self.is_nonzero(union)
            }
            IntCC::UnsignedLessThan => self.word_ult(a, b),
            IntCC::UnsignedGreaterThan => self.word_ult(b, a),
            IntCC::SignedLessThan => self.word_slt(a, b),
            IntCC::SignedGreaterThan => self.word_slt(b, a),
            _ => {
                let inverse = self.word_cmp(cc.complement(), a, b);
                self.is_zero(inverse)
            }
        }
    }

    fn word_ult(&mut self, a: Word, b: Word) -> Limb {
        let (a_width, b_width) = (a.width(), b.width());
        if b_width == 0 {
            return Limb::ZERO;
        }
        if a_width <= 1 && b_width <= 1 {
            return self.cmp(IntCC::UnsignedLessThan, a.0[0], b.0[0]);
        }
        if b_width == 1 {
            let high = self.union(&a, 1);
            let fits = self.is_zero(high);
            let less = self.cmp(IntCC::UnsignedLessThan, a.0[0], b.0[0]);
            return self.and(fits, less);
        }
        if a_width <= 1 {
            let high = self.union(&b, 1);
            let more = self.is_nonzero(high);
            let less = self.cmp(IntCC::UnsignedLessThan, a.0[0], b.0[0]);
            return self.or(more, less);
        }
        self.by_halves(IntCC::UnsignedLessThan, a, b)
    }

    fn word_slt(&mut self, a: Word, b: Word) -> Limb {
        if a.0[3].is_zero() && b.0[3].is_zero() {
            return self.word_ult(a, b);
        }
        if b.is_zero() {
            return self.cmp(IntCC::SignedLessThan, a.0[3], Limb::ZERO);
        }
        self.by_halves(IntCC::SignedLessThan, a, b)
    }

    /// `high(a) <cc> high(b)`, or they are equal and `low(a) < low(b)`.
    fn by_halves(&mut self, cc: IntCC, a: Word, b: Word) -> Limb {
        if let (Some(x), Some(y)) = (a.as_const(), b.as_const()) {
            let flip = U256::from(u8::from(cc == IntCC::SignedLessThan)) << 255;
            return Limb::Const(u64::from((x ^ flip) < (y ^ flip)));
        }
        let (a_low, b_low) = (self.pair(a.0[0], a.0[1]), self.pair(b.0[0], b.0[1]));
        let low = self.icmp(IntCC::UnsignedLessThan, a_low, b_low);
        if a.width().max(b.width()) <= 2 {
            return Limb::Flag(low);
        }
        let (a_high, b_high) = (self.pair(a.0[2], a.0[3]), self.pair(b.0[2], b.0[3]));
        let equal = self.icmp(IntCC::Equal, a_high, b_high);
        let high = self.icmp(cc, a_high, b_high);
        let low = self.cursor().ins().band(equal, low);
        Limb::Flag(self.cursor().ins().bor(high, low))
    }

    // Division.

    /// What `DIV`, `MOD`, `SDIV` or `SMOD` comes to: a word, or a test whether the operands need
    /// more than [`word_div_narrow`](Self::word_div_narrow).
    pub(crate) fn word_div(&mut self, operator: Operator, a: Word, b: Word) -> Plan {
        if b.is_zero() {
            return Plan::Done(Word::ZERO);
        }
        if is_unsigned(operator)
            && let Some(divisor) = b.as_const()
            && divisor.is_power_of_two()
        {
            return Plan::Done(if operator == Operator::Div {
                self.shr_const(a, divisor.trailing_zeros() as u32, Limb::ZERO)
            } else {
                self.word_and(a, Word::constant(divisor - U256::from(1)))
            });
        }
        if is_unsigned(operator) {
            let high_a = self.union(&a, 1);
            let high_b = self.union(&b, 1);
            let high = self.or(high_a, high_b);
            return Plan::IfWide(self.is_nonzero(high));
        }
        let a_overhang = self.overhang(&a);
        let b_overhang = self.overhang(&b);
        let overhang = self.or(a_overhang, b_overhang);
        let overhang = self.is_nonzero(overhang);
        // The instruction traps on zero, and on the lowest number divided by -1.
        let is_special = match b.0[0] {
            Limb::Const(c) => Limb::Const(u64::from(c == 0 || c == u64::MAX)),
            low => {
                let low = self.value(low);
                let next = Limb::Val(self.offset(low, 1));
                self.cmp(IntCC::UnsignedLessThan, next, Limb::Const(2))
            }
        };
        Plan::IfWide(self.or(overhang, is_special))
    }

    /// The division of operands that [`word_div`](Self::word_div) found to be narrow.
    pub(crate) fn word_div_narrow(&mut self, operator: Operator, a: Word, b: Word) -> Word {
        let dividend = self.value(a.0[0]);
        let divisor = self.value(b.0[0]);
        if !is_unsigned(operator) {
            let result = Limb::Val(if operator == Operator::Sdiv {
                self.cursor().ins().sdiv(dividend, divisor)
            } else {
                self.cursor().ins().srem(dividend, divisor)
            });
            let sign = self.sar_imm(result, 63);
            return Word([result, sign, sign, sign]);
        }
        let is_known = matches!(b.0[0], Limb::Const(c) if c != 0);
        // The instruction traps on zero.
        let safe = if is_known {
            divisor
        } else {
            let is_zero = self.icmp_imm(IntCC::Equal, divisor, 0);
            let one = self.iconst(types::I64, 1);
            self.cursor().ins().select(is_zero, one, divisor)
        };
        if operator == Operator::Mod {
            // `x % 1` is the zero that `x % 0` has to be.
            return Word::from_limb(Limb::Val(self.cursor().ins().urem(dividend, safe)));
        }
        let quotient = Limb::Val(self.cursor().ins().udiv(dividend, safe));
        if is_known {
            return Word::from_limb(quotient);
        }
        let nonzero = self.icmp_imm(IntCC::NotEqual, divisor, 0);
        Word::from_limb(self.select(nonzero, quotient, Limb::ZERO))
    }
}

fn is_unsigned(operator: Operator) -> bool {
    matches!(operator, Operator::Div | Operator::Mod)
}

/// How an operation with a fast case is done.
pub(crate) enum Plan {
    /// This is the result.
    Done(Word),
    /// By the general method if this limb is not zero.
    IfWide(Limb),
}
