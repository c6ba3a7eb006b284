//! The shared object around a program's machine code, written without a linker.
//!
//! One fixed form of ELF64 `ET_DYN` file, a pure function of the machine code, its length, the
//! symbol's name and the number of builtins. File offsets equal virtual addresses:
//!
//! ```text
//! 0      R    ELF header, program headers, .hash, .dynsym, .dynstr
//! P      RX   .text: the machine code, entry at its first byte
//! D      RW   .dynamic alone in its page; PT_GNU_RELRO: read-only once the system has read it
//! D + P  RW   .builtins: no bytes in the file; our loader fills it, then makes it read-only
//!             (section headers and their names follow .dynamic in the file, for tools only)
//! ```
//!
//! `P` is the largest page size of the architecture's Linux ABI: 4 KiB on x86-64, 64 KiB on
//! aarch64. The machine code reaches `.builtins` relative to its own address, so there is no
//! relocation of any kind, no undefined symbol, no needed library, and no initialiser: loading the
//! file runs nothing.
//!
//! Invariant **O1**: [`Layout::verify`] accepts a file only if it equals, byte for byte, what
//! [`Layout::write`] makes of the machine code in it. A file with a constructor, an `IFUNC`, a
//! further segment, a relocation, a library path or a changed flag is therefore refused before
//! the system's loader sees it, whatever its manifest says.
//!
//! Sources: System V ABI, chapters 4 and 5 (object files, program loading and dynamic linking);
//! its AMD64 and AArch64 supplements for machine numbers and page sizes; `elf(5)`.

use super::error::ArtifactError;

/// Name under which the builtin table is exported.
pub const TABLE_SYMBOL: &str = "revmc_jit_builtins";

/// Bound of the machine code's length in bytes; PC-relative references reach twice as far.
pub const MAX_TEXT_LEN: usize = 1 << 30;
/// Bound of the number of builtins.
pub const MAX_TABLE_ENTRIES: usize = 512;
/// Bound of the symbol's length in bytes.
pub const MAX_SYMBOL_LEN: usize = 128;

const EHDR_LEN: usize = 64;
const PHDR_LEN: usize = 56;
const SHDR_LEN: usize = 64;
const SYM_LEN: usize = 24;
const PHDRS: usize = 6;
const SHDRS: usize = 8;
/// Words of a `DT_HASH` table with one bucket and three symbols.
const HASH_WORDS: usize = 6;
const DYNAMIC_ENTRIES: usize = 7;

const SECTION_NAMES: [&str; SHDRS] = [
    "",
    ".hash",
    ".dynsym",
    ".dynstr",
    ".text",
    ".dynamic",
    ".builtins",
    ".shstrtab",
];
const DYNSYM_SECTION: u32 = 2;
const DYNSTR_SECTION: u32 = 3;
const TEXT_SECTION: u16 = 4;
const TABLE_SECTION: u16 = 6;
const NAMES_SECTION: u16 = 7;

const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;

/// Architecture of the machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// `EM_X86_64`.
    X86_64,
    /// `EM_AARCH64`.
    Aarch64,
}

impl Machine {
    /// The architecture of this process.
    ///
    /// # Errors
    /// [`ArtifactError::Unsupported`] where no shared object can be written or loaded yet: any
    /// system but Linux, any architecture but x86-64 and aarch64.
    pub fn host() -> Result<Self, ArtifactError> {
        if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            Ok(Self::X86_64)
        } else if cfg!(all(target_os = "linux", target_arch = "aarch64")) {
            Ok(Self::Aarch64)
        } else {
            Err(ArtifactError::Unsupported {
                what: "ahead-of-time artifacts outside Linux on x86-64 and aarch64",
            })
        }
    }

    const fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }

    const fn page(self) -> usize {
        match self {
            Self::X86_64 => 0x1000,
            Self::Aarch64 => 0x1_0000,
        }
    }
}

/// Where everything is in the shared object of one program.
#[derive(Clone, Debug)]
pub struct Layout<'a> {
    machine: Machine,
    symbol: &'a str,
    text_len: usize,
    table_entries: usize,
    /// Offset and address of `.dynamic`.
    dynamic: usize,
}

