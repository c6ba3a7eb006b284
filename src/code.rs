//! Executable memory: written, then executed, never both; many programs in one mapping.
//!
//! # Method
//!
//! A kernel keeps a bounded number of mappings for a process (65,530 by default on Linux), so a
//! mapping of its own for each program makes small programs dear: dense code fills the count long
//! before the memory. Here address space is reserved in *arenas* of [`ARENA_LEN`] without access
//! rights, and a program gets a run of whole pages in one. The pages are made writable, filled,
//! and made executable; the kernel merges neighbours with equal rights, so that an arena is a
//! handful of mappings however many programs it holds.
//!
//! A dropped program's pages lose their contents at once (the memory goes back to the system) and
//! keep their rights, as holes with other rights would split the mapping again. What a stale jump
//! into them would find is zeros. The next program may get them; runs are found by least length
//! that fits, then by lowest address, in the oldest arena that has one, so that young arenas become
//! empty. An empty arena goes back to the system, but for one, so that a program that comes and
//! goes does not cost a reservation each time.
//!
//! Nothing here limits how many programs there are: who makes them has budgets. [`usage`] tells
//! what the process holds.
//!
//! # Invariants
//!
//! * **M1** A page is never writable and executable at the same time. It is writable only between
//!   its taking in [`CodeMemory::new`] and the return from there, while no other part of the process
//!   knows its address, and its contents are constant from then on until it is given back.
//! * **M2** Each page of an arena is free or belongs to exactly one [`CodeMemory`]; only that one
//!   changes its rights or contents. A page that holds two programs' code would break M1.
//! * **M3** An arena is mapped from its making until it is wholly free; it is unmapped once.
//! * **M4** What is declared by hand of the system has the signature that its manual gives.
//! * **M5** A space is used by the process that made it only. (In a forked child its lock may be
//!   held by a thread that is not there: the child makes a space of its own, and code that it
//!   inherited stays mapped for good.)
//!
//! On aarch64 the instruction cache is made coherent before the address is handed out. That path,
//! and macOS, are written to the architecture manuals and not run by this crate's CI.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io, process,
    ptr::{self, NonNull},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
};

/// Bytes of address space in an arena; a longer program gets an arena of its own length.
pub const ARENA_LEN: usize = 64 << 20;

/// Where the address space is limited, smaller arenas are tried, down to this.
const SMALLEST_ARENA: usize = 1 << 20;

/// Empty arenas kept for what comes next.
const SPARE_ARENAS: usize = 1;

/// Why machine code was not given memory: a condition of the system, never the code's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodeError {
    /// The text is longer than any address space.
    TooLong(usize),
    /// A system call failed.
    System {
        /// The call's name.
        call: &'static str,
        /// Its `errno`.
        errno: i32,
    },
}

impl CodeError {
    fn last_os_error(call: &'static str) -> Self {
        Self::System {
            call,
            errno: io::Error::last_os_error().raw_os_error().unwrap_or(0),
        }
    }

