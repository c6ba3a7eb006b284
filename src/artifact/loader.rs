//! Loading of a verified shared object: exactly the bytes that were verified, and nothing runs.
//!
//! The road is: the bytes in memory are checked against the fixed form ([`Layout::verify`]), copied
//! into an anonymous file (`memfd_create(2)`) which is then sealed against every change, and
//! opened by `dlopen(3)` through `/proc/self/fd`. The file in the folder plays no part any more,
//! so exchanging it between check and load changes nothing.
//!
//! Where `memfd_create` is missing or forbidden (Linux before 3.17, some seccomp profiles) or
//! `/proc` is not mounted, loading is a typed error and the caller compiles instead. A copy in a
//! private folder would work there too, but it would bring back a path that somebody could
//! exchange.
//!
//! Invariants:
//! - **L1**: what is mapped executable equals the verified machine code. glibc answers a `dlopen`
//!   for a path, or for a device and inode, that it already has with the *old* object. Each load
//!   therefore uses a path that this process has never used, and the result is checked: the name
//!   under which the object is known is that path, and its machine code in memory is compared.
//! - **L2**: the builtin table is written once, while no program can run, and is read-only
//!   afterwards.
//! - **L3**: the object stays mapped as long as its [`LoadedLibrary`] lives; dropping that calls
//!   `dlclose(3)`. Both take the process-wide loader lock and system calls, so both belong on the
//!   thread that manages programs, never on one that executes them.
//! - **L4**: at most [`max_loaded`] objects are loaded at a time, so that artifacts never starve
//!   the process of memory mappings (`vm.max_map_count`), without which it cannot allocate.
//! - **L5**: whoever opens an object sees all that was done to objects that were mapped at the same
//!   addresses before. Closing releases a counter *before* it unmaps, opening acquires it *after*
//!   it has mapped. The system loader's own lock puts the two in that order (addresses are not
//!   given out again before they are unmapped), so the acquire reads what the release wrote; but no
//!   interface promises that this lock orders the caller's accesses, and ThreadSanitizer sees
//!   nothing of it. With either side relaxed, it finds a race in `places_change_hands`
//!   (`.ci/sanitize thread artifact_object`).
//!
//! # Costs
//!
//! A loaded object takes the machine code's pages and three more, four memory mappings, and no file
//! descriptor. glibc goes through all its objects several times in each `dlopen` and `dlclose`:
//! a load takes some 0.1 ms while a hundred are loaded, 0.2 ms at a thousand, several milliseconds
//! at ten thousand.
//!
//! musl's `dlclose` does not unmap: there, evicted programs keep their address space.

// Elsewhere nothing is loaded yet.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

use super::{
    error::{ArtifactError, ManifestField},
    object::Layout,
};
use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

/// Memory mappings of one loaded object: headers, code, dynamic section, table.
const MAPPINGS: usize = 4;

/// Objects that are loaded now (**L4**). Relaxed throughout: a count that orders nothing.
static LOADED: AtomicUsize = AtomicUsize::new(0);

/// Counts closed objects, for the order of **L5** alone: the number may wrap.
static CLOSED: AtomicUsize = AtomicUsize::new(0);

/// How many objects may be loaded at a time: a quarter of `vm.max_map_count`, of which Linux grants
/// 65,530 by default (proc_sys_vm(5)), in mappings. Machine code that was compiled in the process
/// may take another half.
pub fn max_loaded() -> usize {
    static MAX: OnceLock<usize> = OnceLock::new();
    *MAX.get_or_init(|| {
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count");
        let limit = limit.ok().and_then(|text| text.trim().parse().ok());
        limit.unwrap_or(65_530) / 4 / MAPPINGS
    })
}

/// One of the places that [`max_loaded`] counts.
#[derive(Debug)]
struct Place(());

