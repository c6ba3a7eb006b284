//! revmc 0.1.0's translator on this crate's code generator, for clients on revm 10.
//!
//! Only with the cargo feature `revmc`. revm 10 and alloy-primitives 0.7 are what revmc 0.1.0 speaks;
//! [`interpreter`] and [`primitives`] are those versions. Whole transactions on revm 10 are in
//! `evm`, with the cargo feature `revm-10`. A [`JitBackend`] with this [`front_end()`] is for them; one for
//! today's revm may run beside it.
//!
//! The road of a compilation: [`compile`] hands the bytecode to revmc's translator, which drives
//! the `lower` room; Cranelift selects instructions and allocates registers; the result is
//! [`NativeCode`], to which [`Program`] gives an address. It is a pure function of the bytecode, the
//! fork, the options and the machine.
//!
//! | module | job |
//! |---|---|
//! | `backend` | what revmc's compiler is instantiated with |
//! | `lower` | revmc's IR and its 256-bit integers onto Cranelift's |
//! | `builtins` | the table through which compiled code calls out |
//! | `layout` | private layouts that compiled code reads, probed at run time |
//! | `legacy` | bytecode as revmc's parser must be given it |
//! | `code` | machine code before it has an address, and how it gets one |
//! | `program` | what runs a frame |
//! | `host` | a host's panics |
//! | `front_end` | how a [`JitBackend`] compiles with this |
//! | `evm` | revm 10's handler |
//!
//! # What differs from the interpreter
//!
//! This code reports its own halts, unlike that of [`crate::compiler`]. revmc checks the static gas
//! and the stack bounds of a *section* (a run of instructions without a jump, a call or a look at the
//! gas) when it enters the section, and ends the frame itself. Equal are the results, outputs, gas,
//! refunds, memory, logs and next actions of all frames that return, revert or suspend, and that a
//! frame halts. Of a frame that halts these may differ:
//!
//! * *Which* halt is reported. If a section holds several faults, the interpreter meets the first in
//!   program order, this code the one that it checks first.
//! * *What was read before.* What the halting section would have read from the host before its fault
//!   is not read: accounts and slots do not become warm in the journal, and are missing in a list of
//!   what was accessed. `PUSH1 0xea, SLOAD, ADD, ADD` underflows without having read the slot.
//! * *A database's error.* It is not met if the section's static fault comes first: the transaction
//!   then halts where the interpreter would have failed.
//! * *Gas and stack.* The gas counter, the memory and the operand stack of a halted frame are not the
//!   interpreter's. All gas of the frame is spent either way, as all forks here have gas of one kind.
//!
//! None of it can be seen in a transaction's result, its receipt or the state root, up to Cancun. All
//! of it can be seen by who records accesses (witnesses) or whose database fails. Who must have it
//! exact takes today's revm, or the interpreter.
//!
//! Two more differences are of the program, not the frame: bytecode that pushes a valid jump target in
//! more than eight bytes is refused ([`TranslateError::WideJumpTarget`]), and so is a frame of more
//! than [`MAX_GAS`] gas ([`FrameError::Gas`]).
//!
//! # No artifacts
//!
//! This code reads private layouts of Rust types in place, so it is valid in the build that made it
//! only. It is not stored: a backend with this front end and a store is refused when it is made, and
//! without a store [`JitBackend::prepare_aot`] is.
//!
//! [`JitBackend`]: crate::JitBackend
//! [`JitBackend::prepare_aot`]: crate::JitBackend::prepare_aot

mod backend;
mod builtins;
mod code;
mod error;
#[cfg(feature = "revm-10")]
pub mod evm;
mod front_end;
mod host;
mod layout;
mod legacy;
mod lower;
mod program;

pub use code::NativeCode;
pub use error::TranslateError;
pub use front_end::{front_end, key_spec_id};
pub use program::{FrameError, MAX_GAS, Program};
pub use revmc::{HostExt, interpreter, primitives};

