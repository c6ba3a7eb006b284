//! What a lookup costs, against the maps one would use instead.
//!
//! `cargo bench --bench lookup [-- SECTION] [--json FILE]` runs every contender of a table in one
//! process, in turns of about a millisecond. Ratios are to the floor (an `Arc` cloned and dropped,
//! no map) and are what carries over to another machine. The sections are `single`, `threads`,
//! `churn`, `pause` and `chosen`.
//!
//! Every map holds the same keys (32 bytes and a byte) and its own `Arc`s. Peers hash as their
//! users get them (SipHash); the rows marked `*` use this crate's hasher instead, so that what is
//! left is the map.

mod harness;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use harness::contender::{Contender, compare, contender};
use harness::report::{Spread, Table};
use harness::{Session, random};
use revmc_jit::resident::{self, Options, Reader, Seeded, Writer};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// The shape of the runtime's key: a code hash and a fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    code_hash: [u8; 32],
    fork: u8,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.code_hash);
        state.write_u8(self.fork);
    }
}

/// The shape of the runtime's value: a few words, counted on a cache line of its own.
#[derive(Clone)]
#[repr(align(64))]
struct Value {
    function: usize,
}

fn key(n: u64) -> Key {
    let mut code_hash = [0; 32];
    for (i, bytes) in code_hash.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *bytes = random(4 * n + i as u64 + 1).to_le_bytes();
    }
    Key {
        code_hash,
        fork: 17,
    }
}

/// `count` keys from number `first` on, in an order unrelated to that of insertion.
fn shuffled(first: u64, count: usize) -> Vec<Key> {
    let mut keys: Vec<Key> = (first..first + count as u64).map(key).collect();
    for i in (1..keys.len()).rev() {
        keys.swap(i, random(i as u64 ^ 0x5eed) as usize % (i + 1));
    }
    keys
}

type Map<S> = HashMap<Key, Arc<Value>, S>;

/// Every map, with the same keys.
struct Maps {
    writer: Writer<Key, Value, u8>,
    ours: Reader<Key, Value, u8>,
    arcs: Vec<Arc<Value>>,
    dash: DashMap<Key, Arc<Value>>,
    dash_seeded: DashMap<Key, Arc<Value>, Seeded>,
    papaya: papaya::HashMap<Key, Arc<Value>>,
    papaya_seeded: papaya::HashMap<Key, Arc<Value>, Seeded>,
    scc: scc::HashIndex<Key, Arc<Value>>,
    scc_seeded: scc::HashIndex<Key, Arc<Value>, Seeded>,
    swap: ArcSwap<Map<RandomState>>,
    lock: RwLock<Map<RandomState>>,
    plain: Map<RandomState>,
    plain_seeded: Map<Seeded>,
}

fn collect<S: BuildHasher + Default>(keys: &[Key], value: impl Fn() -> Arc<Value>) -> Map<S> {
    keys.iter().map(|key| (*key, value())).collect()
}

impl Maps {
    fn new(keys: &[Key]) -> Self {
        let plain_value = Value { function: 1 };
        let value = || Arc::new(plain_value.clone());
        let (mut writer, ours) = resident::new(&Options::default());
        let maps = Self {
            arcs: keys.iter().map(|_| value()).collect(),
            dash: DashMap::new(),
            dash_seeded: DashMap::default(),
            papaya: papaya::HashMap::new(),
            papaya_seeded: papaya::HashMap::default(),
            scc: scc::HashIndex::new(),
            scc_seeded: scc::HashIndex::default(),
            swap: ArcSwap::from_pointee(collect(keys, value)),
            lock: RwLock::new(collect(keys, value)),
            plain: collect(keys, value),
            plain_seeded: collect(keys, value),
            ours,
            writer: {
                keys.iter()
                    .for_each(|key| writer.insert(*key, plain_value.clone()));
                writer
            },
        };
        for key in keys {
            maps.dash.insert(*key, value());
            maps.dash_seeded.insert(*key, value());
            maps.papaya.pin().insert(*key, value());
            maps.papaya_seeded.pin().insert(*key, value());
            assert!(maps.scc.insert_sync(*key, value()).is_ok());
            assert!(maps.scc_seeded.insert_sync(*key, value()).is_ok());
        }
        maps
    }

