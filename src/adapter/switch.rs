//! Which side goes on with a frame where both could.

/// Decides, where both sides could go on, which one does. Machine code is the same whatever the
/// answers are, so that tests can show that neither side can tell.
pub(super) trait Switch {
    /// Whether anything but `false` is ever the answer.
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

/// Asks a function.
pub(super) struct Asking<F>(pub(super) F);

impl<F: FnMut() -> bool> Switch for Asking<F> {
    const SWITCHES: bool = true;

    fn switch(&mut self) -> bool {
        (self.0)()
    }
}
