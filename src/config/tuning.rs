//! The numbers.

use crate::{
    artifact::HeatList,
    compiler::{MAX_BYTECODE_LEN, MAX_CODE_LEN, OptimizationLevel},
    error::{ConfigError, Ineligible},
    trial,
};
use std::{thread, time::Duration};

/// The numbers behind a [`JitBackend`](crate::JitBackend).
///
/// | `RuntimeTuning` | default | unit | meaning |
/// |---|---|---|---|
/// | `channel_capacity` | 4096 | messages | room for commands to the backend thread |
/// | `observations_per_thread` | 256 | messages | room for what one execution thread reports |
/// | `tick_interval` | 100 ms | time | the coarse clock: resolution of recency, retries, heat |
/// | `jit_hot_threshold` | 8 | misses | a key that missed so often is compiled |
/// | `hot_gas_per_miss` | 100,000 | gas | reported interpreter gas that weighs as much as one miss |
/// | `hotness_slots` | 32,768 | keys | size of the miss counter, 8 bytes a slot |
/// | `hotness_age_interval` | 5 min | time | miss counts are halved so often |
/// | `jit_max_bytecode_len` | 64 KiB | bytes | longer bytecode is not compiled |
/// | `jit_max_pending_jobs` | 2048 | jobs | observed compilations under way, first and optimising ones each; more are refused |
/// | `max_requested_jobs` | 32,768 | jobs | requested compilations under way; more are refused |
/// | `jit_worker_count` | cores / 4, 1 to 4 | threads | compile threads |
/// | `jit_opt_level` | `Default` | | optimisation of JIT programs (in the end) |
/// | `jit_tiered` | `true` | | fast tier first, optimised when it stays hot |
/// | `jit_optimize_after_ticks` | 16 | ticks | uses in so many ticks make a program "stay hot" |
/// | `aot_opt_level` | `Aggressive` | | optimisation of artifacts |
/// | `resident_code_cache_bytes` | 512 MiB | mapped bytes | JIT code kept; least recently used goes |
/// | `resident_code_cache_programs` | 32,768 | programs | the same in number |
/// | `aot_code_cache_bytes` | 1 GiB | mapped bytes | the same for loaded artifacts |
/// | `idle_evict_duration` | 30 min | time | JIT programs unused for so long go; `None`: never |
/// | `eviction_sweep_interval` | 10 s | time | how often idle programs are looked for |
/// | `failure_retry_delay` | 10 s | time | a failed key rests so long, doubling each time |
/// | `failure_retry_delay_max` | 1 h | time | the longest rest |
/// | `max_failures_remembered` | 65,536 | keys | failed keys kept in mind |
/// | `compile_time_base` | 500 ms | CPU time | budget of one compilation, fixed part |
/// | `compile_time_per_byte` | 100 µs | CPU time / byte | the part per byte of bytecode |
/// | `new_code_cpu_burst` | 30 s | CPU time | allowance of what never made a program: at most |
/// | `new_code_cpu_per_second` | 500 ms | CPU time / s | … and what comes back of it |
/// | `expected_cpu_base` | 500 µs | CPU time | what a compilation is expected to cost, fixed part |
/// | `expected_cpu_per_byte` | 5 µs | CPU time / byte | the part per byte of bytecode |
/// | `native_len_base` | 64 KiB | bytes | machine code one program may have, fixed part |
/// | `native_len_per_byte` | 256 | bytes / byte | the part per byte of bytecode |
/// | `job_abandon_after` | 60 s | CPU time | a compilation that used more and is not back is given up; a load, by the clock |
/// | `trial` | 1/2, at least 1 ms | of the compilation's CPU time | comparison with the interpreter before a program is published |
/// | `sampled_inputs` | 256 | inputs | call data of interpreted frames kept for that, 640 bytes each |
/// | `warm_start_programs` | 1024 | programs | artifacts that were hot in the last run and are loaded at the start; 0: none, and no list is kept |
/// | `warm_start_time` | 10 s | time | … as long as it is not later |
/// | `heat_list_interval` | 5 min | time | what is hot is written to the store so often, and at the end |
/// | `shutdown_timeout` | 5 s | time | the last drop waits so long for the threads |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeTuning {
    /// Commands that fit between the callers and the backend thread; beyond, they wait.
    pub channel_capacity: usize,
    /// Observations of one execution thread that fit between it and the backend thread; beyond, they
    /// are dropped, and counted. Rounded up to a power of two. Their room, some 80 bytes each, is
    /// made when the thread first looks something up.
    pub observations_per_thread: usize,
    /// The coarse clock. Recency, retry delays and heat are counted in its ticks, and an idle
    /// backend wakes so often. What becomes hot is noticed within a tick.
    pub tick_interval: Duration,
    /// Misses after which a key is compiled.
    pub jit_hot_threshold: u32,
    /// Gas of an interpreted run, reported by
    /// [`record_interpreted`](crate::JitBackend::record_interpreted), that weighs as much as one
    /// miss. 0: reports are ignored.
    pub hot_gas_per_miss: u64,
    /// Keys whose misses can be counted at the same time; 8 bytes each. A power of two.
    pub hotness_slots: usize,
    /// How often all miss counts are halved, so that what was warm long ago is cold again.
    pub hotness_age_interval: Duration,
    /// Bytecode longer than this is not compiled.
    pub jit_max_bytecode_len: usize,
    /// Observed compilations that may be under way: so many first ones, and so many optimising ones.
    pub jit_max_pending_jobs: usize,
    /// Compilations under way that callers asked for by name; beyond, a request is refused
    /// ([`Error::QueueFull`](crate::Error::QueueFull)).
    pub max_requested_jobs: usize,
    /// Compile threads.
    pub jit_worker_count: usize,
    /// The optimisation that JIT programs get in the end.
    pub jit_opt_level: OptimizationLevel,
    /// Whether a hot key is compiled fast first, and with `jit_opt_level` when it stays hot. With
    /// `false`, or a `jit_opt_level` that is the fast tier itself, there is only one tier.
    pub jit_tiered: bool,
    /// Ticks in which a fast-tier program has to be used before it is optimised.
    pub jit_optimize_after_ticks: u32,
    /// The optimisation of artifacts.
    pub aot_opt_level: OptimizationLevel,
    /// Bytes of mapped machine code that JIT programs may hold together.
    pub resident_code_cache_bytes: usize,
    /// JIT programs that may be resident, whatever their size: what keeping track of each costs is
    /// not in their bytes.
    pub resident_code_cache_programs: usize,
    /// Bytes of mapped machine code that loaded artifacts may hold together. One that is dropped
    /// is loaded again when it is used again. So are those beyond seven eighths of
    /// [`max_loaded`](crate::artifact::loader::max_loaded), whatever their size.
    pub aot_code_cache_bytes: usize,
    /// JIT programs that were not used for so long are dropped. `None`: never for that reason.
    pub idle_evict_duration: Option<Duration>,
    /// How often idle programs are looked for.
    pub eviction_sweep_interval: Duration,
    /// How long a key rests after its first failure; doubles with each further one.
    pub failure_retry_delay: Duration,
    /// The longest rest.
    pub failure_retry_delay_max: Duration,
    /// Failed keys that are remembered; beyond, the ones that are next to be retried are forgotten.
    pub max_failures_remembered: usize,
    /// Processor time that one compilation may take, apart from the length of the bytecode. What making an
    /// artifact of it takes is not counted.
    pub compile_time_base: Duration,
    /// Processor time that it may take in addition for each byte of bytecode.
    pub compile_time_per_byte: Duration,
    /// Processor time that compilations nobody asked for, of keys and tiers that never made a program,
    /// may use at once, together: a stranger has codes without number. Beyond, they wait, the hottest
    /// for its cost first.
    pub new_code_cpu_burst: Duration,
    /// How much of that comes back in a second.
    pub new_code_cpu_per_second: Duration,
    /// Processor time that compiling a code is expected to cost, as long as it is not known: the
    /// part apart from the length of the bytecode. Jobs are ordered by heat for expected cost.
    pub expected_cpu_base: Duration,
    /// The part for each byte of bytecode.
    pub expected_cpu_per_byte: Duration,
    /// Bytes of machine code that one program may have, apart from the length of the bytecode.
    pub native_len_base: usize,
    /// Bytes of machine code that it may have in addition for each byte of bytecode.
    pub native_len_per_byte: usize,
    /// A compilation that has used so much processor time and has not come back is given up, and
    /// its worker replaced, as long as no more workers are away than
    /// [`jit_worker_count`](Self::jit_worker_count). Waiting for a processor does not count, nor do
    /// callbacks. An artifact that has not been loaded after so much time is given up for its code, which
    /// is compiled, and until it comes back nothing else is loaded.
    pub job_abandon_after: Duration,
    /// How long each program is compared with the interpreter, on made-up calls of its contract,
    /// before it is published or stored ([`trial`](mod@trial)). One that differs is not
    /// ([`Error::Miscompiled`](crate::Error::Miscompiled)). The time is not part of the
    /// [compilation's](Self::compile_time_base), but of what strangers' code may
    /// [use](Self::new_code_cpu_burst). An artifact that has not passed one is not loaded, but made
    /// anew. Programs of another [front end](crate::RuntimeConfig::front_end) are not tried.
    pub trial: trial::Budget,
    /// Inputs of interpreted frames that are kept for trials, one for each function of a contract
    /// ([`record_input`](crate::JitBackend::record_input)); their first 512 bytes.
    pub sampled_inputs: usize,
    /// Artifacts that are loaded when the backend starts, before anybody misses them: those that were
    /// hot in the last run, the hottest first. The store keeps the list of them
    /// ([`ArtifactStore::store_heat`](crate::artifact::ArtifactStore::store_heat)). They are loaded by
    /// the workers, after all that is asked for, never by more than half of them (but one), and never in
    /// place of others: not beyond seven eighths of [`aot_code_cache_bytes`](Self::aot_code_cache_bytes).
    /// The start, lookups and compilations do not wait for them. 0: none is loaded, and no list read
    /// or written.
    pub warm_start_programs: usize,
    /// How long such loads begin, from when the list was read; pauses count. One that takes as long by
    /// itself is given up, and is the last.
    pub warm_start_time: Duration,
    /// How often the list of what is hot is written, if there is something new; at the end of the backend it is
    /// written besides. Use is noted once a second, and halved every
    /// [`hotness_age_interval`](Self::hotness_age_interval).
    pub heat_list_interval: Duration,
    /// How long the drop of the last handle waits for the threads. A compilation that takes longer
    /// finishes on its own afterwards.
    pub shutdown_timeout: Duration,
}

