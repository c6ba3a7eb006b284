//! `COMPILER_VERSION` against `tests/corpus/machine-code.txt`: artifacts name the version of the compiler that
//! has made them, so that one and the same version must not make other code. After a change of the code raise
//! the version, then
//!
//! ```text
//! BLESS=1 cargo test --test machine_code
//! ```
//!
//! The code is that of the contracts of the crate's own blocks, where the processor has all that the compiler
//! makes use of; loops are compared with the Cranelift that they were written down for.
#![cfg(target_arch = "x86_64")]

mod blocks;

use blocks::{
    format::{Folder, OWN},
    run,
};
use revmc_jit::{
    Chain,
    compiler::{COMPILER_VERSION, CompileOptions, Tier, compile, cpu_features},
    primitives::{SpecId, keccak256},
};
use std::{collections::BTreeMap, env, fs, path::Path};

/// The features of the processor for which the code was written down.
const FEATURES: usize = 6;

/// A hash of the machine code of all contracts, and of its entries.
fn code_of(contracts: &BTreeMap<Vec<u8>, SpecId>, tier: Tier) -> String {
    let (chain, mut all) = (Chain::mainnet(), Vec::new());
    for (code, spec) in contracts {
        let options = CompileOptions {
            tier,
            ..CompileOptions::default()
        };
        let native =
            compile(code, chain.rules(*spec), &options).expect("it is compiled in a block");
        all.extend(native.text());
        all.extend(native.entry_table());
    }
    keccak256(all).to_string()
}

#[test]
fn one_version_makes_one_code() {
    if cpu_features().len() < FEATURES {
        println!("this processor has only {:?}", cpu_features());
        return;
    }
    let folder = Folder::open(Path::new(OWN)).expect("the crate's own blocks");
    let mut contracts = BTreeMap::new();
    for file in &folder.files {
        let block = folder.read(file).expect("a block");
        let found = run::contracts(&block).into_values();
        contracts.extend(found.map(|code| (code.to_vec(), block.spec)));
    }
    let found = [
        ("version", COMPILER_VERSION.to_string()),
        ("baseline", code_of(&contracts, Tier::Baseline)),
        ("cranelift", cranelift_codegen::VERSION.to_owned()),
        ("optimized", code_of(&contracts, Tier::Optimized)),
    ];
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/machine-code.txt");
    let text = fs::read_to_string(&list).unwrap_or_default();
    let before = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|line| line.0 == name).map(|line| line.1)
    };
    let same = |name| {
        found
            .iter()
            .any(|(of, now)| *of == name && before(name) == Some(now))
    };
    let same_code = same("baseline") && (same("optimized") || !same("cranelift"));
    if !same("version") && env::var_os("BLESS").is_some() {
        let lines = found.map(|(name, now)| format!("{name} {now}\n"));
        fs::write(&list, lines.concat()).expect("writable");
        return;
    }
    assert!(
        same("version"),
        "the version is new: run this once with BLESS=1"
    );
    assert!(same_code, "the code is another: raise COMPILER_VERSION");
}
