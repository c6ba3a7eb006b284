//! Loom models of the resident map. Each explores all interleavings and all values that loads may
//! return, up to `LOOM_MAX_PREEMPTIONS` preemptions; run them with `.ci/loom`, which also shows that
//! each weakened ordering makes one of them fail (`.ci/loom --mutants`).
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

/// Enter and leave against unlink and free (I3, I4): two lookups of one thread, each of which may
/// overlap the removal. The second lets the writer observe an entering store as proof of a leaving.
#[test]
fn remove_while_read() {
    explore("remove_while_read", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(0, 1);
        put(&mut writer, &census, A, 1);
        let remote = reader.clone();
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                assert!(matches!(read(&remote, A), Lookup::Hit(1) | Lookup::Miss));
            }
        });
        assert!(writer.remove(&A));
        writer.reclaim();
        writer.reclaim();
        thread.join().unwrap();
        finish(writer, reader, &census);
    });
}

/// Two readers that register at the same time (I1), against replacement: they see one value or the
/// other, never none.
#[test]
fn replace_while_two_read() {
    explore("replace_while_two_read", 3, || {
        let census = Census::default();
        let (mut writer, reader) = map(0, 1);
        put(&mut writer, &census, A, 1);
        let threads = [(); 2].map(|()| {
            let remote = reader.clone();
            thread::spawn(move || assert!(matches!(read(&remote, A), Lookup::Hit(1 | 2))))
        });
        put(&mut writer, &census, A, 2);
        writer.reclaim();
        for thread in threads {
            thread.join().unwrap();
        }
        finish(writer, reader, &census);
    });
}

/// Publication (I1): what is found is whole, value or negative.
#[test]
fn insert_while_read() {
    explore("insert_while_read", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(1, 1);
        let remote = reader.clone();
        let thread = thread::spawn(move || {
            assert!(matches!(read(&remote, A), Lookup::Miss | Lookup::Hit(1)));
            assert!(matches!(
                read(&remote, C),
                Lookup::Miss | Lookup::Negative(7)
            ));
        });
        put(&mut writer, &census, A, 1);
        writer.insert_negative(C, 7);
        thread.join().unwrap();
        finish(writer, reader, &census);
    });
}

/// Probes over a changing cluster (I6): B, which stays, is found whatever happens to the words on
/// the way to it: removal, a tombstone, its reuse.
#[test]
fn probe_through_changes() {
    explore("probe_through_changes", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(1, 1);
        put(&mut writer, &census, A, 1);
        put(&mut writer, &census, B, 2);
        let remote = reader.clone();
        let thread = thread::spawn(move || {
            assert!(matches!(read(&remote, B), Lookup::Hit(2)));
            assert!(matches!(
                read(&remote, A),
                Lookup::Hit(1 | 3) | Lookup::Miss
            ));
        });
        writer.remove(&A);
        put(&mut writer, &census, A, 3);
        writer.reclaim();
        thread.join().unwrap();
        finish(writer, reader, &census);
    });
}

/// Growth (I1, I3, I4): a reader in the old table finds what it should, and the table outlives it.
#[test]
fn grow_while_read() {
    explore("grow_while_read", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(0, 1);
        put(&mut writer, &census, A, 1);
        let remote = reader.clone();
        let thread = thread::spawn(move || {
            assert!(matches!(read(&remote, A), Lookup::Hit(1)));
            assert!(matches!(read(&remote, C), Lookup::Hit(3) | Lookup::Miss));
        });
        let before = writer.gauges().rebuilds;
        put(&mut writer, &census, C, 3);
        assert!(writer.gauges().rebuilds > before);
        writer.reclaim();
        thread.join().unwrap();
        finish(writer, reader, &census);
    });
}

/// Clearing: a table and its entries go at once.
#[test]
fn clear_while_read() {
    explore("clear_while_read", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(1, 1);
        put(&mut writer, &census, A, 1);
        put(&mut writer, &census, B, 2);
        let remote = reader.clone();
        let thread = thread::spawn(move || {
            assert!(matches!(read(&remote, B), Lookup::Hit(2) | Lookup::Miss));
        });
        writer.clear();
        writer.reclaim();
        writer.reclaim();
        thread.join().unwrap();
        finish(writer, reader, &census);
    });
}

