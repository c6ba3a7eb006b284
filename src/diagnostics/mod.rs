//! What a backend writes for people who look into it: names for a profiler, and what the compiler has
//! found. Off by default, written by workers only, and never in the way of a program: what cannot be
//! written is counted.
//!
//! | file | job |
//! |---|---|
//! | `perf_map` | [`RuntimeConfig::perf_map`](crate::RuntimeConfig::perf_map) |
//! | `dump_dir` | [`RuntimeConfig::dump_dir`](crate::RuntimeConfig::dump_dir) |

mod dump_dir;
mod perf_map;

pub(crate) use {
    dump_dir::{DumpDir, Turn},
    perf_map::PerfMap,
};

use crate::{compiler::Tier, key::RuntimeCacheKey};

/// A program's name in files and profiles: code hash, rules and tier.
fn name(key: &RuntimeCacheKey, tier: Tier) -> String {
    format!("{}-{:?}-{tier}", key.code_hash, key.spec_id)
}