impl Place {
    fn take() -> Result<Self, ArtifactError> {
        let limit = max_loaded();
        let count = |loaded| (loaded < limit).then_some(loaded + 1);
        match LOADED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count) {
            Ok(_) => Ok(Self(())),
            Err(_) => Err(ArtifactError::TooManyLoaded { limit }),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LOADED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A shared object in memory, ready to run.
#[derive(Debug)]
pub struct LoadedLibrary {
    /// Unmaps when dropped (**L3**); held only for that.
    #[cfg(target_os = "linux")]
    _object: linux::Object,
    /// Given back after the object is unmapped.
    _place: Place,
    entry: *const u8,
    text_len: usize,
    mapped_len: usize,
}

// SAFETY: the entry is an address of immutable memory (L2) that lives as long as `self` (L3);
// `dlclose` may be called from any thread.
unsafe impl Send for LoadedLibrary {}
// SAFETY: L2, L3; nothing is reachable through a shared reference but plain values.
unsafe impl Sync for LoadedLibrary {}

impl LoadedLibrary {
    /// First instruction of the program; valid while `self` lives.
    pub fn entry(&self) -> *const u8 {
        self.entry
    }

    /// Bytes of machine code, from [`entry`](Self::entry) on.
    pub fn text_len(&self) -> usize {
        self.text_len
    }

    /// Bytes of address space that the object takes.
    pub fn mapped_len(&self) -> usize {
        self.mapped_len
    }

    /// Verifies `library` against `layout`, loads it, and fills its builtin table with `table`.
    ///
    /// Nothing of the library runs. Blocks on system calls and on the process-wide loader lock.
    ///
    /// # Errors
    /// [`ArtifactError::Length`] and [`ArtifactError::Object`] as [`Layout::verify`];
    /// [`ArtifactError::Mismatch`] if `table` has another length than was laid out;
    /// [`ArtifactError::Unsupported`] where loading is not possible;
    /// [`ArtifactError::TooManyLoaded`] by **L4**; [`ArtifactError::Io`] and [`ArtifactError::Loader`] if the system refuses (no memory, too
    /// many open files or mappings).
    #[cfg(target_os = "linux")]
    pub fn open(
        layout: &Layout<'_>,
        library: &[u8],
        table: &[usize],
    ) -> Result<Self, ArtifactError> {
        let text = layout.verify(library)?;
        let (expected, found) = (table.len(), layout.table_entries());
        ArtifactError::same(ManifestField::TableEntries, expected, found)?;
        linux::open(layout, library, text, table, Place::take()?)
    }

    /// Not implemented for this system.
    ///
    /// # Errors
    /// Always [`ArtifactError::Unsupported`].
    #[cfg(not(target_os = "linux"))]
    pub fn open(
        _layout: &Layout<'_>,
        _library: &[u8],
        _table: &[usize],
    ) -> Result<Self, ArtifactError> {
        Err(ArtifactError::Unsupported {
            what: "loading artifacts outside Linux",
        })
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{super::object::TABLE_SYMBOL, ArtifactError, CLOSED, Layout, LoadedLibrary, Place};
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    use std::{
        ffi::CStr,
        fs::File,
        io::{self, Write},
        os::fd::{AsRawFd, FromRawFd},
        path::Path,
        sync::atomic::{AtomicU64, Ordering},
    };

    const DESCRIPTORS: &str = "/proc/self/fd/";

    /// What the system loader opened; closes it when dropped (**L3**).
    #[derive(Debug)]
    pub(super) struct Object(Library);

    impl Object {
        /// Takes over an object that was just opened.
        fn new(library: Library) -> Self {
            // Acquire: pairs with the release of every object closed before this one was mapped (L5).
            // Each such release is part of the release sequence that this reads from, as all other
            // writes are read-modify-writes.
            CLOSED.load(Ordering::Acquire);
            Self(library)
        }
    }

    impl Drop for Object {
        fn drop(&mut self) {
            // Release: before the field is dropped, which unmaps (L5).
            CLOSED.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn open(
        layout: &Layout<'_>,
        library: &[u8],
        text: &[u8],
        table: &[usize],
        place: Place,
    ) -> Result<LoadedLibrary, ArtifactError> {
        let file = sealed_copy(library)?;
        let path = unused_path(&file);
        // SAFETY: `layout.verify` accepted the bytes (O1): the object has no initialiser and no
        // dependency, so opening it runs no code. The path leads to a sealed copy of them.
        let opened = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        let object = opened.map(Object::new).map_err(|error| {
            if Path::new(DESCRIPTORS).exists() {
                refused("dlopen", error.to_string())
            } else {
                ArtifactError::Unsupported {
                    what: "loading artifacts without /proc",
                }
            }
        })?;
        let entry = address(&object, layout.symbol())?;
        let slots = address(&object, TABLE_SYMBOL)?;

        check_identity(&path, entry)?;
        if (slots as usize).wrapping_sub(entry as usize) != layout.table_offset() {
            return Err(refused(
                "symbol lookup",
                "the table is not where it was laid out".into(),
            ));
        }
        // SAFETY: the object is mapped (L3) and is the one just opened (checked above); `.text`
        // has this length in it.
        let mapped = unsafe { std::slice::from_raw_parts(entry, text.len()) };
        if mapped != text {
            return Err(refused(
                "comparison",
                "the mapped code is not the verified code".into(),
            ));
        }
        // SAFETY: `.builtins` holds `table.len()` words at `slots`, page-aligned and writable, and
        // nothing else refers to it yet (L2).
        unsafe { fill(slots.cast_mut().cast(), table)? };
        Ok(LoadedLibrary {
            _object: object,
            _place: place,
            entry,
            text_len: text.len(),
            mapped_len: layout.mapped_len(),
        })
    }

    fn refused(step: &'static str, message: String) -> ArtifactError {
        ArtifactError::Loader { step, message }
    }

    /// An anonymous file with these bytes that nobody can change any more.
    fn sealed_copy(bytes: &[u8]) -> Result<File, ArtifactError> {
        const NAME: &CStr = c"revmc-jit-artifact";
        // Without execute permission bits, where the kernel knows the flag (since 6.3): mapping
        // does not need them, and systems with `vm.memfd_noexec=2` ask for it.
        const MFD_NOEXEC_SEAL: libc::c_uint = 8;
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name is a C string; the call has no other requirement (Y1).
        let create = |flags| unsafe { libc::memfd_create(NAME.as_ptr(), flags) };
        let mut fd = create(flags | MFD_NOEXEC_SEAL);
        if fd < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
            fd = create(flags);
        }
        if fd < 0 {
            let error = io::Error::last_os_error();
            return Err(match error.raw_os_error() {
                Some(libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EINVAL) => {
                    ArtifactError::Unsupported {
                        what: "loading artifacts without memfd_create",
                    }
                }
                _ => ArtifactError::io("creating an anonymous file", error),
            });
        }
        // SAFETY: just opened (Y2).
        let mut file = unsafe { File::from_raw_fd(fd) };
        file.write_all(bytes)
            .map_err(|e| ArtifactError::io("filling an anonymous file", e))?;
        let seals =
            libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: plain integers on a descriptor that is open (Y1).
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
            let error = io::Error::last_os_error();
            return Err(ArtifactError::io("sealing an anonymous file", error));
        }
        Ok(file)
    }

    /// A path to the descriptor that this process has not used before (**L1**).
    ///
    /// Descriptor numbers are reused, so a serial number is written into the path in a way that
    /// the kernel ignores: each of its bits as `./` or `/`.
    fn unused_path(file: &File) -> String {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only that each number is given out once matters.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut path = String::from(DESCRIPTORS);
        for bit in 0..u64::BITS - serial.leading_zeros() {
            path.push_str(if serial >> bit & 1 == 1 { "./" } else { "/" });
        }
        path.push_str(&file.as_raw_fd().to_string());
        path
    }

    fn address(object: &Object, name: &str) -> Result<*const u8, ArtifactError> {
        // SAFETY: the symbol is one of those that O1 fixed, and is used as an address only.
        let symbol = unsafe { object.0.get::<*const u8>(name.as_bytes()) };
        let symbol = symbol.map_err(|e| refused("symbol lookup", e.to_string()))?;
        Ok(symbol.as_raw_ptr().cast_const().cast())
    }

    /// Refuses an object that the loader had already (**L1**).
    fn check_identity(path: &str, entry: *const u8) -> Result<(), ArtifactError> {
        // SAFETY: all fields are integers and pointers (Y3).
        let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
        // SAFETY: `dladdr` takes any address and writes `info` when it returns non-zero (Y1).
        let found = unsafe { libc::dladdr(entry.cast(), &mut info) } != 0;
        if found && !info.dli_fname.is_null() {
            // SAFETY: the loader's own C string, which lives as long as the object (L3).
            let name = unsafe { CStr::from_ptr(info.dli_fname) };
            if name.to_bytes() == path.as_bytes() {
                return Ok(());
            }
        }
        Err(refused(
            "identity",
            "the loader answered with another object".into(),
        ))
    }

    /// Writes the table and makes it read-only (**L2**).
    ///
    /// # Safety
    /// `slots` is page-aligned and points to `table.len()` writable words that nothing else uses yet
    /// (L2).
    unsafe fn fill(slots: *mut usize, table: &[usize]) -> Result<(), ArtifactError> {
        if table.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller's promise (L2).
        unsafe { std::ptr::copy_nonoverlapping(table.as_ptr(), slots, table.len()) };
        // SAFETY: the words are page-aligned and alone in their pages, which belong to the object (L2).
        let result = unsafe { libc::mprotect(slots.cast(), size_of_val(table), libc::PROT_READ) };
        if result != 0 {
            let error = io::Error::last_os_error();
            return Err(ArtifactError::io("protecting the builtin table", error));
        }
        Ok(())
    }
}
