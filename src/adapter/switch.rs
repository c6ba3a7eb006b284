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

/// Asks a function; machine code comes back or not.
pub(super) struct Asking<F, const COMES_BACK: bool>(pub(super) F);

impl<F: FnMut() -> bool, const COMES_BACK: bool> Switch for Asking<F, COMES_BACK> {
    const SWITCHES: bool = COMES_BACK;

    fn switch(&mut self) -> bool {
        (self.0)()
    }
}
