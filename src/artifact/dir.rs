//! A folder of artifacts that several processes share.
//!
//! # Invariants
//!
//! - **D1**: an artifact's name appears only by `renameat(2)` of a complete, synchronised file: a
//!   crash at any point leaves the earlier artifact or the new one. After `store` returns, folder
//!   and file have been synchronised.
//! - **D2**: every operation on an entry is relative to the open folder and never follows a symbolic
//!   link in it.
//! - **D3**: a temporary file is locked (`flock(2)`) by its writer for as long as it writes. It is
//!   removed as a leftover only if it is older than [`DirOptions::leftover_age`] and the lock is
//!   free, so only if its writer is dead. A file system without locks keeps leftovers until
//!   somebody removes them.
//! - **D4**: no operation on a single artifact reads the whole folder. What has to be known of the
//!   folder for one is gathered bit by bit ([`room`](super::room)).
//!
//! A file's modification time is when its artifact was last used: writing sets it, and loading sets
//! it again if it is older than [`DirOptions::recency`]; so does [`ArtifactStore::renew`].

use super::{
    container::HEADER_LEN,
    determinants::BuildId,
    error::{ArtifactError, FileProblem, FolderProblem},
    heat::HeatList,
    key::ArtifactKey,
    room::{Room, SCAN, StoreUsage},
    store::{ArtifactIndex, ArtifactStore, IndexEntry, Stored},
    sys::{self, Status},
    verified::SealedArtifact,
};
use alloy_primitives::Bytes;
use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// What temporary files start with.
const TEMPORARY: &str = ".store-";

/// The file of [`ArtifactStore::store_heat`].
const HEAT: &CStr = c"heat.list";

/// How often a store is begun again when its temporary file vanishes.
const ATTEMPTS: usize = 3;

/// Bounds of a [`DirArtifactStore`].
#[derive(Clone, Debug)]
pub struct DirOptions {
    /// Bound of one artifact's length in bytes; longer ones are neither written nor read. 64 MiB.
    pub max_artifact_bytes: u64,
    /// Bound of all artifacts' lengths in bytes; beyond, those go that were used longest ago. 16 GiB.
    pub max_total_bytes: u64,
    /// Bound of the number of artifacts; beyond, those go that were used longest ago. The index ends
    /// at a quarter more. 1,000,000.
    pub max_artifacts: usize,
    /// How exactly the last use of an artifact is remembered: loading writes the file's time only
    /// if it is older than this. Ten minutes.
    pub recency: Duration,
    /// How old an abandoned temporary file has to be to be removed. One minute.
    pub leftover_age: Duration,
}

impl Default for DirOptions {
    fn default() -> Self {
        Self {
            max_artifact_bytes: 64 << 20,
            max_total_bytes: 16 << 30,
            max_artifacts: 1_000_000,
            recency: Duration::from_secs(600),
            leftover_age: Duration::from_secs(60),
        }
    }
}

/// A folder of artifacts, durable and shared between processes. The list of what was hot
/// ([`ArtifactStore::store_heat`]) is the file `heat.list` in it; of several processes, the one that writes
/// last leaves its own.
///
/// # Trust
///
/// Whoever can write into the folder decides which machine code runs in this process, within the
/// limits of the manifest's checks. The folder therefore has to belong to the process's effective
/// user and must not be writable by group or others, which is checked when it is opened and before
/// each operation; so has each file. (A POSIX access list that lets others write shows in the group
/// bits, and is refused too.) The folders above it are not checked: the folder stays open as a
/// descriptor, so nobody can exchange it afterwards, and whoever exchanges it before can only put
/// another folder of the same user in its place. With
/// [`TrustedStore::authenticated`](super::TrustedStore::authenticated) none of this has to be relied
/// on: an artifact that was written without the key is refused. (Putting back an older one that has
/// the same name changes nothing: the name says all that decides what the code does.)
///
/// # A bound on file sizes
///
/// Where the process has one (`RLIMIT_FSIZE`), it should ignore `SIGXFSZ`, which ends it by default when an
/// artifact goes over: then that is [`IoProblem::FileTooLarge`](super::IoProblem::FileTooLarge).
#[derive(Debug)]
pub struct DirArtifactStore {
    /// What every operation is relative to (D2).
    folder: OwnedFd,
    path: PathBuf,
    options: DirOptions,
    room: Mutex<Room>,
}

