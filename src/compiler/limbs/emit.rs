//! Emission of Cranelift instructions at the end of a current block, folding constants.
//!
//! The unit of a 256-bit value is the [`Limb`]: a 64-bit part that is a known constant, an SSA
//! value, or a comparison's result that has not been widened yet. Folding on limbs is what makes
//! the common case of EVM code, small numbers in 256-bit words, cost as little as it should.

use cranelift_codegen::{
    cursor::{Cursor, FuncCursor},
    ir::{
        self, AliasRegion, AliasRegionData, InsertBuilder, InstBuilder, MemFlagsData,
        condcodes::{CondCode, IntCC},
        types,
    },
};

/// A 64-bit part of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limb {
    /// Known when compiling.
    Const(u64),
    /// Of type `i64`.
    Val(ir::Value),
    /// Of type `i8`, 0 or 1.
    Flag(ir::Value),
}

impl Limb {
    pub(crate) const ZERO: Self = Self::Const(0);

    pub(crate) fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

/// The disjoint parts of memory that compiled code touches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Region {
    /// The operand stack, and where its length is kept.
    Stack,
    /// The frame's memory and call data: bytes at any alignment.
    Bytes,
    /// The frame, or the structures of another calling convention, and what the function saves.
    Context,
    /// The gas counter, where it is a structure of its own.
    #[cfg(feature = "revmc")]
    Gas,
}

/// An insertion point: at the end of a block, or before an instruction.
pub(crate) struct Emit {
    pub(crate) func: ir::Function,
    pub(crate) block: ir::Block,
    /// Insert before this instruction instead.
    pub(crate) before: Option<ir::Inst>,
    /// While this is set, new blocks are this one.
    pub(crate) dead: Option<ir::Block>,
    regions: [AliasRegion; 4],
}

impl Emit {
    pub(crate) fn new(mut func: ir::Function, block: ir::Block) -> Self {
        let regions = ["operand stack", "bytes", "frame", "gas"];
        let mut id = 0;
        let regions = regions.map(|description| {
            id += 1;
            func.dfg.alias_regions.insert(AliasRegionData {
                user_id: id,
                description: description.into(),
            })
        });
        Self {
            func,
            block,
            before: None,
            dead: None,
            regions,
        }
    }

    pub(crate) fn flags(&self, region: Region) -> MemFlagsData {
        let flags = match region {
            Region::Bytes => MemFlagsData::new().with_notrap(),
            _ => MemFlagsData::trusted(),
        };
        flags.with_alias_region(Some(self.regions[region as usize]))
    }

