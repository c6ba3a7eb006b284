//! What a caller sets.
//!
//! [`RuntimeConfig`] holds the choices, [`RuntimeTuning`] the numbers; each has its table. Both have
//! defaults that suit a full node; [`JitBackend::new`](crate::JitBackend::new) refuses what cannot work
//! with a [`ConfigError`] that names the field.
//!
//! # Every choice
//!
//! | `RuntimeConfig` | default | meaning |
//! |---|---|---|
//! | `enabled` | `true` | start now, rather than at the first `set_enabled(true)` |
//! | `thread_name` | `"revmc-jit"` | name of the backend thread; the others append `-N`, `-store` |
//! | `chain` | mainnet | the rules at each fork |
//! | `front_end` | this crate's compiler | what compiles |
//! | `store` | none | where artifacts are kept |
//! | `tuning` | see [`RuntimeTuning`] | the numbers |
//! | `perf_map` | `false` | name programs for `perf report` |
//! | `perf_map_dir` | none: `/tmp` | folder of that map |
//! | `dump_dir` | none | folder for what the compiler has made of each contract (debugging) |
//! | `debug_assertions` | `false` | check the compiler's own work while it compiles; a front end of its own may compile checks in |
//! | `aot` | `false` | observed misses become artifacts in the store, not JIT programs |
//! | `blocking` | `false` | a miss compiles before `lookup` returns (tests, fuzzing) |
//! | `symmetric_fences` | `false` | keep the lookup inside Rust's formal memory model; a few ns |
//! | `on_compilation` | none | called after each compilation, on a thread of the backend |

mod tuning;

use crate::{
    artifact::TrustedStore, chain::Chain, error::ConfigError, event::CompilationEvent,
    front_end::FrontEnd,
};
use std::{fmt, path::PathBuf, sync::Arc};

pub use tuning::RuntimeTuning;

/// What is called after every compilation; see [`RuntimeConfig::on_compilation`].
pub type OnCompilation = Arc<dyn Fn(&CompilationEvent) + Send + Sync>;

