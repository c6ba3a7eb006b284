//! The state that a case begins with.

use super::case::{CONTRACT, Case, accounts, slots};
use super::database::{Fault, Recorder, State};
use super::types::U256;
use std::sync::{Arc, LazyLock};

/// All but the program under test.
static SURROUNDINGS: LazyLock<State> = LazyLock::new(|| {
    let mut state = State::default();
    for (address, balance, code) in accounts() {
        state.insert(address, balance, 1, code);
    }
    for (key, value) in slots() {
        state.insert_slot(CONTRACT, key, value);
    }
    state
});

impl Case {
    pub fn fault(mut self, read: usize, fault: Fault) -> Self {
        self.fault = Some((read, fault));
        self
    }

    /// The state before.
    pub fn state(&self) -> Arc<State> {
        let mut state = SURROUNDINGS.clone();
        state.insert(CONTRACT, U256::from(1_000_000u64), 1, self.code.clone());
        Arc::new(state)
    }

    pub fn database(&self) -> Recorder {
        Recorder::new(self.state())
    }
}