/// Thread exit (I2): a slot goes from a thread that ends to one that begins, unordered otherwise,
/// while the writer unlinks.
#[test]
fn slots_are_recycled() {
    explore("slots_are_recycled", 3, || {
        let census = Census::default();
        let (mut writer, reader) = map(0, 1);
        put(&mut writer, &census, A, 1);
        let threads = [(); 2].map(|()| {
            let remote = reader.clone();
            thread::spawn(move || match remote.borrow(&A) {
                Lookup::Hit(guard) => assert_eq!(guard.read(), 1),
                Lookup::Miss => {}
                Lookup::Negative(_) => panic!("never inserted"),
            })
        });
        writer.remove(&A);
        writer.reclaim();
        for thread in threads {
            thread.join().unwrap();
        }
        finish(writer, reader, &census);
    });
}

/// A thread that looks up and ends while the writer looks at its slot repeatedly: what the end
/// stores into the slot must order the same as the leaving it hides (I4).
#[test]
fn thread_ends_while_observed() {
    explore("thread_ends_while_observed", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(0, 1);
        put(&mut writer, &census, A, 1);
        let remote = reader.clone();
        // Not joined before the last look: joining orders everything.
        let thread = thread::spawn(move || {
            assert!(matches!(read(&remote, A), Lookup::Hit(1) | Lookup::Miss));
        });
        writer.remove(&A);
        writer.reclaim();
        writer.reclaim();
        thread.join().unwrap();
        finish(writer, reader, &census);
    });
}

/// A long-held guard (I5): its value stays, another value removed meanwhile does not wait for it.
#[test]
fn guard_outlives_removal() {
    explore("guard_outlives_removal", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(0, 1);
        put(&mut writer, &census, A, 1);
        let remote = reader.clone();
        let thread = thread::spawn(move || {
            if let Lookup::Hit(guard) = remote.borrow(&A) {
                assert_eq!(guard.read(), 1);
                assert_eq!(guard.read(), 1);
            }
        });
        writer.remove(&A);
        writer.reclaim();
        writer.reclaim();
        thread.join().unwrap();
        finish(writer, reader, &census);
    });
}

/// One hazard used for one value after the other (I5).
#[test]
fn hazard_is_reused() {
    explore("hazard_is_reused", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(1, 1);
        put(&mut writer, &census, A, 1);
        put(&mut writer, &census, C, 3);
        let remote = reader.clone();
        let thread = thread::spawn(move || {
            for (key, id) in [(A, 1), (C, 3)] {
                if let Lookup::Hit(guard) = remote.borrow(&key) {
                    assert_eq!(guard.read(), id);
                }
            }
        });
        writer.remove(&A);
        writer.reclaim();
        writer.reclaim();
        thread.join().unwrap();
        finish(writer, reader, &census);
    });
}

/// Nested sections and the fall-back to counting: a guard made inside another lookup outlives it,
/// and a second guard finds no free hazard.
#[test]
fn nested_guards() {
    explore("nested_guards", 2, || {
        let census = Census::default();
        let (mut writer, reader) = map(1, 1);
        put(&mut writer, &census, A, 1);
        put(&mut writer, &census, C, 3);
        let remote = reader.clone();
        let thread = thread::spawn(move || {
            let inner = remote.with(&A, |outer| {
                let inner = remote.borrow(&C);
                if let Lookup::Hit(outer) = outer {
                    assert_eq!(outer.read(), 1);
                }
                inner
            });
            let second = remote.borrow(&A);
            for (guard, id) in [(inner, 3), (second, 1)] {
                if let Lookup::Hit(guard) = guard {
                    assert_eq!(guard.read(), id);
                }
            }
        });
        writer.remove(&C);
        writer.reclaim();
        writer.remove(&A);
        writer.reclaim();
        thread.join().unwrap();
        finish(writer, reader, &census);
    });
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
        writer.remove(&A);
        writer.reclaim();
        writer.reclaim();
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
