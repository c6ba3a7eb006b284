//! The resident map under real threads: stress, and each situation its documentation promises
//! something about. ThreadSanitizer and Miri run these too (see the module documentation).
#![cfg(not(loom))]

#[path = "resident_model/leaked.rs"]
mod leaked;
#[path = "resident_model/tracked.rs"]
mod tracked;

use leaked::{LEAKED, Leaked};
use revmc_jit::resident::{self, FencePolicy, Lookup, Options, Reader, Seeded, Writer};
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use tracked::Tracked;

type TestWriter = Writer<u32, Tracked, u8>;
type TestReader = Reader<u32, Tracked, u8>;

fn map(fences: FencePolicy) -> (TestWriter, TestReader, Arc<AtomicIsize>) {
    let (writer, reader) = resident::new(&Options {
        stripes: 2,
        fences,
        ..Options::default()
    });
    (writer, reader, Arc::default())
}

fn id_of(key: u32, version: u32) -> u64 {
    u64::from(key) << 32 | u64::from(version)
}

/// Readers come and go, hold `Arc`s and guards across the writer's growth, eviction and clearing;
/// no value is seen after its drop, every hit has its key's value, and nothing is left at the end.
fn stress(fences: FencePolicy) {
    const KEYS: u32 = if cfg!(miri) { 8 } else { 3000 };
    const CHANGES: u32 = if cfg!(miri) { 48 } else { 120_000 };
    const READERS: usize = if cfg!(miri) { 2 } else { 3 };
    const LOOKUPS: usize = if cfg!(miri) { 10 } else { 4000 };
    let (mut writer, reader, alive) = map(fences);
    let done = AtomicBool::new(false);

    let read = |seed: u64| {
        let mut random = seed;
        let mut held = Vec::new();
        let mut lent = Vec::new();
        for _ in 0..LOOKUPS {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let key = (random >> 33) as u32 % KEYS;
            match random >> 60 {
                0..=7 => reader.with(&key, |found| {
                    if let Lookup::Hit(value) = found {
                        assert_eq!(value.id() >> 32, u64::from(key));
                    }
                }),
                8..=10 => lent.extend(reader.get(&key).hit()),
                11..=13 => held.extend(reader.borrow(&key).hit()),
                _ => {
                    held.iter()
                        .for_each(|guard| assert!(guard.id() >> 32 < u64::from(KEYS)));
                    lent.iter().for_each(|arc: &Arc<Tracked>| _ = arc.id());
                    held.clear();
                    lent.clear();
                }
            }
        }
    };
    thread::scope(|scope| {
        for n in 0..READERS {
            let (read, done) = (&read, &done);
            scope.spawn(move || {
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    // A new thread each time: slots are claimed and recycled all along.
                    round += 1;
                    let seed = round * 7 + n as u64;
                    thread::scope(|inner| inner.spawn(|| read(seed)).join())
                        .expect("no reader panics");
                }
            });
        }
        let mut random = RandomState::new().hash_one(0u8) | 1;
        for version in 0..CHANGES {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // The range grows and shrinks, and the table with it.
            let range = KEYS >> (version * 16 / CHANGES % 4 * 2);
            let key = (random >> 33) as u32 % range.max(1);
            match random >> 60 {
                0..=8 => writer.insert(key, Tracked::new(id_of(key, version), &alive)),
                9 => writer.insert_negative(key, 1),
                10..=13 => _ = writer.remove(&key),
                14 => _ = writer.reclaim(),
                _ if random >> 50 & 0x3ff == 0 => writer.clear(),
                _ => writer.set_tick(u64::from(version)),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    writer.clear();
    writer.reclaim();
    let gauges = writer.gauges();
    assert_eq!(
        (gauges.backlog, gauges.lent),
        (0, 0),
        "the readers are gone"
    );
    assert_eq!(alive.load(Ordering::Relaxed), 0, "values leaked");
    assert!(
        gauges.slots <= READERS + 1,
        "{} slots for {READERS} threads at a time",
        gauges.slots
    );
    drop((writer, reader));
}

#[test]
fn stress_default_fences() {
    stress(FencePolicy::Auto);
}

#[test]
fn stress_symmetric_fences() {
    stress(FencePolicy::Symmetric);
}

/// A reader that never leaves stops nobody: the writer goes on, and the backlog shows it.
#[test]
fn stopped_reader_only_makes_a_backlog() {
    const VERSIONS: u32 = if cfg!(miri) { 20 } else { 1000 };
    let (mut writer, reader, alive) = map(FencePolicy::Auto);
    writer.insert(1, Tracked::new(id_of(1, 0), &alive));
    let (entered, inside) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let reader = &reader;
        scope.spawn(move || {
            reader.with(&1, |found| {
                let value = found.hit().expect("inserted");
                entered.send(()).expect("the test waits");
                released.recv().expect("the test sends");
                assert_eq!(value.id(), id_of(1, 0));
            });
        });
        inside.recv().expect("the reader sends");
        for version in 1..=VERSIONS {
            writer.insert(1, Tracked::new(id_of(1, version), &alive));
        }
        assert_eq!(writer.reclaim(), 0);
        assert_eq!(writer.gauges().backlog, VERSIONS as usize);
        assert_eq!(reader.gauges().backlog, VERSIONS as usize);
        release.send(()).expect("the reader waits");
    });
    assert_eq!(writer.reclaim(), VERSIONS as usize);
    assert_eq!(writer.gauges().backlog, 0);
    // The two copies of the present value.
    assert_eq!(alive.load(Ordering::Relaxed), 2);
}

/// A guard delays its own value and no other.
#[test]
fn guard_keeps_its_value_only() {
    let (mut writer, reader, alive) = map(FencePolicy::Auto);
    for key in 0..10 {
        writer.insert(key, Tracked::new(id_of(key, 0), &alive));
    }
    let guard = reader.borrow(&3).hit().expect("inserted");
    writer.clear();
    assert_eq!(writer.reclaim(), 9);
    assert_eq!(writer.gauges().backlog, 1);
    assert_eq!(guard.id(), id_of(3, 0));
    drop(guard);
    assert_eq!(writer.reclaim(), 1);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

/// More guards than a thread has hazards: the deeper ones count, all stay valid.
#[test]
fn guards_nest_without_limit() {
    let (mut writer, reader, alive) = map(FencePolicy::Auto);
    const DEPTH: u32 = if cfg!(miri) { 70 } else { 1024 };
    for key in 0..DEPTH {
        writer.insert(key, Tracked::new(id_of(key, 0), &alive));
    }
    fn nest(reader: &TestReader, writer: &mut TestWriter, depth: u32) {
        if depth == DEPTH {
            writer.clear();
            writer.reclaim();
            return;
        }
        let guard = reader.borrow(&depth).hit().expect("inserted");
        nest(reader, writer, depth + 1);
        assert_eq!(guard.id(), id_of(depth, 0));
    }
    nest(&reader, &mut writer, 0);
    writer.reclaim();
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

/// A leaked guard keeps its value until the map is gone, and harms nobody.
#[test]
fn leaked_guard_costs_its_value_only() {
    let (mut writer, reader, alive) = map(FencePolicy::Auto);
    writer.insert(1, Tracked::new(id_of(1, 0), &alive));
    thread::scope(|scope| {
        _ = scope.spawn(|| std::mem::forget(reader.borrow(&1)));
    });
    writer.remove(&1);
    assert_eq!(writer.reclaim(), 0);
    assert_eq!(writer.gauges().backlog, 1);
    drop((writer, reader));
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

/// Values that callers hold are freed by the writer's thread, not by theirs.
#[test]
fn the_writer_frees_what_callers_held() {
    struct Home(thread::ThreadId);
    impl Drop for Home {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.0, "freed on a reader's thread");
        }
    }
    let (mut writer, reader) = resident::new::<u32, Home, ()>(&Options::default());
    let home = thread::current().id();
    writer.insert_with(1, || Home(home));
    thread::scope(|scope| {
        let reader = &reader;
        let writer = &mut writer;
        let (send, receive) = mpsc::channel();
        let (removed, wait) = mpsc::channel();
        scope.spawn(move || {
            let held = reader.get(&1).hit().expect("inserted");
            send.send(()).expect("the test waits");
            wait.recv().expect("the test sends");
            drop(held);
        });
        receive.recv().expect("the reader sends");
        writer.remove(&1);
        assert_eq!(writer.reclaim(), 0);
        assert_eq!(writer.gauges().lent, 1);
        removed.send(()).expect("the reader waits");
    });
    assert_eq!(writer.reclaim(), 1);
    assert_eq!(writer.gauges().lent, 0);
}

/// A panic inside a lookup leaves the section.
#[test]
fn a_panic_leaves_the_section() {
    let (mut writer, reader, alive) = map(FencePolicy::Auto);
    writer.insert(1, Tracked::new(id_of(1, 0), &alive));
    let result = thread::scope(|scope| {
        scope
            .spawn(|| reader.with(&1, |_| -> () { std::panic::resume_unwind(Box::new(())) }))
            .join()
    });
    assert!(result.is_err());
    writer.remove(&1);
    assert_eq!(writer.reclaim(), 1);
}

/// Lookups from destructors of thread-local variables, whichever is destroyed first, with a guard
/// that outlives the thread's own storage in the map.
#[test]
fn lookups_while_a_thread_ends() {
    struct AtExit(TestReader);
    impl Drop for AtExit {
        fn drop(&mut self) {
            assert_eq!(self.0.get(&1).hit().expect("inserted").id(), id_of(1, 0));
            let guard = self.0.borrow(&1).hit().expect("inserted");
            self.0.with(&1, |found| {
                assert_eq!(found.hit().expect("inserted").id(), guard.id())
            });
            assert!(matches!(self.0.get(&2), Lookup::Miss));
        }
    }
    thread_local! {
        static BEFORE: RefCell<Option<AtExit>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    }
    let (mut writer, reader, alive) = map(FencePolicy::Auto);
    writer.insert(1, Tracked::new(id_of(1, 0), &alive));
    for _ in 0..20 {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                BEFORE.set(Some(AtExit(reader.clone())));
                assert!(reader.get(&1).hit().is_some());
                AFTER.set(Some(AtExit(reader.clone())));
            });
            // The end of the scope alone does not wait for destructors.
            thread.join().expect("no reader panics");
        });
    }
    writer.clear();
    assert_eq!(writer.reclaim(), 1);
    assert!(
        writer.gauges().slots <= 3,
        "slots are recycled: {}",
        writer.gauges().slots
    );
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

