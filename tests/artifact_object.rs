//! The shared object: well formed by the judgement of others, refused when it is not ours, loaded
//! as the bytes that were verified.
#![cfg(target_os = "linux")]

#[cfg(target_arch = "x86_64")]
#[path = "runtime_support/maps.rs"]
mod maps;

use object::{
    Object, ObjectSection, ObjectSymbol,
    elf::{self, FileHeader64},
    read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader},
};
use revmc_jit::artifact::{
    ArtifactError,
    object::{Layout, MAX_TABLE_ENTRIES, MAX_TEXT_LEN, Machine, TABLE_SYMBOL},
};

const SYMBOL: &str = "evm_test";
const LE: object::LittleEndian = object::LittleEndian;

fn written(machine: Machine, text: &[u8], entries: usize) -> (Layout<'static>, Vec<u8>) {
    let layout = Layout::new(machine, SYMBOL, text.len(), entries).unwrap();
    let library = layout.write(text).unwrap();
    (layout, library)
}

#[test]
fn an_independent_reader_finds_the_fixed_form() {
    for (machine, e_machine, page) in [
        (Machine::X86_64, elf::EM_X86_64, 0x1000),
        (Machine::Aarch64, elf::EM_AARCH64, 0x1_0000),
    ] {
        for text_len in [1usize, 63, 4096, 70_001] {
            let text: Vec<u8> = (0..text_len).map(|i| i as u8 | 1).collect();
            let (layout, library) = written(machine, &text, 22);
            check_file(&layout, &library, &text, e_machine, page);
        }
    }
}

fn check_file(layout: &Layout<'_>, library: &[u8], text: &[u8], e_machine: u16, page: u64) {
    let header = FileHeader64::<object::LittleEndian>::parse(library).unwrap();
    assert_eq!(header.e_type.get(LE), elf::ET_DYN);
    assert_eq!(header.e_machine.get(LE), e_machine);
    assert_eq!(header.e_entry.get(LE), 0);

    let (mut writable, mut executable) = (0, 0);
    for segment in header.program_headers(LE, library).unwrap() {
        let flags = segment.p_flags(LE);
        match segment.p_type(LE) {
            elf::PT_LOAD => {
                assert_eq!(segment.p_align(LE), page);
                assert_eq!(segment.p_vaddr(LE) % page, segment.p_offset(LE) % page);
                assert_ne!(flags & (elf::PF_W | elf::PF_X), elf::PF_W | elf::PF_X);
                writable += u32::from(flags & elf::PF_W != 0);
                executable += u32::from(flags & elf::PF_X != 0);
            }
            elf::PT_GNU_STACK => assert_eq!(flags & elf::PF_X, 0),
            elf::PT_GNU_RELRO => assert_eq!(segment.p_memsz(LE) % page, 0),
            elf::PT_DYNAMIC => {
                let entries = segment.dynamic(LE, library).unwrap().unwrap();
                for entry in entries {
                    let tag = entry.d_tag(LE);
                    assert!(
                        [
                            elf::DT_HASH,
                            elf::DT_STRTAB,
                            elf::DT_SYMTAB,
                            elf::DT_STRSZ,
                            elf::DT_SYMENT,
                            elf::DT_FLAGS,
                            elf::DT_NULL
                        ]
                        .contains(&tag),
                        "no needed library, initialiser or relocation: {tag}"
                    );
                }
            }
            other => panic!("segment of type {other:#x}"),
        }
    }
    assert_eq!((writable, executable), (1, 1));

    let file = ElfFile64::<object::LittleEndian>::parse(library).unwrap();
    assert_eq!(file.dynamic_relocations().into_iter().flatten().count(), 0);
    let section = file.section_by_name(".text").unwrap();
    assert_eq!(section.data().unwrap(), text);
    assert_eq!(section.address(), layout.text() as u64);
    let symbols: Vec<_> = file.dynamic_symbols().collect();
    assert_eq!(symbols.len(), 2);
    assert!(
        symbols
            .iter()
            .all(|symbol| symbol.is_definition() || symbol.address() != 0)
    );
    assert!(symbols.iter().all(|symbol| !symbol.is_undefined()));
    assert_eq!(symbols[0].name().unwrap(), SYMBOL);
    assert_eq!(symbols[0].address(), layout.text() as u64);
    assert_eq!(symbols[0].size(), text.len() as u64);
    assert_eq!(symbols[1].name().unwrap(), TABLE_SYMBOL);
    assert_eq!(
        symbols[1].address(),
        (layout.text() + layout.table_offset()) as u64
    );
    assert_eq!(symbols[1].size(), 22 * 8);
    assert_eq!(symbols[1].address() % page, 0);
}

