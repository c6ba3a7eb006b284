//! What an execution thread does on every frame takes nothing from the heap and gives nothing back
//! to it, once the thread has made its first lookup.
//!
//! The allocator counts per thread, so the backend's own threads may do as they like.

mod runtime_support;

use revmc_jit::primitives::{B256, Bytes, OptimizationLevel};
use revmc_jit::{
    InterpretReason, JitBackend, LookupDecision, LookupRequest, RuntimeCacheKey, RuntimeConfig,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

/// The system's allocator; counts what the calling thread asks of it.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    CALLS.set(CALLS.get() + 1);
}

// SAFETY: every call is handed to `System` as it came; counting touches a thread-local cell that
// needs no initialisation and no destructor, so it does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator, frees included, that this thread makes in `f`.
fn heap_calls(f: impl FnOnce()) -> usize {
    let before = CALLS.get();
    f();
    CALLS.get() - before
}

fn contract(n: u32) -> (RuntimeCacheKey, Bytes) {
    let (key, code) = runtime_support::contract(n);
    // The first clone of `Bytes` that were made of a `Vec` allocates their reference count.
    drop(code.clone());
    (key, code)
}

fn config() -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    config.tuning.jit_opt_level = OptimizationLevel::None;
    config.tuning.jit_worker_count = 1;
    config
}

fn request(key: RuntimeCacheKey, code: &Bytes) -> LookupRequest {
    LookupRequest {
        key,
        code: code.clone(),
    }
}

#[test]
fn the_allocator_counts() {
    assert_eq!(heap_calls(|| drop(black_box(Box::new(1)))), 2);
    assert_eq!(heap_calls(|| ()), 0);
}

#[test]
fn a_hit_does_not_touch_the_heap() {
    let backend = JitBackend::new(config()).unwrap();
    let contracts: Vec<_> = (0..32).map(contract).collect();
    for (key, code) in &contracts {
        backend.compile_jit_sync(request(*key, code)).unwrap();
    }
    // The thread's first lookup takes a slot.
    assert!(
        backend
            .lookup_ref(&contracts[0].0, &contracts[0].1)
            .program()
            .is_some()
    );

    let hits_before = backend.stats().hits;
    let each = |lookup: &dyn Fn(&RuntimeCacheKey, &Bytes) -> bool| {
        let mut hits = 0;
        let calls = heap_calls(|| {
            for (key, code) in &contracts {
                hits += usize::from(lookup(key, code));
            }
        });
        assert_eq!(
            (hits, calls),
            (contracts.len(), 0),
            "hits, calls of the allocator"
        );
    };
    each(&|key, code| {
        backend.record_input(key, code);
        matches!(
            backend.lookup(request(*key, code)),
            LookupDecision::Compiled(program) if program.key() == *key
        )
    });
    each(&|key, code| backend.lookup_ref(key, code).program().is_some());
    each(&|key, code| {
        matches!(
            backend.lookup_borrowed(key, code),
            revmc_jit::BorrowedDecision::Compiled(program) if program.key() == *key
        )
    });
    each(&|key, code| backend.lookup_with(key, code, |found| found.is_ok()));
    each(&|key, _| {
        backend
            .get_compiled_tracked(key.code_hash, key.spec_id)
            .is_some()
    });
    each(&|key, _| backend.get_compiled(key.code_hash, key.spec_id).is_some());
    // All but the last kind are counted: they went through the map.
    assert_eq!(backend.stats().hits - hits_before, 5 * 32);

    // More guards at once than a thread has records for.
    let calls = heap_calls(|| {
        let guards: [_; 100] = std::array::from_fn(|i| {
            let (key, code) = &contracts[i % contracts.len()];
            backend.lookup_borrowed(key, code)
        });
        black_box(&guards);
    });
    assert_eq!(calls, 0);
}

#[test]
fn a_miss_below_the_threshold_does_not_touch_the_heap() {
    let backend = JitBackend::new(config()).unwrap();
    let contracts: Vec<_> = (1000..2000).map(contract).collect();
    let first = &contracts[0];
    backend.lookup_ref(&first.0, &first.1);

    let calls = heap_calls(|| {
        // One less than the default threshold, which is eight.
        for _ in 0..6 {
            for (key, code) in &contracts {
                let decision = backend.lookup(request(*key, code));
                assert!(matches!(
                    decision,
                    LookupDecision::Interpret(InterpretReason::NotReady)
                ));
            }
        }
        for (key, code) in &contracts[1..] {
            let found = backend.lookup_with(key, code, |found| found.err());
            assert_eq!(found, Some(InterpretReason::NotReady));
        }
        backend.record_interpreted(&first.0, &first.1, 21_000);
    });
    assert_eq!(calls, 0);
    let stats = backend.stats();
    assert_eq!(stats.misses, 1 + 6 * 1000 + 999);
    assert_eq!((stats.events_dropped, stats.dispatched), (0, 0));
}

/// Whatever else a lookup can say.
#[test]
fn the_other_answers_do_not_touch_the_heap() {
    let mut config = config();
    // No machine code is that short, so that every compilation fails.
    config.tuning.native_len_base = 1;
    config.tuning.native_len_per_byte = 0;
    config.tuning.failure_retry_delay = Duration::from_secs(3600);
    let backend = JitBackend::new(config).unwrap();
    let disabled = JitBackend::disabled();
    let (key, code) = contract(1);
    backend.compile_jit_sync(request(key, &code)).unwrap_err();
    backend.lookup_ref(&key, &code);
    let eof = Bytes::from_static(&[0xef, 0x00]);
    let eof_key = RuntimeCacheKey {
        code_hash: B256::repeat_byte(1),
        ..key
    };

    let expect = |backend: &JitBackend, key: &RuntimeCacheKey, code: &Bytes, expected| {
        let calls = heap_calls(|| {
            let reason = match backend.lookup_ref(key, code) {
                LookupDecision::Interpret(reason) => Some(reason),
                LookupDecision::Compiled(_) => None,
            };
            assert_eq!(reason, Some(expected));
        });
        assert_eq!(calls, 0, "{expected}");
    };
    expect(&backend, &key, &code, InterpretReason::JitFailed);
    expect(&backend, &eof_key, &eof, InterpretReason::Ineligible);
    expect(&disabled, &key, &code, InterpretReason::Disabled);
}
