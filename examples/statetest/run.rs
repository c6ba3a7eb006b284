//! Runs the transactions of a case and says what came out.

use crate::fixture::{Case, Expected, Fixture};
use crate::root::{logs_hash, state_root};
use revm::handler::register::{EvmHandler, HandleRegisterBox};
use revm::primitives::{B256, ExecutionResult, SpecId};
use revm::{Database, Evm, Frame, State};
use revmc_jit::engine::Tier;
use revmc_jit::evm::{handle_register, revm};
use revmc_jit::primitives::OptimizationLevel;
use revmc_jit::{JitBackend, RuntimeConfig};
use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

/// A backend that compiles whatever is called before it is run, in this tier.
pub fn backend(tier: Tier) -> revmc_jit::Result<JitBackend> {
    let mut config = RuntimeConfig::default();
    config.blocking = true;
    let tuning = &mut config.tuning;
    tuning.jit_tiered = false;
    tuning.jit_opt_level = match tier {
        Tier::Baseline => OptimizationLevel::None,
        Tier::Optimized => OptimizationLevel::Default,
    };
    // Everything is to be native: no contract is too long or takes too long.
    tuning.jit_max_bytecode_len = 1 << 20;
    tuning.compile_time_base = Duration::from_secs(600);
    tuning.native_len_base = 1 << 30;
    JitBackend::new(config)
}

/// What a case did.
#[derive(Debug)]
pub struct Outcome {
    pub root: B256,
    /// Of the last transaction.
    pub logs: B256,
    /// Per transaction. `Err`: it was refused.
    pub results: Vec<Result<ExecutionResult, String>>,
    /// How often a call frame was started or gone on with, and how often by the interpreter.
    pub frames: u64,
    pub interpreted: u64,
}

impl Outcome {
    /// Compares with what the fixture says.
    pub fn check(&self, expected: &Expected) -> Result<(), String> {
        let refused = self.results.iter().find_map(|result| result.as_ref().err());
        match (expected, refused) {
            (Expected::Refused, Some(_)) => Ok(()),
            (Expected::Refused, None) => Err("the transaction was not refused".to_owned()),
            (Expected::Hashes { .. }, Some(why)) => Err(format!("refused: {why}")),
            (Expected::Hashes { root, .. }, None) if *root != self.root => {
                Err(format!("state root {}, expected {root}", self.root))
            }
            (
                Expected::Hashes {
                    logs: Some(logs), ..
                },
                None,
            ) if *logs != self.logs => Err(format!("logs hash {}, expected {logs}", self.logs)),
            (Expected::Hashes { .. }, None) => Ok(()),
        }
    }

    /// Compares with what another way of running gave.
    pub fn same(&self, other: &Self) -> Result<(), String> {
        let results = self.results.iter().zip(&other.results);
        if let Some((a, b)) = results.into_iter().find(|(a, b)| !same_result(a, b)) {
            return Err(format!("result {b:?}, the interpreter {a:?}"));
        }
        if (self.root, self.logs) != (other.root, other.logs) {
            return Err(format!(
                "state root {}, logs {}, the interpreter {}, {}",
                other.root, other.logs, self.root, self.logs
            ));
        }
        Ok(())
    }
}

/// Which of several errors that hold at the same point stops a frame is not a rule of the EVM.
fn same_result(a: &Result<ExecutionResult, String>, b: &Result<ExecutionResult, String>) -> bool {
    match (a, b) {
        (
            Ok(ExecutionResult::Halt { gas_used: a, .. }),
            Ok(ExecutionResult::Halt { gas_used: b, .. }),
        ) => a == b,
        (a, b) => a == b,
    }
}

/// Runs a case: interpreted, or with the programs of a backend.
pub fn run(fixture: &Fixture, case: &Case, backend: Option<&JitBackend>) -> Outcome {
    let mut pre = fixture.pre.clone();
    // EIP-161
    pre.set_state_clear_flag(case.spec_id.is_enabled_in(SpecId::SPURIOUS_DRAGON));
    let state = State::builder().with_cached_prestate(pre).build();
    let (frames, interpreted) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    // What is registered first is called by what is registered later.
    let mut builder = Evm::builder()
        .with_db(state)
        .with_spec_id(case.spec_id)
        .modify_cfg_env(|cfg| cfg.chain_id = 1)
        .with_block_env(fixture.block(case.spec_id))
        .append_handler_register_box(count(interpreted.clone()));
    if let Some(backend) = backend {
        builder = builder.append_handler_register_box(handle_register(backend.clone()));
    }
    let mut evm = builder
        .append_handler_register_box(count(frames.clone()))
        .build();

    let mut logs = Vec::new();
    let mut results = Vec::new();
    for transaction in &case.transactions {
        let result = transaction.clone().and_then(|transaction| {
            *evm.tx_mut() = transaction;
            evm.transact_commit().map_err(|error| format!("{error:?}"))
        });
        logs = match &result {
            Ok(result) => result.logs().to_vec(),
            Err(_) => Vec::new(),
        };
        results.push(result);
    }
    Outcome {
        root: state_root(&evm.db().cache),
        logs: logs_hash(&logs),
        results,
        frames: frames.get(),
        interpreted: interpreted.get(),
    }
}

/// Counts the call frames that reach this place in the handler's chain, each time they start or
/// go on.
fn count<EXT, DB: Database>(counter: Rc<Cell<u64>>) -> HandleRegisterBox<EXT, DB> {
    Box::new(move |handler| counted(handler, counter.clone()))
}

fn counted<EXT, DB: Database>(handler: &mut EvmHandler<'_, EXT, DB>, counter: Rc<Cell<u64>>) {
    let next = handler.execution.execute_frame.clone();
    handler.execution.execute_frame = Arc::new(move |frame, memory, tables, context| {
        if matches!(frame, Frame::Call(_)) {
            counter.set(counter.get() + 1);
        }
        next(frame, memory, tables, context)
    });
}