impl Default for RuntimeTuning {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            channel_capacity: 4096,
            observations_per_thread: 256,
            tick_interval: Duration::from_millis(100),
            jit_hot_threshold: 8,
            hot_gas_per_miss: 100_000,
            hotness_slots: 32 * 1024,
            hotness_age_interval: Duration::from_secs(5 * 60),
            jit_max_bytecode_len: MAX_CODE_LEN,
            jit_max_pending_jobs: 2048,
            max_requested_jobs: 32 * 1024,
            jit_worker_count: (cores / 4).clamp(1, 4),
            jit_opt_level: OptimizationLevel::Default,
            jit_tiered: true,
            jit_optimize_after_ticks: 16,
            aot_opt_level: OptimizationLevel::Aggressive,
            resident_code_cache_bytes: 512 << 20,
            resident_code_cache_programs: 32 * 1024,
            aot_code_cache_bytes: 1 << 30,
            idle_evict_duration: Some(Duration::from_secs(30 * 60)),
            eviction_sweep_interval: Duration::from_secs(10),
            failure_retry_delay: Duration::from_secs(10),
            failure_retry_delay_max: Duration::from_secs(60 * 60),
            max_failures_remembered: 64 * 1024,
            compile_time_base: Duration::from_millis(500),
            compile_time_per_byte: Duration::from_micros(100),
            new_code_cpu_burst: Duration::from_secs(30),
            new_code_cpu_per_second: Duration::from_millis(500),
            expected_cpu_base: Duration::from_micros(500),
            expected_cpu_per_byte: Duration::from_micros(5),
            native_len_base: 64 * 1024,
            native_len_per_byte: 256,
            job_abandon_after: Duration::from_secs(60),
            trial: trial::Budget::default(),
            sampled_inputs: 256,
            warm_start_programs: 1024,
            warm_start_time: Duration::from_secs(10),
            heat_list_interval: Duration::from_secs(5 * 60),
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

/// Above any sensible value of a duration here, and far from overflowing an `Instant`.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl RuntimeTuning {
    /// Whether a bytecode may be compiled at all: it is not empty, not an EOF container, and not
    /// longer than [`jit_max_bytecode_len`](Self::jit_max_bytecode_len).
    ///
    /// # Errors
    ///
    /// What speaks against it.
    ///
    /// ```
    /// use revmc_jit::{Ineligible, RuntimeTuning};
    ///
    /// let tuning = RuntimeTuning::default();
    /// assert_eq!(tuning.check_eligible(&[0x60, 0x00]), Ok(()));
    /// assert_eq!(tuning.check_eligible(&[]), Err(Ineligible::Empty));
    /// assert!(!tuning.should_compile(&[0xef, 0x00]));
    /// ```
    #[inline]
    pub fn check_eligible(&self, bytecode: &[u8]) -> Result<(), Ineligible> {
        match bytecode.first() {
            None => Err(Ineligible::Empty),
            Some(0xef) => Err(Ineligible::Eof),
            Some(_) if bytecode.len() > self.jit_max_bytecode_len => Err(Ineligible::TooLong {
                len: bytecode.len(),
                max: self.jit_max_bytecode_len,
            }),
            Some(_) => Ok(()),
        }
    }

