#![no_main]

// Tests use the rest of all three.
#[allow(dead_code)]
#[path = "../../tests/common/asm.rs"]
mod asm;
#[allow(dead_code)]
#[path = "../bodies/vs_interpreter.rs"]
mod body;
#[allow(dead_code, unused_imports)]
#[path = "../../tests/common/types.rs"]
mod types;

mod common {
    pub(crate) use crate::{asm, types};
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