/// One thread, many maps: each has its own slots and counters, and a dead map's leave no trace.
#[test]
fn maps_do_not_mix() {
    let maps: Vec<_> = (0..10u32)
        .map(|n| {
            let (mut writer, reader, alive) = map(FencePolicy::Auto);
            writer.insert(n, Tracked::new(id_of(n, 0), &alive));
            (writer, reader, alive)
        })
        .collect();
    for _ in 0..3 {
        for (n, (_, reader, _)) in (0u32..).zip(&maps) {
            assert_eq!(reader.get(&n).hit().expect("inserted").id(), id_of(n, 0));
            assert!(matches!(reader.get(&(n + 1)), Lookup::Miss));
        }
    }
    for (_, reader, _) in &maps {
        assert_eq!((reader.counters().hits, reader.counters().misses), (3, 3));
    }
}

/// The child of a fork finds what the parent had, though the writer's thread does not exist there.
#[test]
#[cfg(all(unix, not(miri)))]
fn a_forked_child_can_look_up() {
    let (mut writer, reader, alive) = map(FencePolicy::Auto);
    for key in 0..100 {
        writer.insert(key, Tracked::new(id_of(key, 0), &alive));
    }
    assert!(reader.get(&0).hit().is_some());
    // SAFETY: the child only looks up, which neither allocates nor locks, and then leaves.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let found = (0..100).all(|key| {
            reader.with(&key, |found| {
                found.hit().is_some_and(|value| value.id() == id_of(key, 0))
            })
        });
        // SAFETY: ends the child without running the harness's destructors.
        unsafe { libc::_exit(if found { 0 } else { 1 }) };
    }
    assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "status {status:#x}"
    );
}

