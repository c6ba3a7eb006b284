//! What can go wrong with a stored artifact, named so that an operator can act on it.

use std::{error::Error, fmt, io, path::PathBuf, sync::Arc};

/// A manifest fact that has to hold before an artifact may be loaded.
///
/// Used by [`ArtifactError::Mismatch`] to say which one did not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ManifestField {
    /// keccak-256 of the bytecode the artifact was compiled from.
    CodeHash,
    /// One of the facts that decide the code, by its name in
    /// [`Determinants`](super::Determinants).
    Determinant(String),
    /// How many facts decide the code.
    DeterminantCount,
    /// Name of the exported function.
    Symbol,
    /// Number of entries in the builtin table.
    TableEntries,
    /// Length of the machine code in bytes.
    TextLen,
    /// Length of the shared object in bytes.
    LibraryLen,
    /// keccak-256 of the shared object.
    LibraryHash,
    /// Length of the translator's data in bytes.
    DataLen,
    /// keccak-256 of the translator's data.
    DataHash,
}

impl fmt::Display for ManifestField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CodeHash => "code hash",
            Self::Determinant(name) => name,
            Self::DeterminantCount => "number of facts that decide the code",
            Self::Symbol => "symbol",
            Self::TableEntries => "builtin table length",
            Self::TextLen => "text length",
            Self::LibraryLen => "library length",
            Self::LibraryHash => "library keccak-256",
            Self::DataLen => "data length",
            Self::DataHash => "data keccak-256",
        })
    }
}

/// Why a folder may not hold artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FolderProblem {
    /// The path is a symbolic link; only the folder itself is accepted.
    Symlink,
    /// The path ends in `..`: which folder that is depends on where a symbolic link leads.
    Parent,
    /// The path is not a folder.
    NotAFolder,
    /// The folder belongs to somebody else.
    Owner {
        /// User id of the folder's owner.
        found: u32,
        /// Effective user id of this process.
        expected: u32,
    },
    /// Group or others may write into the folder.
    WritableByOthers {
        /// Permission bits found.
        mode: u32,
    },
}

impl fmt::Display for FolderProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symlink => f.write_str("is a symbolic link"),
            Self::Parent => f.write_str("is named as another folder's parent"),
            Self::NotAFolder => f.write_str("is not a folder"),
            Self::Owner { found, expected } => {
                write!(f, "belongs to user {found}, not to user {expected}")
            }
            Self::WritableByOthers { mode } => {
                write!(f, "is writable by group or others (mode {mode:03o})")
            }
        }
    }
}

/// Why a file in the folder is not read as an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileProblem {
    /// The name is not one that this crate gives to artifacts.
    Name,
    /// The file is a symbolic link.
    Symlink,
    /// The file is a folder, device, socket or pipe.
    NotAFile,
    /// The file belongs to somebody else.
    Owner {
        /// User id of the file's owner.
        found: u32,
        /// Effective user id of this process.
        expected: u32,
    },
    /// Group or others may write to the file.
    WritableByOthers {
        /// Permission bits found.
        mode: u32,
    },
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("does not have an artifact's name"),
            Self::Symlink => f.write_str("is a symbolic link"),
            Self::NotAFile => f.write_str("is not a regular file"),
            Self::Owner { found, expected } => {
                write!(f, "belongs to user {found}, not to user {expected}")
            }
            Self::WritableByOthers { mode } => {
                write!(f, "is writable by group or others (mode {mode:03o})")
            }
        }
    }
}

/// Why a manifest was not accepted as authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthenticationProblem {
    /// The store has a key, the artifact carries no authentication code.
    Missing,
    /// The authentication code was not made with the store's key, or the manifest was changed.
    Wrong,
    /// The artifact carries an authentication code, the store has no key to check it with.
    NoKey,
}

impl fmt::Display for AuthenticationProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the artifact carries no authentication code",
            Self::Wrong => "the authentication code does not match the store's key",
            Self::NoKey => "the artifact is authenticated but the store has no key",
        })
    }
}

