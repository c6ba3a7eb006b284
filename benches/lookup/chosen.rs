//! Keys chosen by an adversary.

use super::leaked::{LEAKED, Leaked};
use super::*;

pub fn chosen(session: &mut Session) {
    const COUNT: u64 = 100_000;
    let columns = ["longest probe", "limit", "tables", "ns, get"];
    let mut table = Table::new(format!("{COUNT} chosen keys"), &columns);
    let leak = Seeded::default();
    // All at home in the first 512th of the table, which is at most a quarter full at first.
    let capacity = (4 * COUNT).next_power_of_two();
    let random_key = |n: u64| [1, 2, 3, 4, 5].map(|i| random(5 * n + i));
    let same_place = |key: &[u64; 5]| leak.hash_one(key) % capacity < capacity / 512;
    let pattern = |shape: fn(u64) -> [u64; 5]| (0..COUNT).map(shape).collect::<Vec<_>>();
    let sets = [
        ("random", (0..COUNT).map(random_key).collect(), false),
        (
            "differ in low bits of the first word",
            pattern(|n| [n, 0, 0, 0, 0]),
            false,
        ),
        (
            "differ in high bits of the first word",
            pattern(|n| [n << 44, 0, 0, 0, 0]),
            false,
        ),
        (
            "equal low 44 bits of every word",
            pattern(|n| [n << 44; 5]),
            false,
        ),
        (
            "equal high 44 bits of every word",
            pattern(|n| [n; 5]),
            false,
        ),
        (
            "differ in the last word",
            pattern(|n| [!0, !0, !0, !0, n]),
            false,
        ),
        (
            "ground for the table's own, leaked seed",
            (0..)
                .map(random_key)
                .filter(same_place)
                .take(COUNT as usize)
                .collect(),
            true,
        ),
    ];
    for (name, keys, leaked) in sets {
        LEAKED.set(leaked.then(|| leak.clone()));
        let (mut writer, reader) = resident::with_hasher::<[u64; 5], Value, u8, Leaked>(&Options {
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
        let numbers = [gauges.max_probe, gauges.probe_limit, gauges.rebuilds + 1];
        let mut cells = numbers.map(|number| Spread::exact(number as f64)).to_vec();
        cells.push(Spread::exact(ns));
        table.row(name, &cells);
    }
    session.add(table);
}
