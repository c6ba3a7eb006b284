//! The code generator's settings for this machine.

use super::{CompileError, Tier};
use cranelift_codegen::{
    isa::OwnedTargetIsa,
    settings::{self, Configurable},
};
use std::sync::OnceLock;

/// Extensions the generated code may use where the host has them: the scalar ones. Nothing else is
/// of use to 64-bit limbs, and every extension narrows the machines an artifact fits.
#[cfg(target_arch = "x86_64")]
const SCALAR_EXTENSIONS: &[&str] = &["bmi1", "bmi2", "lzcnt", "popcnt"];
#[cfg(not(target_arch = "x86_64"))]
const SCALAR_EXTENSIONS: &[&str] = &[];

/// Extensions that our own emitter needs besides: without one of them it is not used.
#[cfg(target_arch = "x86_64")]
const EMITTER_EXTENSIONS: &[&str] = &["avx2", "movbe"];
#[cfg(not(target_arch = "x86_64"))]
const EMITTER_EXTENSIONS: &[&str] = &[];

/// Names of the instruction-set extensions that code generated on this machine may use, sorted.
pub fn cpu_features() -> &'static [&'static str] {
    static FEATURES: OnceLock<Vec<&'static str>> = OnceLock::new();
    FEATURES.get_or_init(|| {
        let all = EMITTER_EXTENSIONS.iter().chain(SCALAR_EXTENSIONS).copied();
        let mut found: Vec<_> = all.filter(|name| has_feature(name)).collect();
        found.sort_unstable();
        found
    })
}

#[cfg(target_arch = "x86_64")]
fn has_feature(name: &str) -> bool {
    match name {
        "avx2" => std::is_x86_feature_detected!("avx2"),
        "movbe" => std::is_x86_feature_detected!("movbe"),
        "bmi1" => std::is_x86_feature_detected!("bmi1"),
        "bmi2" => std::is_x86_feature_detected!("bmi2"),
        "lzcnt" => std::is_x86_feature_detected!("lzcnt"),
        "popcnt" => std::is_x86_feature_detected!("popcnt"),
        _ => false,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn has_feature(_name: &str) -> bool {
    false
}

/// The instruction set of this machine, set up for `tier`. With `pinned`, a register is the function's
/// own to keep something in, and to save for its caller. With `check`, Cranelift verifies what it is given
/// and proves of each function that its register allocation keeps every value; a build with debug
/// assertions does the former always.
pub(crate) fn isa(tier: Tier, check: bool, pinned: bool) -> Result<OwnedTargetIsa, CompileError> {
    let unsupported =
        |what: &dyn std::fmt::Display| CompileError::UnsupportedTarget(what.to_string());
    if cfg!(target_endian = "big") {
        // Words of the frame are limbs, the lowest first, and of the memory bytes, the highest first.
        return Err(unsupported(&"a big-endian machine"));
    }
    let mut builder = cranelift_native::builder_with_options(false).map_err(|e| unsupported(&e))?;
    for name in SCALAR_EXTENSIONS.iter().filter(|name| has_feature(name)) {
        builder
            .enable(&format!("has_{name}"))
            .map_err(|e| unsupported(&e))?;
    }

    let mut flags = settings::builder();
    let allocator = match tier {
        Tier::Baseline => "single_pass",
        Tier::Optimized => "backtracking",
    };
    let yes = |yes: bool| if yes { "true" } else { "false" };
    for (name, value) in [
        // Lowering folds constants and forwards stores of the operand stack and the gas to loads.
        // Over that, Cranelift's passes gain nothing that could be measured; they move constants
        // out of loops into memory, and take a third of a compilation.
        ("opt_level", "none"),
        ("regalloc_algorithm", allocator),
        ("enable_verifier", yes(check || cfg!(debug_assertions))),
        ("regalloc_checker", yes(check)),
        ("enable_alias_analysis", "false"),
        // A frame larger than the guard page must touch every page on the way.
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        // "Position independent" would go through a table of absolute addresses; the one thing the
        // code refers to, its own constants, is near and found relative to the program counter.
        ("is_pic", "false"),
        ("unwind_info", "false"),
        ("enable_pinned_reg", yes(pinned)),
    ] {
        flags.set(name, value).map_err(|e| unsupported(&e))?;
    }
    builder
        .finish(settings::Flags::new(flags))
        .map_err(|e| unsupported(&e))
}
