//! What a caller reads: one consistent-enough snapshot of every counter and gauge.
//!
//! A counter only grows; a gauge says how much there is now. Each value is exact (nothing is
//! sampled, no update is lost), but they are read one after the other while work goes on.
//!
//! | [`RuntimeStatsSnapshot`] | kind | meaning |
//! |---|---|---|
//! | `hits` | counter | lookups that found a program |
//! | `misses` | counter | lookups that found nothing |
//! | `negatives` | counter | lookups that found a remembered failure or an artifact to load |
//! | `events_dropped` | counter | promotions lost for want of room (they come again) |
//! | `commands_rejected` | counter | commands that return nothing and could not be delivered |
//! | `resident_entries` | gauge | programs in the map |
//! | `code_bytes` | gauge | mapped bytes of resident JIT programs |
//! | `aot_code_bytes` | gauge | mapped bytes of resident artifacts |
//! | `pending_jobs` | gauge | compilations wanted and not finished (waiting and running) |
//! | `running_jobs` | gauge | compilations on a worker now |
//! | `failures_remembered` | gauge | keys with a failure in mind |
//! | `artifacts_indexed` | gauge | artifacts known to the backend |
//! | `artifact_bytes` | gauge | bytes that these take in the store |
//! | `paused` | gauge | depth of nested pauses |
//! | `workers` | gauge | compile threads, without those given up |
//! | `alive` | gauge | 1 while the backend thread runs |
//! | `tick` | gauge | the coarse clock |
//! | `dispatched` | counter | jobs given to the workers |
//! | `succeeded` | counter | jobs that made a program |
//! | `failed` | counter | jobs that did not, for any reason |
//! | `published` | counter | programs put into the map |
//! | `optimized` | counter | of these, optimised successors of a fast-tier program |
//! | `panicked` | counter | failed jobs: the compiler panicked |
//! | `over_budget` | counter | failed jobs: too slow or too large for the bytecode |
//! | `failed_code` | counter | failed jobs: code that is never compiled |
//! | `failed_compiler` | counter | failed jobs: the compiler's own fault, panics among them |
//! | `miscompiled` | counter | failed jobs: the program was not the interpreter's equal |
//! | `failed_system` | counter | failed jobs: no memory, mapping or file for them |
//! | `overtaken` | counter | failed jobs: a clear of the store came first |
//! | `system_retries` | counter | jobs tried again after programs were dropped for the system |
//! | `trials_passed` | counter | programs that were tried and found equal |
//! | `trial_runs` | counter | runs of these that were compared |
//! | `trial_blocks_covered` | counter | basic blocks that these runs came by |
//! | `trial_blocks` | counter | basic blocks that these programs have |
//! | `trial_cpu_micros` | counter | microseconds of processor time of these trials |
//! | `abandoned` | counter | of those over budget, the ones that were given up |
//! | `cancelled` | counter | jobs that a clear command overtook |
//! | `joined` | counter | requests answered by a job already under way |
//! | `refused_queue_full` | counter | promotions and requests refused: too many jobs waiting |
//! | `refused_ineligible` | counter | requests refused by `should_compile` |
//! | `refused_failed_before` | counter | requests refused: failed before, still resting |
//! | `hash_mismatches` | counter | requests whose code was not the key's |
//! | `retries` | counter | failed keys whose rest ended |
//! | `evicted_idle` | counter | programs dropped because unused |
//! | `evicted_over_budget` | counter | programs dropped because the cache was full |
//! | `clears` | counter | clear commands carried out |
//! | `callback_panics` | counter | `on_compilation` panicked |
//! | `backend_panics` | counter | panics on the backend thread, contained |
//! | `workers_replaced` | counter | workers given up with an abandoned job |
//! | `artifacts_stored` | counter | artifacts written to the store |
//! | `artifacts_loaded` | counter | artifacts loaded from the store |
//! | `artifacts_rejected` | counter | artifacts that failed verification |
//! | `artifacts_displaced` | counter | artifacts that a full store removed for others |
//! | `warm_loaded` | counter | of the artifacts loaded, those of the warm start |
//! | `heat_stored` | counter | lists of what is hot that were written to the store |
//! | `heat_rejected` | counter | such lists of an earlier run that were refused |
//! | `store_errors` | counter | failures of the store |
//! | `store_full` | counter | artifacts not stored because the store was full |
//! | `perf_map_errors` | counter | programs that could not be named in the perf map |
//! | `dump_errors` | counter | dumps that could not be written, or not all of them |
//! | `dumps_left_out` | counter | dumps for which there was no room |
//! | `map_capacity` | gauge | slots of the map |
//! | `map_max_probe` | gauge | longest probe in the map |
//! | `map_tombstones` | gauge | slots of the map that once held an entry |
//! | `map_backlog` | gauge | unlinked entries that some reader may still see |
//! | `map_lent` | gauge | programs gone from the map that callers still hold |

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

