//! Artifacts made by hand, for the artifact tests.
#![allow(dead_code, reason = "each test uses its part")]

use alloy_primitives::{B256, Bytes, keccak256};
use revmc_jit::primitives::SpecId;
use revmc_jit::{
    Chain, CompiledProgram, RuntimeCacheKey,
    aot::{self, BuildOptions},
    artifact::{
        ArtifactError, ArtifactIndex, ArtifactKey, ArtifactManifest, ArtifactStore, BuildId,
        Determinants, DirOptions, IoProblem, SealedArtifact, Stored, StoredArtifact,
        TempArtifactStore, TrustedStore, Verified,
        object::{Layout, Machine},
    },
    compiler::{Rules, Tier},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

pub const OPTIONS: BuildOptions = BuildOptions {
    tier: Tier::Optimized,
    debug_assertions: false,
};

/// An entry table of one entry, at the beginning.
pub const DATA: [u8; 20] = [0; 20];

/// What this process makes for the samples' fork.
pub fn wanted() -> Determinants {
    aot::determinants(SpecId::CANCUN, &rules(), OPTIONS).expect("this platform has artifacts")
}

/// The rules of the samples.
pub fn rules() -> Arc<Rules> {
    Chain::mainnet().rules(SpecId::CANCUN).clone()
}

pub fn build_id() -> BuildId {
    wanted().id()
}

/// A small generator of numbers that repeat with the seed (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

pub fn program(seed: u64) -> RuntimeCacheKey {
    RuntimeCacheKey {
        code_hash: keccak256(seed.to_le_bytes()),
        spec_id: SpecId::CANCUN,
    }
}

/// A well-formed artifact whose "machine code" is `text_len` bytes that end the process by a signal
/// if they ever run.
pub fn sample(seed: u64, text_len: usize) -> StoredArtifact {
    // `ud2` on x86-64; an undefined instruction on aarch64 as well.
    let mut text = [0x0f, 0x0b, 0x00, 0x00].repeat(text_len.div_ceil(4));
    text.truncate(text_len);
    let varied = text_len.min(12) / 4 * 4;
    if varied == 12 {
        text[4..12].copy_from_slice(&seed.to_le_bytes());
    }
    let data = DATA;
    let manifest = ArtifactManifest {
        code_hash: program(seed).code_hash,
        determinants: wanted(),
        bytecode_len: 100,
        table_entries: 0,
        symbol: String::new(),
        text_len: 0,
        library_len: 0,
        library_hash: B256::ZERO,
        data_len: data.len() as u32,
        data_hash: keccak256(data),
        trial_runs: 0,
        created: 1_700_000_000,
    };
    assemble(manifest, &text)
}

/// Makes library and dependent fields anew from the other fields and `text`.
pub fn assemble(mut manifest: ArtifactManifest, text: &[u8]) -> StoredArtifact {
    manifest.symbol = manifest.expected_symbol();
    manifest.text_len = text.len() as u64;
    let entries = manifest.table_entries as usize;
    let machine = Machine::host().expect("this platform has artifacts");
    let layout = Layout::new(machine, &manifest.symbol, text.len(), entries).unwrap();
    let library = layout.write(text).unwrap();
    manifest.library_len = library.len() as u64;
    manifest.library_hash = keccak256(&library);
    StoredArtifact {
        manifest,
        library: library.into(),
        data: Bytes::from_static(&DATA),
    }
}

/// The manifest with another value of one of the facts that decide the code.
pub fn with_fact(manifest: &ArtifactManifest, name: &str, value: &str) -> ArtifactManifest {
    let was = manifest
        .determinants
        .get(name)
        .expect("a fact of this name");
    let line = |value| format!("\n{name} {value}\n");
    let text = manifest.encode();
    assert!(text.contains(&line(was)));
    ArtifactManifest::parse(text.replacen(&line(was), &line(value), 1).as_bytes()).unwrap()
}

/// A store that has one artifact, whatever is asked for.
#[derive(Debug)]
pub struct Shelf(pub Bytes);

impl ArtifactStore for Shelf {
    fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
        Ok(ArtifactIndex::default())
    }
    fn load(&self, _: &ArtifactKey) -> Result<Option<Bytes>, ArtifactError> {
        Ok(Some(self.0.clone()))
    }
    fn store(&self, _: &SealedArtifact) -> Result<Stored, ArtifactError> {
        Ok(Stored::default())
    }
    fn delete(&self, _: &ArtifactKey) -> Result<bool, ArtifactError> {
        Ok(false)
    }
    fn clear(&self) -> Result<usize, ArtifactError> {
        Ok(0)
    }
}