use crate::compiler::{self, CompileError, CompileOptions, dump};
use alloy_primitives::hex;
use backend::CraneliftBackend;
use code::TableRef;
use cranelift_codegen::{FinalizedRelocTarget, ir::ExternalName};
use layout::Layout;
use revmc::{
    EvmCompiler,
    primitives::{SpecId, keccak256},
};

/// Largest stack frame of compiled code, in bytes. Frames do not nest: a call suspends its caller.
pub const MAX_FRAME_LEN: usize = 512 << 10;

/// Compiles `bytecode` for the rules of `spec_id`, up to Cancun.
///
/// A pure function; call it on any thread, but not on one that executes blocks: it takes from a
/// fraction of a millisecond to hundreds of them. The stack of the calling thread should have
/// 2 MiB.
///
/// ```
/// use revmc_jit::compiler::{CompileOptions, Tier};
/// use revmc_jit::revmc::{TranslateError, compile, primitives::SpecId};
///
/// let options = CompileOptions { tier: Tier::Baseline, ..CompileOptions::default() };
/// let native = compile(&[0x60, 0x01, 0x00], SpecId::CANCUN, &options)?;
/// println!("{} bytes of machine code", native.text_len());
///
/// let prague = compile(&[0x60, 0x01, 0x00], SpecId::PRAGUE, &options);
/// assert_eq!(prague.err(), Some(TranslateError::UnsupportedFork(SpecId::PRAGUE)));
/// # Ok::<(), TranslateError>(())
/// ```
///
/// # Errors
///
/// [`TranslateError`] says what about the bytecode, the fork or the machine is not supported, or
/// which limit was met.
///
/// # Panics
///
/// revmc's translator asserts its own invariants. A caller who compiles code it does not trust
/// contains a panic ([`crate::JitBackend`] does).
pub fn compile(
    bytecode: &[u8],
    spec_id: SpecId,
    options: &CompileOptions,
) -> Result<NativeCode, TranslateError> {
    if spec_id as u8 > SpecId::CANCUN as u8 {
        return Err(TranslateError::UnsupportedFork(spec_id));
    }
    if bytecode.first() == Some(&0xef) {
        return Err(CompileError::Reserved.into());
    }
    if bytecode.len() > options.max_bytecode_len {
        let (len, max) = (bytecode.len(), options.max_bytecode_len);
        return Err(CompileError::BytecodeTooLong { len, max }.into());
    }
    dump::file(options, "bytecode.hex", || hex::encode(bytecode))?;
    let parsed = legacy::for_parser(bytecode)?;
    let layout = Layout::get()?;
    let isa = compiler::isa(options.tier, options.debug_assertions, false)?;

    let (backend, slot) = CraneliftBackend::new(layout, isa.default_call_conv(), options.tier);
    let mut compiler = EvmCompiler::new(backend);
    compiler.debug_assertions(options.debug_assertions);
    compiler.frame_pointers(false);
    let translated = compiler.translate(Some("evm"), &parsed, spec_id);
    drop(compiler);
    translated.map_err(|error| TranslateError::FrontEnd(format!("{error:#}")))?;
    let lowered = backend::take(&slot)?;

    // Spilled values can take up more of the stack than the thread that runs the code has left.
    let (text, relocs) = compiler::machine_code(lowered.func, options, &*isa, MAX_FRAME_LEN)?;
    let table_refs = relocs
        .iter()
        .map(|reloc| match &reloc.target {
            FinalizedRelocTarget::ExternalName(ExternalName::User(_)) => Ok(TableRef {
                offset: reloc.offset,
                kind: reloc.kind,
                addend: reloc.addend,
            }),
            other => Err(TranslateError::Relocation(format!("{other:?}"))),
        })
        .collect::<Result<_, _>>()?;
    Ok(NativeCode {
        text,
        table_refs,
        code_hash: keccak256(bytecode),
        spec_id,
        bytecode_len: bytecode.len(),
        resume_points: lowered.resume_points,
        tier: options.tier,
    })
}