impl DirArtifactStore {
    /// Opens a folder, creating it (but not the folders above it) for this user only if it is
    /// missing. The path may not lead to the folder through a symbolic link as its last part, however
    /// it is written.
    ///
    /// ```
    /// use revmc_jit::artifact::{ArtifactStore, DirArtifactStore, DirOptions};
    ///
    /// # let parent = std::env::temp_dir().join(format!("artifacts-{}", std::process::id()));
    /// # std::fs::create_dir_all(&parent)?;
    /// let store = DirArtifactStore::open(parent.join("artifacts"), DirOptions::default())?;
    /// assert!(store.load_all()?.entries.is_empty());
    /// # std::fs::remove_dir_all(&parent)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ArtifactError::Folder`] if it may not hold artifacts, [`ArtifactError::Io`] if it cannot
    /// be created or opened.
    pub fn open(path: impl Into<PathBuf>, options: DirOptions) -> Result<Self, ArtifactError> {
        let path = normal(&path.into())?;
        match sys::create_folder(&path, 0o700) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(ArtifactError::io("creating the folder", e));
            }
            _ => {}
        }
        let folder = sys::open_folder(&path).map_err(|error| match sys::path_status(&path) {
            Ok(status) if status.is_symlink => folder_error(&path, FolderProblem::Symlink),
            Ok(status) if !status.is_folder => folder_error(&path, FolderProblem::NotAFolder),
            _ => ArtifactError::io("opening the folder", error),
        })?;
        let room = Mutex::new(Room::new(StoreUsage {
            artifacts: options.max_artifacts,
            bytes: options.max_total_bytes,
        }));
        let store = Self {
            folder,
            path,
            options,
            room,
        };
        store.check_folder()?;
        Ok(store)
    }

    /// The path that the folder was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number and bytes of artifacts as last known; reads nothing. Zero before the folder was listed,
    /// or, bit by bit, gone through once.
    pub fn usage(&self) -> StoreUsage {
        self.with_room(|room| room.usage())
    }

    /// Removes the artifacts that builds other than `keep` made, for instance an earlier version
    /// of the program, and returns their number.
    ///
    /// # Errors
    /// [`ArtifactError::Folder`], or [`ArtifactError::Io`] if one could not be removed.
    pub fn prune(&self, keep: &[BuildId]) -> Result<usize, ArtifactError> {
        self.remove_where(|key| !keep.contains(&key.build))
    }

    fn check_folder(&self) -> Result<(), ArtifactError> {
        let status =
            sys::status(&self.folder).map_err(|e| ArtifactError::io("checking the folder", e))?;
        let problem = foreign(
            &status,
            |found, expected| FolderProblem::Owner { found, expected },
            |mode| FolderProblem::WritableByOthers { mode },
        );
        problem.map_or(Ok(()), |problem| Err(folder_error(&self.path, problem)))
    }

    fn with_room<R>(&self, f: impl FnOnce(&mut Room) -> R) -> R {
        // What a panic could leave in it is wrong numbers, which the next round puts right.
        f(&mut self.room.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads a file if its length passes `check`; `None` if it is not there.
    fn read(
        &self,
        name: &CStr,
        check: impl FnOnce(u64) -> Result<(), ArtifactError>,
    ) -> Result<Option<Bytes>, ArtifactError> {
        let mut file = match sys::open_entry(&self.folder, name) {
            Ok(file) => file,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            // D2.
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
                return Err(file_error(name, FileProblem::Symlink));
            }
            Err(e) if e.raw_os_error() == Some(libc::ENXIO) => {
                return Err(file_error(name, FileProblem::NotAFile));
            }
            Err(e) => return Err(ArtifactError::io("opening an artifact", e)),
        };
        let status =
            sys::status(&file).map_err(|e| ArtifactError::io("checking an artifact", e))?;
        self.check_file(name, &status)?;
        check(status.len)?;
        self.note_use(&file, &status);
        // One byte more than announced shows a file that grows.
        let mut bytes = Vec::with_capacity(status.len as usize + 1);
        (&mut file)
            .take(status.len + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| ArtifactError::io("reading an artifact", e))?;
        ArtifactError::exact(bytes.len() as u64, status.len)?;
        Ok(Some(bytes.into()))
    }

    fn check_file(&self, name: &CStr, status: &Status) -> Result<(), ArtifactError> {
        if status.is_symlink {
            return Err(file_error(name, FileProblem::Symlink));
        }
        if !status.is_file {
            return Err(file_error(name, FileProblem::NotAFile));
        }
        let problem = foreign(
            status,
            |found, expected| FileProblem::Owner { found, expected },
            |mode| FileProblem::WritableByOthers { mode },
        );
        problem.map_or(Ok(()), |problem| Err(file_error(name, problem)))
    }

    fn check_len(&self, len: u64) -> Result<(), ArtifactError> {
        ArtifactError::bound("artifact", len, self.options.max_artifact_bytes)?;
        if len < HEADER_LEN as u64 {
            return Err(ArtifactError::length(len, HEADER_LEN as u64));
        }
        Ok(())
    }

    /// Renews the time of last use. If it cannot be, on a read-only file system for instance, the
    /// artifact is only taken to be older than it is.
    fn note_use(&self, file: &File, status: &Status) {
        let now = SystemTime::now();
        // A time in the future is wrong, too: the clock was put back.
        let is_recent = now
            .duration_since(status.modified)
            .is_ok_and(|age| age < self.options.recency);
        if !is_recent {
            let _ = file.set_modified(now);
        }
    }

    /// Writes a file in place of an earlier one of that name (**D1**).
    fn replace(&self, name: &CStr, bytes: &[u8]) -> Result<(), ArtifactError> {
        for _ in 0..ATTEMPTS {
            if self.write(name, bytes)? {
                return Ok(());
            }
        }
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        Err(ArtifactError::io("renaming an artifact", error))
    }

    /// Writes a new file and gives it `name` (**D1**). False if the temporary file vanished.
    fn write(&self, name: &CStr, bytes: &[u8]) -> Result<bool, ArtifactError> {
        let temporary = temporary_name();
        let mut file = sys::create_entry(&self.folder, &temporary)
            .map_err(|e| ArtifactError::io("creating a temporary file", e))?;
        // D3. A failure leaves the file unlocked, which its age makes up for.
        let _ = sys::try_lock(&file);
        let result = write_and_rename(&self.folder, &mut file, &temporary, name, bytes);
        if result.is_err() {
            // If this fails too, the file is a leftover.
            let _ = sys::remove(&self.folder, &temporary);
        }
        match result {
            Err(("renaming an artifact", e)) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err((operation, e)) => Err(ArtifactError::io(operation, e)),
            Ok(()) => Ok(true),
        }
    }

    /// Removes a temporary file whose writer is dead (**D3**).
    fn remove_leftover(&self, name: &CStr) {
        // Whatever fails here leaves the file to a later attempt.
        let Ok(status) = sys::entry_status(&self.folder, name) else {
            return;
        };
        let age = SystemTime::now()
            .duration_since(status.modified)
            .unwrap_or_default();
        if !status.is_file || age < self.options.leftover_age {
            return;
        }
        let Ok(file) = sys::open_entry(&self.folder, name) else {
            return;
        };
        if let Ok(true) = sys::try_lock(&file) {
            let _ = sys::remove(&self.folder, name);
        }
    }

    fn for_each_name(&self, mut f: impl FnMut(CString)) -> Result<(), ArtifactError> {
        let list = |e| ArtifactError::io("listing the folder", e);
        let mut entries = sys::Entries::new(&self.folder).map_err(list)?;
        while let Some(name) = entries.next().map_err(list)? {
            f(name);
        }
        Ok(())
    }

    fn remove_where(
        &self,
        condition: impl Fn(&ArtifactKey) -> bool,
    ) -> Result<usize, ArtifactError> {
        self.check_folder()?;
        let mut names = Vec::new();
        self.for_each_name(|name| match ArtifactKey::from_c_name(&name) {
            Some(key) if condition(&key) => names.push(name),
            None if is_temporary(&name) => self.remove_leftover(&name),
            _ => {}
        })?;
        let mut removed = 0;
        let mut failed = None;
        for name in names {
            match sys::remove(&self.folder, &name) {
                Ok(()) => removed += 1,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => failed = Some(e),
            }
        }
        self.with_room(Room::forget);
        if removed > 0 {
            self.sync()?;
        }
        failed.map_or(Ok(removed), |e| {
            Err(ArtifactError::io("removing an artifact", e))
        })
    }

    fn sync(&self) -> Result<(), ArtifactError> {
        sys::sync_folder(&self.folder).map_err(|e| ArtifactError::io("synchronising the folder", e))
    }
}

