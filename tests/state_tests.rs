//! Every fixture of `tests/statetests`: as it expects, and natively as interpreted, on every fork that
//! it names and on the newest ones.

mod blocks;
#[path = "../examples/statetest/fixture.rs"]
mod fixture;
#[path = "../examples/statetest/root.rs"]
mod root;
#[path = "../examples/statetest/roots.rs"]
mod roots;
#[path = "../examples/statetest/run.rs"]
mod run;

use revm::primitives::hardfork::SpecId;
use revmc_jit::compiler::Tier;
use roots::Roots;
use serde_json::Value;
use std::{collections::BTreeSet, path::Path};

fn state_tests(tier: Tier) {
    let backend = blocks::native::blocking(tier).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/statetests");
    let (mut cases, mut expected) = (0, 0);
    let mut forks = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        for fixture in fixture::parse(&text, &Roots::default()).unwrap() {
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

/// Takes away what a file's tests expect.
fn without_expectations(text: &str) -> String {
    let mut tests: Value = serde_json::from_str(text).unwrap();
    for test in tests.as_object_mut().unwrap().values_mut() {
        let forks = test["post"].as_object_mut().into_iter().flatten();
        for entry in forks.flat_map(|(_, entries)| entries.as_array_mut().unwrap()) {
            let entry = entry.as_object_mut().unwrap();
            for expectation in ["hash", "logs", "expectException"] {
                entry.remove(expectation);
            }
        }
    }
    tests.to_string()
}

/// The specification's table has these tests as well, and says of them what their files say.
#[test]
fn by_the_table_of_roots() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table =
        std::fs::read_to_string(folder.join("tests/corpus/specification-roots.txt")).unwrap();
    let known = Roots::parse(&table).unwrap();
    // One bit of every digest is another.
    let spoilt = Roots::parse(&spoil(&table)).unwrap();
    let mut compared = 0;
    for file in std::fs::read_dir(folder.join("tests/statetests")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let text = without_expectations(&text);
        let tests = fixture::parse(&text, &known).unwrap();
        for (test, other) in tests.iter().zip(fixture::parse(&text, &spoilt).unwrap()) {
            for (case, other) in test.cases.iter().zip(&other.cases) {
                let (Some(known), Some(spoilt)) = (&case.expected, &other.expected) else {
                    continue;
                };
                let outcome = run::run(test, case, None);
                let place = format!("{} {}[{}]", test.name, case.fork, case.index);
                outcome.check(known).expect(&place);
                assert!(outcome.refused().is_some() || outcome.check(spoilt).is_err());
                compared += 1;
            }
        }
    }
    assert!(compared > 900, "{compared}");
}

/// The table with digests that are wrong.
fn spoil(table: &str) -> String {
    let line = |line: &str| {
        let words = line.split(' ').enumerate();
        let words = words.map(|(index, word)| match word.chars().next() {
            Some('0') if index > 1 && word.len() == 12 => format!("1{}", &word[1..]),
            _ if index > 1 && word.len() == 12 => format!("0{}", &word[1..]),
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let lines = table.lines().map(|text| match text.starts_with('#') {
        true => text.to_owned(),
        false => line(text),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What is no table is refused, and the line is named.
#[test]
fn a_table_that_is_none() {
    let good = "00000000000000aa 0 0123456789ab = - ?";
    Roots::parse(good).unwrap();
    for bad in [
        "x 0 -",
        "aa",
        "aa 0 =",
        "aa 0 0123",
        "aa 0 0123456789ag",
        "aa 0 - - - - - - - - - - - - - - - -",
        good,
    ] {
        let error = Roots::parse(&format!("{good}\n{bad}")).err().expect(bad);
        assert!(error.starts_with("line 2"), "{error}");
    }
}
