#![no_main]

// Tests use the rest of it.
#[allow(dead_code)]
#[path = "../bodies/runtime_ops.rs"]
mod body;
#[path = "../../tests/runtime_support/mod.rs"]
mod runtime_support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::execute(data));
