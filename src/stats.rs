//! What a caller reads: one consistent-enough snapshot of every counter and gauge.
//!
//! A counter only grows; a gauge says how much there is now. Each value is exact (nothing is
//! sampled, no update is lost), but they are read one after the other while work goes on.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

macro_rules! stats {
    (
        counted { $($(#[$counted_doc:meta])* $counted_kind:ident $counted:ident,)* }
        computed { $($(#[$computed_doc:meta])* $computed_kind:ident $computed:ident,)* }
    ) => {
        /// The values that the backend keeps up to date itself.
        ///
        /// All accesses are `Relaxed`: each value stands alone and orders nothing. Alone on their
        /// cache lines, as lookups that miss read what lies beside them.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Counters {
            $(pub(crate) $counted: AtomicU64,)*
        }

        /// Every counter and gauge at one moment; [`is_gauge`] tells them apart.
        ///
        /// `Display` is one line of `name=value` for a log.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct RuntimeStatsSnapshot {
            $(
                $(#[$counted_doc])*
                #[doc = concat!("\n\nA ", stringify!($counted_kind), ".")]
                pub $counted: u64,
            )*
            $(
                $(#[$computed_doc])*
                #[doc = concat!("\n\nA ", stringify!($computed_kind), ".")]
                pub $computed: u64,
            )*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> RuntimeStatsSnapshot {
                RuntimeStatsSnapshot {
                    $($counted: self.$counted.load(Relaxed),)*
                    ..RuntimeStatsSnapshot::default()
                }
            }
        }

        impl RuntimeStatsSnapshot {
            /// Every value with its name, for an exporter of metrics.
            pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [
                    $((stringify!($counted), self.$counted),)*
                    $((stringify!($computed), self.$computed),)*
                ]
                .into_iter()
            }
        }

        /// What each value is, counter or gauge.
        const KINDS: &[(&str, &str)] = &[
            $((stringify!($counted), stringify!($counted_kind)),)*
            $((stringify!($computed), stringify!($computed_kind)),)*
        ];
    };
}

stats! {
    counted {
        /// Promotions lost because there was no room for the report. The key reports again a few misses later.
        counter events_dropped,
        /// Commands that return nothing and could not be delivered.
        counter commands_rejected,
        /// Programs in the map.
        gauge resident_entries,
        /// Mapped bytes of resident JIT programs.
        gauge code_bytes,
        /// Mapped bytes of resident artifacts.
        gauge aot_code_bytes,
        /// Compilations that are wanted and not finished, waiting or running.
        gauge pending_jobs,
        /// Failures in mind, one for a key and a tier, resting or not.
        gauge failures_remembered,
        /// Artifacts known to the backend.
        gauge artifacts_indexed,
        /// Bytes that these take in the store.
        gauge artifact_bytes,
        /// The coarse clock, in [`tick_interval`](crate::RuntimeTuning::tick_interval)s.
        gauge tick,
        /// Jobs given to the workers.
        counter dispatched,
        /// Jobs that made a program.
        counter succeeded,
        /// Jobs that did not, for any reason.
        counter failed,
        /// Frames that were interpreted although a program was found: it is for other prices of
        /// instructions, say, because the [`chain`](crate::RuntimeConfig::chain) is not the client's.
        counter frames_refused,
        /// Programs put into the map.
        counter published,
        /// Of these, optimised successors of a fast-tier program.
        counter optimized,
        /// Failed jobs: the compiler panicked.
        counter panicked,
        /// Failed jobs: too slow or too large for the length of the bytecode.
        counter over_budget,
        /// Of those over budget, the ones that were given up, not having come back.
        counter abandoned,
        /// Failed jobs: code that is never compiled.
        counter failed_code,
        /// Failed jobs: the compiler's own fault, panics among them.
        counter failed_compiler,
        /// Failed jobs: the program computed something else than the interpreter. Worth an alert: a
        /// fault of the compiler, which [`Error::Miscompiled`](crate::Error::Miscompiled) describes.
        counter miscompiled,
        /// Programs that were tried before they were published or stored, and found equal.
        counter trials_passed,
        /// Runs of these trials that were compared.
        counter trial_runs,
        /// Basic blocks that these runs came by.
        counter trial_blocks_covered,
        /// Basic blocks that the programs tried have.
        counter trial_blocks,
        /// Processor time of these trials, in microseconds.
        counter trial_cpu_micros,
        /// Failed jobs: the system had no memory, mapping or file for them.
        counter failed_system,
        /// Failed jobs: a clear of the artifact store came first.
        counter overtaken,
        /// Jobs tried again after programs were dropped to make the system room.
        counter system_retries,
        /// Jobs that a clear command overtook.
        counter cancelled,
        /// Requests answered by a job that was already under way.
        counter joined,
        /// Observed promotions, and requests, refused because too many jobs were waiting.
        counter refused_queue_full,
        /// Requests refused by [`should_compile`](crate::RuntimeTuning::should_compile).
        counter refused_ineligible,
        /// Requests refused because the key failed before and is still resting.
        counter refused_failed_before,
        /// Observed keys that were left alone, because the system has refused memory for a program lately.
        counter refused_by_system,
        /// Requests whose code was not the one their key names.
        counter hash_mismatches,
        /// Failed keys whose rest ended, so that they may be tried again.
        counter retries,
        /// Programs dropped because they were not used for a while.
        counter evicted_idle,
        /// Programs dropped because the cache was full.
        counter evicted_over_budget,
        /// Clear commands carried out.
        counter clears,
        /// Panics of the `on_compilation` callback.
        counter callback_panics,
        /// Panics on the backend thread, contained: of the destructor of a caller's bytecode, say.
        counter backend_panics,
        /// Workers given up together with an abandoned job.
        counter workers_replaced,
        /// Artifacts written to the store.
        counter artifacts_stored,
        /// Artifacts loaded from the store.
        counter artifacts_loaded,
        /// Artifacts that failed verification, or are too large to be kept.
        counter artifacts_rejected,
        /// Artifacts that a full store removed to make room for others.
        counter artifacts_displaced,
        /// Of the artifacts loaded, those that the warm start loaded before anybody missed them
        /// ([`warm_start_programs`](crate::RuntimeTuning::warm_start_programs)).
        counter warm_loaded,
        /// Lists of what is hot that were written to the store.
        counter heat_stored,
        /// Lists of what was hot in an earlier run that were refused: damaged, of another key, too long.
        counter heat_rejected,
        /// Failures of the store, and of the system to load from it.
        counter store_errors,
        /// Artifacts that were not stored because the store was full, or had just said so.
        counter store_full,
        /// Programs that could not be named in the [perf map](crate::RuntimeConfig::perf_map).
        counter perf_map_errors,
        /// [Dumps](crate::RuntimeConfig::dump_dir) that could not be written, or not all of them.
        counter dump_errors,
        /// Dumps for which there was no room.
        counter dumps_left_out,
        /// Slots of the map.
        gauge map_capacity,
        /// Longest probe in the map.
        gauge map_max_probe,
        /// Slots of the map that once held an entry and end no probe.
        gauge map_tombstones,
        /// Unlinked entries that are not freed yet because some reader may still see them.
        gauge map_backlog,
        /// Programs gone from the map that callers still hold.
        gauge map_lent,
    }
    computed {
        /// Lookups that found a program. (Its frame may be [refused](Self::frames_refused) yet.)
        counter hits,
        /// Lookups that found nothing.
        counter misses,
        /// Lookups that found a remembered failure or the name of an artifact to load.
        counter negatives,
        /// Compilations on a worker now.
        gauge running_jobs,
        /// Depth of nested pauses; 0 while compilation goes on.
        gauge paused,
        /// Compile threads, not counting those given up.
        gauge workers,
        /// 1 while the backend thread runs; 0 before it is started, after its end and in a forked child.
        gauge alive,
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
    KINDS.contains(&(name, "gauge"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
