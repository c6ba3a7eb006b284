//! The tracers that clients serve over RPC, by alloy-evm's factories: on frames that run natively they
//! show what they show on interpreted ones.

mod blocks;

use alloy_evm::{EthEvmFactory, Evm, EvmFactory, eth::EthEvmContext};
use blocks::{
    alloy::{self, Factory},
    format::{Block, own},
    native::Native,
    receipts::Totals,
    run,
};
use revm::{
    DatabaseCommit, Inspector, context_interface::result::ResultAndState, database::InMemoryDB,
};
use revm_inspectors::{
    access_list::AccessListInspector,
    tracing::{FourByteInspector, TracingInspector, TracingInspectorConfig},
    transfer::TransferInspector,
};
use revmc_jit::{
    JitBackend,
    compiler::Tier,
    revm::{CallsOnly, JitEvmFactory},
};
use std::{collections::BTreeMap, fmt::Debug};

/// What a tracer shows of each transaction of the block, with the transaction's result and state.
fn traces<F: Factory, I, T>(
    factory: &F,
    block: &Block,
    new: impl Fn() -> I,
    read: impl Fn(I, &ResultAndState, &InMemoryDB) -> T,
) -> Vec<(ResultAndState, T)>
where
    I: Inspector<F::Context<InMemoryDB>>,
{
    let db = block.state.clone();
    let mut evm = factory.create_evm_with_inspector(db, alloy::env(block), new());
    alloy::system_calls(&mut evm, block).unwrap();
    let transactions = block.transactions.iter();
    transactions
        .map(|transaction| {
            *evm.inspector_mut() = new();
            let result = evm.transact_raw(transaction.clone()).unwrap();
            let inspector = std::mem::replace(evm.inspector_mut(), new());
            let trace = read(inspector, &result, evm.db());
            evm.db_mut().commit(result.state.clone());
            (result, trace)
        })
        .collect()
}

/// Who looks at the frames.
struct Watch<'a> {
    block: &'a Block,
    backend: JitBackend,
}

impl Watch<'_> {
    fn jit(&self) -> JitEvmFactory {
        JitEvmFactory::new(EthEvmFactory::default(), self.backend.clone())
    }

    fn hits(&self) -> u64 {
        self.backend.stats().hits
    }

    /// A tracer that watches no steps. As it is, it interprets; as a [`CallsOnly`], it shows the same of
    /// frames that run natively.
    fn calls<I, T>(&self, new: impl Fn() -> I, read: impl Fn(I, &ResultAndState, &InMemoryDB) -> T)
    where
        I: Inspector<EthEvmContext<InMemoryDB>>,
        T: PartialEq + Debug,
    {
        let expected = self.steps(&new, &read);
        let before = self.hits();
        let found = traces(
            &self.jit(),
            self.block,
            || CallsOnly(new()),
            |tracer, result, db| read(tracer.0, result, db),
        );
        assert_eq!(found, expected, "{}", self.block.header.number);
        let system = run::system_calls(self.block).count() as u64;
        assert!(self.hits() > before + system, "nothing ran natively");
    }

    /// A tracer that may watch steps: frames are interpreted.
    fn steps<I, T>(
        &self,
        new: impl Fn() -> I,
        read: impl Fn(I, &ResultAndState, &InMemoryDB) -> T,
    ) -> Vec<(ResultAndState, T)>
    where
        I: Inspector<EthEvmContext<InMemoryDB>>,
        T: PartialEq + Debug,
    {
        let expected = traces(&EthEvmFactory::default(), self.block, &new, &read);
        let before = self.hits();
        let found = traces(&self.jit(), self.block, &new, &read);
        assert_eq!(found, expected, "{}", self.block.header.number);
        // System calls are not inspected, and run natively.
        let system = run::system_calls(self.block).count() as u64;
        assert_eq!(self.hits(), before + system);
        expected
    }
}

