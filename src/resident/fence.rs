//! The two fences of the grace period and the choice between their forms.
//!
//! A reader stores "I am inside" and then loads the table; the writer stores "unlinked" and then
//! loads who is inside. Each side needs its store to be visible before its load (the store-buffering
//! pattern), or both may miss the other. Two forms give that:
//!
//! * **Symmetric**: `fence(SeqCst)` on both sides. Any platform; inside Rust's memory model.
//! * **Asymmetric** (Linux): a compiler fence on the reader, and on the writer
//!   `membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)`, which makes every running thread of the process
//!   execute a full memory barrier somewhere between the call and its return (membarrier(2)). At
//!   that instant the reader has either already performed its store, which the writer then sees, or
//!   will perform its load only afterwards, and sees the unlinking. A thread that is not running went
//!   through the barrier of the context switch. No such call exists in Rust's memory model; the
//!   argument is about the machine, and it needs only that the compiler keeps the store before the
//!   load, which `compiler_fence(SeqCst)` asks.
//!
//! * **M1** membarrier(2) takes three integers, and reads and writes no memory of the process.

use super::sync::{Ordering, fence, step};

/// Which fences a map should use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FencePolicy {
    /// The asymmetric form where the operating system offers it, else the symmetric form.
    #[default]
    Auto,
    /// Always the symmetric form: `fence(SeqCst)` on both sides, about 4 ns a lookup more.
    ///
    /// A build with `--cfg revmc_jit_symmetric` (and every build for loom or Miri) behaves as if
    /// each map asked for this, and contains no `membarrier` at all.
    Symmetric,
}

/// The form in use by one map, fixed before its first reader exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fences {
    /// `fence(SeqCst)` on both sides.
    Symmetric,
    /// Compiler fence on the reader, `membarrier` on the writer.
    Asymmetric,
}

impl Fences {
    /// Decides the form. May register the process with the kernel, once, which can take
    /// milliseconds when many threads run.
    pub(super) fn choose(policy: FencePolicy) -> Self {
        match policy {
            FencePolicy::Auto if membarrier::registered() => Self::Asymmetric,
            _ => Self::Symmetric,
        }
    }

    /// The reader's side: orders the store that enters before the loads that follow.
    #[inline(always)]
    pub(super) fn light(self) {
        match self {
            Self::Asymmetric => core::sync::atomic::compiler_fence(Ordering::SeqCst),
            Self::Symmetric => {
                // Nothing beside what the fence costs; it moves this branch out of the way.
                core::hint::cold_path();
                if step!("light-fence") {
                    fence(Ordering::SeqCst);
                }
            }
        }
    }

    /// The writer's side: orders the stores that unlink before the loads of who is inside.
    ///
    /// False if the kernel refused the barrier (a seccomp filter installed after the registration):
    /// nothing unlinked since the last success may be freed then.
    #[must_use]
    pub(super) fn heavy(self) -> bool {
        match self {
            Self::Asymmetric => membarrier::barrier(),
            Self::Symmetric => {
                if step!("heavy-fence") {
                    fence(Ordering::SeqCst);
                }
                true
            }
        }
    }
}

#[cfg(all(target_os = "linux", not(any(loom, miri, revmc_jit_symmetric))))]
mod membarrier {
    use std::sync::OnceLock;

    /// Commands from `linux/membarrier.h`; see membarrier(2). `libc` has them for some targets only.
    const QUERY: libc::c_int = 0;
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn call(command: libc::c_int) -> libc::c_long {
        // SAFETY: M1.
        unsafe {
            libc::syscall(
                libc::SYS_membarrier,
                command,
                0 as libc::c_int,
                0 as libc::c_int,
            )
        }
    }

    /// Whether this process may use the expedited barrier. Asks the kernel the first time only.
    pub(super) fn registered() -> bool {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        *REGISTERED.get_or_init(|| {
            let wanted = libc::c_long::from(PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED);
            let offered = call(QUERY);
            // One trial barrier: a filter may allow the query and refuse the rest.
            offered >= 0
                && offered & wanted == wanted
                && call(REGISTER_PRIVATE_EXPEDITED) == 0
                && call(PRIVATE_EXPEDITED) == 0
        })
    }

    pub(super) fn barrier() -> bool {
        // The registration belongs to the address space. A child of fork that lost it registers anew.
        call(PRIVATE_EXPEDITED) == 0
            || (call(REGISTER_PRIVATE_EXPEDITED) == 0 && call(PRIVATE_EXPEDITED) == 0)
    }
}

#[cfg(not(all(target_os = "linux", not(any(loom, miri, revmc_jit_symmetric)))))]
mod membarrier {
    pub(super) fn registered() -> bool {
        false
    }

    /// Not reached: [`Fences::Asymmetric`](super::Fences) is never chosen in this build.
    pub(super) fn barrier() -> bool {
        false
    }
}
