//! The table that jumps with unknown targets go through.
//!
//! ```text
//! u32 n                   buckets, of 64 program counters
//! u32                     distance from the text's first byte to the destinations
//! u32                     distance from the table to the destinations
//! u32 × (n + 1)           number of the first destination that is in the bucket, or behind
//! destinations, by program counter, at a multiple of 16 bytes:
//!   u32                   program counter
//!   u32                   offset in the text
//!   u16                   words that have to be on the stack
//!   u16                   words that may be on it
//!   u16                   words that the memory has to have
//!   u16                   gas that has to remain
//! ```
//!
//! A jump reads one cache line of the buckets, which serve a kilobyte of code, and one of the
//! destinations.

use crate::{compiler::flow::Demand, frame::STACK_LIMIT};

/// Bytes in front of the buckets.
const HEADER: usize = 12;

/// The table for `destinations`: program counters in order, with their offsets in the text and what
/// they demand. It stands at `at` in the text, a multiple of 16.
pub(super) fn table(at: usize, destinations: &[(u32, u32, Demand)]) -> Vec<u8> {
    let buckets = buckets(destinations, |&(pc, ..)| pc);
    let first = (HEADER + 4 * buckets.len()).next_multiple_of(16);
    let mut table = Vec::with_capacity(first + 16 * destinations.len());
    table.extend_from_slice(&(buckets.len() as u32 - 1).to_le_bytes());
    table.extend_from_slice(&((at + first) as u32).to_le_bytes());
    table.extend_from_slice(&(first as u32).to_le_bytes());
    for before in buckets {
        table.extend_from_slice(&before.to_le_bytes());
    }
    table.resize(first, 0);
    for &(pc, offset, demand) in destinations {
        table.extend_from_slice(&pc.to_le_bytes());
        table.extend_from_slice(&offset.to_le_bytes());
        // Where there is no room for so many words, none may be there: none meets its needs.
        let room = STACK_LIMIT.saturating_sub(demand.grows.into()) as u16;
        // Flow follows constant offsets to 64 KiB, and gas to `GAS_AHEAD`: both fit.
        let memory = u16::try_from(demand.memory / 32).unwrap_or(u16::MAX);
        let gas = u16::try_from(demand.gas).unwrap_or(u16::MAX);
        for field in [demand.needs, room, memory, gas] {
            table.extend_from_slice(&field.to_le_bytes());
        }
    }
    table
}

/// For each 64 program counters the number of the first item there, or behind, and then how many items
/// there are. The items are sorted by program counter.
fn buckets<T>(items: &[T], pc: impl Fn(&T) -> u32) -> Vec<u32> {
    let count = items.last().map_or(0, |last| pc(last) / 64 + 1);
    let before = |bucket| items.partition_point(|item| pc(item) / 64 < bucket) as u32;
    (0..=count).map(before).collect()
}
