//! The runtime under load: what lookups cost at worst, and whether anything grows or gets lost.
//!
//! ```text
//! cargo run --release --example stress -- [seconds]
//! ```
//!
//! Two execution threads look up a mixture: hot contracts, warm ones that come and go, a flood of
//! keys that never come back, wrong and ineligible code. Meanwhile the backend compiles, optimises,
//! evicts (the cache is small), and is cleared and paused. Results of programs are checked. Then
//! the same lookups are made with the backend thread suspended, the channel full and every worker
//! stuck, and on a backend of its own with attacks running: distinct bombs and programs without
//! number. The first row shows the clock and the machine alone: no lookup, only a reference count.
//!
//! Exits with 1 if a lookup was not counted, a program gave a wrong result, memory grew, or an attack
//! exceeded a limit.

mod attack;
mod histogram;
#[path = "../../benches/harness/memory.rs"]
mod memory;
#[path = "../../tests/runtime_support/mod.rs"]
mod runtime_support;

use alloy_primitives::U256;
use attack::Attack;
use histogram::Histogram;
use revmc_jit::primitives::Bytes;
use revmc_jit::{CompilationEvent, JitBackend, RuntimeCacheKey, RuntimeConfig, RuntimeTuning};
use runtime_support::{contract, request, run};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const EXECUTION_THREADS: u64 = 2;
const HOT: u32 = 64;
const WARM: u32 = 20_000;
const HEADER: &str =
    "                              lookups      p50      p99     p99.9    p99.99    max (ns)";

/// Xorshift: cheap, and the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

struct Contracts {
    hot: Vec<(RuntimeCacheKey, Bytes)>,
    warm: Vec<(RuntimeCacheKey, Bytes)>,
    ineligible: Bytes,
}

impl Contracts {
    fn new() -> Self {
        Self {
            hot: (0..HOT).map(contract).collect(),
            warm: (HOT..HOT + WARM).map(contract).collect(),
            ineligible: Bytes::from_static(&[0xef, 0x00]),
        }
    }
}

/// What an execution thread counted.
struct Seen {
    latencies: Histogram,
    lookups: u64,
    native: u64,
    wrong: u64,
}

/// Looks up until told to stop.
fn execute(backend: &JitBackend, contracts: &Contracts, seed: u64, stop: &AtomicBool) -> Seen {
    let mut random = Random(seed);
    let mut seen = Seen {
        latencies: Histogram::new(),
        lookups: 0,
        native: 0,
        wrong: 0,
    };
    while !stop.load(Relaxed) {
        let roll = random.next();
        let pick = (roll >> 32) as u32;
        let ((key, code), value) = match roll % 100 {
            0..70 => (&contracts.hot[(pick % HOT) as usize], pick % HOT),
            // Towards the front of the list: a few become hot, the rest stay lukewarm.
            70..85 => {
                let n = (u64::from(pick % WARM) * u64::from(pick >> 12) % u64::from(WARM)) as u32;
                (&contracts.warm[n as usize], HOT + n)
            }
            85..98 => {
                let mut flood = contracts.hot[0].clone();
                flood.0.code_hash[..8].copy_from_slice(&random.next().to_le_bytes());
                lookup(backend, &flood.0, &flood.1, None, &mut seen);
                continue;
            }
            98 => {
                let key = &contracts.warm[0].0;
                lookup(backend, key, &contracts.ineligible, None, &mut seen);
                continue;
            }
            _ => {
                let (key, code) = (&contracts.warm[1].0, &contracts.warm[2].1);
                lookup(backend, key, code, None, &mut seen);
                continue;
            }
        };
        let check = roll.is_multiple_of(64).then_some(value);
        lookup(backend, key, code, check, &mut seen);
    }
    seen
}

