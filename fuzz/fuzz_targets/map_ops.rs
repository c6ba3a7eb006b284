#![no_main]

#[path = "../../tests/resident_model/mod.rs"]
mod resident_model;

libfuzzer_sys::fuzz_target!(|data: &[u8]| resident_model::check(data));