/// What kind of failure an operation on the folder met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoProblem {
    /// The file system or the user's quota is full (`ENOSPC`, `EDQUOT`).
    DiskFull,
    /// The process may not write a file that large (`EFBIG`).
    FileTooLarge,
    /// The file system is mounted read-only (`EROFS`).
    ReadOnly,
    /// The permission is missing (`EACCES`, `EPERM`).
    PermissionDenied,
    /// The folder, or a file in it, is gone (`ENOENT`, `ESTALE`).
    Vanished,
    /// Too many open files in the process or the system (`EMFILE`, `ENFILE`).
    TooManyOpenFiles,
    /// Anything else; see the source error.
    Other,
}

impl IoProblem {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::DiskFull,
            Some(libc::EFBIG) => Self::FileTooLarge,
            Some(libc::EROFS) => Self::ReadOnly,
            Some(libc::EACCES | libc::EPERM) => Self::PermissionDenied,
            Some(libc::ENOENT | libc::ESTALE) => Self::Vanished,
            Some(libc::EMFILE | libc::ENFILE) => Self::TooManyOpenFiles,
            _ => Self::Other,
        }
    }
}

/// An artifact could not be written, read, verified or loaded.
///
/// Whatever the reason, nothing of the artifact was executed; the caller compiles afresh instead.
#[derive(Debug)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The bytes do not start as an artifact does.
    NotAnArtifact,
    /// The artifact has a format that this version does not read.
    Format {
        /// Format found.
        found: u32,
        /// The one format that is read.
        expected: u32,
    },
    /// There are fewer or more bytes than the header announces.
    Length {
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A length goes beyond its bound; nothing was read or written.
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its length in bytes.
        len: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// Header or manifest do not follow the format.
    Malformed {
        /// The part that does not.
        what: &'static str,
    },
    /// Header or manifest are not the bytes that were written: their keccak-256 differs.
    ManifestDigest,
    /// The manifest is not authentic.
    Authentication(AuthenticationProblem),
    /// The artifact is intact but is not the one that is wanted, or not the one that it says.
    Mismatch {
        /// The fact that does not hold.
        field: ManifestField,
        /// What it has to be.
        expected: String,
        /// What the artifact says.
        found: String,
    },
    /// The shared object is not byte for byte what this crate writes around its machine code.
    Object {
        /// Offset of the first byte that differs.
        offset: usize,
    },
    /// The artifact's program was not compared with the interpreter before it was stored, and this
    /// process loads none of that kind ([`RuntimeTuning::trial`](crate::RuntimeTuning::trial)).
    Untried,
    /// Artifacts are not implemented for this platform.
    Unsupported {
        /// What is missing.
        what: &'static str,
    },
    /// The owner of the translator refused: an unknown struct layout, code that cannot be linked,
    /// data that it cannot read.
    Translator(Arc<dyn Error + Send + Sync>),
    /// The system refused to load the verified bytes.
    Loader {
        /// The step that failed.
        step: &'static str,
        /// What the system said.
        message: String,
    },
    /// As many artifacts are loaded as the process has memory mappings for.
    TooManyLoaded {
        /// How many that is.
        limit: usize,
    },
    /// The folder may not hold artifacts.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        problem: FolderProblem,
    },
    /// A file of the folder is not read as an artifact.
    File {
        /// The file's name in the folder; bytes that are not UTF-8 are replaced.
        name: String,
        /// Why not.
        problem: FileProblem,
    },
    /// The store has reached a bound that its options set, and could not make enough room.
    StoreFull {
        /// What the bound counts.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A store of the caller's panicked; holds the panic's message.
    StorePanicked(String),
    /// The store has not come back from what it was asked before, and is not asked more.
    StoreSilent,
    /// An operation of the file system failed.
    Io {
        /// What was being done.
        operation: &'static str,
        /// The kind of failure.
        problem: IoProblem,
        /// The system's error.
        source: io::Error,
    },
}

impl ArtifactError {
    pub(crate) fn io(operation: &'static str, source: io::Error) -> Self {
        Self::Io {
            operation,
            problem: IoProblem::of(&source),
            source,
        }
    }

    pub(crate) fn mismatch(
        field: ManifestField,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::Mismatch {
            field,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    pub(crate) fn length(found: u64, expected: u64) -> Self {
        Self::Length { found, expected }
    }

    /// Whether there are as many bytes as there have to be.
    pub(crate) fn exact(found: u64, expected: u64) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::length(found, expected))
    }

