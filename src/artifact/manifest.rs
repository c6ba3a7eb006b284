//! The manifest: what an artifact says of itself.
//!
//! Text of printable ASCII, one `name value` line per field, all fields in one fixed order and the
//! [`Determinants`] among them, so that a person can read it and there is one way to write each
//! manifest. The parser accepts exactly what [`ArtifactManifest::encode`] produces: after reading,
//! it writes the manifest again and compares. It allocates no more than a small multiple of the
//! input's length, which is bounded, and never panics.

use super::{
    determinants::{Determinants, MAX_DETERMINANTS},
    error::{ArtifactError, ManifestField},
    key::ArtifactKey,
    object::{Layout, Machine},
};
use alloy_primitives::{B256, hex, keccak256};
use std::{fmt::Write, str::FromStr};

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
    /// Everything else that decided the code.
    pub determinants: Determinants,
    /// Length of the bytecode in bytes.
    pub bytecode_len: u32,
    /// Number of entries of the table through which the code calls out; may be 0.
    pub table_entries: u32,
    /// Name of the exported function.
    pub symbol: String,
    /// Length of the machine code in bytes.
    pub text_len: u64,
    /// Length of the shared object in bytes.
    pub library_len: u64,
    /// keccak-256 of the shared object.
    pub library_hash: B256,
    /// Length of the translator's data in bytes; may be 0.
    pub data_len: u32,
    /// keccak-256 of the translator's data.
    pub data_hash: B256,
    /// Runs in which its program was compared with the interpreter before it was stored, and found
    /// equal; 0 if it was not tried.
    pub trial_runs: u64,
    /// When it was compiled, in seconds since 1970; informative.
    pub created: u64,
}

impl ArtifactManifest {
    /// The key under which this manifest's artifact is stored.
    pub fn key(&self) -> ArtifactKey {
        ArtifactKey::new(self.code_hash, self.determinants.id())
    }

    /// The symbol that follows from the other fields: code hash, and a hash of what else the code
    /// is run by. As the library holds it too, none of them can be changed in the manifest alone.
    pub fn expected_symbol(&self) -> String {
        let bound = keccak256(format!(
            "{} {} {} {} {} {}",
            self.determinants.id(),
            self.bytecode_len,
            self.table_entries,
            self.data_len,
            self.data_hash,
            self.trial_runs
        ));
        format!(
            "evm_{}_{}",
            hex::encode(self.code_hash),
            hex::encode(&bound[..16])
        )
    }

    /// Checks every claim but those about the bytes of library and data: that this is the artifact
    /// of `code_hash` that `wanted` describes.
    ///
    /// # Errors
    /// [`ArtifactError::Mismatch`] with the first field that does not hold.
    pub fn check(&self, code_hash: B256, wanted: &Determinants) -> Result<(), ArtifactError> {
        wanted.accept(&self.determinants)?;
        ArtifactError::same(ManifestField::CodeHash, code_hash, self.code_hash)?;
        let symbol = self.expected_symbol();
        ArtifactError::same(ManifestField::Symbol, &symbol, &self.symbol)
    }

    /// How the shared object has to be laid out.
    ///
    /// # Errors
    /// As [`Layout::new`] and [`Machine::host`]; [`ArtifactError::Mismatch`] if the library's
    /// length is not the one that follows from the machine code's.
    pub fn layout(&self) -> Result<Layout<'_>, ArtifactError> {
        let text_len = usize::try_from(self.text_len).unwrap_or(usize::MAX);
        let entries = self.table_entries as usize;
        let layout = Layout::new(Machine::host()?, &self.symbol, text_len, entries)?;
        let file_len = layout.file_len() as u64;
        ArtifactError::same(ManifestField::LibraryLen, file_len, self.library_len)?;
        Ok(layout)
    }

    /// The manifest as text.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(1024);
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} {value}");
        };
        line("code-hash", &self.code_hash);
        line("determinants", &self.determinants.facts().len());
        for (name, value) in self.determinants.facts() {
            line(name, &value);
        }
        line("bytecode-len", &self.bytecode_len);
        line("table-entries", &self.table_entries);
        line("symbol", &self.symbol);
        line("text-len", &self.text_len);
        line("library-len", &self.library_len);
        line("library-keccak256", &self.library_hash);
        line("data-len", &self.data_len);
        line("data-keccak256", &self.data_hash);
        line("trial-runs", &self.trial_runs);
        line("created", &self.created);
        text
    }

    /// Reads what [`encode`](Self::encode) writes, and nothing else.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] beyond [`MAX_MANIFEST_LEN`];
    /// [`ArtifactError::Malformed`] with the field that does not follow the format.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        ArtifactError::bound("manifest", bytes.len() as u64, MAX_MANIFEST_LEN as u64)?;
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
            determinants: lines.determinants()?,
            bytecode_len: lines.read("bytecode-len")?,
            table_entries: lines.read("table-entries")?,
            symbol: lines.read("symbol")?,
            text_len: lines.read("text-len")?,
            library_len: lines.read("library-len")?,
            library_hash: lines.read("library-keccak256")?,
            data_len: lines.read("data-len")?,
            data_hash: lines.read("data-keccak256")?,
            trial_runs: lines.read("trial-runs")?,
            created: lines.read("created")?,
        };
        if manifest.encode() != text {
            return Err(malformed("manifest: not in its one form"));
        }
        Ok(manifest)
    }
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

    fn determinants(&mut self) -> Result<Determinants, ArtifactError> {
        const MALFORMED: ArtifactError = ArtifactError::Malformed {
            what: "determinants",
        };
        let count: usize = self.read("determinants")?;
        if count > MAX_DETERMINANTS {
            return Err(MALFORMED);
        }
        let facts = (0..count).map(|_| {
            let (name, value) = self.0.next()?.split_once(' ')?;
            Some((name.to_owned(), value.to_owned()))
        });
        let facts: Option<Vec<_>> = facts.collect();
        Determinants::from_facts(facts.ok_or(MALFORMED)?)
    }
}
