//! Artifacts of revmc's translator: what its code depends on, and how it becomes one and comes back.
//!
//! [`artifact`] keeps machine code without knowing whose it is; this is what it has
//! to be told about the code of [`engine`]. That code reads private layouts of revm's
//! types and calls builtins by their place in a table, so it depends on the Rust compiler, on the
//! layouts that were found in the process, and on the table's length, besides what every translator
//! depends on.
//!
//! # Invariants
//!
//! * **Q1** The data beside the code is the highest resume index, four bytes little-endian.
//! * **Q2** Machine code under [`determinants`] was made by the engine of this version,
//!   for the layouts of this process, under the calling convention of revmc, with its entry at the
//!   first byte: the list names all of that, and who may say so of an artifact is restricted (V1 in
//!   `src/artifact/verified.rs`).

use crate::{
    CompiledProgram, RuntimeCacheKey,
    artifact::{
        self, ArtifactError, BuildId, Code, Determinants, Inputs, LoadedArtifact, ManifestField,
        Verified,
    },
    engine::{self, CompileOptions, EngineError, NativeCode, Tier},
};
use alloy_primitives::{B256, Bytes, hex, keccak256};
use revmc::{EvmCompilerFn, RawEvmCompilerFn, primitives::SpecId};
use std::{any::TypeId, fmt, panic::Location, sync::OnceLock};

/// The version of `revmc` that this crate is built with; `Cargo.toml` pins it.
pub const REVMC_VERSION: &str = "0.1.0";

/// The version of the interpreter whose gas rules `revmc` translates by; `Cargo.toml` pins it.
pub const INTERPRETER_VERSION: &str = "6.0.0";

/// The version of Cranelift's register allocator; `Cargo.toml` pins it, as it does not tell.
pub const REGALLOC_VERSION: &str = "0.15.2";

/// Version of the lowering from revmc's builder to Cranelift. Changes whenever the same bytecode may
/// give other code.
pub const COMPILER_VERSION: u32 = 1;

/// The settings that change generated code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BuildOptions {
    /// Optimisation setting.
    pub tier: Tier,
    /// Whether the front end's own checks are compiled in.
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

/// What is the same for all programs of a process.
struct Host {
    translator: String,
    generator: String,
    rustc: String,
    layouts: String,
    builtins: String,
}

impl Host {
    /// The first call probes; later ones return the same.
    fn get() -> Result<&'static Self, ArtifactError> {
        static HOST: OnceLock<Result<Host, EngineError>> = OnceLock::new();
        let host = HOST.get_or_init(|| {
            Ok(Self {
                translator: format!("revmc {REVMC_VERSION} revm-interpreter {INTERPRETER_VERSION}"),
                generator: format!(
                    "cranelift-codegen {} regalloc2 {REGALLOC_VERSION}",
                    cranelift_codegen::VERSION
                ),
                rustc: rustc(),
                layouts: engine::layout_fingerprint()?.to_string(),
                builtins: engine::builtin_table().len().to_string(),
            })
        });
        host.as_ref()
            .map_err(|error| ArtifactError::translator(error.clone()))
    }
}

/// Everything that decides the code of a bytecode for the rules of `spec_id`.
///
/// # Errors
/// [`ArtifactError::Translator`] if a struct layout is not one that generated code can rely on.
pub fn determinants(spec_id: SpecId, options: BuildOptions) -> Result<Determinants, ArtifactError> {
    let host = Host::get()?;
    Determinants::new(&Inputs {
        translator: &host.translator,
        generator: &host.generator,
        compiler_version: COMPILER_VERSION,
        abi_version: engine::ENGINE_VERSION,
        // Number and name: the numbers depend on the features that revm is built with.
        rules: &format!("{}:{spec_id:?}", spec_id as u8),
        options: &options.to_string(),
        cpu_features: engine::cpu_features(),
        further: &[
            ("rustc", &host.rustc),
            ("layouts", &host.layouts),
            ("builtins", &host.builtins),
        ],
    })
}

/// The builds of this process for all forks that are compiled.
///
/// # Errors
/// As [`determinants`].
pub fn builds(options: BuildOptions) -> Result<Vec<(SpecId, BuildId)>, ArtifactError> {
    (0..=SpecId::CANCUN as u8)
        .filter_map(SpecId::try_from_u8)
        .map(|spec_id| Ok((spec_id, determinants(spec_id, options)?.id())))
        .collect()
}

