//! Frames of revm's interpreter on a program's machine code: what a program needs to be run, and so what
//! both [`trial`](crate::trial) and the adapter for whole transactions stand on.
//!
//! | file | job |
//! |---|---|
//! | `run` | [`CompiledProgram::run_frame`](crate::CompiledProgram::run_frame): admits a frame, enters machine code, goes on by the interpreter |
//! | `shims` | what machine code calls, and the invariants (A1–A8) of all that |
//! | `hashes` | KECCAK256 of inputs that were hashed before |
//! | `switch` | which side goes on where both could; for tests |
//! | `error` | why a program does not run a frame |
//!
//! It needs `revm_interpreter` and nothing else of revm. The principle is that of [`revm`](crate::revm),
//! where callers find these items.

mod error;
mod hashes;
mod run;
mod shims;
mod switch;

pub use error::FrameError;
pub use hashes::forget_hashes;
