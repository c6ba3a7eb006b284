//! The resident map against `std::collections::HashMap`: any byte string is a program of map
//! operations, run on both. Shared by the property test and the fuzz target.

mod tracked;

use revmc_jit::resident::{self, FencePolicy, Lookup, Options, Reader, Ref, Seeded, Writer};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use tracked::Tracked;

/// Every key has the same hash.
#[derive(Default)]
pub struct Constant;

/// The hash is the key: the top bits, which choose the place, are equal for all keys.
#[derive(Default)]
pub struct Identity;

/// What both of the above build.
pub struct Bytes {
    value: u64,
    ignore: bool,
}

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.value = self.value << 8 | u64::from(byte);
        }
    }

    fn finish(&self) -> u64 {
        if self.ignore { 0 } else { self.value }
    }
}

impl BuildHasher for Constant {
    type Hasher = Bytes;
    fn build_hasher(&self) -> Bytes {
        Bytes {
            value: 0,
            ignore: true,
        }
    }
}

impl BuildHasher for Identity {
    type Hasher = Bytes;
    fn build_hasher(&self) -> Bytes {
        Bytes {
            value: 0,
            ignore: false,
        }
    }
}

type Expected = HashMap<u16, (Result<u64, u8>, u64)>;

/// Runs `program` on the map and on the model and panics where they differ.
///
/// The first byte picks hasher, stripes and the order of the final drops; the rest are operations.
pub fn check(program: &[u8]) {
    let Some((&head, operations)) = program.split_first() else {
        return;
    };
    match head % 4 {
        0 => run::<Constant>(head, operations),
        1 => run::<Identity>(head, operations),
        _ => run::<Seeded>(head, operations),
    }
}

fn run<S: BuildHasher + Default>(head: u8, operations: &[u8]) {
    let alive = Arc::new(AtomicIsize::new(0));
    let options = Options {
        stripes: 1 << (head >> 2 & 3),
        fences: if head & 16 == 0 {
            FencePolicy::Auto
        } else {
            FencePolicy::Symmetric
        },
        capacity: if head & 32 == 0 { 0 } else { 100 },
        messages: 0,
    };
    let (writer, reader) = resident::with_hasher::<u16, Tracked, u8, S>(&options);
    let mut machine = Machine {
        alive: Arc::clone(&alive),
        writer,
        expected: HashMap::new(),
        reader: &reader,
        refs: Vec::new(),
        arcs: Vec::new(),
        tick: 0,
        looked_up: (0, 0, 0),
        next_id: 1,
    };
    for operation in operations.chunks_exact(3) {
        machine.step(
            operation[0],
            u16::from_le_bytes([operation[1], operation[2]]) % 512,
        );
    }
    let (writer, refs, arcs) = machine.into_parts();
    if head & 64 == 0 {
        // Guards outlive the writer.
        drop(writer);
        for (guard, id) in &refs {
            assert_eq!(guard.id(), *id);
        }
        drop(refs);
    } else {
        drop(refs);
        drop(writer);
    }
    if head & 128 == 0 {
        // `Arc`s outlive the map.
        drop(reader);
        for (arc, id) in &arcs {
            assert_eq!(arc.id(), *id);
        }
        drop(arcs);
    } else {
        drop(arcs);
        drop(reader);
    }
    assert_eq!(alive.load(Ordering::Relaxed), 0, "values leaked");
}

struct Machine<'r, S> {
    alive: Arc<AtomicIsize>,
    writer: Writer<u16, Tracked, u8, S>,
    expected: Expected,
    reader: &'r Reader<u16, Tracked, u8, S>,
    refs: Vec<(Ref<'r, Tracked>, u64)>,
    arcs: Vec<(Arc<Tracked>, u64)>,
    tick: u64,
    looked_up: (u64, u64, u64),
    next_id: u64,
}

/// What the order of the final drops is about.
type Parts<'r, S> = (
    Writer<u16, Tracked, u8, S>,
    Vec<(Ref<'r, Tracked>, u64)>,
    Vec<(Arc<Tracked>, u64)>,
);

