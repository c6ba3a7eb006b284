//! Machine code of one contract, made executable.
//!
//! * **M1** The text is followed by its own copy of the builtin table, at an offset that is a
//!   multiple of 8 from a page-aligned base, and starts with a function of the engine's signature.
//! * **M2** Code is given back with its memory, by the drop of [`ExecutableCode`], and not before.

use super::{EngineError, NativeCode, builtins::builtin_table};
use crate::code::{CodeError, CodeMemory};
use revmc::{EvmCompilerFn, RawEvmCompilerFn};

/// Machine code of one program in executable memory, given back on drop.
///
/// It holds the text and, behind it, the program's copy of the builtin table.
#[derive(Debug)]
pub struct ExecutableCode(CodeMemory);

impl ExecutableCode {
    /// Gives `code` executable memory. A few system calls; blocks only as those do.
    ///
    /// # Errors
    ///
    /// [`EngineError::System`] if the system refuses, and [`EngineError::Relocation`] if the code
    /// cannot be linked.
    pub fn new(code: &NativeCode) -> Result<Self, EngineError> {
        let mut bytes = code.link(code.table_offset())?;
        bytes.reserve_exact(code.linked_len() - bytes.len());
        bytes.resize(code.table_offset(), 0);
        bytes.extend(builtin_table().iter().flat_map(|entry| entry.to_ne_bytes()));
        CodeMemory::new(&bytes).map(Self).map_err(system)
    }

    /// Bytes mapped, whole pages.
    pub fn mapped_len(&self) -> usize {
        self.0.mapped_len()
    }

    /// The entry point, valid for as long as `self` lives.
    pub fn entry(&self) -> EvmCompilerFn {
        // SAFETY: M1: the text is complete, executable while `self` lives (M2), and starts with a function of
        // this signature.
        EvmCompilerFn::new(unsafe {
            std::mem::transmute::<*mut u8, RawEvmCompilerFn>(self.0.base().as_ptr())
        })
    }
}

fn system(error: CodeError) -> EngineError {
    match error {
        CodeError::System { call, errno } => EngineError::System { call, errno },
        CodeError::TooLong(_) => EngineError::System {
            call: "mmap",
            errno: libc::ENOMEM,
        },
    }
}
