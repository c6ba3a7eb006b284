//! Executable memory: written, then executed, never both.
//!
//! # Invariants
//!
//! * **M1** A mapping is private and anonymous; it is writable only inside [`CodeMemory::new`],
//!   before any other part of the process knows its address, and executable only afterwards.
//! * **M2** The mapping lives until the value is dropped, and is unmapped exactly once.
//! * **M3** The number of live mappings stays below a share of the kernel's limit, so that code
//!   never starves the allocator or the thread library of mappings.
//! * **M4** What is declared by hand of the system has the signature that its manual gives.
//!
//! On aarch64 the instruction cache is made coherent before the entry point is handed out. That
//! path, and macOS, are written to the architecture manuals and not run by this crate's CI.

use std::{
    fmt, io,
    ptr::{self, NonNull},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Why machine code was not given memory: a condition of the system, never the code's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodeError {
    /// The process has used up its share of memory mappings (`vm.max_map_count` on Linux).
    MappingLimit(usize),
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
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MappingLimit(max) => write!(f, "all {max} code mappings are in use"),
            Self::System { call, errno } => {
                write!(f, "{call}: {}", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl std::error::Error for CodeError {}

/// Mappings of this module that are live in the process.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Machine code of one program in memory of its own, unmapped on drop.
#[derive(Debug)]
pub struct CodeMemory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: by M1 the mapping is immutable once the value exists; nothing in it is tied to a thread.
unsafe impl Send for CodeMemory {}
// SAFETY: M1; shared references only read.
unsafe impl Sync for CodeMemory {}

impl CodeMemory {
    /// Maps `text`. Three or four system calls; blocks only as those do.
    ///
    /// # Errors
    ///
    /// [`CodeError::MappingLimit`] by M3, [`CodeError::System`] if the kernel refuses.
    pub fn new(text: &[u8]) -> Result<Self, CodeError> {
        let len = text.len().max(1).next_multiple_of(page_size());
        let mut slot = Reservation::take()?;

        // SAFETY: M1: an anonymous mapping at an address of the kernel's choice touches nothing else.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(CodeError::last_os_error("mmap"));
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(CodeError::System {
            call: "mmap",
            errno: 0,
        })?;
        slot.keep();
        let this = Self { base, len };

        // SAFETY: M1: the mapping is writable and `text.len() <= len`.
        unsafe {
            base.as_ptr()
                .copy_from_nonoverlapping(text.as_ptr(), text.len())
        };
        // SAFETY: the mapping is ours (M2); this is the one transition of M1.
        let failed =
            unsafe { libc::mprotect(base.as_ptr().cast(), len, libc::PROT_READ | libc::PROT_EXEC) };
        if failed != 0 {
            return Err(CodeError::last_os_error("mprotect"));
        }
        synchronize_instruction_cache(base, len);
        Ok(this)
    }

    /// Bytes mapped, whole pages.
    pub fn mapped_len(&self) -> usize {
        self.len
    }

    /// The first byte of the text; valid, and executable, for as long as `self` lives.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        // SAFETY: M2: ours, and used no more. Failure would leave the mapping in place, which harms nobody.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        // Relaxed: a counter that orders nothing.
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in the count of mappings (M3), given back on drop unless kept.
struct Reservation {
    kept: bool,
}

impl Reservation {
    fn take() -> Result<Self, CodeError> {
        let max = mapping_limit();
        // Relaxed: a counter that orders nothing; `fetch_add` alone makes the bound exact.
        if LIVE.fetch_add(1, Ordering::Relaxed) >= max {
            LIVE.fetch_sub(1, Ordering::Relaxed);
            return Err(CodeError::MappingLimit(max));
        }
        Ok(Self { kept: false })
    }

    fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept {
            // Relaxed: as in `take`.
            LIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Half of `vm.max_map_count`, of which Linux grants 65,530 by default; see proc_sys_vm(5).
fn mapping_limit() -> usize {
    const DEFAULT: usize = 65_530;
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let max = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(DEFAULT);
        max / 2
    })
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
    // x86 keeps instruction fetch coherent with stores (Intel SDM, vol. 3A, §13.6), and the
    // address has not been executed before it is published.
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
