//! The programs of `corpus/edge-programs.tsv`, at both tiers, with the gas they name and with less.

use super::case::{self, FORKS};
use super::native::check;

#[test]
fn edge_programs() {
    let cases = case::edge_programs();
    assert_eq!(cases.len(), 62);
    for (index, case) in cases.iter().enumerate() {
        check(&format!("edge program {index}"), case);
    }
}

#[test]
fn edge_programs_with_less_gas_and_other_forks() {
    for (index, case) in case::edge_programs().iter().enumerate() {
        let name = format!("edge program {index}");
        for gas_limit in (0..600).step_by(7) {
            check(&name, &case.clone().gas(gas_limit));
        }
        for fork in FORKS {
            check(&name, &case.clone().on(fork));
        }
    }
}
