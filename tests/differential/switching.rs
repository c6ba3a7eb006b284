//! A frame belongs to neither side: the side changes, and programs go away, wherever they can.

use crate::common::{
    case::{Case, FORKS},
    engine::{Engine, Side, TIERS},
    programs::ALL,
    types::{SpecId, U256},
};

#[test]
fn hand_written_programs_with_mixed_sides() {
    let mut engine = Engine::new();
    for (index, (name, text)) in ALL.iter().flat_map(|(_, table)| *table).enumerate() {
        let case = Case::asm(text).on(FORKS[index % FORKS.len()]);
        engine.check_mixed(name, &case, 3);
        engine.check_mixed(name, &case.on(SpecId::OSAKA), 6);
    }
    assert!(engine.switches > 1_000, "{}", engine.switches);
    assert!(engine.dropped > 10, "{}", engine.dropped);
    assert!(engine.handed_over > 100, "{}", engine.handed_over);
}

/// Calldata of a nested call is a part of the memory that its callee, and the callee's callees, grow:
/// it moves.
#[test]
fn calldata_that_moves_with_the_memory() {
    let mut engine = Engine::new();
    // Calls itself with a part of its memory until the depth in calldata[0] is 0, growing the memory
    // before, between and after reads of calldata.
    let program = "0 CALLDATALOAD DUP1 ISZERO @end JUMPI \
        32 CALLDATALOAD 5000 MSTORE 1 SWAP1 SUB 0 MSTORE 32 CALLDATALOAD 7 ADD 32 MSTORE \
        9 40000 MSTORE CALLDATASIZE 64 MSTORE 33 CALLDATALOAD 96 MSTORE \
        64 5 66 0 0 ADDRESS GAS CALL 128 MSTORE \
        1 70000 MSTORE 32 CALLDATALOAD 160 MSTORE 40 1 200 CALLDATACOPY RETURNDATASIZE 224 MSTORE \
        256 0 RETURN \
        end: 1 100000 MSTORE 32 CALLDATALOAD 0 MSTORE 31 CALLDATALOAD 32 MSTORE 65 CALLDATALOAD 64 MSTORE 96 0 RETURN";
    for depth in [0u64, 1, 2, 5] {
        let mut input = U256::from(depth).to_be_bytes::<32>().to_vec();
        input.extend([0xab; 34]);
        for spec_id in [
            SpecId::BYZANTIUM,
            SpecId::CANCUN,
            SpecId::OSAKA,
            SpecId::AMSTERDAM,
        ] {
            let case = Case::asm(program)
                .on(spec_id)
                .gas(3_000_000)
                .input(input.clone());
            let outcome = engine.check("moving calldata", &case);
            assert_eq!(outcome.end(), "Return");
            assert_eq!(outcome.stops.len() as u64, 2 * depth + 1);
            engine.check_mixed("moving calldata", &case, 40);
        }
    }
    assert!(engine.handed_over > 50 && engine.dropped > 5);
}

/// Loops that change sides at every head: the interpreter alone, machine code alone, and both.
#[test]
fn loops_with_boundaries_and_memory() {
    let mut engine = Engine::new();
    let program = "30 l: DUP1 SLOAD ADD DUP1 DUP1 100 MUL MSTORE GAS POP \
        32 DUP2 40 MUL KECCAK256 POP 1 SWAP1 SUB DUP1 DUP1 SSTORE DUP1 MSIZE MSTORE8 DUP1 @l JUMPI MSIZE PC GAS";
    for spec_id in FORKS {
        let case = Case::asm(program).on(spec_id).gas(900_000);
        engine.check("loop", &case);
        engine.check_mixed("loop", &case, 30);
    }
    assert!(engine.switches > 5_000, "{}", engine.switches);
}

/// Frames suspended natively are resumed by the interpreter, and the other way round: seeds differ.
#[test]
fn every_seed_is_another_mix() {
    let mut engine = Engine::new();
    let case = Case::asm("5 0 MSTORE 0 32 32 0 0 0xa9 GAS CALL 0 32 32 0 0 0xa9 GAS CALL ADD");
    let state = case.state();
    let mut native = Vec::new();
    for seed in 0..20 {
        let before = engine.native_runs;
        engine.run(&case, &state, &Side::Mixed(seed));
        native.push(engine.native_runs - before);
    }
    native.sort_unstable();
    native.dedup();
    assert!(native.len() > 3, "{native:?}");
    let before = engine.native_runs;
    let outcome = engine.run(&case, &state, &Side::Native(TIERS[0]));
    assert_eq!(
        engine.native_runs - before,
        outcome.stops.len(),
        "all frames run natively"
    );
}
