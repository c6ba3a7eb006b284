//! What it means that two runs agree.
//!
//! Equal must be: at every end of every frame (suspension or return) the depth, the action with
//! all its inputs, gas left, refund, memory, and at suspensions the operand stack; after the last
//! frame the result, output, gas, refund and the whole state (accounts, storage, transient
//! storage, logs, warm sets).
//!
//! One thing may differ: when a frame halts exceptionally in both, *which* exceptional halt it
//! is, as [`ACCEPTED_HALTS`] lists. A halt consumes all gas and undoes all effects, so
//! gas, memory and output of a halted frame are not looked at.

use super::driver::{Event, Run};
use super::world::{Account, Slot, State};
use revmc_jit::revmc::interpreter::{InstructionResult, InterpreterAction, InterpreterResult};
use std::fmt::{Debug, Write};

/// Halts that may stand for each other: any of the first list by the interpreter, any of the second
/// by compiled code, and why.
///
/// Compiled code checks the static gas and the stack bounds of a whole section (a run of
/// instructions without jump, call or look at the gas) when it enters the section. When a section
/// holds several faults, the interpreter meets the first in program order and compiled code the
/// one it checks first. All gas is gone and all effects are undone either way.
pub const ACCEPTED_HALTS: &[(&[InstructionResult], &[InstructionResult], &str)] = {
    use InstructionResult::*;
    &[
        (
            &[
                OutOfGas,
                MemoryOOG,
                InvalidOperandOOG,
                OutOfOffset,
                NotActivated,
                StateChangeDuringStaticCall,
                CallNotAllowedInsideStatic,
                CreateInitCodeSizeLimit,
                StackUnderflow,
                StackOverflow,
            ],
            &[OutOfGas, MemoryOOG],
            "static gas is charged for the whole section, so gas runs out before its other faults",
        ),
        (
            &[
                OutOfGas,
                MemoryOOG,
                InvalidOperandOOG,
                OutOfOffset,
                NotActivated,
                StateChangeDuringStaticCall,
                CallNotAllowedInsideStatic,
                CreateInitCodeSizeLimit,
                EOFOpcodeDisabledInLegacy,
                ReturnContractInNotInitEOF,
            ],
            &[StackUnderflow, StackOverflow],
            "stack bounds are checked for the whole section, before its other faults",
        ),
        (
            &[EOFOpcodeDisabledInLegacy, ReturnContractInNotInitEOF],
            &[OpcodeNotFound],
            "to legacy code the opcodes of EOF are unknown; both are HaltReason::OpcodeNotFound",
        ),
        (
            &[StateChangeDuringStaticCall],
            &[NotActivated],
            "activation is known when compiling, before the check for a static call",
        ),
    ]
};

/// Compares a run by compiled code with the oracle's. `Err` says what differs first.
pub fn compare(
    oracle: &Run,
    oracle_state: &State,
    other: &Run,
    other_state: &State,
) -> Result<(), String> {
    for (index, pair) in oracle.events.iter().zip(&other.events).enumerate() {
        compare_events(pair.0, pair.1).map_err(|e| format!("frame end {index}: {e}"))?;
    }
    same(
        "number of frame ends",
        &oracle.events.len(),
        &other.events.len(),
    )?;
    compare_results(&oracle.result, &other.result)?;
    compare_states(&normalised(oracle_state), &normalised(other_state))
}

fn compare_events(oracle: &Event, other: &Event) -> Result<(), String> {
    same("call depth", &oracle.depth, &other.depth)?;
    if let (InterpreterAction::Return { result: a }, InterpreterAction::Return { result: b }) =
        (&oracle.action, &other.action)
    {
        compare_results(a, b)?;
        if a.is_error() {
            return Ok(());
        }
    } else {
        same("next action", &oracle.action, &other.action)?;
    }
    same("gas left", &oracle.gas_remaining, &other.gas_remaining)?;
    same("refund", &oracle.gas_refunded, &other.gas_refunded)?;
    same("memory", &oracle.memory, &other.memory)?;
    same("stack", &oracle.stack, &other.stack)
}

fn compare_results(oracle: &InterpreterResult, other: &InterpreterResult) -> Result<(), String> {
    if oracle.result != other.result && !is_accepted(oracle.result, other.result) {
        return Err(differ("result", &oracle.result, &other.result));
    }
    if oracle.is_error() {
        return Ok(());
    }
    same("output", &oracle.output, &other.output)?;
    same("gas left", &oracle.gas.remaining(), &other.gas.remaining())?;
    same("refund", &oracle.gas.refunded(), &other.gas.refunded())?;
    same("gas limit", &oracle.gas.limit(), &other.gas.limit())
}

/// Whether the two halts stand for each other.
pub fn is_accepted(oracle: InstructionResult, other: InstructionResult) -> bool {
    ACCEPTED_HALTS
        .iter()
        .any(|(a, b, _)| a.contains(&oracle) && b.contains(&other))
}

/// Without what a reverted change leaves behind: accounts and slots at their defaults.
fn normalised(state: &State) -> State {
    let mut state = state.clone();
    for account in state.accounts.values_mut() {
        account.storage.retain(|_, slot| *slot != Slot::default());
    }
    let nothing = Account::default();
    state.accounts.retain(|_, account| *account != nothing);
    state
}

fn compare_states(oracle: &State, other: &State) -> Result<(), String> {
    same("logs", &oracle.logs, &other.logs)?;
    for (address, a) in &oracle.accounts {
        let Some(b) = other.accounts.get(address) else {
            return Err(format!("account {address} exists only by the interpreter"));
        };
        same(&format!("storage of {address}"), &a.storage, &b.storage)?;
        same(&format!("account {address}"), a, b)?;
    }
    if let Some(address) = other
        .accounts
        .keys()
        .find(|address| !oracle.accounts.contains_key(*address))
    {
        return Err(format!("account {address} exists only by compiled code"));
    }
    same("transient storage", &oracle.transient, &other.transient)?;
    same("warm accounts", &oracle.warm_accounts, &other.warm_accounts)?;
    same("warm slots", &oracle.warm_slots, &other.warm_slots)
}

fn same<T: PartialEq + Debug>(what: &str, oracle: &T, other: &T) -> Result<(), String> {
    if oracle == other {
        Ok(())
    } else {
        Err(differ(what, oracle, other))
    }
}

fn differ<T: Debug>(what: &str, oracle: &T, other: &T) -> String {
    let mut text = format!("{what} differs");
    for (who, value) in [("interpreter", oracle), ("compiled", other)] {
        let mut shown = format!("{value:?}");
        shown.truncate(
            shown
                .char_indices()
                .nth(2000)
                .map_or(shown.len(), |(at, _)| at),
        );
        write!(text, "\n  {who}: {shown}").expect("writing to a String");
    }
    text
}
