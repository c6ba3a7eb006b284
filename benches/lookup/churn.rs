//! Lookups while the map changes.

use super::*;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A map under change: one lookup, and one publication with one eviction.
struct Churned<'a> {
    name: &'static str,
    look: Contender<'a>,
    change: Box<dyn Fn(u64) + Sync + 'a>,
    changes: u64,
    busy: Duration,
}

pub fn churn() {
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
    for _ in 0..ROUNDS / 2 {
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
                let sample = look.sample(50_000);
                look.samples.push(sample);
                stop.store(true, Ordering::Relaxed);
                *busy += writer.join().expect("no writer panics").0;
            });
        }
    }
    println!("\nhit while another thread publishes and evicts, 4096 keys");
    println!("  {:42} {:>8} {:>8} {:>12}", "", "ns", "x", "changes/ms");
    let mut first = None;
    for one in &mut all {
        let ns = quantile(&mut one.look.samples, 2);
        let ratio = ns / *first.get_or_insert(ns);
        let rate = one.changes as f64 / one.busy.as_secs_f64() / 1e3;
        println!("  {:42} {ns:8.1} {ratio:8.2} {rate:12.0}", one.name);
    }
}
