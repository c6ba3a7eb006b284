//! A compiled contract.
//!
//! # Invariants
//!
//! * **P1** The entry point was produced by this crate's compiler for exactly `key.code_hash` and
//!   `rules`, with this entry table, and its memory stays mapped and executable for as long as the
//!   program lives (the backing is dropped last, with the program). Only [`CompiledProgram::jit`] and
//!   [`CompiledProgram::aot`] make such programs, no field can be changed afterwards, and none is public.
//! * **P2** A program of another front end has no entry table, so no frame enters it here; its entry point
//!   would leave at once.

use crate::{
    code::{CodeError, CodeMemory},
    compiler::{EntryPoint, EntryTable, NativeCode, Rules, Tier},
    frame::{Entry, STACK_LIMIT},
    key::RuntimeCacheKey,
};
use std::{any::Any, fmt, mem, sync::Arc};

/// Where a program's machine code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgramKind {
    /// Compiled in this process.
    Jit,
    /// Loaded from an artifact that was compiled ahead of time.
    Aot,
}

/// Keeps a program's machine code mapped.
enum Backing {
    Jit(#[expect(dead_code, reason = "held for its Drop")] CodeMemory),
    Aot {
        text_len: usize,
        #[expect(dead_code, reason = "held for its Drop")]
        library: Box<dyn Any + Send + Sync>,
    },
    /// Another front end's, which knows the type.
    #[cfg(feature = "revmc")]
    Other {
        /// Where its machine code is.
        address: usize,
        machine: Box<dyn Any + Send + Sync>,
    },
}

/// A contract compiled to native code for the rules of one fork.
///
/// Aligned to a cache line, so that the reference counts of two programs never share one.
///
/// Dropping the last reference unmaps the code. [`crate::JitBackend`] keeps one reference of its
/// own, so that this happens on its thread and not on an execution thread.
///
/// What it is cannot be changed, and safe code cannot make one but by compiling its bytecode (P1):
///
/// ```compile_fail,E0616
/// fn exchange(program: &mut revmc_jit::CompiledProgram, other: &revmc_jit::CompiledProgram) {
///     program.entry = other.entry;
/// }
/// ```
///
/// ```compile_fail,E0616
/// fn rename(program: &mut revmc_jit::CompiledProgram, key: revmc_jit::RuntimeCacheKey) {
///     program.key = key;
/// }
/// ```
///
/// ```compile_fail,E0616
/// fn unmap(program: &mut revmc_jit::CompiledProgram, other: revmc_jit::CompiledProgram) {
///     program.backing = other.backing;
/// }
/// ```
///
/// ```compile_fail,E0594
/// fn rename(program: &mut revmc_jit::CompiledProgram, key: revmc_jit::RuntimeCacheKey) {
///     program.key() = key;
/// }
/// ```
///
/// ```compile_fail,E0451
/// use revmc_jit::{CompiledProgram, RuntimeCacheKey};
/// fn rename(program: CompiledProgram, key: RuntimeCacheKey) -> CompiledProgram {
///     CompiledProgram { key, ..program }
/// }
/// ```
///
/// ```compile_fail,E0624
/// use revmc_jit::{Chain, CompiledProgram, RuntimeCacheKey, compiler::NativeCode};
/// fn make(key: RuntimeCacheKey, code: &NativeCode) {
///     let _ = CompiledProgram::jit(key, Chain::mainnet().rules(key.spec_id).clone(), 1, code);
/// }
/// ```
///
/// ```compile_fail,E0624
/// fn call(program: &revmc_jit::CompiledProgram) {
///     let _ = program.entry_point();
/// }
/// ```
///
/// ```compile_fail,E0599
/// fn copy(program: &revmc_jit::CompiledProgram) -> revmc_jit::CompiledProgram {
///     program.clone() // a copy is the backend's to make
/// }
/// ```
///
/// What a program says of itself can be asked:
///
/// ```
/// fn ask(program: &mut revmc_jit::CompiledProgram) -> [usize; 3] {
///     let _ = (program.key(), program.kind(), program.tier(), program.rules());
///     [program.bytecode_len(), program.native_len(), program.mapped_len()]
/// }
/// ```
#[repr(C, align(64))]
pub struct CompiledProgram {
    // What every frame asks for is in the first cache line, as it is seldom in a near one.
    entry: Entry,
    /// The first of the entries: most frames begin there.
    first: EntryPoint,
    bytecode_len: u32,
    rules: Arc<Rules>,
    entries: EntryTable,
    key: RuntimeCacheKey,
    kind: ProgramKind,
    tier: Tier,
    native_len: usize,
    mapped_len: usize,
    backing: Arc<Backing>,
}

const _: () = assert!(mem::offset_of!(CompiledProgram, key) <= 64);

impl CompiledProgram {
    /// Makes `code` executable, which was compiled from `bytecode_len` bytes of the bytecode that
    /// `key` names, for `rules`.
    ///
    /// Costs a few system calls; not for an execution thread.
    pub(crate) fn jit(
        key: RuntimeCacheKey,
        rules: Arc<Rules>,
        bytecode_len: usize,
        code: &NativeCode,
    ) -> Result<Self, CodeError> {
        let memory = CodeMemory::new(code.text())?;
        Ok(Self {
            // SAFETY: P1: the text is complete and executable and starts with a function of this
            // signature, which the compiler generated.
            entry: unsafe { mem::transmute::<*mut u8, Entry>(memory.base().as_ptr()) },
            key,
            kind: ProgramKind::Jit,
            tier: code.tier(),
            bytecode_len: code_len(bytecode_len),
            native_len: code.text_len(),
            mapped_len: memory.mapped_len(),
            first: first(code.entries()),
            entries: EntryTable::new(code.entries()),
            rules,
            backing: Arc::new(Backing::Jit(memory)),
        })
    }

