//! What a lookup costs, against the maps one would use instead.
//!
//! `cargo bench --bench lookup [-- SECTION] [--json FILE] [--svg FILE]`; the sections are `peers`, which
//! draws a chart, `single`, `threads`, `churn`, `pause` and `chosen`. Times are the thread's processor time. Ratios are to the floor of
//! the same table, an `Arc` cloned and dropped, no map; `least` is that of the least turns.
//!
//! Every map holds the same keys (32 bytes and a byte) and its own `Arc`s. Peers hash as their
//! users get them (SipHash); the rows marked `*` use this crate's hasher instead, so that what is
//! left is the map.

mod chosen;
mod churn;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../../tests/resident_model/leaked.rs"]
mod leaked;
mod pause;
mod peers;
#[allow(dead_code, reason = "other benchmarks draw other charts")]
#[path = "../harness/svg.rs"]
mod svg;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use harness::contender::{Aimed, Contender, compare, contender, floor, scale};
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

/// What is looked at beside the others has no target.
fn aimless(contenders: Vec<Contender<'_>>) -> impl Iterator<Item = Aimed<'_>> {
    contenders.into_iter().map(|contender| (contender, None))
}

/// The ratios to the floor that this crate means to keep at 64 keys: `get`, `with`, and a miss.
const TARGETS: [f64; 3] = [1.25, 0.4, 0.6];

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
        let count = session.at_most(count);
        let keys = vec![shuffled(0, count)];
        let absent = vec![shuffled(1 << 40, count)];
        let maps = Maps::new(&keys[0]);
        let target = |which: usize| (count == 64).then_some(TARGETS[which]);
        for (title, target, contenders) in [
            ("hit, counted (Arc)", target(0), maps.counted(1, &keys)),
            ("hit, borrowed", target(1), maps.borrowed(1, &keys)),
            ("miss", target(2), maps.counted(1, &absent)),
        ] {
            let mut all = vec![(floor(1, &maps.arcs), None)];
            all.extend(aimless(contenders));
            all[1].1 = target;
            let title = format!("{title}, {count} keys, 1 thread");
            let table = compare(session.effort, &title, all);
            session.add(table);
        }
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
            let table = scale(session.effort, &title, one, two);
            session.add(table);
        }
    }
}

fn main() -> ExitCode {
    let (_, reader) = resident::new::<u8, u8, u8>(&Options::default());
    println!("fences: {:?}", reader.fences());
    harness::run(
        "lookup",
        &[
            ("peers", peers::peers),
            ("single", single),
            ("threads", threads),
            ("churn", churn::churn),
            ("pause", pause::pause),
            ("chosen", chosen::chosen),
        ],
    )
}
