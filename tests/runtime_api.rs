//! Every method of [`JitBackend`] on the real engine, through the public API alone.
//!
//! | method | shown by |
//! |---|---|
//! | `disabled` | `disabled_does_nothing_until_it_is_switched_on` |
//! | `new` | `new_starts_or_waits_as_configured`, `new_refuses_what_cannot_work` |
//! | `lookup` | `a_contract_becomes_native_when_it_is_hot`, `lookups_say_why_to_interpret`, `runtime_never_blocks` |
//! | `lookup_ref`, `lookup_borrowed`, `lookup_with` | `all_forms_of_lookup_find_the_same_program`, `allocations` |
//! | `record_interpreted` | `gas_makes_a_contract_hot` |
//! | `get_compiled`, `get_compiled_tracked` | `get_compiled_counts_only_when_tracked` |
//! | `lookup_blocking` | `lookup_blocking_compiles_what_is_missing` |
//! | `blocking` mode | `blocking_mode_compiles_in_every_form_of_lookup` |
//! | `compile_jit` | `compile_jit_is_delivered` |
//! | `compile_jit_sync` | `compile_jit_sync_returns_the_outcome` |
//! | `prepare_aot`, `prepare_aot_batch` | `artifacts_are_prepared_and_outlive_the_backend` |
//! | `aot` mode | `aot_mode_turns_misses_into_artifacts` |
//! | `clear_resident` | `clear_resident_leaves_held_programs_valid`, unit tests of the backend thread |
//! | `clear_persisted`, `clear_all` | `clears_of_the_store_do_what_they_say` |
//! | `last_store_error` | `a_store_that_fails_is_done_without` |
//! | `enabled`, `set_enabled` | `switching_off_hides_and_keeps_what_is_resident` |
//! | `pause`, `resume` | `a_pause_stops_compilation_and_nothing_else` |
//! | `stats` | `every_lookup_is_counted_once`, and everywhere |
//! | `downgrade` | `runtime_lifecycle` |

mod runtime_support;

use alloy_primitives::U256;
use revmc_jit::artifact::{DirOptions, TempArtifactStore};
use revmc_jit::compiler::Tier;
use revmc_jit::primitives::{Bytes, SpecId};
use revmc_jit::{
    BorrowedDecision, CompilationEvent, CompilationKind, ConfigError, Error, InterpretReason,
    JitBackend, LookupDecision, LookupRequest, ProgramKind, RuntimeConfig, RuntimeTuning,
};
use runtime_support::{aot, config, contract, eventually, keyed, request, run, tuning};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

fn reason(decision: LookupDecision) -> InterpretReason {
    match decision {
        LookupDecision::Interpret(reason) => reason,
        LookupDecision::Compiled(program) => panic!("unexpected {program:?}"),
    }
}

#[test]
fn disabled_does_nothing_until_it_is_switched_on() {
    let backend = JitBackend::disabled();
    for _ in 0..100 {
        assert_eq!(
            reason(backend.lookup(request(1))),
            InterpretReason::Disabled
        );
        assert_eq!(
            reason(backend.lookup_blocking(request(1))),
            InterpretReason::Disabled
        );
    }
    assert!(!backend.enabled());
    assert_eq!(backend.stats(), Default::default());
    backend.set_enabled(true).unwrap();
    assert!(backend.enabled());
    assert!(backend.stats().workers > 0);
    assert_eq!(
        reason(backend.lookup(request(1))),
        InterpretReason::NotReady
    );
}

#[test]
fn a_command_starts_a_disabled_backend_without_switching_it_on() {
    let backend = JitBackend::disabled();
    backend.compile_jit_sync(request(1)).unwrap();
    assert!(!backend.enabled());
    assert_eq!(
        reason(backend.lookup(request(1))),
        InterpretReason::Disabled
    );
    backend.set_enabled(true).unwrap();
    assert!(backend.lookup(request(1)).program().is_some());
}

#[test]
fn new_starts_or_waits_as_configured() {
    let started = JitBackend::new(config()).unwrap();
    assert!(started.enabled() && started.stats().workers == 1);
    let waiting = JitBackend::new(RuntimeConfig {
        enabled: false,
        ..config()
    })
    .unwrap();
    assert!(!waiting.enabled() && waiting.stats().workers == 0);
    waiting.set_enabled(true).unwrap();
    assert_eq!(waiting.stats().workers, 1);
}

