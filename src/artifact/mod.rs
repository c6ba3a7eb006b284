//! Ahead-of-time artifacts: native code that outlives the process, and is treated as an attack.
//!
//! ```text
//! code of a translator ─► build ─► Verified ─► TrustedStore::store        (worker threads)
//!                                     │  ▲
//!                             load ◄──┘  └──── TrustedStore::load         (worker threads)
//! ```
//!
//! This room knows no translator. Whoever owns one says what its code depends on
//! ([`determinants`]), hands in machine code, and takes the [`LoadedArtifact`] to make a program of
//! it; what it has to keep beside the code is a sequence of bytes to this room.
//!
//! | part | job |
//! |---|---|
//! | [`Determinants`], [`BuildId`] | everything that decides the code, as one list |
//! | [`ArtifactKey`] | which artifact is wanted |
//! | [`ArtifactManifest`] | what it says of itself |
//! | [`StoredArtifact`] | what its bytes say; believed by nobody |
//! | [`Verified`], [`SealedArtifact`] | what may be loaded, and what may be stored |
//! | [`ArtifactStore`], [`DirArtifactStore`], [`TempArtifactStore`] | keeping bytes |
//! | [`TrustedStore`] | why what a store returns may run |
//! | [`HeatList`] | which artifacts the next process loads first |
//! | [`object`] | the shared object, written without a linker |
//! | [`loader`] | from verified bytes to code in memory |
//!
//! # What stands between a file and its execution
//!
//! 1. [`TrustedStore`]: folder and file belong to this user and to nobody else; or the artifact was
//!    written with the caller's [`ManifestKey`]; or the caller promises, in `unsafe` code.
//! 2. [`StoredArtifact::from_bytes`]: format, lengths and digest of header and manifest.
//! 3. [`StoredArtifact::verify`]: everything that decides the code, fact by fact; code hash, symbol,
//!    lengths and keccak-256 of library and data; the library is, byte for byte, the fixed form
//!    around its machine code.
//! 4. [`load`]: takes a [`Verified`] artifact only, and compares it with the loading translator's own
//!    list, so that no code runs under another's conventions.
//! 5. [`loader`]: the bytes that were verified are the bytes that are mapped.
//!
//! The machine code itself cannot be judged: whoever can write the folder as this user, or has the
//! manifest key if there is one, is trusted. Digests find accidents and stale files, ownership
//! keeps other users out, and the key (crate feature `hmac-manifest`) keeps out whoever writes the
//! folder without it.
//!
//! A refusal is an [`ArtifactError`] that names the reason, and nothing of the artifact has run; the
//! caller compiles afresh.
//!
//! # Platforms
//!
//! Linux on x86-64 (tested) and aarch64 (written by the same code, not tested on hardware).
//! Elsewhere building and loading are [`ArtifactError::Unsupported`]; stores need a Unix.

mod auth;
mod container;
pub mod determinants;
mod dir;
mod error;
mod heat;
mod key;
pub mod loader;
mod manifest;
pub mod object;
mod room;
mod store;
mod sys;
mod temp;
mod trusted;
pub mod verified;

pub use auth::ManifestKey;
pub use container::{HEADER_LEN, MAX_DATA_LEN, StoredArtifact};
pub use determinants::{BuildId, Determinants, FORMAT, Inputs};
pub use dir::{DirArtifactStore, DirOptions};
pub use error::{
    ArtifactError, AuthenticationProblem, FileProblem, FolderProblem, IoProblem, ManifestField,
};
pub use heat::{HeatEntry, HeatList};
pub use key::ArtifactKey;
pub use manifest::{ArtifactManifest, MAX_MANIFEST_LEN};
pub use room::StoreUsage;
pub use store::{ArtifactIndex, ArtifactStore, IndexEntry, Rejected, Stored};
pub use temp::TempArtifactStore;
pub use trusted::TrustedStore;
pub use verified::{SealedArtifact, Verified};

use alloy_primitives::{B256, Bytes, keccak256};
use loader::LoadedLibrary;
use object::{Layout, Machine};
use std::time::SystemTime;

/// Machine code of this process, to make an artifact of.
pub(crate) struct Code<'a> {
    /// keccak-256 of the bytecode.
    pub(crate) code_hash: B256,
    /// Bytes of bytecode.
    pub(crate) bytecode_len: usize,
    /// Everything else that decided the code.
    pub(crate) determinants: &'a Determinants,
    /// Bytes of machine code.
    pub(crate) text_len: usize,
    /// Entries of the table through which it calls out.
    pub(crate) table_entries: usize,
    /// What the translator needs beside the code.
    pub(crate) data: Bytes,
    /// Runs in which it was compared with the interpreter.
    pub(crate) trial_runs: u64,
}