impl<'a> Layout<'a> {
    /// Lays out `text_len` bytes of machine code with `table_entries` builtins, exported as
    /// `symbol`.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] beyond [`MAX_TEXT_LEN`], [`MAX_TABLE_ENTRIES`] or
    /// [`MAX_SYMBOL_LEN`]; [`ArtifactError::Malformed`] for empty code or a symbol that is not
    /// made of ASCII letters, digits and underscores.
    pub fn new(
        machine: Machine,
        symbol: &'a str,
        text_len: usize,
        table_entries: usize,
    ) -> Result<Self, ArtifactError> {
        let bound = |what, len: usize, limit| ArtifactError::bound(what, len as u64, limit as u64);
        bound("machine code", text_len, MAX_TEXT_LEN)?;
        bound(
            "builtin table",
            table_entries.saturating_mul(8),
            MAX_TABLE_ENTRIES * 8,
        )?;
        bound("symbol", symbol.len(), MAX_SYMBOL_LEN)?;
        if text_len == 0 {
            return Err(ArtifactError::Malformed {
                what: "machine code: empty",
            });
        }
        if symbol.is_empty()
            || symbol == TABLE_SYMBOL
            || !symbol
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return Err(ArtifactError::Malformed { what: "symbol" });
        }
        let page = machine.page();
        let dynamic = page + text_len.next_multiple_of(page);
        Ok(Self {
            machine,
            symbol,
            text_len,
            table_entries,
            dynamic,
        })
    }

    /// Name of the exported function.
    pub fn symbol(&self) -> &str {
        self.symbol
    }

    /// Length of the machine code that the headers of `library` state, if it is long enough to
    /// have headers.
    pub(super) fn stated_text_len(library: &[u8]) -> Option<u64> {
        // `p_filesz` of the second program header.
        let at = EHDR_LEN + PHDR_LEN + 32;
        Some(u64::from_le_bytes(
            library.get(at..at + 8)?.try_into().ok()?,
        ))
    }

    /// Number of words in the builtin table.
    pub fn table_entries(&self) -> usize {
        self.table_entries
    }

    /// Offset of the machine code in the file, and its address relative to the load address.
    pub fn text(&self) -> usize {
        self.machine.page()
    }

    /// Distance in bytes from the first byte of the machine code to the builtin table.
    pub fn table_offset(&self) -> usize {
        self.table() - self.text()
    }

    /// Bytes of address space that the loaded object takes.
    pub fn mapped_len(&self) -> usize {
        self.table() + (self.table_entries * 8).next_multiple_of(self.machine.page())
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> usize {
        self.section_headers() + SHDRS * SHDR_LEN
    }

    fn table(&self) -> usize {
        self.dynamic + self.machine.page()
    }

    fn hash(&self) -> usize {
        EHDR_LEN + PHDRS * PHDR_LEN
    }

    fn dynsym(&self) -> usize {
        self.hash() + HASH_WORDS * 4
    }

    fn dynstr(&self) -> usize {
        self.dynsym() + 3 * SYM_LEN
    }

    fn dynstr_len(&self) -> usize {
        1 + self.symbol.len() + 1 + TABLE_SYMBOL.len() + 1
    }

    fn section_names(&self) -> usize {
        self.dynamic + DYNAMIC_ENTRIES * 16
    }

    fn section_headers(&self) -> usize {
        let names: usize = SECTION_NAMES.iter().map(|name| name.len() + 1).sum();
        (self.section_names() + names).next_multiple_of(8)
    }

    /// The shared object around `text`.
    ///
    /// # Errors
    /// [`ArtifactError::Length`] if `text` does not have the length that was laid out.
    pub fn write(&self, text: &[u8]) -> Result<Vec<u8>, ArtifactError> {
        ArtifactError::exact(text.len() as u64, self.text_len as u64)?;
        let mut out = Emitter(Vec::with_capacity(self.file_len()));
        self.header(&mut out);
        self.program_headers(&mut out);
        self.dynamic_symbols(&mut out);
        out.pad_to(self.text());
        out.0.extend_from_slice(text);
        out.pad_to(self.dynamic);
        self.dynamic_section(&mut out);
        self.sections(&mut out);
        debug_assert_eq!(out.0.len(), self.file_len());
        Ok(out.0)
    }

    /// Checks **O1** and returns the machine code.
    ///
    /// # Errors
    /// [`ArtifactError::Length`] if the file is shorter or longer than laid out,
    /// [`ArtifactError::Object`] with the first byte that departs from the fixed form.
    pub fn verify<'b>(&self, library: &'b [u8]) -> Result<&'b [u8], ArtifactError> {
        ArtifactError::exact(library.len() as u64, self.file_len() as u64)?;
        let text = &library[self.text()..self.text() + self.text_len];
        let expected = self.write(text)?;
        match expected.iter().zip(library).position(|(a, b)| a != b) {
            Some(offset) => Err(ArtifactError::Object { offset }),
            None => Ok(text),
        }
    }

    fn header(&self, out: &mut Emitter) {
        // e_ident: magic, 64 bits, little-endian, version 1, System V ABI, padding.
        out.0.extend_from_slice(b"\x7fELF\x02\x01\x01");
        out.pad_to(16);
        out.u16(3); // ET_DYN
        out.u16(self.machine.elf_machine());
        out.u32(1); // EV_CURRENT
        out.word(0); // no entry point: a library
        out.word(EHDR_LEN);
        out.word(self.section_headers());
        out.u32(0); // no processor flags
        out.u16(EHDR_LEN as u16);
        out.u16(PHDR_LEN as u16);
        out.u16(PHDRS as u16);
        out.u16(SHDR_LEN as u16);
        out.u16(SHDRS as u16);
        out.u16(NAMES_SECTION);
    }

    fn program_headers(&self, out: &mut Emitter) {
        const PT_LOAD: u32 = 1;
        const PT_DYNAMIC: u32 = 2;
        const PT_GNU_STACK: u32 = 0x6474_e551;
        const PT_GNU_RELRO: u32 = 0x6474_e552;
        let page = self.machine.page();
        let dynamic_len = DYNAMIC_ENTRIES * 16;
        let head_len = self.dynstr() + self.dynstr_len();
        let rw_len = page + self.table_entries * 8;
        out.segment(PT_LOAD, PF_R, 0, head_len, head_len, page);
        out.segment(
            PT_LOAD,
            PF_R | PF_X,
            self.text(),
            self.text_len,
            self.text_len,
            page,
        );
        out.segment(
            PT_LOAD,
            PF_R | PF_W,
            self.dynamic,
            dynamic_len,
            rw_len,
            page,
        );
        out.segment(
            PT_DYNAMIC,
            PF_R | PF_W,
            self.dynamic,
            dynamic_len,
            dynamic_len,
            8,
        );
        out.segment(PT_GNU_RELRO, PF_R, self.dynamic, dynamic_len, page, 1);
        out.segment(PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 16);
    }

    fn dynamic_symbols(&self, out: &mut Emitter) {
        const GLOBAL_OBJECT: u8 = 1 << 4 | 1;
        const GLOBAL_FUNCTION: u8 = 1 << 4 | 2;
        // One bucket that starts at symbol 1, whose chain goes on to symbol 2.
        for word in [1, 3, 1, 0, 2, 0] {
            out.u32(word);
        }
        out.symbol(0, 0, 0, 0, 0);
        out.symbol(1, GLOBAL_FUNCTION, TEXT_SECTION, self.text(), self.text_len);
        let table_name = 1 + self.symbol.len() + 1;
        let table_len = self.table_entries * 8;
        out.symbol(
            table_name as u32,
            GLOBAL_OBJECT,
            TABLE_SECTION,
            self.table(),
            table_len,
        );
        for name in ["", self.symbol, TABLE_SYMBOL] {
            out.string(name);
        }
    }

    fn dynamic_section(&self, out: &mut Emitter) {
        const DT_NULL: usize = 0;
        const DT_HASH: usize = 4;
        const DT_STRTAB: usize = 5;
        const DT_SYMTAB: usize = 6;
        const DT_STRSZ: usize = 10;
        const DT_SYMENT: usize = 11;
        const DT_FLAGS: usize = 30;
        const DF_BIND_NOW: usize = 8;
        let entries: [(usize, usize); DYNAMIC_ENTRIES] = [
            (DT_HASH, self.hash()),
            (DT_STRTAB, self.dynstr()),
            (DT_SYMTAB, self.dynsym()),
            (DT_STRSZ, self.dynstr_len()),
            (DT_SYMENT, SYM_LEN),
            (DT_FLAGS, DF_BIND_NOW),
            (DT_NULL, 0),
        ];
        for (tag, value) in entries {
            out.word(tag);
            out.word(value);
        }
    }

    fn sections(&self, out: &mut Emitter) {
        const PROGBITS: u32 = 1;
        const STRTAB: u32 = 3;
        const HASH: u32 = 5;
        const DYNAMIC: u32 = 6;
        const NOBITS: u32 = 8;
        const DYNSYM: u32 = 11;
        const WRITE: usize = 1;
        const ALLOC: usize = 2;
        const EXEC: usize = 4;
        for name in SECTION_NAMES {
            out.string(name);
        }
        let names_len = out.0.len() - self.section_names();
        out.pad_to(self.section_headers());

        let alloc = |kind, flags, at, len, align| Section {
            kind,
            flags: ALLOC | flags,
            address: at,
            offset: at,
            len,
            align,
            ..Section::default()
        };
        let table_len = self.table_entries * 8;
        let dynamic_len = DYNAMIC_ENTRIES * 16;
        let sections: [Section; SHDRS] = [
            Section::default(),
            Section {
                link: DYNSYM_SECTION,
                entry: 4,
                ..alloc(HASH, 0, self.hash(), HASH_WORDS * 4, 8)
            },
            Section {
                link: DYNSTR_SECTION,
                info: 1, // the first symbol that is not local
                entry: SYM_LEN,
                ..alloc(DYNSYM, 0, self.dynsym(), 3 * SYM_LEN, 8)
            },
            alloc(STRTAB, 0, self.dynstr(), self.dynstr_len(), 1),
            alloc(PROGBITS, EXEC, self.text(), self.text_len, 64),
            Section {
                link: DYNSTR_SECTION,
                entry: 16,
                ..alloc(DYNAMIC, WRITE, self.dynamic, dynamic_len, 8)
            },
            Section {
                offset: self.section_names(),
                ..alloc(NOBITS, WRITE, self.table(), table_len, 8)
            },
            Section {
                kind: STRTAB,
                offset: self.section_names(),
                len: names_len,
                align: 1,
                ..Section::default()
            },
        ];
        let mut name = 0;
        for (section, text) in sections.into_iter().zip(SECTION_NAMES) {
            out.u32(name);
            out.section(&section);
            name += text.len() as u32 + 1;
        }
    }
}

