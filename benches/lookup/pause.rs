//! The longest a lookup takes while the map grows.

use super::*;

/// Times every single lookup of one thread while another fills the map from empty to `grown` keys.
fn pauses(
    table: &mut Table,
    grown: u64,
    name: &str,
    look: impl Fn(&Key),
    mut publish: impl FnMut(Key) + Send,
) {
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
        while times.is_empty() || !done.load(Ordering::Relaxed) && times.len() < times.capacity() {
            let begin = Instant::now();
            look(&hot[i % 64]);
            times.push(begin.elapsed().as_nanos().min(u32::MAX.into()) as u32);
            i += 1;
        }
    });
    times.sort_unstable();
    let at = |share: f64| f64::from(times[(times.len() as f64 * share) as usize]);
    let longest = f64::from(times[times.len() - 1]) / 1e3;
    table.row(
        name,
        &[at(0.5), at(0.99), at(0.999), at(0.99999) / 1e3, longest].map(Spread::exact),
    );
}

pub fn pause(session: &mut Session) {
    let grown = session.at_most(1 << 20) as u64;
    let title =
        format!("one lookup while another thread grows the map to {grown} keys, clock included");
    let columns = ["p50 ns", "p99 ns", "p99.9 ns", "p99.999 us", "max us"];
    let mut table = Table::new(title, &columns);
    let value = Arc::new(Value { function: 3 });
    pauses(
        &mut table,
        grown,
        "nothing (the clock and the machine)",
        |key| _ = black_box(key),
        |key| {
            black_box(key);
        },
    );
    let (mut writer, reader) = resident::new::<Key, Value, u8>(&Options::default());
    pauses(
        &mut table,
        grown,
        "resident, get",
        |key| drop(black_box(reader.get(key))),
        |key| writer.insert(key, Value { function: 3 }),
    );
    let built = writer.gauges().rebuilds;
    let map = DashMap::new();
    pauses(
        &mut table,
        grown,
        "DashMap",
        |key| drop(black_box(map.get(key).map(|found| Arc::clone(&found)))),
        |key| drop(map.insert(key, Arc::clone(&value))),
    );
    let map = papaya::HashMap::new();
    pauses(
        &mut table,
        grown,
        "papaya",
        |key| drop(black_box(map.pin().get(key).cloned())),
        |key| {
            map.pin().insert(key, Arc::clone(&value));
        },
    );
    let map = scc::HashIndex::new();
    pauses(
        &mut table,
        grown,
        "scc::HashIndex",
        |key| drop(black_box(map.peek_with(key, |_, arc| Arc::clone(arc)))),
        |key| {
            let _ = map.insert_sync(key, Arc::clone(&value));
        },
    );
    let map = RwLock::new(HashMap::new());
    pauses(
        &mut table,
        grown,
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
    session.add(table);
    println!("  the resident map built {built} tables");
}