    /// [`check_eligible`](Self::check_eligible) as a yes or no.
    #[inline]
    pub fn should_compile(&self, bytecode: &[u8]) -> bool {
        self.check_eligible(bytecode).is_ok()
    }

    /// Checks that the numbers can work.
    ///
    /// # Errors
    ///
    /// The first field found that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        /// Each with the least and the most that it may be.
        macro_rules! counts {
            ($($field:ident: $least:literal, $max:expr;)*) => {
                [$((stringify!($field), self.$field as u128, $least, $max as u128)),*]
            };
        }
        let counts = counts! {
            channel_capacity: 1, 1 << 24;
            observations_per_thread: 1, 1 << 16;
            max_requested_jobs: 1, 1 << 24;
            jit_hot_threshold: 1, 1 << 20;
            hotness_slots: 1, 1 << 28;
            jit_max_bytecode_len: 1, MAX_BYTECODE_LEN;
            jit_max_pending_jobs: 1, 1 << 24;
            jit_worker_count: 1, 1024;
            jit_optimize_after_ticks: 1, u64::MAX;
            resident_code_cache_bytes: 1, usize::MAX;
            resident_code_cache_programs: 1, 1 << 24;
            aot_code_cache_bytes: 1, usize::MAX;
            max_failures_remembered: 1, usize::MAX;
            sampled_inputs: 0, 1 << 20;
            warm_start_programs: 0, HeatList::MAX_ENTRIES;
        };
        for (field, value, least, max) in counts {
            if value < least {
                return Err(ConfigError::Zero(field));
            }
            if value > max {
                return Err(ConfigError::TooLarge { field, value, max });
            }
        }
        if self.trial.time(Duration::ZERO) == Some(Duration::ZERO) {
            return Err(ConfigError::Zero("trial"));
        }
        if !self.hotness_slots.is_power_of_two() {
            let value = self.hotness_slots;
            return Err(ConfigError::NotAPowerOfTwo {
                field: "hotness_slots",
                value,
            });
        }
        if self.hotness_slots < crate::hotness::WAYS {
            return Err(ConfigError::Below {
                field: "hotness_slots",
                least: "8 slots",
            });
        }
        if self.native_len_base == 0 && self.native_len_per_byte == 0 {
            return Err(ConfigError::Zero("native_len_base"));
        }
        if self.compile_time_base.is_zero() && self.compile_time_per_byte.is_zero() {
            return Err(ConfigError::Zero("compile_time_base"));
        }
        self.validate_durations()
    }

    fn validate_durations(&self) -> Result<(), ConfigError> {
        /// Each with whether it may be zero.
        macro_rules! durations {
            ($($field:ident: $may_be_zero:literal;)*) => {
                [$((stringify!($field), self.$field, $may_be_zero)),*]
            };
        }
        let durations = durations! {
            new_code_cpu_burst: false;
            new_code_cpu_per_second: false;
            expected_cpu_base: true;
            expected_cpu_per_byte: true;
            tick_interval: false;
            hotness_age_interval: false;
            eviction_sweep_interval: false;
            failure_retry_delay_max: true;
            job_abandon_after: false;
            compile_time_base: true;
            compile_time_per_byte: true;
            warm_start_time: false;
            heat_list_interval: false;
            shutdown_timeout: true;
        };
        let least = self.trial.time(Duration::ZERO).unwrap_or_default();
        let idle = self.idle_evict_duration.unwrap_or(MAX_DURATION);
        let others = [("trial", least, true), ("idle_evict_duration", idle, false)];
        for (field, value, may_be_zero) in durations.into_iter().chain(others) {
            if value.is_zero() && !may_be_zero {
                return Err(ConfigError::Zero(field));
            }
            if value > MAX_DURATION {
                let (value, max) = (value.as_millis(), MAX_DURATION.as_millis());
                return Err(ConfigError::TooLarge { field, value, max });
            }
        }
        if self.failure_retry_delay.is_zero() {
            return Err(ConfigError::Zero("failure_retry_delay"));
        }
        if self.failure_retry_delay_max < self.failure_retry_delay {
            let (field, least) = ("failure_retry_delay_max", "failure_retry_delay");
            return Err(ConfigError::Below { field, least });
        }
        if self.tick_interval < Duration::from_millis(1) {
            return Err(ConfigError::Below {
                field: "tick_interval",
                least: "1 ms",
            });
        }
        Ok(())
    }

    /// Processor time that compiling `bytecode_len` bytes may take.
    pub(crate) fn compile_time(&self, bytecode_len: usize) -> Duration {
        let len = u32::try_from(bytecode_len).unwrap_or(u32::MAX);
        self.compile_time_base
            .saturating_add(self.compile_time_per_byte.saturating_mul(len))
    }

    /// Bytes of machine code that a program of `bytecode_len` bytes may have.
    pub(crate) fn native_len(&self, bytecode_len: usize) -> usize {
        self.native_len_base
            .saturating_add(self.native_len_per_byte.saturating_mul(bytecode_len))
    }

    /// `duration` in ticks, at least one.
    pub(crate) fn ticks(&self, duration: Duration) -> u64 {
        let ticks = duration
            .as_nanos()
            .div_ceil(self.tick_interval.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX).max(1)
    }
}
