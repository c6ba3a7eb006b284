//! Runs the transactions of a case and says what came out.

use crate::blocks::compare::difference;
use crate::blocks::step::{Kind, Reads, Recorded, Runs, Step};
use crate::fixture::{Case, Expected, Fixture};
use crate::root::{logs_hash, state_root};
use crate::roots::digest;
use revm::context::CfgEnv;
use revm::context_interface::{ContextTr, JournalTr};
use revm::database::{EmptyDB, State};
use revm::handler::{EvmTr, MainnetContext};
use revm::primitives::{B256, hardfork::SpecId};
use revm::{Context, MainBuilder, MainnetEvm};
use revmc_jit::JitBackend;
use revmc_jit::revm::JitEvm;

/// The database of a case.
type Db = Recorded<State<EmptyDB>>;

/// revm's own EVM on it.
pub type Plain = MainnetEvm<MainnetContext<Db>>;

/// What a case did.
pub struct Outcome {
    pub root: B256,
    /// Of the last transaction.
    pub logs: B256,
    /// Per transaction.
    pub steps: Vec<Step>,
}

impl Outcome {
    /// Why a transaction was refused, if one was.
    pub fn refused(&self) -> Option<&str> {
        let results = self.steps.iter().map(|step| step.result.as_ref());
        results.filter_map(Result::err).map(String::as_str).next()
    }

    /// Compares with what the fixture says.
    pub fn check(&self, expected: &Expected) -> Result<(), String> {
        match (expected, self.refused()) {
            (Expected::Refused, Some(_)) => Ok(()),
            (Expected::Refused, None) => Err("the transaction was not refused".to_owned()),
            (_, Some(why)) => Err(format!("refused: {why}")),
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
            (Expected::Digest(expected), None) => match digest(self.root, self.logs) {
                found if found == *expected => Ok(()),
                _ => Err(format!(
                    "state root {}, logs hash {}, not what the table has",
                    self.root, self.logs
                )),
            },
        }
    }

    /// Compares with what another way of running gave: results, states, reads, hashes.
    pub fn same(&self, other: &Self) -> Result<(), String> {
        let mut steps = self.steps.iter().zip(&other.steps);
        if let Some(difference) = steps.find_map(|(a, b)| difference(a, b)) {
            return Err(difference);
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

/// revm's EVM for a case, and what its database was asked for.
pub fn evm(fixture: &Fixture, case: &Case) -> (Plain, Reads) {
    let state = State::builder()
        .with_cached_prestate(fixture.pre.clone())
        .build();
    let (db, reads) = Recorded::new(state);
    let mut cfg = CfgEnv::new_with_spec(case.spec_id);
    cfg.max_blobs_per_tx = Some(match case.spec_id {
        SpecId::PRAGUE => 9,
        _ => 6,
    });
    if case.added {
        // A test from before Osaka may ask for more gas than EIP-7825 allows.
        cfg.tx_gas_limit_cap = Some(u64::MAX);
    }
    let context: MainnetContext<Db> = Context::new(db, case.spec_id);
    let context = context.with_cfg(cfg).with_block(fixture.block(case));
    (context.build_mainnet(), reads)
}

/// Runs a case: interpreted, or with the programs of a backend.
pub fn run(fixture: &Fixture, case: &Case, backend: Option<&JitBackend>) -> Outcome {
    let (evm, reads) = evm(fixture, case);
    match backend {
        None => outcome(evm, case, &reads),
        Some(backend) => outcome(JitEvm::new(evm, backend.clone()), case, &reads),
    }
}

fn outcome<E>(mut evm: E, case: &Case, reads: &Reads) -> Outcome
where
    E: Runs + EvmTr<Context = MainnetContext<Db>>,
{
    let mut steps = Vec::new();
    for (at, transaction) in case.transactions.iter().enumerate() {
        let kind = Kind::Transaction(at);
        steps.push(match transaction {
            Ok(transaction) => {
                let result = evm.transact_one(transaction.clone());
                Step::take(&mut evm, kind, result, reads)
            }
            Err(why) => Step::refused(kind, why.clone()),
        });
    }
    let logs = steps.last().and_then(|step| step.result.as_ref().ok());
    let logs = logs_hash(logs.map_or(&[], |result| result.logs()));
    Outcome {
        root: state_root(&evm.ctx_ref().journal_ref().db().inner.cache),
        logs,
        steps,
    }
}
