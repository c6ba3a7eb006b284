//! Arrows between the files of a room go one way, those between rooms go down, and none goes up to the
//! crate's root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file's text without comments and without its own tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("mod tests {").next().unwrap();
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

/// The first segments of what `use super::…` names, or another `root`; capitals are the root's own.
fn imports(code: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        let rest = &code[at + root.len()..];
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
        ("artifact", 20),
        ("backend", 20),
        ("resident", 20),
        ("revmc", 3),
        ("revmc/lower", 10),
        ("trial", 10),
        ("compiler", 10),
        ("compiler/x64", 15),
        ("compiler/clif", 5),
        ("adapter", 3),
        ("revm", 0),
    ] {
        let files = files(room);
        let arrows: BTreeMap<_, BTreeSet<_>> = files
            .iter()
            .filter(|(name, _)| *name != "mod")
            .map(|(name, code)| {
                let named = imports(code, "super::");
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

/// The rooms, each above all that it imports.
const FLOORS: [&str; 25] = [
    "revmc",
    "revm",
    "backend",
    "diagnostics",
    "config",
    "event",
    "aot",
    "front_end",
    "worker",
    "error",
    "hotness",
    "trial",
    "adapter",
    "program",
    "chain",
    "compiler",
    "artifact",
    "resident",
    "stats",
    "frame",
    "code",
    "key",
    "cpu_time",
    "files",
    "panics",
];

/// The code of a room, or of a folder in one, without tests.
fn all_code(path: &Path, text: &mut String) {
    let name = path.file_stem().unwrap().to_string_lossy();
    if name.starts_with("test") || name == "check" || name == "faults" {
        return;
    }
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        entries.for_each(|entry| all_code(&entry.unwrap().path(), text));
    } else {
        text.push_str(&code(path));
    }
}

/// The code of each room, by its floor, the highest first.
fn rooms() -> BTreeMap<usize, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut rooms = BTreeMap::new();
    for entry in fs::read_dir(&src).unwrap() {
        let path = entry.unwrap().path();
        let room = path.file_stem().unwrap().to_string_lossy().into_owned();
        if room == "lib" {
            continue;
        }
        let floor = FLOORS.iter().position(|name| *name == room);
        let floor = floor.unwrap_or_else(|| panic!("{room} stands on no floor"));
        all_code(&path, rooms.entry(floor).or_default());
    }
    rooms
}

#[test]
fn arrows_between_rooms_go_down() {
    let mut arrows = 0;
    for (floor, text) in rooms() {
        let room = FLOORS[floor];
        for to in imports(&text, "crate::") {
            if to == room || to.starts_with(char::is_uppercase) {
                continue;
            }
            arrows += 1;
            assert!(FLOORS[floor..].contains(&&*to), "{room} imports {to}");
        }
    }
    assert!(arrows > 70, "only {arrows} arrows were found");
}

/// The type whose methods a block holds, by what stands between `impl` and its brace.
fn subject(header: &str) -> &str {
    let mut depth = 0;
    let generics = header.find(|c| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        depth == 0
    });
    let name = &header[generics.unwrap_or_default()..];
    let name = name.trim_start_matches('>').split(['<', '\n']).next();
    name.unwrap_or_default().rsplit("::").next().unwrap().trim()
}

/// The methods in `code` of types that are not defined there, but private ones.
fn added_methods(code: &str) -> BTreeSet<String> {
    let defined = |name: &str| {
        let kinds = ["struct", "enum", "union", "trait", "type"];
        kinds.iter().any(|kind| {
            let definition = format!("{kind} {name}");
            let mut found = code.match_indices(&definition);
            found.any(|(at, _)| !code[at + definition.len()..].starts_with(char::is_alphanumeric))
        })
    };
    let blocks = code.split("\nimpl").skip(1);
    let added = blocks.filter(|block| {
        let header = block.split('{').next().unwrap();
        !header.contains(" for ") && !defined(subject(header))
    });
    let bodies = added.map(|block| block.split("\n}").next().unwrap());
    let lines = bodies.flat_map(str::lines).map(str::trim_start);
    let names = lines.filter_map(|line| line.strip_prefix("pub")?.split_once("fn "));
    names
        .map(|(_, rest)| rest.split(['<', '(']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn methods_that_a_room_adds_to_anothers_type_are_called_from_above() {
    let rooms = rooms();
    let mut methods = 0;
    for (floor, code) in &rooms {
        for method in added_methods(code) {
            methods += 1;
            for (below, code) in rooms.range(floor + 1..) {
                let called = code.contains(&format!(".{method}("));
                let (below, room) = (FLOORS[*below], FLOORS[*floor]);
                assert!(!called, "{below} calls {method} of {room}");
            }
        }
    }
    assert!(methods > 0, "only {methods} methods were found");
}

#[test]
fn nothing_in_a_room_imports_the_crates_root() {
    for room in ["adapter", "artifact", "backend", "resident", "trial"] {
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
fn a_method_of_anothers_type_is_found() {
    let found = added_methods(
        "\nstruct A;\nimpl<T: F<u8>> A<T> {\n    pub fn a(&self) {}\n}\nimpl<T> B<T>\nwhere\n    T: C,\n{\n    \
         pub(super) fn b<U>(&self) {}\n    fn c(&self) {}\n}\nimpl D for E {\n    fn d(&self) {}\n}",
    );
    assert_eq!(found, ["b".to_owned()].into());
}

#[test]
fn a_circle_is_found() {
    let one = imports(
        "use super::{\n    b::{C, d::E},\n    f,\n};\nuse super::g::H;",
        "super::",
    );
    assert_eq!(one, ["b", "f", "g"].map(str::to_owned).into());
    let to = |name: &str| BTreeSet::from([name.to_owned()]);
    let mut arrows = BTreeMap::from([("a".to_owned(), to("b")), ("b".to_owned(), to("c"))]);
    assert_eq!(circle(&arrows, "a", &[]), None);
    arrows.insert("c".to_owned(), to("a"));
    assert!(circle(&arrows, "a", &[]).is_some());
}
