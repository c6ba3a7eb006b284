//! The programs of `corpus/edge-programs.tsv`, at both tiers, with the gas they name and with less.

use super::case::{Case, FORKS};
use super::native::check;
use revmc_jit::revmc::primitives::hex;

fn cases() -> Vec<Case> {
    let parse = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [fork, gas, code, input] = columns[..] else {
            panic!("not four columns: {line}");
        };
        let fork = FORKS
            .into_iter()
            .find(|known| format!("{known:?}") == fork)
            .expect(fork);
        Case::new(hex::decode(code).expect(code))
            .on(fork)
            .gas(gas.parse().expect(gas))
            .input(hex::decode(input).expect(input))
    };
    include_str!("../corpus/edge-programs.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(parse)
        .collect()
}

#[test]
fn edge_programs() {
    let cases = cases();
    assert_eq!(cases.len(), 62);
    for (index, case) in cases.iter().enumerate() {
        check(&format!("edge program {index}"), case);
    }
}

#[test]
fn edge_programs_with_less_gas_and_other_forks() {
    for (index, case) in cases().iter().enumerate() {
        let name = format!("edge program {index}");
        for gas_limit in (0..600).step_by(7) {
            check(&name, &case.clone().gas(gas_limit));
        }
        for fork in FORKS {
            check(&name, &case.clone().on(fork));
        }
    }
}
