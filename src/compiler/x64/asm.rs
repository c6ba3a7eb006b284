//! An assembler for the instructions that this back end uses.
//!
//! Code goes into one of two sections, hot and cold, of which the cold one comes to stand behind the
//! hot one, and the constants behind both. References between them are to labels, with 32-bit
//! displacements that [`Assembler::finish`] fills in. Encodings follow the Intel SDM, volume 2.

use std::collections::HashMap;

/// A general-purpose register, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Gpr(pub(super) u8);

pub(super) const RAX: Gpr = Gpr(0);
pub(super) const RCX: Gpr = Gpr(1);
pub(super) const RDX: Gpr = Gpr(2);
pub(super) const RBX: Gpr = Gpr(3);
pub(super) const RBP: Gpr = Gpr(5);
pub(super) const RSI: Gpr = Gpr(6);
pub(super) const RDI: Gpr = Gpr(7);
pub(super) const R12: Gpr = Gpr(12);
pub(super) const R13: Gpr = Gpr(13);
pub(super) const R15: Gpr = Gpr(15);

/// A vector register, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ymm(pub(super) u8);

/// An operand in memory: base, index (scale 1) and displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mem {
    pub(super) base: Gpr,
    pub(super) index: Option<Gpr>,
    pub(super) disp: i32,
}

impl Mem {
    pub(super) fn at(base: Gpr, disp: i32) -> Self {
        Self {
            base,
            index: None,
            disp,
        }
    }

    pub(super) fn plus(self, disp: i32) -> Self {
        Self {
            disp: self.disp + disp,
            ..self
        }
    }
}

/// A register, memory, or a constant of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rm {
    Reg(u8),
    Mem(Mem),
    Pool(u32),
}

impl From<Gpr> for Rm {
    fn from(reg: Gpr) -> Self {
        Self::Reg(reg.0)
    }
}

impl From<Ymm> for Rm {
    fn from(reg: Ymm) -> Self {
        Self::Reg(reg.0)
    }
}

impl From<Mem> for Rm {
    fn from(mem: Mem) -> Self {
        Self::Mem(mem)
    }
}

/// The condition codes of `jcc` and `setcc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Cond {
    Below = 2,
    AboveEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowEqual = 6,
    Above = 7,
    Less = 12,
    GreaterEqual = 13,
}

impl Cond {
    pub(super) fn not(self) -> Self {
        match self {
            Self::Below => Self::AboveEqual,
            Self::AboveEqual => Self::Below,
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::BelowEqual => Self::Above,
            Self::Above => Self::BelowEqual,
            Self::Less => Self::GreaterEqual,
            Self::GreaterEqual => Self::Less,
        }
    }
}

/// Arithmetic with a register: the opcode digit of the immediate form, times eight the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Alu {
    Add = 0,
    Or = 1,
    Adc = 2,
    Sbb = 3,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// A place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(pub(super) u32);

/// At least what Cranelift's functions need.
pub(super) const TAIL_ALIGN: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Hot,
    Cold,
}

/// A 32-bit field that can be filled in later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(Section, usize);

pub(super) enum Target {
    Label(Label),
    Pool(u32),
    Table,
    Tail,
}

pub(super) struct Fixup {
    pub(super) section: Section,
    /// Of the 32-bit displacement.
    pub(super) at: usize,
    /// From the displacement to the instruction's end.
    pub(super) tail: u8,
    pub(super) target: Target,
}

/// What code is for, from a place in its section on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) section: Section,
    pub(super) at: usize,
    pub(super) what: Purpose,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For no instruction alone.
    #[default]
    Shared,
    /// For this instruction, by its number.
    Inst(u32),
}

/// Marks, where somebody wants a listing.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) wanted: bool,
    pub(super) what: Purpose,
    pub(super) marks: Vec<Mark>,
}

