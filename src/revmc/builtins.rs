//! The table through which compiled code calls out.
//!
//! First come revmc's builtins in the order of its `Builtin` enumeration, then the operations of
//! [`arithmetic`], then the helpers of this room.
//!
//! Four of revmc's builtins are replaced:
//!
//! * `SLOAD` and `SSTORE` report a host failure as out-of-gas, which would turn a database error
//!   into a valid block with another state; ours report `FatalExternalError`, as the interpreter.
//! * `DIFFICULTY` unwraps `prevrandao`; ours reads an unset value as zero, because a panic cannot
//!   pass through compiled code.
//! * `Panic` is never called: compiled code traps where the front end would have it panic.
//!
//! # Invariants
//!
//! The functions of the table are called by compiled code only, with the signatures that `calls.rs`
//! and revmc declare.
//!
//! * **B1** Every reference that compiled code passes is to a valid, aligned value that nothing else
//!   refers to during the call, but for the context, which it passes on.
//! * **B2** Call data is passed as a pointer to as many readable bytes as its length says.

use crate::frame::arithmetic::{self, OPERATIONS, Operator};
use revmc::{
    EvmContext, EvmWord,
    interpreter::{InstructionResult, SStoreResult, gas, interpreter::resize_memory},
    primitives::{SpecId, U256},
};
use revmc_builtins::Builtin;
use std::sync::OnceLock;

/// The status of an instruction after which execution goes on.
pub(super) const CONTINUE: u64 = InstructionResult::Continue as u64;

/// The room's own entries, after revmc's and the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Helper {
    CallDataTail = Builtin::COUNT + arithmetic::COUNT,
    GrowMemory,
}

/// Entries of the builtin table.
pub(super) const BUILTIN_TABLE_LEN: usize = Helper::GrowMemory as usize + 1;

/// An operation's place in the table.
pub(super) fn place(operator: Operator) -> usize {
    Builtin::COUNT + operator as usize
}

/// revmc's builtins in the order of their discriminants.
pub(super) const BUILTINS: [Builtin; Builtin::COUNT] = {
    use Builtin::*;
    [
        Panic,
        AddMod,
        MulMod,
        Exp,
        Keccak256,
        Balance,
        CallDataCopy,
        CodeSize,
        CodeCopy,
        GasPrice,
        ExtCodeSize,
        ExtCodeCopy,
        ReturnDataCopy,
        ExtCodeHash,
        BlockHash,
        Difficulty,
        SelfBalance,
        BlobHash,
        BlobBaseFee,
        Mload,
        Mstore,
        Mstore8,
        Sload,
        Sstore,
        Msize,
        Tstore,
        Tload,
        Mcopy,
        Log,
        Create,
        Call,
        DoReturn,
        SelfDestruct,
    ]
};

/// The addresses of the builtins in this process, in the table's fixed order.
pub(super) fn builtin_table() -> &'static [usize; BUILTIN_TABLE_LEN] {
    static TABLE: OnceLock<[usize; BUILTIN_TABLE_LEN]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = [0; BUILTIN_TABLE_LEN];
        for builtin in BUILTINS {
            table[builtin as usize] = match builtin {
                Builtin::Sload => sload as *const () as usize,
                Builtin::Sstore => sstore as *const () as usize,
                Builtin::Difficulty => difficulty as *const () as usize,
                _ => builtin.addr(),
            };
        }
        for (entry, operation) in table[Builtin::COUNT..].iter_mut().zip(OPERATIONS) {
            *entry = operation as *const () as usize;
        }
        table[Helper::CallDataTail as usize] = calldata_tail as *const () as usize;
        table[Helper::GrowMemory as usize] = grow_memory as *const () as usize;
        table
    })
}

