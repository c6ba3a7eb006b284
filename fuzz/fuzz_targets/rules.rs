#![no_main]

#[path = "../bodies/rules.rs"]
mod body;
#[path = "../../tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