fn lookup(
    backend: &JitBackend,
    key: &RuntimeCacheKey,
    code: &Bytes,
    check: Option<u32>,
    seen: &mut Seen,
) {
    let start = Instant::now();
    let program = backend.lookup_ref(key, code).program();
    seen.latencies.record(start.elapsed());
    seen.lookups += 1;
    if let Some(program) = program {
        seen.native += 1;
        seen.wrong += u64::from(program.key() != *key);
        if let Some(value) = check {
            seen.wrong += u64::from(run(&program, code) != U256::from(value));
        }
    }
}

/// Runs the execution threads for a while, with `meanwhile` beside them.
fn phase(
    name: &str,
    backend: &JitBackend,
    contracts: &Contracts,
    time: Duration,
    mut meanwhile: impl FnMut(u32),
) -> Seen {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = (1..=EXECUTION_THREADS)
            .map(|n| {
                let stop = &stop;
                scope.spawn(move || {
                    execute(
                        backend,
                        contracts,
                        n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                        stop,
                    )
                })
            })
            .collect();
        let end = Instant::now() + time;
        let mut round = 0;
        while Instant::now() < end {
            meanwhile(round);
            round += 1;
            thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Relaxed);
        let mut all: Option<Seen> = None;
        for thread in threads {
            let seen = thread.join().expect("no assertion in there");
            match &mut all {
                None => all = Some(seen),
                Some(all) => {
                    all.latencies.merge(&seen.latencies);
                    all.lookups += seen.lookups;
                    all.native += seen.native;
                    all.wrong += seen.wrong;
                }
            }
        }
        let all = all.expect("there are threads");
        println!("{name:<24} {}", all.latencies);
        all
    })
}

