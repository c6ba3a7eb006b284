//! Machine code before it has an address.

use super::{
    CUT_PUSH, MAX_BYTECODE_LEN, Tier,
    flow::Demand,
    hash::{Hash, Layout},
};
use crate::frame::NOWHERE;
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

impl EntryPoint {
    /// None: no frame is there, and none would meet what it demands.
    pub(crate) const NOWHERE: Self = Self {
        pc: NOWHERE,
        operand: 0,
        demand: Demand {
            needs: u16::MAX,
            grows: u16::MAX,
            memory: u32::MAX,
            gas: u32::MAX,
        },
    };
}

/// Entries in one cache line.
const ROWS: usize = 3;

/// One cache line of them.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([EntryPoint; ROWS]);

/// The entries of a program, found by program counter in constant time (H1): nearly every search reads
/// one cache line.
#[derive(Clone, Debug)]
pub(crate) struct EntryTable {
    lines: Arc<[Line]>,
    hash: Hash,
}

impl EntryTable {
    /// A table of entries that are sorted by program counter.
    pub(crate) fn new(entries: &[EntryPoint]) -> Self {
        let pcs: Vec<u32> = entries.iter().map(|entry| entry.pc).collect();
        // Half full.
        let layout = Layout::new(&pcs, ROWS, (2 * pcs.len()).div_ceil(ROWS));
        let mut lines = vec![Line([EntryPoint::NOWHERE; ROWS]); layout.lines];
        for (entry, place) in entries.iter().zip(&layout.places) {
            let place = *place as usize;
            lines[place / ROWS].0[place % ROWS] = *entry;
        }
        Self {
            lines: lines.into(),
            hash: layout.hash,
        }
    }

    /// The entry at this program counter.
    #[inline]
    pub(crate) fn at(&self, pc: usize) -> Option<&EntryPoint> {
        let pc = u32::try_from(pc).ok().filter(|pc| *pc != NOWHERE)?;
        for Line(line) in self.lines.get(self.hash.line(pc)..)? {
            if let Some(entry) = line.iter().find(|entry| entry.pc == pc) {
                return Some(entry);
            }
            if line[ROWS - 1].pc == NOWHERE {
                break;
            }
        }
        None
    }
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
        let last = entries.last().map_or(0, |entry| entry.pc as usize);
        (sorted
            && last <= MAX_BYTECODE_LEN + CUT_PUSH
            && entries.first().is_some_and(|entry| entry.pc == 0))
        .then_some(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{boundary_operand, boundary_parts};

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
        assert_eq!(table.at(NOWHERE as usize), None);
        assert_eq!(EntryTable::new(&[]).at(0), None);
    }

    #[test]
    fn the_longest_bytecodes_last_program_counter_fits_beside_an_opcode() {
        let pc = MAX_BYTECODE_LEN + CUT_PUSH;
        let operand = boundary_operand(pc as u32, 0xff);
        assert_eq!(boundary_parts(operand), (pc, 0xff));
        assert!(operand <= u32::MAX.into());
    }
}
