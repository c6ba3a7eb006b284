//! Contenders that take turns in one process, so that whatever disturbs the machine disturbs all.

use super::report::{Spread, Table};
use super::{Effort, processor_time};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Times operations `start..start + n` as thread `thread`.
pub type Run<'a> = Box<dyn Fn(usize, usize, usize) -> Duration + Sync + 'a>;

/// How often threads are started anew for a sample in which they run at once.
const ATTEMPTS: usize = 100;

/// One way to do something.
pub struct Contender<'a> {
    pub name: String,
    pub threads: usize,
    pub run: Run<'a>,
    /// Nanoseconds for one operation, a sample each turn.
    pub samples: Vec<f64>,
    next: AtomicUsize,
}

impl<'a> Contender<'a> {
    pub fn new(name: impl Into<String>, threads: usize, run: Run<'a>) -> Self {
        Self {
            name: name.into(),
            threads,
            run,
            samples: Vec::new(),
            next: AtomicUsize::new(0),
        }
    }

    /// Nanoseconds for each of `n` operations, the mean of the threads: of several attempts the one in
    /// which the threads ran most nearly at once. Where others want the cores, too, most attempts are no
    /// measure of what threads do to each other.
    pub fn sample(&self, n: usize) -> f64 {
        let start = self.next.fetch_add(n, Ordering::Relaxed);
        let (mut total, mut best) = (Duration::ZERO, -1.0);
        if self.threads == 1 {
            total = (self.run)(0, start, n);
        } else {
            for _ in 0..ATTEMPTS {
                let (spent, overlap) = self.together(start, n);
                if overlap > best {
                    (total, best) = (spent, overlap);
                }
                if best > 0.9 {
                    break;
                }
            }
        }
        total.as_nanos() as f64 / (n * self.threads) as f64
    }

    /// What all threads take, and for which part of the time from the first one's begin to the last
    /// one's end all of them ran.
    fn together(&self, start: usize, n: usize) -> (Duration, f64) {
        let barrier = Barrier::new(self.threads);
        let runs: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        (self.run)(thread, start, 64);
                        barrier.wait();
                        let begin = Instant::now();
                        let spent = (self.run)(thread, start, n);
                        (spent, begin, Instant::now())
                    })
                })
                .collect();
            let ends = threads.into_iter().map(|thread| thread.join());
            ends.map(|end| end.expect("no contender panics")).collect()
        });
        let total: Duration = runs.iter().map(|(spent, ..)| *spent).sum();
        let begin = runs.iter().map(|(_, begin, _)| *begin).min();
        let end = runs.iter().map(|(.., end)| *end).max();
        let wall = begin
            .zip(end)
            .map_or(0.0, |(begin, end)| (end - begin).as_secs_f64());
        // One that waited for a core is in the wall time, and not in what it spent.
        (
            total,
            total.as_secs_f64() / self.threads as f64 / wall.max(1e-9),
        )
    }

    /// Takes a sample of `n` operations and keeps it.
    pub fn turn(&mut self, n: usize) {
        let sample = self.sample(n);
        self.samples.push(sample);
    }

    /// How many operations take about `time`.
    pub fn length(&self, time: Duration) -> usize {
        let (mut n, mut spent) = (1, 0.0);
        let time = time.as_nanos() as f64;
        while spent < time / 8.0 && n < 1 << 24 {
            n *= 2;
            spent = self.sample(n) * n as f64;
        }
        ((time / spent.max(1.0) * n as f64) as usize).max(1)
    }

    pub fn median(&self) -> Spread {
        Spread::of(&self.samples)
    }

    /// What one operation costs in those of `other`: the ratio of each turn to the other's turn
    /// beside it, so that a machine that slows down does not distort it.
    pub fn ratio_to(&self, other: &Self) -> Spread {
        let ratios = self.samples.iter().zip(&other.samples);
        Spread::of(&ratios.map(|(own, other)| own / other).collect::<Vec<_>>())
    }
}

/// Lets every contender have its turns.
pub fn take_turns(effort: Effort, contenders: &mut [Contender<'_>]) {
    let lengths: Vec<usize> = contenders
        .iter()
        .map(|contender| {
            contender.length(effort.turn);
            contender.length(effort.turn)
        })
        .collect();
    for _ in effort.rounds() {
        for (contender, &length) in contenders.iter_mut().zip(&lengths) {
            contender.turn(length);
        }
    }
}

/// What a lookup is measured by: one `Arc` for each of its keys, cloned and dropped.
pub fn floor<V: Send + Sync>(threads: usize, arcs: &[Arc<V>]) -> Contender<'_> {
    Contender::new(
        "floor: one Arc, cloned and dropped",
        threads,
        Box::new(move |_, start, n| {
            let begin = processor_time();
            for i in start..start + n {
                black_box(Arc::clone(black_box(&arcs[i & (arcs.len() - 1)])));
            }
            processor_time() - begin
        }),
    )
}

/// A contender and the ratio to the floor that it is meant to stay below.
pub type Aimed<'a> = (Contender<'a>, Option<f64>);

/// Lets the contenders take turns; the first one is the floor that the others are compared with.
///
/// `least` is the ratio of the least turns, which an idle machine comes to: a lookup slows down more
/// than the floor where others compete for the core, as the floor mostly waits for locked instructions.
pub fn compare(effort: Effort, title: &str, aimed: Vec<Aimed<'_>>) -> Table {
    let (mut contenders, targets): (Vec<_>, Vec<_>) = aimed.into_iter().unzip();
    take_turns(effort, &mut contenders);
    let least = |contender: &Contender<'_>| contender.samples.iter().copied().reduce(f64::min);
    let mut table = Table::new(title, &["ns", "x floor", "least", "target"]).chart(1);
    for (contender, target) in contenders.iter().zip(targets) {
        let ratio = least(contender).zip(least(&contenders[0]));
        let ratio = ratio.map_or(f64::NAN, |(own, floor)| own / floor);
        let cells = [
            contender.median(),
            contender.ratio_to(&contenders[0]),
            Spread::exact(ratio),
        ];
        table.row(&contender.name, &cells);
        if let (Some(target), Some(row)) = (target, table.rows.last_mut()) {
            row.cells.push(Some(Spread::exact(target)));
        }
    }
    table
}

/// Compares each contender of two threads with the same of one.
pub fn scale(
    effort: Effort,
    title: &str,
    one: Vec<Contender<'_>>,
    two: Vec<Contender<'_>>,
) -> Table {
    let mut table = Table::new(title, &["1 thread, ns", "2 threads, ns", "x"]).chart(2);
    for (mut one, mut two) in one.into_iter().zip(two) {
        // Threads are started for each turn: it has to be long beside that.
        let length = two.length(effort.turn);
        for _ in effort.rounds() {
            one.turn(length);
            two.turn(length);
        }
        table.row(&one.name, &[one.median(), two.median(), two.ratio_to(&one)]);
    }
    table
}

/// Times an expression for keys of a thread, by its processor time; their number is a power of two.
macro_rules! contender {
    ($name:expr, $threads:expr, $keys:expr, |$key:pat_param| $lookup:expr) => {{
        let keys: &[Vec<_>] = $keys;
        $crate::harness::contender::Contender::new(
            $name,
            $threads,
            Box::new(move |thread, start, n| {
                let keys = &keys[thread % keys.len()][..];
                let begin = $crate::harness::processor_time();
                for i in start..start + n {
                    let $key = std::hint::black_box(&keys[i & (keys.len() - 1)]);
                    $lookup;
                }
                $crate::harness::processor_time() - begin
            }),
        )
    }};
}
pub(crate) use contender;