    /// Whether other programs' memory could help, if it were given back: not where machine code is forbidden
    /// (by a service's `MemoryDenyWriteExecute`, a security module, a filter of system calls).
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        let forbidden = [libc::EPERM, libc::EACCES, libc::ENOSYS];
        !matches!(self, Self::System { errno, .. } if forbidden.contains(errno))
    }
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "{len} bytes of machine code cannot be mapped"),
            Self::System { call, errno } => {
                write!(f, "{call}: {}", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl std::error::Error for CodeError {}

/// What the process holds of executable memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Live [`CodeMemory`]s.
    pub programs: usize,
    /// Bytes in them, whole pages.
    pub bytes: usize,
    /// Arenas, each a handful of the kernel's mappings.
    pub arenas: usize,
    /// Bytes of address space in these.
    pub reserved: usize,
}

/// What this process holds of executable memory. Waits at most for another thread that takes or
/// gives back some.
pub fn usage() -> Usage {
    Space::of_process().lock().usage()
}

/// Machine code of one program, in whole pages of its own; given back on drop.
#[derive(Debug)]
pub struct CodeMemory {
    base: NonNull<u8>,
    len: usize,
    space: &'static Space,
}

// SAFETY: by M1 and M2 the pages are constant once the value exists; nothing in them is tied to a thread.
unsafe impl Send for CodeMemory {}
// SAFETY: M1; shared references only read.
unsafe impl Sync for CodeMemory {}

impl CodeMemory {
    /// Gives `text` executable memory. Two system calls (one more for a new arena); blocks only as
    /// those do, and for other threads in here.
    ///
    /// # Errors
    ///
    /// [`CodeError`]: the system has no address space, memory or mapping left. The same text may
    /// succeed later.
    pub fn new(text: &[u8]) -> Result<Self, CodeError> {
        let len = text
            .len()
            .max(1)
            .checked_next_multiple_of(page_size())
            .ok_or(CodeError::TooLong(text.len()))?;
        let space = Space::of_process();
        let base = space.lock().take(len)?;
        // Given back whatever happens below.
        let this = Self { base, len, space };
        this.protect(libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: the pages are ours (M2), writable until the next call (M1), and `text.len() <= len`.
        unsafe {
            base.as_ptr()
                .copy_from_nonoverlapping(text.as_ptr(), text.len());
        }
        this.protect(libc::PROT_READ | libc::PROT_EXEC)?;
        synchronize_instruction_cache(base, len);
        Ok(this)
    }

    fn protect(&self, rights: libc::c_int) -> Result<(), CodeError> {
        // SAFETY: whole pages that are ours alone (M2); the rights are those of M1.
        let failed = unsafe { libc::mprotect(self.base.as_ptr().cast(), self.len, rights) };
        if failed == 0 {
            Ok(())
        } else {
            Err(CodeError::last_os_error("mprotect"))
        }
    }

    /// The first byte of the text; valid, and executable, for as long as `self` lives.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes mapped, whole pages.
    pub fn mapped_len(&self) -> usize {
        self.len
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        if self.space.process != process::id() {
            return; // M5
        }
        // A refusal (of locked pages, say) keeps the memory until the pages are used again.
        // SAFETY: pages that are ours (M2) and used no more lose their contents, not their place.
        unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, DISCARD) };
        self.space.lock().give_back(self.base, self.len);
    }
}

#[cfg(target_vendor = "apple")]
const DISCARD: libc::c_int = libc::MADV_FREE;
#[cfg(not(target_vendor = "apple"))]
const DISCARD: libc::c_int = libc::MADV_DONTNEED;

/// The arenas of one process.
#[derive(Debug)]
struct Space {
    process: u32,
    arenas: Mutex<Arenas>,
}

impl Space {
    /// The space of the calling process, made if it has none (M5).
    fn of_process() -> &'static Self {
        static CURRENT: AtomicPtr<Space> = AtomicPtr::new(ptr::null_mut());
        // Acquire: what is found was made by another thread.
        let mut found = CURRENT.load(Ordering::Acquire);
        loop {
            // SAFETY: M5: a space, once shown here, is never freed.
            match unsafe { found.as_ref() } {
                Some(space) if space.process == process::id() => return space,
                _ => {}
            }
            let made = Box::into_raw(Box::new(Self {
                process: process::id(),
                arenas: Mutex::default(),
            }));
            // Release: its contents happen before whoever finds it; Acquire: as above.
            match CURRENT.compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: M5: shown now, and never freed.
                Ok(_) => return unsafe { &*made },
                Err(other) => {
                    found = other;
                    // SAFETY: M5: the exchange failed, so nobody else has seen the box.
                    drop(unsafe { Box::from_raw(made) });
                }
            }
        }
    }

    /// Nothing in the critical sections unwinds, so poison carries no meaning.
    fn lock(&self) -> MutexGuard<'_, Arenas> {
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All arenas of a process, oldest first.
#[derive(Debug, Default)]
struct Arenas {
    arenas: Vec<Arena>,
    programs: usize,
    bytes: usize,
}

impl Arenas {
    fn usage(&self) -> Usage {
        Usage {
            programs: self.programs,
            bytes: self.bytes,
            arenas: self.arenas.len(),
            reserved: self.arenas.iter().map(|arena| arena.len).sum(),
        }
    }

    /// A run of `len` bytes, whole pages.
    fn take(&mut self, len: usize) -> Result<NonNull<u8>, CodeError> {
        let found = self.arenas.iter_mut().find_map(|arena| arena.take(len));
        let base = match found {
            Some(base) => base,
            None => {
                let mut arena = Arena::reserve(len)?;
                let base = arena.take(len).ok_or(CodeError::TooLong(len))?;
                self.arenas.push(arena);
                base
            }
        };
        self.programs += 1;
        self.bytes += len;
        Ok(base)
    }

