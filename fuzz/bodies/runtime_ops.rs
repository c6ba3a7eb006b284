//! A sequence of public calls on a live backend: nothing panics or hangs, every program that comes
//! out is the one that was asked for and computes what it should, wrong keys never become programs,
//! and the counters are consistent.

use crate::runtime_support::{config, contract, request, run};
use arbitrary::{Arbitrary, Unstructured};
use revm::primitives::{B256, U256};
use revmc_jit::artifact::{DirOptions, TempArtifactStore};
use revmc_jit::trial::Budget;
use revmc_jit::{
    AotRequest, BorrowedDecision, InterpretReason, JitBackend, LookupDecision, LookupRequest,
    RuntimeConfig, RuntimeStatsSnapshot,
};
use std::sync::Arc;
use std::time::Duration;

/// Calls in one input; more are ignored.
const MAX_CALLS: usize = 48;

/// Different contracts that the calls name.
const CONTRACTS: u8 = 6;

#[derive(Arbitrary, Debug)]
struct Setup {
    enabled: bool,
    blocking: bool,
    tiered: bool,
    with_store: bool,
    observed_to_artifacts: bool,
    symmetric_fences: bool,
    /// Room for a few programs only.
    small_cache: bool,
    small_channel: bool,
}

/// One call, with the contract it names.
#[derive(Arbitrary, Debug)]
pub enum Call {
    Lookup(u8),
    LookupOften(u8, u8),
    LookupBorrowed(u8),
    LookupBlocking(u8),
    LookupWrongKey(u8),
    LookupNonsense(Vec<u8>),
    RecordInterpreted(u8, u64),
    GetCompiled(u8),
    GetCompiledTracked(u8),
    CompileJit(u8),
    CompileJitSync(u8),
    CompileWrongKey(u8),
    PrepareAot(u8),
    PrepareAotBatch(u8, u8),
    ClearResident,
    ClearPersisted,
    ClearAll,
    SetEnabled(bool),
    Pause,
    Resume,
    Stats,
    Clone,
    DropClone,
    Keep(u8),
    RunKept,
}

/// Runs one input.
///
/// # Panics
/// If the backend does something it must not.
pub fn execute(data: &[u8]) {
    let Some((setup, calls)) = decode(data) else {
        return;
    };
    let backend = JitBackend::new(configuration(&setup)).expect("the configuration is valid");
    let mut session = Session {
        before: backend.stats(),
        backend,
        clones: Vec::new(),
        kept: Vec::new(),
        pauses: 0,
    };
    calls
        .into_iter()
        .take(MAX_CALLS)
        .for_each(|call| session.call(call));
    session.check_counters();
}

fn decode(data: &[u8]) -> Option<(Setup, Vec<Call>)> {
    let mut data = Unstructured::new(data);
    let setup = Setup::arbitrary(&mut data).ok()?;
    let calls = Vec::<Call>::arbitrary_take_rest(data).ok()?;
    Some((setup, calls))
}

/// How many calls an input stands for.
pub fn calls(data: &[u8]) -> usize {
    decode(data).map_or(0, |(_, calls)| calls.len().min(MAX_CALLS))
}

fn configuration(setup: &Setup) -> RuntimeConfig {
    let mut config = config();
    config.enabled = setup.enabled;
    config.blocking = setup.blocking;
    config.symmetric_fences = setup.symmetric_fences;
    config.tuning.jit_tiered = setup.tiered;
    // Once: what matters here is what becomes of programs, not what they compute.
    config.tuning.trial = Budget::Share {
        percent: 0,
        least: Duration::from_nanos(1),
    };
    if setup.with_store {
        let store = TempArtifactStore::new(DirOptions::default()).expect("a temporary folder");
        config.store = Some(store.into());
        config.aot = setup.observed_to_artifacts;
    }
    if setup.small_cache {
        config.tuning.resident_code_cache_bytes = 24 << 10;
    }
    if setup.small_channel {
        config.tuning.channel_capacity = 1;
    }
    config
}

struct Session {
    before: RuntimeStatsSnapshot,
    backend: JitBackend,
    clones: Vec<JitBackend>,
    kept: Vec<(Arc<revmc_jit::CompiledProgram>, u32)>,
    pauses: usize,
}

/// The contract's request, with the key of another one.
fn wrong_key(n: u8) -> LookupRequest {
    let mut request = request(u32::from(n % CONTRACTS));
    request.key.code_hash = B256::repeat_byte(n);
    request
}

