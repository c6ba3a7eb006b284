//! What an artifact has to agree with: the program, the machine, and the settings.

use super::{
    error::{ArtifactError, ManifestField},
    object::Machine,
};
use crate::engine::{self, CompileOptions, Tier};
use alloy_primitives::{B256, hex, keccak256};
use std::{any::TypeId, fmt, panic::Location, sync::OnceLock};

/// The version of `revmc` that this crate is built with; `Cargo.toml` pins it.
pub const REVMC_VERSION: &str = "0.1.0";

/// Everything about a process that decides whether machine code fits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Version of this crate.
    pub crate_version: String,
    /// Version of the `revmc` front end.
    pub revmc_version: String,
    /// [`ENGINE_VERSION`](engine::ENGINE_VERSION).
    pub engine_version: u32,
    /// The Rust compiler: its commit where the standard library tells it, and a hash that differs
    /// between releases.
    pub rustc: String,
    /// Architecture, operating system and C library.
    pub target: String,
    /// Instruction-set extensions, sorted: those the CPU has, or those the code uses.
    pub cpu_features: Vec<String>,
    /// Fingerprint of every struct layout that generated code relies on, probed in the process.
    pub layout_fingerprint: B256,
    /// Number of entries of the builtin table.
    pub table_entries: u32,
}

impl Environment {
    /// This process. The first call probes it; later ones return the same value.
    ///
    /// # Errors
    /// [`ArtifactError::Unsupported`] where artifacts are not implemented,
    /// [`ArtifactError::Engine`] if a struct layout is not one that generated code can rely on.
    pub fn host() -> Result<&'static Self, ArtifactError> {
        static HOST: OnceLock<Result<Environment, engine::EngineError>> = OnceLock::new();
        Machine::host()?;
        HOST.get_or_init(Self::probe)
            .as_ref()
            .map_err(|e| ArtifactError::Engine(e.clone()))
    }

    fn probe() -> Result<Self, engine::EngineError> {
        Ok(Self {
            crate_version: env!("CARGO_PKG_VERSION").into(),
            revmc_version: REVMC_VERSION.into(),
            engine_version: engine::ENGINE_VERSION,
            rustc: rustc(),
            target: target(),
            cpu_features: engine::cpu_features()
                .iter()
                .map(|&name| name.into())
                .collect(),
            layout_fingerprint: engine::layout_fingerprint()?,
            table_entries: engine::builtin_table().len() as u32,
        })
    }

    /// Checks that code made for `made_for` runs in the process that `self` describes.
    ///
    /// # Errors
    /// [`ArtifactError::Mismatch`] with the first field that differs, or
    /// [`ArtifactError::CpuFeature`] with the first extension that is missing. The code may use
    /// fewer extensions than the CPU has.
    pub fn accepts(&self, made_for: &Self) -> Result<(), ArtifactError> {
        fn same<T: PartialEq + fmt::Display>(
            field: ManifestField,
            expected: T,
            found: T,
        ) -> Result<(), ArtifactError> {
            if expected == found {
                Ok(())
            } else {
                Err(ArtifactError::mismatch(field, expected, found))
            }
        }
        use ManifestField as F;
        same(
            F::CrateVersion,
            &self.crate_version,
            &made_for.crate_version,
        )?;
        same(
            F::RevmcVersion,
            &self.revmc_version,
            &made_for.revmc_version,
        )?;
        same(
            F::EngineVersion,
            self.engine_version,
            made_for.engine_version,
        )?;
        same(F::Rustc, &self.rustc, &made_for.rustc)?;
        same(F::Target, &self.target, &made_for.target)?;
        same(
            F::LayoutFingerprint,
            self.layout_fingerprint,
            made_for.layout_fingerprint,
        )?;
        same(F::TableEntries, self.table_entries, made_for.table_entries)?;
        match made_for
            .cpu_features
            .iter()
            .find(|name| !self.cpu_features.contains(name))
        {
            Some(missing) => Err(ArtifactError::CpuFeature {
                missing: missing.clone(),
            }),
            None => Ok(()),
        }
    }
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
    let release = keccak256(format!("{:?}", TypeId::of::<String>()));
    format!(
        "{}-{}",
        commit.unwrap_or("unknown"),
        hex::encode(&release[..8])
    )
}

fn target() -> String {
    let libc = if cfg!(target_env = "gnu") {
        "gnu"
    } else if cfg!(target_env = "musl") {
        "musl"
    } else {
        "other"
    };
    format!("{}-{}-{libc}", std::env::consts::ARCH, std::env::consts::OS)
}

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

impl BuildOptions {
    const ALL: [Self; 4] = [
        Self {
            tier: Tier::Baseline,
            debug_assertions: false,
        },
        Self {
            tier: Tier::Baseline,
            debug_assertions: true,
        },
        Self {
            tier: Tier::Optimized,
            debug_assertions: false,
        },
        Self {
            tier: Tier::Optimized,
            debug_assertions: true,
        },
    ];

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|options| options.to_string() == text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revmc_version_is_the_pinned_one() {
        let pin = format!("revmc = {{ version = \"={REVMC_VERSION}\"");
        assert!(include_str!("../../Cargo.toml").contains(&pin), "{pin}");
    }

    #[test]
    fn options_are_read_as_they_are_written() {
        for options in BuildOptions::ALL {
            assert_eq!(BuildOptions::parse(&options.to_string()), Some(options));
        }
        assert_eq!(BuildOptions::parse("optimized"), None);
    }
}