    /// Takes a run back. Arenas that are empty then go, but for [`SPARE_ARENAS`] of common length.
    fn give_back(&mut self, base: NonNull<u8>, len: usize) {
        self.programs -= 1;
        self.bytes -= len;
        if let Some(arena) = self.arenas.iter_mut().find(|arena| arena.contains(base)) {
            arena.give_back(base, len);
        }
        let mut spares = 0;
        self.arenas.retain(|arena| {
            let spare = arena.is_empty() && arena.len <= ARENA_LEN && spares < SPARE_ARENAS;
            spares += usize::from(spare);
            spare || !arena.is_empty()
        });
    }
}

/// One reservation and its free runs, in bytes from its start, by place and by length.
#[derive(Debug)]
struct Arena {
    base: NonNull<u8>,
    len: usize,
    by_start: BTreeMap<usize, usize>,
    by_len: BTreeSet<(usize, usize)>,
}

// SAFETY: M3: the arena owns its mapping; it is an address and numbers, tied to no thread.
unsafe impl Send for Arena {}

impl Arena {
    /// Address space for at least `len` bytes, whole pages.
    fn reserve(len: usize) -> Result<Self, CodeError> {
        let mut size = ARENA_LEN.max(len);
        loop {
            match Self::map(size) {
                Err(_) if size / 2 >= SMALLEST_ARENA.max(len) => size /= 2,
                Err(error) if size == len => return Err(error),
                Err(_) => size = len,
                mapped => return mapped,
            }
        }
    }

    fn map(len: usize) -> Result<Self, CodeError> {
        // SAFETY: M3: an anonymous mapping at an address of the kernel's choice touches nothing else.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        let mapped = (base != libc::MAP_FAILED).then(|| NonNull::new(base.cast::<u8>()));
        let Some(base) = mapped.flatten() else {
            return Err(CodeError::last_os_error("mmap"));
        };
        let mut arena = Self {
            base,
            len,
            by_start: BTreeMap::new(),
            by_len: BTreeSet::new(),
        };
        arena.put(0, len);
        Ok(arena)
    }

    fn put(&mut self, start: usize, len: usize) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn remove(&mut self, start: usize, len: usize) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }

    /// The shortest free run that has room for `len` bytes, cut at its start.
    fn take(&mut self, len: usize) -> Option<NonNull<u8>> {
        let &(found, start) = self.by_len.range((len, 0)..).next()?;
        self.remove(start, found);
        if found > len {
            self.put(start + len, found - len);
        }
        // SAFETY: M3: `start + len` is within the mapping.
        Some(unsafe { self.base.add(start) })
    }

    /// Takes a run back and joins it with its free neighbours.
    fn give_back(&mut self, base: NonNull<u8>, len: usize) {
        let (mut start, mut len) = (base.addr().get() - self.base.addr().get(), len);
        if let Some((&before, &its_len)) = self.by_start.range(..start).next_back()
            && before + its_len == start
        {
            self.remove(before, its_len);
            (start, len) = (before, its_len + len);
        }
        if let Some(&after) = self.by_start.get(&(start + len)) {
            self.remove(start + len, after);
            len += after;
        }
        self.put(start, len);
    }

    fn contains(&self, base: NonNull<u8>) -> bool {
        let start = self.base.addr().get();
        (start..start + self.len).contains(&base.addr().get())
    }

    fn is_empty(&self) -> bool {
        self.by_start.get(&0) == Some(&self.len)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: M3: dropped only when no page belongs to a program. Failure would leave the
        // mapping in place, which harms nobody.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

fn page_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        // SAFETY: M4: reads a constant of the system.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        // 64 KiB is the largest page of the supported systems, and a multiple of the smaller ones.
        usize::try_from(size)
            .ok()
            .filter(|size| size.is_power_of_two())
            .unwrap_or(1 << 16)
    })
}

#[cfg(not(target_arch = "aarch64"))]
fn synchronize_instruction_cache(_base: NonNull<u8>, _len: usize) {
    // x86 keeps instruction fetch coherent with stores (Intel SDM, vol. 3A, §13.6). An address that
    // was executed before, for an earlier program, was unreachable in between, and the system calls
    // that made the page writable and executable again serialise.
}

#[cfg(all(target_arch = "aarch64", target_vendor = "apple"))]
fn synchronize_instruction_cache(base: NonNull<u8>, len: usize) {
    // SAFETY: M4: <libkern/OSCacheControl.h>.
    unsafe extern "C" {
        fn sys_icache_invalidate(start: *mut libc::c_void, len: usize);
    }
    // SAFETY: the range is mapped and ours (M2).
    unsafe { sys_icache_invalidate(base.as_ptr().cast(), len) };
}