impl Session {
    fn call(&mut self, call: Call) {
        let backend = self.backend.clone();
        match call {
            Call::Lookup(n) => self.lookup(n),
            Call::LookupOften(n, times) => (0..times % 32).for_each(|_| self.lookup(n)),
            Call::LookupBorrowed(n) => {
                let n = u32::from(n % CONTRACTS);
                let (key, code) = contract(n);
                if let BorrowedDecision::Compiled(program) = backend.lookup_borrowed(&key, &code) {
                    assert_eq!(run(&program, &code), U256::from(n));
                }
            }
            Call::LookupBlocking(n) => {
                let n = u32::from(n % CONTRACTS);
                let decision = backend.lookup_blocking(request(n));
                self.decided(n, decision);
            }
            Call::LookupWrongKey(n) => {
                let decision = backend.lookup(wrong_key(n));
                assert!(
                    matches!(decision, LookupDecision::Interpret(_)),
                    "{decision:?}"
                );
            }
            Call::LookupNonsense(code) => {
                let code = code.into();
                let code_hash = revm::primitives::keccak256(&code);
                let (mut key, _) = contract(0);
                key.code_hash = code_hash;
                if let LookupDecision::Compiled(program) =
                    backend.lookup(LookupRequest { key, code })
                {
                    assert_eq!(program.key(), key);
                }
            }
            Call::RecordInterpreted(n, gas) => {
                let (key, code) = contract(u32::from(n % CONTRACTS));
                backend.record_interpreted(&key, &code, gas);
            }
            Call::GetCompiled(n) | Call::Keep(n) => {
                let n = u32::from(n % CONTRACTS);
                let (key, _) = contract(n);
                if let Some(program) = backend.get_compiled(key.code_hash, key.spec_id) {
                    assert_eq!(program.key(), key);
                    self.kept.push((program, n));
                }
            }
            Call::GetCompiledTracked(n) => {
                let n = u32::from(n % CONTRACTS);
                let (key, code) = contract(n);
                if let Some(program) = backend.get_compiled_tracked(key.code_hash, key.spec_id) {
                    assert_eq!(run(&program, &code), U256::from(n));
                }
            }
            Call::CompileJit(n) => {
                // Waits for room in the channel, which a paused backend still makes.
                backend.compile_jit(request(u32::from(n % CONTRACTS)));
            }
            Call::CompileJitSync(n) => {
                let _ = backend.compile_jit_sync(request(u32::from(n % CONTRACTS)));
            }
            Call::CompileWrongKey(n) => {
                assert!(backend.compile_jit_sync(wrong_key(n)).is_err());
            }
            Call::PrepareAot(n) => backend.prepare_aot(aot(n)),
            Call::PrepareAotBatch(n, m) => backend.prepare_aot_batch(vec![aot(n), aot(m)]),
            Call::ClearResident => backend.clear_resident().expect("the backend runs"),
            Call::ClearPersisted => backend.clear_persisted().expect("the store works"),
            Call::ClearAll => backend.clear_all().expect("the store works"),
            Call::SetEnabled(enabled) => {
                backend.set_enabled(enabled).expect("threads are to be had");
                assert_eq!(backend.enabled(), enabled);
            }
            Call::Pause => {
                backend.pause();
                self.pauses += 1;
            }
            Call::Resume if self.pauses > 0 => {
                backend.resume();
                self.pauses -= 1;
            }
            Call::Resume => {}
            Call::Stats => self.check_counters(),
            Call::Clone => self.clones.push(backend),
            Call::DropClone => drop(self.clones.pop()),
            Call::RunKept => {
                for (program, n) in &self.kept {
                    let (_, code) = contract(*n);
                    assert_eq!(run(program, &code), U256::from(*n));
                }
            }
        }
    }

    fn lookup(&self, n: u8) {
        let n = u32::from(n % CONTRACTS);
        let decision = self.backend.lookup(request(n));
        if !self.backend.enabled() {
            let off = matches!(
                decision,
                LookupDecision::Interpret(InterpretReason::Disabled)
            );
            assert!(off, "{decision:?}");
        }
        self.decided(n, decision);
    }

    fn decided(&self, n: u32, decision: LookupDecision) {
        match decision {
            LookupDecision::Compiled(program) => {
                let (key, code) = contract(n);
                assert_eq!(program.key(), key);
                assert_eq!(run(&program, &code), U256::from(n));
            }
            LookupDecision::Interpret(reason) => {
                assert_ne!(
                    reason,
                    InterpretReason::Ineligible,
                    "contract {n} is eligible"
                );
            }
        }
    }

    /// Counters only grow, and parts are no larger than wholes.
    fn check_counters(&mut self) {
        let now = self.backend.stats();
        type Counter = (&'static str, fn(&RuntimeStatsSnapshot) -> u64);
        let counters: [Counter; 9] = [
            ("hits", |s| s.hits),
            ("misses", |s| s.misses),
            ("dispatched", |s| s.dispatched),
            ("succeeded", |s| s.succeeded),
            ("failed", |s| s.failed),
            ("published", |s| s.published),
            ("clears", |s| s.clears),
            ("hash_mismatches", |s| s.hash_mismatches),
            ("artifacts_stored", |s| s.artifacts_stored),
        ];
        for (name, value) in counters {
            assert!(
                value(&now) >= value(&self.before),
                "{name} fell: {} to {now}",
                self.before
            );
        }
        assert_eq!(now.panicked, 0, "{now}");
        assert_eq!(now.abandoned, 0, "{now}");
        assert_eq!(now.callback_panics, 0, "{now}");
        assert_eq!(now.store_errors, 0, "{now}");
        assert_eq!(now.artifacts_rejected, 0, "{now}");
        self.before = now;
    }
}

fn aot(n: u8) -> AotRequest {
    let LookupRequest { key, code } = request(u32::from(n % CONTRACTS));
    AotRequest {
        code_hash: key.code_hash,
        code,
        spec_id: key.spec_id,
    }
}
