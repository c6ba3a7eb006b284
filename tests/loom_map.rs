//! Loom models of the resident map. Each explores all interleavings and all values that loads may
//! return, up to `LOOM_MAX_PREEMPTIONS` preemptions; run them with `.ci/resident loom`. That each
//! weakened ordering makes one of them fail shows `.ci/resident mutants`.
//!
//! What is watched: a [`Value`] holds a loom cell that reads touch and its drop writes, every node
//! of the map holds one too (`resident::sync::Liveness`), and loom itself watches each atomic and
//! each `Arc`. Freeing anything that a thread still uses, or whose last use does not happen before,
//! is a causality violation. Numbers like (I4) are the invariants of the module documentation.
//!
//! Under loom a thread has one hazard instead of 64, tables start at two words and the probe limit is
//! four, so that small models reach every path.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::thread;
use revmc_jit::resident::{self, Lookup, Options, Reader, Writer};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts values without loom noticing: plain numbers that order nothing.
#[derive(Clone, Default)]
struct Census {
    born: Arc<AtomicUsize>,
    dead: Arc<AtomicUsize>,
}

impl Census {
    fn value(&self, id: u32) -> Value {
        self.born.fetch_add(1, Ordering::Relaxed);
        Value {
            id,
            cell: UnsafeCell::new(()),
            home: thread::current().id(),
            census: self.clone(),
        }
    }

    fn alive(&self) -> usize {
        self.born.load(Ordering::Relaxed) - self.dead.load(Ordering::Relaxed)
    }
}

/// A value that must be read only while it lives and dropped only by the thread that made it.
struct Value {
    id: u32,
    cell: UnsafeCell<()>,
    home: thread::ThreadId,
    census: Census,
}

impl Value {
    fn read(&self) -> u32 {
        self.cell.with(|_| ());
        self.id
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.cell.with_mut(|_| ());
        assert_eq!(
            self.home,
            thread::current().id(),
            "freed by another thread than the writer's"
        );
        self.census.dead.fetch_add(1, Ordering::Relaxed);
    }
}

/// Homes by all but the key's low four bits, so that keys 0 and 1 share theirs in every table.
#[derive(Default)]
struct Homes;

struct Home(u64);

impl Hasher for Home {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are single bytes");
    }

    fn write_u8(&mut self, key: u8) {
        self.0 = u64::from(key);
    }

    fn finish(&self) -> u64 {
        self.0 << 58 | self.0 >> 4
    }
}

impl BuildHasher for Homes {
    type Hasher = Home;

    fn build_hasher(&self) -> Home {
        Home(0)
    }
}

type TestWriter = Writer<u8, Value, u8, Homes>;
type TestReader = Reader<u8, Value, u8, Homes>;

/// Two keys with one home, and one key elsewhere.
const A: u8 = 0;
const B: u8 = 1;
const C: u8 = 16;

fn map(capacity: usize, stripes: usize) -> (TestWriter, TestReader) {
    resident::with_hasher(&Options {
        capacity,
        stripes,
        ..Options::default()
    })
}

fn put(writer: &mut TestWriter, census: &Census, key: u8, id: u32) {
    writer.insert_with(key, || census.value(id));
}

/// Looks `key` up in the way that leaves least to the guard.
fn read(reader: &TestReader, key: u8) -> Lookup<u32, u8> {
    reader.with(&key, |found| found.map(Value::read))
}

/// Explores `body` and says how many executions that took. A model of three threads is granted one
/// preemption less than one of two: it has two orders of magnitude more executions.
fn explore(name: &str, threads: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map(|bound| bound + 2 - threads);
    builder.max_branches = 10_000;
    let executions = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    let begin = std::time::Instant::now();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        body();
    });
    let executions = executions.load(Ordering::Relaxed);
    println!(
        "{name}: {executions} executions, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
}

/// The last steps of most models: everything unlinked is freed once the readers are gone.
fn finish(mut writer: TestWriter, reader: TestReader, census: &Census) {
    writer.clear();
    writer.reclaim();
    assert_eq!(writer.gauges().backlog, 0);
    assert_eq!(census.alive(), 0);
    drop((writer, reader));
}

