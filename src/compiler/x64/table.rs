//! The table that jumps with unknown targets go through.
//!
//! ```text
//! u32 n                   words of the bitmap
//! u32                     distance from the text's first byte to the table
//! u64 × n                 bit pc % 64 of word pc / 64: a jump may go to pc
//! u32 × n                 how many bits are set in the words before
//! u32 × destinations      offset of each destination in the text, by number
//! ```

/// The table for `destinations`, program counters in order with their offsets in the text.
pub(super) fn table(at: usize, destinations: &[(u32, u32)]) -> Vec<u8> {
    let words = destinations.last().map_or(0, |&(pc, _)| pc as usize / 64 + 1);
    let mut bitmap = vec![0u64; words];
    for &(pc, _) in destinations {
        bitmap[pc as usize / 64] |= 1 << (pc % 64);
    }
    let mut table = Vec::with_capacity(8 + 12 * words + 4 * destinations.len());
    table.extend_from_slice(&(words as u32).to_le_bytes());
    table.extend_from_slice(&(at as u32).to_le_bytes());
    for word in &bitmap {
        table.extend_from_slice(&word.to_le_bytes());
    }
    let mut before = 0;
    for word in &bitmap {
        table.extend_from_slice(&u32::to_le_bytes(before));
        before += word.count_ones();
    }
    for &(_, offset) in destinations {
        table.extend_from_slice(&offset.to_le_bytes());
    }
    table
}
