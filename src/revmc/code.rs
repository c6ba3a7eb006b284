//! Machine code before it has an address, and how it gets one.

use super::{
    TranslateError,
    builtins::{BUILTIN_TABLE_LEN, builtin_table},
};
use crate::{code::CodeMemory, compiler::Tier};
use cranelift_codegen::binemit::Reloc;
use revmc::primitives::{B256, SpecId};

/// A place in the text that refers to the builtin table.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableRef {
    pub(super) offset: u32,
    pub(super) kind: Reloc,
    pub(super) addend: i64,
}

/// Position-independent machine code of one contract.
///
/// Its only references outside itself go to the builtin table, relative to the program counter.
#[derive(Clone, Debug)]
pub struct NativeCode {
    pub(super) text: Vec<u8>,
    pub(super) table_refs: Vec<TableRef>,
    pub(super) code_hash: B256,
    pub(super) spec_id: SpecId,
    pub(super) bytecode_len: usize,
    pub(super) resume_points: u32,
    pub(super) tier: Tier,
}

impl NativeCode {
    /// Bytes of machine code.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The highest index at which a suspended frame can be resumed; 0 if the code never suspends.
    pub fn resume_points(&self) -> u32 {
        self.resume_points
    }

    /// The setting it was compiled with.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The code in executable memory, with its copy of this process's builtin table behind it. The
    /// entry point is the first byte.
    pub(super) fn map(&self) -> Result<CodeMemory, TranslateError> {
        let table_offset = self.text.len().next_multiple_of(8);
        let mut image = self.link(table_offset)?;
        image.reserve_exact(table_offset + BUILTIN_TABLE_LEN * size_of::<usize>() - image.len());
        image.resize(table_offset, 0);
        for address in builtin_table() {
            image.extend_from_slice(&address.to_ne_bytes());
        }
        Ok(CodeMemory::new(&image)?)
    }

    /// The text with its references resolved for a builtin table that starts `table_offset` bytes
    /// after the text's first byte. The result runs at any page-aligned address.
    fn link(&self, table_offset: usize) -> Result<Vec<u8>, TranslateError> {
        let mut text = self.text.clone();
        for reference in &self.table_refs {
            resolve(&mut text, reference, table_offset as i64)?;
        }
        Ok(text)
    }
}

/// Patches one instruction. Addresses are relative to the text's page-aligned start, so that page
/// arithmetic (aarch64 `adrp`) comes out the same wherever the text is mapped.
fn resolve(text: &mut [u8], reference: &TableRef, table: i64) -> Result<(), TranslateError> {
    let place = reference.offset as usize;
    let unreachable =
        || TranslateError::Relocation(format!("{:?} at {place:#x} to {table:#x}", reference.kind));
    let target = table + reference.addend;
    let field = text.get_mut(place..place + 4).ok_or_else(unreachable)?;
    let field: &mut [u8; 4] = field.try_into().map_err(|_| unreachable())?;
    match reference.kind {
        Reloc::X86PCRel4 | Reloc::X86CallPCRel4 => {
            let delta = i32::try_from(target - place as i64).map_err(|_| unreachable())?;
            *field = delta.to_le_bytes();
        }
        // ELF for the Arm 64-bit Architecture, §5.7.9: immlo in bits 29–30, immhi in bits 5–23.
        Reloc::Aarch64AdrPrelPgHi21 => {
            let pages = (target >> 12) - (place as i64 >> 12);
            if !(-(1 << 20)..1 << 20).contains(&pages) {
                return Err(unreachable());
            }
            let imm = pages as u32;
            let bits = ((imm & 3) << 29) | (((imm >> 2) & 0x7ffff) << 5);
            *field = (u32::from_le_bytes(*field) | bits).to_le_bytes();
        }
        // Same section: imm12 in bits 10–21.
        Reloc::Aarch64AddAbsLo12Nc => {
            let bits = ((target as u32) & 0xfff) << 10;
            *field = (u32::from_le_bytes(*field) | bits).to_le_bytes();
        }
        _ => return Err(unreachable()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: Vec<u8>, kind: Reloc, offset: u32, addend: i64) -> NativeCode {
        let table_refs = vec![TableRef {
            offset,
            kind,
            addend,
        }];
        NativeCode {
            text,
            table_refs,
            code_hash: B256::ZERO,
            spec_id: SpecId::CANCUN,
            bytecode_len: 0,
            resume_points: 0,
            tier: Tier::Baseline,
        }
    }

    #[test]
    fn x86_displacement_counts_from_the_next_instruction() {
        // lea rax, [rip + disp32]; the field stands at 3, the next instruction at 7.
        let code = code(
            vec![0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xc3],
            Reloc::X86PCRel4,
            3,
            -4,
        );
        let text = code.link(0x1000).unwrap();
        assert_eq!(
            i32::from_le_bytes(text[3..7].try_into().unwrap()),
            0x1000 - 7
        );
    }

    #[test]
    fn aarch64_page_and_low_bits() {
        let mut text = vec![0u8; 0x2010];
        text[0x2000..0x2004].copy_from_slice(&0x9000_0000u32.to_le_bytes()); // adrp x0, 0
        let adrp = code(text, Reloc::Aarch64AdrPrelPgHi21, 0x2000, 0)
            .link(0x5678)
            .unwrap();
        // Three pages on: immlo 3, immhi 0.
        assert_eq!(
            u32::from_le_bytes(adrp[0x2000..0x2004].try_into().unwrap()),
            0xf000_0000
        );

        let add = 0x9100_0000u32.to_le_bytes().to_vec(); // add x0, x0, #0
        let add = code(add, Reloc::Aarch64AddAbsLo12Nc, 0, 0)
            .link(0x5678)
            .unwrap();
        let word = u32::from_le_bytes(add[..4].try_into().unwrap());
        assert_eq!((word >> 10) & 0xfff, 0x678);
    }

    #[test]
    fn refuses_a_table_out_of_reach() {
        let code = code(vec![0; 64], Reloc::X86PCRel4, 0, 0);
        assert!(matches!(
            code.link(1 << 40),
            Err(TranslateError::Relocation(_))
        ));
        assert!(code.link(64).is_ok());
    }
}
