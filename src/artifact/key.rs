//! What identifies an artifact in a store.

use super::{
    error::ArtifactError,
    host::{BuildOptions, Environment},
    manifest::FORMAT,
};
use crate::{RuntimeCacheKey, compiler::Rules};
use alloy_primitives::{B256, hex, keccak256};
use revm_interpreter::primitives::hardfork::SpecId;
use std::fmt;

/// Everything but code and fork that decides which artifact is wanted: format, versions, target,
/// rules and options, hashed.
///
/// CPU features are not in it: they are checked as a subset, so that a folder shared by machines
/// with different CPUs settles on code that runs on all of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId([u8; 16]);

impl BuildId {
    /// What `environment` makes with `options` for the rules with this [id](Rules::id).
    pub fn new(environment: &Environment, options: BuildOptions, rules: B256) -> Self {
        let Environment {
            abi_version,
            compiler_version,
            target,
            cpu_features: _,
        } = environment;
        let text =
            format!("{FORMAT}\n{abi_version}\n{compiler_version}\n{target}\n{rules}\n{options}\n");
        let mut id = [0; 16];
        id.copy_from_slice(&keccak256(text)[..16]);
        Self(id)
    }

    /// What this process makes with `options` for `rules`.
    ///
    /// # Errors
    /// As [`Environment::host`].
    pub fn host(options: BuildOptions, rules: &Rules) -> Result<Self, ArtifactError> {
        Ok(Self::new(Environment::host()?, options, rules.id()))
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

/// Identifies an artifact: what was compiled, for which rules, by which build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArtifactKey {
    /// keccak-256 of the bytecode.
    pub code_hash: B256,
    /// The fork whose rules are compiled in.
    pub spec_id: SpecId,
    /// Compiler, ABI, target, rules and options.
    pub build: BuildId,
}

/// What artifact files end in.
const SUFFIX: &str = ".aot";

impl ArtifactKey {
    /// The artifact of `program` that `build` makes.
    pub fn new(program: RuntimeCacheKey, build: BuildId) -> Self {
        Self {
            code_hash: program.code_hash,
            spec_id: program.spec_id,
            build,
        }
    }

    /// The program this is an artifact of.
    pub fn program(&self) -> RuntimeCacheKey {
        RuntimeCacheKey {
            code_hash: self.code_hash,
            spec_id: self.spec_id,
        }
    }

    /// `<code hash>-<fork>-<build>.aot`, all in lower-case hexadecimal.
    pub fn file_name(&self) -> String {
        format!(
            "{}-{:02x}-{}{SUFFIX}",
            hex::encode(self.code_hash),
            self.spec_id as u8,
            self.build
        )
    }

    /// The key whose [`file_name`](Self::file_name) is exactly `name`.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let mut part = || parts.next();
        let mut key = Self {
            code_hash: B256::ZERO,
            spec_id: SpecId::default(),
            build: BuildId([0; 16]),
        };
        let mut spec = [0];
        hex::decode_to_slice(part()?, &mut key.code_hash.0).ok()?;
        hex::decode_to_slice(part()?, &mut spec).ok()?;
        hex::decode_to_slice(part()?, &mut key.build.0).ok()?;
        key.spec_id = SpecId::try_from_u8(spec[0])?;
        // Refuses further parts, upper case and prefixes: one key, one name.
        (key.file_name() == name).then_some(key)
    }
}

impl fmt::Display for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} build {}", self.program(), self.build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_one_to_one() {
        let key = ArtifactKey {
            code_hash: B256::repeat_byte(0xab),
            spec_id: SpecId::CANCUN,
            build: BuildId([7; 16]),
        };
        let name = key.file_name();
        assert_eq!(ArtifactKey::from_file_name(&name), Some(key));
        for wrong in [
            name.to_uppercase(),
            format!("0x{name}"),
            format!("{name}.aot"),
            name.replace("-0b-", "-77-"),
            name.replace("-0b-", "-00b-"),
            name.replace(".aot", "-00.aot"),
            name[1..].into(),
            "..".into(),
            "".into(),
        ] {
            assert_eq!(ArtifactKey::from_file_name(&wrong), None, "{wrong}");
        }
    }
}
