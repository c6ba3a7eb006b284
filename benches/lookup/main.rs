//! What a lookup costs, against the maps one would use instead.
//!
//! `cargo bench --bench lookup [-- SECTION]` runs every contender of a table in one process, in
//! turns of about a millisecond, and prints medians: nanoseconds of the thread's processor time, and
//! the ratio to the floor (an `Arc` cloned and dropped, no map). Ratios are what carries over to
//! another machine, as long as nothing else competes for the core: a map's work then slows down more
//! than the floor, which mostly waits for one locked instruction. For machines that are not quiet, the
//! lower quartile and the least turn are printed too: what disturbs a turn only ever adds to it. Sections: `single`, `threads`, `churn`, `pause` and `chosen`.
//!
//! Every map holds the same keys (32 bytes and a byte) and its own `Arc`s. Peers hash as their
//! users get them (SipHash); the rows marked `*` use this crate's hasher instead, so that what is
//! left is the map.

mod chosen;
mod churn;
mod pause;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use revmc_jit::resident::{self, Options, Reader, Seeded, Writer};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, RwLock};
use std::time::Duration;

/// The shape of the runtime's key: a code hash and a fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    code_hash: [u8; 32],
    fork: u8,
}

/// As the runtime's key: 64 bits of the code hash, and the fork. `Eq` compares all.
impl Hash for Key {
    #[inline(always)]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let prefix = self
            .code_hash
            .first_chunk()
            .expect("32 bytes are more than 8");
        let code = u64::from_le_bytes(*prefix);
        state.write_u64(code.wrapping_add(u64::from(self.fork) << 56));
    }
}

/// The shape of the runtime's value: a few words, counted on a cache line of its own.
#[derive(Clone)]
#[repr(align(64))]
struct Value {
    function: usize,
}

/// The processor time of the calling thread.
fn processor_time() -> Duration {
    #[cfg(unix)]
    {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is a valid place for the result.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
        assert_eq!(
            result,
            0,
            "clock_gettime: {}",
            std::io::Error::last_os_error()
        );
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
    #[cfg(not(unix))]
    {
        static START: std::sync::LazyLock<std::time::Instant> =
            std::sync::LazyLock::new(std::time::Instant::now);
        START.elapsed()
    }
}

fn random(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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

/// One contender: runs lookups number `start..start + n` as thread `thread`.
struct Contender<'a> {
    name: &'static str,
    threads: usize,
    run: Box<dyn Fn(usize, usize, usize) -> Duration + Sync + 'a>,
    samples: Vec<f64>,
    next: AtomicUsize,
}

/// Loops over the keys of the thread; their number is a power of two.
macro_rules! contender {
    ($name:expr, $threads:expr, $keys:expr, |$key:pat_param| $lookup:expr) => {{
        let keys: &[Vec<Key>] = $keys;
        Contender {
            name: $name,
            threads: $threads,
            run: Box::new(move |thread, start, n| {
                let keys = &keys[thread % keys.len()][..];
                let begin = processor_time();
                for i in start..start + n {
                    let $key = black_box(&keys[i & (keys.len() - 1)]);
                    $lookup;
                }
                processor_time() - begin
            }),
            samples: Vec::new(),
            next: AtomicUsize::new(0),
        }
    }};
}

use contender;

impl Contender<'_> {
    /// Nanoseconds for each of `n` lookups, the mean of the threads.
    fn sample(&self, n: usize) -> f64 {
        let start = self.next.fetch_add(n, Ordering::Relaxed);
        let total: Duration = if self.threads == 1 {
            (self.run)(0, start, n)
        } else {
            let barrier = Barrier::new(self.threads);
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..self.threads)
                    .map(|thread| {
                        let barrier = &barrier;
                        scope.spawn(move || {
                            (self.run)(thread, start, 64);
                            barrier.wait();
                            (self.run)(thread, start, n)
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("no contender panics"))
                    .sum()
            })
        };
        total.as_nanos() as f64 / (n * self.threads) as f64
    }
}

