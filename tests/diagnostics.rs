//! What a backend writes for people: names for a profiler, and what the compiler has made.

mod runtime_support;

use alloy_primitives::hex;
use revmc_jit::artifact::{DirOptions, TempArtifactStore};

use revmc_jit::{JitBackend, RuntimeCacheKey, RuntimeConfig};
use runtime_support::{aot, config, contract, eventually, request};
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> TempArtifactStore {
    TempArtifactStore::new(DirOptions::default()).unwrap()
}

/// Start, length and symbol of each line.
fn lines(folder: &Path) -> Vec<(usize, usize, String)> {
    let name = format!("perf-{}.map", std::process::id());
    let text = fs::read_to_string(folder.join(name)).unwrap();
    let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [start, len, symbol] = words[..] else {
                panic!("not three words: {line}");
            };
            (number(start), number(len), symbol.to_owned())
        })
        .collect()
}

fn symbol(key: &RuntimeCacheKey, tier: &str) -> String {
    format!("{}-{:?}-{tier}", key.code_hash, key.spec_id)
}

/// Whether all of it is in a mapping that can be executed.
#[cfg(target_os = "linux")]
fn is_code(start: usize, len: usize) -> bool {
    let maps = runtime_support::maps::mappings();
    maps.iter().any(|(range, rights)| {
        rights.starts_with("r-x") && range.start <= start && start + len <= range.end
    })
}

#[cfg(not(target_os = "linux"))]
fn is_code(start: usize, len: usize) -> bool {
    start > 0 && len > 0
}

#[test]
fn each_program_that_is_published_has_its_name_at_its_address() {
    let dir = folder();
    let mut config = config();
    config.perf_map = true;
    config.perf_map_dir = Some(dir.path().to_owned());
    let backend = JitBackend::new(config).unwrap();
    let keys = [1, 2].map(|n| contract(n).0);
    let mut held = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        backend.compile_jit_sync(request(1 + n as u32)).unwrap();
        held.extend(backend.get_compiled(key.code_hash, key.spec_id));
    }
    let named = lines(dir.path());
    for ((key, program), (start, len, name)) in keys.iter().zip(&held).zip(&named) {
        assert_eq!(*name, symbol(key, &program.tier().to_string()));
        assert!(*len <= program.mapped_len() && is_code(*start, *len));
    }
    assert_eq!((named.len(), held.len()), (2, 2));
    // What comes after a clear is named again, where it is then.
    backend.clear_resident().unwrap();
    backend.compile_jit_sync(request(1)).unwrap();
    let again = lines(dir.path());
    assert_eq!(again[..2], named);
    assert_eq!(again[2].2, named[0].2);
    assert_ne!(again[2].0, named[0].0, "the first is still held");
    assert_eq!(backend.stats().perf_map_errors, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn artifacts_are_named_too() {
    let (dir, store) = (folder(), folder());
    let mut config = config();
    config.perf_map = true;
    config.perf_map_dir = Some(dir.path().to_owned());
    config.store = Some(store.into());
    let backend = JitBackend::new(config).unwrap();
    let (key, _) = contract(3);
    backend.prepare_aot(aot(3));
    eventually(&backend, |stats| stats.published == 1);
    let [(start, len, name)] = &lines(dir.path())[..] else {
        panic!("one program was made");
    };
    assert_eq!(*name, symbol(&key, "optimized"));
    assert!(is_code(*start, *len));
}

#[test]
fn what_cannot_be_written_is_counted_and_in_nobodys_way() {
    let dir = folder();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let mut config = config();
    config.perf_map = true;
    config.perf_map_dir = Some(file.clone());
    config.dump_dir = Some(file);
    let backend = JitBackend::new(config).unwrap();
    backend.compile_jit_sync(request(4)).unwrap();
    let stats = backend.stats();
    assert_eq!((stats.published, stats.failed), (1, 0));
    assert_eq!((stats.perf_map_errors, stats.dump_errors), (1, 1));
}

fn dumped(config: RuntimeConfig, dir: &Path) -> (JitBackend, PathBuf) {
    let mut config = config;
    config.dump_dir = Some(dir.to_owned());
    let backend = JitBackend::new(config).unwrap();
    backend.compile_jit_sync(request(5)).unwrap();
    let (key, _) = contract(5);
    let program = backend.get_compiled(key.code_hash, key.spec_id).unwrap();
    let name = symbol(&key, &program.tier().to_string());
    (backend, dir.join(name))
}

#[test]
fn a_contract_has_a_folder_with_all_that_was_made_of_it() {
    let dir = folder();
    let (backend, folder) = dumped(config(), dir.path());
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let (_, code) = contract(5);
    assert_eq!(read("bytecode.hex"), hex::encode(&code));
    let passes = read("passes.txt");
    for part in [
        "block 0, 0x0000..0x000b",
        "PUSH4 0x5",
        "RETURN  ; interpreted, ends",
    ] {
        assert!(passes.contains(part), "{part} is not in\n{passes}");
    }
    if cfg!(target_arch = "x86_64") {
        let listing = ["code.s", "function.asm"].map(|name| folder.join(name).exists());
        assert!(listing.contains(&true));
    }
    // What was dumped is not written again.
    fs::remove_file(folder.join("bytecode.hex")).unwrap();
    backend.clear_resident().unwrap();
    backend.compile_jit_sync(request(5)).unwrap();
    assert!(!folder.join("bytecode.hex").exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let stats = backend.stats();
    assert_eq!((stats.dump_errors, stats.dumps_left_out), (0, 0));
    // Another backend does, over what is there.
    drop(backend);
    dumped(config(), dir.path());
    assert_eq!(read("bytecode.hex"), hex::encode(&code));
}

#[cfg(feature = "revmc")]
#[test]
fn another_front_end_is_named_and_dumped_the_same_way() {
    let (names, dumps) = (folder(), folder());
    let mut config = config();
    config.front_end = revmc_jit::revmc::front_end();
    config.perf_map = true;
    config.perf_map_dir = Some(names.path().to_owned());
    let (_backend, folder) = dumped(config, dumps.path());
    let [(start, len, name)] = &lines(names.path())[..] else {
        panic!("one program was made");
    };
    assert_eq!(Some(name.as_str()), folder.file_name().unwrap().to_str());
    assert!(is_code(*start, *len));
    for file in ["bytecode.hex", "function.clif", "function.asm"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
}
