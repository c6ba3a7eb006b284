//! The manifest: what an artifact says of itself.
//!
//! Text of printable ASCII, one `name value` line per field, all fields in one fixed order, so that
//! a person can read it and there is one way to write each manifest. The parser accepts exactly
//! what [`ArtifactManifest::encode`] produces: after reading, it writes the manifest again and
//! compares. It allocates no more than the input's length, which is bounded, and never panics.

use super::{
    error::{ArtifactError, ManifestField},
    host::{BuildOptions, Environment},
    key::{ArtifactKey, BuildId},
    object::{Layout, Machine},
};
use crate::{RuntimeCacheKey, compiler::Rules};
use alloy_primitives::{B256, hex};
use revm_interpreter::primitives::hardfork::SpecId;
use std::{fmt::Write, str::FromStr};

/// The one artifact format that is read and written.
pub const FORMAT: u32 = 2;

/// Bound of an encoded manifest's length in bytes.
pub const MAX_MANIFEST_LEN: usize = 4096;

/// What an artifact says of itself.
///
/// A manifest is a claim. [`check`](Self::check) compares it with what is wanted; nothing in it is
/// believed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactManifest {
    /// keccak-256 of the bytecode.
    pub code_hash: B256,
    /// The fork whose rules are compiled in.
    pub spec_id: SpecId,
    /// [`Rules::id`] of those rules.
    pub rules: B256,
    /// The process that compiled it; its CPU features are those that the code may use.
    pub environment: Environment,
    /// The settings it was compiled with.
    pub options: BuildOptions,
    /// Length of the bytecode in bytes.
    pub bytecode_len: u32,
    /// How many program counters a frame can enter at: the length of the table behind the machine
    /// code.
    pub entries: u32,
    /// Name of the exported function.
    pub symbol: String,
    /// Length of the machine code and the entry table in bytes.
    pub text_len: u64,
    /// Length of the shared object in bytes.
    pub library_len: u64,
    /// keccak-256 of the shared object.
    pub library_hash: B256,
    /// When it was compiled, in seconds since 1970; informative.
    pub created: u64,
}

impl ArtifactManifest {
    /// The key under which this manifest's artifact is stored.
    pub fn key(&self) -> ArtifactKey {
        ArtifactKey {
            code_hash: self.code_hash,
            spec_id: self.spec_id,
            build: BuildId::new(&self.environment, self.options, self.rules),
        }
    }

    /// The symbol that follows from the other fields: code hash, fork, length of the bytecode,
    /// number of entries. As the library holds it too, none of them can be changed in the
    /// manifest alone.
    pub fn expected_symbol(&self) -> String {
        format!(
            "evm_{}_{:02x}_{}_{}",
            hex::encode(self.code_hash),
            self.spec_id as u8,
            self.bytecode_len,
            self.entries
        )
    }

    /// Checks every claim but those about the library's bytes: that this is `program`, compiled
    /// for `rules` with `options`, for the process that `host` describes.
    ///
    /// # Errors
    /// [`ArtifactError::Mismatch`] with the first field that does not hold,
    /// [`ArtifactError::CpuFeature`] with the first extension that `host` lacks.
    pub fn check(
        &self,
        program: &RuntimeCacheKey,
        rules: &Rules,
        options: BuildOptions,
        host: &Environment,
    ) -> Result<(), ArtifactError> {
        host.accepts(&self.environment)?;
        if self.code_hash != program.code_hash {
            return Err(ArtifactError::mismatch(
                ManifestField::CodeHash,
                program.code_hash,
                self.code_hash,
            ));
        }
        if self.spec_id != program.spec_id {
            let (expected, found) = (spec_name(program.spec_id), spec_name(self.spec_id));
            return Err(ArtifactError::mismatch(
                ManifestField::Spec,
                expected,
                found,
            ));
        }
        if self.rules != rules.id() {
            let (expected, found) = (rules.id(), self.rules);
            return Err(ArtifactError::mismatch(
                ManifestField::Rules,
                expected,
                found,
            ));
        }
        if self.options != options {
            return Err(ArtifactError::mismatch(
                ManifestField::Options,
                options,
                self.options,
            ));
        }
        let symbol = self.expected_symbol();
        if self.symbol != symbol {
            return Err(ArtifactError::mismatch(
                ManifestField::Symbol,
                symbol,
                &self.symbol,
            ));
        }
        Ok(())
    }

