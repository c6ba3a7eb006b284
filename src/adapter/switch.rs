//! Which side goes on with a frame where both could.

/// Decides, where both sides could go on, which one does. Machine code is the same whatever the
/// answers are, so that tests can show that neither side can tell.
pub(super) trait Switch {
    /// Whether machine code comes back before the frame's next call.
    const SWITCHES: bool;

    /// Whether the interpreter goes on here rather than machine code.
    fn switch(&mut self) -> bool;
}

/// Machine code wherever there is any.
pub(super) struct Never;

impl Switch for Never {
    const SWITCHES: bool = false;

    #[inline(always)]
    fn switch(&mut self) -> bool {
        false
    }
}

/// The interpreter, for good, where a function says so.
#[cfg(feature = "revm")]
pub(super) struct Leaving<F>(pub(super) F);

#[cfg(feature = "revm")]
impl<F: FnMut() -> bool> Switch for Leaving<F> {
    const SWITCHES: bool = false;

    fn switch(&mut self) -> bool {
        (self.0)()
    }
}

/// Asks a function.
pub(super) struct Asking<F>(pub(super) F);

impl<F: FnMut() -> bool> Switch for Asking<F> {
    const SWITCHES: bool = true;

    fn switch(&mut self) -> bool {
        (self.0)()
    }
}