/// Most models: a map of these entries, read by other threads while the writer changes it.
struct Race {
    name: &'static str,
    readers: usize,
    capacity: usize,
    entries: &'static [(u8, u32)],
}

fn one_reader(name: &'static str, capacity: usize, entries: &'static [(u8, u32)]) -> Race {
    Race {
        name,
        readers: 1,
        capacity,
        entries,
    }
}

fn two_readers(name: &'static str, capacity: usize, entries: &'static [(u8, u32)]) -> Race {
    Race {
        readers: 2,
        ..one_reader(name, capacity, entries)
    }
}

impl Race {
    /// Explores `reads`, by each reader, against `writes`. Readers are joined only afterwards, as
    /// joining orders everything.
    fn explore(
        self,
        reads: impl Fn(&TestReader) + Copy + Send + Sync + 'static,
        writes: impl Fn(&mut TestWriter, &Census) + Send + Sync + 'static,
    ) {
        explore(self.name, 1 + self.readers, move || {
            let census = Census::default();
            let (mut writer, reader) = map(self.capacity, 1);
            for &(key, id) in self.entries {
                put(&mut writer, &census, key, id);
            }
            let threads = Vec::from_iter((0..self.readers).map(|_| {
                let remote = reader.clone();
                thread::spawn(move || reads(&remote))
            }));
            writes(&mut writer, &census);
            for thread in threads {
                thread.join().unwrap();
            }
            finish(writer, reader, &census);
        });
    }
}

/// Unlinks an entry and tries twice to free it.
fn evict(writer: &mut TestWriter, key: u8) {
    assert!(writer.remove(&key));
    writer.reclaim();
    writer.reclaim();
}

/// Enter and leave against unlink and free (I3, I4): two lookups of one thread, each of which may
/// overlap the removal. The second lets the writer observe an entering store as proof of a leaving.
#[test]
fn remove_while_read() {
    one_reader("remove_while_read", 0, &[(A, 1)]).explore(
        |reader| {
            for _ in 0..2 {
                assert!(matches!(read(reader, A), Lookup::Hit(1) | Lookup::Miss));
            }
        },
        |writer, _| evict(writer, A),
    );
}

/// Two readers that register at the same time (I1), against replacement: they see one value or the
/// other, never none.
#[test]
fn replace_while_two_read() {
    two_readers("replace_while_two_read", 0, &[(A, 1)]).explore(
        |reader| assert!(matches!(read(reader, A), Lookup::Hit(1 | 2))),
        |writer, census| {
            put(writer, census, A, 2);
            writer.reclaim();
        },
    );
}

/// Publication (I1): what is found is whole, value or negative.
#[test]
fn insert_while_read() {
    one_reader("insert_while_read", 1, &[]).explore(
        |reader| {
            assert!(matches!(read(reader, A), Lookup::Miss | Lookup::Hit(1)));
            let found = read(reader, C);
            assert!(matches!(found, Lookup::Miss | Lookup::Negative(7)));
        },
        |writer, census| {
            put(writer, census, A, 1);
            writer.insert_negative(C, 7);
        },
    );
}

/// Probes over a changing cluster (I6): B, which stays, is found whatever happens to the words on
/// the way to it: removal, a tombstone, its reuse.
#[test]
fn probe_through_changes() {
    one_reader("probe_through_changes", 1, &[(A, 1), (B, 2)]).explore(
        |reader| {
            assert!(matches!(read(reader, B), Lookup::Hit(2)));
            let found = read(reader, A);
            assert!(matches!(found, Lookup::Hit(1 | 3) | Lookup::Miss));
        },
        |writer, census| {
            writer.remove(&A);
            put(writer, census, A, 3);
            writer.reclaim();
        },
    );
}

/// Growth (I1, I3, I4): a reader in the old table finds what it should, and the table outlives it.
#[test]
fn grow_while_read() {
    one_reader("grow_while_read", 0, &[(A, 1)]).explore(
        |reader| {
            assert!(matches!(read(reader, A), Lookup::Hit(1)));
            assert!(matches!(read(reader, C), Lookup::Hit(3) | Lookup::Miss));
        },
        |writer, census| {
            let before = writer.gauges().rebuilds;
            put(writer, census, C, 3);
            assert!(writer.gauges().rebuilds > before);
            writer.reclaim();
        },
    );
}