#[test]
fn new_refuses_what_cannot_work() {
    let tuning = RuntimeTuning {
        channel_capacity: 0,
        ..tuning()
    };
    let refused = JitBackend::new(RuntimeConfig {
        tuning,
        enabled: false,
        ..config()
    });
    assert_eq!(
        refused.err(),
        Some(Error::Config(ConfigError::Zero("channel_capacity")))
    );
    let aot = JitBackend::new(RuntimeConfig {
        aot: true,
        ..config()
    });
    assert_eq!(aot.err(), Some(Error::Config(ConfigError::AotWithoutStore)));
}

#[test]
fn a_contract_becomes_native_when_it_is_hot() {
    let backend = JitBackend::new(config()).unwrap();
    let (key, code) = contract(7);
    // The threshold is four misses; three leave no trace.
    for _ in 0..3 {
        assert_eq!(
            reason(backend.lookup(request(7))),
            InterpretReason::NotReady
        );
    }
    backend.compile_jit_sync(request(8)).unwrap(); // everything before it was handled
    assert_eq!(backend.stats().dispatched, 1);
    assert_eq!(
        reason(backend.lookup(request(7))),
        InterpretReason::NotReady
    );
    eventually(&backend, |stats| stats.published >= 2);
    let program = backend.lookup(request(7)).program().unwrap();
    assert_eq!((program.key(), program.kind()), (key, ProgramKind::Jit));
    assert_eq!(program.tier(), Tier::Baseline);
    assert_eq!(run(&program, &code), U256::from(7));
    // Used in a few ticks, it is optimised; the swap shows no gap.
    loop {
        let program = backend.lookup(request(7)).program().expect("no gap");
        if program.tier() == Tier::Optimized {
            assert_eq!(run(&program, &code), U256::from(7));
            break;
        }
        thread::yield_now();
    }
    assert_eq!(backend.stats().optimized, 1);
}

#[test]
fn lookups_say_why_to_interpret() {
    let backend = JitBackend::new(config()).unwrap();
    let mut long = vec![0x5b; revmc_jit::compiler::MAX_CODE_LEN + 1];
    for code in [vec![], vec![0xef, 0x00], long.clone()] {
        let (key, code) = keyed(code);
        let request = LookupRequest { key, code };
        assert_eq!(
            reason(backend.lookup(request.clone())),
            InterpretReason::Ineligible
        );
        assert_eq!(
            reason(backend.lookup_blocking(request)),
            InterpretReason::Ineligible
        );
    }
    long.pop();
    let (long_key, long) = keyed(long);
    assert_eq!(
        reason(backend.lookup_ref(&long_key, &long)),
        InterpretReason::NotReady
    );
    assert_eq!(backend.stats().failures_remembered, 0);
}

#[test]
fn an_observed_wrong_code_is_never_compiled() {
    let backend = JitBackend::new(config()).unwrap();
    let (key, right) = contract(1);
    let (_, wrong) = contract(2);
    for _ in 0..4 {
        assert_eq!(
            reason(backend.lookup_ref(&key, &wrong)),
            InterpretReason::NotReady
        );
    }
    eventually(&backend, |stats| stats.hash_mismatches == 1);
    assert_eq!(backend.stats().dispatched, 0);
    // The key is not to blame: with its own code it is compiled after a few misses.
    while backend.lookup_ref(&key, &right).program().is_none() {
        thread::yield_now();
    }
    let program = backend.lookup_ref(&key, &right).program().unwrap();
    assert_eq!(run(&program, &right), U256::from(1));
}

#[test]
fn all_forms_of_lookup_find_the_same_program() {
    let backend = JitBackend::new(config()).unwrap();
    let (key, code) = contract(3);
    for _ in 0..2 {
        match backend.lookup_borrowed(&key, &code) {
            BorrowedDecision::Interpret(reason) => assert_eq!(reason, InterpretReason::NotReady),
            BorrowedDecision::Compiled(program) => panic!("unexpected {program:?}"),
        }
        let missed = backend.lookup_with(&key, &code, |found| found.err());
        assert_eq!(missed, Some(InterpretReason::NotReady));
    }
    // These four were misses like any other.
    eventually(&backend, |stats| stats.published == 1);
    let by_arc = backend.lookup_ref(&key, &code).program().unwrap();
    let BorrowedDecision::Compiled(borrowed) = backend.lookup_borrowed(&key, &code) else {
        panic!("not resident");
    };
    assert!(std::ptr::eq(&raw const *borrowed, &raw const *by_arc));
    // The guard may be held while the map changes.
    backend.clear_resident().unwrap();
    assert_eq!(run(&borrowed, &code), U256::from(3));
    drop(borrowed);
    backend.compile_jit_sync(request(3)).unwrap();
    let result = backend.lookup_with(&key, &code, |program| run(program.unwrap(), &code));
    assert_eq!(result, U256::from(3));
}

