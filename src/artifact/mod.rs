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
//! 2. [`ArtifactManifest::check`]: versions of ABI and compiler, target, CPU features, code hash,
//!    fork, rules, options, symbol.
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
pub use host::{BuildOptions, Environment};
pub use key::{ArtifactKey, BuildId};
pub use manifest::{ArtifactManifest, FORMAT, MAX_MANIFEST_LEN};
pub use store::{ArtifactIndex, ArtifactStore, IndexEntry, Rejected};
pub use temp::TempArtifactStore;

use crate::{
    CompiledProgram, RuntimeCacheKey,
    compiler::{NativeCode, Rules},
    frame::Entry,
};
use alloy_primitives::keccak256;
use loader::LoadedLibrary;
use object::{Layout, Machine};
use std::{sync::Arc, time::SystemTime};

/// Makes an artifact of `code`, which this process compiled from `bytecode_len` bytes of bytecode
/// for `rules` with `options`. Pure computation: no compiler, assembler or linker runs, nothing is stored.
///
/// # Errors
/// [`ArtifactError::Unsupported`] where artifacts are not implemented, [`ArtifactError::TooLarge`]
/// for code beyond [`object::MAX_TEXT_LEN`], [`ArtifactError::Mismatch`] if `code` was compiled for
/// another tier than `options` says.
pub fn build(
    program: RuntimeCacheKey,
    rules: &Rules,
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
    let image = code.image();
    let mut manifest = ArtifactManifest {
        code_hash: program.code_hash,
        spec_id: program.spec_id,
        rules: rules.id(),
        environment: Environment::host()?.clone(),
        options,
        bytecode_len,
        entries: code.entries().len() as u32,
        symbol: String::new(),
        text_len: image.len() as u64,
        library_len: 0,
        library_hash: Default::default(),
        created: created.as_secs(),
    };
    manifest.symbol = manifest.expected_symbol();
    let layout = Layout::new(Machine::host()?, &manifest.symbol, image.len(), 0)?;
    let library = layout.write(&image)?;
    manifest.library_len = library.len() as u64;
    manifest.library_hash = keccak256(&library);
    Ok(StoredArtifact {
        manifest,
        library: library.into(),
    })
}

/// Verifies an artifact of `program`, compiled for `rules` with `options`, and loads it into this
/// process.
///
/// Blocks for a keccak-256 over the library and some system calls; not for an execution thread.
///
/// # Errors
/// As [`StoredArtifact::verify`], then as [`LoadedLibrary::open`].
pub fn load(
    artifact: &StoredArtifact,
    program: RuntimeCacheKey,
    rules: &Arc<Rules>,
    options: BuildOptions,
) -> Result<CompiledProgram, ArtifactError> {
    let layout = artifact.verify(&program, rules, options, Environment::host()?)?;
    let manifest = &artifact.manifest;
    let image = layout.verify(&artifact.library)?;
    let entries = NativeCode::entries_of(image, manifest.entries as usize).ok_or(
        ArtifactError::Malformed {
            what: "entry table",
        },
    )?;
    let library = LoadedLibrary::open(&layout, &artifact.library, &[])?;
    // SAFETY: the text of a verified artifact (L1), mapped as long as the library lives (L3), is code
    // that the compiler made for this ABI version, with its entry at the first byte. What this rests
    // on is in the module's documentation.
    let entry = unsafe { std::mem::transmute::<*const u8, Entry>(library.entry()) };
    Ok(CompiledProgram::aot(
        program,
        Arc::clone(rules),
        options.tier,
        manifest.bytecode_len as usize,
        entries,
        entry,
        library.mapped_len(),
        Box::new(library),
    ))
}
