//! What machine code does to the places where words are, and what it has made sure of.

use super::super::emit::ZERO;
use crate::frame::{
    GAS_AHEAD, STACK_LIMIT, at,
    x64::{BIAS, Routines},
};
use iced_x86::{Code, ConditionCode, Instruction, Mnemonic, OpKind, Register};
use std::{collections::BTreeMap, mem::offset_of};

/// Where 64 bits of a word come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The stack in memory, so many bytes above the top at the run's start.
    Slot(i32),
    /// The frame.
    Frame(i32),
    /// The instruction of this number.
    Made(u32),
}

/// 64 bits of a register or of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limb {
    Unknown,
    Constant(u64),
    Of(Origin),
    /// The sum of both: the end of an access.
    End(Origin, i32),
    /// Bytes above the top at the run's start.
    Top(i32),
    /// How many bytes of the stack are below that.
    Height(i32),
}

/// What the flags tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flags {
    Unknown,
    /// Something about the words of this instruction.
    Made(u32),
    /// The gas, compared with this: below, it is less.
    Gas(i64),
    /// The same after a subtraction: below, it was less than what was subtracted.
    Paid,
    /// The length of memory, compared with this.
    Memory(Limb),
    /// The height below a place, compared with so many bytes.
    Height(i32, i64),
    /// Equal: the memory did not grow to this.
    Grown(Limb),
}

/// A difference from what the machine code of this emitter does.
pub(super) type Wrong = String;

macro_rules! ensure {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}
pub(super) use ensure;

/// Registers, slots, and bounds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Machine {
    gprs: [Limb; 16],
    vectors: [[Limb; 4]; 16],
    flags: Flags,
    /// The stack's limbs that were written, by bytes above the top at the run's start.
    pub(super) slots: BTreeMap<i32, Limb>,
    scratch: [Limb; 12],
    /// Bytes from the top at the run's start to `rbp`.
    pub(super) top: i32,
    /// Gas that was taken since the run's start, but for the memory's.
    pub(super) paid: i64,
    /// Gas that is there, at least.
    pub(super) gas: i64,
    /// Words of the stack below the top at the run's start, and room above it, at least.
    pub(super) below: i32,
    pub(super) above: i32,
    /// Bytes of memory, at least; and above offsets.
    pub(super) memory: i64,
    extents: BTreeMap<Origin, i64>,
    /// Memory was written.
    pub(super) wrote: bool,
    /// It has just grown.
    pub(super) grew: bool,
}

/// Where control goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    On,
    Jump(u64),
    Branch(u64),
    /// The routine at this offset is jumped to, or called.
    To(usize),
    Call(usize),
}

enum Place {
    Register(usize),
    Vector(usize),
    /// Above the top at the run's start.
    Stack(i32),
    Frame(i32),
    Memory,
    Pool(usize),
}

impl Machine {
    /// At a run's start.
    pub(super) fn new(below: i32, above: i32, memory: i64, gas: i64) -> Self {
        let mut vectors = [[Limb::Unknown; 4]; 16];
        vectors[usize::from(ZERO.0)] = [Limb::Constant(0); 4];
        Self {
            gprs: [Limb::Unknown; 16],
            vectors,
            flags: Flags::Unknown,
            slots: BTreeMap::new(),
            scratch: [Limb::Unknown; 12],
            top: 0,
            paid: 0,
            gas,
            below,
            above,
            memory,
            extents: BTreeMap::new(),
            wrote: false,
            grew: false,
        }
    }

