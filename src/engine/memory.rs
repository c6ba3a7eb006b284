//! Executable memory: written, then executed, never both.
//!
//! # Invariants
//!
//! * **M1** A mapping is private and anonymous; it is writable only inside [`ExecutableCode::new`],
//!   before any other part of the process knows its address, and executable only afterwards.
//! * **M2** The mapping lives until the value is dropped, and is unmapped exactly once.
//! * **M3** The number of live mappings stays below a share of the kernel's limit, so that code
//!   never starves the allocator or the thread library of mappings.
//! * **M4** What is declared by hand of the system has the signature that its manual gives.
//!
//! On aarch64 the instruction cache is made coherent before the entry point is handed out. That
//! path, and macOS, are written to the architecture manuals and not run by this crate's CI.

use super::{EngineError, NativeCode, builtins::builtin_table};
use revmc::{EvmCompilerFn, RawEvmCompilerFn};
use std::{
    ptr::{self, NonNull},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Mappings of this module that are live in the process.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Machine code of one program in memory of its own, unmapped on drop.
///
/// The mapping holds the text and, behind it, the program's copy of the builtin table.
#[derive(Debug)]
pub struct ExecutableCode {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: by M1 the mapping is immutable once the value exists; nothing in it is tied to a thread.
unsafe impl Send for ExecutableCode {}
// SAFETY: M1; shared references only read.
unsafe impl Sync for ExecutableCode {}

impl ExecutableCode {
    /// Maps `code`. Three or four system calls; blocks only as those do.
    ///
    /// # Errors
    ///
    /// [`EngineError::MappingLimit`] by M3, [`EngineError::System`] if the kernel refuses, and
    /// [`EngineError::Relocation`] if the code cannot be linked.
    pub fn new(code: &NativeCode) -> Result<Self, EngineError> {
        let text = code.link(code.table_offset())?;
        let len = code.linked_len().next_multiple_of(page_size());
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
            return Err(EngineError::last_os_error("mmap"));
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(EngineError::System {
            call: "mmap",
            errno: 0,
        })?;
        slot.keep();
        let this = Self { base, len };

        let table = builtin_table();
        // SAFETY: M1: the mapping is writable and `linked_len() <= len` bytes of it are text, then
        // table; the table offset is a multiple of 8 and the base page-aligned.
        unsafe {
            base.as_ptr()
                .copy_from_nonoverlapping(text.as_ptr(), text.len());
            base.as_ptr()
                .add(code.table_offset())
                .cast::<usize>()
                .copy_from_nonoverlapping(table.as_ptr(), table.len());
        }
        // SAFETY: the mapping is ours (M2); this is the one transition of M1.
        let failed =
            unsafe { libc::mprotect(base.as_ptr().cast(), len, libc::PROT_READ | libc::PROT_EXEC) };
        if failed != 0 {
            return Err(EngineError::last_os_error("mprotect"));
        }
        synchronize_instruction_cache(base, len);
        Ok(this)
    }

    /// Bytes mapped, whole pages.
    pub fn mapped_len(&self) -> usize {
        self.len
    }

    /// The entry point, valid for as long as `self` lives.
    pub fn entry(&self) -> EvmCompilerFn {
        // SAFETY: the text is complete and executable (M1) and starts with a function of this
        // signature, which the engine generated.
        EvmCompilerFn::new(unsafe {
            std::mem::transmute::<*mut u8, RawEvmCompilerFn>(self.base.as_ptr())
        })
    }
}

impl Drop for ExecutableCode {
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
    fn take() -> Result<Self, EngineError> {
        let max = mapping_limit();
        // Relaxed: a counter that orders nothing; `fetch_add` alone makes the bound exact.
        if LIVE.fetch_add(1, Ordering::Relaxed) >= max {
            LIVE.fetch_sub(1, Ordering::Relaxed);
            return Err(EngineError::MappingLimit(max));
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
