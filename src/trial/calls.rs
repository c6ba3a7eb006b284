//! What becomes of the calls and creates of a frame under trial: an outcome by the script, and what it
//! does to the frame that has waited for it.

use super::{
    rng::hash,
    script::{About, Script},
};
use alloy_primitives::{Address, Bytes, U256};
use revm_interpreter::{
    FrameInput, Gas, InstructionResult, Interpreter, interpreter::EthInterpreter,
    interpreter_types::ReturnData,
};

/// Longest output of a call, in bytes.
const MAX_OUTPUT: u64 = 160;

/// The end of a callee.
struct Outcome {
    result: InstructionResult,
    output: Bytes,
    gas: Gas,
}

/// Ends the call that a frame waits for, the `number`th of the run, and lets the frame go on.
pub(super) fn resume(
    script: &Script,
    seed: u64,
    number: u64,
    frame: &mut Interpreter<EthInterpreter>,
    callee: &FrameInput,
) {
    match callee {
        FrameInput::Call(call) => {
            let outcome = outcome(script, seed, number, call.gas_limit, call.reservoir);
            let range = call.return_memory_offset.clone();
            let ok = outcome.result.is_ok();
            frame.return_data.set_buffer(outcome.output.clone());
            let _ = frame.stack.push(U256::from(ok));
            if outcome.result.is_ok_or_revert() {
                let len = range.len().min(outcome.output.len());
                if len > 0 {
                    frame.memory.set(range.start, &outcome.output[..len]);
                }
            }
            settle(frame, &outcome);
            if !ok && call.charged_new_account_state_gas {
                let refund = script.gas_params.new_account_state_gas();
                frame.gas.refill_reservoir(refund);
            }
        }
        FrameInput::Create(create) => {
            let (gas, reservoir) = (create.gas_limit(), create.reservoir());
            let outcome = outcome(script, seed, number, gas, reservoir);
            if outcome.result == InstructionResult::Revert {
                frame.return_data.set_buffer(outcome.output.clone());
            } else {
                frame.return_data.clear();
            }
            settle(frame, &outcome);
            let address = Address::left_padding_from(&hash(seed, &[number, 1]).to_be_bytes());
            let ok = outcome.result.is_ok();
            let pushed = if ok { address } else { Address::ZERO };
            let _ = frame.stack.push(pushed.into_word().into());
            if !ok && create.charged_create_state_gas() {
                let refund = script.gas_params.create_state_gas();
                frame.gas.refill_reservoir(refund);
            }
        }
        FrameInput::Empty => {}
    }
}

fn outcome(script: &Script, seed: u64, number: u64, limit: u64, reservoir: u64) -> Outcome {
    let about = hash(seed, &[About::Call as u64, number]);
    let result = match about % 16 {
        0 | 1 => InstructionResult::Revert,
        2 => InstructionResult::OutOfGas,
        3 => InstructionResult::CallTooDeep,
        4..=7 => InstructionResult::Stop,
        _ => InstructionResult::Return,
    };
    let mut output = Vec::new();
    if matches!(
        result,
        InstructionResult::Return | InstructionResult::Revert
    ) {
        let len = match about >> 8 & 7 {
            0 => (about >> 16) % MAX_OUTPUT,
            1 => 64,
            2 => 0,
            _ => 32,
        };
        for i in 0..len.div_ceil(32) {
            let word = script.word_for(hash(seed, &[About::CallOutput as u64, number, i]));
            output.extend_from_slice(&word.to_be_bytes::<32>());
        }
        output.truncate(len as usize);
    }
    let mut gas = Gas::new_with_regular_gas_and_reservoir(limit, reservoir);
    // A part of it, up to a quarter.
    let spent = (u128::from(limit) * u128::from(about >> 32 & 0xff) / 1024) as u64;
    let paid = gas.record_regular_cost(spent);
    debug_assert!(paid, "less than all of it");
    if about >> 40 & 7 == 0 {
        gas.record_refund((about >> 48 & 0xfff) as i64);
    }
    Outcome {
        result,
        output: output.into(),
        gas,
    }
}

/// Gives the frame what its callee has left (EIP-150, EIP-8037).
fn settle(frame: &mut Interpreter<EthInterpreter>, outcome: &Outcome) {
    let (result, mut callee) = (outcome.result, outcome.gas);
    if !result.is_ok() {
        callee.rollback_state_gas();
    }
    let gas = &mut frame.gas;
    if result.is_ok_or_revert() {
        gas.erase_cost(callee.remaining());
    }
    if result.is_ok() {
        let state = gas.state_gas_spent();
        gas.set_state_gas_spent(state.saturating_add(callee.state_gas_spent()));
        gas.add_state_gas_spilled(callee.state_gas_spilled());
        gas.record_refund(callee.refunded());
    }
    gas.tracker_mut()
        .absorb_returned_reservoir(callee.reservoir());
}
