//! The back end that revmc's compiler is instantiated with.
//!
//! `EvmCompiler` owns its back end and gives it back to nobody, and refuses further functions once
//! it has been finalised. So there is one compiler per function, and the finished function leaves
//! through a slot that the caller shares with the back end; the object and JIT operations of the
//! trait are never reached.

use super::{
    TranslateError,
    layout::Layout,
    lower::{
        Lowered, Lowering,
        blocks::BasicBlock,
        builder::{CraneliftBuilder, Function, LengthSlot, front_end_types},
        value::{Type, Value},
    },
};
use crate::compiler::Tier;
use cranelift_codegen::isa::CallConv;
use revmc::{Backend, BackendTypes, Linkage, OptimizationLevel, Result, TypeMethods, eyre::bail};
use std::{cell::RefCell, io, path::Path, rc::Rc};

/// Where a [`CraneliftBackend`] leaves its function.
pub(super) type Slot = Rc<RefCell<Option<Lowering>>>;

/// Lowers one function into its [`Slot`].
pub(super) struct CraneliftBackend {
    lowering: Option<Lowering>,
    slot: Slot,
    layout: &'static Layout,
    call_conv: CallConv,
    tier: Tier,
}

impl CraneliftBackend {
    pub(super) fn new(layout: &'static Layout, call_conv: CallConv, tier: Tier) -> (Self, Slot) {
        let slot = Slot::default();
        let this = Self {
            lowering: None,
            slot: slot.clone(),
            layout,
            call_conv,
            tier,
        };
        (this, slot)
    }
}

impl Drop for CraneliftBackend {
    fn drop(&mut self) {
        *self.slot.borrow_mut() = self.lowering.take();
    }
}

/// Takes the finished function out of the slot of a back end that has been dropped.
pub(super) fn take(slot: &Slot) -> Result<Lowered, TranslateError> {
    match slot.borrow_mut().take() {
        Some(lowering) => lowering.finish(),
        None => Err(TranslateError::FrontEnd("no function was built".into())),
    }
}

front_end_types!(CraneliftBackend);

impl Backend for CraneliftBackend {
    type Builder<'a> = CraneliftBuilder<'a>;
    type FuncId = ();

    fn ir_extension(&self) -> &'static str {
        "clif"
    }

    fn set_module_name(&mut self, _name: &str) {}

    fn set_is_dumping(&mut self, _yes: bool) {}

    fn set_debug_assertions(&mut self, _yes: bool) {}

    fn opt_level(&self) -> OptimizationLevel {
        match self.tier {
            Tier::Baseline => OptimizationLevel::None,
            Tier::Optimized => OptimizationLevel::Default,
        }
    }

    // The tier is the caller's choice.
    fn set_opt_level(&mut self, _level: OptimizationLevel) {}

    fn dump_ir(&mut self, _path: &Path) -> Result<()> {
        bail!("`compile` writes its own dumps")
    }

    fn dump_disasm(&mut self, _path: &Path) -> Result<()> {
        bail!("`compile` writes its own dumps")
    }

    fn is_aot(&self) -> bool {
        false
    }

    fn build_function(
        &mut self,
        _name: &str,
        _ret: Option<Type>,
        _params: &[Type],
        _param_names: &[&str],
        _linkage: Linkage,
    ) -> Result<(Self::Builder<'_>, ())> {
        let lowering = self
            .lowering
            .insert(Lowering::new(self.layout, self.call_conv, self.tier));
        Ok((CraneliftBuilder { lowering }, ()))
    }

    fn verify_module(&mut self) -> Result<()> {
        Ok(())
    }

    fn optimize_module(&mut self) -> Result<()> {
        Ok(())
    }

    fn write_object<W: io::Write>(&mut self, _w: W) -> Result<()> {
        bail!("functions leave through the slot")
    }

    fn jit_function(&mut self, _id: ()) -> Result<usize> {
        bail!("functions leave through the slot")
    }

    // SAFETY: nothing is freed; code belongs to its mapping (P1).
    unsafe fn free_function(&mut self, _id: ()) -> Result<()> {
        Ok(())
    }

    // SAFETY: nothing executable is freed; code belongs to its mapping (P1).
    unsafe fn free_all_functions(&mut self) -> Result<()> {
        self.lowering = None;
        Ok(())
    }
}
