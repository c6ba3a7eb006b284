//! Trial: a program runs against the interpreter on its own contract before anybody runs it.
//!
//! [`run`] gives a program made-up calls and compares, stop by stop, everything that the interpreter
//! makes of them: action, result, output, gas (left, refunded, state gas), operand stack, memory,
//! program counter, return data, and what the host was asked, in order and with all arguments. It needs
//! revm's interpreter and nothing else of revm.
//!
//! # What is tried
//!
//! * Call data from the selectors and constants that the code compares with, from data that real calls
//!   had ([`Options::samples`]), none, short and long; then changes of what led to instructions that
//!   had not been run.
//! * A host whose answers follow from a seed: storage, accounts, blocks, failures of its database; and
//!   outcomes of calls and creates, by which the frame goes on.
//! * Gas that is plenty, and, where something new was found, gas that runs out on the way.
//! * Frames that change sides; memory that moves whenever it can; call data in the caller's memory.
//!
//! # What that shows
//!
//! A difference is a fault of the compiler (or of the interpreter): the program is not to be used. No
//! difference is evidence and no proof, for the blocks that were covered: a block is covered when a run
//! that both sides agree on has come by it. Machine code that writes where it must not, or never ends, does so
//! in a trial, too.
//!
//! A trial is of one frame: what it calls or creates is not run but answered. Runs of the interpreter
//! longer than 20,000 steps are compared with less gas only.
//!
//! A contract's own instructions and prices ([`Chain`](crate::Chain)) are in the trial what the rules
//! say of them: static gas; behind an opcode that is not standard stands mainnet's instruction, on both
//! sides.
//!
//! # Invariants
//!
//! * **R1** What a run does follows from the program, its bytecode and the [`Input`]: the host's answers
//!   and the calls' outcomes are functions of the seed and the question. So two sides that ask the same
//!   are told the same, and [`replay`] shows a difference again.
//! * **R2** Which inputs are tried follows from the code and the [`Options`]; from the time only how
//!   many.
//! * **R3** A run that the interpreter does not end, or panics in, is none to compare, and covers nothing.
//! * **R4** A panic goes no further than its run; on the machine code's side it is a difference.
//! * **R5** Where the host is asked for prices, the memory of the machine code's side moves, if it is not
//!   large. Where it was stays allocated and holds other bytes, so that an address that was kept shows.

mod budget;
mod calls;
mod code;
#[cfg(test)]
mod faults;
mod generate;
mod host;
mod input;
mod rng;
mod script;
mod shrink;
mod side;
#[cfg(test)]
pub(crate) mod tests;

pub use budget::Budget;
pub use input::Input;

use crate::{
    compiler::{Tier, block_starts},
    cpu_time::Moment,
    key::RuntimeCacheKey,
    program::CompiledProgram,
};
use alloy_primitives::Bytes;
use code::Clues;
use generate::Generator;
use side::{Bench, Coverage, Ended, Outcome};
use std::{fmt, time::Duration};

/// Steps of the interpreter in one run, at most.
const MAX_STEPS: usize = 20_000;

/// Runs that go into making an input smaller, at most.
const MAX_SMALLER: usize = 2000;

/// What a trial may cost, and what it begins with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides all inputs, together with the code and the samples. Default: 0.
    pub seed: u64,
    /// Processor time, after which no further run begins; as much again may go into making an input
    /// that shows a difference smaller. Default: 10 ms.
    pub time: Duration,
    /// Runs, at most. Default: no limit but the time.
    pub runs: u64,
    /// Data of real calls. Default: none.
    pub samples: Vec<Bytes>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            time: Duration::from_millis(10),
            runs: u64::MAX,
            samples: Vec::new(),
        }
    }
}

/// A trial that found no difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passed {
    /// Runs that were compared.
    pub runs: u64,
    /// Basic blocks that these came by.
    pub blocks_covered: u32,
    /// Basic blocks that control could reach if every JUMPDEST can be jumped to.
    pub blocks_total: u32,
    /// Processor time of the trial.
    pub time: Duration,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            runs,
            blocks_covered,
            blocks_total,
            ..
        } = self;
        write!(
            f,
            "equal in {runs} runs over {blocks_covered} of {blocks_total} blocks"
        )
    }
}

/// A program that computes something else than the interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// What was compiled.
    pub key: RuntimeCacheKey,
    /// The program's tier.
    pub tier: Tier,
    /// The smallest input that was found to show it; [`replay`] does so again.
    pub input: Input,
    /// What differs first.
    pub what: String,
    /// Runs until it was found.
    pub runs: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            tier,
            input,
            what,
            ..
        } = self;
        write!(
            f,
            "the {tier} program of {key} is not the interpreter's equal, with {input}: {what}"
        )
    }
}

impl std::error::Error for Difference {}