    /// How the shared object has to be laid out.
    ///
    /// # Errors
    /// As [`Layout::new`] and [`Machine::host`]; [`ArtifactError::Mismatch`] if the library's
    /// length is not the one that follows from the machine code's.
    pub fn layout(&self) -> Result<Layout<'_>, ArtifactError> {
        let text_len = usize::try_from(self.text_len).unwrap_or(usize::MAX);
        let layout = Layout::new(Machine::host()?, &self.symbol, text_len, 0)?;
        if self.library_len != layout.file_len() as u64 {
            let (expected, found) = (layout.file_len(), self.library_len);
            return Err(ArtifactError::mismatch(
                ManifestField::LibraryLen,
                expected,
                found,
            ));
        }
        Ok(layout)
    }

    /// The manifest as text.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(1024);
        let environment = &self.environment;
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} {value}");
        };
        line("code-hash", &self.code_hash);
        line("fork", &spec_name(self.spec_id));
        line("rules", &self.rules);
        line("abi", &environment.abi_version);
        line("compiler", &environment.compiler_version);
        line("target", &environment.target);
        line("cpu-features", &environment.cpu_features.join(","));
        line("options", &self.options);
        line("bytecode-len", &self.bytecode_len);
        line("entries", &self.entries);
        line("symbol", &self.symbol);
        line("text-len", &self.text_len);
        line("library-len", &self.library_len);
        line("library-keccak256", &self.library_hash);
        line("created", &self.created);
        text
    }

    /// Reads what [`encode`](Self::encode) writes, and nothing else.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] beyond [`MAX_MANIFEST_LEN`]; [`ArtifactError::Malformed`] with
    /// the field that does not follow the format.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        if bytes.len() > MAX_MANIFEST_LEN {
            return Err(ArtifactError::TooLarge {
                what: "manifest",
                len: bytes.len() as u64,
                limit: MAX_MANIFEST_LEN as u64,
            });
        }
        let malformed = |what| ArtifactError::Malformed { what };
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("manifest: not text"))?;
        if !text
            .bytes()
            .all(|b| b == b'\n' || b == b' ' || b.is_ascii_graphic())
        {
            return Err(malformed("manifest: not printable ASCII"));
        }
        let mut lines = Lines(text.split('\n'));
        let manifest = Self {
            code_hash: lines.read("code-hash")?,
            spec_id: spec_of(lines.value("fork")?).ok_or(malformed("fork"))?,
            rules: lines.read("rules")?,
            environment: Environment {
                abi_version: lines.read("abi")?,
                compiler_version: lines.read("compiler")?,
                target: lines.read("target")?,
                cpu_features: features_of(lines.value("cpu-features")?)
                    .ok_or(malformed("cpu-features"))?,
            },
            options: BuildOptions::parse(lines.value("options")?).ok_or(malformed("options"))?,
            bytecode_len: lines.read("bytecode-len")?,
            entries: lines.read("entries")?,
            symbol: lines.read("symbol")?,
            text_len: lines.read("text-len")?,
            library_len: lines.read("library-len")?,
            library_hash: lines.read("library-keccak256")?,
            created: lines.read("created")?,
        };
        if manifest.encode() != text {
            return Err(malformed("manifest: not in its one form"));
        }
        Ok(manifest)
    }
}

/// Number and name: the numbers change with the forks that revm knows.
fn spec_name(spec_id: SpecId) -> String {
    format!("{}:{spec_id:?}", spec_id as u8)
}

fn spec_of(text: &str) -> Option<SpecId> {
    let (number, _) = text.split_once(':')?;
    SpecId::try_from_u8(number.parse().ok()?).filter(|&spec_id| spec_name(spec_id) == text)
}

fn features_of(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let names: Vec<String> = text.split(',').map(String::from).collect();
    let sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
    (sorted && !names[0].is_empty()).then_some(names)
}

/// The manifest's lines, taken in order.
struct Lines<'a>(std::str::Split<'a, char>);

impl<'a> Lines<'a> {
    fn value(&mut self, name: &'static str) -> Result<&'a str, ArtifactError> {
        let value = self
            .0
            .next()
            .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.ok_or(ArtifactError::Malformed { what: name })
    }

    fn read<T: FromStr>(&mut self, name: &'static str) -> Result<T, ArtifactError> {
        self.value(name)?
            .parse()
            .map_err(|_| ArtifactError::Malformed { what: name })
    }
}
