#![no_main]

#[path = "../bodies/artifact.rs"]
mod artifact;

libfuzzer_sys::fuzz_target!(|data: &[u8]| artifact::bytes(data));
