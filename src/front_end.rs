//! What turns bytecode into programs: this crate's compiler, or another translator in its place.
//!
//! A backend knows another translator by [`Translate`] only, and its programs as machine code that
//! only it can run: they stand in the same map, under the same keys, budgets and counters.

use crate::{
    compiler::{CompileOptions, Rules},
    error::Result,
    key::RuntimeCacheKey,
    program::CompiledProgram,
};
use std::{fmt, sync::Arc};

/// A translator other than this crate's compiler.
pub(crate) trait Translate: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Makes the program of the code that `key` names, for `rules`. May panic.
    fn compile(
        &self,
        key: RuntimeCacheKey,
        rules: &Arc<Rules>,
        code: &[u8],
        options: &CompileOptions,
    ) -> Result<CompiledProgram>;
}

/// What a backend compiles with: by default this crate's [`compiler`](crate::compiler), whose
/// programs run frames of today's revm and are [tried](crate::trial) before they are published.
#[derive(Clone, Copy, Default)]
pub struct FrontEnd(Option<&'static dyn Translate>);

impl FrontEnd {
    /// `translator` in place of the compiler.
    #[cfg(feature = "revmc")]
    pub(crate) fn other(translator: &'static dyn Translate) -> Self {
        Self(Some(translator))
    }

    /// The translator in place of the compiler, if there is one.
    pub(crate) fn translator(self) -> Option<&'static dyn Translate> {
        self.0
    }
}

impl fmt::Debug for FrontEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.map_or("compiler", Translate::name))
    }
}