/// Two sections of code and a pool of 32-byte constants.
pub(super) struct Assembler {
    pub(super) hot: Vec<u8>,
    pub(super) cold: Vec<u8>,
    pub(super) section: Section,
    pub(super) labels: Vec<Option<(Section, usize)>>,
    pub(super) fixups: Vec<Fixup>,
    pub(super) pool: Vec<[u8; 32]>,
    pooled: HashMap<[u8; 32], u32>,
    /// Code that stands behind everything, at a multiple of [`TAIL_ALIGN`].
    pub(super) tail: Vec<u8>,
    /// What the code is for.
    pub(super) marks: Marks,
}

impl Assembler {
    pub(super) fn new() -> Self {
        Self {
            hot: Vec::new(),
            cold: Vec::new(),
            section: Section::Hot,
            labels: Vec::new(),
            fixups: Vec::new(),
            pool: Vec::new(),
            pooled: HashMap::new(),
            tail: Vec::new(),
            marks: Marks::default(),
        }
    }

    /// Bytes of the two sections.
    #[cfg(test)]
    pub(super) fn code_len(&self) -> usize {
        self.hot.len() + self.cold.len()
    }

    /// Bytes of code so far.
    pub(super) fn len(&self) -> usize {
        self.hot.len() + self.cold.len() + self.pool.len() * 32 + self.tail.len()
    }

    /// Goes on in a section, and returns the one before.
    pub(super) fn section(&mut self, section: Section) -> Section {
        let before = std::mem::replace(&mut self.section, section);
        self.mark(self.marks.what);
        before
    }

