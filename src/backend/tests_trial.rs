//! Programs with a fault of the compiler in them never get to a caller, nor into the store.

use super::{
    answers::Verdict,
    compile::{Compiler, Engine},
    job::{Job, Made},
    testing::{Bench, tuning},
};
use crate::{
    CompilationEvent, CompilationKind, Error, ProgramKind, RuntimeConfig,
    artifact::{ArtifactError, DirOptions, TempArtifactStore, TrustedStore},
    common::asm::asm,
    compiler::{
        Tier,
        fault::{Fault, planting::plant},
    },
    error::Result,
    key::RuntimeCacheKey,
    resident::Lookup,
    trial::{
        self, Budget,
        tests::{contract, countdown},
    },
};
use alloy_primitives::{Bytes, hex, keccak256};
use revm_interpreter::primitives::hardfork::SpecId;
use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The engine, with a fault in what it compiles at a tier.
struct Faulty {
    engine: Engine,
    fault: Option<(Fault, Tier)>,
}

impl Compiler for Faulty {
    fn compile(&self, job: &Job) -> Result<Made> {
        match self.fault {
            Some((fault, tier)) if tier == job.tier => {
                plant(fault, || self.engine.compile(job)).result
            }
            _ => self.engine.compile(job),
        }
    }
}

fn keyed(code: Bytes) -> (RuntimeCacheKey, Bytes) {
    let key = RuntimeCacheKey {
        code_hash: keccak256(&code),
        spec_id: SpecId::OSAKA,
    };
    (key, code)
}

type Events = Arc<Mutex<Vec<CompilationEvent>>>;

/// Trials that end by their number of runs, and what the callback is told.
fn config() -> (RuntimeConfig, Events) {
    let events = Events::default();
    let told = Arc::clone(&events);
    let mut config = RuntimeConfig::default();
    config.tuning = tuning();
    config.tuning.trial = Budget::Share {
        percent: 0,
        least: Duration::from_secs(3600),
    };
    config.on_compilation = Some(Arc::new(move |event| {
        told.lock().unwrap().push(event.clone())
    }));
    (config, events)
}

fn bench(config: RuntimeConfig, fault: Option<(Fault, Tier)>) -> Bench {
    Bench::with_engine(config, |mut engine| {
        (engine.trial.seed, engine.trial.runs) = (7, 3000);
        Faulty { engine, fault }
    })
}

/// The last event of a job that was settled: it is told right after that.
fn event(events: &Events) -> CompilationEvent {
    loop {
        if let Some(event) = events.lock().unwrap().pop() {
            return event;
        }
        std::thread::yield_now();
    }
}

fn is_refused(bench: &Bench, what: &(RuntimeCacheKey, Bytes)) -> bool {
    matches!(bench.get(what), Lookup::Negative(Verdict::Failed))
}

#[test]
fn a_miscompiled_program_is_never_published() {
    let contract = keyed(contract());
    let faults = [
        Fault::LeaveKeepsGas,
        Fault::RunNotCharged,
        Fault::BoundaryKeepsBase,
        Fault::BoundaryLosesWord,
        Fault::SumIgnoresCarry,
    ];
    for fault in faults {
        let (config, events) = config();
        let mut bench = bench(config, Some((fault, Tier::Baseline)));
        bench.observe(&contract);
        bench.settle();
        assert!(is_refused(&bench, &contract), "{fault:?}");
        let stats = bench.stats();
        assert_eq!(
            (stats.miscompiled, stats.failed, stats.published),
            (1, 1, 0),
            "{fault:?}"
        );
        assert_eq!((stats.trials_passed, stats.failed_compiler), (0, 0));
        let event = event(&events);
        let Err(Error::Miscompiled(difference)) = event.outcome else {
            panic!("{fault:?}: {event}");
        };
        assert_eq!(
            (difference.key, difference.tier),
            (contract.0, Tier::Baseline)
        );
        assert_eq!(event.trial, None);
    }
}

