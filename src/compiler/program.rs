//! Machine code before it has an address.

use super::{Tier, flow::Demand};

/// Where a frame can enter machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// The frame's program counter.
    pub pc: u32,
    /// What [`NativeFrame::entry`](crate::frame::NativeFrame::entry) is then.
    pub operand: u32,
    /// What the frame has to meet.
    pub demand: Demand,
}

/// Bytes of an entry in an [`image`](NativeCode::image).
const ENTRY_LEN: usize = 20;

/// Position-independent machine code of one contract: no reference leads out of it. The entry point
/// is its first byte.
#[derive(Clone, Debug)]
pub struct NativeCode {
    pub(super) text: Vec<u8>,
    /// Sorted by program counter.
    pub(super) entries: Vec<EntryPoint>,
    pub(super) tier: Tier,
}

impl NativeCode {
    /// The machine code.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Bytes of machine code.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// Where a frame can enter it, sorted by program counter; the first is at 0.
    pub fn entries(&self) -> &[EntryPoint] {
        &self.entries
    }

    /// The setting it was compiled with.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The machine code, and behind it the entry table: what an artifact keeps.
    pub fn image(&self) -> Vec<u8> {
        let mut image = self.text.clone();
        image.resize(image.len().next_multiple_of(8), 0);
        for entry in &self.entries {
            image.extend_from_slice(&entry.pc.to_le_bytes());
            image.extend_from_slice(&entry.operand.to_le_bytes());
            image.extend_from_slice(&entry.demand.needs.to_le_bytes());
            image.extend_from_slice(&entry.demand.grows.to_le_bytes());
            image.extend_from_slice(&entry.demand.memory.to_le_bytes());
            image.extend_from_slice(&entry.demand.gas.to_le_bytes());
        }
        image
    }

    /// The `count` entries at the end of an [`image`](Self::image); `None` if they are not a table
    /// that the compiler could have made.
    pub fn entries_of(image: &[u8], count: usize) -> Option<Vec<EntryPoint>> {
        let at = image.len().checked_sub(count.checked_mul(ENTRY_LEN)?)?;
        let half = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
        let entries: Vec<EntryPoint> = image[at..]
            .chunks_exact(ENTRY_LEN)
            .map(|entry| {
                let words = half(&entry[8..12])?;
                Some(EntryPoint {
                    pc: half(&entry[..4])?,
                    operand: half(&entry[4..8])?,
                    demand: Demand {
                        needs: words as u16,
                        grows: (words >> 16) as u16,
                        memory: half(&entry[12..16])?,
                        gas: half(&entry[16..])?,
                    },
                })
            })
            .collect::<Option<_>>()?;
        let sorted = entries.windows(2).all(|pair| pair[0].pc < pair[1].pc);
        (sorted && entries.first().is_some_and(|entry| entry.pc == 0)).then_some(entries)
    }
}