const ROUNDS: usize = 61;

/// Lets the contenders take turns and prints medians and the ratio to the first one.
fn compare(title: &str, mut contenders: Vec<Contender<'_>>) {
    let lengths: Vec<usize> = contenders
        .iter()
        .map(|contender| {
            contender.sample(2000);
            (1_000_000.0 / contender.sample(2000).max(0.5)) as usize + 1
        })
        .collect();
    for _ in 0..ROUNDS {
        for (contender, &length) in contenders.iter_mut().zip(&lengths) {
            // The others have used the caches meanwhile.
            contender.sample(8192);
            let sample = contender.sample(length);
            contender.samples.push(sample);
        }
    }
    println!("\n{title}");
    println!(
        "  {:30} {:>8} {:>8}   {:>8} {:>8}   {:>8} {:>8}",
        "", "median", "x floor", "quartile", "x floor", "least", "x floor"
    );
    let mut floor = None;
    for Contender { name, samples, .. } in &mut contenders {
        let values = [2, 4, usize::MAX].map(|part| quantile(samples, part));
        let floor = *floor.get_or_insert(values);
        let cells = values.iter().zip(floor);
        let cells = cells.map(|(value, floor)| format!(" {value:8.1} {:8.2}", value / floor));
        println!("  {name:30}{}", cells.collect::<Vec<_>>().join("  "));
    }
}

/// The sample below which one `part`-th of them lie; the least, if that is none of them.
fn quantile(samples: &mut [f64], part: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / part]
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

    fn floor<'a>(&'a self, threads: usize, keys: &'a [Vec<Key>]) -> Contender<'a> {
        let mask = self.arcs.len() - 1;
        Contender {
            run: Box::new(move |_, start, n| {
                let begin = processor_time();
                for i in start..start + n {
                    black_box(Arc::clone(black_box(&self.arcs[i & mask])));
                }
                processor_time() - begin
            }),
            ..contender!("one Arc, cloned and dropped", threads, keys, |key| _ =
                black_box(key))
        }
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

fn single() {
    for count in [1, 64, 4096, 1 << 20] {
        let keys = vec![shuffled(0, count)];
        let absent = vec![shuffled(1 << 40, count)];
        let maps = Maps::new(&keys[0]);
        let table = |title: &str, contenders: Vec<_>| {
            let mut all = vec![maps.floor(1, &keys)];
            all.extend(contenders);
            compare(&format!("{title}, {count} keys, 1 thread"), all);
        };
        table("hit, counted (Arc)", maps.counted(1, &keys));
        table("hit, borrowed", maps.borrowed(1, &keys));
        table("miss", maps.counted(1, &absent));
    }
}

fn threads() {
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
            println!("\nhit, {form}, {title}");
            println!(
                "  {:42} {:>9} {:>9} {:>8}",
                "", "1 thread", "2 threads", "x"
            );
            let mut pairs: Vec<_> = one.into_iter().zip(two).collect();
            for (one, two) in &mut pairs {
                let length = (300_000.0 / two.sample(5000).max(0.5)) as usize + 1;
                for _ in 0..ROUNDS {
                    let sample = one.sample(length);
                    one.samples.push(sample);
                    let sample = two.sample(length);
                    two.samples.push(sample);
                }
                let (single, double) =
                    (quantile(&mut one.samples, 2), quantile(&mut two.samples, 2));
                let ratio = double / single;
                println!("  {:42} {single:9.1} {double:9.1} {ratio:8.2}", one.name);
            }
        }
    }
}

fn main() {
    let (_, reader) = resident::new::<u8, u8, u8>(&Options::default());
    println!("fences: {:?}", reader.fences());
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let sections: [(&str, fn()); 5] = [
        ("single", single),
        ("threads", threads),
        ("churn", churn::churn),
        ("pause", pause::pause),
        ("chosen", chosen::chosen),
    ];
    for (name, section) in sections {
        if wanted.is_empty() || wanted.iter().any(|arg| arg == name) {
            section();
        }
    }
}