/// Tries `program`, which was compiled from `code`, within the limits of `options`; at least one run
/// is made.
///
/// Costs processor time, and runs machine code that nobody has tried: not for an execution thread.
///
/// ```
/// use revmc_jit::primitives::{Bytes, SpecId, keccak256};
/// use revmc_jit::{JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig, trial};
///
/// let code = Bytes::from_static(&[0x60, 0x01, 0x60, 0x02, 0x01, 0x00]); // 1 + 2; stop
/// let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::OSAKA };
/// let backend = JitBackend::new(RuntimeConfig::default())?;
/// backend.compile_jit_sync(LookupRequest { key, code: code.clone() })?;
/// let program = backend.get_compiled(key.code_hash, key.spec_id).expect("resident");
///
/// let passed = trial::run(&program, &code, &trial::Options::default()).expect("no difference");
/// assert_eq!(passed.blocks_covered, 1);
/// # Ok::<(), revmc_jit::Error>(())
/// ```
///
/// # Errors
///
/// The first difference, with an input that was made as small as the limits allow.
pub fn run(
    program: &CompiledProgram,
    code: &Bytes,
    options: &Options,
) -> Result<Passed, Box<Difference>> {
    let clock = Moment::now();
    let clues = Clues::of(code);
    let bench = Bench::new(program, code, clues.constants.clone());
    let mut trial = Trial {
        bench: &bench,
        coverage: Coverage::new(code.len()),
        begun: 0,
        compared: 0,
    };
    let mut generator = Generator::new(options.seed, &clues, bench.spec_id(), &options.samples);
    let mut variants: Vec<Input> = Vec::new();
    loop {
        let variant = variants.pop();
        let is_variant = variant.is_some();
        let mut input = variant.unwrap_or_else(|| generator.next());
        let spent = match trial.compare(&mut input) {
            Ok(spent) => spent,
            Err(what) => return Err(trial.difference(program, input, what, options)),
        };
        if let Some(spent) = spent.filter(|_| trial.coverage.has_grown()) {
            if !is_variant {
                variants.extend(generator.variants(&input, spent));
            }
            generator.found(input, spent);
        }
        if trial.begun >= options.runs || clock.cpu() >= options.time {
            break;
        }
    }
    let starts = block_starts(code, program.rules());
    let covered = starts
        .iter()
        .filter(|pc| trial.coverage.covers(**pc as usize));
    Ok(Passed {
        runs: trial.compared,
        blocks_covered: covered.count() as u32,
        blocks_total: starts.len() as u32,
        time: clock.cpu(),
    })
}

/// A trial under way.
struct Trial<'a> {
    bench: &'a Bench<'a>,
    coverage: Coverage,
    begun: u64,
    compared: u64,
}

impl Trial<'_> {
    /// Runs both sides; gives the gas that was used, or nothing if the interpreter's run is none to
    /// compare with. A run that is too long gets less gas.
    ///
    /// # Errors
    ///
    /// What differs first.
    fn compare(&mut self, input: &mut Input) -> Result<Option<u64>, String> {
        self.begun += 1;
        let Some(expected) = expected(self.bench, input, &mut self.coverage) else {
            // R3.
            self.coverage.undo();
            return Ok(None);
        };
        expected.compare(&self.bench.native(input))?;
        self.compared += 1;
        Ok(Some(expected.spent()))
    }

    /// Makes the input that shows a difference smaller.
    fn difference(
        &mut self,
        program: &CompiledProgram,
        input: Input,
        what: String,
        options: &Options,
    ) -> Box<Difference> {
        let clock = Moment::now();
        let runs = self.begun;
        let bench = self.bench;
        let mut coverage = Coverage::new(0);
        let mut what = what;
        let mut left = MAX_SMALLER;
        let differs = |input: &Input| {
            let mut other = input.clone();
            let Some(expected) = expected(bench, &mut other, &mut coverage) else {
                return false;
            };
            match expected.compare(&bench.native(input)) {
                Err(found) if other == *input => {
                    what = found;
                    true
                }
                _ => false,
            }
        };
        let more = || {
            left -= 1;
            left > 0 && clock.cpu() < options.time
        };
        let input = shrink::shrink(input, differs, more);
        Box::new(Difference {
            key: program.key(),
            tier: program.tier(),
            input,
            what,
            runs,
        })
    }
}

/// What the interpreter makes of an input; of one that it runs for too long, with less gas.
fn expected(bench: &Bench<'_>, input: &mut Input, coverage: &mut Coverage) -> Option<Outcome> {
    for factor in 1..=2 {
        coverage.begin();
        match bench.interpreted(input, coverage, factor * MAX_STEPS) {
            Ended::With(outcome) => return Some(outcome).filter(|outcome| !outcome.is_broken()),
            Ended::TooLong(gas) => {
                coverage.undo();
                input.gas = gas;
            }
        }
    }
    None
}

/// Runs one input again.
///
/// # Errors
///
/// What differs first.
pub fn replay(program: &CompiledProgram, code: &Bytes, input: &Input) -> Result<(), String> {
    let bench = Bench::new(program, code, Clues::of(code).constants);
    let mut input = input.clone();
    match expected(&bench, &mut input, &mut Coverage::new(0)) {
        Some(expected) => expected.compare(&bench.native(&input)),
        None => Ok(()),
    }
}
