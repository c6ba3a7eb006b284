//! Every `unsafe` in `src/`, its SAFETY comment and the invariants that the comment cites.
//!
//! The test fails if
//!
//! * an `unsafe` block or impl has no `// SAFETY:` comment directly above its statement, or an
//!   `unsafe fn` neither that nor a `# Safety` section;
//! * such a comment cites no numbered invariant (`M1`), or one that no module documentation of its
//!   room (the folder under `src/`, or the file) defines as `**M1**`;
//! * a room defines a label twice;
//! * `UNSAFE.md` does not say what the sources say. To write it anew:
//!
//! ```text
//! BLESS=1 cargo test --test unsafe_inventory
//! ```
//!
//! `UNSAFE.md` holds no line numbers, so that it changes only when an `unsafe` does. To see them:
//!
//! ```text
//! cargo test --test unsafe_inventory -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A source file, and the same text with comments, strings and characters blanked out.
struct Source {
    /// Relative to `src/`, with `/`.
    name: String,
    text: String,
    code: String,
}

/// One `unsafe` of a source.
#[derive(Debug)]
struct Site {
    line: usize,
    kind: &'static str,
    /// The function it is in, or its own header.
    place: String,
    /// What is said about it, on one line.
    reason: String,
}

/// Blanks comments, strings and character literals; keeps length and line breaks.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let end = at
            + if rest.starts_with(b"//") {
                rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())
            } else if rest.starts_with(b"/*") {
                block_comment(rest)
            } else if let Some(len) = raw_string(rest, at.checked_sub(1).map(|i| bytes[i])) {
                len
            } else if rest[0] == b'"' {
                quoted(rest)
            } else if rest[0] == b'\'' {
                match character(rest) {
                    Some(len) => len,
                    None => {
                        at += 1;
                        continue;
                    }
                }
            } else {
                at += 1;
                continue;
            };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole characters were replaced")
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of `r"…"`, `r#"…"#`, … at the start, if one is there and no identifier runs into it.
fn raw_string(rest: &[u8], before: Option<u8>) -> Option<usize> {
    if rest[0] != b'r' || before.is_some_and(|b| b.is_ascii_alphanumeric() && b != b'b') {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let body = 2 + hashes;
    let found = rest[body..].windows(end.len()).position(|w| w == end)?;
    Some(body + found + end.len())
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Length of a character literal; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|&b| b == b'\'')?;
        return Some(3 + close + 1);
    }
    let close = 2 + rest.iter().skip(2).take(4).position(|&b| b == b'\'')?;
    // One character, of up to four bytes, between the quotes.
    let inside = std::str::from_utf8(&rest[1..close]).ok()?;
    (inside.chars().count() == 1).then_some(close + 1)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn sites(source: &Source, problems: &mut Vec<String>) -> Vec<Site> {
    let code = &source.code;
    let lines: Vec<&str> = source.text.lines().collect();
    let code_lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("unsafe") {
        let whole = !code[..at].bytes().next_back().is_some_and(is_word)
            && !code[at + 6..].bytes().next().is_some_and(is_word);
        let after = code[at + 6..].trim_start();
        let after_extern = after.strip_prefix("extern").map(str::trim_start);
        let after_fn = after_extern.unwrap_or(after).strip_prefix("fn");
        let kind = match after_fn {
            _ if !whole => continue,
            // An attribute: what it is on has a reason of its own.
            None if after.starts_with("(naked)") => continue,
            // The type of a function pointer: nothing is done or promised here.
            Some(rest) if rest.trim_start().starts_with('(') => continue,
            Some(_) => "fn",
            None if after.starts_with("impl") => "impl",
            None if after.starts_with('{') => "block",
            None if after_extern.is_some_and(|rest| rest.starts_with('{')) => "extern",
            None => {
                let name = &source.name;
                problems.push(format!(
                    "src/{name}: an `unsafe` of a kind that is not known here"
                ));
                continue;
            }
        };
        let line = code[..at].matches('\n').count();
        let comment = comment_above(&lines, &code_lines, line);
        let word = if kind == "fn" { "safety" } else { "safety:" };
        let Some(start) = comment.to_lowercase().find(word) else {
            let name = &source.name;
            problems.push(format!("src/{name}:{}: no SAFETY comment", line + 1));
            continue;
        };
        let place = match kind {
            "impl" | "extern" => header(&code[at..]),
            "fn" => function(after_fn.expect("it is a function")),
            _ => enclosing(&code[..at]).map_or_else(|| "-".to_owned(), function),
        };
        found.push(Site {
            line: line + 1,
            kind,
            place,
            reason: comment[start + word.len()..]
                .trim_start_matches([':', ' '])
                .to_owned(),
        });
    }
    found
}