    fn floor(&self, threads: usize) -> Contender<'_> {
        let mask = self.arcs.len() - 1;
        Contender::new(
            "one Arc, cloned and dropped",
            threads,
            Box::new(move |_, start, n| {
                let begin = Instant::now();
                for i in start..start + n {
                    black_box(Arc::clone(black_box(&self.arcs[i & mask])));
                }
                begin.elapsed()
            }),
        )
    }

    /// Everyone who hands out an `Arc` (or misses, on foreign keys).
    fn counted<'a>(&'a self, threads: usize, keys: &'a [Vec<Key>]) -> Vec<Contender<'a>> {
        let t = threads;
        vec![
            contender!("resident, get", t, keys, |k| black_box(self.ours.get(k))),
            contender!("DashMap", t, keys, |k| black_box(
                self.dash.get(k).map(|found| Arc::clone(&found))
            )),
            contender!("papaya", t, keys, |k| black_box(
                self.papaya.pin().get(k).cloned()
            )),
            contender!("scc::HashIndex", t, keys, |k| black_box(
                self.scc.peek_with(k, |_, arc| Arc::clone(arc))
            )),
            contender!("ArcSwap<HashMap>", t, keys, |k| black_box(
                self.swap.load().get(k).cloned()
            )),
            contender!("RwLock<HashMap>", t, keys, |k| black_box(
                self.lock.read().expect("not poisoned").get(k).cloned()
            )),
            contender!("HashMap, not shared", t, keys, |k| black_box(
                self.plain.get(k).cloned()
            )),
            contender!("DashMap *", t, keys, |k| black_box(
                self.dash_seeded.get(k).map(|found| Arc::clone(&found))
            )),
            contender!("papaya *", t, keys, |k| black_box(
                self.papaya_seeded.pin().get(k).cloned()
            )),
            contender!("scc::HashIndex *", t, keys, |k| black_box(
                self.scc_seeded.peek_with(k, |_, arc| Arc::clone(arc))
            )),
            contender!("HashMap, not shared *", t, keys, |k| black_box(
                self.plain_seeded.get(k).cloned()
            )),
        ]
    }

    /// Everyone who lends the value.
    fn borrowed<'a>(&'a self, threads: usize, keys: &'a [Vec<Key>]) -> Vec<Contender<'a>> {
        let t = threads;
        vec![
            contender!("resident, with", t, keys, |k| self.ours.with(k, |found| {
                black_box(found.hit().map(|value| value.function))
            })),
            contender!("resident, borrow", t, keys, |k| black_box(
                self.ours.borrow(k).hit().map(|value| value.function)
            )),
            contender!("DashMap", t, keys, |k| black_box(
                self.dash.get(k).map(|value| value.function)
            )),
            contender!("papaya", t, keys, |k| black_box(
                self.papaya.pin().get(k).map(|value| value.function)
            )),
            contender!("scc::HashIndex", t, keys, |k| black_box(
                self.scc.peek_with(k, |_, value| value.function)
            )),
            contender!("ArcSwap<HashMap>", t, keys, |k| black_box(
                self.swap.load().get(k).map(|value| value.function)
            )),
            contender!("RwLock<HashMap>", t, keys, |k| black_box(
                self.lock
                    .read()
                    .expect("not poisoned")
                    .get(k)
                    .map(|value| value.function)
            )),
            contender!("HashMap, not shared", t, keys, |k| black_box(
                self.plain.get(k).map(|value| value.function)
            )),
            contender!("papaya *", t, keys, |k| black_box(
                self.papaya_seeded.pin().get(k).map(|value| value.function)
            )),
            contender!("scc::HashIndex *", t, keys, |k| black_box(
                self.scc_seeded.peek_with(k, |_, value| value.function)
            )),
            contender!("HashMap, not shared *", t, keys, |k| black_box(
                self.plain_seeded.get(k).map(|value| value.function)
            )),
        ]
    }
}

fn single(session: &mut Session) {
    for count in [1, 64, 4096, 1 << 20] {
        let keys = vec![shuffled(0, count)];
        let absent = vec![shuffled(1 << 40, count)];
        let maps = Maps::new(&keys[0]);
        let mut table = |title: &str, contenders: Vec<_>| {
            let mut all = vec![maps.floor(1)];
            all.extend(contenders);
            let title = format!("{title}, {count} keys, 1 thread");
            session.add(compare(session.effort, &title, all));
        };
        table("hit, counted (Arc)", maps.counted(1, &keys));
        table("hit, borrowed", maps.borrowed(1, &keys));
        table("miss", maps.counted(1, &absent));
    }
}