macro_rules! stats {
    (
        counted { $($(#[$counter_doc:meta])* $counter:ident,)* }
        computed { $($(#[$gauge_doc:meta])* $gauge:ident,)* }
    ) => {
        /// The values that the backend keeps up to date itself.
        ///
        /// All accesses are `Relaxed`: each value stands alone and orders nothing. Alone on their
        /// cache lines, as lookups that miss read what lies beside them.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Counters {
            $(pub(crate) $counter: AtomicU64,)*
        }

        /// Every counter and gauge at one moment. The [module](self) has the table.
        ///
        /// `Display` is one line of `name=value` for a log.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct RuntimeStatsSnapshot {
            $($(#[$counter_doc])* pub $counter: u64,)*
            $($(#[$gauge_doc])* pub $gauge: u64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> RuntimeStatsSnapshot {
                RuntimeStatsSnapshot {
                    $($counter: self.$counter.load(Relaxed),)*
                    ..RuntimeStatsSnapshot::default()
                }
            }
        }

        impl RuntimeStatsSnapshot {
            /// Every value with its name, for an exporter of metrics.
            pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [
                    $((stringify!($counter), self.$counter),)*
                    $((stringify!($gauge), self.$gauge),)*
                ]
                .into_iter()
            }
        }
    };
}

stats! {
    counted {
        /// Promotions lost because there was no room for the report. The key reports again a few misses later.
        events_dropped,
        /// Commands that return nothing and could not be delivered.
        commands_rejected,
        /// Programs in the map.
        resident_entries,
        /// Mapped bytes of resident JIT programs.
        code_bytes,
        /// Mapped bytes of resident artifacts.
        aot_code_bytes,
        /// Compilations that are wanted and not finished, waiting or running.
        pending_jobs,
        /// Keys with a failure in mind, resting or not.
        failures_remembered,
        /// Artifacts known to the backend.
        artifacts_indexed,
        /// Bytes that these take in the store.
        artifact_bytes,
        /// The coarse clock, in [`tick_interval`](crate::RuntimeTuning::tick_interval)s.
        tick,
        /// Jobs given to the workers.
        dispatched,
        /// Jobs that made a program.
        succeeded,
        /// Jobs that did not, for any reason.
        failed,
        /// Programs put into the map.
        published,
        /// Of these, optimised successors of a fast-tier program.
        optimized,
        /// Failed jobs: the compiler panicked.
        panicked,
        /// Failed jobs: too slow or too large for the length of the bytecode.
        over_budget,
        /// Of those over budget, the ones that were given up, not having come back.
        abandoned,
        /// Failed jobs: code that is never compiled.
        failed_code,
        /// Failed jobs: the compiler's own fault, panics among them.
        failed_compiler,
        /// Failed jobs: the program computed something else than the interpreter. Worth an alert: a
        /// fault of the compiler, which [`Error::Miscompiled`](crate::Error::Miscompiled) describes.
        miscompiled,
        /// Programs that were tried before they were published or stored, and found equal.
        trials_passed,
        /// Runs of these trials that were compared.
        trial_runs,
        /// Basic blocks that these runs came by.
        trial_blocks_covered,
        /// Basic blocks that the programs tried have.
        trial_blocks,
        /// Processor time of these trials, in microseconds.
        trial_cpu_micros,
        /// Failed jobs: the system had no memory, mapping or file for them.
        failed_system,
        /// Failed jobs: a clear of the artifact store came first.
        overtaken,
        /// Jobs tried again after programs were dropped to make the system room.
        system_retries,
        /// Jobs that a clear command overtook.
        cancelled,
        /// Requests answered by a job that was already under way.
        joined,
        /// Observed promotions, and requests, refused because too many jobs were waiting.
        refused_queue_full,
        /// Requests refused by [`should_compile`](crate::RuntimeTuning::should_compile).
        refused_ineligible,
        /// Requests refused because the key failed before and is still resting.
        refused_failed_before,
        /// Requests whose code was not the one their key names.
        hash_mismatches,
        /// Failed keys whose rest ended, so that they may be tried again.
        retries,
        /// Programs dropped because they were not used for a while.
        evicted_idle,
        /// Programs dropped because the cache was full.
        evicted_over_budget,
        /// Clear commands carried out.
        clears,
        /// Panics of the `on_compilation` callback.
        callback_panics,
        /// Panics on the backend thread, contained: of the destructor of a caller's bytecode, say.
        backend_panics,
        /// Workers given up together with an abandoned job.
        workers_replaced,
        /// Artifacts written to the store.
        artifacts_stored,
        /// Artifacts loaded from the store.
        artifacts_loaded,
        /// Artifacts that failed verification.
        artifacts_rejected,
        /// Artifacts that a full store removed to make room for others.
        artifacts_displaced,
        /// Of the artifacts loaded, those that the warm start loaded before anybody missed them
        /// ([`warm_start_programs`](crate::RuntimeTuning::warm_start_programs)).
        warm_loaded,
        /// Lists of what is hot that were written to the store.
        heat_stored,
        /// Lists of what was hot in an earlier run that were refused: damaged, of another key, too long.
        heat_rejected,
        /// Failures of the store.
        store_errors,
        /// Artifacts that were not stored because the store was full, or had just said so.
        store_full,
        /// Programs that could not be named in the [perf map](crate::RuntimeConfig::perf_map).
        perf_map_errors,
        /// [Dumps](crate::RuntimeConfig::dump_dir) that could not be written, or not all of them.
        dump_errors,
        /// Dumps for which there was no room.
        dumps_left_out,
        /// Slots of the map.
        map_capacity,
        /// Longest probe in the map.
        map_max_probe,
        /// Slots of the map that once held an entry and end no probe.
        map_tombstones,
        /// Unlinked entries that are not freed yet because some reader may still see them.
        map_backlog,
        /// Programs gone from the map that callers still hold.
        map_lent,
    }
    computed {
        /// Lookups that found a program.
        hits,
        /// Lookups that found nothing.
        misses,
        /// Lookups that found a remembered failure or the name of an artifact to load.
        negatives,
        /// Compilations on a worker now.
        running_jobs,
        /// Depth of nested pauses; 0 while compilation goes on.
        paused,
        /// Compile threads, not counting those given up.
        workers,
        /// 1 while the backend thread runs; 0 before it is started and after its end.
        alive,
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Relaxed);
}

/// Sets a gauge.
pub(crate) fn set(gauge: &AtomicU64, n: usize) {
    gauge.store(n as u64, Relaxed);
}

impl fmt::Display for RuntimeStatsSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, value) in self.values() {
            write!(f, "{separator}{name}={value}")?;
            separator = " ";
        }
        Ok(())
    }
}

/// Whether a value of [`RuntimeStatsSnapshot::values`] can fall. The others only grow.
pub fn is_gauge(name: &str) -> bool {
    GAUGES.contains(&name)
}

/// The gauges; the test compares them with the table.
const GAUGES: [&str; 17] = [
    "resident_entries",
    "code_bytes",
    "aot_code_bytes",
    "pending_jobs",
    "running_jobs",
    "failures_remembered",
    "artifacts_indexed",
    "artifact_bytes",
    "paused",
    "workers",
    "alive",
    "tick",
    "map_capacity",
    "map_max_probe",
    "map_backlog",
    "map_lent",
    "map_tombstones",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_row_in_the_table() {
        let source = include_str!("stats.rs");
        let names: Vec<_> = RuntimeStatsSnapshot::default()
            .values()
            .map(|(name, _)| name)
            .collect();
        assert!(names.len() > 35, "found only {names:?}");
        for name in &names {
            let kind = if is_gauge(name) { "gauge" } else { "counter" };
            assert!(
                source.contains(&format!("//! | `{name}` | {kind} |")),
                "no row for {name} as a {kind}"
            );
        }
        assert_eq!(source.matches("\n//! | `").count(), names.len());
    }

    #[test]
    fn a_snapshot_shows_what_was_counted() {
        let counters = Counters::default();
        add(&counters.dispatched, 2);
        add(&counters.dispatched, 1);
        set(&counters.code_bytes, 4096);
        let snapshot = counters.snapshot();
        assert_eq!((snapshot.dispatched, snapshot.code_bytes), (3, 4096));
        let line = snapshot.to_string();
        assert!(
            line.contains("dispatched=3 ") && line.contains("code_bytes=4096 "),
            "{line}"
        );
    }
}
