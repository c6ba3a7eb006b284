//! Artifacts of the compiler: what its code depends on, and how it becomes one and comes back.
//!
//! [`artifact`] keeps machine code without knowing whose it is; this is what it has to be told about
//! the code of [`compiler`]. That code depends on the ABI of [`frame`], the rules, the compiler and
//! its code generator, the options and the instruction set, and on nothing of the build that made it.
//!
//! # Invariants
//!
//! * **Q1** The data beside the code is its entry table.
//! * **Q2** Machine code under [`determinants`] was made by this crate's compiler of this version, for
//!   these rules, with its entry at the first byte, together with its entry table: the list names all of
//!   that, and who may say so of an artifact is restricted (V1 in `src/artifact/verified.rs`).

use crate::{
    artifact::{
        self, ArtifactError, BuildId, Code, Determinants, Inputs, LoadedArtifact, ManifestField,
        Verified,
    },
    chain::Chain,
    compiler::{self, CompileOptions, EntryPoint, NativeCode, Rules, Tier},
    error::{Error, Result, StoreError},
    frame::{self, Entry},
    key::RuntimeCacheKey,
    program::CompiledProgram,
    trial::{self, Passed},
};
use alloy_primitives::{Bytes, keccak256};
use revm_interpreter::primitives::hardfork::SpecId;
use std::{fmt, sync::Arc};

/// The version of Cranelift's register allocator; `Cargo.toml` pins it, as it does not tell.
pub const REGALLOC_VERSION: &str = "0.15.2";

/// The settings that change generated code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BuildOptions {
    /// Optimisation setting.
    pub tier: Tier,
    /// Whether Cranelift checked its own work; as
    /// [`RuntimeConfig::debug_assertions`](crate::RuntimeConfig::debug_assertions).
    pub debug_assertions: bool,
}

impl From<&CompileOptions> for BuildOptions {
    fn from(options: &CompileOptions) -> Self {
        Self {
            tier: options.tier,
            debug_assertions: options.debug_assertions,
        }
    }
}

impl fmt::Display for BuildOptions {
    /// Gas is always metered; the words are there so that code without it could not pass for
    /// this.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},gas-metered", self.tier)?;
        if self.debug_assertions {
            f.write_str(",debug-assertions")
        } else {
            Ok(())
        }
    }
}

/// Everything that decides the code of a bytecode for `rules`, the rules at `spec_id`.
///
/// # Errors
/// As [`Determinants::new`].
pub fn determinants(
    spec_id: SpecId,
    rules: &Rules,
    options: BuildOptions,
) -> Result<Determinants, ArtifactError> {
    Determinants::new(&Inputs {
        translator: "revmc-jit",
        generator: &format!(
            "cranelift-codegen {} regalloc2 {REGALLOC_VERSION}",
            cranelift_codegen::VERSION
        ),
        compiler_version: compiler::COMPILER_VERSION,
        abi_version: frame::ABI_VERSION,
        // The name tells forks apart whose rules are the same.
        rules: &format!("{spec_id:?} {}", rules.id()),
        options: &options.to_string(),
        cpu_features: compiler::cpu_features(),
        further: &[],
    })
}

/// The builds of this process for all forks of a chain.
///
/// # Errors
/// As [`determinants`].
pub fn builds(
    chain: &Chain,
    options: BuildOptions,
) -> Result<Vec<(SpecId, BuildId)>, ArtifactError> {
    (0..=SpecId::NEXT as u8)
        .filter_map(SpecId::try_from_u8)
        .map(|spec_id| {
            Ok((
                spec_id,
                determinants(spec_id, chain.rules(spec_id), options)?.id(),
            ))
        })
        .collect()
}

/// Compiles `bytecode` for `rules`, the rules at `spec_id`, tries the program if `trial` says how
/// ([`trial::run`]), and makes an artifact of it, under the hash of these very bytes. Nothing is stored.
/// Not for an execution thread.
///
/// There is no other way from safe code to an artifact of this process: what machine code was
/// compiled from is not the caller's to say.
///
/// ```
/// use revmc_jit::{Chain, aot, aot::BuildOptions, compiler::Tier, primitives::{SpecId, keccak256}};
///
/// # #[cfg(target_os = "linux")] {
/// let (code, spec_id) = ([0x60, 0x01, 0x00], SpecId::OSAKA);
/// let options = BuildOptions { tier: Tier::Optimized, debug_assertions: false };
/// let artifact = aot::make(&code, spec_id, Chain::mainnet().rules(spec_id), options, None)?;
/// assert_eq!(artifact.manifest().code_hash, keccak256(code));
/// # }
/// # Ok::<(), revmc_jit::Error>(())
/// ```
///
/// ```compile_fail,E0603
/// use revmc_jit::{Chain, RuntimeCacheKey, aot, aot::BuildOptions, compiler::{self, Tier}};
///
/// // One contract's code under another one's name.
/// fn exchange(code: &[u8], other: RuntimeCacheKey, options: BuildOptions) {
///     let chain = Chain::mainnet();
///     let rules = chain.rules(other.spec_id);
///     let native = compiler::compile(code, rules, &Default::default()).unwrap();
///     aot::build(other, rules, 1, options, &native);
/// }
/// ```
///
/// # Errors
/// [`Error::Compile`]; [`Error::Code`] and [`Error::Miscompiled`] of a trial; [`Error::Artifact`] with
/// [`ArtifactError::Unsupported`] where artifacts are not implemented, with [`ArtifactError::TooLarge`]
/// for code beyond [`MAX_TEXT_LEN`](artifact::object::MAX_TEXT_LEN).
pub fn make(
    bytecode: &[u8],
    spec_id: SpecId,
    rules: &Rules,
    options: BuildOptions,
    trial: Option<&trial::Options>,
) -> Result<Verified> {
    let compile = CompileOptions {
        tier: options.tier,
        debug_assertions: options.debug_assertions,
        ..CompileOptions::default()
    };
    let code = compiler::compile(bytecode, rules, &compile)?;
    let code_hash = keccak256(bytecode);
    let program = RuntimeCacheKey { code_hash, spec_id };
    let passed = match trial {
        Some(trial) => {
            let rules = Arc::new(rules.clone());
            let tried = CompiledProgram::jit(program, rules, bytecode.len(), &code)?;
            let bytecode = Bytes::copy_from_slice(bytecode);
            Some(trial::run(&tried, &bytecode, trial).map_err(Error::Miscompiled)?)
        }
        None => None,
    };
    let made = build(
        program,
        rules,
        bytecode.len(),
        options,
        &code,
        passed.as_ref(),
    );
    made.map_err(|error| StoreError::from(error).into())
}

