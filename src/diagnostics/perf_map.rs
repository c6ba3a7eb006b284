//! The map by which `perf report` names machine code that is in no file: one line for each program.
//!
//! ```text
//! START SIZE symbol       in hexadecimal, without 0x
//! ```
//!
//! A line is written before a caller can run the program. It stays when the program goes: where another
//! one gets its address, a later line says so. The format has no times, so that perf takes one of them for
//! all samples (perf 6.1: of two lines the first).

use super::name;
use crate::{config::RuntimeConfig, files, program::CompiledProgram};
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Where perf looks.
const FOLDER: &str = "/tmp";

/// Lines in the file of one process, of some 140 bytes each.
const MAX_LINES: usize = 1 << 20;

/// An open map. A process has one for each folder, whose file it replaced when it opened it: what an
/// earlier process of the same number left is not this one's.
struct Map {
    path: PathBuf,
    file: File,
    lines: AtomicUsize,
}

/// They stay open: programs outlive the backend that made them, and so do their names.
static OPEN: Mutex<Vec<Arc<Map>>> = Mutex::new(Vec::new());

/// Where a backend's programs are named.
pub(crate) struct PerfMap {
    path: PathBuf,
    max_lines: usize,
}

impl PerfMap {
    /// If the configuration asks for one. The file is opened with the first line.
    pub(crate) fn new(config: &RuntimeConfig) -> Option<Self> {
        let folder = config.perf_map_dir.as_deref().unwrap_or(Path::new(FOLDER));
        config.perf_map.then(|| Self {
            path: folder.join(format!("perf-{}.map", process::id())),
            max_lines: MAX_LINES,
        })
    }

    /// Names the program's machine code. Blocks on the file system.
    pub(crate) fn add(&self, program: &CompiledProgram) -> io::Result<()> {
        let map = self.open()?;
        // Relaxed: a count, by which nothing is ordered.
        if map.lines.fetch_add(1, Relaxed) >= self.max_lines {
            map.lines.store(self.max_lines, Relaxed);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let (start, len) = program.text();
        let symbol = name(&program.key(), program.tier());
        let line = format!("{start:x} {len:x} {symbol}\n");
        // In one piece, as other threads append, too.
        (&map.file).write_all(line.as_bytes())
    }

    fn open(&self) -> io::Result<Arc<Map>> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = open.iter().find(|map| map.path == self.path) {
            return Ok(Arc::clone(map));
        }
        let map = Arc::new(Map {
            path: self.path.clone(),
            file: files::create(&self.path)?,
            lines: AtomicUsize::new(0),
        });
        open.push(Arc::clone(&map));
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        artifact::{DirOptions, TempArtifactStore},
        chain::Chain,
        compiler::{CompileOptions, compile},
        key::RuntimeCacheKey,
    };
    use alloy_primitives::keccak256;
    use revm_interpreter::primitives::hardfork::SpecId;
    use std::{fs, os::unix::fs::symlink};

    fn config(folder: &Path) -> RuntimeConfig {
        RuntimeConfig {
            perf_map: true,
            perf_map_dir: Some(folder.to_owned()),
            ..RuntimeConfig::default()
        }
    }

    fn program(n: u8) -> CompiledProgram {
        let bytecode = [0x60, n, 0x5f, 0x55, 0x00];
        let key = RuntimeCacheKey {
            code_hash: keccak256(bytecode),
            spec_id: SpecId::OSAKA,
        };
        let rules = Chain::mainnet().rules(key.spec_id).clone();
        let code = compile(&bytecode, &rules, &CompileOptions::default()).unwrap();
        CompiledProgram::jit(key, rules, bytecode.len(), &code).unwrap()
    }

    #[test]
    fn each_program_has_a_line_with_where_it_is() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        assert!(PerfMap::new(&RuntimeConfig::default()).is_none());
        let path = dir.path().join(format!("perf-{}.map", process::id()));
        fs::write(&path, "of another process\n").unwrap();
        let programs = [1, 2, 3].map(program);
        // Two backends of a process write to the same file.
        for program in &programs {
            PerfMap::new(&config(dir.path()))
                .unwrap()
                .add(program)
                .unwrap();
        }
        let lines: Vec<String> = programs
            .iter()
            .map(|program| {
                let start = program.entry_point() as usize;
                let (len, hash) = (program.native_len(), program.key().code_hash);
                format!("{start:x} {len:x} {hash}-OSAKA-optimized\n")
            })
            .collect();
        assert_eq!(fs::read_to_string(&path).unwrap(), lines.concat());
    }

    #[test]
    fn a_planted_link_is_not_followed_and_a_missing_folder_is_an_error() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let link = dir.path().join(format!("perf-{}.map", process::id()));
        symlink(&victim, &link).unwrap();
        let map = PerfMap::new(&config(dir.path())).unwrap();
        assert!(map.add(&program(1)).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        // When it is gone, the next program is named.
        fs::remove_file(&link).unwrap();
        map.add(&program(2)).unwrap();
        assert_eq!(fs::read_to_string(&link).unwrap().lines().count(), 1);
        let nowhere = PerfMap::new(&config(&dir.path().join("no/such"))).unwrap();
        assert!(nowhere.add(&program(1)).is_err());
    }

    #[test]
    fn the_file_has_an_end() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        let mut map = PerfMap::new(&config(dir.path())).unwrap();
        map.max_lines = 2;
        let program = program(1);
        let added = [(); 4].map(|()| map.add(&program).is_ok());
        assert_eq!(added, [true, true, false, false]);
        assert_eq!(fs::read_to_string(&map.path).unwrap().lines().count(), 2);
    }
}
