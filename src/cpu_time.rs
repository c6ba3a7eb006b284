//! Processor time of the calling thread: the fair measure of what a compilation cost, because a
//! busy machine does not add to it.
//!
//! * **C1** clock_gettime(3) writes one `timespec` where it is pointed to, and nothing else.

use std::time::Duration;

/// Processor time this thread has used, or `None` where the system does not tell.
#[cfg(unix)]
pub(crate) fn thread_time() -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: C1: the pointer is to a local variable of that type.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    (status == 0).then(|| Duration::new(seconds, nanoseconds))
}

/// Processor time this thread has used, or `None` where the system does not tell.
#[cfg(not(unix))]
pub(crate) fn thread_time() -> Option<Duration> {
    None
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
}