#[test]
fn gas_makes_a_contract_hot() {
    let backend = JitBackend::new(config()).unwrap();
    let (key, code) = contract(1);
    assert_eq!(
        reason(backend.lookup_ref(&key, &code)),
        InterpretReason::NotReady
    );
    // One call, but it cost as much as three more misses weigh.
    backend.record_interpreted(&key, &code, 300_000);
    eventually(&backend, |stats| stats.published == 1);
    assert!(backend.lookup_ref(&key, &code).program().is_some());
    // Switched off, nothing is counted.
    backend.set_enabled(false).unwrap();
    backend.record_interpreted(&contract(2).0, &contract(2).1, u64::MAX);
    backend.compile_jit_sync(request(9)).unwrap();
    assert_eq!(backend.stats().published, 2);
}

#[test]
fn get_compiled_counts_only_when_tracked() {
    let backend = JitBackend::new(config()).unwrap();
    let (key, _) = contract(1);
    for _ in 0..100 {
        assert!(backend.get_compiled(key.code_hash, key.spec_id).is_none());
        assert!(
            backend
                .get_compiled_tracked(key.code_hash, key.spec_id)
                .is_none()
        );
    }
    backend.compile_jit_sync(request(1)).unwrap();
    assert!(backend.get_compiled(key.code_hash, key.spec_id).is_some());
    assert!(
        backend
            .get_compiled_tracked(key.code_hash, key.spec_id)
            .is_some()
    );
    assert!(
        backend
            .get_compiled(key.code_hash, SpecId::LONDON)
            .is_none()
    );
    let stats = backend.stats();
    assert_eq!((stats.hits, stats.misses), (1, 100));
    // Misses here are no heat.
    assert_eq!(stats.dispatched, 1);
}

#[test]
fn lookup_blocking_compiles_what_is_missing() {
    let backend = JitBackend::new(config()).unwrap();
    let (_, code) = contract(5);
    let program = backend.lookup_blocking(request(5)).program().unwrap();
    assert_eq!(run(&program, &code), U256::from(5));
    assert!(backend.lookup_blocking(request(5)).program().is_some());
    assert_eq!(backend.stats().dispatched, 1);
}

#[test]
fn blocking_mode_compiles_in_every_form_of_lookup() {
    let backend = JitBackend::new(RuntimeConfig {
        blocking: true,
        ..config()
    })
    .unwrap();
    assert!(backend.lookup(request(1)).program().is_some());
    let (key, code) = contract(2);
    assert!(backend.lookup_ref(&key, &code).program().is_some());
    let (key, code) = contract(3);
    assert!(matches!(
        backend.lookup_borrowed(&key, &code),
        BorrowedDecision::Compiled(_)
    ));
    let (key, code) = contract(4);
    let result = backend.lookup_with(&key, &code, |program| run(program.unwrap(), &code));
    assert_eq!(result, U256::from(4));
    assert_eq!(backend.stats().published, 4);
}

#[test]
fn compile_jit_is_delivered() {
    let tuning = RuntimeTuning {
        channel_capacity: 1,
        ..tuning()
    };
    let backend = JitBackend::new(RuntimeConfig { tuning, ..config() }).unwrap();
    // More than the channel and the queue of observed jobs hold.
    for n in 0..200 {
        backend.compile_jit(request(n));
    }
    eventually(&backend, |stats| stats.published == 200);
    assert_eq!(backend.stats().commands_rejected, 0);
    // What is not valid is counted.
    let wrong = LookupRequest {
        key: contract(1).0,
        code: Bytes::new(),
    };
    backend.compile_jit(wrong);
    assert_eq!(backend.stats().commands_rejected, 1);
}

#[test]
fn compile_jit_sync_returns_the_outcome() {
    let backend = JitBackend::new(config()).unwrap();
    assert_eq!(backend.compile_jit_sync(request(1)), Ok(()));
    assert!(backend.lookup(request(1)).program().is_some());
    let wrong = LookupRequest {
        key: contract(2).0,
        code: contract(3).1,
    };
    assert_eq!(
        backend.compile_jit_sync(wrong),
        Err(Error::CodeHashMismatch {
            key: contract(2).0.code_hash,
            code: contract(3).0.code_hash
        })
    );
    // Several threads that ask for the same share one compilation.
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| backend.compile_jit_sync(request(4))))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
    });
    assert_eq!(backend.stats().published, 2);
}