    /// What holds on two ways that meet within, or just behind, the instructions `by`.
    pub(super) fn join(&mut self, other: &Self, by: &[u32]) -> Result<(), Wrong> {
        ensure!(
            self.top == other.top,
            "two ways meet with tops {} and {}",
            self.top,
            other.top
        );
        ensure!(
            self.paid == other.paid,
            "two ways meet that paid {} and {}",
            self.paid,
            other.paid
        );
        let made = |limb| matches!(limb, Limb::Of(Origin::Made(at)) if by.contains(&at));
        let meet = |a: &mut Limb, b: Limb| {
            *a = match (*a, b) {
                (a, b) if a == b => a,
                // One way made it, and the other knows what it is: a quotient by zero.
                (a, Limb::Constant(_)) if made(a) => a,
                (Limb::Constant(_), b) if made(b) => b,
                _ => Limb::Unknown,
            };
        };
        for (a, b) in self.gprs.iter_mut().zip(other.gprs) {
            meet(a, b);
        }
        for (a, b) in self
            .vectors
            .iter_mut()
            .flatten()
            .zip(other.vectors.iter().flatten())
        {
            meet(a, *b);
        }
        for (a, b) in self.scratch.iter_mut().zip(other.scratch) {
            meet(a, b);
        }
        let written: Vec<i32> = self
            .slots
            .keys()
            .chain(other.slots.keys())
            .copied()
            .collect();
        for at in written {
            let (a, b) = (self.slot(at), other.slot(at));
            self.slots
                .insert(at, if a == b { a } else { Limb::Unknown });
        }
        if self.flags != other.flags {
            self.flags = Flags::Unknown;
        }
        self.gas = self.gas.min(other.gas);
        self.below = self.below.min(other.below);
        self.above = self.above.min(other.above);
        self.memory = self.memory.min(other.memory);
        self.extents.retain(|of, end| {
            let other = other.extents.get(of);
            other.is_some_and(|other| {
                *end = (*end).min(*other);
                true
            })
        });
        self.wrote |= other.wrote;
        Ok(())
    }

    /// The limb of the stack at so many bytes above the top at the run's start.
    pub(super) fn slot(&self, at: i32) -> Limb {
        let written = self.slots.get(&at);
        written.copied().unwrap_or(Limb::Of(Origin::Slot(at)))
    }

    /// The register with a routine's first, or second, argument.
    pub(super) fn argument(&self, register: Register) -> Limb {
        self.gprs[register.full_register().number()]
    }

    /// The side of a branch on which the condition holds, or not.
    pub(super) fn assume(&mut self, condition: ConditionCode, holds: bool) {
        let below = match (condition, holds) {
            (ConditionCode::b, holds) => Some(holds),
            (ConditionCode::ae, holds) => Some(!holds),
            _ => None,
        };
        match (self.flags, below) {
            (Flags::Gas(than), Some(false)) => self.gas = self.gas.max(than),
            (Flags::Paid, Some(false)) => self.gas = self.gas.max(0),
            (Flags::Memory(end), _) => {
                // `jb` for constants, `ja` for what is compared with the length, or both the other way.
                let fits = match condition {
                    ConditionCode::b | ConditionCode::a => !holds,
                    ConditionCode::ae | ConditionCode::be => holds,
                    _ => false,
                };
                if fits {
                    self.made_sure(end);
                }
            }
            (Flags::Height(place, bytes), _) if condition == ConditionCode::a && !holds => {
                self.below = self.below.max(-place / 32);
                let room = STACK_LIMIT as i32 - (bytes / 32) as i32;
                self.above = self.above.max(place / 32 + room);
            }
            (Flags::Grown(end), _) if condition == ConditionCode::e && !holds => {
                self.made_sure(end);
                self.grew = true;
                self.gas = self.gas.max(GAS_AHEAD.into());
            }
            _ => {}
        }
    }

    /// Memory has so many bytes; it grows by words.
    pub(super) fn reaches(&mut self, end: u64) {
        let end = i64::try_from(end).map_or(0, |end| end.saturating_add(31) & !31);
        self.memory = self.memory.max(end);
    }

    fn made_sure(&mut self, end: Limb) {
        match end {
            Limb::Constant(end) => self.reaches(end),
            Limb::End(of, by) => {
                let known = self.extents.entry(of).or_default();
                *known = (*known).max(by.into());
            }
            _ => {}
        }
    }

