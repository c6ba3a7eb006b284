//! Machine code by Cranelift: better than one pass can do, on every machine that it knows.
//!
//! The contract is that of any back end: the runs, leaves, demands and gas ahead of `blocks` and
//! `flow`, and the frame of `crate::frame`. What is its own:
//!
//! * A word is four limbs (`limbs`), each a constant, a comparison's result or an SSA value, loaded from stack
//!   memory when it is first used. What moves words costs nothing; what does not change them is not
//!   written back.
//! * A block that is only fallen into takes over the words of the block before.
//! * In loops without boundary instructions, whose blocks lead to each other by static edges, the words
//!   that they use, the gas and the stack's top are parameters of the blocks: see `loops`.
//! * The frame stands in Cranelift's pinned register; there is one way out; whatever is rare is in cold
//!   blocks, which Cranelift puts behind all others.
//! * Jumps with unknown targets go through a table over a hash of the target: see `dispatch`. Nothing
//!   refers to anything by address, so the text has no relocations.
//!
//! | file | job |
//! |---|---|
//! | `loops` | which blocks pass words on, and which words |
//! | `state` | the virtual stack |
//! | `generate` | blocks, runs, charges, leaves |
//! | `words` | words and the stack's memory, write-back |
//! | `edges` | ways from block to block, boundaries |
//! | `dispatch` | ways in, jumps with unknown targets |
//! | `select` | which instruction is whose |
//! | `memory` | memory and call data |

mod dispatch;
mod edges;
mod generate;
mod loops;
mod memory;
mod select;
mod state;
#[cfg(test)]
mod tests;
mod words;

use super::{CompileOptions, EntryPoint, Program, Tier, dump, error::CompileError};
use crate::frame::MAX_NATIVE_STACK;
use cranelift_codegen::{
    Context, FinalizedMachReloc,
    control::ControlPlane,
    ir,
    isa::{OwnedTargetIsa, TargetIsa},
};

/// The code of a program's loops, for the back end of the rest: `extern "C" fn(*mut NativeFrame, u32) -> u32`
/// from a canonical frame to a canonical frame. Its second argument is an index of `entries`; it
/// answers an exit, or [`LOOP_EXITS`](crate::frame::LOOP_EXITS) plus an index of `exits`.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) struct LoopCode {
    pub(super) text: Vec<u8>,
    /// Which blocks it has.
    pub(super) members: Vec<bool>,
    /// Blocks where it is entered.
    pub(super) entries: Vec<u32>,
    /// Blocks of the rest where control goes on.
    pub(super) exits: Vec<u32>,
}

/// Compiles a program's loops; `None` if it has none, or too much of them.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) fn loops(
    program: &Program<'_>,
    options: &CompileOptions,
) -> Result<Option<LoopCode>, CompileError> {
    let loops = loops::Loops::find(program);
    let members = loops.members();
    if !members.contains(&true) {
        return Ok(None);
    }
    let isa = isa(options)?;
    let compiled = generate::generate(*program, loops, Part::Loops, isa.default_call_conv())
        .and_then(|generated| {
            Ok((
                compile(generated.func, options, &*isa)?,
                generated.entered,
                generated.exits,
            ))
        });
    let (text, entered, exits) = match compiled {
        Ok(compiled) => compiled,
        // The other back end has no such limits.
        Err(CompileError::TooComplex { .. } | CompileError::FrameTooLarge { .. }) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    Ok(Some(LoopCode {
        text,
        members,
        entries: entered.iter().map(|&block| block as u32).collect(),
        exits: exits.iter().map(|&block| block as u32).collect(),
    }))
}

/// What of a program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
enum Part {
    Whole,
    Loops,
}

impl Part {
    /// Instructions of Cranelift's beyond which a function is refused: its time and memory grow with
    /// them.
    fn max_instructions(self) -> usize {
        match self {
            Self::Whole => 400_000,
            Self::Loops => 24_000,
        }
    }
}

/// Compiles a program: its text and entry points.
pub(super) fn emit(
    program: &Program<'_>,
    options: &CompileOptions,
) -> Result<(Vec<u8>, Vec<EntryPoint>), CompileError> {
    let loops = match options.tier {
        Tier::Baseline => loops::Loops::none(program.blocks.blocks.len()),
        Tier::Optimized => loops::Loops::find(program),
    };
    let isa = isa(options)?;
    let generated = generate::generate(*program, loops, Part::Whole, isa.default_call_conv())?;
    let entered = generated.entered.iter().enumerate();
    let entries = entered.map(|(operand, &index)| EntryPoint {
        pc: program.blocks.blocks[index].pc,
        operand: operand as u32,
        demand: program.flow[index].demand,
    });
    let entries = entries.collect();
    Ok((compile(generated.func, options, &*isa)?, entries))
}

fn isa(options: &CompileOptions) -> Result<OwnedTargetIsa, CompileError> {
    super::isa::isa(options.tier, options.debug_assertions, true)
}

/// Compiles a function that refers to nothing.
fn compile(
    func: ir::Function,
    options: &CompileOptions,
    isa: &dyn TargetIsa,
) -> Result<Vec<u8>, CompileError> {
    let (text, relocs) = machine_code(func, options, isa, MAX_NATIVE_STACK)?;
    if let Some(reloc) = relocs.first() {
        return Err(CompileError::Codegen(format!(
            "a reference out of the text: {reloc:?}"
        )));
    }
    Ok(text)
}

/// Compiles a function, which may use so much of the thread's stack: its text and what that refers to.
pub(crate) fn machine_code(
    func: ir::Function,
    options: &CompileOptions,
    isa: &dyn TargetIsa,
    max_stack: usize,
) -> Result<(Vec<u8>, Vec<FinalizedMachReloc>), CompileError> {
    let mut context = Context::for_function(func);
    context.set_disasm(options.dump_dir.is_some());
    dump::file(options, "function.clif", || {
        context.func.display().to_string()
    })?;
    let compiled = context
        .compile(isa, &mut ControlPlane::default())
        .map_err(|error| CompileError::Codegen(format!("{:?}", error.inner)))?;
    if let Some(listing) = &compiled.vcode {
        dump::file(options, "function.asm", || listing.clone())?;
    }
    let text = compiled.code_buffer().to_vec();
    if text.len() > options.max_native_len {
        let (len, max) = (text.len(), options.max_native_len);
        return Err(CompileError::NativeTooLarge { len, max });
    }
    // F6: values that found no register are in the thread's stack.
    let layout = compiled.buffer.frame_layout();
    let len = layout.map_or(0, |layout| layout.frame_to_fp_offset as usize);
    if len > max_stack {
        let max = max_stack;
        return Err(CompileError::FrameTooLarge { len, max });
    }
    Ok((text, compiled.buffer.relocs().to_vec()))
}
