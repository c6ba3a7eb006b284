//! How a [`JitBackend`](crate::JitBackend) compiles with revmc's translator: forks and errors in its
//! terms, and a [`Program`] inside a [`CompiledProgram`].

use super::{Program, TranslateError, compile};
use crate::{
    chain::Chain,
    compiler::{CompileError, CompileOptions, Rules},
    error::{Error, Result},
    front_end::{FrontEnd, Translate},
    key::RuntimeCacheKey,
    program::CompiledProgram,
};
use revm_interpreter::primitives::hardfork::SpecId as KeySpecId;
use revmc::primitives::SpecId;
use std::sync::Arc;

struct Revmc;

/// What makes a backend compile for revm 10, as [`RuntimeConfig::front_end`].
///
/// Its programs run by [`Program::run_frame`], which [`Program::of`] gives; today's revm refuses
/// them. They follow mainnet's rules, and are not stored: a backend with this front end has no store.
/// Nor are they [tried](crate::trial) before they are published, as trials are for frames of today's revm.
///
/// [`RuntimeConfig::front_end`]: crate::RuntimeConfig::front_end
pub fn front_end() -> FrontEnd {
    FrontEnd::other(&Revmc)
}

impl Translate for Revmc {
    fn name(&self) -> &'static str {
        "revmc"
    }

    fn compile(
        &self,
        key: RuntimeCacheKey,
        rules: &Arc<Rules>,
        code: &[u8],
        options: &CompileOptions,
    ) -> Result<CompiledProgram> {
        if rules != Chain::mainnet().rules(key.spec_id) {
            let what = "revmc compiles for mainnet's rules only";
            return Err(CompileError::Unsupported(what.into()).into());
        }
        let spec_id = spec_id(key.spec_id)
            .ok_or_else(|| CompileError::Unsupported(format!("fork {:?}", key.spec_id)))?;
        let program = compile(code, spec_id, options).and_then(|code| Program::new(&code))?;
        let text = [
            program.address(),
            program.native_len(),
            program.mapped_len(),
        ];
        let tier = program.tier();
        let rules = Arc::clone(rules);
        Ok(CompiledProgram::other(
            key,
            rules,
            tier,
            code.len(),
            text,
            Box::new(program),
        ))
    }
}

impl Program {
    /// The program that a backend with this [`front_end`] has compiled; `None` if it is another
    /// front end's.
    pub fn of(program: &CompiledProgram) -> Option<&Self> {
        program.machine()
    }
}

impl From<TranslateError> for Error {
    fn from(error: TranslateError) -> Self {
        match error {
            TranslateError::Compile(error) => error.into(),
            TranslateError::Memory(error) => error.into(),
            TranslateError::UnsupportedFork(_)
            | TranslateError::WideJumpTarget { .. }
            | TranslateError::TooManyResumePoints(_) => {
                CompileError::Unsupported(error.to_string()).into()
            }
            TranslateError::UnknownConstruct(_)
            | TranslateError::FrontEnd(_)
            | TranslateError::Layout(_)
            | TranslateError::Relocation(_) => CompileError::Codegen(error.to_string()).into(),
        }
    }
}

/// Today's forks that revm 10 has, with its name for their rules.
const FORKS: [(KeySpecId, SpecId); 12] = [
    (KeySpecId::FRONTIER, SpecId::FRONTIER),
    (KeySpecId::HOMESTEAD, SpecId::HOMESTEAD),
    (KeySpecId::TANGERINE, SpecId::TANGERINE),
    (KeySpecId::SPURIOUS_DRAGON, SpecId::SPURIOUS_DRAGON),
    (KeySpecId::BYZANTIUM, SpecId::BYZANTIUM),
    (KeySpecId::PETERSBURG, SpecId::PETERSBURG),
    (KeySpecId::ISTANBUL, SpecId::ISTANBUL),
    (KeySpecId::BERLIN, SpecId::BERLIN),
    (KeySpecId::LONDON, SpecId::LONDON),
    (KeySpecId::MERGE, SpecId::MERGE),
    (KeySpecId::SHANGHAI, SpecId::SHANGHAI),
    (KeySpecId::CANCUN, SpecId::CANCUN),
];

/// revm 10's name for a fork, up to Cancun.
fn spec_id(key: KeySpecId) -> Option<SpecId> {
    FORKS
        .iter()
        .find(|(ours, _)| *ours == key)
        .map(|(_, its)| *its)
}

/// The fork in a [`RuntimeCacheKey`] for a fork of revm 10: that whose rules it has. `None` past
/// Cancun.
pub fn key_spec_id(spec_id: SpecId) -> Option<KeySpecId> {
    // revm 10 numbers the forks in order, those that changed no rules of instructions among them; but
    // Constantinople, which it runs by the rules of Petersburg.
    if spec_id as u8 > SpecId::CANCUN as u8 {
        return None;
    }
    if spec_id == SpecId::CONSTANTINOPLE {
        return Some(KeySpecId::PETERSBURG);
    }
    let mut forks = FORKS.iter().rev();
    forks
        .find(|(_, its)| *its as u8 <= spec_id as u8)
        .map(|(ours, _)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use revmc::primitives::{Spec, spec_to_generic};

    #[test]
    fn forks_have_the_rules_that_revm_10_gives_them() {
        let mut known = 0;
        for number in 0..=u8::MAX {
            let Some(fork) = SpecId::try_from_u8(number) else {
                continue;
            };
            let canonical = spec_to_generic!(fork, SPEC::SPEC_ID);
            let expected = (fork as u8 <= SpecId::CANCUN as u8).then_some(canonical);
            assert_eq!(key_spec_id(fork).and_then(spec_id), expected, "{fork:?}");
            known += usize::from(expected.is_some());
        }
        assert_eq!(known, 18);
        assert_eq!(spec_id(KeySpecId::PRAGUE), None);
    }
}
