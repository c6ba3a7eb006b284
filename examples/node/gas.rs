//! Which part of the gas is spent in frames that have a program.

use crate::blocks::{alloy, format::Block};
use alloy_evm::{EthEvmFactory, EvmFactory};
use revm::{
    Inspector,
    context_interface::{Cfg, ContextTr},
    handler::FrameResult,
    interpreter::FrameInput,
    primitives::hardfork::SpecId,
};
use revmc_jit::JitBackend;

/// Counts gas by frame: spent by its own code, with that of its instructions and without what it has
/// handed to other frames.
struct Meter<'a> {
    backend: &'a JitBackend,
    /// Of each open frame: whether it has a program, and the gas of the frames below it.
    open: Vec<(bool, u64)>,
    native: u64,
    all: u64,
}

impl<CTX: ContextTr<Cfg: Cfg<Spec: Into<SpecId>>>> Inspector<CTX> for Meter<'_> {
    fn frame_start(&mut self, context: &mut CTX, input: &mut FrameInput) -> Option<FrameResult> {
        let native = match input {
            FrameInput::Call(inputs) => {
                let spec_id = context.cfg().spec().into();
                let (hash, _) = &inputs.known_bytecode;
                self.backend.get_compiled(*hash, spec_id).is_some()
            }
            // Init code is interpreted.
            _ => false,
        };
        self.open.push((native, 0));
        None
    }

    fn frame_end(&mut self, _: &mut CTX, _: &FrameInput, result: &mut FrameResult) {
        let Some((native, below)) = self.open.pop() else {
            return;
        };
        let gas = result.gas();
        let spent = gas.limit().saturating_sub(gas.remaining());
        if let Some((_, parent)) = self.open.last_mut() {
            *parent += spent;
        }
        let own = spent.saturating_sub(below);
        self.all += own;
        self.native += if native { own } else { 0 };
    }
}

/// The part of the blocks' gas, intrinsic gas aside, that is spent in frames of contracts that the
/// backend has programs for now. Executes the blocks for it, interpreted, off any clock.
///
/// # Errors
///
/// Which transaction was refused, and why.
pub fn native_share(blocks: &[Block], backend: &JitBackend) -> Result<f64, String> {
    let mut meter = Meter {
        backend,
        open: Vec::new(),
        native: 0,
        all: 0,
    };
    for block in blocks {
        let (db, env) = (block.state.clone(), alloy::env(block));
        let factory = EthEvmFactory::default();
        let mut evm = factory.create_evm_with_inspector(db, env, &mut meter);
        alloy::execute(&mut evm, block)?;
    }
    Ok(meter.native as f64 / meter.all.max(1) as f64)
}