fn threads(session: &mut Session) {
    let all = shuffled(0, 4096);
    let maps = Maps::new(&all);
    let same = vec![vec![all[0]]];
    let apart = vec![all[..2048].to_vec(), all[2048..].to_vec()];
    for (title, keys) in [("one hot key", &same), ("keys apart", &apart)] {
        for (form, one, two) in [
            (
                "counted (Arc)",
                maps.counted(1, keys),
                maps.counted(2, keys),
            ),
            ("borrowed", maps.borrowed(1, keys), maps.borrowed(2, keys)),
        ] {
            let title = format!("hit, {form}, {title}");
            let mut table = Table::new(title, &["1 thread, ns", "2 threads, ns", "x"]);
            for (mut one, mut two) in one.into_iter().zip(two) {
                let length = two.length(session.effort.turn / 3);
                for _ in session.effort.rounds() {
                    one.turn(length);
                    two.turn(length);
                }
                let cells = [one.median(), two.median(), two.ratio_to(&one)];
                table.row(&one.name, &cells);
            }
            session.add(table);
        }
    }
}

/// A map under change: one lookup, and one publication with one eviction.
struct Churned<'a> {
    name: &'static str,
    look: Contender<'a>,
    change: Box<dyn Fn(u64) + Sync + 'a>,
    changes: u64,
    busy: Duration,
}

fn churn(session: &mut Session) {
    let keys = vec![shuffled(0, 4096)];
    let maps = Maps::new(&keys[0]);
    let value = Arc::new(Value { function: 2 });
    // Keys that come and go: each is evicted 128 changes after it was published.
    let come = |n: u64| key((1 << 41) + n % 256);
    let gone = |n: u64| key((1 << 41) + (n + 128) % 256);
    let Maps {
        writer,
        ours,
        dash,
        papaya,
        scc,
        swap,
        lock,
        ..
    } = &mut { maps };
    let (ours, dash, papaya, scc, swap, lock) = (&*ours, &*dash, &*papaya, &*scc, &*swap, &*lock);
    let writer = std::sync::Mutex::new(writer);
    let writer = &writer;
    let value = &value;

    let churned = |name, look, change| Churned {
        name,
        look,
        change,
        changes: 0,
        busy: Duration::ZERO,
    };
    let ours_change = move |n| {
        let mut writer = writer.lock().expect("not poisoned");
        writer.insert(come(n), Value { function: 2 });
        writer.remove(&gone(n));
    };
    let mut all: Vec<Churned<'_>> = vec![
        churned(
            "resident, get",
            contender!("", 1, &keys, |k| black_box(ours.get(k))),
            Box::new(ours_change),
        ),
        churned(
            "resident, with",
            contender!("", 1, &keys, |k| ours.with(k, |found| black_box(
                found.hit().map(|value| value.function)
            ))),
            Box::new(ours_change),
        ),
        churned(
            "DashMap",
            contender!("", 1, &keys, |k| black_box(
                dash.get(k).map(|found| Arc::clone(&found))
            )),
            Box::new(move |n| {
                dash.insert(come(n), Arc::clone(value));
                dash.remove(&gone(n));
            }),
        ),
        churned(
            "papaya",
            contender!("", 1, &keys, |k| black_box(papaya.pin().get(k).cloned())),
            Box::new(move |n| {
                papaya.pin().insert(come(n), Arc::clone(value));
                papaya.pin().remove(&gone(n));
            }),
        ),
        churned(
            "scc::HashIndex",
            contender!("", 1, &keys, |k| black_box(
                scc.peek_with(k, |_, arc| Arc::clone(arc))
            )),
            Box::new(move |n| {
                let _ = scc.insert_sync(come(n), Arc::clone(value));
                scc.remove_sync(&gone(n));
            }),
        ),
        churned(
            "ArcSwap<HashMap>",
            contender!("", 1, &keys, |k| black_box(swap.load().get(k).cloned())),
            Box::new(move |n| {
                let mut map = HashMap::clone(&swap.load());
                map.insert(come(n), Arc::clone(value));
                map.remove(&gone(n));
                swap.store(Arc::new(map));
            }),
        ),
        churned(
            "RwLock<HashMap>",
            contender!("", 1, &keys, |k| black_box(
                lock.read().expect("not poisoned").get(k).cloned()
            )),
            Box::new(move |n| {
                lock.write()
                    .expect("not poisoned")
                    .insert(come(n), Arc::clone(value));
                lock.write().expect("not poisoned").remove(&gone(n));
            }),
        ),
    ];
    for _ in 0..session.effort.rounds.div_ceil(2) {
        for one in &mut all {
            let stop = AtomicBool::new(false);
            let Churned {
                look,
                change,
                changes,
                busy,
                ..
            } = one;
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let (begin, first) = (Instant::now(), *changes);
                    while !stop.load(Ordering::Relaxed) {
                        change(*changes);
                        *changes += 1;
                    }
                    (begin.elapsed(), *changes - first)
                });
                look.sample(20_000);
                look.turn(50_000);
                stop.store(true, Ordering::Relaxed);
                *busy += writer.join().expect("no writer panics").0;
            });
        }
    }
    let title = "hit while another thread publishes and evicts, 4096 keys";
    let mut table = Table::new(title, &["ns", "x", "changes/ms"]);
    for one in &all {
        let rate = one.changes as f64 / one.busy.as_secs_f64() / 1e3;
        let ratio = one.look.ratio_to(&all[0].look);
        let cells = [one.look.median(), ratio, Spread::exact(rate.round())];
        table.row(one.name, &cells);
    }
    session.add(table);
}