/// What a reader who trusts these bytes, but verifies them, makes of them.
pub fn believe(
    bytes: Bytes,
    code_hash: B256,
    wanted: &Determinants,
) -> Result<Verified, ArtifactError> {
    // SAFETY: nothing that comes of the samples is ever run; their code would end the process.
    let store = unsafe { TrustedStore::promised(Arc::new(Shelf(bytes))) };
    store
        .load(code_hash, wanted)
        .map(|found| found.expect("a shelf is never empty"))
}

/// An artifact made by hand in the form in which stores take it.
pub fn sealed(artifact: &StoredArtifact) -> SealedArtifact {
    let bytes = artifact.to_bytes().unwrap().into();
    let manifest = &artifact.manifest;
    believe(bytes, manifest.code_hash, &manifest.determinants)
        .unwrap()
        .seal(None)
        .unwrap()
}

/// What the store has under the key, parsed.
pub fn read(
    store: &dyn ArtifactStore,
    key: &ArtifactKey,
) -> Result<Option<StoredArtifact>, ArtifactError> {
    let bytes = store.load(key)?;
    bytes
        .map(|bytes| StoredArtifact::from_bytes(&bytes, None))
        .transpose()
}

/// Verifies and loads what the store has under the program's key, as the runtime does.
pub fn attempt(
    store: &dyn ArtifactStore,
    program: RuntimeCacheKey,
) -> Result<Option<CompiledProgram>, ArtifactError> {
    match store.load(&ArtifactKey::new(program.code_hash, build_id()))? {
        Some(bytes) => attempt_bytes(bytes, program).map(Some),
        None => Ok(None),
    }
}

pub fn attempt_bytes(
    bytes: Bytes,
    program: RuntimeCacheKey,
) -> Result<CompiledProgram, ArtifactError> {
    let verified = believe(bytes, program.code_hash, &wanted())?;
    aot::load(&verified, program, &rules(), OPTIONS)
}

/// Runs the named test of this test binary in a process of its own, in which `role` returns `value`.
pub fn child(test: &str, value: &std::path::Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, value);
    command
}

/// What the process was started for, if it is a test's child.
pub fn role() -> Option<std::path::PathBuf> {
    std::env::var_os(ROLE).map(Into::into)
}

const ROLE: &str = "REVMC_JIT_TEST_CHILD";

pub fn io_problem(result: Result<impl Sized, ArtifactError>) -> IoProblem {
    match result {
        Err(ArtifactError::Io { problem, .. }) => problem,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("succeeded"),
    }
}

/// The files in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Bytes of a victim's machine code.
pub const TEXT_LEN: usize = 300;

/// A store in which the program of seed 1 has an artifact file, whose path and bytes these are.
pub struct Victim {
    pub store: TempArtifactStore,
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

impl Victim {
    pub fn new() -> Self {
        let store = TempArtifactStore::new(DirOptions::default()).unwrap();
        let artifact = sample(1, TEXT_LEN);
        store.store(&sealed(&artifact)).unwrap();
        let path = store.path().join(artifact.manifest.key().file_name());
        let bytes = fs::read(&path).unwrap();
        let victim = Self { store, path, bytes };
        assert!(
            attempt(&*victim.store, program(1)).unwrap().is_some(),
            "accepted unless changed"
        );
        victim
    }

    /// What comes of the file with these bytes.
    pub fn with(&self, bytes: &[u8]) -> Result<(), ArtifactError> {
        fs::write(&self.path, bytes).unwrap();
        self.outcome()
    }

    pub fn outcome(&self) -> Result<(), ArtifactError> {
        attempt(&*self.store, program(1)).map(|found| assert!(found.is_some()))
    }
}
