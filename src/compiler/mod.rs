//! Bytecode and rules in, machine code out.
//!
//! A pure function of the bytecode, the [`Rules`], the options and the machine: the same input gives
//! the same bytes. This room knows no threads, no stores and no EVM but what the rules say.
//!
//! # Passes
//!
//! | pass | file | contract | gives |
//! |---|---|---|---|
//! | 1 | `decode` | | instructions |
//! | 2 | `blocks` | | basic blocks, and runs in them |
//! | 3 | `inline` | B1, B2 | copies of small functions for their callers |
//! | 4 | `edges`, on `constants` | C1-C4 | where jumps lead to, and which blocks are come by in known ways only |
//! | 5 | `flow` | D1-D3 | what a block asks of stack, memory and gas ahead |
//! | 6 | `address` | a guess | which sums are addresses |
//!
//! Then `x64` makes machine code of it in one pass, for which `clif` compiles the loops in the tier that
//! takes its time; where there is no `x64`, `clif` compiles all, without pass 3. `tests_passes` compares the
//! passes with a machine that knows nothing of them, `x64::check` reads the finished machine code again.

mod address;
mod blocks;
mod clif;
mod constants;
mod decode;
pub(crate) mod dump;
mod edges;
mod effect;
mod error;
pub(crate) mod fault;
mod flow;
mod hash;
mod inline;
mod isa;
#[cfg(feature = "revmc")]
pub(crate) mod limbs;
#[cfg(not(feature = "revmc"))]
mod limbs;
mod program;
mod rules;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests_passes;
#[cfg(target_arch = "x86_64")]
mod x64;

pub(crate) use effect::op;
pub use effect::{Effect, effect};
pub use error::CompileError;
pub use flow::Demand;
pub use isa::cpu_features;
pub(crate) use program::EntryTable;
pub use program::{EntryPoint, NativeCode};
pub use rules::{Rules, StaticGas};
#[cfg(feature = "revmc")]
pub(crate) use {clif::machine_code, isa::isa};

use alloy_primitives::hex;
use std::{fmt, path::PathBuf};

/// The version of the compiler: changed with every change of the code it generates. Part of every
/// artifact's key.
pub const COMPILER_VERSION: u32 = 11;

/// The largest code that the newest supported fork allows to be deployed, in bytes: EIP-7954, Amsterdam.
pub const MAX_CODE_LEN: usize = 0x10000;

/// Bytecode beyond is never taken: a program counter and an opcode fit 32 bits, also that of the STOP behind
/// the bytecode.
pub const MAX_BYTECODE_LEN: usize = (1 << 24) - 1 - CUT_PUSH;

/// How far behind the bytecode the STOP stands that analysis adds to it, at most: behind the bytes that a last
/// PUSH32 lacks.
const CUT_PUSH: usize = 32;

/// How much work goes into the machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// All in one pass over the blocks.
    Baseline,
    /// The same, but for loops, which Cranelift compiles with its optimisations.
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

/// An optimisation setting, as compilers are given it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OptimizationLevel {
    /// [`Tier::Baseline`].
    None,
    /// [`Tier::Baseline`].
    Less,
    /// [`Tier::Optimized`].
    #[default]
    Default,
    /// [`Tier::Optimized`].
    Aggressive,
}

impl From<OptimizationLevel> for Tier {
    fn from(level: OptimizationLevel) -> Self {
        match level {
            OptimizationLevel::None | OptimizationLevel::Less => Self::Baseline,
            OptimizationLevel::Default | OptimizationLevel::Aggressive => Self::Optimized,
        }
    }
}

/// Settings of one compilation.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// How much work goes into the machine code. Default: [`Tier::Optimized`].
    pub tier: Tier,
    /// Longest bytecode that is taken, in bytes. Default: [`MAX_CODE_LEN`].
    pub max_bytecode_len: usize,
    /// Longest machine code that is taken, in bytes. Default: 16 MiB.
    pub max_native_len: usize,
    /// Compiles everything with the code generator that all machines have, as on one without an emitter
    /// of its own. Default: off.
    pub portable: bool,
    /// Verifies the compiler's own work: the representation that Cranelift is given, and its register
    /// allocation. Default: off. A build of this crate with debug assertions always verifies the former.
    pub debug_assertions: bool,
    /// Writes the bytecode, what the passes have found and listings of the machine code into this folder, which is made
    /// if it is not there; [`RuntimeConfig::dump_dir`](crate::RuntimeConfig::dump_dir) has the files.
    /// Blocks on the file system. Default: none.
    pub dump_dir: Option<PathBuf>,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            tier: Tier::Optimized,
            max_bytecode_len: MAX_CODE_LEN,
            max_native_len: 16 << 20,
            portable: false,
            debug_assertions: false,
            dump_dir: None,
        }
    }
}