/// The same loop around a reference count: what the clock and the scheduler contribute.
fn floor(time: Duration) {
    let shared: Arc<[AtomicU64; 8]> = Arc::default();
    let mut all = Histogram::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..EXECUTION_THREADS)
            .map(|_| {
                let own: Arc<[AtomicU64; 8]> = Arc::new(Default::default());
                let _shared = Arc::clone(&shared);
                scope.spawn(move || {
                    let mut latencies = Histogram::new();
                    let end = Instant::now() + time;
                    loop {
                        let start = Instant::now();
                        drop(std::hint::black_box(Arc::clone(&own)));
                        latencies.record(start.elapsed());
                        if start > end {
                            return latencies;
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            all.merge(&thread.join().expect("no assertion in there"));
        }
    });
    println!("{:<24} {all}", "(clock and Arc alone)");
}

/// Resident memory in KiB and the number of mappings; zeros where the system does not tell.
fn memory() -> (u64, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    (memory::memory().0, maps.lines().count())
}

/// A door that workers stop at while it is closed.
#[derive(Default)]
struct Door {
    closed: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicU64,
}

impl Door {
    fn pass(&self) {
        let mut closed = self.closed.lock().expect("no panic holds it");
        self.waiting.fetch_add(1, Relaxed);
        while *closed {
            closed = self.opened.wait(closed).expect("no panic holds it");
        }
        self.waiting.fetch_sub(1, Relaxed);
    }

    fn set(&self, shut: bool) {
        *self.closed.lock().expect("no panic holds it") = shut;
        self.opened.notify_all();
    }
}

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).and_then(|arg| arg.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(60u64).max(5));
    let short = (time / 6).min(Duration::from_secs(10));
    let contracts = Contracts::new();
    let door = Arc::new(Door::default());
    let at_door = Arc::clone(&door);
    let backend = JitBackend::new(RuntimeConfig {
        thread_name: "backend".into(),
        tuning: RuntimeTuning {
            tick_interval: Duration::from_millis(20),
            // Room for about two hundred of these contracts: eviction never rests.
            resident_code_cache_bytes: 2 << 20,
            idle_evict_duration: Some(Duration::from_secs(2)),
            eviction_sweep_interval: Duration::from_millis(500),
            hotness_age_interval: Duration::from_secs(5),
            channel_capacity: 256,
            observations_per_thread: 64,
            ..RuntimeTuning::default()
        },
        on_compilation: Some(Arc::new(move |_: &CompilationEvent| at_door.pass())),
        ..RuntimeConfig::default()
    })
    .expect("the configuration is valid");

    println!("{HEADER}");
    floor(short);
    for n in 0..HOT {
        backend.compile_jit_sync(request(n)).expect("it compiles");
    }
    let mut all = Vec::new();
    backend.pause();
    all.push(phase(
        "compilation paused",
        &backend,
        &contracts,
        short,
        |_| (),
    ));
    backend.resume();

    // The storm, in eight parts: memory after the second is what the last is compared with.
    let mut samples = Vec::new();
    for part in 1..=8 {
        let name = format!("storm, part {part}");
        let seen = phase(&name, &backend, &contracts, time / 8, |round| {
            for n in 0..4 {
                backend.compile_jit(request(HOT + (round * 7919 + n) % WARM));
            }
            match round % 200 {
                50 => backend.clear_resident().expect("it runs"),
                100 => backend.pause(),
                110 => backend.resume(),
                _ => {}
            }
        });
        all.push(seen);
        // The storm may end inside of a pause.
        while backend.stats().paused > 0 {
            backend.resume();
        }
        samples.push(memory());
    }

    #[cfg(target_os = "linux")]
    {
        for n in 0..HOT {
            backend.compile_jit_sync(request(n)).expect("it compiles");
        }
        door.set(true);
        let mut n = HOT;
        while door.waiting.load(Relaxed) < backend.stats().workers {
            backend.compile_jit(request(n));
            n += 1;
            thread::sleep(Duration::from_millis(1));
        }
        let suspended = runtime_support::suspend::Suspended::new("backend");
        all.push(phase(
            "everything stuck",
            &backend,
            &contracts,
            short,
            |_| (),
        ));
        drop(suspended);
        door.set(false);
    }

    let attack = Attack::new();
    for n in 0..HOT {
        let request = request(n);
        attack
            .backend
            .compile_jit_sync(request)
            .expect("it compiles");
    }
    let mut rounds = 0;
    let attacked = phase(
        "under attack",
        &attack.backend,
        &contracts,
        time / 4,
        |round| {
            attack.strike(round);
            rounds = round + 1;
        },
    );
    let under_attack = attack.backend.stats();
    let attack_counted = under_attack.hits + under_attack.misses + under_attack.negatives;
    let lost = attack_counted != attacked.lookups + Attack::lookups(rounds);
    let (resident, mappings) = memory();
    println!();
    let exceeded = attack.report() || attacked.wrong > 0 || lost;
    println!("resident memory KiB / mappings then: {resident} / {mappings}");

    let stats = backend.stats();
    println!("\n{stats}\n");
    println!("after part: resident memory KiB / mappings");
    for (part, (resident, mappings)) in (1..).zip(&samples) {
        println!("{part:>10}: {resident:>8} / {mappings}");
    }
    let lookups: u64 = all.iter().map(|seen| seen.lookups).sum();
    let native: u64 = all.iter().map(|seen| seen.native).sum();
    let wrong: u64 = all.iter().map(|seen| seen.wrong).sum();
    let counted = stats.hits + stats.misses + stats.negatives;
    println!(
        "lookups: {lookups} made, {counted} counted; native: {native}, {} counted",
        stats.hits
    );
    println!("wrong results: {wrong}");
    let (before, after) = (samples[1], samples[7]);
    let grew = after.0 > before.0 + before.0 / 4 + 16 * 1024 || after.1 > before.1 + 1000;
    println!(
        "memory grew after warm-up: {}",
        if grew { "YES" } else { "no" }
    );
    drop(backend);
    let failed = exceeded || grew || wrong > 0 || lookups != counted || native != stats.hits;
    ExitCode::from(u8::from(failed))
}