    /// `len`, if that is not beyond `limit`.
    pub(crate) fn bound(what: &'static str, len: u64, limit: u64) -> Result<u64, Self> {
        if len > limit {
            return Err(Self::TooLarge { what, len, limit });
        }
        Ok(len)
    }

    /// A [mismatch](Self::mismatch) unless both are equal.
    pub(crate) fn same<T: PartialEq + fmt::Display>(
        field: ManifestField,
        expected: T,
        found: T,
    ) -> Result<(), Self> {
        if expected == found {
            return Ok(());
        }
        Err(Self::mismatch(field, expected, found))
    }

    /// Whether the store has no room: by its own bounds, or because the disk has none.
    pub fn is_full(&self) -> bool {
        matches!(
            self,
            Self::StoreFull { .. }
                | Self::Io {
                    problem: IoProblem::DiskFull,
                    ..
                }
        )
    }

    /// Whether the artifact itself was refused, as opposed to the store or the system failing.
    ///
    /// A refused artifact will be refused again: deleting it and compiling afresh is safe.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotAnArtifact
            | Self::Format { .. }
            | Self::Length { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::ManifestDigest
            | Self::Authentication(_)
            | Self::Mismatch { .. }
            | Self::Object { .. }
            | Self::Untried
            | Self::File { .. } => true,
            Self::Unsupported { .. }
            | Self::Translator(_)
            | Self::Loader { .. }
            | Self::TooManyLoaded { .. }
            | Self::Folder { .. }
            | Self::StoreFull { .. }
            | Self::StorePanicked(_)
            | Self::StoreSilent
            | Self::Io { .. } => false,
        }
    }
}

impl ArtifactError {
    /// Whether the stored bytes are not those of the artifact that their name in the store
    /// announces: a [refusal](Self::is_refusal) by every process that could ask for that name.
    ///
    /// Not so a refusal for the sake of the key, the bounds or the demands of this process, or of who
    /// owns the file. (All that decides the code is part of the name.)
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::NotAnArtifact
                | Self::Format { .. }
                | Self::Length { .. }
                | Self::Malformed { .. }
                | Self::ManifestDigest
                | Self::Mismatch { .. }
                | Self::Object { .. }
        )
    }
}

impl fmt::Display for ArtifactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnArtifact => f.write_str("not an artifact"),
            Self::Format { found, expected } => {
                write!(
                    f,
                    "artifact format {found}, but only format {expected} is read"
                )
            }
            Self::Length { found, expected } => {
                write!(f, "artifact has {found} bytes instead of {expected}")
            }
            Self::TooLarge { what, len, limit } => {
                write!(f, "{what}: {len} bytes, more than the bound of {limit}")
            }
            Self::Malformed { what } => write!(f, "malformed {what}"),
            Self::ManifestDigest => f.write_str("the manifest's keccak-256 does not match"),
            Self::Authentication(problem) => write!(f, "manifest not authentic: {problem}"),
            Self::Mismatch {
                field,
                expected,
                found,
            } => {
                write!(f, "{field} is {found}, expected {expected}")
            }
            Self::Object { offset } => {
                write!(
                    f,
                    "the shared object departs from its fixed form at byte {offset}"
                )
            }
            Self::Untried => f.write_str("its program has passed no trial"),
            Self::Unsupported { what } => write!(f, "not supported: {what}"),
            Self::Translator(error) => write!(f, "translator: {error}"),
            Self::Loader { step, message } => write!(f, "loading failed at {step}: {message}"),
            Self::TooManyLoaded { limit } => write!(f, "{limit} artifacts are loaded already"),
            Self::Folder { path, problem } => write!(f, "folder {} {problem}", path.display()),
            Self::File { name, problem } => write!(f, "file {name} {problem}"),
            Self::StoreFull { what, limit } => {
                write!(f, "the store has reached its bound of {limit} {what}")
            }
            Self::StorePanicked(message) => write!(f, "the store panicked: {message}"),
            Self::StoreSilent => f.write_str("the store does not answer"),
            Self::Io {
                operation, source, ..
            } => write!(f, "{operation}: {source}"),
        }
    }
}

impl Error for ArtifactError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Translator(error) => Some(&**error),
            _ => None,
        }
    }
}
