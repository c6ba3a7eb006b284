//! What differs between two ways to run a step: nothing may.

use super::step::Step;
use revm::{
    context_interface::result::ExecutionResult,
    primitives::{Address, U256},
    state::{Account, EvmState, EvmStorageSlot},
};
use std::{collections::BTreeSet, fmt::Debug};

/// The first difference in result, state and reads, in words; `expected` is the interpreter's.
pub fn difference(expected: &Step, found: &Step) -> Option<String> {
    result(&expected.result, &found.result)
        .or_else(|| state(&expected.state, &found.state))
        .or_else(|| list("read", &expected.reads, &found.reads))
}

fn differ<T: PartialEq + Debug>(what: &str, expected: &T, found: &T) -> Option<String> {
    (expected != found).then(|| format!("{what} {found:?}, the interpreter {expected:?}"))
}

fn list<T: PartialEq + Debug>(what: &str, expected: &[T], found: &[T]) -> Option<String> {
    if expected == found {
        return None;
    }
    let same = expected
        .iter()
        .zip(found)
        .take_while(|(a, b)| a == b)
        .count();
    let (a, b) = (expected.get(same), found.get(same));
    Some(format!("{what} {same}: {b:?}, the interpreter {a:?}"))
}

fn result(
    expected: &Result<ExecutionResult, String>,
    found: &Result<ExecutionResult, String>,
) -> Option<String> {
    let (Ok(a), Ok(b)) = (expected, found) else {
        return differ("result", expected, found);
    };
    let end = |result: &ExecutionResult| match result {
        ExecutionResult::Success { reason, .. } => format!("success {reason:?}"),
        ExecutionResult::Revert { .. } => "revert".to_owned(),
        ExecutionResult::Halt { reason, .. } => format!("halt {reason:?}"),
    };
    differ("end", &end(a), &end(b))
        .or_else(|| differ("gas", a.gas(), b.gas()))
        .or_else(|| list("log", a.logs(), b.logs()))
        .or_else(|| differ("output", &a.output(), &b.output()))
        // Whatever a result has besides.
        .or_else(|| differ("result", a, b))
}

fn state(expected: &EvmState, found: &EvmState) -> Option<String> {
    let addresses: BTreeSet<&Address> = expected.keys().chain(found.keys()).collect();
    addresses.into_iter().find_map(|address| {
        account(expected.get(address), found.get(address))
            .map(|difference| format!("account {address}: {difference}"))
    })
}

fn account(expected: Option<&Account>, found: Option<&Account>) -> Option<String> {
    let (Some(a), Some(b)) = (expected, found) else {
        return differ("is there:", &expected.is_some(), &found.is_some());
    };
    if a == b {
        return None;
    }
    let slots: BTreeSet<&U256> = a.storage.keys().chain(b.storage.keys()).collect();
    differ("info", &a.info, &b.info)
        .or_else(|| differ("status", &a.status, &b.status))
        .or_else(|| {
            slots.into_iter().find_map(|slot| {
                let (a, b) = (a.storage.get(slot), b.storage.get(slot));
                differ(&format!("slot {slot:#x}"), &a.map(words), &b.map(words))
            })
        })
        .or_else(|| differ("account", a, b))
}

/// A slot, to be read: original and present value, and whether it is cold.
fn words(slot: &EvmStorageSlot) -> (U256, U256, bool, usize) {
    let id = slot.transaction_id.get();
    (slot.original_value, slot.present_value, slot.is_cold, id)
}
