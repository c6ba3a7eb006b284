#![no_main]

// Tests use the rest of both.
#[allow(dead_code)]
#[path = "../bodies/vs_interpreter.rs"]
mod body;
mod common {
    #[allow(dead_code)]
    #[path = "../../../tests/common/asm.rs"]
    pub mod asm;
    #[allow(dead_code, unused_imports)]
    #[path = "../../../tests/common/types.rs"]
    pub mod types;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
