//! What identifies a program.

use alloy_primitives::B256;
use revm_interpreter::primitives::hardfork::SpecId;
use std::{
    fmt,
    hash::{Hash, Hasher},
};

/// What identifies a compiled function: the code it was compiled from and the rules it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeCacheKey {
    /// keccak-256 of the bytecode.
    pub code_hash: B256,
    /// The fork whose gas schedule and opcodes are compiled in.
    pub spec_id: SpecId,
}

impl RuntimeCacheKey {
    /// 64 bits of the code hash, with the fork added at their top.
    ///
    /// Enough to spread keys with: keccak-256 has mixed all of the code into any 64 bits of its
    /// value, and whoever wants codes that agree in them tries 2^32 codes for one pair, and nearly
    /// 2^64 for a hundred. Not an identity; `Eq` compares everything.
    #[inline(always)]
    pub(crate) fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.code_hash.0;
        let code = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        code.wrapping_add((self.spec_id as u64) << 56)
    }
}

impl Hash for RuntimeCacheKey {
    /// One word, 64 bits of the code hash and the fork: all a hasher needs of what is a hash already.
    #[inline(always)]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.prefix());
    }
}

impl fmt::Display for RuntimeCacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:?}", self.code_hash, self.spec_id)
    }
}
