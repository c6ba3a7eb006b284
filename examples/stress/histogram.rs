//! Latencies in buckets a sixteenth of a power of two wide.

use std::fmt;
use std::time::Duration;

const SUB: u32 = 16;

/// Counts of latencies in nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self {
            counts: vec![0; (64 * SUB) as usize],
            total: 0,
            max: 0,
        }
    }

    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Upper bound of the bucket below which the fraction `q` of all latencies lies.
    fn quantile(&self, q: f64) -> u64 {
        let rank = (self.total as f64 * q).ceil() as u64;
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(i).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(nanos: u64) -> usize {
    let Some(log) = nanos.checked_ilog2().filter(|log| *log >= 4) else {
        return nanos as usize;
    };
    let sub = (nanos >> (log - 4)) as u32 & (SUB - 1);
    ((log - 3) * SUB + sub) as usize
}

fn upper(bucket: usize) -> u64 {
    let (log, sub) = (bucket as u32 / SUB, bucket as u64 % u64::from(SUB));
    match log {
        0 => sub,
        _ => ((u64::from(SUB) + sub + 1) << (log - 1)) - 1,
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>12} {:>8} {:>8} {:>9} {:>9} {:>11}",
            self.total,
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(0.999),
            self.quantile(0.9999),
            self.max
        )
    }
}