#[test]
fn a_right_program_is_published_and_its_trial_told() {
    let (config, events) = config();
    let mut bench = bench(config, None);
    let contract = keyed(contract());
    bench.observe(&contract);
    bench.settle();
    assert!(bench.is_resident(&contract));
    let event = event(&events);
    let passed = event.trial.expect("it was tried");
    assert!(event.to_string().ends_with(&passed.to_string()), "{event}");
    assert!(passed.runs > 2500 && passed.blocks_covered > passed.blocks_total / 2);
    let stats = bench.stats();
    assert_eq!((stats.trials_passed, stats.miscompiled), (1, 0));
    assert_eq!(stats.trial_runs, passed.runs);
    assert_eq!(stats.trial_blocks_covered, u64::from(passed.blocks_covered));
    assert_eq!(stats.trial_blocks, u64::from(passed.blocks_total));
    assert!(stats.trial_cpu_micros > 0);
}

#[test]
fn without_a_trial_the_fault_would_be_run() {
    let (mut config, events) = config();
    config.tuning.trial = Budget::Off;
    let mut bench = bench(config, Some((Fault::BoundaryLosesWord, Tier::Baseline)));
    let contract = keyed(contract());
    bench.observe(&contract);
    bench.settle();
    assert!(bench.is_resident(&contract));
    assert_eq!(event(&events).trial, None);
    assert_eq!(bench.stats().trials_passed, 0);
}

#[test]
fn what_was_miscompiled_stays_with_the_interpreter_for_good() {
    let (config, _) = config();
    let mut bench = bench(config, Some((Fault::StubKeepsGas, Tier::Baseline)));
    let contract = keyed(contract());
    assert!(matches!(
        bench_result(&mut bench, &contract),
        Err(Error::Miscompiled(_))
    ));
    bench.pass(1000);
    bench.clear();
    assert!(is_refused(&bench, &contract));
    let retry_in = Duration::MAX;
    let attempts = 1;
    let refused = Err(Error::RecentlyFailed { attempts, retry_in });
    assert_eq!(bench.ask(&contract).wait(), refused);
    bench.observe(&contract);
    let stats = bench.stats();
    assert_eq!((stats.dispatched, stats.retries), (1, 0));
    // At both tiers.
    assert_eq!(
        (stats.refused_failed_before, stats.failures_remembered),
        (2, 2)
    );
}

/// Asks by name, and settles.
fn bench_result(bench: &mut Bench, what: &(RuntimeCacheKey, Bytes)) -> Result<()> {
    let answer = bench.ask(what);
    bench.settle();
    answer.wait()
}

#[test]
fn a_miscompiled_optimisation_takes_the_program_that_is_there_along() {
    let (config, events) = config();
    let mut bench = bench(config, Some((Fault::CounterUnchecked, Tier::Optimized)));
    let contract = keyed(countdown());
    assert_eq!(bench_result(&mut bench, &contract), Ok(()));
    assert!(event(&events).success());
    for _ in 0..4 {
        bench.get(&contract);
        bench.pass(1);
    }
    bench.settle();
    let event = event(&events);
    assert_eq!(event.kind, CompilationKind::Optimize);
    assert!(
        matches!(event.outcome, Err(Error::Miscompiled(_))),
        "{event}"
    );
    let negative = |found| matches!(found, Lookup::Negative(Verdict::Failed));
    assert!(negative(bench.get(&contract)));
    assert_eq!(bench.stats().resident_entries, 0);
    // Nor is it tried again, however hot it stays.
    for _ in 0..100 {
        bench.get(&contract);
        bench.pass(1);
    }
    assert_eq!(
        (bench.stats().dispatched, bench.stats().miscompiled),
        (2, 1)
    );
}

