//! Tables that are searched by program counter.
//!
//! A table is an array of cache lines with a few rows each. A row stands in the line that its program
//! counter hashes to, or, where that is full, in the first line behind that is not. The rows of a line
//! are filled in their order, so a search ends at a line whose last row is empty.
//!
//! The hash keeps the order of the program counters where they are spread evenly enough: what runs
//! together stands together then, and fewer lines are read.
//!
//! # Invariants
//!
//! * **H1** No more than [`MAX_FULL`] lines that follow one another are full, and the last line of a
//!   table is not: a search reads one line more at most, whatever it looks for, and never leaves the
//!   table. Who writes a contract chooses its program counters, but the hash depends on all of them, and
//!   a table for which no hash does it grows, at last to a line for every two program counters.

/// Lines, one behind the other, that may be full.
const MAX_FULL: usize = 16;

/// Multipliers that are tried for a table of one size.
const TRIES: u64 = 8;

/// Which line a search begins at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash {
    pub(crate) multiplier: u32,
    /// How many lines searches begin at.
    pub(crate) lines: u32,
}

impl Hash {
    #[inline]
    pub(crate) fn line(self, pc: u32) -> usize {
        let hash = u64::from(pc.wrapping_mul(self.multiplier));
        ((hash * u64::from(self.lines)) >> 32) as usize
    }
}

/// Where each row of a table stands.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) hash: Hash,
    /// The place of each program counter's row.
    pub(crate) places: Vec<u32>,
    /// How many lines there are.
    pub(crate) lines: usize,
    /// Lines that searches for all rows read beyond their first ones.
    further: usize,
}

impl Layout {
    /// For these program counters, which are sorted, with so many `rows` to the line, three at least, and so
    /// many `lines` or more.
    pub(crate) fn new(pcs: &[u32], rows: usize, lines: usize) -> Self {
        let seed = pcs.iter().fold(0, |seed, pc| mix(seed ^ u64::from(*pc)));
        let last = pcs.last().copied().unwrap_or(0);
        // With so many lines two program counters, at most, are in one.
        let spread = (last / 2 + 1).next_power_of_two();
        let mut lines = u32::try_from(lines.max(1)).unwrap_or(u32::MAX);
        while lines < spread {
            let with = |multiplier| Self::with(pcs, rows, Hash { multiplier, lines });
            let ordered = with(u32::MAX / last.saturating_add(1));
            if let Some(ordered) = ordered.filter(|layout| layout.further <= pcs.len()) {
                return ordered;
            }
            let tried = (0..TRIES).filter_map(|n| with(mix(seed.wrapping_add(n)) as u32 | 1));
            if let Some(best) = tried.min_by_key(|layout| layout.further) {
                return best;
            }
            lines = lines.saturating_add(lines / 4 + 1);
        }
        let multiplier = (1 << 31) / spread;
        let lines = spread;
        Self::with(pcs, rows, Hash { multiplier, lines }).expect("no line is full")
    }

    /// The one with this hash, if H1 holds.
    fn with(pcs: &[u32], rows: usize, hash: Hash) -> Option<Self> {
        let mut used = vec![0u8; hash.lines as usize + MAX_FULL + 1];
        let (mut further, mut last) = (0, hash.lines as usize - 1);
        let mut places = Vec::with_capacity(pcs.len());
        for &pc in pcs {
            let first = hash.line(pc);
            let reached = used.get(first..=first + MAX_FULL)?;
            let by = reached.iter().position(|used| usize::from(*used) < rows)?;
            let line = first + by;
            places.push((line * rows + usize::from(used[line])) as u32);
            used[line] += 1;
            further += by;
            last = last.max(line);
        }
        let full = |used: &u8| usize::from(*used) == rows;
        let long = used
            .windows(MAX_FULL + 1)
            .any(|lines| lines.iter().all(full));
        let lines = last + 1 + usize::from(full(&used[last]));
        (!long && lines <= used.len()).then_some(Self {
            hash,
            places,
            lines,
            further,
        })
    }
}

/// Spreads 64 bits over all of them.
fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::NOWHERE;

    /// How many lines a search reads.
    fn read(layout: &Layout, pcs: &[u32], rows: usize, pc: u32) -> usize {
        let mut table = vec![NOWHERE; layout.lines * rows];
        for (pc, place) in pcs.iter().zip(&layout.places) {
            assert_eq!(table[*place as usize], NOWHERE);
            table[*place as usize] = *pc;
        }
        let mut lines = table.chunks(rows).skip(layout.hash.line(pc));
        let end = lines.position(|line| line.contains(&pc) || line[rows - 1] == NOWHERE);
        assert_eq!(
            table.contains(&pc),
            pcs.binary_search(&pc).is_ok() && end.is_some()
        );
        1 + end.expect("a search ends in the table")
    }

    #[test]
    fn every_search_ends_within_the_bound() {
        let every = |step: usize, to: u32| (0..to).step_by(step).collect::<Vec<u32>>();
        for pcs in [
            vec![],
            vec![0],
            vec![0, 1],
            vec![(1 << 24) - 1],
            every(1, 65_536),
            every(3, 24_576),
            every(64, 1 << 20),
            every(4097, 1 << 24),
        ] {
            for rows in [3, 4] {
                let layout = Layout::new(&pcs, rows, pcs.len() / 2);
                let present = pcs.iter().copied();
                for pc in present.chain(0..2000).chain([NOWHERE - 1, 1 << 31]) {
                    assert!(read(&layout, &pcs, rows, pc) <= MAX_FULL + 1, "{pc}");
                }
            }
        }
    }

    #[test]
    fn a_table_grows_until_the_bound_holds() {
        // More rows than the lines that are asked for have places.
        let pcs: Vec<u32> = (0..3000).collect();
        let layout = Layout::new(&pcs, 4, 1);
        for pc in 0..4000 {
            assert!(read(&layout, &pcs, 4, pc) <= MAX_FULL + 1);
        }
        // The last resort.
        let spread = pcs.len().next_power_of_two();
        let layout = Layout::new(&pcs, 3, spread);
        assert_eq!(layout.further, 0);
        for pc in 0..4000 {
            assert_eq!(read(&layout, &pcs, 3, pc), 1);
        }
    }

    #[test]
    fn nearly_all_rows_stand_where_a_search_begins() {
        let pcs: Vec<u32> = (0..1000).map(|n| 23 * n + (n * n) % 17).collect();
        let layout = Layout::new(&pcs, 4, pcs.len() * 2 / 5);
        assert!(layout.further < pcs.len() / 10, "{}", layout.further);
    }
}