/// Compiles `bytecode` for `rules`.
///
/// A pure function, but for what [`CompileOptions::dump_dir`] has written. Takes a millisecond or a few for a
/// contract, at most some tens at [`Tier::Optimized`], so call it on any thread but one that executes blocks.
///
/// # Errors
///
/// [`CompileError`] says what about the bytecode or the machine is not supported, or which limit was
/// met.
pub fn compile(
    bytecode: &[u8],
    rules: &Rules,
    options: &CompileOptions,
) -> Result<NativeCode, CompileError> {
    if bytecode.first() == Some(&0xef) {
        return Err(CompileError::Reserved);
    }
    let max = options.max_bytecode_len.min(MAX_BYTECODE_LEN);
    if bytecode.len() > max {
        let len = bytecode.len();
        return Err(CompileError::BytecodeTooLong { len, max });
    }
    dump::file(options, "bytecode.hex", || hex::encode(bytecode))?;
    let passes = Passes::run(bytecode, rules, !uses_clif(options))?;
    let program = passes.program(bytecode, rules);
    dump::file(options, "passes.txt", || dump::passes(&program))?;
    let (text, entries) = emit(&program, options)?;
    Ok(NativeCode {
        text,
        entries,
        tier: options.tier,
    })
}

/// The results of the passes, in their order.
struct Passes {
    insts: Vec<decode::Inst>,
    blocks: blocks::Blocks,
    flow: Vec<flow::Flow>,
    sums: Vec<bool>,
}

impl Passes {
    /// With functions copied to their callers, if `inline`.
    fn run(bytecode: &[u8], rules: &Rules, inline: bool) -> Result<Self, CompileError> {
        let mut insts = decode::decode(bytecode, rules);
        let mut blocks = blocks::split(&insts);
        blocks::check_gas(&insts, &blocks, rules)?;
        if inline {
            inline::functions(bytecode, &mut insts, &mut blocks);
        }
        let edges = edges::find(bytecode, &insts, &blocks);
        if inline {
            inline::bury(&mut blocks, &edges);
        }
        let flow = flow::follow(&insts, &blocks, edges, rules);
        let sums = address::sums(bytecode, &insts, &blocks);
        Ok(Self {
            insts,
            blocks,
            flow,
            sums,
        })
    }

    fn program<'a>(&'a self, code: &'a [u8], rules: &'a Rules) -> Program<'a> {
        Program {
            code,
            insts: &self.insts,
            blocks: &self.blocks,
            flow: &self.flow,
            sums: &self.sums,
            rules,
        }
    }
}

/// Where the basic blocks of `bytecode` begin that control can get to if every JUMPDEST can be jumped
/// to, in order.
pub fn block_starts(bytecode: &[u8], rules: &Rules) -> Vec<u32> {
    let blocks = blocks::split(&decode::decode(bytecode, rules)).blocks;
    let live = blocks.iter().filter(|block| block.live);
    live.map(|block| block.pc).collect()
}

/// What the passes have found.
#[derive(Clone, Copy)]
struct Program<'a> {
    code: &'a [u8],
    insts: &'a [decode::Inst],
    blocks: &'a blocks::Blocks,
    flow: &'a [flow::Flow],
    /// Which sums are addresses, by instruction.
    sums: &'a [bool],
    rules: &'a Rules,
}

impl Program<'_> {
    /// Whether a frame can enter a block from outside, or by a jump of another part of the program.
    fn is_entered(&self, index: usize) -> bool {
        let block = &self.blocks.blocks[index];
        // C1, B2
        let open = !self.flow[index].edges.closed && !self.blocks.is_copy(index);
        open && block.live && (block.enterable || block.jumpdest)
    }
}

/// Whether all of a program is compiled by Cranelift.
fn uses_clif(options: &CompileOptions) -> bool {
    #[cfg(target_arch = "x86_64")]
    let emitter = x64::supported();
    #[cfg(not(target_arch = "x86_64"))]
    let emitter = false;
    options.portable || !emitter
}

/// By one pass, and its loops by Cranelift in the tier that takes its time; all by Cranelift where there is
/// no emitter for the machine.
fn emit(
    program: &Program<'_>,
    options: &CompileOptions,
) -> Result<(Vec<u8>, Vec<EntryPoint>), CompileError> {
    #[cfg(target_arch = "x86_64")]
    if !uses_clif(options) {
        let loops = match options.tier {
            Tier::Baseline => None,
            Tier::Optimized => clif::loops(program, options)?,
        };
        return x64::emit(program, loops, options);
    }
    clif::emit(program, options)
}
