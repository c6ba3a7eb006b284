//! The table that jumps with unknown targets go through.
//!
//! ```text
//! u32 n                   words of the bitmap
//! u32                     distance from the text's first byte to the table
//! u64                     nothing
//! n times:
//!   u64                   bit pc % 64 of the word at pc / 64: a jump may go to pc
//!   u64                   how many bits are set in the words before
//! destinations, by number:
//!   u32                   offset in the text
//!   u16                   words that have to be on the stack
//!   u16                   words that may be on it
//!   u32                   bytes that the memory has to have
//!   u32                   gas that has to remain
//! ```

use crate::{compiler::flow::Demand, frame::STACK_LIMIT};

/// The table for `destinations`: program counters in order, with their offsets in the text and what
/// they demand.
pub(super) fn table(at: usize, destinations: &[(u32, u32, Demand)]) -> Vec<u8> {
    let words = destinations
        .last()
        .map_or(0, |&(pc, ..)| pc as usize / 64 + 1);
    let mut bitmap = vec![0u64; words];
    for &(pc, ..) in destinations {
        bitmap[pc as usize / 64] |= 1 << (pc % 64);
    }
    let mut table = Vec::with_capacity(16 + 16 * words + 16 * destinations.len());
    table.extend_from_slice(&(words as u32).to_le_bytes());
    table.extend_from_slice(&(at as u32).to_le_bytes());
    // What is read together shares a cache line.
    table.extend_from_slice(&[0; 8]);
    let mut before = 0u64;
    for word in &bitmap {
        table.extend_from_slice(&word.to_le_bytes());
        table.extend_from_slice(&before.to_le_bytes());
        before += u64::from(word.count_ones());
    }
    for &(_, offset, demand) in destinations {
        table.extend_from_slice(&offset.to_le_bytes());
        // Where there is no room for so many words, none may be there: none meets its needs.
        let room = STACK_LIMIT.saturating_sub(demand.grows.into()) as u16;
        table.extend_from_slice(&demand.needs.to_le_bytes());
        table.extend_from_slice(&room.to_le_bytes());
        table.extend_from_slice(&demand.memory.to_le_bytes());
        table.extend_from_slice(&demand.gas.to_le_bytes());
    }
    table
}