/// Arm ARM, B2.4.4: clean the data cache to the point of unification, then invalidate the
/// instruction cache, by lines of at least 4 bytes that `CTR_EL0` tells.
#[cfg(all(target_arch = "aarch64", not(target_vendor = "apple")))]
fn synchronize_instruction_cache(base: NonNull<u8>, len: usize) {
    use std::arch::asm;
    let start = base.as_ptr() as usize;
    // SAFETY: cache maintenance by address on memory that is mapped and ours (M2); Linux lets
    // user space read CTR_EL0 and run these instructions.
    unsafe {
        let ctr: usize;
        asm!("mrs {}, ctr_el0", out(reg) ctr);
        let data_line = 4usize << ((ctr >> 16) & 0xf);
        let instruction_line = 4usize << (ctr & 0xf);
        for line in (start & !(data_line - 1)..start + len).step_by(data_line) {
            asm!("dc cvau, {}", in(reg) line);
        }
        asm!("dsb ish");
        for line in (start & !(instruction_line - 1)..start + len).step_by(instruction_line) {
            asm!("ic ivau, {}", in(reg) line);
        }
        asm!("dsb ish", "isb");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arenas() -> (Arenas, usize) {
        (Arenas::default(), page_size())
    }

    #[test]
    fn runs_are_cut_and_joined_and_the_arena_becomes_empty() {
        let (mut arenas, page) = arenas();
        let runs: Vec<_> = [1, 3, 2, 1]
            .map(|pages| (arenas.take(pages * page).unwrap(), pages * page))
            .into();
        assert_eq!(arenas.usage().bytes, 7 * page);
        for pair in runs.windows(2) {
            assert_eq!(pair[0].0.addr().get() + pair[0].1, pair[1].0.addr().get());
        }
        // A hole is used by what fits it best.
        arenas.give_back(runs[1].0, runs[1].1);
        arenas.give_back(runs[3].0, runs[3].1);
        assert_eq!(arenas.take(3 * page).unwrap(), runs[1].0);
        arenas.give_back(runs[1].0, 3 * page);
        // Neighbours join, from either side.
        arenas.give_back(runs[0].0, runs[0].1);
        arenas.give_back(runs[2].0, runs[2].1);
        assert_eq!((arenas.programs, arenas.bytes), (0, 0));
        assert_eq!(arenas.arenas.len(), SPARE_ARENAS);
        assert!(arenas.arenas[0].is_empty());
    }

    #[test]
    fn empty_arenas_go_but_for_one_and_a_long_program_has_its_own() {
        let (mut arenas, page) = arenas();
        let quarter = ARENA_LEN / 4;
        let runs: Vec<_> = (0..12).map(|_| arenas.take(quarter).unwrap()).collect();
        assert_eq!(arenas.usage().arenas, 3);
        let long = arenas.take(ARENA_LEN + page).unwrap();
        assert_eq!(arenas.usage().reserved, 4 * ARENA_LEN + page);
        for run in runs {
            arenas.give_back(run, quarter);
        }
        assert_eq!(arenas.usage().reserved, 2 * ARENA_LEN + page);
        arenas.give_back(long, ARENA_LEN + page);
        assert_eq!(arenas.usage().reserved, ARENA_LEN);
        assert!(arenas.take(usize::MAX - page).is_err());
    }

    /// Against a plain model: no page is given twice, and none is lost.
    #[test]
    fn pages_belong_to_one_program_each() {
        let (mut arenas, page) = arenas();
        let mut live: Vec<(NonNull<u8>, usize)> = Vec::new();
        let mut random = 1u64;
        let mut next = |n: u64| {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (random >> 33) % n
        };
        for _ in 0..20_000 {
            if live.len() > 200 || (!live.is_empty() && next(2) == 0) {
                let (base, len) = live.swap_remove(next(live.len() as u64) as usize);
                arenas.give_back(base, len);
            } else {
                let len = page * (1 + next(9) as usize);
                let base = arenas.take(len).unwrap();
                let (start, end) = (base.addr().get(), base.addr().get() + len);
                assert!(live.iter().all(|(other, its_len)| {
                    let other = other.addr().get();
                    end <= other || other + its_len <= start
                }));
                live.push((base, len));
            }
        }
        for (base, len) in live {
            arenas.give_back(base, len);
        }
        assert!(arenas.arenas.iter().all(Arena::is_empty));
    }
}
