//! The longest a lookup takes while the map grows.

use super::*;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Times every single lookup of one thread while another fills the map from empty to `GROWN` keys.
fn pauses(name: &str, look: impl Fn(&Key), mut publish: impl FnMut(Key) + Send) {
    const GROWN: u64 = 1 << 20;
    let hot: Vec<Key> = (0..64).map(key).collect();
    hot.iter().for_each(|key| publish(*key));
    let done = AtomicBool::new(false);
    let mut times: Vec<u32> = Vec::with_capacity(1 << 26);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (64..GROWN).for_each(|n| publish(key(n)));
            done.store(true, Ordering::Relaxed);
        });
        let mut i = 0;
        // At least one, also where the map is full before the first.
        while times.is_empty() || !done.load(Ordering::Relaxed) && times.len() < times.capacity() {
            let begin = Instant::now();
            look(&hot[i % 64]);
            times.push(begin.elapsed().as_nanos().min(u32::MAX.into()) as u32);
            i += 1;
        }
    });
    times.sort_unstable();
    let at = |share: f64| f64::from(times[(times.len() as f64 * share) as usize]);
    println!(
        "  {name:42} {:8.0} {:8.0} {:8.0} {:9.1} {:9.1}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.99999) / 1e3,
        f64::from(times[times.len() - 1]) / 1e3,
    );
}

pub fn pause() {
    println!(
        "\none lookup while another thread grows the map to {} keys, clock included",
        1 << 20
    );
    println!(
        "  {:42} {:>8} {:>8} {:>8} {:>9} {:>9}",
        "", "p50 ns", "p99 ns", "p99.9 ns", "p99.999us", "max us"
    );
    let value = Arc::new(Value { function: 3 });
    pauses(
        "nothing (the clock and the machine)",
        |key| _ = black_box(key),
        |key| {
            black_box(key);
        },
    );
    let (mut writer, reader) = resident::new::<Key, Value, u8>(&Options::default());
    pauses(
        "resident, get",
        |key| drop(black_box(reader.get(key))),
        |key| writer.insert(key, Value { function: 3 }),
    );
    println!("  {:42} {} tables built", "", writer.gauges().rebuilds);
    let map = DashMap::new();
    pauses(
        "DashMap",
        |key| drop(black_box(map.get(key).map(|found| Arc::clone(&found)))),
        |key| drop(map.insert(key, Arc::clone(&value))),
    );
    let map = papaya::HashMap::new();
    pauses(
        "papaya",
        |key| drop(black_box(map.pin().get(key).cloned())),
        |key| {
            map.pin().insert(key, Arc::clone(&value));
        },
    );
    let map = scc::HashIndex::new();
    pauses(
        "scc::HashIndex",
        |key| drop(black_box(map.peek_with(key, |_, arc| Arc::clone(arc)))),
        |key| {
            let _ = map.insert_sync(key, Arc::clone(&value));
        },
    );
    let map = RwLock::new(HashMap::new());
    pauses(
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
}
