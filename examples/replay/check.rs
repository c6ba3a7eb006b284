//! Runs a block in every way and compares.

use crate::blocks::{
    compare::difference,
    format::Block,
    native::Native,
    receipts::Totals,
    run,
    step::{Recorded, Step},
};

/// What came out.
pub struct Checked {
    /// By the interpreter; 0 if it refused a transaction.
    pub gas_used: u64,
    /// In words, a line each.
    pub differences: Vec<String>,
    /// Contracts that were not compiled, and why: no difference, but not native either.
    pub refused: Vec<String>,
}

/// Compiles the block's contracts in each tier, then runs it in every way.
pub fn check(block: &Block, tiers: &mut [Native]) -> Checked {
    let interpreted = run::interpreted(block);
    let mut differences = Vec::new();
    let gas_used = against_header(block, &interpreted, "interpreter", &mut differences);

    let contracts = match tiers {
        [] => Default::default(),
        _ => run::contracts(block),
    };
    let mut refused = Vec::new();
    for (tier, at) in tiers.iter_mut().zip(1..) {
        let name = format!("tier {at}");
        let errors = tier.compile(&contracts, block.spec);
        refused.extend(errors.iter().map(|error| format!("{name}: {error}")));

        let (db, reads) = Recorded::new(block.state.clone());
        let native = run::steps(&mut tier.evm(block, db), block, &reads);
        for (expected, found) in interpreted.iter().zip(&native) {
            if let Some(difference) = difference(expected, found) {
                differences.push(format!("{name}, {}: {difference}", found.kind));
            }
        }
        against_header(block, &native, &name, &mut differences);
    }
    Checked {
        gas_used,
        differences,
        refused,
    }
}

/// Returns the gas used.
fn against_header(block: &Block, steps: &[Step], name: &str, differences: &mut Vec<String>) -> u64 {
    match Totals::new(block, steps) {
        Ok(totals) => {
            let wrong = totals.check(block).into_iter();
            differences.extend(wrong.map(|what| format!("{name}: {what}")));
            totals.gas_used
        }
        Err(error) => {
            differences.push(format!("{name}: {error}"));
            0
        }
    }
}
