//! What identifies an artifact in a store.

use super::determinants::BuildId;
use alloy_primitives::{B256, hex};
use std::{
    ffi::{CStr, CString},
    fmt,
};

/// Identifies an artifact: of which bytecode, and made by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactKey {
    /// keccak-256 of the bytecode.
    pub code_hash: B256,
    /// Everything else that decides the code, hashed.
    pub build: BuildId,
}

/// What artifact files end in.
const SUFFIX: &str = ".aot";

impl ArtifactKey {
    /// The artifact of a bytecode that `build` makes.
    pub fn new(code_hash: B256, build: BuildId) -> Self {
        Self { code_hash, build }
    }

    /// `<code hash>-<build>.aot`, all in lower-case hexadecimal.
    pub fn file_name(&self) -> String {
        format!("{}-{}{SUFFIX}", hex::encode(self.code_hash), self.build)
    }

    /// The key whose [`file_name`](Self::file_name) is exactly `name`.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (code_hash, build) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        // One key, one name: no upper case, no prefix, no other length. (Ten thousand of these are read
        // while a backend starts: nothing is allocated.)
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if !code_hash.bytes().chain(build.bytes()).all(is_digit) {
            return None;
        }
        let mut key = Self {
            code_hash: B256::ZERO,
            build: BuildId([0; 16]),
        };
        hex::decode_to_slice(code_hash, &mut key.code_hash.0).ok()?;
        hex::decode_to_slice(build, &mut key.build.0).ok()?;
        Some(key)
    }

    pub(super) fn c_name(&self) -> CString {
        CString::new(self.file_name()).expect("hexadecimal digits contain no zero byte")
    }

    pub(super) fn from_c_name(name: &CStr) -> Option<Self> {
        Self::from_file_name(name.to_str().ok()?)
    }
}

impl fmt::Display for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} build {}", self.code_hash, self.build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_one_to_one() {
        let key = ArtifactKey {
            code_hash: B256::repeat_byte(0xab),
            build: BuildId([7; 16]),
        };
        let name = key.file_name();
        assert_eq!(ArtifactKey::from_file_name(&name), Some(key));
        for wrong in [
            name.to_uppercase(),
            format!("0x{name}"),
            format!("{name}.aot"),
            name.replace("-07", "-7"),
            name.replace("-07", "-007"),
            name.replace("-07", "--07"),
            name.replace(".aot", "-00.aot"),
            name[1..].into(),
            "..".into(),
            "".into(),
        ] {
            assert_eq!(ArtifactKey::from_file_name(&wrong), None, "{wrong}");
        }
    }
}
