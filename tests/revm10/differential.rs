//! Generated programs.

use super::generate;
use super::native;
use super::shrink::shrink;

#[test]
fn generated_programs() {
    for seed in 0..2_000 {
        let program = generate::program(seed);
        if native::compare(&program.case()).is_err() {
            let small = shrink(program, |p| native::compare(&p.case()).is_err());
            let case = small.case();
            panic!(
                "seed {seed}: {:?}\n{case}\n{:?}",
                native::compare(&case).err(),
                small.items
            );
        }
    }
}
