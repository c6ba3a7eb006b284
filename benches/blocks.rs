//! Real blocks: by revm's interpreter, and natively at both tiers, everything compiled before.
//!
//! `cargo bench --bench blocks [-- SECTION] [--json FILE] [--svg FILE]`; the sections are `blocks` and
//! `repeated`. `REVMC_JIT_BLOCKS` names a folder of blocks in the format of `tests/blocks`; without it,
//! they are the few that come with the crate. `examples/replay` compares everything that such blocks do;
//! here they are timed.
//!
//! A block runs in each way in turn, each time on a fresh state in memory that is made before the clock
//! starts. Its speed-ups are of the least times; `in frames` is the share of the interpreter's time that
//! is spent inside call frames, storage and calls' bookkeeping included, and `limit` what a block would
//! gain if frames cost nothing.
//!
//! `repeated` runs each transaction of the larger blocks five times in a row: the first run finds its
//! code in no cache, the others do.

#[path = "../tests/blocks/mod.rs"]
mod blocks;
mod harness;
#[allow(dead_code, reason = "other benchmarks draw other charts")]
#[path = "harness/svg.rs"]
mod svg;

use blocks::{
    format::{Block, Folder, OWN},
    frames,
    native::{Native, times},
    run::{self, Plain},
    step::Runs,
};
use harness::{
    Session,
    report::{Spread, Table},
};
use revm::{context::TxEnv, handler::EvmTr};
use revmc_jit::{compiler::Tier, revm::forget_hashes};
use std::{
    hint::black_box,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// How often each way is timed.
const ROUNDS: usize = 9;

/// Blocks with so many transactions are repeated.
const LARGE: usize = 100;

/// How often a transaction is repeated.
const REPEATS: u32 = 5;

fn folder() -> PathBuf {
    match std::env::var_os("REVMC_JIT_BLOCKS") {
        Some(folder) => folder.into(),
        None => OWN.into(),
    }
}

/// The folder's blocks.
fn all() -> impl Iterator<Item = Block> {
    let folder = Folder::open(&folder()).expect("a folder of blocks");
    let files = folder.files.clone();
    files
        .into_iter()
        .map(move |file| folder.read(&file).expect("a block"))
}

/// Both tiers, with everything that runs in the block compiled.
fn compiled(tiers: &mut [Native], block: &Block) {
    let contracts = run::contracts(block);
    for tier in tiers {
        let refused = tier.compile(&contracts, block.spec);
        assert!(refused.is_empty(), "{refused:?}");
    }
}

fn tiers() -> [Native; 2] {
    [Tier::Baseline, Tier::Optimized].map(|tier| Native::new(tier).expect("a backend"))
}

fn rounds(session: &Session) -> usize {
    if session.full() { ROUNDS } else { 1 }
}

/// The share of a block's time that the interpreter spends inside frames.
fn in_frames(block: &Block) -> f64 {
    let mut evm: Plain<_> = run::evm(block, block.state.clone());
    let steps = frames::steps(block);
    let mut inside = Duration::ZERO;
    let begin = Instant::now();
    frames::run(&mut evm, steps, |evm| {
        let begin = Instant::now();
        let next = evm.frame_run();
        inside += begin.elapsed();
        next
    });
    inside.as_secs_f64() / begin.elapsed().as_secs_f64()
}

/// A block's figures.
struct Line {
    name: String,
    interpreter: Duration,
    /// How many times faster each tier is.
    faster: [f64; 2],
    in_frames: f64,
}

fn line(block: &Block, tiers: &mut [Native; 2], rounds: usize) -> Line {
    compiled(tiers, block);
    let times = times(block, tiers, rounds);
    let faster = |tier: usize| times[0].as_secs_f64() / times[tier].as_secs_f64();
    let shares: Vec<f64> = (0..rounds).map(|_| in_frames(block)).collect();
    Line {
        name: block.header.number.to_string(),
        interpreter: times[0],
        faster: [faster(1), faster(2)],
        in_frames: Spread::of(&shares).median,
    }
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let logarithms: Vec<f64> = values.map(f64::ln).collect();
    (logarithms.iter().sum::<f64>() / logarithms.len().max(1) as f64).exp()
}

fn limit(in_frames: f64) -> f64 {
    1.0 / (1.0 - in_frames)
}

fn every_block(session: &mut Session) {
    let mut tiers = tiers();
    let mut lines: Vec<Line> = all()
        .filter(|block| block.transactions.len() > 1)
        .map(|block| line(&block, &mut tiers, rounds(session)))
        .collect();
    lines.sort_by(|a, b| a.faster[1].total_cmp(&b.faster[1]));
    let columns = [
        "interpreter, ms",
        "tier 1, x faster",
        "tier 2, x faster",
        "in frames, %",
        "limit, x faster",
    ];
    let mut table = Table::new("blocks", &columns).chart(2);
    let exact = |values: [f64; 5]| values.map(Spread::exact);
    for line in &lines {
        let milliseconds = line.interpreter.as_secs_f64() * 1e3;
        let [first, second] = line.faster;
        let share = line.in_frames;
        let cells = [milliseconds, first, second, share * 100.0, limit(share)];
        table.row(&line.name, &exact(cells));
    }
    let mean = |of: fn(&Line) -> f64| geometric_mean(lines.iter().map(of));
    let means = [
        mean(|line| line.interpreter.as_secs_f64() * 1e3),
        mean(|line| line.faster[0]),
        mean(|line| line.faster[1]),
        mean(|line| line.in_frames * 100.0),
        mean(|line| limit(line.in_frames)),
    ];
    table.row("geometric mean", &exact(means));
    session.add(table);

    let mut native = Table::new(
        "machine code, bytes per byte of bytecode",
        &["tier 1", "tier 2"],
    );
    native.row(
        "all",
        &tiers.each_ref().map(|tier| Spread::exact(tier.ratio())),
    );
    session.add(native);
    if let Some(file) = session.svg.clone() {
        std::fs::write(&file, chart(&lines)).expect("the chart can be written");
    }
}

/// Speed-ups over the blocks, the least first, and the share of time that is spent inside frames.
fn chart(lines: &[Line]) -> String {
    let (width, height) = (860.0, 560.0);
    let column = |of: fn(&Line) -> f64| lines.iter().map(of).collect::<Vec<_>>();
    let (first, second) = (column(|l| l.faster[0]), column(|l| l.faster[1]));
    let (share, most) = (
        column(|l| l.in_frames * 100.0),
        column(|l| limit(l.in_frames)),
    );
    let mut body = String::new();
    svg::text(
        &mut body,
        "h",
        10.0,
        26.0,
        "Real blocks, times the interpreter's speed",
    );
    let area = |y| svg::Area {
        x: 50.0,
        y,
        width: width - 80.0,
        height: 180.0,
    };
    let blocks = "blocks, least gain first";
    let title = "speed of native code; 1 is revm's interpreter";
    let series = [("tier 1", &first[..]), ("tier 2", &second[..])];
    svg::plot(&mut body, area(70.0), title, blocks, &series);
    let title = "share of the interpreter's time inside frames, %";
    svg::plot(
        &mut body,
        area(340.0),
        title,
        blocks,
        &[("inside frames", &share)],
    );
    let mean = geometric_mean(most.iter().copied());
    let remark = format!("if frames cost nothing, blocks were {mean:.2} times as fast");
    svg::text(&mut body, "m", 420.0, 548.0, &remark);
    svg::document(width, height, &body)
}

/// The time of each transaction's first run and of one of those after it, all of a block's together.
fn repeat<E: Runs>(evm: &mut E, transactions: &[TxEnv]) -> [Duration; 2] {
    let mut spent = [Duration::ZERO; 2];
    forget_hashes();
    for transaction in transactions {
        for run in 0..REPEATS {
            let transaction = transaction.clone();
            let begin = Instant::now();
            let result = black_box(evm.transact_one(transaction));
            spent[usize::from(run > 0)] += begin.elapsed();
            let state = evm.finalize();
            if run + 1 == REPEATS && result.is_ok() {
                evm.commit(state);
            }
        }
    }
    [spent[0], spent[1] / (REPEATS - 1)]
}

fn repeated(session: &mut Session) {
    let mut tiers = tiers();
    let columns = [
        "tier 1, first",
        "tier 1, again",
        "tier 2, first",
        "tier 2, again",
    ];
    let mut table = Table::new(
        "each transaction five times in a row, times the interpreter's speed",
        &columns,
    );
    let mut means: [Vec<f64>; 4] = Default::default();
    for block in all().filter(|block| block.transactions.len() >= LARGE) {
        compiled(&mut tiers, &block);
        let mut least = [[Duration::MAX; 2]; 3];
        for _ in 0..rounds(session).min(5) {
            let mut keep = |way: usize, spent: [Duration; 2]| {
                for (least, spent) in least[way].iter_mut().zip(spent) {
                    *least = (*least).min(spent);
                }
            };
            let mut plain: Plain<_> = run::evm(&block, block.state.clone());
            keep(0, repeat(&mut plain, &block.transactions));
            for (way, tier) in tiers.iter().enumerate() {
                let mut evm = tier.evm(&block, block.state.clone());
                keep(1 + way, repeat(&mut evm, &block.transactions));
            }
        }
        let [plain, native @ ..] = least.map(|times| times.map(|time| time.as_secs_f64()));
        let cells: Vec<f64> = native
            .iter()
            .flat_map(|native| [plain[0] / native[0], plain[1] / native[1]])
            .collect();
        for (all, cell) in means.iter_mut().zip(&cells) {
            all.push(*cell);
        }
        let cells: Vec<_> = cells.into_iter().map(Spread::exact).collect();
        table.row(block.header.number.to_string(), &cells);
    }
    if table.rows.is_empty() {
        println!("\nno block has {LARGE} transactions: nothing to repeat");
        return;
    }
    let means = means.map(|cells| Spread::exact(geometric_mean(cells.into_iter())));
    table.row("geometric mean", &means);
    session.add(table);
}

fn main() -> ExitCode {
    harness::run("blocks", &[("blocks", every_block), ("repeated", repeated)])
}