/// The choices behind a [`JitBackend`](crate::JitBackend). The [module](self) has the table.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Whether the threads start, and lookups answer, at once. Otherwise both wait for the first
    /// [`set_enabled(true)`](crate::JitBackend::set_enabled).
    pub enabled: bool,
    /// Name of the backend thread; workers append `-0`, `-1`, …, the thread that stores `-store`. Linux
    /// shows the first 15 bytes.
    pub thread_name: String,
    /// The rules at each fork: what instructions cost, and which have their standard meaning.
    pub chain: Chain,
    /// What compiles. Another front end than this crate's compiler makes programs for another EVM's
    /// frames, and no artifacts: it needs `store` to be `None`.
    pub front_end: FrontEnd,
    /// Where artifacts are kept over restarts, and why what comes from there may run. Its index is
    /// read when the backend starts; an artifact is loaded when it is first used, or before, if it was
    /// hot in the last run ([`warm_start_programs`](RuntimeTuning::warm_start_programs)). A store that
    /// fails is counted
    /// ([`store_errors`](crate::RuntimeStatsSnapshot::store_errors),
    /// [`last_store_error`](crate::JitBackend::last_store_error)) and otherwise done without.
    pub store: Option<TrustedStore>,
    /// The numbers.
    pub tuning: RuntimeTuning,
    /// Whether programs are named for `perf report`, after code hash, rules and tier: a line each in
    /// `perf-PID.map`. It is written by a worker before a caller can run the program, at most 2^20 lines for a
    /// process (150 MB); what cannot be written is counted
    /// ([`perf_map_errors`](crate::RuntimeStatsSnapshot::perf_map_errors)).
    ///
    /// perf reads the map when it reports; the file stays when the process ends, and is yours to remove. Lines
    /// stay, too: a program that is evicted leaves its address to another one, whose line comes later,
    /// and perf has one name for an address, whenever its samples were taken (perf 6.1: the first of two).
    /// To be sure whose samples they are, keep programs while you record
    /// ([`idle_evict_duration`](crate::RuntimeTuning::idle_evict_duration): `None`, room in the cache).
    /// perf takes names from the map for anonymous memory only: artifacts are mapped files, whose lines
    /// are for other tools. Machine code keeps no frame pointers: a call chain through it ends or goes astray,
    /// which perf bears; a profiler in the process that follows `rbp` has to.
    pub perf_map: bool,
    /// The folder of the map; it has to be there. perf itself looks in `/tmp`, the default. A
    /// file of that name which an earlier process left is replaced; a symbolic link is not followed, but
    /// an error. All backends of a process with the same folder share the file.
    pub perf_map_dir: Option<PathBuf>,
    /// A folder for what the compiler has made of each contract, for debugging: it is compiled once
    /// more for that. Below it one folder for each code hash, rules and tier, with
    ///
    /// | file | what is in it |
    /// |---|---|
    /// | `bytecode.hex` | the bytecode |
    /// | `passes.txt` | what the passes have found: blocks with their bytes, instructions, heights, demands on stack, memory and gas, edges |
    /// | `code.s` | the machine code by bytecode instruction, disassembled; an assembler takes it |
    /// | `function.clif`, `function.asm` | what Cranelift was given, and its listing: of loops in the optimised tier; of everything where this crate has no emitter, and by another front end |
    /// | `difference.txt` | of a [miscompiled](crate::trial) program: the input, and all that it takes to see the difference again |
    ///
    /// At most 4096 such folders, 16 MiB a file, and none begun beyond 1 GiB in a run of the backend; what has
    /// no room is counted ([`dumps_left_out`](crate::RuntimeStatsSnapshot::dumps_left_out)), and so is
    /// what cannot be written ([`dump_errors`](crate::RuntimeStatsSnapshot::dump_errors)). A file that is there
    /// already is replaced; a symbolic link is not followed. A file system that hangs holds up the worker.
    /// What is loaded from an artifact is not compiled, and not dumped.
    pub dump_dir: Option<PathBuf>,
    /// Whether Cranelift verifies what it is given and proves its register allocation, while it compiles. A
    /// [front end](Self::front_end) of its own may compile checks in, too. Artifacts of either setting have
    /// names of their own.
    pub debug_assertions: bool,
    /// Whether observed misses become artifacts rather than JIT programs. Needs a store.
    pub aot: bool,
    /// Whether [`lookup`](crate::JitBackend::lookup) compiles a missing program before it returns.
    /// For tests and fuzzing; an execution thread would wait for the compiler.
    pub blocking: bool,
    /// Whether lookups use the symmetric form of the fences
    /// ([`resident`](crate::resident)), also where the cheaper asymmetric one is available.
    pub symmetric_fences: bool,
    /// Called after every compilation, on the worker that did it; of an artifact, when the store has
    /// answered, on the thread that stores. A slow callback holds up that thread and nothing else; a
    /// panic in it is contained and counted
    /// ([`callback_panics`](crate::RuntimeStatsSnapshot::callback_panics)).
    ///
    /// To use the backend from inside, capture a [`WeakJitBackend`](crate::WeakJitBackend): a
    /// captured `JitBackend` would keep itself alive.
    pub on_compilation: Option<OnCompilation>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            thread_name: "revmc-jit".to_owned(),
            chain: Chain::mainnet(),
            front_end: FrontEnd::default(),
            store: None,
            tuning: RuntimeTuning::default(),
            perf_map: false,
            perf_map_dir: None,
            dump_dir: None,
            debug_assertions: false,
            aot: false,
            blocking: false,
            symmetric_fences: false,
            on_compilation: None,
        }
    }
}

impl fmt::Debug for RuntimeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeConfig")
            .field("enabled", &self.enabled)
            .field("thread_name", &self.thread_name)
            .field("chain", &self.chain)
            .field("front_end", &self.front_end)
            .field("store", &self.store)
            .field("tuning", &self.tuning)
            .field("perf_map", &self.perf_map)
            .field("perf_map_dir", &self.perf_map_dir)
            .field("dump_dir", &self.dump_dir)
            .field("debug_assertions", &self.debug_assertions)
            .field("aot", &self.aot)
            .field("blocking", &self.blocking)
            .field("symmetric_fences", &self.symmetric_fences)
            .field(
                "on_compilation",
                &self
                    .on_compilation
                    .as_ref()
                    .map(|_| "Fn(&CompilationEvent)"),
            )
            .finish()
    }
}

impl RuntimeConfig {
    /// Checks that the configuration can work.
    ///
    /// # Errors
    ///
    /// The first field found that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.thread_name.contains('\0') {
            return Err(ConfigError::ThreadName(self.thread_name.clone()));
        }
        if self.aot && self.store.is_none() {
            return Err(ConfigError::AotWithoutStore);
        }
        if self.front_end.translator().is_some() && self.store.is_some() {
            return Err(ConfigError::StoreWithoutCompiler);
        }
        self.tuning.validate()
    }
}

#[cfg(test)]
mod tests;
