//! The import order of the rooms, held by a test: a room may use only rooms of earlier lines.
//!
//! It reads every file under `src/`, takes each `crate::ROOM` path that is in code (not in comments, text or
//! tests) and compares it with [`ORDER`].

use std::{fmt, path::Path};

use super::{
    code::tested_code,
    paths::paths,
    source::{holds_only_tests, root, sources},
};

/// The rooms, a line per cell: each may use the lines above its own, and no other room of its own line.
const ORDER: &[&[&str]] = &[
    &["account", "boxed", "error", "moment", "rng", "sync"],
    &["fields", "schema"],
    &["h1", "tls", "telemetry", "websocket"],
    &["net"],
    &["http2", "cluster"],
    &["http2_transport"],
    &["store", "backend", "owned_directory"],
    &["exchange"],
    &["template"],
    &["filter"],
    &["file_tree"],
    &["balance", "health", "route"],
    &["writeback"],
    &["cache", "upstream"],
    &["config"],
    &["runtime"],
    &["http", "l4"],
    &["listen", "explain"],
    &["reload"],
    &["admin"],
    &["control"],
    &["app"],
    &["replay"],
    &["cli"],
    &["main"],
];

/// The map names every room so that the documentation can link them; it is in no cell.
const MAP: &str = "lib";

#[test]
fn rooms_use_only_rooms_before_them() {
    let files = sources(&root());
    assert!(files.len() > 10, "found only {} files: is the scanner looking in the right place?", files.len());
    let wrong: Vec<String> =
        files.iter().flat_map(|file| violations(&room_of(&file.path), &file.path, &file.text)).collect();
    assert!(wrong.is_empty(), "{} paths against the import order:\n{}", wrong.len(), wrong.join("\n"));
}

/// `src/h1/head.rs` and `src/h1.rs` are both in the room `h1`.
fn room_of(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

/// What is in `text`, a file of `room`, against the order; a sentence each.
fn violations(room: &str, path: &Path, text: &str) -> Vec<String> {
    if room == MAP || holds_only_tests(path) {
        return Vec::new();
    }
    let Some(own) = cell(room) else {
        return vec![format!("{}: `{room}` is in no line of ORDER (tests/layers/rooms.rs)", path.display())];
    };
    let code = tested_code(text);
    let mut wrong = Vec::new();
    for used in uses(&code) {
        let why = match cell(&used.room) {
            _ if used.room == room => continue,
            None => format!("`{}` is in no line of ORDER (tests/layers/rooms.rs)", used.room),
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
#[derive(PartialEq)]
struct Use {
    room: String,
    line: usize,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: crate::{}", self.line, self.room)
    }
}

/// The rooms that `code` names, once for each path: `crate::a::b`, and each leaf of `use crate::{a::b, c}`.
fn uses(code: &str) -> Vec<Use> {
    let mut found = Vec::new();
    for (path, line) in paths(code) {
        if let [start, room, ..] = &path.segments[..]
            && start == "crate"
        {
            found.push(Use { room: room.clone(), line });
        }
    }
    found.dedup();
    found
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
            [
                "balance/planted.rs: line 1: crate::attic: `attic` is in no line of ORDER (tests/layers/rooms.rs)"
            ]
        );
        assert_eq!(
            found("attic", ""),
            ["attic/planted.rs: `attic` is in no line of ORDER (tests/layers/rooms.rs)"]
        );
    }

    #[test]
    fn leaves_alone_what_is_allowed_or_is_not_code() {
        let allowed = [
            "use crate::{backend::Backend, balance::Pick, moment::Moment, schema::Value};",
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
    fn every_room_is_listed_once() {
        let mut rooms: Vec<_> = ORDER.iter().flat_map(|cell| cell.iter()).collect();
        rooms.sort();
        assert!(rooms.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