    /// Wraps code that an artifact's loader has verified and mapped; dropping `library` unmaps it.
    #[expect(
        clippy::too_many_arguments,
        reason = "what an artifact's manifest says"
    )]
    pub(crate) fn aot(
        key: RuntimeCacheKey,
        rules: Arc<Rules>,
        tier: Tier,
        bytecode_len: usize,
        entries: Vec<EntryPoint>,
        entry: Entry,
        [text_len, mapped_len]: [usize; 2],
        library: Box<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            entry,
            key,
            kind: ProgramKind::Aot,
            tier,
            bytecode_len: code_len(bytecode_len),
            native_len: mapped_len,
            mapped_len,
            first: first(&entries),
            entries: EntryTable::new(&entries),
            rules,
            backing: Arc::new(Backing::Aot { text_len, library }),
        }
    }

    /// Wraps another front end's program, of which only its [`machine`](Self::machine) is native code, at
    /// `address`.
    #[cfg(feature = "revmc")]
    pub(crate) fn other(
        key: RuntimeCacheKey,
        rules: Arc<Rules>,
        tier: Tier,
        bytecode_len: usize,
        [address, native_len, mapped_len]: [usize; 3],
        machine: Box<dyn Any + Send + Sync>,
    ) -> Self {
        use crate::frame::{Exit, NativeFrame};
        extern "C" fn leave(_: *mut NativeFrame) -> Exit {
            Exit::LEAVE
        }
        Self {
            entry: leave,
            key,
            kind: ProgramKind::Jit,
            tier,
            bytecode_len: code_len(bytecode_len),
            native_len,
            mapped_len,
            first: first(&[]),
            entries: EntryTable::new(&[]),
            rules,
            backing: Arc::new(Backing::Other { address, machine }),
        }
    }

    /// What another front end has made, if it is of this type.
    #[cfg(feature = "revmc")]
    pub(crate) fn machine<T: Any>(&self) -> Option<&T> {
        match &*self.backing {
            Backing::Other { machine, .. } => machine.downcast_ref(),
            _ => None,
        }
    }

    /// The same program, said to come from elsewhere.
    #[cfg(test)]
    pub(crate) fn said_to_be(self, kind: ProgramKind) -> Self {
        Self { kind, ..self }
    }

    /// A copy with a reference count of its own, over the same machine code.
    pub(crate) fn share(&self) -> Self {
        Self {
            backing: Arc::clone(&self.backing),
            entries: self.entries.clone(),
            rules: Arc::clone(&self.rules),
            ..*self
        }
    }

    /// Whether a frame can enter it at all: whether the crate's own compiler has made it (P2).
    #[inline]
    pub(crate) fn has_entries(&self) -> bool {
        self.first != EntryPoint::NOWHERE
    }

    /// The raw entry point.
    #[inline]
    pub(crate) fn entry_point(&self) -> Entry {
        self.entry
    }

    /// Where its machine code is, and how many bytes.
    pub(crate) fn text(&self) -> (usize, usize) {
        let entry = self.entry as usize;
        match *self.backing {
            Backing::Jit(_) => (entry, self.native_len),
            Backing::Aot { text_len, .. } => (entry, text_len),
            #[cfg(feature = "revmc")]
            Backing::Other { address, .. } => (address, self.native_len),
        }
    }

    /// The operand with which a frame enters that stands at `pc`, with `words` on its stack,
    /// `memory_len` bytes of memory and `gas`, if it can.
    #[inline]
    pub(crate) fn entry_at(
        &self,
        pc: usize,
        words: usize,
        memory_len: usize,
        gas: u64,
    ) -> Option<u64> {
        let entry = if pc == self.first.pc as usize {
            &self.first
        } else {
            self.entries.at(pc)?
        };
        let demand = entry.demand;
        let met = words >= demand.needs.into()
            && words + usize::from(demand.grows) <= STACK_LIMIT
            && memory_len >= demand.memory as usize
            && gas >= demand.gas.into();
        met.then_some(entry.operand.into())
    }

    /// What was compiled.
    #[inline]
    pub fn key(&self) -> RuntimeCacheKey {
        self.key
    }

    /// Where the machine code came from.
    pub fn kind(&self) -> ProgramKind {
        self.kind
    }

    /// The rules that it follows.
    #[inline]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The optimisation setting the code was compiled with.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Bytes of bytecode the program was compiled from.
    #[inline]
    pub fn bytecode_len(&self) -> usize {
        self.bytecode_len as usize
    }

    /// Bytes of machine code; of an artifact, of all that it maps.
    pub fn native_len(&self) -> usize {
        self.native_len
    }

    /// Bytes of address space the machine code occupies, whole pages.
    pub fn mapped_len(&self) -> usize {
        self.mapped_len
    }
}

/// A length of code as it is kept. No code for which it does not fit is compiled.
fn code_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn first(entries: &[EntryPoint]) -> EntryPoint {
    entries.first().copied().unwrap_or(EntryPoint::NOWHERE)
}

impl fmt::Debug for CompiledProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledProgram")
            .field("key", &self.key)
            .field("kind", &self.kind)
            .field("tier", &self.tier)
            .field("bytecode_len", &self.bytecode_len)
            .field("mapped_len", &self.mapped_len)
            .finish_non_exhaustive()
    }
}
