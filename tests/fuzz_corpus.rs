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
mod resident_model;
#[path = "../fuzz/bodies/runtime_ops.rs"]
mod runtime_ops;
mod runtime_support;
#[path = "../fuzz/bodies/vs_interpreter.rs"]
mod vs_interpreter;
#[path = "../examples/quickstart/with_jit.rs"]
mod with_jit;

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

#[test]
fn map_ops() {
    let inputs = inputs("map_ops");
    assert!(inputs.len() >= 10, "only {} inputs", inputs.len());
    for (path, data) in &inputs {
        println!("{}", path.display());
        resident_model::check(data);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn artifact_bytes() {
    let inputs = inputs("artifact_bytes");
    assert!(inputs.len() >= 10, "only {} inputs", inputs.len());
    for (path, data) in &inputs {
        println!("{}", path.display());
        artifact::bytes(data);
    }
}

#[test]
fn runtime_ops() {
    let inputs = inputs("runtime_ops");
    assert!(inputs.len() >= 10, "only {} inputs", inputs.len());
    let mut calls = 0;
    for (path, data) in &inputs {
        println!("{}", path.display());
        calls += runtime_ops::calls(data);
        runtime_ops::execute(data);
    }
    assert!(calls > 4 * inputs.len(), "only {calls} calls");
}