/// Keys ground for the very seed the table was made with: the probe limit holds, since the table
/// is rebuilt with another.
#[test]
#[cfg_attr(miri, ignore = "arithmetic on many keys, no concurrency")]
fn ground_keys_meet_the_probe_limit() {
    let count = 100_000;
    let seed = Seeded::default();
    LEAKED.set(Some(seed.clone()));
    let (mut writer, reader) = resident::with_hasher::<u64, (), (), Leaked>(&Options {
        capacity: count,
        stripes: 1,
        ..Options::default()
    });
    // The first 64th of the table is the home of all of them.
    let capacity = writer.gauges().capacity as u64;
    let keys: Vec<u64> = (0..)
        .filter(|key| seed.hash_one(key) % capacity < capacity / 64)
        .take(count)
        .collect();
    for key in &keys {
        writer.insert(*key, ());
    }
    let gauges = writer.gauges();
    assert!(
        gauges.rebuilds > 0,
        "the attack found no use of the leaked seed: {gauges:?}"
    );
    assert!(
        gauges.max_probe <= gauges.probe_limit && gauges.probe_limit <= 128,
        "{gauges:?}"
    );
    assert!(keys.iter().all(|key| reader.peek(key).hit().is_some()));
}

/// The same without a leak, for key sets with structure.
#[test]
#[cfg_attr(miri, ignore = "arithmetic on many keys, no concurrency")]
fn structured_keys_meet_the_probe_limit() {
    let count = 100_000u64;
    let shapes: [fn(u64) -> [u64; 5]; 4] = [
        |n| [n, 0, 0, 0, 0],
        |n| [n << 44, 1, n << 44, 1, 17],
        |n| [!0, !0, !0, !0, n],
        |n| [n, n, n, n, n],
    ];
    for shape in shapes {
        let (mut writer, _) = resident::new::<[u64; 5], (), ()>(&Options {
            stripes: 1,
            ..Options::default()
        });
        (0..count).for_each(|n| writer.insert(shape(n), ()));
        let gauges = writer.gauges();
        assert_eq!(gauges.len, count as usize);
        assert!(
            gauges.max_probe <= gauges.probe_limit && gauges.probe_limit <= 128,
            "{gauges:?}"
        );
    }
}