/// What follows the last `fn` that has a body.
fn enclosing(before: &str) -> Option<&str> {
    let mut functions = before
        .rmatch_indices("fn ")
        .map(|(at, _)| &before[at + 3..]);
    functions.find(|rest| {
        rest.find('{')
            .is_some_and(|body| !rest[..body].contains(");"))
    })
}

/// The name at the start.
fn function(rest: &str) -> String {
    let name: String = rest
        .trim_start()
        .chars()
        .take_while(|&c| is_word(c as u8))
        .collect();
    format!("`{name}`")
}

/// The text up to the body, on one line, without the bounds.
fn header(rest: &str) -> String {
    let end = rest.find('{').unwrap_or(rest.len());
    let words: Vec<&str> = rest[..end].split_whitespace().collect();
    format!("`{}`", words.join(" "))
}

/// The comment lines directly above the statement or item that `line` is in.
fn comment_above(lines: &[&str], code: &[&str], line: usize) -> String {
    let mut first = line;
    while first > 0 {
        let (above, above_code) = (lines[first - 1].trim(), code[first - 1].trim());
        let attribute = above_code.starts_with("#[");
        let ends = above.is_empty() || above_code.ends_with([';', '{', '}', ',']);
        if above.starts_with("//") || (ends && !attribute) {
            break;
        }
        first -= 1;
    }
    let begin = lines[..first]
        .iter()
        .rposition(|line| !line.trim().starts_with("//"))
        .map_or(0, |at| at + 1);
    let words = lines[begin..first].iter().flat_map(|line| {
        line.trim()
            .trim_start_matches(['/', '!'])
            .split_whitespace()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Labels (a capital letter and one or two digits) in `text`.
fn labels(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| {
            let digits = word.get(1..).unwrap_or("");
            word.starts_with(|c: char| c.is_ascii_uppercase())
                && (1..=2).contains(&digits.len())
                && digits.bytes().all(|b| b.is_ascii_digit())
        })
        .map(str::to_owned)
        .collect();
    // `P1–P4` and `P1 to P4` name what is between, too; spell ranges out instead.
    found.sort();
    found.dedup();
    found
}

/// The folder under `src/`, or the file.
fn room(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// `**M1** text` in the module documentation, until the next item or paragraph.
fn definitions(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in text.lines().take_while(|line| line.starts_with("//!")) {
        let line = line[3..].trim();
        let bullet = line.trim_start_matches(['*', '-', ' ']);
        let after = line
            .split_once("**")
            .and_then(|(_, rest)| rest.split_once("**"));
        match after {
            Some((label, rest)) if labels(label) == [label] => {
                let rest = rest.trim_start_matches([':', ' ']);
                found.push((label.to_owned(), rest.to_owned()));
                open = true;
            }
            _ if line.is_empty()
                || bullet.len() + 2 <= line.len() && line.starts_with(['*', '-']) =>
            {
                open = false;
            }
            _ => {
                if let (true, Some((_, text))) = (open, found.last_mut()) {
                    text.push(' ');
                    text.push_str(line);
                }
            }
        }
    }
    found
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let relative = path.strip_prefix(&root).unwrap();
        let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
        Source {
            name: parts.join("/"),
            code: blank(&text),
            text,
        }
    };
    files.iter().map(read).collect()
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The inventory as `UNSAFE.md` has it, or everything that is wrong.
fn inventory(sources: &[Source]) -> Result<String, Vec<String>> {
    let mut problems = Vec::new();
    // Room, then label: the file that defines it, and the text.
    let mut defined: BTreeMap<(&str, String), (&str, String)> = BTreeMap::new();
    for source in sources {
        for (label, text) in definitions(&source.text) {
            let key = (room(&source.name), label);
            if let Some((other, _)) = defined.get(&key) {
                let (name, label) = (&source.name, &key.1);
                problems.push(format!("{name}: {label} is defined in {other} too"));
            }
            defined.insert(key, (&source.name, text));
        }
    }
    let (mut body, mut total, mut files) = (String::new(), 0, 0);
    let mut used: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for source in sources {
        let sites = sites(source, &mut problems);
        if sites.is_empty() {
            continue;
        }
        (total, files) = (total + sites.len(), files + 1);
        writeln!(
            body,
            "\n### src/{}\n\n| in | what | rests on | why |\n|---|---|---|---|",
            source.name
        )
        .unwrap();
        for site in &sites {
            println!(
                "src/{}:{}: {} {} {}",
                source.name, site.line, site.kind, site.place, site.reason
            );
            let cited = labels(&site.reason);
            if cited.is_empty() {
                problems.push(format!(
                    "src/{}:{}: cites no invariant: {}",
                    source.name, site.line, site.reason
                ));
            }
            for label in &cited {
                let key = (room(&source.name), label.clone());
                if defined.contains_key(&key) {
                    *used.entry(key).or_default() += 1;
                } else {
                    problems.push(format!(
                        "src/{}:{}: nothing in src/{} defines {label}",
                        source.name,
                        site.line,
                        room(&source.name)
                    ));
                }
            }
            writeln!(
                body,
                "| {} | {} | {} | {} |",
                cell(&site.place),
                site.kind,
                cited.join(", "),
                cell(&site.reason)
            )
            .unwrap();
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut out = format!(
        "# Every `unsafe` in this crate\n\n\
         Written by `BLESS=1 cargo test --test unsafe_inventory`, compared with the sources by \
         `cargo test`. {total} places in {files} files; each rests on invariants that the module \
         documentation of its room states.\n\n\
         ## The invariants\n\n| label | stated in | uses | invariant |\n|---|---|---|---|\n"
    );
    for ((room, label), count) in &used {
        let (file, text) = &defined[&(*room, label.clone())];
        writeln!(out, "| {label} | src/{file} | {count} | {} |", cell(text)).unwrap();
    }
    out.push_str("\n## The places\n");
    out.push_str(&body);
    Ok(out)
}

#[test]
fn every_unsafe_is_in_the_inventory() {
    let sources = sources();
    let now = inventory(&sources).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("UNSAFE.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let difference = now
        .lines()
        .zip(committed.lines())
        .find(|(now, then)| now != then);
    assert!(
        now == committed,
        "UNSAFE.md is out of date at {difference:?}: BLESS=1 cargo test --test unsafe_inventory"
    );
}

fn source(text: &str) -> Source {
    Source {
        name: "room/file.rs".to_owned(),
        code: blank(text),
        text: text.to_owned(),
    }
}

const DOCS: &str = "//! * **Q1** first,\n//!   more of it\n//! * **Q2**: second\n\n";

#[test]
fn what_is_wrong_is_found() {
    let wrong = [
        ("fn f() { unsafe { g() } }", "no SAFETY"),
        (
            "// SAFETY: Q1.\nfn f() {\n    unsafe { g() }\n}",
            "no SAFETY",
        ),
        (
            "// SAFETY: Q1.\nlet a = 1;\nlet b = unsafe { g() };",
            "no SAFETY",
        ),
        ("// Q1.\nlet b = unsafe { g() };", "no SAFETY"),
        (
            "// SAFETY: it is fine.\nlet b = unsafe { g() };",
            "cites no",
        ),
        ("// SAFETY: Q3.\nlet b = unsafe { g() };", "defines Q3"),
        ("/// Does it (Q1).\nunsafe fn f() {}", "no SAFETY"),
        ("unsafe impl Send for T {}", "no SAFETY"),
    ];
    for (text, problem) in wrong {
        let problems = inventory(&[source(&format!("{DOCS}{text}"))]).unwrap_err();
        assert!(problems[0].contains(problem), "{text}: {problems:?}");
    }
    let twice = inventory(&[source(DOCS), source(DOCS)]).unwrap_err();
    assert!(twice[0].contains("too"), "{twice:?}");
}

#[test]
fn what_is_right_is_listed() {
    let text = r##"
        // SAFETY: by Q1, and Q2.
        let a =
            unsafe { g("unsafe { \" }", '"', r#"unsafe "{ "#, b'\'') };
        // unsafe { in a comment }
        fn h<'a>(f: unsafe extern "C" fn(&'a u8)) {}
        /// # Safety
        /// Q2.
        #[inline]
        pub unsafe fn k() {}
        // SAFETY: Q1.
        unsafe impl<T: Send> Sync
            for S<T> {}
    "##;
    let out = inventory(&[source(&format!("{DOCS}{text}"))]).unwrap();
    assert!(out.contains(" 3 places in 1 files"), "{out}");
    assert!(
        out.contains("| Q1 | src/room/file.rs | 2 | first, more of it |"),
        "{out}"
    );
    assert!(out.contains("| `k` | fn | Q2 | Q2. |"), "{out}");
    assert!(
        out.contains("| `unsafe impl<T: Send> Sync for S<T>` | impl | Q1 |"),
        "{out}"
    );
}
