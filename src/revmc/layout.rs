//! The private layouts that compiled code reads, probed at run time.
//!
//! Compiled code reads fields of `Gas`, `Bytes`, slices, `SharedMemory` and the operand stack's
//! `Vec` in place. Rust does not promise where those stand, and some of the types hide them, so
//! each is found by looking for known values in a value built for the purpose, in two different
//! ones, and only a unique match counts. If any is not found, nothing is ever compiled.
//!
//! # Invariants
//!
//! * **L1** A probe reads whole words within the value. The probed types consist of words without
//!   padding (pointers, lengths, counters), so each word is initialised.
//! * **L2** A bitwise copy of a value is read as words only, and never dropped.

use super::TranslateError;
use revmc::{
    interpreter::{Gas, SharedMemory, Stack},
    primitives::{Bytes, U256},
};
use std::{mem::ManuallyDrop, sync::OnceLock};

/// Byte offsets of what compiled code reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// `Gas::remaining` in [`Gas`].
    pub(super) gas_remaining: usize,
    /// Data pointer in [`Bytes`].
    pub(super) bytes_ptr: usize,
    /// Length in [`Bytes`].
    pub(super) bytes_len: usize,
    /// Length in a `&[u8]`.
    pub(super) slice_len: usize,
    /// The buffer's data pointer in [`SharedMemory`].
    pub(super) memory_ptr: usize,
    /// The buffer's length in [`SharedMemory`].
    pub(super) memory_len: usize,
    /// Where the current frame's memory starts in the buffer, in [`SharedMemory`].
    pub(super) memory_checkpoint: usize,
}

impl Layout {
    /// The probed layout, or what could not be found. Probes once per process.
    pub(super) fn get() -> Result<&'static Self, TranslateError> {
        static LAYOUT: OnceLock<Result<Layout, TranslateError>> = OnceLock::new();
        LAYOUT
            .get_or_init(Self::probe)
            .as_ref()
            .map_err(Clone::clone)
    }

    fn probe() -> Result<Self, TranslateError> {
        let gas = |limit: u64, spent: u64| {
            let mut gas = Gas::new(limit);
            let recorded = gas.record_cost(spent);
            debug_assert!(recorded);
            gas
        };
        let gas_remaining = unique(
            [(gas(1_000_003, 7), 999_996), (gas(77_777, 1_111), 76_666)],
            "Gas::remaining",
        )?;

        static DATA: [u8; 163] = [0; 163];
        let bytes = |len: usize| Bytes::from_static(&DATA[DATA.len() - len..]);
        let start = |len: usize| DATA[DATA.len() - len..].as_ptr().addr();
        let bytes_ptr = unique(
            [(bytes(101), start(101)), (bytes(59), start(59))],
            "the pointer in Bytes",
        )?;
        let bytes_len = unique([(bytes(101), 101), (bytes(59), 59)], "the length in Bytes")?;
        let slice_len = unique(
            [(&DATA[..101], 101), (&DATA[..59], 59)],
            "the length in a slice",
        )?;

        let memory = |first: usize, second: usize| {
            let mut memory = SharedMemory::with_capacity(4096);
            memory.new_context();
            memory.resize(first);
            memory.new_context();
            memory.resize(second);
            memory
        };
        let (a, b) = (memory(96, 160), memory(1312, 608));
        let buffer =
            |memory: &SharedMemory, first: usize| memory.slice(0, 1).as_ptr().addr() - first;
        let (a_ptr, b_ptr) = (buffer(&a, 96), buffer(&b, 1312));
        let memory_ptr = unique(
            [(&a, a_ptr), (&b, b_ptr)].map(by_value),
            "SharedMemory's buffer",
        )?;
        let memory_len = unique(
            [(&a, 256), (&b, 1920)].map(by_value),
            "SharedMemory's buffer length",
        )?;
        let memory_checkpoint = unique(
            [(&a, 96), (&b, 1312)].map(by_value),
            "SharedMemory's checkpoint",
        )?;

        // revmc's calling convention finds the stack's length in the third word of a `Vec`.
        for words in [3, 1000] {
            let mut stack = Stack::new();
            for _ in 0..words {
                stack
                    .push(U256::ZERO)
                    .map_err(|_| TranslateError::Layout("Stack"))?;
            }
            if word_at(stack.data(), 2 * size_of::<usize>()) != words {
                return Err(TranslateError::Layout("the length in Vec"));
            }
        }

        Ok(Self {
            gas_remaining,
            bytes_ptr,
            bytes_len,
            slice_len,
            memory_ptr,
            memory_len,
            memory_checkpoint,
        })
    }
}

fn by_value<T>((value, word): (&T, usize)) -> (ManuallyDrop<T>, usize) {
    // SAFETY: L2.
    let copy = ManuallyDrop::new(unsafe { std::ptr::read(value) });
    (copy, word)
}

/// The offset at which both values hold their word, if it is the only one.
fn unique<T>(
    [a, b]: [(T, impl TryInto<usize>); 2],
    what: &'static str,
) -> Result<usize, TranslateError> {
    let words = |value: &T| {
        (0..size_of::<T>() / size_of::<usize>())
            .map(|i| word_at(value, i * size_of::<usize>()))
            .collect::<Vec<_>>()
    };
    let missing = TranslateError::Layout(what);
    let (Ok(a_word), Ok(b_word)) = (a.1.try_into(), b.1.try_into()) else {
        return Err(missing);
    };
    let (in_a, in_b) = (words(&a.0), words(&b.0));
    let mut matches = (0..in_a.len())
        .filter(|&i| in_a[i] == a_word && in_b[i] == b_word)
        .map(|i| i * 8);
    match (matches.next(), matches.next()) {
        (Some(offset), None) => Ok(offset),
        _ => Err(missing),
    }
}

fn word_at<T>(value: &T, offset: usize) -> usize {
    assert!(offset + size_of::<usize>() <= size_of::<T>());
    // SAFETY: L1: in bounds by the assertion.
    unsafe {
        (&raw const *value)
            .byte_add(offset)
            .cast::<usize>()
            .read_unaligned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_layout() {
        let layout = Layout::get().unwrap();
        assert_ne!(layout.memory_ptr, layout.memory_len);
    }

    #[test]
    fn refuses_what_is_absent_or_ambiguous() {
        assert!(unique([([1usize, 2], 3usize), ([4, 5], 6)], "absent").is_err());
        assert!(unique([([1usize, 1], 1usize), ([2, 2], 2)], "ambiguous").is_err());
        assert_eq!(
            unique([([1usize, 7], 7usize), ([1, 9], 9)], "second"),
            Ok(8)
        );
    }
}
