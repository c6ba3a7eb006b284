//! Bytecode in, machine code out.
//!
//! The road of a compilation: [`compile`] hands the bytecode to revmc's translator, which drives
//! the `lower` room; Cranelift selects instructions and allocates registers; the result is
//! [`NativeCode`], position-independent and the same for JIT and AOT. [`ExecutableCode`] gives it
//! an address.
//!
//! This room knows nothing of threads, stores or hotness. Everything here is a pure function of
//! the bytecode, the fork, the options and the machine; the same input gives the same bytes.
//!
//! | module | job |
//! |---|---|
//! | `backend` | what revmc's compiler is instantiated with |
//! | `lower` | revmc's IR and its 256-bit integers onto Cranelift's |
//! | `builtins` | the table through which compiled code calls out |
//! | `layout` | private layouts that compiled code reads, probed at run time |
//! | `legacy` | bytecode as revmc's parser must be given it |
//! | `isa` | the code generator's settings for this machine |
//! | `code` | machine code before it has an address |
//! | `memory` | executable memory |
//!
//! x86-64 Linux is what the crate's tests run on. The aarch64 and macOS paths follow the
//! architecture and ABI documents and have not been run by them.

mod backend;
mod builtins;
mod code;
mod error;
mod isa;
mod layout;
mod legacy;
mod lower;
mod memory;

pub use builtins::{BUILTIN_TABLE_LEN, builtin_table};
pub use code::NativeCode;
pub use error::EngineError;
pub use isa::cpu_features;
pub use layout::layout_fingerprint;
pub use memory::ExecutableCode;

use backend::CraneliftBackend;
use code::TableRef;
use cranelift_codegen::{Context, FinalizedRelocTarget, control::ControlPlane, ir::ExternalName};
use layout::Layout;
use revmc::{EvmCompiler, OptimizationLevel, primitives::SpecId};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// The version of the generated code's conventions: the builtin table's order, what the code
/// expects of its caller, and the numbering of resume points. Artifacts of another version are
/// not loaded.
pub const ENGINE_VERSION: u32 = 1;

/// Largest stack frame of compiled code, in bytes. Frames do not nest: a call suspends its caller.
pub const MAX_FRAME_LEN: usize = 512 << 10;

/// How much work goes into the machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Compiled fast: single-pass register allocation.
    Baseline,
    /// Compiled well: backtracking register allocation, multiplication in line.
    Optimized,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline => "baseline",
            Self::Optimized => "optimized",
        })
    }
}

impl From<OptimizationLevel> for Tier {
    fn from(level: OptimizationLevel) -> Self {
        match level {
            OptimizationLevel::None | OptimizationLevel::Less => Self::Baseline,
            OptimizationLevel::Default | OptimizationLevel::Aggressive => Self::Optimized,
        }
    }
}

impl From<Tier> for OptimizationLevel {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Baseline => Self::None,
            Tier::Optimized => Self::Default,
        }
    }
}

/// Settings of one compilation.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// How much work goes into the machine code. Default: [`Tier::Optimized`].
    pub tier: Tier,
    /// Longest bytecode that is taken, in bytes. Default: 24,576, the limit of EIP-170.
    pub max_bytecode_len: usize,
    /// Longest machine code that is taken, in bytes. Default: 16 MiB.
    pub max_native_len: usize,
    /// Verifies Cranelift's IR and adds revmc's checks on the arguments of compiled code.
    /// Default: off. A build of this crate with debug assertions always verifies.
    pub debug_assertions: bool,
    /// Writes the IR and a listing of the machine code into this folder. Default: none.
    pub dump_dir: Option<PathBuf>,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            tier: Tier::Optimized,
            max_bytecode_len: 0x6000,
            max_native_len: 16 << 20,
            debug_assertions: false,
            dump_dir: None,
        }
    }
}

