//! File operations relative to an open folder, which the standard library does not offer.
//!
//! Every function takes the folder as a descriptor, so that nothing that happens to the path
//! afterwards (a rename, a symbolic link in its place) can redirect an operation. Names are single
//! components: callers pass only names that they made or that `readdir(3)` returned.
//!
//! # Invariants
//!
//! - **Y1**: a system call gets what its manual page asks: an open descriptor, borrowed from its
//!   owner for the call; a C string; memory of the right type for an answer; and as many arguments
//!   as its flags take. It touches nothing else.
//! - **Y2**: a descriptor that a call returned belongs to nobody until it is given, once, to the
//!   value that closes it.
//! - **Y3**: a structure that the system fills consists of integers and raw pointers, for which
//!   zero is a value.
//! - **Y4**: a folder's stream is open from [`Entries::new`] to its drop, and used by that value
//!   only; a name in it is read before the next call.
//! - **Y5**: the address of the error number is that of the calling thread, and valid.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What `fstat(2)` says of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    pub(super) is_file: bool,
    pub(super) is_folder: bool,
    pub(super) is_symlink: bool,
    /// Owner's user id.
    pub(super) owner: u32,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) len: u64,
    pub(super) modified: SystemTime,
}

impl Status {
    fn new(stat: &libc::stat) -> Self {
        let kind = stat.st_mode & libc::S_IFMT;
        let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        let nanos = Duration::from_nanos(u64::try_from(stat.st_mtime_nsec).unwrap_or(0));
        Self {
            is_file: kind == libc::S_IFREG,
            is_folder: kind == libc::S_IFDIR,
            is_symlink: kind == libc::S_IFLNK,
            owner: stat.st_uid,
            // The type's width differs between systems.
            #[allow(clippy::unnecessary_cast)]
            mode: (stat.st_mode & 0o7777) as u32,
            len: u64::try_from(stat.st_size).unwrap_or(0),
            modified: UNIX_EPOCH
                .checked_add(seconds + nanos)
                .unwrap_or(UNIX_EPOCH),
        }
    }
}

/// Effective user id of this process.
pub(super) fn effective_user() -> u32 {
    // SAFETY: Y1: it takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// `mkdir(2)` with the given permissions.
pub(super) fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(mode).create(path)
}

/// Opens the folder itself; a symbolic link in its place is `ELOOP` or `ENOTDIR`.
pub(super) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: Y1: a C string and flags that take no further argument.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags) })?;
    // SAFETY: Y2: just opened.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `lstat(2)`.
pub(super) fn path_status(path: &Path) -> io::Result<Status> {
    status_at(libc::AT_FDCWD, &c_path(path)?)
}

/// `fstat(2)`.
pub(super) fn status(file: &impl AsRawFd) -> io::Result<Status> {
    // SAFETY: Y3: all fields are integers.
    let mut stat = unsafe { std::mem::zeroed() };
    // SAFETY: Y1: an open descriptor and memory for the answer.
    check(unsafe { libc::fstat(file.as_raw_fd(), &mut stat) })?;
    Ok(Status::new(&stat))
}

/// Status of an entry, not following symbolic links.
pub(super) fn entry_status(folder: &OwnedFd, name: &CStr) -> io::Result<Status> {
    status_at(folder.as_raw_fd(), name)
}

fn status_at(folder: RawFd, name: &CStr) -> io::Result<Status> {
    // SAFETY: Y3: all fields are integers.
    let mut stat = unsafe { std::mem::zeroed() };
    // SAFETY: Y1: an open descriptor or `AT_FDCWD`, a C string, memory for the answer.
    check(unsafe { libc::fstatat(folder, name.as_ptr(), &mut stat, libc::AT_SYMLINK_NOFOLLOW) })?;
    Ok(Status::new(&stat))
}

