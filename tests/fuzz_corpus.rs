//! Runs the committed inputs of the fuzz targets (`fuzz/corpus`), so that what fuzzing once found
//! stays found without a fuzzer.

#[cfg(target_os = "linux")]
#[path = "../fuzz/bodies/artifact.rs"]
mod artifact;
#[cfg(target_os = "linux")]
mod artifact_support;
mod common;
#[cfg(target_os = "linux")]
mod fuzz_seeds;
#[path = "../fuzz/bodies/programs.rs"]
mod programs;
mod resident_model;
#[path = "../fuzz/bodies/rules.rs"]
mod rules;
#[path = "../fuzz/bodies/runtime_ops.rs"]
mod runtime_ops;
mod runtime_support;
#[path = "../fuzz/bodies/vs_interpreter.rs"]
mod vs_interpreter;

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

/// Runs every input of a target, of which there are at least so many, and returns their number.
fn replay(target: &str, least: usize, mut run: impl FnMut(&[u8])) -> usize {
    let inputs = inputs(target);
    assert!(inputs.len() >= least, "only {} inputs", inputs.len());
    for (path, data) in &inputs {
        println!("{}", path.display());
        run(data);
    }
    inputs.len()
}

#[test]
fn vs_interpreter() {
    let mut cases = 0;
    let inputs = replay("vs_interpreter", 100, |data| {
        cases += usize::from(vs_interpreter::case(data).is_some());
        vs_interpreter::run(data);
    });
    assert!(cases > inputs / 2, "only {cases} inputs are programs");
}

#[test]
fn programs() {
    let mut cases = 0;
    let inputs = replay("programs", 40, |data| {
        cases += usize::from(programs::program(data).is_some());
        programs::run(data);
    });
    assert!(cases > inputs * 3 / 4, "only {cases} inputs are programs");
}

#[test]
fn rules() {
    let mut cases = 0;
    let inputs = replay("rules", 40, |data| {
        cases += usize::from(rules::run(data));
    });
    assert!(cases > inputs / 2, "only {cases} inputs are frames");
}

#[test]
fn map_ops() {
    replay("map_ops", 10, resident_model::check);
}

#[test]
#[cfg(target_os = "linux")]
fn artifact_bytes() {
    replay("artifact_bytes", 10, artifact::bytes);
}

#[test]
fn runtime_ops() {
    let mut calls = 0;
    let inputs = replay("runtime_ops", 10, |data| {
        calls += runtime_ops::calls(data);
        runtime_ops::execute(data);
    });
    assert!(calls > 4 * inputs, "only {calls} calls");
}