#[test]
fn the_dump_has_all_that_shows_it_again() {
    let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
    let (mut config, events) = config();
    config.dump_dir = Some(dir.path().to_owned());
    let mut bench = bench(config, Some((Fault::SumIgnoresCarry, Tier::Baseline)));
    let contract = keyed(contract());
    bench.observe(&contract);
    bench.settle();
    let Err(Error::Miscompiled(difference)) = event(&events).outcome else {
        panic!("it is miscompiled");
    };
    let name = format!("{}-OSAKA-baseline", contract.0.code_hash);
    let folder = dir.path().join(name);
    let text = fs::read_to_string(folder.join("difference.txt")).unwrap();
    for part in [
        difference.to_string(),
        format!("{:#?}", difference.input),
        hex::encode(&contract.1),
    ] {
        assert!(text.contains(&part), "{part} is not in {text}");
    }
    // Beside what the compiler has found.
    for name in ["bytecode.hex", "passes.txt"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
}

#[test]
fn a_full_dump_leaves_contracts_out_but_not_differences() {
    let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
    let (mut config, _) = config();
    config.dump_dir = Some(dir.path().to_owned());
    let fault = Some((Fault::SumIgnoresCarry, Tier::Baseline));
    let mut bench = Bench::with_engine(config, |mut engine| {
        (engine.trial.seed, engine.trial.runs) = (7, 3000);
        engine.dumps.as_ref().expect("it was asked for").fill();
        Faulty { engine, fault }
    });
    let contract = keyed(contract());
    bench.observe(&contract);
    bench.settle();
    assert!(is_refused(&bench, &contract));
    let name = format!("{}-OSAKA-baseline", contract.0.code_hash);
    let files = fs::read_dir(dir.path().join(name)).unwrap();
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["difference.txt"]);
    let stats = bench.stats();
    assert_eq!((stats.dumps_left_out, stats.dump_errors), (1, 0));
}

/// Behind a hash that only real calls have, a sum that is longer than its operands.
fn guarded(hash: &[u8]) -> Bytes {
    let text = format!(
        "0 CALLDATALOAD 0 MSTORE 32 0 KECCAK256 0x{} EQ @in JUMPI STOP
         in: 32 CALLDATALOAD 0xc0 SHR DUP1 ADD 0 MSTORE 32 0 RETURN",
        hex::encode(hash)
    );
    asm(&text).into()
}

#[test]
fn a_trial_begins_with_calls_that_are_made() {
    let input = [0xf5; 64];
    let contract = keyed(guarded(&keccak256(&input[..32])[..]));
    let fault = Some((Fault::SumIgnoresCarry, Tier::Baseline));
    for shown in [false, true] {
        let (config, _) = config();
        let mut bench = bench(config, fault);
        if shown {
            bench.shared.samples.offer(&contract.0, &input);
        }
        let result = bench_result(&mut bench, &contract);
        assert_eq!(matches!(result, Err(Error::Miscompiled(_))), shown);
    }
}

// Artifacts.

/// A configuration that keeps what becomes hot.
fn keeping(store: &TrustedStore, trial: bool) -> RuntimeConfig {
    let (mut config, _) = config();
    config.store = Some(store.clone());
    config.aot = true;
    if !trial {
        config.tuning.trial = Budget::Off;
    }
    config
}

fn store() -> TrustedStore {
    TempArtifactStore::new(DirOptions::default())
        .unwrap()
        .into()
}

#[test]
fn a_miscompiled_program_is_not_stored() {
    let store = store();
    let fault = Some((Fault::BoundaryLosesWord, Tier::Optimized));
    let mut bench = bench(keeping(&store, true), fault);
    let contract = keyed(contract());
    // By name, too, where other failures say nothing of the key.
    let answer = bench.prepare(&contract);
    bench.settle();
    assert!(matches!(answer.wait(), Err(Error::Miscompiled(_))));
    assert_eq!(bench.stats().artifacts_stored, 0);
    assert!(store.load_all().unwrap().entries.is_empty());
    assert!(matches!(
        bench.prepare(&contract).wait(),
        Err(Error::RecentlyFailed { .. })
    ));
}

#[test]
fn what_was_miscompiled_is_not_loaded_either() {
    let store = store();
    let fault = Some((Fault::BoundaryLosesWord, Tier::Baseline));
    let mut bench = bench(keeping(&store, true), fault);
    let contract = keyed(contract());
    let prepared = bench.prepare(&contract);
    // It is stored when it has been compiled.
    bench.settle();
    bench.settle();
    assert_eq!(prepared.wait(), Ok(()));
    bench.clear();
    assert_eq!(bench.verdict(&contract), Some(Verdict::Indexed));
    assert!(matches!(
        bench_result(&mut bench, &contract),
        Err(Error::Miscompiled(_))
    ));
    for _ in 0..2 {
        assert_eq!(bench.verdict(&contract), Some(Verdict::Failed));
        assert!(is_refused(&bench, &contract));
        bench.observe(&contract);
        assert_eq!(bench.stats().dispatched, 2);
        bench.clear();
    }
    // Nor by another process.
    drop(bench);
    assert!(store.load_all().unwrap().entries.is_empty());
}