#[test]
fn readelf_and_objdump_have_no_complaint() {
    let (_, library) = written(Machine::host().unwrap(), &[0x90; 5000], 22);
    let path = std::env::temp_dir().join(format!("revmc-jit-readelf-{}.so", std::process::id()));
    std::fs::write(&path, library).unwrap();
    let run = |tool: &str, arguments: &[&str]| {
        let output = std::process::Command::new(tool)
            .args(arguments)
            .arg(&path)
            .output();
        let Ok(output) = output else {
            eprintln!("skipped: no {tool} on this machine");
            return None;
        };
        assert!(output.status.success(), "{tool}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{tool}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            !text.contains("Warning") && !text.contains("Error"),
            "{text}"
        );
        Some(text)
    };
    let readelf = run("readelf", &["--all", "--wide"]);
    let objdump = run("objdump", &["--disassemble", "--section=.text"]);
    std::fs::remove_file(&path).unwrap();
    if let Some(text) = readelf {
        assert!(
            text.contains("There are no relocations in this file."),
            "{text}"
        );
        assert!(!text.contains("TEXTREL"), "{text}");
        assert!(text.contains("GNU_RELRO"), "{text}");
        let stack = text
            .lines()
            .find(|line| line.contains("GNU_STACK"))
            .unwrap();
        assert!(stack.contains(" RW ") && !stack.contains("RWE"), "{stack}");
        // Only the obligatory first symbol is undefined.
        assert_eq!(
            text.lines().filter(|line| line.contains(" UND ")).count(),
            1,
            "{text}"
        );
    }
    if let Some(text) = objdump {
        assert!(text.contains(&format!("<{SYMBOL}>")), "{text}");
    }
}

