#![no_main]

// Tests use the rest of it.
#[allow(dead_code)]
#[path = "../bodies/vs_interpreter.rs"]
mod body;
#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../examples/quickstart/with_jit.rs"]
mod with_jit;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
