//! Ahead-of-time artifacts: native code that outlives the process, and is treated as an attack.
//!
//! ```text
//! NativeCode ─► build ─► StoredArtifact ─► ArtifactStore::store          (worker threads)
//!                                             │
//!                        ArtifactStore::load ─┴─► load ─► CompiledProgram (backend thread)
//! ```
//!
//! | part | job |
//! |---|---|
//! | [`ArtifactKey`], [`BuildId`] | which artifact is wanted |
//! | [`ArtifactManifest`], [`Environment`], [`BuildOptions`] | what it says of itself, and what has to agree |
//! | [`StoredArtifact`] | both and the library, as bytes |
//! | [`ArtifactStore`], [`DirArtifactStore`], [`TempArtifactStore`] | keeping them |
//! | [`object`] | the shared object, written without a linker |
//! | [`loader`] | from verified bytes to code in memory |
//!
//! # What stands between a file and its execution
//!
//! 1. [`DirArtifactStore`]: folder and file belong to this user and to nobody else; format,
//!    lengths and digest of header and manifest; with a [`ManifestKey`], authenticity.
//! 2. [`ArtifactManifest::check`]: versions, compiler, target, struct layouts, CPU features, code
//!    hash, fork, options, symbol.
//! 3. [`StoredArtifact::verify`]: lengths and keccak-256 of the library; the library is, byte for
//!    byte, the fixed form around its machine code.
//! 4. [`loader`]: the bytes that were verified are the bytes that are mapped.
//!
//! The machine code itself cannot be judged: whoever can write the folder as this user, and has
//! the manifest key if there is one, is trusted. Digests find accidents and stale files, ownership
//! keeps other users out, and the key (crate feature `hmac-manifest`) keeps out whoever writes the
//! folder without it.
//!
//! A refusal is an [`ArtifactError`] that names the reason, and nothing of the artifact has run; the
//! caller compiles afresh.
//!
//! # Platforms
//!
//! Linux on x86-64 (tested) and aarch64 (written by the same code, not tested on hardware).
//! Elsewhere [`build`] and [`load`] are [`ArtifactError::Unsupported`]; stores need a Unix.

mod auth;
mod container;
mod dir;
mod error;
mod host;
mod key;
pub mod loader;
mod manifest;
pub mod object;
mod store;
mod sys;
mod temp;

pub use auth::ManifestKey;
pub use container::{HEADER_LEN, StoredArtifact};
pub use dir::{DirArtifactStore, DirOptions, StoreUsage};
pub use error::{
    ArtifactError, AuthenticationProblem, FileProblem, FolderProblem, IoProblem, ManifestField,
};
pub use host::{BuildOptions, Environment, REVMC_VERSION};
pub use key::{ArtifactKey, BuildId};
pub use manifest::{ArtifactManifest, FORMAT, MAX_MANIFEST_LEN};
pub use store::{ArtifactIndex, ArtifactStore, IndexEntry, Rejected};
pub use temp::TempArtifactStore;

use crate::{
    CompiledProgram, RuntimeCacheKey,
    engine::{self, NativeCode},
};
use alloy_primitives::keccak256;
use loader::LoadedLibrary;
use object::{Layout, Machine};
use revmc::{EvmCompilerFn, RawEvmCompilerFn};
use std::time::SystemTime;

/// Makes an artifact of `code`, which this process compiled from `bytecode_len` bytes of bytecode
/// with `options`. Pure computation: no compiler, assembler or linker runs, nothing is stored.
///
/// # Errors
/// [`ArtifactError::Unsupported`] where artifacts are not implemented, [`ArtifactError::TooLarge`]
/// for code beyond [`object::MAX_TEXT_LEN`], [`ArtifactError::Mismatch`] if `code` was compiled for
/// another tier than `options` says, [`ArtifactError::Engine`] if the code cannot be linked.
pub fn build(
    program: RuntimeCacheKey,
    bytecode_len: usize,
    options: BuildOptions,
    code: &NativeCode,
) -> Result<StoredArtifact, ArtifactError> {
    let bytecode_len = u32::try_from(bytecode_len).map_err(|_| ArtifactError::TooLarge {
        what: "bytecode",
        len: bytecode_len as u64,
        limit: u32::MAX.into(),
    })?;
    if code.tier() != options.tier {
        let found = BuildOptions {
            tier: code.tier(),
            ..options
        };
        return Err(ArtifactError::mismatch(
            ManifestField::Options,
            options,
            found,
        ));
    }
    let created = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut manifest = ArtifactManifest {
        code_hash: program.code_hash,
        spec_id: program.spec_id,
        environment: Environment::host()?.clone(),
        options,
        bytecode_len,
        resume_points: code.resume_points(),
        symbol: String::new(),
        text_len: code.text_len() as u64,
        library_len: 0,
        library_hash: Default::default(),
        created: created.as_secs(),
    };
    manifest.symbol = manifest.expected_symbol();
    let entries = manifest.environment.table_entries as usize;
    let layout = Layout::new(Machine::host()?, &manifest.symbol, code.text_len(), entries)?;
    let library = layout.write(&code.link(layout.table_offset())?)?;
    manifest.library_len = library.len() as u64;
    manifest.library_hash = keccak256(&library);
    Ok(StoredArtifact {
        manifest,
        library: library.into(),
    })
}

/// Verifies an artifact of `program`, compiled with `options`, and loads it into this process.
///
/// Blocks for a keccak-256 over the library and some system calls; not for an execution thread.
///
/// # Errors
/// As [`StoredArtifact::verify`], then as [`LoadedLibrary::open`].
pub fn load(
    artifact: &StoredArtifact,
    program: RuntimeCacheKey,
    options: BuildOptions,
) -> Result<CompiledProgram, ArtifactError> {
    let layout = artifact.verify(&program, options, Environment::host()?)?;
    let library = LoadedLibrary::open(&layout, &artifact.library, engine::builtin_table())?;
    // SAFETY: the text of a verified artifact (L1), mapped as long as the library lives (L3), is code
    // that the engine made under the calling convention of `RawEvmCompilerFn`, with its entry at the
    // first byte, for the layouts of this process. What this rests on is in the module's documentation.
    let func = unsafe { std::mem::transmute::<*const u8, RawEvmCompilerFn>(library.entry()) };
    let manifest = &artifact.manifest;
    Ok(CompiledProgram::aot(
        program,
        options.tier,
        manifest.bytecode_len as usize,
        manifest.resume_points,
        EvmCompilerFn::new(func),
        library.mapped_len(),
        Box::new(library),
    ))
}