#[test]
fn every_changed_bit_outside_the_code_is_refused() {
    let text = [0x90; 200];
    let (layout, library) = written(Machine::X86_64, &text, 3);
    assert_eq!(layout.verify(&library).unwrap(), text);
    let code = layout.text()..layout.text() + text.len();
    for at in 0..library.len() {
        let mut changed = library.clone();
        changed[at] ^= 1 << (at % 8);
        match layout.verify(&changed) {
            Ok(found) => assert!(code.contains(&at) && found != text, "byte {at}"),
            Err(ArtifactError::Object { offset }) => assert_eq!(offset, at),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(matches!(
        layout.verify(&library[..library.len() - 1]),
        Err(ArtifactError::Length { .. })
    ));
    let longer = [library.as_slice(), &[0]].concat();
    assert!(matches!(
        layout.verify(&longer),
        Err(ArtifactError::Length { .. })
    ));
    assert!(matches!(
        layout.verify(&[]),
        Err(ArtifactError::Length { .. })
    ));
}

#[test]
fn lengths_and_names_are_bounded() {
    let new = |symbol, text_len, entries| Layout::new(Machine::X86_64, symbol, text_len, entries);
    for (text_len, entries) in [
        (MAX_TEXT_LEN + 1, 1),
        (usize::MAX, 1),
        (1, MAX_TABLE_ENTRIES + 1),
        (1, usize::MAX),
    ] {
        assert!(matches!(
            new(SYMBOL, text_len, entries),
            Err(ArtifactError::TooLarge { .. })
        ));
    }
    let long = "x".repeat(129);
    assert!(matches!(
        new(&long, 1, 1),
        Err(ArtifactError::TooLarge { .. })
    ));
    for symbol in ["", "a b", "a\0b", "a.b", "é", TABLE_SYMBOL] {
        assert!(
            matches!(new(symbol, 1, 1), Err(ArtifactError::Malformed { .. })),
            "{symbol:?}"
        );
    }
    assert!(matches!(
        new(SYMBOL, 0, 1),
        Err(ArtifactError::Malformed { .. })
    ));
    let layout = new(SYMBOL, 4, 1).unwrap();
    assert!(matches!(
        layout.write(&[0; 5]),
        Err(ArtifactError::Length { .. })
    ));
}

/// Loading and running machine code made by hand.
#[cfg(target_arch = "x86_64")]
mod run {
    use super::*;
    use crate::maps::mappings;
    use revmc_jit::artifact::loader::{LoadedLibrary, max_loaded};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Held by tests that load, as one of them counts mappings.
    fn alone() -> std::sync::MutexGuard<'static, ()> {
        static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        ALONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    extern "C" fn forty_two() -> u64 {
        42
    }

    extern "C" fn seven() -> u64 {
        7
    }

    /// Jumps to the builtin at `index`: `jmp [rip + displacement]`, then bytes that tell the codes
    /// apart.
    fn jump_to_builtin(index: usize, tag: u64) -> (Layout<'static>, Vec<u8>) {
        let layout = Layout::new(Machine::X86_64, SYMBOL, 14, 2).unwrap();
        let mut text = vec![0xff, 0x25];
        // Displacements count from the end of the instruction.
        text.extend_from_slice(&((layout.table_offset() + 8 * index - 6) as u32).to_le_bytes());
        text.extend_from_slice(&tag.to_le_bytes());
        let library = layout.write(&text).unwrap();
        (layout, library)
    }

    fn open(index: usize, tag: u64) -> LoadedLibrary {
        let (layout, library) = jump_to_builtin(index, tag);
        let table = [forty_two as *const () as usize, seven as *const () as usize];
        LoadedLibrary::open(&layout, &library, &table).unwrap()
    }

    fn call(library: &LoadedLibrary) -> u64 {
        // SAFETY: the entry is the jump above, to a function of this type.
        let function =
            unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> u64>(library.entry()) };
        function()
    }

    #[test]
    fn code_reaches_the_builtins() {
        let _alone = alone();
        assert_eq!(call(&open(0, 0)), 42);
        assert_eq!(call(&open(1, 0)), 7);
    }

    /// Each load closes its descriptor, so the next one gets the same number: the loader must not
    /// answer with the object it knows under that name.
    #[test]
    fn loads_do_not_alias() {
        let _alone = alone();
        let libraries: Vec<_> = (0..40).map(|i| open(i % 2, i as u64 / 4)).collect();
        let mut entries: Vec<_> = libraries.iter().map(|library| library.entry()).collect();
        entries.sort();
        entries.dedup();
        assert_eq!(
            entries.len(),
            libraries.len(),
            "also equal bytes are loaded afresh"
        );
        for (i, library) in libraries.iter().enumerate() {
            assert_eq!(call(library), if i % 2 == 0 { 42 } else { 7 });
        }
        // Dropping some leaves the others usable.
        let kept: Vec<_> = libraries.into_iter().skip(20).collect();
        for (i, library) in kept.iter().enumerate() {
            assert_eq!(call(library), if i % 2 == 0 { 42 } else { 7 });
        }
    }

    #[test]
    fn nothing_stays_writable() {
        let _alone = alone();
        let library = open(0, 1);
        let start = library.entry() as usize - jump_to_builtin(0, 1).0.text();
        let end = start + library.mapped_len();
        let mut mapped = mappings();
        mapped.retain(|(range, _)| range.start < end && range.end > start);
        assert!(!mapped.is_empty());
        for (range, rights) in &mapped {
            assert!(!rights.contains('w'), "{range:#x?} {rights}");
        }
        assert!(mapped.len() <= 4, "{mapped:?}");
        let executable = mapped.iter().filter(|(_, p)| p.contains('x')).count();
        assert_eq!(executable, 1, "{mapped:?}");
    }

    #[test]
    fn dropping_unmaps() {
        let _alone = alone();
        let count = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines()
                .filter(|line| line.contains("revmc-jit-artifact"))
                .count()
        };
        let before = count();
        let libraries: Vec<_> = (0..8).map(|i| open(0, i)).collect();
        assert!(count() >= before + 8);
        drop(libraries);
        // musl's `dlclose` keeps objects.
        if cfg!(target_env = "gnu") {
            assert_eq!(count(), before);
        }
    }

    /// Libraries in the place of those that another thread closed, where nothing but the loader
    /// orders the two threads (L5). What a wrong order would be, ThreadSanitizer tells.
    #[test]
    fn places_change_hands() {
        let _alone = alone();
        // Relaxed throughout: the test must not order what the loader has to.
        let turn = AtomicUsize::new(0);
        let take_turns = |mine: usize| {
            let round = |round: usize| {
                while turn.load(Ordering::Relaxed) != 2 * round + mine {
                    std::thread::yield_now();
                }
                let library = open(mine, round as u64);
                assert_eq!(call(&library), [42, 7][mine]);
                let place = library.entry() as usize;
                drop(library);
                turn.fetch_add(1, Ordering::Relaxed);
                place
            };
            Vec::from_iter((0..20).map(round))
        };
        let [first, second] = std::thread::scope(|scope| {
            let threads = [0, 1].map(|mine| {
                scope.spawn({
                    let take_turns = &take_turns;
                    move || take_turns(mine)
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        // musl's `dlclose` keeps objects.
        if cfg!(target_env = "gnu") {
            assert!(first.iter().any(|place| second.contains(place)));
        }
    }

    #[test]
    fn loads_are_bounded() {
        let _alone = alone();
        let (layout, library) = jump_to_builtin(0, 0);
        let open = || LoadedLibrary::open(&layout, &library, &[1, 2]);
        let mut loaded: Vec<_> = (0..max_loaded()).map(|_| open().unwrap()).collect();
        match open() {
            Err(ArtifactError::TooManyLoaded { limit }) => assert_eq!(limit, loaded.len()),
            other => panic!("{other:?}"),
        }
        loaded.pop();
        open().unwrap();
    }

    #[test]
    fn a_changed_library_or_table_is_not_loaded() {
        let _alone = alone();
        let (layout, mut library) = jump_to_builtin(0, 0);
        let open = |library: &[u8], table: &[usize]| LoadedLibrary::open(&layout, library, table);
        assert!(matches!(
            open(&library, &[1]),
            Err(ArtifactError::Mismatch { .. })
        ));
        library[0] = 0;
        assert!(matches!(
            open(&library, &[1, 2]),
            Err(ArtifactError::Object { offset: 0 })
        ));
    }
}
