//! The codes of `examples/contracts` as they are deployed. For benchmarks that have the modules
//! `blocks` and `contracts` of the quickstart.

use crate::contracts::scenarios;
use revmc_jit::primitives::Bytes;

/// Source file and code of each contract that the quickstart calls.
pub fn codes() -> Vec<(&'static str, Bytes)> {
    let scenarios = scenarios().expect("the examples' contracts are deployed");
    let code = |scenario: &crate::contracts::Scenario| {
        let to = scenario.calls.first()?.1.kind.to()?;
        let account = scenario.state.cache.accounts.get(to)?;
        Some(account.info.code.as_ref()?.original_bytes())
    };
    scenarios
        .iter()
        .map(|scenario| {
            (
                scenario.file,
                code(scenario).expect("what is called has code"),
            )
        })
        .collect()
}