impl ArtifactStore for DirArtifactStore {
    /// Reads names and sizes only; removes leftovers of dead writers on the way.
    fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
        self.check_folder()?;
        let mut index = ArtifactIndex::default();
        self.for_each_name(|name| {
            let text = || name.to_string_lossy().into_owned();
            let Some(key) = ArtifactKey::from_c_name(&name) else {
                if is_temporary(&name) {
                    self.remove_leftover(&name);
                } else if name.as_c_str() != HEAT {
                    index.reject(text(), file_error(&name, FileProblem::Name));
                }
                return;
            };
            // Several processes keep the bound only nearly.
            let bound = self.options.max_artifacts;
            let bound = bound.saturating_add(bound / 4).saturating_add(SCAN);
            if index.entries.len() >= bound {
                let limit = bound as u64;
                index.reject(
                    text(),
                    ArtifactError::StoreFull {
                        what: "artifacts",
                        limit,
                    },
                );
                return;
            }
            let status = match sys::entry_status(&self.folder, &name) {
                Ok(status) => status,
                // Removed by another process since the folder was read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => return,
                Err(e) => {
                    return index.reject(text(), ArtifactError::io("checking an artifact", e));
                }
            };
            let checked = self.check_file(&name, &status);
            match checked.and_then(|()| self.check_len(status.len)) {
                Ok(()) => index.entries.push(IndexEntry {
                    key,
                    stored_len: status.len,
                    last_used: Some(status.modified),
                }),
                Err(error) => index.reject(text(), error),
            }
        })?;
        self.with_room(|room| room.listed(&index.entries));
        Ok(index)
    }

    fn load(&self, key: &ArtifactKey) -> Result<Option<Bytes>, ArtifactError> {
        self.check_folder()?;
        self.read(&key.c_name(), |len| self.check_len(len))
    }

    fn store(&self, artifact: &SealedArtifact) -> Result<Stored, ArtifactError> {
        self.check_folder()?;
        let (key, bytes) = (artifact.key(), artifact.bytes());
        let len = bytes.len() as u64;
        self.check_len(len)?;
        let name = key.c_name();
        let replaced = sys::entry_status(&self.folder, &name)
            .ok()
            .map(|status| status.len);
        // D4: the next piece, and no more.
        self.with_room(|room| {
            room.look(&self.folder, |name| {
                if is_temporary(name) {
                    self.remove_leftover(name);
                }
            });
            room.make(&self.folder, key, len, replaced)
        })?;
        self.replace(&name, bytes)?;
        let removed = self.with_room(|room| room.stored(key, len, replaced));
        Ok(Stored { len, removed })
    }

    fn renew(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactError> {
        self.check_folder()?;
        for key in keys {
            // What cannot be opened will be missed when it is loaded.
            if let Ok(file) = sys::open_entry(&self.folder, &key.c_name())
                && let Ok(status) = sys::status(&file)
                && status.is_file
            {
                self.note_use(&file, &status);
            }
        }
        Ok(())
    }

    fn delete(&self, key: &ArtifactKey) -> Result<bool, ArtifactError> {
        self.check_folder()?;
        let name = key.c_name();
        let len = sys::entry_status(&self.folder, &name).map_or(0, |status| status.len);
        match sys::remove(&self.folder, &name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(ArtifactError::io("removing an artifact", e)),
            Ok(()) => {}
        }
        self.with_room(|room| room.gone(len));
        self.sync()?;
        Ok(true)
    }

    fn clear(&self) -> Result<usize, ArtifactError> {
        let removed = self.remove_where(|_| true)?;
        match sys::remove(&self.folder, HEAT) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(ArtifactError::io("removing the heat list", e))
            }
            _ => Ok(removed),
        }
    }

    fn load_heat(&self) -> Result<Option<Bytes>, ArtifactError> {
        self.check_folder()?;
        self.read(HEAT, HeatList::check_len)
    }

    fn store_heat(&self, list: &Bytes) -> Result<(), ArtifactError> {
        self.check_folder()?;
        self.replace(HEAT, list)
    }
}

