//! Lookups while the map changes.

use super::*;

/// A map under change: one lookup, and one publication with one eviction.
struct Churned<'a> {
    look: Contender<'a>,
    change: Box<dyn Fn(u64) + Sync + 'a>,
    changes: u64,
    busy: Duration,
}

pub fn churn(session: &mut Session) {
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

    let churned = |look, change| Churned {
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
            contender!("resident, get", 1, &keys, |k| black_box(ours.get(k))),
            Box::new(ours_change),
        ),
        churned(
            contender!("resident, with", 1, &keys, |k| ours.with(k, |found| {
                black_box(found.hit().map(|value| value.function))
            })),
            Box::new(ours_change),
        ),
        churned(
            contender!("DashMap", 1, &keys, |k| black_box(
                dash.get(k).map(|found| Arc::clone(&found))
            )),
            Box::new(move |n| {
                dash.insert(come(n), Arc::clone(value));
                dash.remove(&gone(n));
            }),
        ),
        churned(
            contender!("papaya", 1, &keys, |k| black_box(
                papaya.pin().get(k).cloned()
            )),
            Box::new(move |n| {
                papaya.pin().insert(come(n), Arc::clone(value));
                papaya.pin().remove(&gone(n));
            }),
        ),
        churned(
            contender!("scc::HashIndex", 1, &keys, |k| black_box(
                scc.peek_with(k, |_, arc| Arc::clone(arc))
            )),
            Box::new(move |n| {
                let _ = scc.insert_sync(come(n), Arc::clone(value));
                scc.remove_sync(&gone(n));
            }),
        ),
        churned(
            contender!("ArcSwap<HashMap>", 1, &keys, |k| black_box(
                swap.load().get(k).cloned()
            )),
            Box::new(move |n| {
                let mut map = HashMap::clone(&swap.load());
                map.insert(come(n), Arc::clone(value));
                map.remove(&gone(n));
                swap.store(Arc::new(map));
            }),
        ),
        churned(
            contender!("RwLock<HashMap>", 1, &keys, |k| black_box(
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
    for _ in session.effort.rounds() {
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
    let mut table = Table::new(title, &["ns", "x", "changes/ms"]).chart(1);
    for one in &all {
        let rate = one.changes as f64 / one.busy.as_secs_f64() / 1e3;
        let ratio = one.look.ratio_to(&all[0].look);
        table.row(
            &one.look.name,
            &[one.look.median(), ratio, Spread::exact(rate.round())],
        );
    }
    session.add(table);
}
