//! Cases on revm 10's frames, by the interpreter and by another side.

use super::case::{CONTRACT, Case, SENDER, accounts, slots};
use super::driver::{FrameExecutor, Message, Oracle, Run, run_message};
use super::types::U256;
use super::verdict;
use super::world::World;

impl Case {
    pub fn world(&self) -> World {
        let mut world = World::new(self.spec_id);
        for (address, balance, code) in accounts() {
            world.insert(address, balance, 1, code);
        }
        world.insert(CONTRACT, U256::from(1_000_000u64), 1, self.code.clone());
        for (key, value) in slots() {
            world.insert_storage(CONTRACT, key, value);
        }
        world.broken_account = self.fault;
        world
    }

    pub fn message(&self) -> Message {
        Message {
            caller: SENDER,
            to: CONTRACT,
            value: self.value,
            input: self.input.clone(),
            gas_limit: self.gas_limit,
            is_static: self.is_static,
        }
    }

    /// Runs the case and returns what happened with the world it left.
    pub fn run<E: FrameExecutor>(&self, executor: &mut E) -> (Run, World) {
        let mut world = self.world();
        let run = run_message(executor, &mut world, &self.message(), true);
        (run, world)
    }

    /// Runs the case by the interpreter and by `executor` and compares. Returns the oracle's run.
    pub fn compare<E: FrameExecutor>(&self, executor: &mut E) -> Result<Run, String> {
        let (oracle, oracle_world) = self.run(&mut Oracle);
        let (other, other_world) = self.run(executor);
        verdict::compare(&oracle, &oracle_world.state, &other, &other_world.state)?;
        Ok(oracle)
    }
}
