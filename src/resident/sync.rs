//! The only door to shared memory: `std` in ordinary builds, `loom` under `--cfg loom`.
//!
//! Nothing else in [`resident`](super) names `std::sync::atomic`, so what loom explores is the code
//! that ships. Three tools live here besides the re-exports:
//!
//! * [`ordering!`] and [`step!`] give every ordering and fence the algorithm relies on a **name**.
//!   The paper's table is indexed by these names, and a build with `--cfg mutant="<name>"` weakens
//!   exactly that one, which must make a loom model fail. Both cost nothing: the condition is a
//!   compile-time constant.
//! * [`Liveness`] stands for "this node's memory is still allocated". It is empty in ordinary
//!   builds. Under loom, readers touch it and the writer ends it where it would free the node, so
//!   loom reports a use-after-free as the data race it is instead of crashing.
//! * [`take_node`] is that freeing.
//!
//! * **Q1** A node comes from `Box::into_raw` and is taken once, when nobody else can reach it (I4,
//!   I5, I8).
//! * **Q2** Under loom, a taken node's memory is raw and in quarantine, still allocated with its
//!   layout; it leaves the quarantine once.

#[cfg(loom)]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};
}

#[cfg(not(loom))]
mod imp {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};

    /// `core`'s cell behind the closure interface of loom's, which needs to see where an access
    /// starts and ends.
    pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        #[inline]
        pub(crate) const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

pub(crate) use imp::*;

/// Numbers that order nothing and on which no decision rests: loom need not explore them.
pub(crate) use std::sync::atomic::{AtomicU64 as Number, AtomicUsize as Gauge};

/// A thread-local variable with a constant initialiser.
macro_rules! thread_local_const {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $init:expr) => {
        #[cfg(not(loom))]
        ::std::thread_local! { $(#[$doc])* static $name: $type = const { $init } }
        #[cfg(loom)]
        ::loom::thread_local! { $(#[$doc])* static $name: $type = $init }
    };
}
pub(crate) use thread_local_const;

/// An ordering the algorithm needs, by name. `--cfg mutant="<name>"` turns it into `Relaxed`.
macro_rules! ordering {
    ($name:literal, $ordering:ident) => {
        if cfg!(mutant = $name) {
            $crate::resident::sync::Ordering::Relaxed
        } else {
            $crate::resident::sync::Ordering::$ordering
        }
    };
}
pub(crate) use ordering;

/// Whether a named step that is not an ordering (a fence, a check) is performed: true except under
/// `--cfg mutant="<name>"`.
macro_rules! step {
    ($name:literal) => {
        !cfg!(mutant = $name)
    };
}
pub(crate) use step;

/// A place between two steps, by name, at which a test of this crate can stop a thread.
macro_rules! window {
    ($name:literal) => {
        #[cfg(all(test, not(loom)))]
        $crate::resident::sync::windows::pass($name);
    };
}
pub(crate) use window;

/// Where threads are stopped: see [`window!`].
#[cfg(all(test, not(loom)))]
pub(crate) mod windows {
    use std::sync::{Arc, Mutex};

    type Hook = Arc<dyn Fn(&'static str) + Send + Sync>;

    static HOOKS: Mutex<Vec<(String, Hook)>> = Mutex::new(Vec::new());

    /// From now on, calls `hook` on the thread of this name in each window.
    pub(crate) fn on(thread: &str, hook: impl Fn(&'static str) + Send + Sync + 'static) {
        HOOKS
            .lock()
            .unwrap()
            .push((thread.to_owned(), Arc::new(hook)));
    }

    pub(crate) fn pass(window: &'static str) {
        let thread = std::thread::current();
        let hooks = HOOKS.lock().unwrap();
        let found = hooks
            .iter()
            .find(|(name, _)| Some(name.as_str()) == thread.name());
        let hook = found.map(|(_, hook)| Arc::clone(hook));
        drop(hooks);
        if let Some(hook) = hook {
            hook(window);
        }
    }
}

/// Whether a node may still be read. See the module documentation.
pub(crate) struct Liveness {
    #[cfg(loom)]
    cell: UnsafeCell<()>,
}

impl Liveness {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(loom)]
            cell: UnsafeCell::new(()),
        }
    }

    /// A reader is about to read the node.
    #[inline]
    pub(crate) fn touch(&self) {
        #[cfg(loom)]
        self.cell.with(|_| ());
    }

    /// The node is about to be freed.
    fn end(&self) {
        #[cfg(loom)]
        self.cell.with_mut(|_| ());
    }
}

/// A guard's way to touch a node it no longer has a typed pointer to. Empty in ordinary builds.
pub(crate) struct LivenessRef {
    #[cfg(loom)]
    cell: *const Liveness,
}

impl LivenessRef {
    #[inline]
    pub(crate) fn new(_liveness: &Liveness) -> Self {
        Self {
            #[cfg(loom)]
            cell: _liveness,
        }
    }

    /// The guard is about to read the node.
    #[inline]
    pub(crate) fn touch(&self) {
        #[cfg(loom)]
        // SAFETY: Q2: even an ended node's memory stays allocated.
        unsafe {
            (*self.cell).touch();
        }
    }
}

/// A heap node whose end loom watches.
pub(crate) trait Node {
    fn liveness(&self) -> &Liveness;
}

/// Moves a node out of its allocation and frees the allocation.
///
/// Under loom the allocation goes through a quarantine first, so that a broken algorithm finds the
/// ended [`Liveness`] rather than reused memory.
///
/// # Safety
/// Q1: `node` came from `Box::into_raw`, nobody else will use it again, and every access to it
/// happens before this call.
pub(crate) unsafe fn take_node<T: Node>(node: *mut T) -> T {
    // SAFETY: the caller owns the node, which is therefore still allocated (Q1).
    unsafe { (*node).liveness().end() };
    #[cfg(not(loom))]
    {
        // SAFETY: Q1, the caller's promise.
        *unsafe { Box::from_raw(node) }
    }
    #[cfg(loom)]
    {
        // SAFETY: Q1, the caller's promise; the allocation is from here on only raw memory (Q2).
        let value = unsafe { node.read() };
        quarantine(node.cast(), std::alloc::Layout::new::<T>());
        value
    }
}

#[cfg(loom)]
fn quarantine(memory: *mut u8, layout: std::alloc::Layout) {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    struct Corpse(*mut u8, std::alloc::Layout);
    // SAFETY: Q2: raw memory, which the queue alone will touch again.
    unsafe impl Send for Corpse {}
    static QUARANTINE: Mutex<VecDeque<Corpse>> = Mutex::new(VecDeque::new());
    // Far more nodes than one execution of any model retires.
    const LENGTH: usize = 4096;

    let mut queue = QUARANTINE
        .lock()
        .unwrap_or_else(|poison| poison.into_inner());
    queue.push_back(Corpse(memory, layout));
    if queue.len() > LENGTH
        && let Some(Corpse(memory, layout)) = queue.pop_front()
    {
        // SAFETY: Q2.
        unsafe { std::alloc::dealloc(memory, layout) };
    }
}
