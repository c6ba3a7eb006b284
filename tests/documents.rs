//! What the documents name exists: files, tests, examples, benchmarks, settings, links.
//!
//! Checked in every `*.md` beside `Cargo.toml` and in the rooms' README: spans in backticks and lines of
//! code blocks.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Folders whose files the documents may name.
const ROOMS: [&str; 6] = ["src", "tests", "benches", "examples", "fuzz", ".ci"];

fn documents() -> Vec<(String, String)> {
    let files = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap());
    let beside = files.filter_map(|file| file.file_name().into_string().ok());
    let below = ROOMS.map(|room| format!("{room}/README.md"));
    let names = beside.chain(below).filter(|name| name.ends_with(".md"));
    let mut found: Vec<_> = names
        .filter_map(|name| Some((fs::read_to_string(root().join(&name)).ok()?, name)))
        .map(|(text, name)| (name, text))
        .collect();
    found.sort();
    found
}

fn collect(path: &Path, text: &mut String) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        entries.iter().for_each(|entry| collect(entry, text));
    } else if let Ok(file) = fs::read_to_string(path) {
        text.push_str(&file);
    }
}

/// Everything in the rooms and the manifest, to look identifiers up in.
fn sources() -> String {
    let mut text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let rooms = ROOMS.iter().map(|room| root().join(room));
    rooms.for_each(|room| collect(&room, &mut text));
    text
}

/// Spans in backticks, and the lines of code blocks that are not Rust (which doctests check).
fn spans(document: &str) -> Vec<&str> {
    let (mut found, mut block) = (Vec::new(), None);
    for line in document.lines() {
        if let Some(language) = line.trim().strip_prefix("```") {
            block = if block.is_some() {
                None
            } else {
                Some(language)
            };
        } else if let Some(language) = block {
            if language != "rust" {
                found.push(line.split(" # ").next().unwrap_or(line).trim());
            }
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

fn is_word(text: &str, at: usize, len: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    !text[..at].ends_with(word) && !text[at + len..].starts_with(word)
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(at, _)| is_word(text, at, word.len()))
}

fn in_room(word: &str) -> bool {
    word.split_once('/')
        .is_some_and(|(room, _)| ROOMS.contains(&room))
}

/// What is wrong with a span.
fn problem(span: &str, sources: &str) -> Option<String> {
    let (path, function) = match span.split_once(".rs::") {
        Some((path, function)) => (format!("{path}.rs"), Some(function)),
        None => (span.to_owned(), None),
    };
    for word in path.split([' ', ',', '(', ')']) {
        let word = word.trim_end_matches(['/', '.']);
        if in_room(word) && !root().join(word).exists() {
            return Some(format!("there is no {word}"));
        }
    }
    if let Some(function) = function {
        let text = fs::read_to_string(root().join(&path)).unwrap_or_default();
        if !text.contains(&format!("fn {function}(")) {
            return Some(format!("{path} has no function {function}"));
        }
    }
    let mut words = path.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let folder = match word {
            "--example" => "examples",
            "--bench" => "benches",
            "--test" => "tests",
            ".ci/run" | ".ci/resident" => {
                let script = fs::read_to_string(root().join(word)).unwrap();
                let argument = words
                    .peek()
                    .filter(|next| next.bytes().all(|b| b.is_ascii_lowercase()));
                match argument {
                    Some(argument) if !has_word(&script, argument) => {
                        return Some(format!("{word} does not know {argument}"));
                    }
                    _ => continue,
                }
            }
            _ => continue,
        };
        let name = words.peek().copied().unwrap_or_default();
        let folder = root().join(folder);
        if !folder.join(format!("{name}.rs")).exists()
            && !folder.join(name).join("main.rs").exists()
        {
            return Some(format!("{word} {name} does not exist"));
        }
    }
    // Settings, counters, methods, flags: whatever has an underscore and is no path.
    let words = span.split_whitespace().filter(|word| !in_room(word));
    let identifiers = words.flat_map(|word| word.split(|c: char| !c.is_alphanumeric() && c != '_'));
    for name in identifiers.filter(|name| name.trim_matches('_').contains('_')) {
        if !has_word(sources, name) {
            return Some(format!("nothing is called {name}"));
        }
    }
    None
}

/// GitHub's anchor of a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_matches(['#', ' '])
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// What is wrong with the target of a link in a document of this name.
fn broken(target: &str, name: &str, document: &str) -> Option<String> {
    if target.starts_with("http") {
        return None;
    }
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let text = match file {
        "" => document.to_owned(),
        _ => match fs::read_to_string(root().join(name).with_file_name(file)) {
            Ok(text) => text,
            Err(error) => return Some(format!("{file}: {error}")),
        },
    };
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let found = fragment.is_empty() || headings.map(anchor).any(|anchor| anchor == fragment);
    (!found).then(|| format!("{target}: no such heading"))
}

#[test]
fn what_the_documents_name_exists() {
    let sources = sources();
    let mut problems = Vec::new();
    let mut checked = 0;
    for (name, text) in documents() {
        for span in spans(&text) {
            checked += 1;
            problems.extend(
                problem(span, &sources).map(|problem| format!("{name}: `{span}`: {problem}")),
            );
        }
        for (at, _) in text.match_indices("](") {
            checked += 1;
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            problems
                .extend(broken(target, &name, &text).map(|problem| format!("{name}: {problem}")));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked > 200, "only {checked} spans and links were found");
}

#[test]
fn every_knob_is_in_its_table_and_in_the_readme() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let readme = read("README.md");
    let mut knobs = 0;
    for path in ["src/config/mod.rs", "src/config/tuning.rs"] {
        let source = read(path);
        let fields = source
            .lines()
            .filter_map(|line| line.strip_prefix("    pub "));
        let names = fields.filter_map(|field| Some(field.split_once(": ")?.0));
        for name in names.filter(|name| !name.contains(' ')) {
            knobs += 1;
            assert!(has_word(&readme, name), "README.md does not name {name}");
            let row = format!("| `{name}` | ");
            assert!(source.contains(&row), "{path} has no row for {name}");
        }
    }
    assert!(knobs > 50, "only {knobs} knobs were found");
}

#[test]
fn what_does_not_exist_is_found() {
    let sources = "fn first_thing() {}";
    for wrong in [
        "src/nothing.rs",
        "tests/documents.rs::no_such_test",
        "cargo run --release --example nothing",
        "cargo bench --bench nothing -- single",
        "cargo test --test nothing",
        ".ci/resident nothing",
        "second_thing: 1",
        "a::second_thing()",
    ] {
        assert!(problem(wrong, sources).is_some(), "{wrong}");
    }
    for right in [
        "src/lib.rs",
        "src/backend/",
        "tests/documents.rs::what_does_not_exist_is_found",
        "cargo run --release --example quickstart",
        ".ci/resident loom",
        "first_thing: 1",
    ] {
        assert_eq!(problem(right, sources), None, "{right}");
    }
    assert!(broken("#missing", "README.md", "# Heading").is_some());
    assert!(broken("NOTHING.md", "README.md", "").is_some());
    assert!(broken("charts/lookup.svg", "README.md", "").is_some());
    assert_eq!(broken("charts/lookup.svg", "benches/README.md", ""), None);
    assert_eq!(broken("#two-words", "README.md", "## Two words"), None);
    assert_eq!(
        spans("a `b` c `d`\n```sh\ne # f\n```\n```rust\ng\n```\n"),
        ["b", "d", "e"]
    );
}
