//! The import order of the rooms, held by a test: a room may use only rooms of earlier lines.
//!
//! It reads every file under `src/`, takes each `crate::ROOM` path that stands in code (not in comments, text or
//! tests) and compares it with [`ORDER`]. It also holds files to [`LONGEST_FILE`] lines. Rust allows cycles between
//! modules; people who look for the place where something happens do not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may stop as a test does")]

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// The rooms, a line per cell: each may use the lines above its own, and no other room of its own line.
const ORDER: &[&[&str]] = &[
    &["error", "moment", "rng"],
    &["fields", "settings"],
    &["h1", "tls", "telemetry"],
    &["net"],
    &["backend", "owned_directory"],
    &["exchange"],
    &["balance", "health", "route"],
    &["writeback"],
    &["cache", "upstream", "filter"],
    &["config"],
    &["runtime"],
    &["http", "l4"],
    &["listen", "explain"],
    &["reload"],
    &["cluster"],
    &["admin"],
    &["control"],
    &["app"],
    &["replay"],
    &["cli"],
    &["main"],
];

/// The map names every room so that the documentation can link them; it is in no cell.
const MAP: &str = "lib";

/// In lines. What is longer holds two things.
const LONGEST_FILE: usize = 600;

#[test]
fn rooms_use_only_rooms_before_them() {
    let files = sources(&root());
    assert!(files.len() > 10, "found only {} files: is the scanner looking in the right place?", files.len());
    let wrong: Vec<String> =
        files.iter().flat_map(|file| violations(&room_of(&file.path), &file.path, &file.text)).collect();
    assert!(wrong.is_empty(), "{} paths against the import order:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_file_fits_its_limit() {
    let long: Vec<String> = sources(&root())
        .iter()
        .filter(|file| file.text.lines().count() > LONGEST_FILE)
        .map(|file| format!("{}: {} lines", file.path.display(), file.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "files over {LONGEST_FILE} lines:\n{}", long.join("\n"));
}

/// One file under `src/`.
struct Source {
    /// Relative to `src/`.
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below `root`, but those that hold only tests (`tests.rs`, `*_tests.rs`, `tests/`).
fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(root).unwrap().to_path_buf(), text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// `src/h1/head.rs` and `src/h1.rs` are both in the room `h1`.
fn room_of(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

/// A file that is compiled for tests only; it may look into any room.
fn holds_only_tests(path: &Path) -> bool {
    path.iter().any(|part| part == "tests")
        || path
            .file_stem()
            .is_some_and(|stem| stem == "tests" || stem.to_str().is_some_and(|s| s.ends_with("_tests")))
}

/// What stands in `text`, a file of `room`, against the order; a sentence each.
fn violations(room: &str, path: &Path, text: &str) -> Vec<String> {
    if room == MAP || holds_only_tests(path) {
        return Vec::new();
    }
    let Some(own) = cell(room) else {
        return vec![format!("{}: `{room}` is in no line of ORDER (tests/layers.rs)", path.display())];
    };
    let code = without_tests(&only_code(text));
    let mut wrong = Vec::new();
    for used in uses(&code) {
        let why = match cell(&used.room) {
            _ if used.room == room => continue,
            None => format!("`{}` is in no line of ORDER (tests/layers.rs)", used.room),
            Some(theirs) if theirs < own => continue,
            Some(theirs) if theirs == own => format!("`{room}` and `{}` stand side by side", used.room),
            Some(_) => format!("`{room}` comes before `{}`", used.room),
        };
        wrong.push(format!("{}: {used}: {why}", path.display()));
    }
    wrong
}

fn cell(room: &str) -> Option<usize> {
    ORDER.iter().position(|cell| cell.contains(&room))
}

/// A path that begins with `crate::`.
struct Use {
    room: String,
    line: usize,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: crate::{}", self.line, self.room)
    }
}

/// The rooms that `code` names: `crate::a::b`, and each head of `use crate::{a::b, c}`.
fn uses(code: &str) -> Vec<Use> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate") {
        let before = code[..at].chars().next_back();
        // `mycrate` is another word; `pub(crate)` has no `::` behind it.
        if before.is_some_and(is_word) {
            continue;
        }
        let Some(rest) = code[at + "crate".len()..].trim_start().strip_prefix("::") else { continue };
        let line = code[..at].matches('\n').count() + 1;
        let rest = rest.trim_start();
        let heads = match rest.strip_prefix('{') {
            Some(group) => heads(group),
            None => vec![word(rest)],
        };
        found.extend(heads.into_iter().map(|room| Use { room, line }));
    }
    found
}

/// The first word of each part of a `{…}` group; `group` begins behind its brace.
fn heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut part) = (0_usize, 0);
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(word(group[part..at].trim_start()));
                part = at + 1;
                if sign == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// The word that `text` begins with; a name written `r#name` is `name`.