/// Opens an entry for reading; never follows a symbolic link (`ELOOP`), never waits for a pipe.
pub(super) fn open_entry(folder: &OwnedFd, name: &CStr) -> io::Result<File> {
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: Y1: an open descriptor, a C string, and flags that take no further argument.
    let fd = check(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags) })?;
    // SAFETY: Y2: just opened.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Creates an entry that did not exist, for its owner only.
pub(super) fn create_entry(folder: &OwnedFd, name: &CStr) -> io::Result<File> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let mode: libc::c_uint = 0o600;
    // SAFETY: Y1: an open descriptor, a C string, and the mode that `O_CREAT` asks for.
    let fd = check(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags, mode) })?;
    // SAFETY: Y2: just opened.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Renames within the folder, replacing what has the new name.
pub(super) fn rename(folder: &OwnedFd, from: &CStr, to: &CStr) -> io::Result<()> {
    let fd = folder.as_raw_fd();
    // SAFETY: Y1: an open descriptor and two C strings.
    check(unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) })?;
    Ok(())
}

/// Removes a file from the folder.
pub(super) fn remove(folder: &OwnedFd, name: &CStr) -> io::Result<()> {
    // SAFETY: Y1: an open descriptor and a C string.
    check(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) })?;
    Ok(())
}

/// Makes renames and removals in the folder durable.
pub(super) fn sync_folder(folder: &OwnedFd) -> io::Result<()> {
    // SAFETY: Y1: an open descriptor.
    check(unsafe { libc::fsync(folder.as_raw_fd()) })?;
    Ok(())
}

/// Takes the file's advisory lock without waiting; false if another open file holds it.
///
/// The lock goes when the file is closed, also by the death of the process.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: Y1: an open descriptor.
    match check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// The folder's entries, read one after the other.
#[derive(Debug)]
pub(super) struct Entries(*mut libc::DIR);

// SAFETY: Y4: the stream belongs to the value alone, and the system's functions take it from any
// thread, one at a time, which `&mut self` and ownership ensure.
unsafe impl Send for Entries {}

impl Entries {
    /// Starts at the first entry, independently of other readers of the folder.
    pub(super) fn new(folder: &OwnedFd) -> io::Result<Self> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: Y1: an open descriptor, a C string, and flags that take no further argument.
        let fd = check(unsafe { libc::openat(folder.as_raw_fd(), c".".as_ptr(), flags) })?;
        // SAFETY: Y2: just opened; on success it belongs to the stream.
        let stream = unsafe { libc::fdopendir(fd) };
        if stream.is_null() {
            let error = io::Error::last_os_error();
            // SAFETY: Y2: the stream did not take the descriptor.
            unsafe { libc::close(fd) };
            return Err(error);
        }
        Ok(Self(stream))
    }

    /// The next entry's name, without `.` and `..`.
    pub(super) fn next(&mut self) -> io::Result<Option<CString>> {
        loop {
            set_errno(0);
            // SAFETY: Y4.
            let entry = unsafe { libc::readdir(self.0) };
            if entry.is_null() {
                let error = io::Error::last_os_error();
                return if error.raw_os_error() == Some(0) {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
            // SAFETY: Y4: `d_name` is a C string that lives until the next call. The address is taken
            // without a reference: the entry may be shorter than the struct.
            let name = unsafe { CStr::from_ptr((&raw const (*entry).d_name).cast()) };
            if name != c"." && name != c".." {
                return Ok(Some(name.to_owned()));
            }
        }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        // SAFETY: Y4: open, and not used afterwards.
        unsafe { libc::closedir(self.0) };
    }
}

fn set_errno(value: libc::c_int) {
    #[cfg(target_os = "linux")]
    // SAFETY: Y5.
    unsafe {
        *libc::__errno_location() = value
    }
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    // SAFETY: Y5.
    unsafe {
        *libc::__error() = value
    }
    #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
    // SAFETY: Y5.
    unsafe {
        *libc::__errno() = value
    }
}
