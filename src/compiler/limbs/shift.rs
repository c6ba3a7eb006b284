//! Shifts and bytes of 256-bit words.
//!
//! A shift by a known amount moves limbs and is often free; one by a value selects among limbs,
//! without a branch.

use super::{
    emit::{Emit, Limb},
    word::Word,
};
use alloy_primitives::U256;
use cranelift_codegen::ir::{self, InstBuilder, condcodes::IntCC};

impl Emit {
    // Shifts.

    pub(crate) fn word_shl(&mut self, a: Word, n: Word) -> Word {
        match n.as_const() {
            Some(n) => match u32::try_from(n) {
                Ok(n @ 0..256) => self.shl_const(a, n),
                _ => Word::ZERO,
            },
            None => self.shift_by_value(
                a,
                n,
                Limb::ZERO,
                |a| std::array::from_fn(|i| a[3 - i]),
                Shift::Left,
            ),
        }
    }

    pub(crate) fn word_shr(&mut self, a: Word, n: Word) -> Word {
        match n.as_const() {
            Some(n) => match u32::try_from(n) {
                Ok(n @ 0..256) => self.shr_const(a, n, Limb::ZERO),
                _ => Word::ZERO,
            },
            None => self.shift_by_value(a, n, Limb::ZERO, |a| a, Shift::Right),
        }
    }

    pub(crate) fn word_sar(&mut self, a: Word, n: Word) -> Word {
        let sign = self.sar_imm(a.0[3], 63);
        match n.as_const() {
            Some(n) => match u32::try_from(n) {
                Ok(n @ 0..256) => self.shr_const(a, n, sign),
                _ => Word([sign; 4]),
            },
            None => self.shift_by_value(a, n, sign, |a| a, Shift::Right),
        }
    }

    pub(crate) fn shl_const(&mut self, a: Word, n: u32) -> Word {
        let (limbs, bits) = ((n / 64) as usize, n % 64);
        Word(std::array::from_fn(|i| {
            let Some(j) = i.checked_sub(limbs) else {
                return Limb::ZERO;
            };
            let high = self.shl_imm(a.0[j], bits);
            if bits == 0 || j == 0 {
                return high;
            }
            let low = self.shr_imm(a.0[j - 1], 64 - bits);
            self.or(high, low)
        }))
    }

    /// `sign` fills from the top.
    pub(crate) fn shr_const(&mut self, a: Word, n: u32, sign: Limb) -> Word {
        let (limbs, bits) = ((n / 64) as usize, n % 64);
        let limb = |j: usize| if j < 4 { a.0[j] } else { sign };
        Word(std::array::from_fn(|i| {
            let low = self.shr_imm(limb(i + limbs), bits);
            if bits == 0 {
                return low;
            }
            let high = self.shl_imm(limb(i + limbs + 1), 64 - bits);
            self.or(low, high)
        }))
    }

    /// A shift by an amount that is not known: whole limbs by two rounds of selects, then bits.
    ///
    /// `order` puts the limbs so that the shift is towards index 0, and back.
    fn shift_by_value(
        &mut self,
        a: Word,
        n: Word,
        fill: Limb,
        order: impl Fn([Limb; 4]) -> [Limb; 4],
        direction: Shift,
    ) -> Word {
        let high = self.union(&n, 1);
        let amount = self.value(n.0[0]);
        let mut limbs = order(a.0);

        for (bit, distance) in [(64, 1), (128, 2)] {
            let flag = self.cursor().ins().band_imm_u(amount, bit);
            let flag = self.icmp_imm(IntCC::NotEqual, flag, 0);
            limbs = std::array::from_fn(|i| {
                let moved = limbs.get(i + distance).copied().unwrap_or(fill);
                self.select(flag, moved, limbs[i])
            });
        }

        let bits = self.cursor().ins().band_imm_u(amount, 63);
        let rest = self.cursor().ins().bxor_imm_u(bits, 63);
        let limbs: [Limb; 4] = std::array::from_fn(|i| {
            let near = self.shift_limb(direction, limbs[i], bits);
            let next = limbs.get(i + 1).copied().unwrap_or(fill);
            // In two steps, as 64 - bits may be 64.
            let far = match direction {
                Shift::Right => self.shl_imm(next, 1),
                Shift::Left => self.shr_imm(next, 1),
            };
            let far = self.shift_limb(direction.inverse(), far, rest);
            self.or(near, far)
        });

        let small = self.cmp(IntCC::UnsignedLessThan, n.0[0], Limb::Const(256));
        let fits = self.is_zero(high);
        let in_range = self.and(fits, small);
        let word = Word(order(limbs));
        match in_range {
            Limb::Const(0) => Word([fill; 4]),
            Limb::Const(_) => word,
            Limb::Flag(cond) | Limb::Val(cond) => self.word_select(cond, word, Word([fill; 4])),
        }
    }