/// Clearing: a table and its entries go at once.
#[test]
fn clear_while_read() {
    one_reader("clear_while_read", 1, &[(A, 1), (B, 2)]).explore(
        |reader| assert!(matches!(read(reader, B), Lookup::Hit(2) | Lookup::Miss)),
        |writer, _| {
            writer.clear();
            writer.reclaim();
            writer.reclaim();
        },
    );
}

/// Thread exit (I2): a slot goes from a thread that ends to one that begins, unordered otherwise,
/// while the writer unlinks.
#[test]
fn slots_are_recycled() {
    two_readers("slots_are_recycled", 0, &[(A, 1)]).explore(
        |reader| match reader.borrow(&A) {
            Lookup::Hit(guard) => assert_eq!(guard.read(), 1),
            Lookup::Miss => {}
            Lookup::Negative(_) => panic!("never inserted"),
        },
        |writer, _| {
            writer.remove(&A);
            writer.reclaim();
        },
    );
}

/// A thread that looks up and ends while the writer looks at its slot repeatedly: what the end
/// stores into the slot must order the same as the leaving it hides (I4).
#[test]
fn thread_ends_while_observed() {
    one_reader("thread_ends_while_observed", 0, &[(A, 1)]).explore(
        |reader| assert!(matches!(read(reader, A), Lookup::Hit(1) | Lookup::Miss)),
        |writer, _| evict(writer, A),
    );
}

/// A long-held guard (I5): its value stays, another value removed meanwhile does not wait for it.
#[test]
fn guard_outlives_removal() {
    one_reader("guard_outlives_removal", 0, &[(A, 1)]).explore(
        |reader| {
            if let Lookup::Hit(guard) = reader.borrow(&A) {
                assert_eq!(guard.read(), 1);
                assert_eq!(guard.read(), 1);
            }
        },
        |writer, _| evict(writer, A),
    );
}

/// One hazard used for one value after the other (I5).
#[test]
fn hazard_is_reused() {
    one_reader("hazard_is_reused", 1, &[(A, 1), (C, 3)]).explore(
        |reader| {
            for (key, id) in [(A, 1), (C, 3)] {
                if let Lookup::Hit(guard) = reader.borrow(&key) {
                    assert_eq!(guard.read(), id);
                }
            }
        },
        |writer, _| evict(writer, A),
    );
}

/// Nested sections and the fall-back to counting: a guard made inside another lookup outlives it,
/// and a second guard finds no free hazard.
#[test]
fn nested_guards() {
    one_reader("nested_guards", 1, &[(A, 1), (C, 3)]).explore(
        |reader| {
            let inner = reader.with(&A, |outer| {
                let inner = reader.borrow(&C);
                if let Lookup::Hit(outer) = outer {
                    assert_eq!(outer.read(), 1);
                }
                inner
            });
            let second = reader.borrow(&A);
            for (guard, id) in [(inner, 3), (second, 1)] {
                if let Lookup::Hit(guard) = guard {
                    assert_eq!(guard.read(), id);
                }
            }
        },
        |writer, _| {
            writer.remove(&C);
            writer.reclaim();
            writer.remove(&A);
            writer.reclaim();
        },
    );
}

/// Striped hand-out against eviction (I7): callers keep their copies as long as they like, and each
/// is freed by the writer.
#[test]
fn lent_values_return_to_the_writer() {
    explore("lent_values_return_to_the_writer", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(0, 2);
        put(&mut writer, &census, A, 1);
        // The writer's thread takes the first copy, the other thread the second.
        let lent = reader.get(&A).hit().expect("inserted");
        let remote = reader.clone();
        let thread = thread::spawn(move || {
            if let Lookup::Hit(lent) = remote.get(&A) {
                assert_eq!(lent.read(), 1);
            }
        });
        evict(&mut writer, A);
        assert_eq!(lent.read(), 1);
        drop(lent);
        thread.join().unwrap();
        finish(writer, reader, &census);
    });
}