/// Makes an artifact of `code`, which this process compiled with `options` for `rules` from
/// `bytecode_len` bytes of bytecode with the hash of `program` (Q2); `trial` is what its trial came to,
/// if there was one. Pure computation: no compiler, assembler or linker runs, nothing is stored.
///
/// # Errors
/// [`ArtifactError::Unsupported`] where artifacts are not implemented, [`ArtifactError::TooLarge`]
/// for code beyond [`MAX_TEXT_LEN`](artifact::object::MAX_TEXT_LEN), [`ArtifactError::Mismatch`] if
/// `code` was compiled for another tier than `options` says.
pub(crate) fn build(
    program: RuntimeCacheKey,
    rules: &Rules,
    bytecode_len: usize,
    options: BuildOptions,
    code: &NativeCode,
    trial: Option<&Passed>,
) -> Result<Verified, ArtifactError> {
    if code.tier() != options.tier {
        let found = BuildOptions {
            tier: code.tier(),
            ..options
        };
        let field = ManifestField::Determinant("options".into());
        return Err(ArtifactError::mismatch(field, options, found));
    }
    let code_for_artifact = Code {
        code_hash: program.code_hash,
        bytecode_len,
        determinants: &determinants(program.spec_id, rules, options)?,
        text_len: code.text_len(),
        table_entries: 0,
        data: code.entry_table().into(),
        trial_runs: trial.map_or(0, |passed| passed.runs),
    };
    artifact::build(code_for_artifact, |_| Ok(code.text().to_vec()))
}

/// Loads an artifact of `program`, compiled with `options`, into this process.
///
/// Blocks on some system calls; not for an execution thread.
///
/// # Errors
/// As [`artifact::load`]; [`ArtifactError::Malformed`] if the data beside the code is not an entry
/// table.
pub fn load(
    verified: &Verified,
    program: RuntimeCacheKey,
    rules: &Arc<Rules>,
    options: BuildOptions,
) -> Result<CompiledProgram, ArtifactError> {
    let wanted = determinants(program.spec_id, rules, options)?;
    let LoadedArtifact {
        library,
        data,
        bytecode_len,
    } = artifact::load(verified, program.code_hash, &wanted, &[])?;
    // Q1.
    let entries = EntryPoint::parse_table(&data).ok_or(ArtifactError::Malformed {
        what: "entry table",
    })?;
    // SAFETY: Q2: `load` accepts a verified artifact with these determinants only; the code stays
    // mapped as long as the library lives, which goes into the program.
    let entry = unsafe { std::mem::transmute::<*const u8, Entry>(library.entry()) };
    Ok(CompiledProgram::aot(
        program,
        Arc::clone(rules),
        options.tier,
        bytecode_len,
        entries,
        entry,
        [library.text_len(), library.mapped_len()],
        Box::new(library),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const OPTIONS: BuildOptions = BuildOptions {
        tier: Tier::Optimized,
        debug_assertions: false,
    };

    #[test]
    fn the_pinned_version_is_the_one_named() {
        let manifest = include_str!("../Cargo.toml");
        let pin = format!("\nregalloc2 = {{ version = \"={REGALLOC_VERSION}\"");
        assert!(manifest.contains(&pin), "{pin}");
    }

    #[test]
    fn every_fork_and_option_is_a_build_of_its_own() {
        let mut ids = HashSet::new();
        let mut count = 0;
        for tier in [Tier::Baseline, Tier::Optimized] {
            for debug_assertions in [false, true] {
                let options = BuildOptions {
                    tier,
                    debug_assertions,
                };
                let builds = builds(&Chain::mainnet(), options).unwrap();
                assert!(builds.len() > 10, "{builds:?}");
                count += builds.len();
                ids.extend(builds.into_iter().map(|(_, id)| id));
            }
        }
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn the_exact_code_generator_is_named() {
        let determinants = determinants(
            SpecId::CANCUN,
            Chain::mainnet().rules(SpecId::CANCUN),
            OPTIONS,
        )
        .unwrap();
        let expected = format!(
            "cranelift-codegen {} regalloc2 {REGALLOC_VERSION}",
            cranelift_codegen::VERSION
        );
        assert_eq!(determinants.get("generator"), Some(&*expected));
        let names: Vec<_> = determinants.facts().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "format",
                "crate",
                "target",
                "translator",
                "generator",
                "compiler-version",
                "abi-version",
                "rules",
                "options",
                "cpu-features",
            ]
        );
    }
}
