//! Processor time of a thread: the fair measure of what a compilation cost, because neither a busy
//! machine nor a stopped process adds to it.
//!
//! * **C1** clock_gettime(3) and pthread_getcpuclockid(3) write one `timespec` or one clock's number
//!   where they are pointed to, and nothing else.

use std::time::{Duration, Instant};

/// The clock of one thread, for others to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadClock(#[cfg(unix)] libc::clockid_t);

#[cfg(unix)]
impl ThreadClock {
    /// The clock of the calling thread, or `None` where the system has none that others can read.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn of_this_thread() -> Option<Self> {
        let mut clock: libc::clockid_t = 0;
        // SAFETY: C1: the pointer is to a local variable of that type; the thread is running.
        let status = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
        (status == 0).then_some(Self(clock))
    }

    /// The clock of the calling thread, or `None` where the system has none that others can read.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn of_this_thread() -> Option<Self> {
        None
    }

    /// Processor time its thread has used. Means nothing once that has ended.
    pub(crate) fn time(self) -> Option<Duration> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: C1: the pointer is to a local variable of that type.
        let status = unsafe { libc::clock_gettime(self.0, &mut time) };
        let seconds = u64::try_from(time.tv_sec).ok()?;
        let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
        (status == 0).then(|| Duration::new(seconds, nanoseconds))
    }
}

#[cfg(not(unix))]
impl ThreadClock {
    pub(crate) fn of_this_thread() -> Option<Self> {
        None
    }

    pub(crate) fn time(self) -> Option<Duration> {
        None
    }
}

/// Processor time this thread has used, or `None` where the system does not tell.
#[cfg(unix)]
pub(crate) fn thread_time() -> Option<Duration> {
    ThreadClock(libc::CLOCK_THREAD_CPUTIME_ID).time()
}

/// Processor time this thread has used, or `None` where the system does not tell.
#[cfg(not(unix))]
pub(crate) fn thread_time() -> Option<Duration> {
    None
}

/// When something began, by the clock of the thread that does it and by the clock on the wall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    cpu: Option<Duration>,
    wall: Instant,
}

impl Moment {
    /// Now, in this thread.
    pub(crate) fn now() -> Self {
        Self {
            cpu: thread_time(),
            wall: Instant::now(),
        }
    }

    /// Time since then.
    pub(crate) fn wall(&self) -> Duration {
        self.wall.elapsed()
    }

    /// Processor time since then of the same thread, which is this one; time, where the system does not
    /// tell.
    pub(crate) fn cpu(&self) -> Duration {
        self.cpu_at(thread_time())
    }

    /// The same by what the thread's clock says now, for other threads.
    pub(crate) fn cpu_at(&self, now: Option<Duration>) -> Duration {
        match (self.cpu, now) {
            (Some(then), Some(now)) => now.saturating_sub(then),
            _ => self.wall(),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn grows_with_work_and_not_with_sleep() {
        let start = thread_time().unwrap();
        while thread_time().unwrap() < start + Duration::from_millis(5) {}
        let worked = thread_time().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        assert!(thread_time().unwrap() - worked < Duration::from_millis(400));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn another_thread_reads_it() {
        let clock = ThreadClock::of_this_thread().unwrap();
        let worked = Duration::from_millis(5);
        let start = thread_time().unwrap();
        while thread_time().unwrap() < start + worked {}
        let read = std::thread::spawn(move || clock.time().unwrap());
        assert!(read.join().unwrap() >= start + worked);
    }
}