/// The writer goes first (I8): readers go on, and the last handle frees what is left.
#[test]
fn writer_dropped_while_read() {
    explore("writer_dropped_while_read", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(1, 1);
        put(&mut writer, &census, A, 1);
        put(&mut writer, &census, C, 3);
        let remote = reader.clone();
        let thread = thread::spawn(move || {
            assert!(matches!(read(&remote, A), Lookup::Hit(1) | Lookup::Miss));
            assert!(matches!(read(&remote, C), Lookup::Hit(3)));
            // Dropped by the main thread, or values would be freed on this one.
            remote
        });
        writer.remove(&A);
        drop(writer);
        drop(reader);
        drop(thread.join().unwrap());
        assert_eq!(census.alive(), 0);
    });
}

type MessageWriter = Writer<u8, Value, u8, Homes, Value>;
type MessageReader = Reader<u8, Value, u8, Homes, Value>;

fn with_messages(messages: usize) -> (MessageWriter, MessageReader) {
    resident::with_messages(&Options {
        messages,
        stripes: 1,
        ..Options::default()
    })
}

/// A message is a value that was made on one thread and ends on the writer's.
fn message(census: &Census, id: u32, home: thread::ThreadId) -> Value {
    let mut value = census.value(id);
    value.home = home;
    value
}

/// R1, from both sides: more messages than there is room for, taken while they are left. What there
/// is room for arrives once, whole and in order, and what there is none for is never made.
#[test]
fn messages_arrive_whole_and_in_order() {
    explore("messages_arrive_whole_and_in_order", 2, || {
        let census = Census::default();
        let (mut writer, reader) = with_messages(1);
        // The slot is there before the writer looks.
        reader.get(&A);
        let thread = thread::spawn(move || {
            let mut taken = Vec::new();
            for _ in 0..2 {
                taken.extend(writer.take_messages(1).iter().map(Value::read));
            }
            (writer, taken)
        });
        let home = thread.thread().id();
        let posts = (1..=3).map(|id| (id, reader.post(|| message(&census, id, home))));
        let left: Vec<u32> = posts.filter(|(_, left)| *left).map(|(id, _)| id).collect();
        let (mut writer, mut taken) = thread.join().unwrap();
        for mut late in writer.take_messages(usize::MAX) {
            late.home = thread::current().id();
            taken.push(late.read());
        }
        assert_eq!(taken, left);
        assert_eq!(census.born.load(Ordering::Relaxed), left.len());
        assert_eq!(census.alive(), 0);
    });
}

/// I2: a thread takes over a slot with a message of its last owner in it, while the writer takes it.
#[test]
fn a_slot_is_recycled_with_its_messages() {
    explore("a_slot_is_recycled_with_its_messages", 2, || {
        let census = Census::default();
        let (mut writer, reader) = with_messages(2);
        let home = thread::current().id();
        let post = |id| {
            let (reader, census) = (reader.clone(), census.clone());
            move || assert!(reader.post(|| message(&census, id, home)))
        };
        let threads = [thread::spawn(post(1)), thread::spawn(post(2))];
        let mut taken: Vec<u32> = writer.take_messages(1).iter().map(Value::read).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        taken.extend(writer.take_messages(usize::MAX).iter().map(Value::read));
        // In one slot after the other's end, or in two.
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
        drop((writer, reader));
        assert_eq!(census.alive(), 0);
    });
}

/// What nobody took is dropped by the writer, not by a thread that looks things up.
#[test]
fn messages_left_behind_end_with_the_writer() {
    explore("messages_left_behind_end_with_the_writer", 2, || {
        let census = Census::default();
        let (writer, reader) = with_messages(2);
        let (made, home) = (census.clone(), thread::current().id());
        let posting = reader.clone();
        let thread = thread::spawn(move || posting.post(|| message(&made, 1, home)));
        assert!(thread.join().unwrap());
        drop(writer);
        assert_eq!(census.alive(), 0);
        drop(reader);
    });
}
