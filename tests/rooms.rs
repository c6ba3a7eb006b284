//! Arrows between the files of a room go one way, and none goes up to the crate's root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file's text without comments and without its own tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The files of a room, but those that are tests.
fn files(room: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room);
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, code(&path))
        })
        .filter(|(name, _)| !name.starts_with("test"))
        .collect()
}

/// The first segments of what `use super::…` names; capitals are the room's own root.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("super::") {
        let rest = &code[at + "super::".len()..];
        let mut depth = 0;
        let mut segment = String::new();
        let mut ended = false;
        for c in rest.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth <= 1 => break,
                '}' => depth -= 1,
                ';' => break,
                ',' if depth <= 1 => ended = false,
                _ if c.is_alphanumeric() || c == '_' => {
                    if depth <= 1 && !ended {
                        segment.push(c);
                    }
                    continue;
                }
                _ => {}
            }
            if !segment.is_empty() {
                found.insert(std::mem::take(&mut segment));
                ended = c != ',';
            }
            if depth == 0 {
                break;
            }
        }
        found.extend((!segment.is_empty()).then_some(segment));
    }
    found
}

/// A way from `at` back to a file that is on `path`.
fn circle(
    arrows: &BTreeMap<String, BTreeSet<String>>,
    at: &str,
    path: &[String],
) -> Option<String> {
    if path.iter().any(|name| name == at) {
        return Some(format!("{path:?} → {at}"));
    }
    let path = [path, &[at.to_owned()]].concat();
    let to = arrows.get(at)?;
    to.iter().find_map(|next| circle(arrows, next, &path))
}

#[test]
fn no_circle_between_the_files_of_a_room() {
    for (room, least) in [
        ("backend", 20),
        ("resident", 20),
        ("trial", 10),
        ("compiler", 10),
        ("compiler/x64", 15),
        ("compiler/clif", 5),
        ("revm", 3),
    ] {
        let files = files(room);
        let arrows: BTreeMap<_, BTreeSet<_>> = files
            .iter()
            .filter(|(name, _)| *name != "mod")
            .map(|(name, code)| {
                let named = imports(code);
                let to = named.into_iter().filter(|to| files.contains_key(to));
                (name.clone(), to.filter(|to| to != name).collect())
            })
            .collect();
        let count = arrows.values().flatten().count();
        assert!(count > least, "{room}: {arrows:?}");
        for name in arrows.keys() {
            assert_eq!(circle(&arrows, name, &[]), None, "{room}");
        }
    }
}

#[test]
fn nothing_in_a_room_imports_the_crates_root() {
    for room in ["backend", "resident", "trial"] {
        for (name, code) in files(room) {
            for line in code.lines() {
                let root = line.trim_start().strip_prefix("use crate::");
                let capital = root.and_then(|rest| rest.chars().find(|c| c.is_alphabetic()));
                assert!(
                    !capital.is_some_and(char::is_uppercase),
                    "{room}/{name}: {line}"
                );
            }
        }
    }
}

#[test]
fn a_circle_is_found() {
    let one = imports("use super::{\n    b::{C, d::E},\n    f,\n};\nuse super::g::H;");
    assert_eq!(one, ["b", "f", "g"].map(str::to_owned).into());
    let to = |name: &str| BTreeSet::from([name.to_owned()]);
    let mut arrows = BTreeMap::from([("a".to_owned(), to("b")), ("b".to_owned(), to("c"))]);
    assert_eq!(circle(&arrows, "a", &[]), None);
    arrows.insert("c".to_owned(), to("a"));
    assert!(circle(&arrows, "a", &[]).is_some());
}
