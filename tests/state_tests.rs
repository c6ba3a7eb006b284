//! Every fixture of `tests/statetests`: as it expects, and natively as interpreted, on every fork that
//! it names and on the newest ones.

mod blocks;
#[path = "../examples/statetest/fixture.rs"]
mod fixture;
#[path = "../examples/statetest/root.rs"]
mod root;
#[path = "../examples/statetest/run.rs"]
mod run;

use revm::primitives::hardfork::SpecId;
use revmc_jit::{JitBackend, compiler::Tier};
use std::{collections::BTreeSet, path::Path};

fn state_tests(tier: Tier) {
    let mut config = blocks::native::config(tier);
    // A lookup that finds nothing compiles.
    config.blocking = true;
    let backend = JitBackend::new(config).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/statetests");
    let (mut cases, mut expected) = (0, 0);
    let mut forks = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        for fixture in fixture::parse(&text).unwrap() {
            assert_eq!(fixture.skipped, 0, "{}", fixture.name);
            for case in &fixture.cases {
                let place = format!("{} {}[{}]", fixture.name, case.fork, case.index);
                let interpreted = run::run(&fixture, case, None);
                let native = run::run(&fixture, case, Some(&backend));
                interpreted.same(&native).expect(&place);
                match &case.expected {
                    Some(expectation) => {
                        interpreted.check(expectation).expect(&place);
                        native.check(expectation).expect(&place);
                        expected += 1;
                    }
                    // Only what nobody has specified for a fork is without one.
                    None => assert!(case.added, "{place}"),
                }
                forks.insert(case.spec_id);
                cases += 1;
            }
        }
    }
    let stats = backend.stats();
    assert_eq!(stats.failed + stats.negatives, 0);
    assert!(stats.hits > 1000, "{} frames", stats.hits);
    assert!(
        expected > 900 && cases > expected + 200,
        "{expected} of {cases} cases have an expectation"
    );
    let all: BTreeSet<_> = (0..=SpecId::NEXT as u8)
        .filter_map(SpecId::try_from_u8)
        .collect();
    assert_eq!(forks, all);
}

#[test]
fn in_the_baseline_tier() {
    state_tests(Tier::Baseline);
}

#[test]
fn in_the_optimized_tier() {
    state_tests(Tier::Optimized);
}
