//! What one run of a trial is given.

use alloy_primitives::{Bytes, U256};
use std::fmt;

/// What one run is given. The program, its bytecode and this are all that the run depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// The call's data.
    pub calldata: Bytes,
    /// Whether the call's data is a part of its caller's memory, below the frame's own.
    pub in_memory: bool,
    /// The call's value, in wei.
    pub value: U256,
    /// Gas that the frame has.
    pub gas: u64,
    /// State gas that it has besides (EIP-8037); 0 before Amsterdam.
    pub reservoir: u64,
    /// Whether the frame may change no state (EIP-214).
    pub is_static: bool,
    /// What the host's answers and the calls' outcomes follow from.
    pub seed: u64,
    /// The number of the account or slot that is loaded with a failure of the database, if one is.
    pub fails_at: Option<u32>,
    /// If set, the frame changes between interpreter and machine code, where the bits that follow from
    /// this say so.
    pub switching: Option<u64>,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "calldata {}, value {}, gas {}, seed {:#x}",
            self.calldata, self.value, self.gas, self.seed
        )?;
        if self.reservoir > 0 {
            write!(f, ", state gas {}", self.reservoir)?;
        }
        if self.in_memory {
            f.write_str(", calldata in memory")?;
        }
        if self.is_static {
            f.write_str(", static")?;
        }
        if let Some(at) = self.fails_at {
            write!(f, ", load {at} fails")?;
        }
        if let Some(switching) = self.switching {
            write!(f, ", switching {switching:#x}")?;
        }
        Ok(())
    }
}