fn word(text: &str) -> String {
    let text = text.strip_prefix("r#").unwrap_or(text);
    text.chars().take_while(|&sign| is_word(sign)).collect()
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// `text` with comments and the contents of literals made blank, so that only code is left; lines stay lines.
fn only_code(text: &str) -> String {
    let signs: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < signs.len() {
        let end = match signs[at] {
            '/' if signs.get(at + 1) == Some(&'/') => end_of_line(&signs, at),
            '/' if signs.get(at + 1) == Some(&'*') => end_of_comment(&signs, at),
            '"' => end_of_text(&signs, at),
            'r' if at == 0 || !is_word(signs[at - 1]) || signs[at - 1] == 'b' => end_of_raw_text(&signs, at),
            '\'' => end_of_character(&signs, at),
            _ => at,
        };
        if end == at {
            code.push(signs[at]);
            at += 1;
        } else {
            code.extend(signs[at..end].iter().map(|&sign| if sign == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

fn end_of_line(signs: &[char], at: usize) -> usize {
    signs[at..].iter().position(|&sign| sign == '\n').map_or(signs.len(), |length| at + length)
}

/// Block comments nest.
fn end_of_comment(signs: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < signs.len() {
        match (signs[at], signs.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_text(signs: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < signs.len() && signs[end] != '"' {
        end += if signs[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(signs.len())
}

/// `r"…"`, `r##"…"##`; `at` itself for a name that merely begins with r.
fn end_of_raw_text(signs: &[char], at: usize) -> usize {
    let hashes = signs[at + 1..].iter().take_while(|&&sign| sign == '#').count();
    let open = at + 1 + hashes;
    if signs.get(open) != Some(&'"') {
        return at;
    }
    let closes =
        |end: usize| signs[end] == '"' && signs[end + 1..].iter().take(hashes).all(|&sign| sign == '#');
    (open + 1..signs.len()).find(|&end| closes(end)).map_or(signs.len(), |end| end + 1 + hashes)
}

/// `'x'`, `'\n'`, `'\u{7f}'`; `at` itself for a lifetime.
fn end_of_character(signs: &[char], at: usize) -> usize {
    match signs.get(at + 1) {
        Some('\\') => {
            signs[at + 3..].iter().position(|&sign| sign == '\'').map_or(at, |length| at + length + 4)
        }
        Some(_) if signs.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

/// `code` with every item behind `#[cfg(test)]` made blank; lines stay lines.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut left = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        left.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = end_of_item(item);
        left.extend(item[..end].chars().filter(|&sign| sign == '\n'));
        rest = &item[end..];
    }
    left.push_str(rest);
    left
}

/// Where an item ends: at the `;` or the `}` that closes what it opened.
fn end_of_item(item: &str) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, sign) in item.char_indices() {
        match sign {
            '{' => braces += 1,
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && others == 0 && !item[at + 1..].trim_start().starts_with(';') {
                    return at + 1;
                }
            }
            ';' if braces == 0 && others == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// The scanner itself: what it must find, and what it must not.
mod scanner {
    use super::*;

    fn found(room: &str, text: &str) -> Vec<String> {
        violations(room, Path::new(room).join("planted.rs").as_path(), text)
    }

    #[test]
    fn finds_a_planted_violation_however_it_is_written() {
        let planted = [
            "use crate::upstream::Pool;",
            "use crate::{error::Kind, upstream::Pool};",
            "use crate::{\n    error::{Kind, Blame},\n    moment::Moment,\n    upstream,\n};",
            "pub use crate::upstream as there;",
            "fn f() { crate::upstream::forward::go() }",
            "fn f(x: Vec<crate::upstream::Pool>) {}",
            "macro_rules! m { () => { $crate::upstream::go() } }",
            "use crate :: upstream;",
            "const A: &str = \"\\\"//\"; use crate::upstream::Pool;",
            "const A: char = '\"'; use crate::upstream::Pool; const B: char = '\"';",
            "fn f<'a>(x: &'a str) { crate::upstream::go(x) }",
            "const A: &str = r#\"a \" b\"#; use crate::upstream::Pool;",
            "#[cfg(test)]\nmod tests { fn f() { { } } }\nuse crate::upstream::Pool;",
            "#[cfg(test)]\nmod tests;\nuse crate::upstream::Pool;",
            "#[cfg(test)]\nuse crate::{admin, cli};\nuse crate::upstream::Pool;",
            "#[cfg(test)]\n#[path = \"x\"]\nmod tests;\nuse crate::upstream::Pool;",
            "#[cfg(not(test))]\nuse crate::upstream::Pool;",
        ];
        for text in planted {
            assert_eq!(found("balance", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn names_the_file_the_line_and_the_reason() {
        assert_eq!(
            found(
                "balance",
                "use crate::backend::Backend;\n\nuse crate::{\n    upstream::Pool,\n    health,\n};\n"
            ),
            [
                "balance/planted.rs: line 3: crate::upstream: `balance` comes before `upstream`",
                "balance/planted.rs: line 3: crate::health: `balance` and `health` stand side by side",
            ]
        );
        assert_eq!(
            found("balance", "use crate::attic::Chest;"),
            ["balance/planted.rs: line 1: crate::attic: `attic` is in no line of ORDER (tests/layers.rs)"]
        );
        assert_eq!(
            found("attic", ""),
            ["attic/planted.rs: `attic` is in no line of ORDER (tests/layers.rs)"]
        );
    }

    #[test]
    fn leaves_alone_what_is_allowed_or_is_not_code() {
        let allowed = [
            "use crate::{backend::Backend, balance::Pick, moment::Moment, settings::Value};",
            "use std::fmt; pub(crate) fn f() {}",
            "pub(in crate::balance) fn f() {}",
            "//! [`crate::upstream`] is the next stop\n/* crate::upstream /* crate::cli */ crate::admin */",
            "const A: &str = \"crate::upstream\"; const B: &str = r##\"\"# crate::upstream\"##;",
            "const A: &[u8] = br#\"crate::upstream\"#;",
            "fn f() { mycrate::upstream::go() }",
            "#[cfg(test)]\nmod tests {\n    use crate::upstream::Pool;\n    fn f() { let _ = [0; 3]; }\n}",
            "#[cfg(test)]\npub(crate) fn stand_in(n: [u8; 2]) -> crate::upstream::Pool { loop {} }",
            "#[cfg(test)]\nconst A: [crate::upstream::Pool; 1] = [P { a: 1 }];",
        ];
        for text in allowed {
            assert_eq!(found("balance", text), Vec::<String>::new(), "{text}");
        }
        assert!(violations("balance", Path::new("balance/tests/spread.rs"), "use crate::cli;").is_empty());
        assert!(violations("h1", Path::new("h1/head_tests.rs"), "use crate::cli;").is_empty());
    }

    #[test]
    fn every_room_stands_once() {
        let mut rooms: Vec<_> = ORDER.iter().flat_map(|cell| cell.iter()).collect();
        rooms.sort();
        assert!(rooms.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