/// A map that grows, and the times of lookups in it.
struct Pauses {
    grown: u64,
    table: Table,
}

impl Pauses {
    /// Times every single lookup of one thread while another fills the map from empty to `grown`
    /// keys.
    fn time(&mut self, name: &str, look: impl Fn(&Key), mut publish: impl FnMut(Key) + Send) {
        let grown = self.grown;
        let hot: Vec<Key> = (0..64).map(key).collect();
        hot.iter().for_each(|key| publish(*key));
        let done = AtomicBool::new(false);
        let mut times: Vec<u32> = Vec::with_capacity(1 << 26);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (64..grown).for_each(|n| publish(key(n)));
                done.store(true, Ordering::Relaxed);
            });
            let mut i = 0;
            // At least one, also where the map is full before the first.
            while times.is_empty()
                || !done.load(Ordering::Relaxed) && times.len() < times.capacity()
            {
                let begin = Instant::now();
                look(&hot[i % 64]);
                times.push(begin.elapsed().as_nanos().min(u32::MAX.into()) as u32);
                i += 1;
            }
        });
        times.sort_unstable();
        let at = |share: f64| f64::from(times[(times.len() as f64 * share) as usize]);
        let cells = [
            at(0.5),
            at(0.99),
            at(0.999),
            at(0.99999),
            f64::from(times[times.len() - 1]),
        ];
        self.table.row(name, &cells.map(Spread::exact));
    }
}

fn pause(session: &mut Session) {
    let grown = if session.full() { 1 << 20 } else { 1 << 12 };
    let title = format!(
        "one lookup while another thread grows the map to {grown} keys, ns, clock included"
    );
    let mut pauses = Pauses {
        grown,
        table: Table::new(title, &["p50", "p99", "p99.9", "p99.999", "max"]),
    };
    let value = Arc::new(Value { function: 3 });
    pauses.time(
        "nothing (the clock and the machine)",
        |key| _ = black_box(key),
        |key| {
            black_box(key);
        },
    );
    let (mut writer, reader) = resident::new::<Key, Value, u8>(&Options::default());
    pauses.time(
        "resident, get",
        |key| drop(black_box(reader.get(key))),
        |key| writer.insert(key, Value { function: 3 }),
    );
    let rebuilds = writer.gauges().rebuilds;
    let map = DashMap::new();
    pauses.time(
        "DashMap",
        |key| drop(black_box(map.get(key).map(|found| Arc::clone(&found)))),
        |key| drop(map.insert(key, Arc::clone(&value))),
    );
    let map = papaya::HashMap::new();
    pauses.time(
        "papaya",
        |key| drop(black_box(map.pin().get(key).cloned())),
        |key| {
            map.pin().insert(key, Arc::clone(&value));
        },
    );
    let map = scc::HashIndex::new();
    pauses.time(
        "scc::HashIndex",
        |key| drop(black_box(map.peek_with(key, |_, arc| Arc::clone(arc)))),
        |key| {
            let _ = map.insert_sync(key, Arc::clone(&value));
        },
    );
    let map = RwLock::new(HashMap::new());
    pauses.time(
        "RwLock<HashMap>",
        |key| {
            drop(black_box(
                map.read().expect("not poisoned").get(key).cloned(),
            ))
        },
        |key| {
            drop(
                map.write()
                    .expect("not poisoned")
                    .insert(key, Arc::clone(&value)),
            )
        },
    );
    session.add(pauses.table);
    println!("  resident built {rebuilds} tables");
}

