//! A disassembler for the instructions that `asm` encodes, in the syntax of Intel's manual and of
//! `objdump -M intel`, with which a test compares it.

use super::{asm::Cond, listing::Decoded};

/// One instruction, as far as it is read.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// The REX prefix, or what VEX has of it, as REX has it.
    rex: u8,
}

/// How an operand is named.
#[derive(Clone, Copy)]
enum Size {
    Byte,
    Long,
    Quad,
    Xmm,
    Ymm,
}

const ALU: [&str; 8] = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"];

const LOW: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];

/// The instruction at an offset of the text; `None` if `asm` makes none like it.
pub(super) fn instruction(text: &[u8], at: usize) -> Option<Decoded> {
    let mut reader = Reader { text, at, rex: 0 };
    let (text, target) = reader.instruction()?;
    let len = reader.at - at;
    Some(Decoded { len, text, target })
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn signed(&mut self, len: usize) -> Option<i64> {
        let bytes = self.text.get(self.at..self.at + len)?;
        self.at += len;
        Some(match *bytes {
            [byte] => (byte as i8).into(),
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
            _ => i64::from_le_bytes(bytes.try_into().ok()?),
        })
    }

    fn is_wide(&self) -> bool {
        self.rex & 8 != 0
    }

    fn size(&self) -> Size {
        if self.is_wide() {
            Size::Quad
        } else {
            Size::Long
        }
    }

    /// An instruction, and where it jumps to, if it does.
    fn instruction(&mut self) -> Option<(String, Option<usize>)> {
        let mut opcode = self.byte()?;
        if matches!(opcode, 0xc4 | 0xc5) {
            return Some((self.vex(opcode)?, None));
        }
        if opcode & 0xf0 == 0x40 {
            self.rex = opcode;
            opcode = self.byte()?;
        }
        let size = self.size();
        let text = match opcode {
            0x0f => return self.two_bytes(),
            0x03 | 0x0b | 0x13 | 0x1b | 0x23 | 0x2b | 0x33 | 0x3b => {
                let name = ALU[usize::from(opcode >> 3)];
                let (reg, rm) = self.operands(size, size)?;
                format!("{name} {reg},{rm}")
            }
            0x81 | 0x83 => {
                let (digit, rm) = self.group(size)?;
                let value = self.signed(if opcode == 0x83 { 1 } else { 4 })?;
                format!(
                    "{} {rm},{}",
                    ALU[usize::from(digit)],
                    immediate(value, size)
                )
            }
            0x85 => {
                let (reg, rm) = self.operands(size, size)?;
                format!("test {rm},{reg}")
            }
            0x88 => {
                let (reg, rm) = self.operands(Size::Byte, Size::Byte)?;
                format!("mov {rm},{reg}")
            }
            0x89 => {
                let (reg, rm) = self.operands(size, size)?;
                format!("mov {rm},{reg}")
            }
            0x8b => {
                let (reg, rm) = self.operands(size, size)?;
                format!("mov {reg},{rm}")
            }
            0x8d => {
                let (reg, rm) = self.operands(size, size)?;
                // An address has no size.
                let address = rm.split_once("PTR ").map_or(&*rm, |(_, address)| address);
                format!("lea {reg},{address}")
            }
            0xb8..=0xbf => {
                let reg = register(opcode & 7 | (self.rex & 1) << 3, size, true);
                if self.is_wide() {
                    format!("movabs {reg},{:#x}", self.signed(8)?)
                } else {
                    format!("mov {reg},{:#x}", self.signed(4)? as u32)
                }
            }
            0xc1 => {
                let (digit, rm) = self.group(size)?;
                let name = match digit {
                    4 => "shl",
                    5 => "shr",
                    7 => "sar",
                    _ => return None,
                };
                format!("{name} {rm},{:#x}", self.byte()?)
            }
            0xc6 => {
                let (_, rm) = self.group(Size::Byte)?;
                format!("mov {rm},{:#x}", self.byte()?)
            }
            0xc7 => {
                let (_, rm) = self.group(size)?;
                let value = self.signed(4)?;
                format!("mov {rm},{}", immediate(value, size))
            }
            0xcc => "int3".to_owned(),
            0xe9 => return self.jump("jmp"),
            0xf7 => {
                let (digit, rm) = self.group(size)?;
                let name = match digit {
                    2 => "not",
                    3 => "neg",
                    4 => "mul",
                    6 => "div",
                    _ => return None,
                };
                format!("{name} {rm}")
            }
            0xff => {
                let (digit, rm) = self.group(Size::Quad)?;
                match digit {
                    2 => format!("call {rm}"),
                    4 => format!("jmp {rm}"),
                    _ => return None,
                }
            }
            _ => return None,
        };
        Some((text, None))
    }

    fn two_bytes(&mut self) -> Option<(String, Option<usize>)> {
        let size = self.size();
        let opcode = self.byte()?;
        let text = match opcode {
            0x38 if self.byte()? == 0xf1 => {
                let (reg, rm) = self.operands(size, size)?;
                format!("movbe {rm},{reg}")
            }
            0x80..=0x8f => return self.jump(&format!("j{}", condition(opcode & 15)?)),
            0x90..=0x9f => {
                let (_, rm) = self.group(Size::Byte)?;
                format!("set{} {rm}", condition(opcode & 15)?)
            }
            0xa4 | 0xac => {
                let name = if opcode == 0xa4 { "shld" } else { "shrd" };
                let (reg, rm) = self.operands(size, size)?;
                format!("{name} {rm},{reg},{:#x}", self.byte()?)
            }
            0xaf => {
                let (reg, rm) = self.operands(size, size)?;
                format!("imul {reg},{rm}")
            }
            0xb6 => {
                let (reg, rm) = self.operands(size, Size::Byte)?;
                format!("movzx {reg},{rm}")
            }
            _ => return None,
        };
        Some((text, None))
    }

    fn jump(&mut self, name: &str) -> Option<(String, Option<usize>)> {
        let by = self.signed(4)?;
        let target = usize::try_from(self.at as i64 + by).ok()?;
        Some((format!("{name} {target:#x}"), Some(target)))
    }

    fn vex(&mut self, first: u8) -> Option<String> {
        let mut next = self.byte()?;
        let (mut map, mut wide) = (1, 0);
        // R, X and B are inverted.
        let mut rex = (!next >> 7 & 1) << 2;
        if first == 0xc4 {
            rex |= (!next >> 6 & 1) << 1 | !next >> 5 & 1;
            map = next & 31;
            next = self.byte()?;
            wide = next >> 7;
        }
        self.rex = rex | wide << 3;
        let second = !next >> 3 & 15;
        let size = if next & 4 == 0 { Size::Xmm } else { Size::Ymm };
        let other = self.size();
        let two = |name: &str, (to, from): (String, String)| format!("{name} {to},{from}");
        Some(match (map, next & 3, self.byte()?) {
            (1, 2, 0x6f) => two("vmovdqu", self.operands(size, size)?),
            (1, 2, 0x7f) => {
                let (reg, rm) = self.operands(size, size)?;
                two("vmovdqu", (rm, reg))
            }
            (1, 1, 0x6f) => two("vmovdqa", self.operands(size, size)?),
            (1, 1, opcode @ (0xdb | 0xeb | 0xef)) | (2, 1, opcode @ 0x00) => {
                let name = match opcode {
                    0xdb => "vpand",
                    0xeb => "vpor",
                    0xef => "vpxor",
                    _ => "vpshufb",
                };
                let (reg, rm) = self.operands(size, size)?;
                format!("{name} {reg},{},{rm}", register(second, size, true))
            }
            (2, 1, 0x17) => two("vptest", self.operands(size, size)?),
            (3, 1, 0x00) => {
                let operands = two("vpermq", self.operands(size, size)?);
                format!("{operands},{:#x}", self.byte()?)
            }
            (1, 1, opcode @ (0x6e | 0x7e)) => {
                let name = if wide == 1 { "vmovq" } else { "vmovd" };
                let (reg, rm) = self.operands(size, other)?;
                match opcode {
                    0x6e => two(name, (reg, rm)),
                    _ => two(name, (rm, reg)),
                }
            }
            _ => return None,
        })
    }

    /// The digit of a group, and the operand.
    fn group(&mut self, size: Size) -> Option<(u8, String)> {
        let (reg, rm) = self.modrm(size)?;
        Some((reg & 7, rm))
    }

    /// The register and the other operand.
    fn operands(&mut self, reg: Size, rm: Size) -> Option<(String, String)> {
        let rex = self.rex != 0;
        let (number, rm) = self.modrm(rm)?;
        Some((register(number, reg, rex), rm))
    }

    fn modrm(&mut self, size: Size) -> Option<(u8, String)> {
        let modrm = self.byte()?;
        let (mode, low) = (modrm >> 6, modrm & 7);
        let reg = modrm >> 3 & 7 | (self.rex & 4) << 1;
        let high = (self.rex & 1) << 3;
        if mode == 3 {
            return Some((reg, register(low | high, size, self.rex != 0)));
        }
        let size = match size {
            Size::Byte => "BYTE",
            Size::Long => "DWORD",
            Size::Quad => "QWORD",
            Size::Xmm => "XMMWORD",
            Size::Ymm => "YMMWORD",
        };
        if (mode, low) == (0, 5) {
            let by = self.signed(4)?;
            return Some((reg, format!("{size} PTR [rip+{by:#x}]")));
        }
        let mut address = match low {
            4 => {
                let sib = self.byte()?;
                let base = register(sib & 7 | high, Size::Quad, true);
                let index = sib >> 3 & 7 | (self.rex & 2) << 2;
                // No index; `asm` scales by nothing, and has a base always.
                match (index, sib >> 6) {
                    (4, 0) => base,
                    (_, 0) => format!("{base}+{}*1", register(index, Size::Quad, true)),
                    _ => return None,
                }
            }
            _ => register(low | high, Size::Quad, true),
        };
        if mode > 0 {
            let by = self.signed(if mode == 1 { 1 } else { 4 })?;
            let sign = if by < 0 { '-' } else { '+' };
            address = format!("{address}{sign}{:#x}", by.unsigned_abs());
        }
        Some((reg, format!("{size} PTR [{address}]")))
    }
}