/// Whether somebody else than this process's user can change a folder or file, as the problem that it is.
fn foreign<P>(
    status: &Status,
    owner: impl FnOnce(u32, u32) -> P,
    writable: impl FnOnce(u32) -> P,
) -> Option<P> {
    let (found, expected) = (status.owner, sys::effective_user());
    if found != expected {
        return Some(owner(found, expected));
    }
    (status.mode & 0o022 != 0).then(|| writable(status.mode))
}

fn folder_error(path: &Path, problem: FolderProblem) -> ArtifactError {
    ArtifactError::Folder {
        path: path.to_owned(),
        problem,
    }
}

fn file_error(name: &CStr, problem: FileProblem) -> ArtifactError {
    ArtifactError::File {
        name: name.to_string_lossy().into_owned(),
        problem,
    }
}

/// The path as the system is to take it: a slash or a `.` after the last name would have it follow
/// a symbolic link there. A `..` at the end would, too, and cannot be taken away.
fn normal(path: &Path) -> Result<PathBuf, ArtifactError> {
    match path.components().next_back() {
        Some(Component::ParentDir) => Err(folder_error(path, FolderProblem::Parent)),
        _ => Ok(path.components().collect()),
    }
}

fn is_temporary(name: &CStr) -> bool {
    name.to_bytes().starts_with(TEMPORARY.as_bytes())
}

/// A name that no other writer uses: process ids repeat after a crash and between containers, so
/// the time is in it too; `O_EXCL` catches what is left.
fn temporary_name() -> CString {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only that each number is given out once matters.
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let time = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!(
        "{TEMPORARY}{:x}-{:x}-{serial:x}",
        std::process::id(),
        time.as_nanos()
    );
    CString::new(name).expect("hexadecimal digits contain no zero byte")
}

fn write_and_rename(
    folder: &OwnedFd,
    file: &mut File,
    from: &CStr,
    to: &CStr,
    bytes: &[u8],
) -> Result<(), (&'static str, io::Error)> {
    file.write_all(bytes)
        .map_err(|e| ("writing an artifact", e))?;
    file.sync_all()
        .map_err(|e| ("synchronising an artifact", e))?;
    sys::rename(folder, from, to).map_err(|e| ("renaming an artifact", e))?;
    sys::sync_folder(folder).map_err(|e| ("synchronising the folder", e))
}
