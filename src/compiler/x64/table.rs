//! The table that jumps with unknown targets go through.
//!
//! Cache lines of four rows, of which those that are not empty come first, and stand as `hash` says:
//!
//! ```text
//! u32                     program counter
//! i32                     distance from the table to the code
//! u16                     words that have to be on the stack
//! u16                     words that may be on it
//! u16                     words that the memory has to have
//! u16                     gas that has to remain
//! ```
//!
//! Nearly every jump reads one line. No stack has the words that an empty row asks for.

use crate::{
    compiler::{flow::Demand, hash::Layout},
    frame::{NOWHERE, STACK_LIMIT},
};

/// Bytes of a cache line: the table stands at a multiple of so many.
pub(super) const LINE: usize = 64;

/// Rows in one.
const ROWS: usize = 4;

/// Where the rows for these program counters stand: the table is five eighths full.
pub(super) fn layout(pcs: &[u32]) -> Layout {
    Layout::new(pcs, ROWS, (2 * pcs.len()).div_ceil(5))
}

/// The table for `destinations`, for whose program counters `layout` is: their offsets in the text and
/// what they demand. It stands at `at` in the text.
pub(super) fn table(at: usize, layout: &Layout, destinations: &[(u32, u32, Demand)]) -> Vec<u8> {
    let row = |pc: u32, distance: u32, fields: [u16; 4]| {
        let mut row = [0; LINE / ROWS];
        row[..4].copy_from_slice(&pc.to_le_bytes());
        row[4..8].copy_from_slice(&distance.to_le_bytes());
        for (at, field) in row[8..].chunks_exact_mut(2).zip(fields) {
            at.copy_from_slice(&field.to_le_bytes());
        }
        row
    };
    let empty = row(NOWHERE, 0, [u16::MAX, 0, 0, 0]);
    let mut rows = vec![empty; ROWS * layout.lines];
    for (&(pc, offset, demand), &place) in destinations.iter().zip(&layout.places) {
        // Where there is no room for so many words, none may be there: none meets its needs.
        let room = STACK_LIMIT.saturating_sub(demand.grows.into()) as u16;
        // Flow follows constant offsets to 64 KiB, and gas to `GAS_AHEAD`: both fit.
        let memory = u16::try_from(demand.memory / 32).unwrap_or(u16::MAX);
        let gas = u16::try_from(demand.gas).unwrap_or(u16::MAX);
        let distance = offset.wrapping_sub(at as u32);
        rows[place as usize] = row(pc, distance, [demand.needs, room, memory, gas]);
    }
    rows.concat()
}
