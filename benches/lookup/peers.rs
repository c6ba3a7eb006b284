//! The few figures that one map is chosen by, as a table for each kind of lookup, and as a chart.

use super::harness::Effort;
use super::harness::contender::{Contender, compare, floor};
use super::harness::report::{Spread, Table};
use super::svg::{self, text};
use super::{Maps, Session, aimless, shuffled};
use std::fmt::Write;
use std::thread::available_parallelism;

/// The name in the tables, and the one in the chart.
const SHOWN: [(&str, &str); 6] = [
    ("resident, get", "this map"),
    ("resident, borrow", "this map"),
    ("papaya", "papaya"),
    ("scc::HashIndex", "scc::HashIndex"),
    ("ArcSwap<HashMap>", "ArcSwap<HashMap>"),
    ("DashMap", "DashMap"),
];

const KEYS: usize = 64;

/// How many maps of each kind are made: hashers are seeded, and with few keys a seed can be unlucky.
const MAPS: usize = 7;

pub fn peers(session: &mut Session) {
    let count = session.at_most(KEYS);
    let keys = vec![shuffled(0, count)];
    let absent = vec![shuffled(1 << 40, count)];
    let all_threads = available_parallelism().map_or(2, |cores| cores.get().max(2));
    let threads = [1, all_threads];
    let effort = Effort {
        rounds: session.effort.rounds.div_ceil(MAPS),
        ..session.effort
    };
    let mut runs: [Vec<Table>; 3] = Default::default();
    for _ in 0..if session.full() { MAPS } else { 1 } {
        let maps = Maps::new(&keys[0]);
        let kinds = [
            threads.map(|t| maps.counted(t, &keys)),
            threads.map(|t| maps.borrowed(t, &keys)),
            threads.map(|t| maps.counted(t, &absent)),
        ];
        for (contenders, tables) in kinds.into_iter().zip(&mut runs) {
            let mut all = vec![(floor(1, &maps.arcs), None)];
            all.extend(aimless(shown(contenders.into_iter().flatten())));
            tables.push(compare(effort, "", all));
        }
    }
    let kinds = ["hit, an Arc", "hit, borrowed", "miss"];
    let tables = kinds.into_iter().zip(&runs);
    let tables: Vec<_> = tables
        .map(|(kind, runs)| (kind, over(&format!("{kind}, {count} keys"), runs)))
        .collect();
    for (_, table) in &tables {
        session.add(table.clone());
    }
    if let Some(file) = session.svg.clone() {
        let head = format!("One lookup among {count} keys");
        let chart = draw(&head, &tables, threads, session.machine("cpu"));
        std::fs::write(&file, chart).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// Those that are shown, with their threads in their names.
fn shown<'a>(contenders: impl Iterator<Item = Contender<'a>>) -> Vec<Contender<'a>> {
    let mut shown: Vec<_> = contenders
        .filter(|contender| SHOWN.iter().any(|(name, _)| *name == contender.name))
        .collect();
    for contender in &mut shown {
        contender.name = row(&contender.name, contender.threads);
    }
    shown
}

/// The medians of the tables' medians.
fn over(kind: &str, tables: &[Table]) -> Table {
    let title = format!("{kind}, the same for all threads, {} maps", tables.len());
    let mut over = Table::new(title, &["ns", "x floor"]).chart(1);
    for name in tables[0].rows.iter().map(|row| &row.name) {
        let cells = ["ns", "x floor"].map(|column| {
            let cells = tables.iter().filter_map(|table| table.cell(name, column));
            Spread::of(&cells.map(|cell| cell.median).collect::<Vec<_>>())
        });
        over.row(name, &cells);
    }
    over
}

fn row(name: &str, threads: usize) -> String {
    format!("{name}, {}", number(threads))
}

fn number(threads: usize) -> String {
    match threads {
        1 => "1 thread".to_owned(),
        _ => format!("{threads} threads"),
    }
}

const WIDTH: f64 = 860.0;
/// Where the names end.
const NAMES: f64 = 136.0;
/// From the beginning of one table's bars to that of the next's, and of the longest bar.
const ACROSS: f64 = 242.0;
const LONGEST: f64 = 176.0;
const TOP: f64 = 84.0;
const BAR: f64 = 12.0;
const GROUP: f64 = 2.0 * BAR + 16.0;

fn draw(head: &str, tables: &[(&str, Table)], threads: [usize; 2], cpu: &str) -> String {
    let mut body = String::new();
    text(&mut body, "h", 10.0, 26.0, head);
    let unit =
        "in times of one Arc cloned and dropped by one thread (the dashed line); shorter is better";
    text(&mut body, "m", 10.0, 44.0, &format!("{unit}; {cpu}"));
    let mut bottom = TOP;
    for (at, (kind, table)) in tables.iter().enumerate() {
        let left = NAMES + 8.0 + ACROSS * at as f64;
        text(&mut body, "t", left, TOP - 12.0, kind);
        let median = |name: &str, threads| table.cell(&row(name, threads), "x floor");
        let shown = SHOWN.iter().filter_map(|(name, shown)| {
            let [one, all] = threads.map(|threads| median(name, threads));
            Some((shown, [one?.median, all?.median]))
        });
        let shown: Vec<_> = shown.collect();
        let largest = shown
            .iter()
            .flat_map(|(_, ratios)| *ratios)
            .fold(1.0, f64::max);
        let mut y = TOP;
        for (name, ratios) in shown {
            if at == 0 {
                text(&mut body, "n", NAMES, y + BAR + 4.0, name);
            }
            for (series, ratio) in ratios.into_iter().enumerate() {
                let (y, width) = (y + BAR * series as f64, LONGEST * ratio / largest);
                let _ = writeln!(
                    body,
                    "<rect class=\"k{series}\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
                    BAR - 1.0
                );
                let label = format!("{ratio:.2}");
                text(&mut body, "v", left + width + 5.0, y + BAR - 2.0, &label);
            }
            y += GROUP;
        }
        let floor = left + LONGEST / largest;
        let end = y - GROUP + 2.0 * BAR + 4.0;
        let _ = writeln!(
            body,
            "<line class=\"o\" x1=\"{floor:.1}\" x2=\"{floor:.1}\" y1=\"{:.1}\" y2=\"{end:.1}\"/>",
            TOP - 4.0
        );
        bottom = bottom.max(end);
    }
    let names = threads.map(number);
    let names = names.iter().map(String::as_str);
    svg::keys(&mut body, NAMES + 8.0, bottom + 12.0, names);
    svg::document(WIDTH, bottom + 34.0, &body)
}