#[test]
fn clear_resident_leaves_held_programs_valid() {
    let backend = JitBackend::new(config()).unwrap();
    let (key, code) = contract(6);
    backend.compile_jit_sync(request(6)).unwrap();
    let held = backend.lookup(request(6)).program().unwrap();
    backend.clear_resident().unwrap();
    assert!(backend.get_compiled(key.code_hash, key.spec_id).is_none());
    assert_eq!(run(&held, &code), U256::from(6));
    let stats = backend.stats();
    assert_eq!(
        (stats.resident_entries, stats.code_bytes, stats.clears),
        (0, 0, 1)
    );
    // Sent before the clear, gone after it, whether it was compiled by then or not.
    for n in 0..20 {
        backend.compile_jit(request(100 + n));
    }
    backend.clear_resident().unwrap();
    backend.compile_jit_sync(request(1)).unwrap();
    assert_eq!(backend.stats().resident_entries, 1);
}

#[test]
fn switching_off_hides_and_keeps_what_is_resident() {
    let backend = JitBackend::new(config()).unwrap();
    let (key, _) = contract(1);
    backend.compile_jit_sync(request(1)).unwrap();
    backend.set_enabled(false).unwrap();
    assert_eq!(
        reason(backend.lookup(request(1))),
        InterpretReason::Disabled
    );
    assert!(backend.get_compiled(key.code_hash, key.spec_id).is_some());
    backend.set_enabled(true).unwrap();
    assert!(backend.lookup(request(1)).program().is_some());
}

#[test]
fn a_pause_stops_compilation_and_nothing_else() {
    let backend = JitBackend::new(config()).unwrap();
    backend.compile_jit_sync(request(1)).unwrap();
    backend.pause();
    backend.pause();
    assert_eq!(backend.stats().paused, 2);
    assert!(backend.lookup(request(1)).program().is_some());
    // What would wait for the pause to end says so.
    assert_eq!(backend.compile_jit_sync(request(2)), Err(Error::Paused));
    assert_eq!(
        reason(backend.lookup_blocking(request(2))),
        InterpretReason::NotReady
    );
    backend.compile_jit(request(2));
    for _ in 0..10 {
        backend.lookup(request(3));
    }
    eventually(&backend, |stats| stats.pending_jobs == 2);
    backend.resume();
    // Still paused once: nothing moves.
    thread::sleep(Duration::from_millis(150));
    assert_eq!(backend.stats().published, 1);
    backend.resume();
    backend.compile_jit_sync(request(2)).unwrap();
    backend.compile_jit_sync(request(3)).unwrap();
    backend.resume(); // one too many is harmless
    backend.compile_jit_sync(request(4)).unwrap();
    assert_eq!(backend.stats().paused, 0);
}

#[test]
fn every_lookup_is_counted_once() {
    let backend = JitBackend::new(config()).unwrap();
    backend.compile_jit_sync(request(0)).unwrap();
    let each = 10_000;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..each {
                    let (key, code) = contract(n % 3);
                    match n % 2 {
                        0 => drop(backend.lookup_ref(&key, &code)),
                        _ => drop(backend.lookup_borrowed(&key, &code)),
                    }
                }
            });
        }
    });
    let stats = backend.stats();
    let counted = stats.hits + stats.misses + stats.negatives;
    assert_eq!(counted, 2 * u64::from(each));
}

#[test]
fn statistics_and_events_can_be_printed() {
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&events);
    let backend = JitBackend::new(RuntimeConfig {
        on_compilation: Some(Arc::new(move |event: &CompilationEvent| {
            assert_eq!(event.kind, CompilationKind::Jit);
            log.lock().unwrap().push(event.to_string());
        })),
        ..config()
    })
    .unwrap();
    backend.compile_jit_sync(request(1)).unwrap();
    drop(backend.clone()); // a clone is nothing special
    eventually(&backend, |_| !events.lock().unwrap().is_empty());
    assert!(events.lock().unwrap()[0].contains("bytes mapped"));
    assert!(backend.stats().to_string().contains("published=1"));
    assert!(format!("{backend:?}").contains("enabled: true"));
    assert_eq!(size_of::<JitBackend>(), size_of::<usize>());
}

// Artifacts.

fn with_store(store: &Arc<TempArtifactStore>) -> RuntimeConfig {
    RuntimeConfig {
        store: Some(Arc::clone(store).into()),
        ..config()
    }
}