    fn place(&self, inst: &Instruction, operand: u32, len: i32) -> Result<Place, Wrong> {
        let disp = inst.memory_displacement64() as i64 as i32;
        Ok(match inst.op_kind(operand) {
            OpKind::Register if inst.op_register(operand).is_vector_register() => {
                Place::Vector(inst.op_register(operand).number())
            }
            OpKind::Register => Place::Register(inst.op_register(operand).full_register().number()),
            OpKind::Memory if inst.is_ip_rel_memory_operand() => {
                Place::Pool(inst.ip_rel_memory_address() as usize)
            }
            OpKind::Memory => match inst.memory_base() {
                Register::RBP => {
                    let at = self.top + disp;
                    // K3
                    ensure!(
                        at >= -32 * self.below && at + len <= 32 * self.above,
                        "the stack is accessed at {at}, and {} below and {} above are certain",
                        self.below,
                        self.above
                    );
                    Place::Stack(at)
                }
                Register::RBX => Place::Frame(disp + BIAS),
                Register::R13 => {
                    let end = i64::from(disp) + i64::from(len);
                    let sure = match inst.memory_index() {
                        Register::None => self.memory,
                        index => match self.argument(index) {
                            Limb::Of(of) => self.extents.get(&of).copied().unwrap_or(0),
                            _ => 0,
                        },
                    };
                    // K4
                    ensure!(
                        disp >= 0 && end <= sure,
                        "memory is accessed up to {end}, {sure} is certain"
                    );
                    Place::Memory
                }
                base => return Err(format!("memory above {base:?}")),
            },
            kind => return Err(format!("an operand is {kind:?}")),
        })
    }

    fn read(&self, place: &Place, i: usize, text: &[u8], by: u32) -> Limb {
        match *place {
            Place::Register(number) if i == 0 => self.gprs[number],
            Place::Register(_) => Limb::Constant(0),
            Place::Vector(number) => self.vectors[number][i],
            Place::Stack(at) => self.slot(at + 8 * i as i32),
            Place::Frame(offset) => {
                let offset = offset + 8 * i as i32;
                match usize::try_from(offset - at::SCRATCH) {
                    Ok(scratch) if scratch < 96 => self.scratch[scratch / 8],
                    _ => Limb::Of(Origin::Frame(offset)),
                }
            }
            Place::Memory => Limb::Of(Origin::Made(by)),
            Place::Pool(address) => {
                let bytes = text.get(address + 8 * i..address + 8 * i + 8);
                let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
                bytes.map_or(Limb::Unknown, |bytes| {
                    Limb::Constant(u64::from_le_bytes(bytes))
                })
            }
        }
    }

    fn write(&mut self, place: &Place, i: usize, limb: Limb) -> Result<(), Wrong> {
        match *place {
            Place::Register(number) => self.gprs[number] = limb,
            Place::Vector(number) => self.vectors[number][i] = limb,
            Place::Stack(at) => {
                self.slots.insert(at + 8 * i as i32, limb);
            }
            Place::Frame(offset) => {
                let scratch = offset + 8 * i as i32 - at::SCRATCH;
                ensure!(
                    (0..96).contains(&scratch),
                    "the frame is written at {offset}"
                );
                self.scratch[scratch as usize / 8] = limb;
            }
            Place::Memory => self.wrote = true,
            Place::Pool(_) => return Err("a constant is written".into()),
        }
        Ok(())
    }

    /// Bytes of the first operand, or of memory.
    fn len(inst: &Instruction) -> i32 {
        let memory = (0..inst.op_count()).any(|i| inst.op_kind(i) == OpKind::Memory);
        if memory && inst.mnemonic() != Mnemonic::Lea {
            inst.memory_size().size() as i32
        } else {
            inst.op_register(0).size() as i32
        }
    }

