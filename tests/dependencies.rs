//! The dependency tree, as cargo reports it for the features this test is built with, against
//! `deny.toml` (banned crates, allowed licences) and `DEPENDENCIES.md` (a reason for each crate).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// One crate of the tree; the licence is an SPDX expression.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    licence: String,
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What is built of this crate and all below it, for `edges` ("normal", "normal,build").
fn tree(edges: &str) -> BTreeSet<Crate> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "tree", "--locked", "--prefix", "none", "--format", "{p}|{l}",
        ])
        .args(["--edges", edges]);
    for (on, feature) in [
        (cfg!(feature = "hmac-manifest"), "hmac-manifest"),
        (cfg!(feature = "revm"), "revm"),
        (cfg!(feature = "alloy-evm"), "alloy-evm"),
        (cfg!(feature = "revmc"), "revmc"),
        (cfg!(feature = "revm-10"), "revm-10"),
    ] {
        if on {
            cargo.args(["--features", feature]);
        }
    }
    let output = cargo.output().expect("cargo runs");
    let (text, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "cargo tree: {errors}");
    let text = String::from_utf8(text).expect("cargo writes UTF-8");
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (package, licence) = line.split_once('|').expect("the format has it");
            Crate {
                name: package.split(' ').next().unwrap_or_default().to_owned(),
                licence: licence.trim_end_matches(" (*)").to_owned(),
            }
        })
        .filter(|found| found.name != env!("CARGO_PKG_NAME"))
        .collect()
}

/// The strings in quotes between `begin` and the next line that is `]`.
fn strings(text: &str, begin: &str) -> Vec<String> {
    text.lines()
        .skip_while(|line| *line != begin)
        .skip(1)
        .take_while(|line| *line != "]")
        .filter(|line| !line.trim().starts_with('#'))
        .filter_map(|line| Some(line.split('"').nth(1)?.to_owned()))
        .collect()
}

/// The rows `| name | licence | reason |` of `DEPENDENCIES.md`.
fn rows() -> BTreeMap<String, String> {
    let text = read("DEPENDENCIES.md");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, licence, reason] = cells[..] else {
            panic!("not three cells: {line}");
        };
        if name == "crate" || name.starts_with('-') {
            continue;
        }
        assert!(!reason.is_empty(), "{name} has no reason");
        let before = rows.insert(name.to_owned(), licence.to_owned());
        assert!(before.is_none(), "{name} has two rows");
    }
    rows
}

/// Whether an SPDX expression can be met with the `allowed` licences. `/` is the old form of `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.trim();
    if allowed.iter().any(|licence| licence == expression) {
        return true;
    }
    for (operator, all) in [(" OR ", false), ("/", false), (" AND ", true)] {
        let parts = split_outside(expression, operator);
        if parts.len() > 1 {
            let mut parts = parts.iter().map(|part| is_allowed(part, allowed));
            return if all {
                parts.all(|ok| ok)
            } else {
                parts.any(|ok| ok)
            };
        }
    }
    let inside = expression
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    inside.is_some_and(|inside| is_allowed(inside, allowed))
}

/// Splits at the operator, but not within parentheses.
fn split_outside<'a>(text: &'a str, operator: &str) -> Vec<&'a str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= begin && text[at..].starts_with(operator) => {
                parts.push(&text[begin..at]);
                begin = at + operator.len();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

#[test]
fn nothing_banned_is_built_into_a_client() {
    let banned = strings(&read("deny.toml"), "deny = [");
    for name in [
        "crossbeam-epoch",
        "dashmap",
        "parking_lot",
        "loom",
        "llvm-sys",
    ] {
        assert!(
            banned.iter().any(|banned| banned == name),
            "{name} is not banned"
        );
    }
    let tree = tree("normal");
    assert!(tree.len() > 40, "cargo tree printed only {tree:?}");
    for found in &tree {
        assert!(!banned.contains(&found.name), "{} is banned", found.name);
        // Families, whatever their members are called.
        for family in ["crossbeam", "parking_lot", "llvm", "tokio"] {
            assert!(!found.name.starts_with(family), "{} is banned", found.name);
        }
    }
}

#[test]
fn every_crate_has_a_reason_and_an_allowed_licence() {
    let allowed = strings(&read("deny.toml"), "allow = [");
    let rows = rows();
    for found in tree("normal,build") {
        let Crate { name, licence } = found;
        assert_eq!(rows.get(&name), Some(&licence), "the row of {name}");
        assert!(
            is_allowed(&licence, &allowed),
            "{name}: {licence} is not allowed"
        );
    }
}

#[test]
fn every_row_is_of_a_crate_in_the_lock_file() {
    let lock = read("Cargo.lock");
    for name in rows().keys() {
        assert!(
            lock.contains(&format!("\nname = \"{name}\"\n")),
            "{name} is not in Cargo.lock"
        );
    }
}

#[test]
fn every_direct_dependency_says_why_in_the_manifest() {
    let manifest = read("Cargo.toml");
    let rows = rows();
    let (mut inside, mut commented, mut found) = (false, false, 0);
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
            commented = false;
        } else if line.starts_with('#') {
            commented = true;
        } else if line.is_empty() {
            commented = false;
        } else if let (true, Some((key, rest))) = (inside, line.split_once(" = ")) {
            found += 1;
            let package = rest.split_once("package = \"");
            let name = package.map_or(key, |(_, rest)| rest.split('"').next().unwrap_or(key));
            assert!(
                rows.contains_key(name),
                "{name} has no row in DEPENDENCIES.md"
            );
            assert!(commented, "{name}: no comment in Cargo.toml says why");
        }
    }
    assert!(found > 10, "found {found} direct dependencies");
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let allowed = ["MIT", "Unicode-3.0", "X WITH Y"].map(str::to_owned);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("Apache-2.0/MIT", true),
        ("Apache-2.0 / MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("(MIT AND GPL-3.0) OR (GPL-2.0 AND Unicode-3.0)", false),
        ("X WITH Y", true),
        ("X", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}