/// Makes an artifact. `link` gives the machine code for a table that stands so many bytes after the
/// code's first one. Pure computation: no compiler, assembler or linker runs, nothing is stored.
///
/// The crate's own translators call this, with code that they made by the facts they name: what
/// comes out is trusted (V1).
///
/// # Errors
/// [`ArtifactError::Unsupported`] where artifacts are not implemented, [`ArtifactError::TooLarge`]
/// for code or data beyond their bounds, and what `link` fails with.
pub(crate) fn build(
    code: Code<'_>,
    link: impl FnOnce(usize) -> Result<Vec<u8>, ArtifactError>,
) -> Result<Verified, ArtifactError> {
    let bound = |what, len: usize, limit: usize| {
        ArtifactError::bound(what, len as u64, limit as u64).map(|len| len as u32)
    };
    let created = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut manifest = ArtifactManifest {
        code_hash: code.code_hash,
        determinants: code.determinants.clone(),
        bytecode_len: bound("bytecode", code.bytecode_len, u32::MAX as usize)?,
        table_entries: bound(
            "builtin table",
            code.table_entries,
            object::MAX_TABLE_ENTRIES,
        )?,
        symbol: String::new(),
        text_len: code.text_len as u64,
        library_len: 0,
        library_hash: B256::ZERO,
        data_len: bound("data", code.data.len(), MAX_DATA_LEN)?,
        data_hash: keccak256(&code.data),
        trial_runs: code.trial_runs,
        created: created.as_secs(),
    };
    manifest.symbol = manifest.expected_symbol();
    let machine = Machine::host()?;
    let layout = Layout::new(machine, &manifest.symbol, code.text_len, code.table_entries)?;
    let library = layout.write(&link(layout.table_offset())?)?;
    manifest.library_len = library.len() as u64;
    manifest.library_hash = keccak256(&library);
    Ok(Verified::new(StoredArtifact {
        manifest,
        library: library.into(),
        data: code.data,
    }))
}

/// An artifact in memory: its code ready to run, and what the translator kept beside it.
///
/// To run it takes `unsafe` code that knows the translator's conventions.
#[derive(Debug)]
pub struct LoadedArtifact {
    /// The code; mapped while this lives.
    pub library: LoadedLibrary,
    /// The translator's data.
    pub data: Bytes,
    /// Bytes of bytecode that it was compiled from.
    pub bytecode_len: usize,
}

/// Loads an artifact of `code_hash` into this process, for the translator whose code depends on
/// `wanted` and calls out through `table`. Nothing of it runs.
///
/// Blocks on some system calls; not for an execution thread.
///
/// # Errors
/// [`ArtifactError::Mismatch`] if it is another program's or another translator's, then as
/// [`LoadedLibrary::open`].
pub fn load(
    artifact: &Verified,
    code_hash: B256,
    wanted: &Determinants,
    table: &[usize],
) -> Result<LoadedArtifact, ArtifactError> {
    let manifest = artifact.manifest();
    manifest.check(code_hash, wanted)?;
    let library = LoadedLibrary::open(&manifest.layout()?, artifact.library(), table)?;
    Ok(LoadedArtifact {
        library,
        // A copy: what was read also holds the library.
        data: Bytes::copy_from_slice(artifact.data()),
        bytecode_len: manifest.bytecode_len as usize,
    })
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// `mov eax, 42; ret`
    const TEXT: [u8; 6] = [0xb8, 42, 0, 0, 0, 0xc3];

    fn inputs(abi_version: u32) -> Determinants {
        Determinants::new(&Inputs {
            translator: "test",
            generator: "hand 1.0",
            compiler_version: 1,
            abi_version,
            rules: "none",
            options: "none",
            cpu_features: &[],
            further: &[],
        })
        .unwrap()
    }

    fn made(code_hash: B256, determinants: &Determinants, data: Bytes) -> Verified {
        let code = Code {
            code_hash,
            bytecode_len: 7,
            determinants,
            text_len: TEXT.len(),
            table_entries: 0,
            data,
            trial_runs: 0,
        };
        build(code, |_| Ok(TEXT.to_vec())).unwrap()
    }

    /// A translator with a table of data beside its code, and none of functions.
    #[test]
    fn code_without_builtins_and_its_data_come_back() {
        let store = TrustedStore::from(TempArtifactStore::new(DirOptions::default()).unwrap());
        let (wanted, code_hash) = (inputs(1), B256::repeat_byte(1));
        for data in [Bytes::new(), (0..=255).cycle().take(100_000).collect()] {
            let verified = made(code_hash, &wanted, data.clone());
            store.store(&verified).unwrap();
            let found = store.load(code_hash, &wanted).unwrap().unwrap();
            let loaded = load(&found, code_hash, &wanted, &[]).unwrap();
            assert_eq!((&loaded.data, loaded.bytecode_len), (&data, 7));
            let entry = loaded.library.entry();
            // SAFETY: V1: the code is the function above, mapped as long as `loaded` lives (L3).
            let run = unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> u32>(entry) };
            assert_eq!(run(), 42);
        }
    }

    /// A verified artifact is no other program's, and no other translator's.
    #[test]
    fn what_is_verified_is_loaded_as_itself_only() {
        let (wanted, code_hash) = (inputs(1), B256::repeat_byte(1));
        let verified = made(code_hash, &wanted, Bytes::new());
        let field = |result: Result<LoadedArtifact, ArtifactError>| match result {
            Err(ArtifactError::Mismatch { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            field(load(&verified, code_hash, &inputs(2), &[])),
            ManifestField::Determinant("abi-version".into())
        );
        assert_eq!(
            field(load(&verified, B256::repeat_byte(2), &wanted, &[])),
            ManifestField::CodeHash
        );
        assert_eq!(
            field(load(&verified, code_hash, &wanted, &[0])),
            ManifestField::TableEntries
        );
        let store = Arc::new(TempArtifactStore::new(DirOptions::default()).unwrap());
        store.store(&verified.seal(None).unwrap()).unwrap();
        let trusted = TrustedStore::from(store);
        assert!(trusted.load(code_hash, &inputs(2)).unwrap().is_none());
        assert!(trusted.load(code_hash, &wanted).unwrap().is_some());
    }
}
