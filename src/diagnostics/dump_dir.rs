//! What the compiler has made of each contract, for a person to read: one folder each, named after the
//! code's hash, the rules and the tier. [`RuntimeConfig::dump_dir`](crate::RuntimeConfig::dump_dir) has the
//! table of its files.

use super::name;
use crate::{
    compiler::{self, NativeCode, Tier, dump},
    files,
    key::RuntimeCacheKey,
    trial::Difference,
};
use alloy_primitives::hex;
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Folders that a backend fills; as many more if programs are miscompiled.
const MAX_FOLDERS: usize = 4096;

/// Bytes beyond which it begins no other one. Each of the files has an end.
const MAX_BYTES: u64 = 1 << 30;

/// What is to be done about a contract.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is dumped into this folder, which is there.
    Now(PathBuf),
    /// It was dumped before: compilation is a pure function.
    Before,
    /// There is no room for it.
    Full,
}

#[derive(Debug, Default)]
struct Filled {
    contracts: HashSet<(RuntimeCacheKey, Tier)>,
    differences: usize,
    bytes: u64,
}

/// The folder of a backend.
#[derive(Debug)]
pub(crate) struct DumpDir {
    root: PathBuf,
    filled: Mutex<Filled>,
}

impl DumpDir {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            filled: Mutex::default(),
        }
    }

    /// Whether a contract's turn has come. Who is told so has the folder alone, and ends with
    /// [`filled`](Self::filled).
    pub(crate) fn begin(&self, key: &RuntimeCacheKey, tier: Tier) -> io::Result<Turn> {
        {
            let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
            if filled.contracts.contains(&(*key, tier)) {
                return Ok(Turn::Before);
            }
            if filled.contracts.len() >= MAX_FOLDERS || filled.bytes >= MAX_BYTES {
                return Ok(Turn::Full);
            }
            filled.contracts.insert((*key, tier));
        }
        self.folder(key, tier).map(Turn::Now)
    }

    /// Counts what is in a folder now.
    pub(crate) fn filled(&self, folder: &Path) -> io::Result<()> {
        let mut bytes = 0;
        for entry in fs::read_dir(folder)? {
            bytes += entry?.metadata()?.len();
        }
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        filled.bytes = filled.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Leaves no room.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        filled.bytes = MAX_BYTES;
    }

    /// Writes down all that it takes to see a difference again, also where [`begin`](Self::begin) had no room
    /// for the contract. False if there is none for this either.
    pub(crate) fn difference(
        &self,
        bytecode: &[u8],
        code: &NativeCode,
        difference: &Difference,
    ) -> io::Result<bool> {
        {
            let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
            if filled.differences >= MAX_FOLDERS {
                return Ok(false);
            }
            filled.differences += 1;
        }
        let text = format!(
            "{difference}\n\n{:#?}\n\ncompiler version {}, instruction sets {}\n\nbytecode\n{}\n\nmachine code\n{}\n",
            difference.input,
            compiler::COMPILER_VERSION,
            compiler::cpu_features().join(","),
            hex::encode(bytecode),
            hex::encode(code.text()),
        );
        let folder = self.folder(&difference.key, difference.tier)?;
        dump::write(&folder, "difference.txt", &text)?;
        Ok(true)
    }

    fn folder(&self, key: &RuntimeCacheKey, tier: Tier) -> io::Result<PathBuf> {
        // What leads there is the caller's choice, and may be a link.
        fs::create_dir_all(&self.root)?;
        let folder = self.root.join(name(key, tier));
        files::create_folder(&folder)?;
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{DirOptions, TempArtifactStore};
    use alloy_primitives::B256;
    use revm_interpreter::primitives::hardfork::SpecId;
    use std::os::unix::fs::symlink;

    fn key(n: usize) -> RuntimeCacheKey {
        RuntimeCacheKey {
            code_hash: B256::from(alloy_primitives::U256::from(n)),
            spec_id: SpecId::OSAKA,
        }
    }

    #[test]
    fn a_contract_has_its_turn_once_for_each_tier() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        let dumps = DumpDir::new(&dir.path().join("below/it"));
        for tier in [Tier::Baseline, Tier::Optimized] {
            let Turn::Now(folder) = dumps.begin(&key(1), tier).unwrap() else {
                panic!("there is room");
            };
            let name = format!("{}-OSAKA-{tier}", key(1).code_hash);
            assert_eq!(folder, dir.path().join("below/it").join(name));
            assert!(folder.is_dir());
            assert_eq!(dumps.begin(&key(1), tier).unwrap(), Turn::Before);
        }
    }

    #[test]
    fn folders_and_bytes_have_an_end() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        let dumps = DumpDir::new(dir.path());
        let Turn::Now(folder) = dumps.begin(&key(0), Tier::Baseline).unwrap() else {
            panic!("there is room");
        };
        dump::write(&folder, "file", "12345").unwrap();
        dump::write(&folder, "another", "123").unwrap();
        dumps.filled(&folder).unwrap();
        assert_eq!(dumps.filled.lock().unwrap().bytes, 8);
        dumps.fill();
        let second = dumps.begin(&key(1), Tier::Baseline).unwrap();
        assert_eq!(second, Turn::Full);
        let mut filled = dumps.filled.lock().unwrap();
        filled.bytes = 0;
        let rest = (1..MAX_FOLDERS).map(|n| (key(n), Tier::Baseline));
        filled.contracts.extend(rest);
        drop(filled);
        let last = dumps.begin(&key(MAX_FOLDERS), Tier::Baseline).unwrap();
        assert_eq!(last, Turn::Full);
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        let (root, victim) = (dir.path().join("root"), dir.path().join("victim"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&victim).unwrap();
        symlink(&victim, root.join(name(&key(1), Tier::Baseline))).unwrap();
        let dumps = DumpDir::new(&root);
        assert!(dumps.begin(&key(1), Tier::Baseline).is_err());
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    }
}
