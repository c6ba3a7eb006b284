//! Holding a thread of this process still, in the middle of whatever it does.

use std::fs;
use std::io::{Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

/// The pipe's ends that the handler uses: it writes to say that it holds, and reads to be released.
static HOLDS: AtomicI32 = AtomicI32::new(-1);
static RELEASE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn hold(_: libc::c_int) {
    let mut byte = 0u8;
    let pointer = std::ptr::from_mut(&mut byte).cast();
    // SAFETY: write(2) and read(2) are safe in a signal handler (signal-safety(7)); the buffer is
    // one valid byte.
    unsafe {
        libc::write(HOLDS.load(SeqCst), pointer, 1);
        libc::read(RELEASE.load(SeqCst), pointer, 1);
    }
}

/// A thread that is held still until this is dropped. One at a time in a process.
pub struct Suspended(std::io::PipeWriter);

impl Suspended {
    /// Holds the thread of this name, and returns when it is still.
    pub fn new(name: &str) -> Self {
        let (mut holds_read, holds_write) = pipe().unwrap();
        let (release_read, release_write) = pipe().unwrap();
        HOLDS.store(holds_write.as_raw_fd(), SeqCst);
        RELEASE.store(release_read.as_raw_fd(), SeqCst);
        // SAFETY: an all-zero `sigaction` is a valid one without flags or mask, and `hold` has the
        // signature of a handler without SA_SIGINFO.
        let installed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = hold as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut())
        };
        assert_eq!(installed, 0);
        // SAFETY: tgkill(2) takes numbers; the thread is one of this process.
        let sent =
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid(name), libc::SIGUSR1) };
        assert_eq!(sent, 0);
        holds_read.read_exact(&mut [0]).unwrap();
        // The handler has written; what it still needs is the end it reads from.
        drop(holds_write);
        // Left open: there is no telling when the handler has had its byte.
        std::mem::forget(release_read);
        Self(release_write)
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        let _ = self.0.write_all(&[0]);
    }
}

fn tid(name: &str) -> i32 {
    let named = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let mut tasks = fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(Result::ok);
    let task = tasks.find(named).expect("a thread of that name");
    task.file_name().to_str().unwrap().parse().unwrap()
}