/// Threads that are there at the same time use different copies of a value, whoever was there
/// before.
#[test]
fn threads_use_copies_of_their_own() {
    let options = Options {
        stripes: 4,
        ..Options::default()
    };
    let (mut writer, reader) = resident::new::<u64, u64, ()>(&options);
    writer.insert(1, 1);
    let copy = |reader: &resident::Reader<u64, u64, ()>| {
        reader
            .get(&1)
            .hit()
            .map(|value| Arc::as_ptr(&value) as usize)
    };
    let own = copy(&reader);
    for _ in 0..3 {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let mut seen = vec![own];
            let mut alive = Vec::new();
            for _ in 0..3 {
                let (let_go, hold) = std::sync::mpsc::channel::<()>();
                let send = send.clone();
                let reader = reader.clone();
                let thread = scope.spawn(move || {
                    send.send(copy(&reader)).expect("the test waits");
                    // Until all are there.
                    let _ = hold.recv();
                });
                // One after the other: threads that come at once may share.
                seen.push(receive.recv().expect("a thread answers"));
                alive.push((let_go, thread));
            }
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 4, "{seen:?}");
            for (let_go, thread) in alive {
                drop(let_go);
                // Waits for the thread's destructors, too, which give its slot back.
                thread.join().expect("no thread panics");
            }
        });
    }
}
