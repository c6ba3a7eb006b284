//! Machine code before it has an address.

use super::{Tier, flow::Demand};
use std::sync::Arc;

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

/// The entries of a program, found by program counter in constant time: a search reads one cache line
/// of the buckets, of 64 program counters each, and one of the entries.
#[derive(Clone, Debug)]
pub(crate) struct EntryTable {
    /// The number of the first entry that is in the bucket, or behind; then how many there are.
    buckets: Arc<[u32]>,
    entries: Arc<[EntryPoint]>,
}

impl EntryTable {
    /// A table of entries that are sorted by program counter.
    pub(crate) fn new(entries: &[EntryPoint]) -> Self {
        Self {
            buckets: buckets(entries, |entry| entry.pc).into(),
            entries: entries.into(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at this program counter.
    #[inline]
    pub(crate) fn at(&self, pc: usize) -> Option<&EntryPoint> {
        let &[first, end] = self.buckets.get(pc / 64..)?.first_chunk()?;
        let bucket = self.entries.get(first as usize..end as usize)?;
        bucket.iter().find(|entry| entry.pc as usize == pc)
    }
}

/// For each 64 program counters the number of the first item there, or behind, and then how many items
/// there are. The items are sorted by program counter.
pub(super) fn buckets<T>(items: &[T], pc: impl Fn(&T) -> u32) -> Vec<u32> {
    let count = items.last().map_or(0, |last| pc(last) / 64 + 1);
    let before = |bucket| items.partition_point(|item| pc(item) / 64 < bucket) as u32;
    (0..=count).map(before).collect()
}

/// Bytes of an entry in an [`entry_table`](NativeCode::entry_table).
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

    /// The entries as bytes, for an artifact.
    pub fn entry_table(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity(self.entries.len() * ENTRY_LEN);
        for EntryPoint {
            pc,
            operand,
            demand,
        } in &self.entries
        {
            table.extend_from_slice(&pc.to_le_bytes());
            table.extend_from_slice(&operand.to_le_bytes());
            table.extend_from_slice(&demand.needs.to_le_bytes());
            table.extend_from_slice(&demand.grows.to_le_bytes());
            table.extend_from_slice(&demand.memory.to_le_bytes());
            table.extend_from_slice(&demand.gas.to_le_bytes());
        }
        table
    }
}

impl EntryPoint {
    /// Reads an [`entry_table`](NativeCode::entry_table); `None` if the compiler makes none like it.
    pub fn parse_table(table: &[u8]) -> Option<Vec<Self>> {
        if !table.len().is_multiple_of(ENTRY_LEN) {
            return None;
        }
        let word = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
        let entries: Vec<Self> = table
            .chunks_exact(ENTRY_LEN)
            .map(|entry| {
                let words = word(&entry[8..12])?;
                Some(Self {
                    pc: word(&entry[..4])?,
                    operand: word(&entry[4..8])?,
                    demand: Demand {
                        needs: words as u16,
                        grows: (words >> 16) as u16,
                        memory: word(&entry[12..16])?,
                        gas: word(&entry[16..])?,
                    },
                })
            })
            .collect::<Option<_>>()?;
        let sorted = entries.windows(2).all(|pair| pair[0].pc < pair[1].pc);
        (sorted && entries.first().is_some_and(|entry| entry.pc == 0)).then_some(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_at_its_program_counter_and_nowhere_else() {
        let pcs = [0, 1, 63, 64, 65, 127, 500, 24_575];
        let entries = pcs.map(|pc| EntryPoint {
            pc,
            operand: 7 * pc,
            demand: Demand::default(),
        });
        let table = EntryTable::new(&entries);
        for pc in 0..30_000 {
            let expected = entries.iter().find(|entry| entry.pc as usize == pc);
            assert_eq!(table.at(pc), expected, "at {pc}");
        }
        assert_eq!(table.at(usize::MAX), None);
        assert!(EntryTable::new(&[]).is_empty());
        assert_eq!(EntryTable::new(&[]).at(0), None);
    }
}