/// A section header without its name.
#[derive(Default)]
struct Section {
    kind: u32,
    flags: usize,
    address: usize,
    offset: usize,
    len: usize,
    link: u32,
    info: u32,
    align: usize,
    /// Length of one entry in bytes, where there are entries.
    entry: usize,
}

/// Little-endian output, as both architectures use it.
struct Emitter(Vec<u8>);

impl Emitter {
    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn word(&mut self, value: usize) {
        self.0.extend_from_slice(&(value as u64).to_le_bytes());
    }

    fn string(&mut self, value: &str) {
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
    }

    fn pad_to(&mut self, len: usize) {
        debug_assert!(self.0.len() <= len);
        self.0.resize(len, 0);
    }

    fn segment(
        &mut self,
        kind: u32,
        flags: u32,
        at: usize,
        file: usize,
        memory: usize,
        align: usize,
    ) {
        self.u32(kind);
        self.u32(flags);
        for word in [at, at, at, file, memory, align] {
            self.word(word);
        }
    }

    fn section(&mut self, section: &Section) {
        self.u32(section.kind);
        for word in [section.flags, section.address, section.offset, section.len] {
            self.word(word);
        }
        self.u32(section.link);
        self.u32(section.info);
        self.word(section.align);
        self.word(section.entry);
    }

    fn symbol(&mut self, name: u32, info: u8, section: u16, value: usize, len: usize) {
        self.u32(name);
        self.0.extend_from_slice(&[info, 0]); // default visibility
        self.u16(section);
        self.word(value);
        self.word(len);
    }
}