impl<'r, S: BuildHasher + Default> Machine<'r, S> {
    fn into_parts(self) -> Parts<'r, S> {
        (self.writer, self.refs, self.arcs)
    }

    fn step(&mut self, operation: u8, key: u16) {
        match operation % 16 {
            0..=3 => {
                let id = self.next_id;
                self.next_id += 1;
                self.writer.insert(key, Tracked::new(id, &self.alive));
                self.expected.insert(key, (Ok(id), self.tick));
            }
            4 => {
                let negative = operation >> 4;
                self.writer.insert_negative(key, negative);
                self.expected.insert(key, (Err(negative), self.tick));
            }
            5 | 6 => {
                let removed = self.writer.remove(&key);
                assert_eq!(
                    removed,
                    self.expected.remove(&key).is_some(),
                    "remove({key})"
                );
            }
            7 => {
                let found = self.reader.get(&key);
                self.compare(
                    key,
                    found.map(|arc| (arc.id(), arc)),
                    |machine, (id, arc)| {
                        machine.arcs.push((arc, id));
                    },
                );
                self.tracked(key);
            }
            8 => {
                let found = self.reader.borrow(&key);
                self.compare(
                    key,
                    found.map(|guard| (guard.id(), guard)),
                    |machine, (id, guard)| {
                        machine.refs.push((guard, id));
                    },
                );
                self.tracked(key);
            }
            9 => {
                // A nested lookup of another key, and of a guard that outlives the section.
                let (inner, outer) = self.reader.with(&key, |outer| {
                    let inner = self.reader.borrow(&(key ^ 1));
                    (inner, outer.map(|value| (value.id(), ())))
                });
                self.compare(key, outer, |_, _| ());
                self.compare(
                    key ^ 1,
                    inner.map(|guard| (guard.id(), guard)),
                    |machine, (id, guard)| {
                        machine.refs.push((guard, id));
                    },
                );
                self.tracked(key);
                self.tracked(key ^ 1);
            }
            10 => {
                let found = self.reader.peek(&key);
                self.compare(key, found.map(|arc| (arc.id(), ())), |_, _| ());
            }
            11 => {
                if !self.refs.is_empty() {
                    let (guard, id) = self.refs.swap_remove(key as usize % self.refs.len());
                    assert_eq!(guard.id(), id);
                }
            }
            12 => {
                if !self.arcs.is_empty() {
                    let (arc, id) = self.arcs.swap_remove(key as usize % self.arcs.len());
                    assert_eq!(arc.id(), id);
                }
            }
            13 => {
                self.tick = self.tick.wrapping_add(u64::from(key));
                self.writer.set_tick(self.tick);
            }
            14 => {
                self.writer.reclaim();
                self.audit();
            }
            // Rarely, or no map would ever grow.
            _ if key < 16 => {
                self.writer.clear();
                self.expected.clear();
            }
            _ => self.audit(),
        }
        assert_eq!(self.writer.len(), self.expected.len());
    }

    /// Compares one lookup with the model, and keeps what a hit gave.
    fn compare<T>(
        &mut self,
        key: u16,
        found: Lookup<(u64, T), u8>,
        keep: impl FnOnce(&mut Self, (u64, T)),
    ) {
        match (found, self.expected.get(&key).map(|(body, _)| *body)) {
            (Lookup::Hit(hit), Some(Ok(id))) if hit.0 == id => keep(self, hit),
            (Lookup::Negative(negative), Some(Err(expected))) if negative == expected => {}
            (Lookup::Miss, None) => {}
            (found, expected) => {
                panic!(
                    "lookup({key}): {:?}, expected {expected:?}",
                    found.map(|(id, _)| id)
                )
            }
        }
    }

    /// A lookup of `key` was counted and stamped.
    fn tracked(&mut self, key: u16) {
        match self.expected.get_mut(&key) {
            Some((body, tick)) => {
                *tick = self.tick;
                match body {
                    Ok(_) => self.looked_up.0 += 1,
                    Err(_) => self.looked_up.2 += 1,
                }
            }
            None => self.looked_up.1 += 1,
        }
    }

    /// Everything that can be compared as a whole.
    fn audit(&mut self) {
        let mut seen = HashMap::new();
        self.writer.for_each(|&key, body, tick| {
            let body = match body {
                Lookup::Hit(value) => Ok(value.id()),
                Lookup::Negative(negative) => Err(negative),
                Lookup::Miss => panic!("for_each gave a miss for {key}"),
            };
            assert!(
                seen.insert(key, (body, tick)).is_none(),
                "for_each gave {key} twice"
            );
        });
        assert_eq!(seen, self.expected);
        for (guard, id) in &self.refs {
            assert_eq!(guard.id(), *id);
        }
        let counters = self.reader.counters();
        assert_eq!(
            (counters.hits, counters.misses, counters.negatives),
            self.looked_up
        );

        let gauges = self.writer.gauges();
        assert_eq!(gauges, self.reader.gauges());
        assert!(gauges.capacity.is_power_of_two());
        assert!(
            gauges.len + gauges.tombstones <= gauges.capacity / 2,
            "{gauges:?}"
        );
        assert!(gauges.max_probe <= gauges.probe_limit, "{gauges:?}");
        self.writer.reclaim();
        if self.refs.is_empty() {
            assert_eq!(
                self.writer.gauges().backlog,
                0,
                "no reader, yet something is not freed"
            );
            if self.arcs.is_empty() {
                assert_eq!(self.writer.gauges().lent, 0);
            }
        }
    }
}
