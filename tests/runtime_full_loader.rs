//! What is stored while no more artifacts can be loaded. By itself, as the bound is the process's.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod runtime_support;

use revmc_jit::artifact::loader::{LoadedLibrary, max_loaded};
use revmc_jit::artifact::object::{Layout, Machine};
use revmc_jit::artifact::{ArtifactStore, DirOptions, TempArtifactStore};
use revmc_jit::{JitBackend, ProgramKind, RuntimeConfig};
use runtime_support::{aot, config, contract, eventually, request};
use std::sync::Arc;

#[test]
fn an_artifact_that_cannot_be_loaded_yet_is_stored_and_known() {
    let store = Arc::new(TempArtifactStore::new(DirOptions::default()).unwrap());
    let backend = JitBackend::new(RuntimeConfig {
        store: Some(store.clone().into()),
        ..config()
    })
    .unwrap();
    let layout = Layout::new(Machine::X86_64, "full", 1, 1).unwrap();
    let library = layout.write(&[0xc3]).unwrap();
    let open = |_| LoadedLibrary::open(&layout, &library, &[1]).unwrap();
    let others: Vec<_> = (0..max_loaded()).map(open).collect();

    let (key, code) = contract(1);
    backend.prepare_aot(aot(1));
    eventually(&backend, |stats| {
        stats.published == 1 && stats.artifacts_stored == 1
    });
    let program = backend.lookup_ref(&key, &code).program().unwrap();
    assert_eq!(program.kind(), ProgramKind::Jit);
    let stats = backend.stats();
    assert_eq!((stats.artifacts_stored, stats.artifacts_indexed), (1, 1));
    assert_eq!(store.load_all().unwrap().entries.len(), 1);
    assert!(backend.last_store_error().is_some());

    // Once there is room, it is what the next use loads.
    drop(others);
    backend.clear_resident().unwrap();
    let program = backend.lookup_blocking(request(1)).program().unwrap();
    assert_eq!(program.kind(), ProgramKind::Aot);
    assert_eq!(backend.stats().artifacts_loaded, 1);
}