    /// Does a machine instruction of the text, which belongs to the instruction number `by`.
    pub(super) fn run(&mut self, inst: &Instruction, text: &[u8], by: u32) -> Result<Next, Wrong> {
        use Mnemonic::*;
        let made = Limb::Of(Origin::Made(by));
        let register = |i: u32| inst.op_register(i).full_register();
        if !matches!(inst.mnemonic(), Jb | Jae | Add) || self.flags != Flags::Paid {
            // K3
            ensure!(self.gas >= 0, "gas may have run out: {} at least", self.gas);
        }
        match inst.mnemonic() {
            Jmp if inst.op_kind(0) == OpKind::NearBranch64 => {
                return Ok(Next::Jump(inst.near_branch_target()));
            }
            Jmp | Call => {
                ensure!(inst.memory_base() == Register::R15, "an unknown routine");
                let routine = inst.memory_displacement64() as usize;
                if inst.mnemonic() == Jmp {
                    return Ok(Next::To(routine));
                }
                self.call(routine, made)?;
                return Ok(Next::Call(routine));
            }
            Jb | Jae | Je | Jne | Jbe | Ja | Jl | Jge => {
                return Ok(Next::Branch(inst.near_branch_target()));
            }
            // The gas, and the top of the stack.
            Add | Sub if register(0) == Register::R12 => {
                let amount = inst.immediate(1) as i64;
                let amount = if inst.mnemonic() == Add {
                    -amount
                } else {
                    amount
                };
                self.paid += amount;
                self.gas -= amount;
                self.flags = if amount > 0 {
                    Flags::Paid
                } else {
                    Flags::Unknown
                };
            }
            Cmp if inst.op_kind(0) == OpKind::Register && register(0) == Register::R12 => {
                self.flags = Flags::Gas(inst.immediate(1) as i64);
            }
            Lea if matches!(register(0), Register::R12 | Register::RBP) => {
                ensure!(
                    inst.memory_base() == register(0),
                    "{} from elsewhere",
                    register(0) as u32
                );
                let by = inst.memory_displacement64() as i64;
                if register(0) == Register::RBP {
                    self.top += by as i32;
                } else {
                    self.paid -= by;
                    self.gas += by;
                    ensure!(self.gas >= 0, "gas may run out");
                }
            }
            Lea => {
                let disp = inst.memory_displacement64() as i64 as i32;
                let limb = match (inst.memory_base(), inst.memory_index()) {
                    (Register::RBP, Register::None) => Limb::Top(self.top + disp),
                    (base, Register::None) if !inst.is_ip_rel_memory_operand() => {
                        match self.argument(base) {
                            Limb::Of(of) => Limb::End(of, disp),
                            _ => made,
                        }
                    }
                    _ => made,
                };
                self.gprs[register(0).number()] = limb;
            }
            Mov if inst.op_kind(0) == OpKind::Register
                && matches!(
                    register(0),
                    Register::RBP | Register::RBX | Register::R12 | Register::R13 | Register::R15
                ) =>
            {
                return Err(format!("{:?} is overwritten", register(0)));
            }
            Mov if inst.op_kind(1) == OpKind::Register && register(1) == Register::R12 => {
                self.gprs[register(0).number()] = made;
            }
            Mov | Vmovdqu | Vmovdqa | Vmovq | Vmovd | Movbe => self.moved(inst, text, by)?,
            Movzx => {}
            Seta | Setae | Setb | Setbe | Sete | Setne | Setl | Setge => {
                let limb = match self.flags {
                    Flags::Made(by) => Limb::Of(Origin::Made(by)),
                    flags => return Err(format!("a word is made of {flags:?}")),
                };
                self.gprs[register(0).number()] = limb;
            }
            Cmp | Test | Vptest => {
                let len = Self::len(inst);
                let right = match inst.op_kind(1) {
                    OpKind::Register | OpKind::Memory => Some(self.place(inst, 1, len)?),
                    _ => None,
                };
                let left = self.place(inst, 0, len)?;
                let length = |place: &Place| matches!(place, Place::Frame(at::MEMORY_LEN));
                let limb = self.read(&left, 0, text, by);
                self.flags = match (right, limb) {
                    _ if inst.mnemonic() != Cmp => Flags::Made(by),
                    (None, _) if length(&left) => Flags::Memory(Limb::Constant(inst.immediate(1))),
                    (Some(right), end) if length(&right) && matches!(end, Limb::End(..)) => {
                        Flags::Memory(end)
                    }
                    (None, Limb::Height(place)) => Flags::Height(place, inst.immediate(1) as i64),
                    _ => Flags::Made(by),
                };
            }
            Sub if matches!(self.gprs[register(0).number()], Limb::Top(_)) => {
                let Limb::Top(place) = self.gprs[register(0).number()] else {
                    unreachable!()
                };
                let from = inst.memory_displacement64() as i64 as i32 + BIAS;
                ensure!(from == at::STACK, "the height above {from}");
                self.gprs[register(0).number()] = Limb::Height(place);
            }
            Xor if inst.op_kind(1) == OpKind::Register && register(0) == register(1) => {
                self.gprs[register(0).number()] = Limb::Constant(0);
                self.flags = Flags::Made(by);
            }
            Vpxor | Vpand | Vpor | Vpshufb | Vpermq => {
                let len = Self::len(inst);
                for operand in 1..inst.op_count() {
                    if inst.op_kind(operand) == OpKind::Memory {
                        self.place(inst, operand, len)?;
                    }
                }
                self.vectors[register(0).number()] = [made; 4];
            }
            Add | Adc | Sub | Sbb | And | Or | Xor | Imul | Shl | Shr | Sar | Shld | Shrd | Neg
            | Not | Mul | Div => {
                if (1..inst.op_count()).any(|i| inst.op_kind(i) == OpKind::Memory) {
                    self.place(inst, 1, Self::len(inst))?;
                }
                if matches!(inst.mnemonic(), Mul | Div) {
                    self.gprs[0] = made;
                    self.gprs[2] = made;
                } else {
                    let to = register(0);
                    ensure!(
                        !matches!(
                            to,
                            Register::RBP
                                | Register::RBX
                                | Register::R12
                                | Register::R13
                                | Register::R15
                        ),
                        "{to:?} is worked on"
                    );
                    self.gprs[to.number()] = made;
                }
                if inst.mnemonic() != Not {
                    self.flags = Flags::Made(by);
                }
            }
            other => return Err(format!("the emitter has no {other:?}")),
        }
        Ok(Next::On)
    }

