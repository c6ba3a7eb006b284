//! What an artifact has to agree with: the program, the machine, and the settings.

use super::{
    error::{ArtifactError, ManifestField},
    object::Machine,
};
use crate::{
    compiler::{self, CompileOptions, Tier},
    frame::ABI_VERSION,
};
use std::{fmt, sync::OnceLock};

/// Everything about a process that decides whether machine code fits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// [`ABI_VERSION`](crate::frame::ABI_VERSION): how machine code and its caller speak.
    pub abi_version: u32,
    /// [`COMPILER_VERSION`](compiler::COMPILER_VERSION).
    pub compiler_version: u32,
    /// Architecture and operating system.
    pub target: String,
    /// Instruction-set extensions, sorted: those the CPU has, or those the code uses.
    pub cpu_features: Vec<String>,
}

impl Environment {
    /// This process. The first call probes it; later ones return the same value.
    ///
    /// # Errors
    /// [`ArtifactError::Unsupported`] where artifacts are not implemented.
    pub fn host() -> Result<&'static Self, ArtifactError> {
        static HOST: OnceLock<Environment> = OnceLock::new();
        Machine::host()?;
        Ok(HOST.get_or_init(|| Self {
            abi_version: ABI_VERSION,
            compiler_version: compiler::COMPILER_VERSION,
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            cpu_features: compiler::cpu_features()
                .iter()
                .map(|&name| name.into())
                .collect(),
        }))
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
        same(F::AbiVersion, self.abi_version, made_for.abi_version)?;
        same(
            F::CompilerVersion,
            self.compiler_version,
            made_for.compiler_version,
        )?;
        same(F::Target, &self.target, &made_for.target)?;
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

/// The settings that change generated code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BuildOptions {
    /// Optimisation setting.
    pub tier: Tier,
    /// Whether the compiler's own checks are compiled in.
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
    fn options_are_read_as_they_are_written() {
        for options in BuildOptions::ALL {
            assert_eq!(BuildOptions::parse(&options.to_string()), Some(options));
        }
        assert_eq!(BuildOptions::parse("optimized"), None);
    }
}
