//! Contenders that take turns in one process, so that whatever disturbs the machine disturbs all.

use super::Effort;
use super::report::{Spread, Table};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Times operations `start..start + n` as thread `thread`.
pub type Run<'a> = Box<dyn Fn(usize, usize, usize) -> Duration + Sync + 'a>;

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

    /// Nanoseconds for each of `n` operations, the mean of the threads.
    pub fn sample(&self, n: usize) -> f64 {
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

/// Lets the contenders take turns; the first one is the floor that the others are compared with.
pub fn compare(effort: Effort, title: &str, mut contenders: Vec<Contender<'_>>) -> Table {
    take_turns(effort, &mut contenders);
    let mut table = Table::new(title, &["ns", "x floor"]).chart(1);
    for contender in &contenders {
        table.row(
            &contender.name,
            &[contender.median(), contender.ratio_to(&contenders[0])],
        );
    }
    table
}

/// Times an expression for keys of a thread; their number is a power of two.
macro_rules! contender {
    ($name:expr, $threads:expr, $keys:expr, |$key:pat_param| $lookup:expr) => {{
        let keys: &[Vec<_>] = $keys;
        $crate::harness::contender::Contender::new(
            $name,
            $threads,
            Box::new(move |thread, start, n| {
                let keys = &keys[thread % keys.len()][..];
                let begin = std::time::Instant::now();
                for i in start..start + n {
                    let $key = std::hint::black_box(&keys[i & (keys.len() - 1)]);
                    $lookup;
                }
                begin.elapsed()
            }),
        )
    }};
}
pub(crate) use contender;