/// How many stack words a builtin reads and writes at its stack pointer.
///
/// `last` is the builtin's last argument where that decides: the number of topics of a log, or the
/// kind of a call or create.
pub(super) fn stack_effect(builtin: Builtin, last: u64) -> (usize, usize) {
    use Builtin::*;
    match builtin {
        Panic | CodeSize | Msize => (0, 0),
        GasPrice | Difficulty | SelfBalance | BlobBaseFee => (0, 1),
        Balance | ExtCodeSize | ExtCodeHash | BlockHash | BlobHash | Mload | Sload | Tload => {
            (1, 1)
        }
        SelfDestruct => (1, 0),
        Exp | Keccak256 => (2, 1),
        Mstore | Mstore8 | Sstore | Tstore | DoReturn => (2, 0),
        AddMod | MulMod => (3, 1),
        CallDataCopy | CodeCopy | ReturnDataCopy | Mcopy => (3, 0),
        ExtCodeCopy => (4, 0),
        Log => (2 + last as usize, 0),
        Create => (if last == 0 { 3 } else { 4 }, 0),
        Call => (if last <= 1 { 7 } else { 6 }, 0),
    }
}

/// # Safety
///
/// B1.
unsafe extern "C" fn sload(
    ecx: &mut EvmContext<'_>,
    slot: &mut EvmWord,
    spec_id: SpecId,
) -> InstructionResult {
    let address = ecx.contract.target_address;
    let Some((value, is_cold)) = ecx.host.sload(address, slot.to_u256()) else {
        return InstructionResult::FatalExternalError;
    };
    if !ecx.gas.record_cost(gas::sload_cost(spec_id, is_cold)) {
        return InstructionResult::OutOfGas;
    }
    *slot = value.into();
    InstructionResult::Continue
}

/// # Safety
///
/// B1.
unsafe extern "C" fn sstore(
    ecx: &mut EvmContext<'_>,
    [value, index]: &mut [EvmWord; 2],
    spec_id: SpecId,
) -> InstructionResult {
    let address = ecx.contract.target_address;
    let Some(SStoreResult {
        original_value,
        present_value,
        new_value,
        is_cold,
    }) = ecx.host.sstore(address, index.to_u256(), value.to_u256())
    else {
        return InstructionResult::FatalExternalError;
    };
    let remaining = ecx.gas.remaining();
    let cost = gas::sstore_cost(
        spec_id,
        original_value,
        present_value,
        new_value,
        remaining,
        is_cold,
    );
    if !cost.is_some_and(|cost| ecx.gas.record_cost(cost)) {
        return InstructionResult::OutOfGas;
    }
    ecx.gas.record_refund(gas::sstore_refund(
        spec_id,
        original_value,
        present_value,
        new_value,
    ));
    InstructionResult::Continue
}

/// # Safety
///
/// B1.
unsafe extern "C" fn difficulty(ecx: &mut EvmContext<'_>, slot: &mut EvmWord, spec_id: SpecId) {
    let block = &ecx.host.env().block;
    *slot = if spec_id.is_enabled_in(SpecId::MERGE) {
        EvmWord::from_be_bytes(block.prevrandao.unwrap_or_default().0)
    } else {
        block.difficulty.into()
    };
}

/// The word of call data at `index`, where fewer than 32 bytes are left: zero-padded.
///
/// # Safety
///
/// B1, B2.
unsafe extern "C" fn calldata_tail(out: &mut U256, data: *const u8, len: usize, index: usize) {
    let mut word = [0; 32];
    if let Some(left) = len.checked_sub(index) {
        let left = left.min(32);
        // SAFETY: B2; `index + left <= len`.
        unsafe {
            data.add(index)
                .copy_to_nonoverlapping(word.as_mut_ptr(), left)
        };
    }
    *out = U256::from_be_bytes(word);
}

/// Grows the frame's memory to hold `len` bytes at the 256-bit offset whose low limb is `offset`
/// and whose other limbs' union is `high`.
///
/// # Safety
///
/// B1.
unsafe extern "C" fn grow_memory(
    ecx: &mut EvmContext<'_>,
    offset: u64,
    high: u64,
    len: u64,
) -> InstructionResult {
    if high != 0 {
        return InstructionResult::InvalidOperandOOG;
    }
    let size = (offset as usize).saturating_add(len as usize);
    if size > ecx.memory.len() && !resize_memory(ecx.memory, ecx.gas, size) {
        return InstructionResult::MemoryOOG;
    }
    InstructionResult::Continue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_full_and_in_order() {
        for (i, builtin) in BUILTINS.iter().enumerate() {
            assert_eq!(*builtin as usize, i);
        }
        assert!(builtin_table().iter().all(|&address| address != 0));
    }
}