/// Compiles `bytecode` for the rules of `spec_id`.
///
/// A pure function; call it on any thread, but not on one that executes blocks: it takes from a
/// fraction of a millisecond to hundreds of them. The stack of the calling thread should have
/// 2 MiB.
///
/// ```
/// use revmc_jit::engine::{CompileOptions, EngineError, Tier, compile};
/// use revmc_jit::primitives::SpecId;
///
/// let options = CompileOptions { tier: Tier::Baseline, ..CompileOptions::default() };
/// let native = compile(&[0x60, 0x01, 0x00], SpecId::CANCUN, &options)?;
/// println!("{} bytes of machine code", native.text_len());
///
/// let eof = compile(&[0xef, 0x00, 0x01], SpecId::CANCUN, &options);
/// assert_eq!(eof.err(), Some(EngineError::Eof));
/// # Ok::<(), EngineError>(())
/// ```
///
/// # Errors
///
/// [`EngineError`] says what about the bytecode, the fork or the machine is not supported, or
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
) -> Result<NativeCode, EngineError> {
    if spec_id as u8 > SpecId::CANCUN as u8 {
        return Err(EngineError::UnsupportedFork(spec_id));
    }
    if bytecode.first() == Some(&0xef) {
        return Err(EngineError::Eof);
    }
    if bytecode.len() > options.max_bytecode_len {
        let (len, max) = (bytecode.len(), options.max_bytecode_len);
        return Err(EngineError::BytecodeTooLong { len, max });
    }
    let bytecode = legacy::for_parser(bytecode)?;
    let layout = Layout::get()?;
    let verify = options.debug_assertions || cfg!(debug_assertions);
    let isa = isa::isa(options.tier, verify)?;

    let (backend, slot) = CraneliftBackend::new(layout, isa.default_call_conv(), options.tier);
    let mut compiler = EvmCompiler::new(backend);
    compiler.debug_assertions(options.debug_assertions);
    compiler.frame_pointers(false);
    let translated = compiler.translate(Some("evm"), &bytecode, spec_id);
    drop(compiler);
    translated.map_err(|error| EngineError::FrontEnd(format!("{error:#}")))?;
    let lowered = backend::take(&slot)?;

    let mut context = Context::for_function(lowered.func);
    context.set_disasm(options.dump_dir.is_some());
    if let Some(dir) = &options.dump_dir {
        dump(dir, "function.clif", &context.func.display().to_string())?;
    }
    let compiled = context
        .compile(&*isa, &mut ControlPlane::default())
        .map_err(|error| EngineError::Codegen(error.inner.to_string()))?;
    if let (Some(dir), Some(listing)) = (&options.dump_dir, &compiled.vcode) {
        dump(dir, "function.asm", listing)?;
    }

    let text = compiled.code_buffer().to_vec();
    if text.len() > options.max_native_len {
        let (len, max) = (text.len(), options.max_native_len);
        return Err(EngineError::NativeTooLarge { len, max });
    }
    // Spilled values can take up more of the stack than the thread that runs the code has left.
    let frame = compiled
        .buffer
        .frame_layout()
        .map_or(0, |layout| layout.frame_to_fp_offset as usize);
    if frame > MAX_FRAME_LEN {
        return Err(EngineError::FrameTooLarge {
            len: frame,
            max: MAX_FRAME_LEN,
        });
    }
    let table_refs = compiled
        .buffer
        .relocs()
        .iter()
        .map(|reloc| match &reloc.target {
            FinalizedRelocTarget::ExternalName(ExternalName::User(_)) => Ok(TableRef {
                offset: reloc.offset,
                kind: reloc.kind,
                addend: reloc.addend,
            }),
            other => Err(EngineError::Relocation(format!("{other:?}"))),
        })
        .collect::<Result<_, _>>()?;
    Ok(NativeCode {
        text,
        table_refs,
        resume_points: lowered.resume_points,
        tier: options.tier,
    })
}

fn dump(dir: &Path, name: &str, text: &str) -> Result<(), EngineError> {
    let path = dir.join(name);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, text))
        .map_err(|error| EngineError::Dump(format!("{}: {error}", path.display())))
}
