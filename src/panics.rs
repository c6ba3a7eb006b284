//! Panics that go no further.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The text of the panic, if `f` ends with one. That nothing is used which it left in its middle is the
/// caller's to see to.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = payload.downcast_ref::<&'static str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("(not a string)").to_owned();
        // The destructor of a payload may panic itself.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
        text
    })
}

/// Locks what no panic leaves half done, whether or not a thread has panicked under the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