/// Makes an artifact of `code`, which this process compiled from `bytecode_len` bytes of bytecode
/// with `options`. Pure computation: no compiler, assembler or linker runs, nothing is stored.
///
/// # Errors
/// [`ArtifactError::Unsupported`] where artifacts are not implemented, [`ArtifactError::TooLarge`]
/// for code beyond [`MAX_TEXT_LEN`](artifact::object::MAX_TEXT_LEN), [`ArtifactError::Mismatch`] if
/// `code` was compiled for another tier than `options` says, [`ArtifactError::Translator`] if it
/// cannot be linked.
pub fn build(
    program: RuntimeCacheKey,
    bytecode_len: usize,
    options: BuildOptions,
    code: &NativeCode,
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
        determinants: &determinants(program.spec_id, options)?,
        text_len: code.text_len(),
        table_entries: engine::builtin_table().len(),
        data: Bytes::copy_from_slice(&code.resume_points().to_le_bytes()),
    };
    artifact::build(code_for_artifact, |table_offset| {
        code.link(table_offset).map_err(ArtifactError::translator)
    })
}

/// Loads an artifact of `program`, compiled with `options`, into this process.
///
/// Blocks on some system calls; not for an execution thread.
///
/// # Errors
/// As [`artifact::load`]; [`ArtifactError::Malformed`] if the data beside the code is not what
/// [`build`] puts there.
pub fn load(
    verified: &Verified,
    program: RuntimeCacheKey,
    options: BuildOptions,
) -> Result<CompiledProgram, ArtifactError> {
    let wanted = determinants(program.spec_id, options)?;
    let LoadedArtifact {
        library,
        data,
        bytecode_len,
    } = artifact::load(
        verified,
        program.code_hash,
        &wanted,
        engine::builtin_table(),
    )?;
    // Q1.
    let resume_points = <[u8; 4]>::try_from(&data[..]).map_err(|_| ArtifactError::Malformed {
        what: "resume points",
    })?;
    // SAFETY: Q2: `load` accepts a verified artifact with these determinants only; the code stays
    // mapped as long as the library lives, which goes into the program.
    let func = unsafe { std::mem::transmute::<*const u8, RawEvmCompilerFn>(library.entry()) };
    Ok(CompiledProgram::aot(
        program,
        options.tier,
        bytecode_len,
        u32::from_le_bytes(resume_points),
        EvmCompilerFn::new(func),
        library.mapped_len(),
        Box::new(library),
    ))
}

/// Identifies the compiler without a build script.
///
/// The location of a function of `core` names the compiler's commit, unless the standard library's
/// sources are installed. `TypeId`s differ between releases (documentation of [`TypeId`]).
fn rustc() -> String {
    let locate: fn() -> &'static Location<'static> = Location::caller;
    let commit = locate()
        .file()
        .strip_prefix("/rustc/")
        .and_then(|rest| rest.split('/').next());
    let commit = commit.filter(|c| c.len() == 40 && c.bytes().all(|b| b.is_ascii_hexdigit()));
    let release: B256 = keccak256(format!("{:?}", TypeId::of::<String>()));
    format!(
        "{}-{}",
        commit.unwrap_or("unknown"),
        hex::encode(&release[..8])
    )
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
    fn the_pinned_versions_are_the_ones_named() {
        let manifest = include_str!("../Cargo.toml");
        for (name, version) in [
            ("revmc", REVMC_VERSION),
            ("revm-interpreter", INTERPRETER_VERSION),
            ("regalloc2", REGALLOC_VERSION),
        ] {
            let pin = format!("\n{name} = {{ version = \"={version}\"");
            assert!(manifest.contains(&pin), "{pin}");
        }
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
                let builds = builds(options).unwrap();
                assert!(builds.len() > 10, "{builds:?}");
                count += builds.len();
                ids.extend(builds.into_iter().map(|(_, id)| id));
            }
        }
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn the_exact_code_generator_is_named() {
        let determinants = determinants(SpecId::CANCUN, OPTIONS).unwrap();
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
                "rustc",
                "layouts",
                "builtins",
            ]
        );
    }
}
