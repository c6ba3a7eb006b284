//! The chain of `examples/custom_chain`: native frames are its interpreter's, on both of its forks.

#[path = "../examples/custom_chain/chain.rs"]
mod chain;
mod common;
#[path = "../examples/custom_chain/compare.rs"]
mod compare;

use chain::{Fork, REVERSE};
use common::{case::Case, types::U256};
use compare::compare;
use revmc_jit::{Chain, JitBackend, RuntimeConfig, primitives::SpecId};

const FORKS: [Fork; 2] = [Fork::Basalt, Fork::Granite];

fn backend(chain: Chain) -> JitBackend {
    let mut config = RuntimeConfig::default();
    config.chain = chain;
    config.blocking = true;
    config.tuning.jit_worker_count = 1;
    JitBackend::new(config).unwrap()
}

#[test]
fn generated_programs() {
    let backend = backend(chain::rules().unwrap());
    let mut successes = [0; 2];
    for seed in 0..400 {
        let case = compare::program(seed);
        for (fork, successes) in FORKS.into_iter().zip(&mut successes) {
            let (result, ..) = compare(&case, fork, &backend).unwrap();
            *successes += usize::from(result.is_ok_and(|result| result.is_success()));
        }
    }
    // The added instruction is none before Granite.
    assert!(
        successes[1] > successes[0] && successes[0] > 15,
        "{successes:?}"
    );
    assert!(backend.stats().hits > 800, "{}", backend.stats());
}

/// The added instruction in the middle of straight code and of a loop, the repriced one, and the
/// precompile, at every amount of gas that matters.
#[test]
fn at_every_gas_limit() {
    let backend = backend(chain::rules().unwrap());
    let reverse = REVERSE.0[19];
    let text = format!(
        "9 hex:0c 7 ADD 0 MSTORE 32 0 KECCAK256 hex:0c 32 MSTORE \
         4 l: 1 SWAP1 SUB DUP1 hex:0c 64 MLOAD ADD 64 MSTORE DUP1 @l JUMPI \
         96 96 96 0 {reverse} 900 STATICCALL 64 0 KECCAK256 ADD 1 SSTORE 192 0 RETURN"
    );
    let all = Case::asm(&text).gas(200_000);
    let (result, ..) = compare(&all, Fork::Granite, &backend).unwrap();
    let output = result.unwrap().into_output().unwrap_or_default();
    assert_eq!(U256::from_be_slice(&output[..32]), U256::from(10));
    let reversed: Vec<u8> = output[..96].iter().rev().copied().collect();
    assert_eq!(output[96..], reversed);
    for gas in (21_000..23_500).chain((23_500..60_000).step_by(251)) {
        for fork in FORKS {
            let _ = compare(&Case::asm(&text).gas(gas), fork, &backend).unwrap();
        }
    }
    for underflow in [
        "hex:0c",
        "POP 1 hex:0c hex:0c ADD",
        "1 hex:0c 2 SWAP1 hex:0c ADD ADD",
    ] {
        let _ = compare(&Case::asm(underflow).gas(50_000), Fork::Granite, &backend).unwrap();
    }
}

/// Programs for mainnet's prices are refused frame by frame, and the chain is interpreted.
#[test]
fn a_backend_for_another_chain_leaves_everything_to_the_interpreter() {
    let backend = backend(Chain::mainnet());
    let case = Case::asm("32 0 KECCAK256 hex:0c 0 MSTORE 32 0 RETURN").gas(60_000);
    let _ = compare(&case, Fork::Granite, &backend).unwrap();
    let stats = backend.stats();
    assert!(
        stats.hits > 0 && stats.frames_refused == stats.hits,
        "{stats}"
    );
    let spec_id: SpecId = Fork::Granite.into();
    assert_ne!(
        chain::rules().unwrap().rules(spec_id),
        Chain::mainnet().rules(spec_id)
    );
}