/// A hasher whose first key, of each thread, is known to the adversary.
struct Leaked(Seeded);

thread_local! {
    static LEAKED: std::cell::RefCell<Option<Seeded>> = const { std::cell::RefCell::new(None) };
}

impl Default for Leaked {
    fn default() -> Self {
        Self(LEAKED.take().unwrap_or_default())
    }
}

impl BuildHasher for Leaked {
    type Hasher = resident::SeededHasher;
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

fn chosen(session: &mut Session) {
    const COUNT: u64 = 100_000;
    let title = format!("{COUNT} chosen keys");
    let columns = ["longest probe", "limit", "tables", "ns, get"];
    let mut table = Table::new(title, &columns);
    let pattern = |fill: &dyn Fn(u64, &mut [u8; 32])| -> Vec<Key> {
        (0..COUNT)
            .map(|n| {
                let mut key = Key {
                    code_hash: [0xa5; 32],
                    fork: 17,
                };
                fill(n, &mut key.code_hash);
                key
            })
            .collect()
    };
    let leak = Seeded::default();
    // The same top 9 bits of the hash, which choose the place in the table.
    let wanted = leak.hash_one(key(0)) >> 55;
    let same_place = |key: &Key| leak.hash_one(key) >> 55 == wanted;
    let ground = (0..).map(key).filter(same_place).take(COUNT as usize);
    let sets: [(&str, Vec<Key>, bool); 6] = [
        ("random", (0..COUNT).map(key).collect(), false),
        (
            "differ in bytes 0..3 only",
            pattern(&|n, hash| hash[..3].copy_from_slice(&n.to_be_bytes()[5..])),
            false,
        ),
        (
            "equal low 40 bits of every word",
            pattern(&|n, hash| {
                for word in hash.chunks_mut(8) {
                    word[5..].copy_from_slice(&n.to_be_bytes()[5..]);
                }
            }),
            false,
        ),
        (
            "equal high 40 bits of every word",
            pattern(&|n, hash| {
                for word in hash.chunks_mut(8) {
                    word[..3].copy_from_slice(&n.to_be_bytes()[5..]);
                }
            }),
            false,
        ),
        (
            "differ in the last word only",
            pattern(&|n, hash| hash[24..].copy_from_slice(&n.to_be_bytes())),
            false,
        ),
        (
            "ground for the map's own, leaked seed",
            ground.collect(),
            true,
        ),
    ];
    for (name, keys, leaked) in sets {
        LEAKED.set(leaked.then(|| leak.clone()));
        let (mut writer, reader) = resident::with_hasher::<Key, Value, u8, Leaked>(&Options {
            capacity: COUNT as usize,
            ..Options::default()
        });
        keys.iter()
            .for_each(|key| writer.insert(*key, Value { function: 4 }));
        let begin = Instant::now();
        for key in &keys {
            black_box(reader.get(key));
        }
        let ns = begin.elapsed().as_nanos() as f64 / COUNT as f64;
        let gauges = writer.gauges();
        let cells = [
            gauges.max_probe as f64,
            gauges.probe_limit as f64,
            gauges.rebuilds as f64 + 1.0,
            ns,
        ];
        table.row(name, &cells.map(Spread::exact));
    }
    session.add(table);
}

fn main() -> ExitCode {
    let (_, reader) = resident::new::<u8, u8, u8>(&Options::default());
    println!("fences: {:?}", reader.fences());
    harness::run(
        "lookup",
        &[
            ("single", single),
            ("threads", threads),
            ("churn", churn),
            ("pause", pause),
            ("chosen", chosen),
        ],
    )
}