    /// Moves of 64 bits and more, and shorter ones into memory.
    fn moved(&mut self, inst: &Instruction, text: &[u8], by: u32) -> Result<(), Wrong> {
        let len = Self::len(inst);
        let to = self.place(inst, 0, len)?;
        if inst.op_kind(1) != OpKind::Register && inst.op_kind(1) != OpKind::Memory {
            return self.write(&to, 0, Limb::Constant(inst.immediate(1)));
        }
        let from = self.place(inst, 1, len)?;
        let narrow = match (&to, &from) {
            // 32 bits of a register are another number.
            (Place::Register(_), Place::Register(_)) => inst.code() == Code::Mov_r32_rm32,
            (Place::Vector(_), Place::Register(_)) => inst.mnemonic() == Mnemonic::Vmovd,
            _ => false,
        };
        let limbs = if matches!(to, Place::Vector(_)) {
            4
        } else {
            (len as usize).div_ceil(8)
        };
        let limbs = match from {
            Place::Vector(_) if matches!(to, Place::Register(_)) => 1,
            _ => limbs,
        };
        for i in 0..limbs {
            let limb = match self.read(&from, i, text, by) {
                Limb::Constant(value) if narrow => Limb::Constant(value & 0xffff_ffff),
                _ if narrow && i == 0 => Limb::Of(Origin::Made(by)),
                limb => limb,
            };
            self.write(&to, i, limb)?;
        }
        Ok(())
    }

    /// What a routine that comes back leaves.
    fn call(&mut self, routine: usize, made: Limb) -> Result<(), Wrong> {
        let end = self.gprs[7];
        let bare = routine == offset_of!(Routines, grow_bare);
        let lost = if bare || routine == offset_of!(Routines, grow) {
            if bare {
                self.vectors[..13].fill([Limb::Unknown; 4]);
            }
            self.flags = Flags::Grown(end);
            ensure!(
                matches!(end, Limb::Constant(_) | Limb::End(..)),
                "memory is to grow to {end:?}"
            );
            [7].as_slice()
        } else {
            // X3
            self.vectors[0] = [made; 4];
            self.vectors[1] = [Limb::Unknown; 4];
            self.flags = Flags::Unknown;
            self.scratch = [Limb::Unknown; 12];
            &[0, 7]
        };
        for &number in lost {
            self.gprs[number] = Limb::Unknown;
        }
        Ok(())
    }
}
