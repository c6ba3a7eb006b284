//! What artifacts cost and what they save.
//!
//! ```text
//! cargo bench --bench artifacts [-- SECTION...]
//! ```
//!
//! | section | question |
//! |---|---|
//! | `many` | 10,000 artifacts (`REVMC_JIT_ARTIFACT_COUNT`): making them, starting on them, using them, memory |
//! | `full` | 250,000 files (the same variable) at the store's bound: does what becomes hot become native? |
//!
//! Figures of one section come from one run and are there to be compared with each other. Processes
//! that a section starts measure from their `main`.

#[allow(dead_code, reason = "the tests use more")]
#[path = "../tests/common/asm.rs"]
mod asm;
mod harness;
#[allow(dead_code, unused_imports, reason = "the tests use more")]
#[path = "../tests/common/types.rs"]
mod types;

use asm::asm;
use harness::{Session, backend::Contract, memory::memory};
use revmc_jit::{
    AotRequest, Chain, CompiledProgram, JitBackend, ProgramKind, RuntimeConfig,
    aot::{self, BuildOptions},
    artifact::{
        ArtifactKey, ArtifactStore, DirArtifactStore, DirOptions, TempArtifactStore, TrustedStore,
        loader::max_loaded,
    },
    compiler::{Rules, Tier},
    primitives::{SpecId, keccak256},
    trial::Budget,
};
use std::{
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

const OPTIONS: BuildOptions = BuildOptions {
    tier: Tier::Optimized,
    debug_assertions: false,
};

fn main() -> ExitCode {
    let started = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [child, store] = &arguments[..]
        && child == "child"
    {
        start_on_many(started, store.as_ref());
        return ExitCode::SUCCESS;
    }
    harness::run("artifacts", &[("many", many), ("full", full)])
}

/// What a process of its own prints, that finds this store full.
fn child(store: &Path) -> String {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .arg("child")
        .arg(store)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// How many artifacts, unless the environment says another number.
fn artifacts(session: &Session, count: usize) -> usize {
    let asked = std::env::var("REVMC_JIT_ARTIFACT_COUNT");
    session.at_most(asked.map_or(count, |n| n.parse().unwrap()))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn rules() -> Arc<Rules> {
    Chain::mainnet().rules(SpecId::OSAKA).clone()
}

/// Looks up until there is a program.
fn wait_for(backend: &JitBackend, contract: &Contract) -> Arc<CompiledProgram> {
    loop {
        if let Some(program) = backend.lookup_ref(&contract.key, &contract.code).program() {
            return program;
        }
        std::thread::yield_now();
    }
}

/// A small contract of its own: hashes a constant and stores it in a loop.
fn small(i: usize) -> Contract {
    Contract::new(asm(&format!(
        "{i} 0 MSTORE 10 loop: 32 0 KECCAK256 DUP1 0 MSTORE DUP2 SSTORE \
         1 SWAP1 SUB DUP1 @loop JUMPI STOP"
    )))
}

fn many(session: &mut Session) {
    let count = artifacts(session, 10_000);
    let store = Arc::new(TempArtifactStore::new(DirOptions::default()).unwrap());
    let requests: Vec<AotRequest> = (0..count)
        .map(|i| {
            let Contract { key, code } = small(i);
            AotRequest {
                code_hash: key.code_hash,
                code,
                spec_id: key.spec_id,
            }
        })
        .collect();

    println!(
        "many: {count} artifacts of small contracts ({} bytes)",
        requests[0].code.len()
    );
    let mut config = RuntimeConfig {
        store: Some(store.clone().into()),
        ..RuntimeConfig::default()
    };
    config.tuning.jit_worker_count = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = config.tuning.jit_worker_count;
    let backend = JitBackend::new(config).unwrap();
    let started = Instant::now();
    backend.prepare_aot_batch(requests);
    // What is beyond the bound of loaded artifacts is stored as well, and compiled for now.
    while backend.stats().succeeded < count as u64 {
        assert_eq!(
            backend.stats().failed,
            0,
            "{:?}",
            backend.last_store_error()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let elapsed = started.elapsed();
    println!(
        "prepare_aot_batch, compiled, synchronised and loaded (or mapped, beyond {}): {:.1} s, {:.0} a second on {workers} workers",
        max_loaded(),
        elapsed.as_secs_f64(),
        count as f64 / elapsed.as_secs_f64()
    );
    let (rss, _) = memory();
    drop(backend);
    println!("memory of that process with all loaded: {rss} KiB");

    let again = (0..200).map(|i| {
        let Contract { key, code } = small(i);
        let made = aot::make(&code, key.spec_id, &rules(), OPTIONS, None);
        made.unwrap().seal(None).unwrap()
    });
    let again: Vec<_> = again.collect();
    let started = Instant::now();
    for artifact in &again {
        store.store(artifact).unwrap();
    }
    println!(
        "store alone, two fsyncs each: {:.3} ms",
        ms(started.elapsed()) / 200.0
    );

    println!("{}", child(store.path()));
}

/// Time until contracts are native, with a store that has room and with one that is at its bound.
fn full(session: &mut Session) {
    let count = artifacts(session, 250_000);
    let patience = Duration::from_secs(20);
    println!(
        "full: a folder of {count} small files, contracts that become hot one after the other"
    );
    let build = aot::determinants(SpecId::OSAKA, &rules(), OPTIONS)
        .unwrap()
        .id();
    for (name, max_artifacts) in [("with room", 2 * count), ("full", count)] {
        let store = TempArtifactStore::new(DirOptions {
            max_artifacts,
            ..DirOptions::default()
        });
        let store = Arc::new(store.unwrap());
        for i in 0..count {
            let key = ArtifactKey::new(keccak256(i.to_le_bytes()), build);
            std::fs::write(store.path().join(key.file_name()), [0; 100]).unwrap();
        }
        let backend = JitBackend::new(RuntimeConfig {
            store: Some(store.clone().into()),
            aot: true,
            ..RuntimeConfig::default()
        })
        .unwrap();
        // The index is read in the background; the first answer waits for it.
        backend.clear_resident().unwrap();
        let times = (0..8).map(|i| {
            let (Contract { key, code }, asked) = (small(i), Instant::now());
            while backend.lookup_ref(&key, &code).program().is_none() {
                if asked.elapsed() > patience {
                    return "never".to_owned();
                }
                std::thread::yield_now();
            }
            format!("{:.1}", ms(asked.elapsed()))
        });
        let times: Vec<_> = times.collect();
        println!(
            "{name}: ms until native: {}; {}",
            times.join(" "),
            backend.stats()
        );
    }
}

/// A new process that finds the store full.
fn start_on_many(started: Instant, path: &Path) {
    let (before, _) = memory();
    let store = Arc::new(DirArtifactStore::open(path, DirOptions::default()).unwrap());
    let mut config = RuntimeConfig {
        store: Some(store.clone().into()),
        ..RuntimeConfig::default()
    };
    // Some were stored again by hand, untried.
    config.tuning.trial = Budget::Off;
    let opened = started.elapsed();
    let backend = JitBackend::new(config).unwrap();
    let new = started.elapsed();
    let [first, second] = [0, 1].map(|i| {
        let contract = small(i);
        let asked = Instant::now();
        let program = wait_for(&backend, &contract);
        assert_eq!(program.kind(), ProgramKind::Aot);
        asked.elapsed()
    });
    println!(
        "a new process: store open after {:.2} ms, `JitBackend::new` back after {:.2} ms",
        ms(opened),
        ms(new),
    );
    println!(
        "first lookup to program, index included: {:.2} ms; the next artifact's: {:.2} ms; \
         memory for all this: {} KiB",
        ms(first),
        ms(second),
        memory().0 - before
    );
    let listed = Instant::now();
    let index = store.load_all().unwrap();
    println!(
        "reading the index of {} artifacts, {} KiB: {:.2} ms",
        index.entries.len(),
        index.stored_bytes() >> 10,
        ms(listed.elapsed())
    );
    let count = index.entries.len();
    drop(backend);

    // One by one without the threads, which shows how the cost grows with what is loaded.
    let wanted = aot::determinants(SpecId::OSAKA, &rules(), OPTIONS).unwrap();
    let rules = rules();
    let trusted = TrustedStore::from(store);
    let (before, _) = memory();
    let mut programs = Vec::new();
    let mut part = Vec::new();
    for i in 0..count.min(max_loaded()) {
        let key = small(i).key;
        let asked = Instant::now();
        let found = trusted.load(key.code_hash, &wanted).unwrap().unwrap();
        let read = asked.elapsed();
        programs.push(aot::load(&found, key, &rules, OPTIONS).unwrap());
        part.push((read, asked.elapsed()));
        if [100, 1000].contains(&(i + 1)) || i + 1 == count.min(max_loaded()) {
            let last = part.split_off(part.len().saturating_sub(100));
            println!(
                "with {:>6} loaded: a load takes {:.3} ms, of it reading {:.3} ms; {} KiB each",
                i + 1,
                ms(median(last.iter().map(|times| times.1).collect())),
                ms(median(last.iter().map(|times| times.0).collect())),
                (memory().0 - before) / (i as u64 + 1),
            );
        }
    }
    let started = Instant::now();
    let loaded = programs.len();
    drop(programs);
    println!(
        "dropping {loaded} of them: {:.3} ms each",
        ms(started.elapsed()) / loaded as f64
    );
}