    pub(crate) fn cursor(&mut self) -> FuncCursor<'_> {
        let cursor = FuncCursor::new(&mut self.func);
        match self.before {
            Some(inst) => cursor.at_inst(inst),
            None => cursor.at_bottom(self.block),
        }
    }

    // Blocks.

    /// Creates a block and appends it to the layout.
    pub(crate) fn new_block(&mut self, cold: bool) -> ir::Block {
        if let Some(block) = self.dead {
            return block;
        }
        let block = self.func.dfg.make_block();
        self.func.layout.append_block(block);
        if cold {
            self.func.layout.set_cold(block);
        }
        block
    }

    pub(crate) fn jump(&mut self, to: ir::Block, args: &[ir::Value]) {
        let args: Vec<ir::BlockArg> = args.iter().map(|&v| v.into()).collect();
        self.cursor().ins().jump(to, &args);
    }

    pub(crate) fn brif(&mut self, cond: ir::Value, then: ir::Block, otherwise: ir::Block) {
        self.cursor().ins().brif(cond, then, &[], otherwise, &[]);
    }

    // Scalars.

    pub(crate) fn iconst(&mut self, ty: ir::Type, value: u64) -> ir::Value {
        let bits = ty.bits();
        let value = if bits < 64 {
            value & ((1 << bits) - 1)
        } else {
            value
        };
        self.cursor().ins().iconst(ty, value as i64)
    }

    pub(crate) fn load(
        &mut self,
        ty: ir::Type,
        region: Region,
        base: ir::Value,
        offset: i32,
    ) -> ir::Value {
        let flags = self.flags(region);
        self.cursor().ins().load(ty, flags, base, offset)
    }

    pub(crate) fn store(&mut self, region: Region, value: ir::Value, base: ir::Value, offset: i32) {
        let flags = self.flags(region);
        self.cursor().ins().store(flags, value, base, offset);
    }

    pub(crate) fn offset(&mut self, base: ir::Value, offset: i64) -> ir::Value {
        if offset == 0 {
            base
        } else {
            self.cursor().ins().iadd_imm_s(base, offset)
        }
    }

    pub(crate) fn add_values(&mut self, a: ir::Value, b: ir::Value) -> ir::Value {
        self.cursor().ins().iadd(a, b)
    }

    pub(crate) fn select_values(
        &mut self,
        cond: ir::Value,
        a: ir::Value,
        b: ir::Value,
    ) -> ir::Value {
        self.cursor().ins().select(cond, a, b)
    }

    pub(crate) fn slot_address(&mut self, slot: ir::StackSlot) -> ir::Value {
        self.cursor().ins().stack_addr(types::I64, slot, 0)
    }

    pub(crate) fn icmp(&mut self, cc: IntCC, a: ir::Value, b: ir::Value) -> ir::Value {
        self.cursor().ins().icmp(cc, a, b)
    }

    pub(crate) fn icmp_imm(&mut self, cc: IntCC, a: ir::Value, imm: i64) -> ir::Value {
        self.cursor().ins().icmp_imm_s(cc, a, imm)
    }

    pub(crate) fn zero_vector(&mut self) -> ir::Value {
        let zero = self
            .func
            .dfg
            .constants
            .insert(ir::ConstantData::from(&[0u8; 16][..]));
        self.cursor().ins().vconst(types::I64X2, zero)
    }

    // Limbs.

    /// The limb as an `i64`.
    pub(crate) fn value(&mut self, limb: Limb) -> ir::Value {
        match limb {
            Limb::Const(c) => self.iconst(types::I64, c),
            Limb::Val(v) => v,
            Limb::Flag(v) => self.cursor().ins().uextend(types::I64, v),
        }
    }

    pub(crate) fn or(&mut self, a: Limb, b: Limb) -> Limb {
        match (a, b) {
            (Limb::Const(a), Limb::Const(b)) => Limb::Const(a | b),
            (Limb::Const(0), x) | (x, Limb::Const(0)) => x,
            (Limb::Const(u64::MAX), _) | (_, Limb::Const(u64::MAX)) => Limb::Const(u64::MAX),
            (Limb::Flag(_), Limb::Const(c)) | (Limb::Const(c), Limb::Flag(_)) if c & 1 == 1 => {
                Limb::Const(c)
            }
            _ if a == b => a,
            (Limb::Flag(a), Limb::Flag(b)) => Limb::Flag(self.cursor().ins().bor(a, b)),
            _ => self.limb2(a, b, |ins, a, b| ins.bor(a, b)),
        }
    }

    pub(crate) fn and(&mut self, a: Limb, b: Limb) -> Limb {
        match (a, b) {
            (Limb::Const(a), Limb::Const(b)) => Limb::Const(a & b),
            (Limb::Const(0), _) | (_, Limb::Const(0)) => Limb::ZERO,
            (Limb::Const(u64::MAX), x) | (x, Limb::Const(u64::MAX)) => x,
            (Limb::Flag(f), Limb::Const(c)) | (Limb::Const(c), Limb::Flag(f)) => {
                if c & 1 == 1 {
                    Limb::Flag(f)
                } else {
                    Limb::ZERO
                }
            }
            _ if a == b => a,
            (Limb::Flag(a), Limb::Flag(b)) => Limb::Flag(self.cursor().ins().band(a, b)),
            _ => self.limb2(a, b, |ins, a, b| ins.band(a, b)),
        }
    }

    pub(crate) fn xor(&mut self, a: Limb, b: Limb) -> Limb {
        match (a, b) {
            (Limb::Const(a), Limb::Const(b)) => Limb::Const(a ^ b),
            (Limb::Const(0), x) | (x, Limb::Const(0)) => x,
            _ if a == b => Limb::ZERO,
            (Limb::Flag(a), Limb::Flag(b)) => Limb::Flag(self.cursor().ins().bxor(a, b)),
            _ => self.limb2(a, b, |ins, a, b| ins.bxor(a, b)),
        }
    }

    pub(crate) fn not(&mut self, a: Limb) -> Limb {
        match a {
            Limb::Const(a) => Limb::Const(!a),
            _ => {
                let a = self.value(a);
                Limb::Val(self.cursor().ins().bnot(a))
            }
        }
    }

    /// `cond ? a : b`, where `cond` is an `i8`.
    pub(crate) fn select(&mut self, cond: ir::Value, a: Limb, b: Limb) -> Limb {
        match (a, b) {
            _ if a == b => a,
            (Limb::Const(1), Limb::Const(0)) => Limb::Flag(cond),
            _ => {
                let (a, b) = (self.value(a), self.value(b));
                Limb::Val(self.cursor().ins().select(cond, a, b))
            }
        }
    }

    /// `a << n`, `n < 64`.
    pub(crate) fn shl_imm(&mut self, a: Limb, n: u32) -> Limb {
        match a {
            Limb::Const(a) => Limb::Const(a << n),
            _ if n == 0 => a,
            _ => {
                let a = self.value(a);
                Limb::Val(self.cursor().ins().ishl_imm_u(a, i64::from(n)))
            }
        }
    }

    /// `a >> n`, `n < 64`, filled with zeros.
    pub(crate) fn shr_imm(&mut self, a: Limb, n: u32) -> Limb {
        match a {
            Limb::Const(a) => Limb::Const(a >> n),
            _ if n == 0 => a,
            Limb::Flag(_) => Limb::ZERO,
            Limb::Val(a) => Limb::Val(self.cursor().ins().ushr_imm_u(a, i64::from(n))),
        }
    }

    /// `a >> n`, `n < 64`, filled with the sign.
    pub(crate) fn sar_imm(&mut self, a: Limb, n: u32) -> Limb {
        match a {
            Limb::Const(a) => Limb::Const((a as i64 >> n) as u64),
            _ if n == 0 => a,
            Limb::Flag(_) => Limb::ZERO,
            Limb::Val(a) => Limb::Val(self.cursor().ins().sshr_imm_u(a, i64::from(n))),
        }
    }

    pub(crate) fn bswap(&mut self, a: Limb) -> Limb {
        match a {
            Limb::Const(a) => Limb::Const(a.swap_bytes()),
            Limb::Flag(_) => self.shl_imm(a, 56),
            Limb::Val(a) => Limb::Val(self.cursor().ins().bswap(a)),
        }
    }

    /// Whether the limb is not zero, as a limb of 0 or 1.
    pub(crate) fn is_nonzero(&mut self, a: Limb) -> Limb {
        match a {
            Limb::Const(a) => Limb::Const(u64::from(a != 0)),
            Limb::Flag(_) => a,
            Limb::Val(a) => Limb::Flag(self.icmp_imm(IntCC::NotEqual, a, 0)),
        }
    }

    /// Whether the limb is zero, as a limb of 0 or 1.
    pub(crate) fn is_zero(&mut self, a: Limb) -> Limb {
        match a {
            Limb::Const(a) => Limb::Const(u64::from(a == 0)),
            Limb::Val(a) => Limb::Flag(self.icmp_imm(IntCC::Equal, a, 0)),
            // A comparison's opposite is a comparison.
            Limb::Flag(a) => match self.comparison(a) {
                Some((cc, x, y)) => Limb::Flag(self.icmp(cc.complement(), x, y)),
                None => Limb::Flag(self.icmp_imm(IntCC::Equal, a, 0)),
            },
        }
    }

    fn comparison(&self, flag: ir::Value) -> Option<(IntCC, ir::Value, ir::Value)> {
        let inst = self.func.dfg.value_def(flag).inst()?;
        match self.func.dfg.insts[inst] {
            ir::InstructionData::IntCompare { cond, args, .. } => Some((cond, args[0], args[1])),
            _ => None,
        }
    }

    /// A comparison of 64-bit limbs, as a limb of 0 or 1.
    pub(crate) fn cmp(&mut self, cc: IntCC, a: Limb, b: Limb) -> Limb {
        if let (Limb::Const(a), Limb::Const(b)) = (a, b) {
            return Limb::Const(u64::from(evaluate(cc, a, b)));
        }
        if let (Limb::Const(0), IntCC::UnsignedLessThan) = (b, cc) {
            return Limb::ZERO;
        }
        let a = self.value(a);
        Limb::Flag(match b {
            Limb::Const(b) if i32::try_from(b as i64).is_ok() => self.icmp_imm(cc, a, b as i64),
            _ => {
                let b = self.value(b);
                self.icmp(cc, a, b)
            }
        })
    }

    fn limb2(
        &mut self,
        a: Limb,
        b: Limb,
        f: impl FnOnce(InsertBuilder<'_, &mut FuncCursor<'_>>, ir::Value, ir::Value) -> ir::Value,
    ) -> Limb {
        let (a, b) = (self.value(a), self.value(b));
        Limb::Val(f(self.cursor().ins(), a, b))
    }
}

/// The comparison's value for two constants.
pub(crate) fn evaluate(cc: IntCC, a: u64, b: u64) -> bool {
    let (sa, sb) = (a as i64, b as i64);
    match cc {
        IntCC::Equal => a == b,
        IntCC::NotEqual => a != b,
        IntCC::UnsignedLessThan => a < b,
        IntCC::UnsignedLessThanOrEqual => a <= b,
        IntCC::UnsignedGreaterThan => a > b,
        IntCC::UnsignedGreaterThanOrEqual => a >= b,
        IntCC::SignedLessThan => sa < sb,
        IntCC::SignedLessThanOrEqual => sa <= sb,
        IntCC::SignedGreaterThan => sa > sb,
        IntCC::SignedGreaterThanOrEqual => sa >= sb,
    }
}