#[test]
fn an_artifact_says_whether_it_was_tried_and_one_that_was_not_is_made_anew() {
    let contract = keyed(contract());
    let store = store();
    let made = |trial| {
        let mut bench = bench(keeping(&store, trial), None);
        bench.observe(&contract);
        bench.settle();
        // If it was loaded and refused, it is compiled now.
        if !bench.is_resident(&contract) {
            bench.settle();
        }
        let Lookup::Hit(program) = bench.get(&contract) else {
            panic!("there is no program");
        };
        assert_eq!(program.kind(), ProgramKind::Aot);
        if bench.stats().artifacts_loaded == 0 {
            // What was compiled is stored afterwards.
            bench.settle();
        }
        let stats = bench.stats();
        let rejected = bench.shared.persist.as_ref().unwrap().last_error();
        (
            [
                stats.artifacts_stored,
                stats.artifacts_loaded,
                stats.artifacts_rejected,
            ],
            matches!(rejected.as_deref(), Some(ArtifactError::Untried)),
        )
    };
    assert_eq!(made(false), ([1, 0, 0], false));
    // Who tries nothing takes it.
    assert_eq!(made(false), ([0, 1, 0], false));
    // Who does makes it anew, and takes that.
    assert_eq!(made(true), ([1, 0, 1], true));
    assert_eq!(made(true), ([0, 1, 0], false));
    assert_eq!(made(false), ([0, 1, 0], false));
}

#[test]
fn what_has_no_time_is_tried_once() {
    let (mut config, events) = config();
    config.tuning.trial = Budget::Share {
        percent: 0,
        least: Duration::from_nanos(1),
    };
    let mut bench = bench(config, None);
    let contract = keyed(contract());
    assert_eq!(bench_result(&mut bench, &contract), Ok(()));
    let passed = event(&events).trial;
    assert_eq!(passed.map(|passed: trial::Passed| passed.runs), Some(1));
}

#[cfg(feature = "revm")]
#[test]
fn whole_transactions_show_what_contracts_are_called_with() {
    use crate::{JitBackend, revm::JitEvm};
    use alloy_primitives::{Address, TxKind, U256};
    use revm::{
        Context, ExecuteEvm, MainBuilder, MainContext,
        context::TxEnv,
        database::InMemoryDB,
        state::{AccountInfo, Bytecode},
    };

    let [caller, callee] = [1, 2].map(Address::repeat_byte);
    let inner = Bytes::from(asm("0 CALLDATALOAD POP STOP"));
    let outer = format!(
        "CALLDATASIZE 0 0 CALLDATACOPY 0x11223344 0xe0 SHL 7 MSTORE \
         0 0 40 7 0 0x{} GAS CALL STOP",
        hex::encode(callee)
    );
    let outer = Bytes::from(asm(&outer));
    let mut db = InMemoryDB::default();
    for (address, code) in [(caller, &outer), (callee, &inner)] {
        let code = Bytecode::new_legacy(code.clone());
        let info = AccountInfo::new(U256::ZERO, 1, code.hash_slow(), code);
        db.insert_account_info(address, info);
    }
    let backend = JitBackend::new(RuntimeConfig::default()).unwrap();
    let evm = Context::mainnet().with_db(db).build_mainnet();
    let mut evm = JitEvm::new(evm, backend.clone());
    let input: [u8; 100] = std::array::from_fn(|n| n as u8);
    let tx = TxEnv::builder()
        .kind(TxKind::Call(caller))
        .data(input.to_vec().into())
        .gas_limit(1_000_000)
        .build()
        .unwrap();
    assert!(evm.transact(tx).unwrap().result.is_success());
    let shown = |code: &Bytes| {
        let spec_id = SpecId::default();
        let code_hash = keccak256(code);
        let core = backend.0.core.get().unwrap();
        core.shared
            .samples
            .of(&RuntimeCacheKey { code_hash, spec_id })
    };
    assert_eq!(shown(&outer), [input.to_vec()]);
    // From the caller's memory.
    let mut expected = vec![0x11, 0x22, 0x33, 0x44];
    expected.resize(32, 0);
    expected.extend(39..47);
    assert_eq!(shown(&inner), [expected]);
}