fn temp_store() -> Arc<TempArtifactStore> {
    Arc::new(TempArtifactStore::new(DirOptions::default()).unwrap())
}

#[test]
fn artifacts_are_prepared_and_outlive_the_backend() {
    let store = temp_store();
    let backend = JitBackend::new(with_store(&store)).unwrap();
    backend.prepare_aot(aot(1));
    backend.prepare_aot_batch(vec![aot(2), aot(3)]);
    eventually(&backend, |stats| stats.artifacts_indexed == 3);
    let stats = backend.stats();
    assert_eq!((stats.artifacts_stored, stats.published), (3, 3));
    assert!(stats.aot_code_bytes > 0 && stats.artifact_bytes > 0 && stats.code_bytes == 0);
    let program = backend.lookup(request(1)).program().unwrap();
    assert_eq!(program.kind(), ProgramKind::Aot);
    assert_eq!(run(&program, &contract(1).1), U256::from(1));
    // What is stored is not compiled again.
    backend.prepare_aot(aot(1));
    backend.compile_jit_sync(request(9)).unwrap();
    assert_eq!(backend.stats().dispatched, 4);
    drop(backend);

    // The next process: the index is read at once, an artifact is loaded at its first use.
    let backend = JitBackend::new(with_store(&store)).unwrap();
    let stats = backend.stats();
    assert_eq!((stats.artifacts_indexed, stats.resident_entries), (3, 0));
    assert_eq!(
        reason(backend.lookup(request(2))),
        InterpretReason::NotReady
    );
    eventually(&backend, |stats| stats.artifacts_loaded == 1);
    let program = backend.lookup(request(2)).program().unwrap();
    assert_eq!(program.kind(), ProgramKind::Aot);
    assert_eq!(run(&program, &contract(2).1), U256::from(2));
    // A clear of the map leaves the store, and what is in it comes back with its next use.
    backend.clear_resident().unwrap();
    assert!(
        backend
            .lookup_blocking(request(2))
            .program()
            .is_some_and(|program| program.kind() == ProgramKind::Aot)
    );
    assert_eq!(backend.stats().artifacts_loaded, 2);
}

#[test]
fn aot_mode_turns_misses_into_artifacts() {
    let store = temp_store();
    let backend = JitBackend::new(RuntimeConfig {
        aot: true,
        ..with_store(&store)
    })
    .unwrap();
    while backend.lookup(request(1)).program().is_none() {
        thread::yield_now();
    }
    let program = backend.lookup(request(1)).program().unwrap();
    assert_eq!(program.kind(), ProgramKind::Aot);
    eventually(&backend, |stats| stats.artifacts_stored == 1);
}

#[test]
fn clears_of_the_store_do_what_they_say() {
    let store = temp_store();
    let backend = JitBackend::new(with_store(&store)).unwrap();
    backend.prepare_aot_batch((0..4).map(aot).collect());
    eventually(&backend, |stats| stats.published == 4);
    backend.clear_persisted().unwrap();
    let stats = backend.stats();
    assert_eq!((stats.artifacts_indexed, stats.resident_entries), (0, 4));
    // Asked for before the clear: not in the store after it, whenever it is compiled.
    backend.prepare_aot_batch((10..30).map(aot).collect());
    backend.clear_all().unwrap();
    backend.compile_jit_sync(request(1)).unwrap();
    eventually(&backend, |stats| stats.pending_jobs == 0);
    assert_eq!(backend.stats().artifacts_indexed, 0);
    drop(backend);
    let backend = JitBackend::new(with_store(&store)).unwrap();
    assert_eq!(backend.stats().artifacts_indexed, 0);
    // With nothing started, a clear still clears.
    backend.prepare_aot(aot(1));
    eventually(&backend, |stats| stats.artifacts_stored == 1);
    drop(backend);
    let waiting = JitBackend::new(RuntimeConfig {
        enabled: false,
        ..with_store(&store)
    })
    .unwrap();
    waiting.clear_all().unwrap();
    waiting.set_enabled(true).unwrap();
    assert_eq!(waiting.stats().artifacts_indexed, 0);
}

#[test]
fn without_a_store_preparing_is_refused_and_clearing_is_nothing() {
    let backend = JitBackend::new(config()).unwrap();
    backend.prepare_aot(aot(1));
    assert_eq!(backend.stats().commands_rejected, 1);
    assert_eq!(backend.clear_persisted(), Ok(()));
    assert_eq!(backend.clear_all(), Ok(()));
    assert!(backend.last_store_error().is_none());
}