/// Every block of the crate's folder, its contracts compiled before.
fn each_block(tier: Tier, watch: impl Fn(Watch<'_>)) {
    let mut native = Native::new(tier).unwrap();
    for block in own() {
        let refused = native.compile(&run::contracts(&block), block.spec);
        assert_eq!(refused, [""; 0]);
        watch(Watch {
            block: &block,
            backend: native.backend.clone(),
        });
    }
}

/// A tracer with this configuration.
fn tracing(config: TracingInspectorConfig) -> impl Fn() -> TracingInspector {
    move || TracingInspector::new(config)
}

/// Geth's call tracer with logs, and its prestate tracer in both modes; parity's traces.
fn call_tracers(tier: Tier) {
    use alloy_rpc_types_trace::geth::{CallConfig, PreStateConfig};
    each_block(tier, |watch| {
        let logs = CallConfig {
            with_log: Some(true),
            ..CallConfig::default()
        };
        let config = TracingInspectorConfig::from_geth_call_config(&logs);
        watch.calls(tracing(config), |tracer, result, _| {
            let used = result.result.tx_gas_used();
            let frame = tracer.geth_builder().geth_call_traces(logs, used);
            (frame, tracer.into_traces())
        });
        for diff_mode in [false, true] {
            let prestate = PreStateConfig {
                diff_mode: Some(diff_mode),
                ..PreStateConfig::default()
            };
            let config = TracingInspectorConfig::from_geth_prestate_config(&prestate);
            watch.calls(tracing(config), |tracer, result, db| {
                let builder = tracer.geth_builder();
                builder.geth_prestate_traces(result, &prestate, db).unwrap()
            });
        }
        let config = TracingInspectorConfig::default_parity().set_record_logs(true);
        watch.calls(tracing(config), |tracer, _, _| {
            tracer
                .into_parity_builder()
                .into_transaction_traces_iter()
                .collect::<Vec<_>>()
        });
    });
}

#[test]
fn call_tracers_in_the_baseline_tier() {
    call_tracers(Tier::Baseline);
}

#[test]
fn call_tracers_in_the_optimized_tier() {
    call_tracers(Tier::Optimized);
}

#[test]
fn other_tracers_that_watch_calls() {
    each_block(Tier::Baseline, |watch| {
        watch.calls(FourByteInspector::default, |tracer, _, _| {
            let counts = tracer.inner().iter();
            let counts = counts.map(|(&key, &count)| (key, count));
            counts.collect::<BTreeMap<_, _>>()
        });
        watch.calls(
            || TransferInspector::new(false).with_logs(true),
            |tracer, _, _| tracer.into_transfers(),
        );
        // Two at once.
        watch.calls(
            || {
                let config = TracingInspectorConfig::default_parity();
                (FourByteInspector::default(), TracingInspector::new(config))
            },
            |(bytes, calls), _, _| (bytes.inner().len(), calls.into_traces()),
        );
    });
}

/// They are interpreted: nothing says of them that they watch no steps, and these do.
#[test]
fn tracers_that_watch_steps_see_them() {
    each_block(Tier::Baseline, |watch| {
        let config = TracingInspectorConfig::default_geth();
        let seen = watch.steps(tracing(config), |tracer, _, _| {
            let nodes = tracer.into_traces().into_nodes();
            let steps = nodes.iter().map(|node| node.trace.steps.len());
            steps.sum::<usize>()
        });
        let steps: usize = seen.iter().map(|(_, steps)| steps).sum();
        assert!(steps > 100, "{steps}");
        watch.steps(AccessListInspector::default, |tracer, _, _| {
            tracer.into_access_list()
        });
        // A promise about a part is none about the whole.
        watch.steps(
            || {
                let calls = TracingInspector::new(TracingInspectorConfig::default_parity());
                (CallsOnly(calls), AccessListInspector::default())
            },
            |(_, tracer), _, _| tracer.into_access_list(),
        );
    });
}

/// A client's block, without an inspector: the factory is the one line that changes.
#[test]
fn a_block_by_either_factory() {
    fn results<F: Factory>(factory: &F, block: &Block) -> Vec<String> {
        let mut evm = factory.create_evm(block.state.clone(), alloy::env(block));
        let results = alloy::execute(&mut evm, block).unwrap();
        assert_eq!(Totals::of(block, &results).check(block), [""; 0]);
        assert_eq!(evm.chain_id(), block.chain_id);
        let number = evm.block().number;
        let (db, env) = evm.finish();
        assert_eq!(env.block_env.number, number);
        assert!(db.cache.accounts.len() >= block.state.cache.accounts.len());
        results.iter().map(|result| format!("{result:?}")).collect()
    }
    each_block(Tier::Optimized, |watch| {
        let expected = results(&EthEvmFactory::default(), watch.block);
        assert_eq!(results(&watch.jit(), watch.block), expected);
        assert_eq!(watch.backend.stats().misses, 0);
    });
}

/// The switch of alloy-evm's `Evm`, and what it lends out.
#[test]
fn an_inspector_is_shown_transactions_while_it_is_enabled() {
    let block = &own()[3];
    let backend = Native::new(Tier::Baseline).unwrap().backend;
    let factory = JitEvmFactory::new(EthEvmFactory::default(), backend);
    let db = block.state.clone();
    let tracer = FourByteInspector::default();
    let mut evm = factory.create_evm_with_inspector(db, alloy::env(block), CallsOnly(tracer));
    evm.disable_inspector();
    let to = block.transactions.iter().position(|tx| tx.data.len() > 4);
    let transaction = &block.transactions[to.unwrap()];
    let mut transaction = transaction.clone();
    transaction.nonce = evm.db().cache.accounts[&transaction.caller].info.nonce;
    let silent = evm.transact_raw(transaction.clone()).unwrap();
    assert!(evm.inspector().0.inner().is_empty());
    evm.enable_inspector();
    assert_eq!(evm.transact_raw(transaction).unwrap(), silent);
    assert!(!evm.inspector().0.inner().is_empty());
    let identity = alloy_primitives::Address::with_last_byte(4);
    assert!(evm.precompiles().get(&identity).is_some());
    assert_eq!(evm.cfg_env().spec, block.spec);
}