    fn shift_limb(&mut self, direction: Shift, a: Limb, n: ir::Value) -> Limb {
        if a.is_zero() {
            return a;
        }
        let a = self.value(a);
        Limb::Val(match direction {
            Shift::Left => self.cursor().ins().ishl(a, n),
            Shift::Right => self.cursor().ins().ushr(a, n),
        })
    }

    // Bytes.

    /// `BYTE`: the `index`th byte of `a`, counted from the most significant one.
    pub(crate) fn word_byte(&mut self, index: Word, a: Word) -> Word {
        if let Some(index) = index.as_const() {
            let Ok(index @ 0..32) = u32::try_from(index) else {
                return Word::ZERO;
            };
            let limb = a.0[3 - index as usize / 8];
            let byte = self.shr_imm(limb, 56 - 8 * (index % 8));
            return Word::from_limb(self.and(byte, Limb::Const(0xff)));
        }
        let high = self.union(&index, 1);
        let fits = self.is_zero(high);
        let small = self.cmp(IntCC::UnsignedLessThan, index.0[0], Limb::Const(32));
        let in_range = self.and(fits, small);

        let index = self.value(index.0[0]);
        let select = |e: &mut Self, bit: i64, low: Limb, high: Limb| {
            let flag = e.cursor().ins().band_imm_u(index, bit);
            let flag = e.icmp_imm(IntCC::NotEqual, flag, 0);
            e.select(flag, low, high)
        };
        let upper = select(self, 8, a.0[2], a.0[3]);
        let lower = select(self, 8, a.0[0], a.0[1]);
        let limb = select(self, 16, lower, upper);
        let shift = self.cursor().ins().band_imm_u(index, 7);
        let shift = self.cursor().ins().bxor_imm_u(shift, 7);
        let shift = self.cursor().ins().ishl_imm_u(shift, 3);
        let byte = self.shift_limb(Shift::Right, limb, shift);
        let byte = self.and(byte, Limb::Const(0xff));
        match in_range {
            Limb::Const(0) => Word::ZERO,
            Limb::Const(_) => Word::from_limb(byte),
            Limb::Flag(cond) | Limb::Val(cond) => {
                Word::from_limb(self.select(cond, byte, Limb::ZERO))
            }
        }
    }

    /// `SIGNEXTEND` from a known byte.
    pub(crate) fn word_signextend_const(&mut self, byte: U256, a: Word) -> Word {
        let Ok(byte @ 0..31) = usize::try_from(byte) else {
            return a;
        };
        let (limb, bits) = (byte / 8, 56 - 8 * (byte % 8) as u32);
        let top = self.shl_imm(a.0[limb], bits);
        let top = self.sar_imm(top, bits);
        let sign = self.sar_imm(top, 63);
        Word(std::array::from_fn(|i| match i.cmp(&limb) {
            std::cmp::Ordering::Less => a.0[i],
            std::cmp::Ordering::Equal => top,
            std::cmp::Ordering::Greater => sign,
        }))
    }
}

#[derive(Clone, Copy)]
enum Shift {
    Left,
    Right,
}

impl Shift {
    fn inverse(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}
