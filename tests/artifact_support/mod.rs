//! Artifacts made by hand, for the artifact tests.
#![allow(dead_code, reason = "each test uses its part")]

use alloy_primitives::{B256, keccak256};
use revmc_jit::revmc::primitives::SpecId;
use revmc_jit::{
    CompiledProgram, RuntimeCacheKey,
    artifact::{
        self, ArtifactError, ArtifactKey, ArtifactManifest, ArtifactStore, BuildId, BuildOptions,
        Environment, StoredArtifact,
        object::{Layout, Machine},
    },
    engine::Tier,
};

pub const OPTIONS: BuildOptions = BuildOptions {
    tier: Tier::Optimized,
    debug_assertions: false,
};

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
    let program = program(seed);
    let manifest = ArtifactManifest {
        code_hash: program.code_hash,
        spec_id: program.spec_id,
        environment: Environment::host()
            .expect("this platform has artifacts")
            .clone(),
        options: OPTIONS,
        bytecode_len: 100,
        resume_points: 3,
        symbol: String::new(),
        text_len: 0,
        library_len: 0,
        library_hash: B256::ZERO,
        created: 1_700_000_000,
    };
    assemble(manifest, &text)
}

/// Makes library and dependent fields anew from the other fields and `text`.
pub fn assemble(mut manifest: ArtifactManifest, text: &[u8]) -> StoredArtifact {
    manifest.symbol = manifest.expected_symbol();
    manifest.text_len = text.len() as u64;
    let entries = manifest.environment.table_entries as usize;
    let machine = Machine::host().expect("this platform has artifacts");
    let layout = Layout::new(machine, &manifest.symbol, text.len(), entries).unwrap();
    let library = layout.write(text).unwrap();
    manifest.library_len = library.len() as u64;
    manifest.library_hash = keccak256(&library);
    StoredArtifact {
        manifest,
        library: library.into(),
    }
}

/// Verifies and loads what the store has under the program's key, as the runtime does.
pub fn attempt(
    store: &dyn ArtifactStore,
    program: RuntimeCacheKey,
) -> Result<Option<CompiledProgram>, ArtifactError> {
    let key = ArtifactKey::new(program, BuildId::host(OPTIONS)?);
    match store.load(&key)? {
        Some(artifact) => artifact::load(&artifact, program, OPTIONS).map(Some),
        None => Ok(None),
    }
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
