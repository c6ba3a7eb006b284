//! A line for each block, and the last line.

use crate::blocks::format::Block;
use std::time::Duration;

/// What was printed so far.
pub struct Report {
    tiers: usize,
    blocks: usize,
    transactions: usize,
    differences: usize,
    /// Of each tier: sum of the logarithms of how many times faster than the interpreter it is, over
    /// the blocks that count.
    logarithms: Vec<f64>,
    counted: usize,
}

impl Report {
    /// Prints the heads of the columns.
    pub fn new(tiers: usize) -> Self {
        print!(
            "{:>9} {:<16} {:>5} {:>10} {:>9}",
            "block", "fork", "txs", "gas", "ms"
        );
        for tier in 1..=tiers {
            print!(" {:>8}", format!("tier {tier}"));
        }
        println!(" differences");
        Self {
            tiers,
            blocks: 0,
            transactions: 0,
            differences: 0,
            logarithms: vec![0.0; tiers],
            counted: 0,
        }
    }

    /// Prints a block's line; `times` are the interpreter's and each tier's.
    pub fn block(
        &mut self,
        block: &Block,
        gas_used: u64,
        times: &[Duration],
        differences: &[String],
        refused: &[String],
    ) {
        let transactions = block.transactions.len();
        let fork: &str = block.spec.into();
        let milliseconds = times[0].as_secs_f64() * 1e3;
        print!(
            "{:>9} {fork:<16} {transactions:>5} {gas_used:>10} {milliseconds:>9.3}",
            block.header.number
        );
        let counts = transactions > 1;
        for (time, logarithms) in times[1..].iter().zip(&mut self.logarithms) {
            let faster = times[0].as_secs_f64() / time.as_secs_f64();
            print!(" {faster:>7.2}x");
            if counts {
                *logarithms += faster.ln();
            }
        }
        println!(" {}", differences.len());
        for line in differences {
            println!("          DIFFERENCE, {line}");
        }
        for line in refused {
            println!("          not compiled, {line}");
        }
        self.blocks += 1;
        self.transactions += transactions;
        self.differences += differences.len();
        self.counted += usize::from(counts);
    }

    /// Prints the last line; returns how many differences there were. `ratios`: bytes of machine code
    /// for each byte of bytecode.
    pub fn finish(self, ratios: &[f64]) -> usize {
        print!(
            "replay: {} blocks, {} transactions, {} differences",
            self.blocks, self.transactions, self.differences
        );
        if self.tiers > 0 {
            let counted = self.counted.max(1) as f64;
            let faster = self.logarithms.iter().zip(1..);
            let faster =
                faster.map(|(sum, at)| format!("tier {at} {:.2} x", (sum / counted).exp()));
            let ratios = ratios.iter().map(|ratio| format!("{ratio:.1}"));
            print!(
                "; {}; native bytes per byte of code {}",
                faster.collect::<Vec<_>>().join(", "),
                ratios.collect::<Vec<_>>().join(" / ")
            );
        }
        println!();
        self.differences
    }
}
