//! The process's mappings, as the kernel lists them.

use std::ops::Range;

/// Addresses and rights of each.
pub fn mappings() -> Vec<(Range<usize>, String)> {
    let list = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = |line: &str| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(start)..number(end), rest[..4].to_owned())
    };
    list.lines().map(line).collect()
}
