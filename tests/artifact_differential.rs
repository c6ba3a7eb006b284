//! Programs that took the road through an artifact's bytes do what the same programs do straight
//! from the compiler, down to which error a halt names.
//!
//! The whole corpus takes that road, and is compared with the interpreter, by:
//!
//! ```text
//! REVMC_JIT_ARTIFACTS=1 cargo test --test differential
//! ```
#![cfg(target_os = "linux")]

mod common;

use common::{
    generate,
    native::{Native, TIERS},
    verdict,
};

#[test]
fn artifacts_do_what_the_compiler_s_output_does() {
    for tier in TIERS {
        let (mut jit, mut aot) = (Native::new(tier), Native::from_artifacts(tier));
        for seed in 0..300 {
            let case = generate::program(seed).case();
            let (expected, expected_world) = case.run(&mut jit);
            let (found, found_world) = case.run(&mut aot);
            assert_eq!(jit.take_failure(), None, "seed {seed} {tier}");
            assert_eq!(aot.take_failure(), None, "seed {seed} {tier}");
            assert_eq!(
                expected.result.result, found.result.result,
                "seed {seed} {tier}\n{case}"
            );
            verdict::compare(&expected, &expected_world.state, &found, &found_world.state)
                .unwrap_or_else(|difference| panic!("seed {seed} {tier}: {difference}\n{case}"));
        }
    }
}