    /// Says what the code that follows is for.
    pub(super) fn mark(&mut self, what: Purpose) {
        if self.marks.wanted {
            let (section, at) = (self.section, self.out().len());
            self.marks.what = what;
            // What has no code has no mark.
            let marks = &mut self.marks.marks;
            marks.pop_if(|last| (last.section, last.at) == (section, at));
            marks.push(Mark { section, at, what });
        }
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() as u32 - 1)
    }

    pub(super) fn bind(&mut self, label: Label) {
        let at = self.out().len();
        self.labels[label.0 as usize] = Some((self.section, at));
    }

    /// The pool's number for a constant.
    pub(super) fn constant(&mut self, bytes: [u8; 32]) -> Rm {
        let next = self.pool.len() as u32;
        let index = *self.pooled.entry(bytes).or_insert(next);
        if index == next {
            self.pool.push(bytes);
        }
        Rm::Pool(index)
    }

    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        match self.section {
            Section::Hot => &mut self.hot,
            Section::Cold => &mut self.cold,
        }
    }

    fn byte(&mut self, byte: u8) {
        self.out().push(byte);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out().extend_from_slice(bytes);
    }

    fn displacement(&mut self, target: Target, tail: u8) {
        let (section, at) = (self.section, self.out().len());
        self.fixups.push(Fixup {
            section,
            at,
            tail,
            target,
        });
        self.bytes(&[0; 4]);
    }

    /// ModRM, SIB and displacement; `tail` bytes of immediate follow.
    fn modrm(&mut self, reg: u8, rm: Rm, tail: u8) {
        let reg = (reg & 7) << 3;
        match rm {
            Rm::Reg(rm) => self.byte(0xc0 | reg | rm & 7),
            Rm::Pool(index) => {
                self.byte(reg | 5);
                self.displacement(Target::Pool(index), tail);
            }
            Rm::Mem(mem) => {
                let base = mem.base.0 & 7;
                let small = i8::try_from(mem.disp);
                // Base 5 without displacement means another thing.
                let mode = match small {
                    Ok(0) if base != 5 => 0,
                    Ok(_) => 0x40,
                    Err(_) => 0x80,
                };
                match mem.index {
                    None if base == 4 => self.bytes(&[mode | reg | 4, 0x24]),
                    None => self.byte(mode | reg | base),
                    Some(index) => self.bytes(&[mode | reg | 4, (index.0 & 7) << 3 | base]),
                }
                match (mode, small) {
                    (0, _) => {}
                    (_, Ok(small)) => self.byte(small as u8),
                    (_, Err(_)) => self.bytes(&mem.disp.to_le_bytes()),
                }
            }
        }
    }

    /// REX, opcode and operands. `wide`: 64-bit operands.
    fn rex_op(&mut self, wide: bool, prefix: &[u8], opcode: &[u8], reg: u8, rm: Rm, tail: u8) {
        let (x, b) = match rm {
            Rm::Reg(rm) => (0, rm >> 3),
            Rm::Mem(mem) => (mem.index.map_or(0, |index| index.0 >> 3), mem.base.0 >> 3),
            Rm::Pool(_) => (0, 0),
        };
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | x << 1 | b;
        self.bytes(prefix);
        if rex != 0x40 {
            self.byte(rex);
        }
        self.bytes(opcode);
        self.modrm(reg, rm, tail);
    }

    pub(super) fn mov_load(&mut self, to: Gpr, from: Mem) {
        self.rex_op(true, &[], &[0x8b], to.0, from.into(), 0);
    }

    pub(super) fn mov(&mut self, to: Gpr, from: Gpr) {
        if to != from {
            self.rex_op(true, &[], &[0x8b], to.0, from.into(), 0);
        }
    }

    /// Moves 32 bits and clears the others.
    pub(super) fn mov32(&mut self, to: Gpr, from: Gpr) {
        self.rex_op(false, &[], &[0x8b], to.0, from.into(), 0);
    }

    pub(super) fn mov_store(&mut self, to: Mem, from: Gpr) {
        self.rex_op(true, &[], &[0x89], from.0, to.into(), 0);
    }

    pub(super) fn mov32_store_imm(&mut self, to: Mem, value: u32) {
        self.rex_op(false, &[], &[0xc7], 0, to.into(), 4);
        self.bytes(&value.to_le_bytes());
    }

    /// Loads a constant without touching the flags.
    pub(super) fn mov_imm(&mut self, to: Gpr, value: u64) {
        if let Ok(value) = u32::try_from(value) {
            if to.0 >= 8 {
                self.byte(0x41);
            }
            self.byte(0xb8 | to.0 & 7);
            self.bytes(&value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value as i64) {
            self.rex_op(true, &[], &[0xc7], 0, to.into(), 4);
            self.bytes(&value.to_le_bytes());
        } else {
            self.bytes(&[0x48 | to.0 >> 3, 0xb8 | to.0 & 7]);
            self.bytes(&value.to_le_bytes());
        }
    }

    pub(super) fn movbe_store(&mut self, to: Mem, from: Gpr) {
        self.rex_op(true, &[], &[0x0f, 0x38, 0xf1], from.0, to.into(), 0);
    }

    pub(super) fn mov8_store(&mut self, to: Mem, from: Gpr) {
        // SPL and its like need a REX prefix to be what they are.
        if matches!(from.0, 4..=7) && to.base.0 < 8 && to.index.is_none_or(|index| index.0 < 8) {
            self.byte(0x40);
        }
        self.rex_op(false, &[], &[0x88], from.0, to.into(), 0);
    }

    pub(super) fn mov8_store_imm(&mut self, to: Mem, value: u8) {
        self.rex_op(false, &[], &[0xc6], 0, to.into(), 1);
        self.byte(value);
    }

    pub(super) fn lea(&mut self, to: Gpr, mem: Mem) {
        self.rex_op(true, &[], &[0x8d], to.0, mem.into(), 0);
    }

    /// The four bytes that were emitted last.
    pub(super) fn place(&mut self) -> Place {
        let section = self.section;
        Place(section, self.out().len() - 4)
    }

    pub(super) fn patch(&mut self, Place(section, at): Place, value: u32) {
        let out = match section {
            Section::Hot => &mut self.hot,
            Section::Cold => &mut self.cold,
        };
        out[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// `lea to, [base + disp]` with 32 bits of displacement, whatever they are.
    pub(super) fn lea_wide(&mut self, to: Gpr, base: Gpr, disp: i32) -> Place {
        // As if far away, then the displacement itself.
        self.lea(to, Mem::at(base, i32::MAX));
        let place = self.place();
        self.patch(place, disp as u32);
        place
    }

    /// `cmp qword mem, value` with 32 bits of immediate, whatever they are.
    pub(super) fn cmp_wide(&mut self, mem: Mem, value: i32) -> Place {
        self.alu_imm(Alu::Cmp, mem, i32::MAX);
        let place = self.place();
        self.patch(place, value as u32);
        place
    }

    /// Address of the jump table, or of the tail.
    pub(super) fn lea_target(&mut self, to: Gpr, target: Target) {
        self.bytes(&[0x48 | (to.0 >> 3) << 2, 0x8d, (to.0 & 7) << 3 | 5]);
        self.displacement(target, 0);
    }

    pub(super) fn alu(&mut self, alu: Alu, to: Gpr, from: impl Into<Rm>) {
        self.rex_op(true, &[], &[(alu as u8) << 3 | 3], to.0, from.into(), 0);
    }

    pub(super) fn alu32(&mut self, alu: Alu, to: Gpr, from: impl Into<Rm>) {
        self.rex_op(false, &[], &[(alu as u8) << 3 | 3], to.0, from.into(), 0);
    }

    pub(super) fn alu_imm(&mut self, alu: Alu, to: impl Into<Rm>, value: i32) {
        if let Ok(small) = i8::try_from(value) {
            self.rex_op(true, &[], &[0x83], alu as u8, to.into(), 1);
            self.byte(small as u8);
        } else {
            self.rex_op(true, &[], &[0x81], alu as u8, to.into(), 4);
            self.bytes(&value.to_le_bytes());
        }
    }

    pub(super) fn test(&mut self, a: Gpr, b: Gpr) {
        self.rex_op(true, &[], &[0x85], a.0, b.into(), 0);
    }

    pub(super) fn imul(&mut self, to: Gpr, by: Gpr) {
        self.rex_op(true, &[], &[0x0f, 0xaf], to.0, by.into(), 0);
    }

    /// The group of one-operand instructions: 2 not, 3 neg, 4 mul, 6 div.
    pub(super) fn unary(&mut self, digit: u8, operand: Gpr) {
        self.rex_op(true, &[], &[0xf7], digit, operand.into(), 0);
    }

    /// 4 shl, 5 shr, 7 sar, by a constant.
    pub(super) fn shift_imm(&mut self, digit: u8, operand: Gpr, by: u8) {
        self.rex_op(true, &[], &[0xc1], digit, operand.into(), 1);
        self.byte(by);
    }

    /// Shifts `to` left and fills it from the top of `from`.
    pub(super) fn shld(&mut self, to: Gpr, from: Gpr, by: u8) {
        self.rex_op(true, &[], &[0x0f, 0xa4], from.0, to.into(), 1);
        self.byte(by);
    }

    /// Shifts `to` right and fills it from the bottom of `from`.
    pub(super) fn shrd(&mut self, to: Gpr, from: Gpr, by: u8) {
        self.rex_op(true, &[], &[0x0f, 0xac], from.0, to.into(), 1);
        self.byte(by);
    }

    /// 0 or 1 into a register; the flags stay.
    pub(super) fn setcc(&mut self, cond: Cond, to: Gpr) {
        if matches!(to.0, 4..=7) {
            self.byte(0x40);
        }
        self.rex_op(false, &[], &[0x0f, 0x90 | cond as u8], 0, to.into(), 0);
        if matches!(to.0, 4..=7) {
            self.byte(0x40);
        }
        self.rex_op(false, &[], &[0x0f, 0xb6], to.0, to.into(), 0);
    }

    pub(super) fn jcc(&mut self, cond: Cond, to: Label) {
        self.bytes(&[0x0f, 0x80 | cond as u8]);
        self.displacement(Target::Label(to), 0);
    }

    pub(super) fn jmp(&mut self, to: Label) {
        self.byte(0xe9);
        self.displacement(Target::Label(to), 0);
    }

    pub(super) fn jmp_mem(&mut self, to: Mem) {
        self.rex_op(false, &[], &[0xff], 4, to.into(), 0);
    }

    pub(super) fn call_mem(&mut self, to: Mem) {
        self.rex_op(false, &[], &[0xff], 2, to.into(), 0);
    }

    /// A VEX instruction: opcode map (1: 0F, 2: 0F38, 3: 0F3A), mandatory prefix (0: none, 1: 66,
    /// 2: F3, 3: F2), W, 256 bits or 128.
    fn vex(
        &mut self,
        (map, prefix, wide, long): (u8, u8, bool, bool),
        opcode: u8,
        reg: u8,
        second: u8,
        rm: Rm,
        tail: u8,
    ) {
        let (x, b) = match rm {
            Rm::Reg(rm) => (0, rm >> 3),
            Rm::Mem(mem) => (mem.index.map_or(0, |index| index.0 >> 3), mem.base.0 >> 3),
            Rm::Pool(_) => (0, 0),
        };
        let last = (!second & 15) << 3 | u8::from(long) << 2 | prefix;
        if map == 1 && !wide && x == 0 && b == 0 {
            self.bytes(&[0xc5, (!(reg >> 3) & 1) << 7 | last]);
        } else {
            let high = (!(reg >> 3) & 1) << 7 | (!x & 1) << 6 | (!b & 1) << 5 | map;
            self.bytes(&[0xc4, high, u8::from(wide) << 7 | last]);
        }
        self.byte(opcode);
        self.modrm(reg, rm, tail);
    }

    pub(super) fn vload(&mut self, to: Ymm, from: impl Into<Rm>) {
        self.vex((1, 2, false, true), 0x6f, to.0, 0, from.into(), 0);
    }

    pub(super) fn vstore(&mut self, to: Mem, from: Ymm) {
        self.vex((1, 2, false, true), 0x7f, from.0, 0, to.into(), 0);
    }

    /// `vmovdqa` between registers.
    pub(super) fn vmov(&mut self, to: Ymm, from: Ymm) {
        if to != from {
            self.vex((1, 1, false, true), 0x6f, to.0, 0, from.into(), 0);
        }
    }

    pub(super) fn vpand(&mut self, to: Ymm, a: Ymm, b: impl Into<Rm>) {
        self.vex((1, 1, false, true), 0xdb, to.0, a.0, b.into(), 0);
    }

    pub(super) fn vpor(&mut self, to: Ymm, a: Ymm, b: impl Into<Rm>) {
        self.vex((1, 1, false, true), 0xeb, to.0, a.0, b.into(), 0);
    }

    pub(super) fn vpxor(&mut self, to: Ymm, a: Ymm, b: impl Into<Rm>) {
        self.vex((1, 1, false, true), 0xef, to.0, a.0, b.into(), 0);
    }

    /// ZF: `a & b` is zero.
    pub(super) fn vptest(&mut self, a: Ymm, b: impl Into<Rm>) {
        self.vex((2, 1, false, true), 0x17, a.0, 0, b.into(), 0);
    }

    pub(super) fn vpshufb(&mut self, to: Ymm, a: Ymm, mask: impl Into<Rm>) {
        self.vex((2, 1, false, true), 0x00, to.0, a.0, mask.into(), 0);
    }

    pub(super) fn vpermq(&mut self, to: Ymm, from: impl Into<Rm>, order: u8) {
        self.vex((3, 1, true, true), 0x00, to.0, 0, from.into(), 1);
        self.byte(order);
    }

    /// The low 64 bits, all others cleared.
    pub(super) fn vmovq_from(&mut self, to: Ymm, from: Gpr) {
        self.vex((1, 1, true, false), 0x6e, to.0, 0, from.into(), 0);
    }

    /// The low 32 bits, all others cleared.
    pub(super) fn vmovd_from(&mut self, to: Ymm, from: Gpr) {
        self.vex((1, 1, false, false), 0x6e, to.0, 0, from.into(), 0);
    }

    /// The low 64 bits.
    pub(super) fn vmovq_to(&mut self, to: Gpr, from: Ymm) {
        self.vex((1, 1, true, false), 0x7e, from.0, 0, to.into(), 0);
    }
}
