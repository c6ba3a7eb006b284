//! Runs the committed inputs of the fuzz targets (`fuzz/corpus`), so that what fuzzing once found
//! stays found without a fuzzer.

mod common;
#[path = "../fuzz/bodies/vs_interpreter.rs"]
mod vs_interpreter;
#[path = "../examples/quickstart/with_jit.rs"]
mod with_jit;

use common::asm::asm;
use common::case::FORKS;
use common::programs::ALL;
use revmc::interpreter::opcode::OpCode;
use revmc::primitives::{hex, keccak256};
use std::path::{Path, PathBuf};

/// The inputs of a target, in a fixed order.
fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).expect("readable")))
        .collect()
}

#[test]
fn vs_interpreter() {
    let inputs = inputs("vs_interpreter");
    assert!(inputs.len() >= 100, "only {} inputs", inputs.len());
    let mut cases = 0;
    for (path, data) in &inputs {
        println!("{}", path.display());
        cases += usize::from(vs_interpreter::case(data).is_some());
        vs_interpreter::run(data);
    }
    assert!(cases > inputs.len() / 2, "only {cases} inputs are programs");
}

/// Writes the seeds: the hand-written programs and the edge programs as inputs, and the opcodes as
/// a dictionary.
///
/// ```text
/// cargo test --test fuzz_corpus -- --ignored write_seeds
/// ```
#[test]
#[ignore = "writes into fuzz/"]
fn write_seeds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("fuzz/corpus/vs_interpreter");
    let newest = FORKS.len() as u8 - 1;
    let mut seeds = Vec::new();
    for (name, text) in ALL.iter().flat_map(|(_, table)| *table) {
        seeds.push((*name, vs_interpreter::input(newest, &[0; 40], &asm(text))));
    }
    for line in include_str!("corpus/edge-programs.tsv")
        .lines()
        .filter(|l| !l.starts_with('#'))
    {
        let columns: Vec<&str> = line.split('\t').collect();
        let fork = FORKS
            .iter()
            .position(|fork| format!("{fork:?}") == columns[0]);
        let [code, input] = [2, 3].map(|column| hex::decode(columns[column]).expect("hex"));
        let fork = fork.expect("a known fork") as u8;
        seeds.push(("edge program", vs_interpreter::input(fork, &input, &code)));
    }
    for (name, seed) in seeds {
        let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let hash = hex::encode(&keccak256(&seed)[..4]);
        let name = format!("{}-{hash}", words.join("-").to_lowercase());
        std::fs::write(folder.join(name), seed).expect("writable");
    }
    let mut dictionary =
        String::from("# Every opcode as one byte. Written by tests/fuzz_corpus.rs.\n");
    for op in (0..=u8::MAX).filter_map(OpCode::new) {
        dictionary += &format!("{op}=\"\\x{:02x}\"\n", op.get());
    }
    std::fs::write(root.join("fuzz/opcodes.dict"), dictionary).expect("writable");
}
