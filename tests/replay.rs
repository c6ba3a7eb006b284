//! Real blocks give what their headers say, by the interpreter and by native code of both tiers, and
//! what compares them sees a difference.

mod blocks;
#[path = "../examples/replay/check.rs"]
mod check;

use alloy_primitives::Bloom;
use blocks::{
    chain::Network,
    compare::difference,
    format::own,
    native::Native,
    receipts::Totals,
    run,
    step::{Read, Step},
};
use revm::{
    context_interface::result::ExecutionResult,
    primitives::{B256, hardfork::SpecId},
};
use revmc_jit::compiler::Tier;

/// Every block of the crate's folder, against its header and against the interpreter; no contract's
/// frame is interpreted.
fn replay(tier: Tier) {
    let (mut transactions, mut forks) = (0, Vec::new());
    for block in own() {
        let number = block.header.number;
        let mut tiers = [Native::new(tier).unwrap()];
        let checked = check::check(&block, &mut tiers);
        assert_eq!(checked.differences, [""; 0], "{number}");
        assert_eq!(checked.refused, [""; 0], "{number}");
        assert_eq!(checked.gas_used, block.header.gas_used, "{number}");
        let stats = tiers[0].backend.stats();
        assert_eq!(stats.misses, 0, "{number}");
        assert!(stats.hits > 0, "{number}");
        transactions += block.transactions.len();
        forks.push(block.spec);
    }
    assert_eq!(transactions, 64);
    assert_eq!(
        forks,
        [
            SpecId::SPURIOUS_DRAGON,
            SpecId::PETERSBURG,
            SpecId::LONDON,
            SpecId::CANCUN
        ]
    );
}

#[test]
fn blocks_in_the_baseline_tier() {
    replay(Tier::Baseline);
}

#[test]
fn blocks_in_the_optimized_tier() {
    replay(Tier::Optimized);
}

#[test]
fn a_header_that_is_wrong_is_seen() {
    let block = own().pop().unwrap();
    let totals = Totals::new(&block, &run::interpreted(&block)).unwrap();
    assert_eq!(totals.check(&block), [""; 0]);

    let mut wrong = block.clone();
    wrong.header.gas_used += 1;
    wrong.header.logs_bloom = Bloom::ZERO;
    wrong.header.receipts_root = B256::ZERO;
    assert_eq!(totals.check(&wrong).len(), 3);
    // Before Byzantium receipts held states, which nobody knows.
    wrong.spec = SpecId::SPURIOUS_DRAGON;
    assert_eq!(totals.check(&wrong).len(), 2);
    // What is left out may account for more, but not for less.
    wrong.left_out = 1;
    assert_eq!(totals.check(&wrong), ["logs bloom"]);
    wrong.header.gas_used -= 2;
    assert_eq!(totals.check(&wrong).len(), 2);
}

#[test]
fn every_kind_of_difference_is_seen() {
    let block = &own()[3];
    let steps = run::interpreted(block);
    let at = |what: fn(&Step) -> bool| steps.iter().position(what).unwrap();
    let logged = at(|step| {
        step.result
            .as_ref()
            .is_ok_and(|result| !result.logs().is_empty())
    });
    let read_only = at(|step| {
        let accounts = step.state.values();
        let mut slots = accounts.flat_map(|account| account.storage.values());
        slots.any(|slot| !slot.is_changed())
    });
    let change = |at: usize, change: fn(&mut Step)| {
        let mut again = run::interpreted(block);
        assert_eq!(difference(&steps[at], &again[at]), None);
        change(&mut again[at]);
        difference(&steps[at], &again[at]).expect("a change that nobody sees")
    };

    let text = change(logged, |step| {
        let Ok(ExecutionResult::Success { gas, .. }) = &mut step.result else {
            panic!("a log without success");
        };
        gas.set_total_gas_spent(gas.total_gas_spent() + 1);
    });
    assert!(text.starts_with("gas"), "{text}");
    let text = change(logged, |step| {
        let Ok(ExecutionResult::Success { logs, .. }) = &mut step.result else {
            panic!("a log without success");
        };
        logs.pop();
    });
    assert!(text.starts_with("log"), "{text}");
    let text = change(read_only, |step| {
        let accounts = step.state.values_mut();
        let mut slots = accounts.flat_map(|account| account.storage.values_mut());
        let slot = slots.find(|slot| !slot.is_changed()).unwrap();
        slot.is_cold = !slot.is_cold;
    });
    assert!(text.contains("slot"), "{text}");
    let text = change(read_only, |step| {
        let accounts = step.state.values_mut();
        let mut slots = accounts.map(|account| &mut account.storage);
        let slots = slots.find(|slots| !slots.is_empty()).unwrap();
        let slot = *slots.keys().next().unwrap();
        slots.remove(&slot);
    });
    assert!(text.contains("slot"), "{text}");
    let text = change(logged, |step| {
        let accounts = step.state.values_mut();
        accounts.for_each(|account| account.mark_touch());
    });
    assert!(text.contains("status"), "{text}");
    let text = change(logged, |step| step.reads.swap(0, 1));
    assert!(text.starts_with("read 0"), "{text}");
    let text = change(logged, |step| step.reads.push(Read::BlockHash(7)));
    assert!(text.contains("BlockHash(7)"), "{text}");
    let text = change(logged, |step| step.result = Err("refused".to_owned()));
    assert!(text.starts_with("result"), "{text}");
}

#[test]
fn forks_begin_where_they_did() {
    for (number, timestamp, fork) in [
        (46_147, 1_438_918_233, SpecId::FRONTIER),
        (2_674_999, 1_479_831_337, SpecId::TANGERINE),
        (2_675_000, 1_479_831_344, SpecId::SPURIOUS_DRAGON),
        (15_537_393, 1_663_224_162, SpecId::LONDON),
        (15_537_394, 1_663_224_179, SpecId::MERGE),
        (17_034_869, 1_681_338_443, SpecId::MERGE),
        (17_034_870, 1_681_338_455, SpecId::SHANGHAI),
        (19_426_587, 1_710_338_135, SpecId::CANCUN),
        (22_431_084, 1_746_612_311, SpecId::PRAGUE),
        (23_935_694, 1_764_798_551, SpecId::OSAKA),
    ] {
        assert_eq!(Network::Mainnet.fork(number, timestamp), fork, "{number}");
    }
    let later = Network::Optimism.fork(8_138_510, 1_775_744_269);
    assert_eq!(later, SpecId::PRAGUE);
}