fn register(number: u8, size: Size, rex: bool) -> String {
    let low = LOW.get(usize::from(number)).copied();
    match (size, low) {
        (Size::Xmm, _) => format!("xmm{number}"),
        (Size::Ymm, _) => format!("ymm{number}"),
        (Size::Quad, Some(low)) => format!("r{low}"),
        (Size::Quad, None) => format!("r{number}"),
        (Size::Long, Some(low)) => format!("e{low}"),
        (Size::Long, None) => format!("r{number}d"),
        (Size::Byte, None) => format!("r{number}b"),
        (Size::Byte, Some(low)) if number < 4 => format!("{}l", &low[..1]),
        (Size::Byte, Some(low)) if rex => format!("{low}l"),
        (Size::Byte, Some(_)) => ["ah", "ch", "dh", "bh"][usize::from(number - 4) & 3].to_owned(),
    }
}

/// An immediate that is extended to the operand's size.
fn immediate(value: i64, size: Size) -> String {
    match size {
        Size::Quad => format!("{value:#x}"),
        _ => format!("{:#x}", value as u32),
    }
}

fn condition(code: u8) -> Option<&'static str> {
    let known = [
        (Cond::Below, "b"),
        (Cond::AboveEqual, "ae"),
        (Cond::Equal, "e"),
        (Cond::NotEqual, "ne"),
        (Cond::BelowEqual, "be"),
        (Cond::Above, "a"),
        (Cond::Less, "l"),
        (Cond::GreaterEqual, "ge"),
    ];
    let found = known.iter().find(|(cond, _)| *cond as u8 == code);
    found.map(|(_, name)| *name)
}
