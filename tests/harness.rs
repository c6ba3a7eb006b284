//! The harness checks itself: it must agree with itself and must see differences that are put in.

mod common;

use common::case::Case;
use common::driver::{FrameExecutor, Oracle};
use common::generate;
use common::world::World;
use revmc::interpreter::opcode::OpCode;
use revmc::interpreter::{Host, Interpreter, InterpreterAction, SharedMemory};
use revmc::primitives::{SpecId, U256};
use std::collections::BTreeMap;

#[test]
fn the_oracle_agrees_with_itself() {
    let mut ends = BTreeMap::new();
    for seed in 0..3000 {
        let program = generate::program(seed);
        let run = program.case().compare(&mut Oracle).expect("one interpreter, one result");
        *ends.entry(format!("{:?}", run.result.result)).or_insert(0) += 1;
    }
    println!("{ends:?}");
}
