//! What lookups allocate: nothing.

mod runtime_support;

use revmc_jit::primitives::Bytes;
use revmc_jit::{InterpretReason, JitBackend, LookupDecision, LookupRequest};
use runtime_support::{config, contract, request};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // Not counted while the thread is being torn down.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every method passes its arguments on to the system's allocator, whose contract is the
// same; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn reason(decision: LookupDecision) -> Option<InterpretReason> {
    match decision {
        LookupDecision::Interpret(reason) => Some(reason),
        LookupDecision::Compiled(_) => None,
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| drop(black_box(vec![1, 2, 3]))), 1);
}

#[test]
fn hits_allocate_nothing() {
    let backend = JitBackend::new(config()).unwrap();
    backend.compile_jit_sync(request(1)).unwrap();
    let (key, code) = contract(1);
    // A thread's first lookup takes its slot.
    assert_eq!(reason(backend.lookup_ref(&key, &code)), None);
    let allocated = allocations(|| {
        for _ in 0..1000 {
            assert_eq!(reason(backend.lookup_ref(&key, &code)), None);
            assert!(backend.lookup_with(&key, &code, |found| found.is_ok()));
            drop(backend.lookup_borrowed(&key, &code));
            let request = LookupRequest {
                key,
                code: code.clone(),
            };
            assert_eq!(reason(backend.lookup(request)), None);
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn misses_below_the_threshold_allocate_nothing() {
    let backend = JitBackend::new(config()).unwrap();
    let keys: Vec<_> = (0..1000).map(contract).collect();
    let _ = backend.lookup_ref(&keys[0].0, &keys[0].1);
    let allocated = allocations(|| {
        for (key, code) in &keys {
            for _ in 0..2 {
                assert_eq!(
                    reason(backend.lookup_ref(key, code)),
                    Some(InterpretReason::NotReady)
                );
            }
            backend.record_interpreted(key, code, 10);
        }
    });
    assert_eq!(allocated, 0);
    assert_eq!(backend.stats().dispatched, 0);
}

#[test]
fn refusals_allocate_nothing() {
    let off = JitBackend::disabled();
    let on = JitBackend::new(config()).unwrap();
    let (key, code) = contract(1);
    let empty = Bytes::new();
    let _ = on.lookup_ref(&key, &empty);
    let allocated = allocations(|| {
        for _ in 0..1000 {
            assert_eq!(
                reason(off.lookup_ref(&key, &code)),
                Some(InterpretReason::Disabled)
            );
            assert_eq!(
                reason(on.lookup_ref(&key, &empty)),
                Some(InterpretReason::Ineligible)
            );
        }
    });
    assert_eq!(allocated, 0);
}
