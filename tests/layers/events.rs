//! What the program's own log says of an event: a line in JSON has each key once.

use super::{
    code::{line_of, tested_code, word},
    source::{Source, root, sources},
};

/// What makes an event.
const MACROS: [&str; 6] = ["trace!", "debug!", "info!", "warn!", "error!", "event!"];

/// What every line has by itself.
const OWN: [&str; 4] = ["timestamp", "level", "target", "message"];

#[test]
fn no_field_of_an_event_is_its_lines_own() {
    let all = sources(&root());
    let found: Vec<_> = all.iter().flat_map(events).collect();
    assert!(
        found.len() > 50,
        "found only {} events: is the scanner looking for the right thing?",
        found.len()
    );
    let wrong: Vec<String> = all.iter().flat_map(wrong_fields).collect();
    assert!(wrong.is_empty(), "keys that a line would have twice:\n{}", wrong.join("\n"));
}

/// Where the events of a file begin, and what is in their parentheses.
fn events(source: &Source) -> Vec<(usize, String)> {
    let code = tested_code(&source.text);
    let mut found = Vec::new();
    for name in MACROS {
        let begin = format!("tracing::{name}(");
        let starts = code.match_indices(&begin).map(|(at, begin)| at + begin.len());
        found.extend(starts.map(|at| (at, inside(&code[at..]))));
    }
    found
}

/// What comes before the parenthesis that closes.
fn inside(code: &str) -> String {
    let mut depth = 1;
    let ends = |sign: char| {
        depth += i32::from("([{".contains(sign)) - i32::from(")]}".contains(sign));
        depth == 0
    };
    code[..code.find(ends).unwrap_or(code.len())].to_owned()
}

/// The fields of a file's events that no field may be called; a line each.
fn wrong_fields(source: &Source) -> Vec<String> {
    let code = tested_code(&source.text);
    let mut wrong = Vec::new();
    for (at, inside) in events(source) {
        for name in fields(&inside).filter(|name| OWN.contains(&&**name)) {
            wrong.push(format!("{}:{}: {name}", source.path.display(), line_of(&code, at)));
        }
    }
    wrong
}

/// The names of fields: `name = value`, or a value that is called so. `target: …` is no field, and what comes behind the
/// message is in it.
fn fields(inside: &str) -> impl Iterator<Item = String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for sign in inside.chars() {
        depth += i32::from("([{".contains(sign)) - i32::from(")]}".contains(sign));
        match sign {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(sign),
        }
    }
    let is_no_text = |part: &String| !part.trim().is_empty();
    parts.into_iter().take_while(is_no_text).filter_map(|part| {
        let part = part.trim().trim_start_matches(['%', '?']);
        let name = word(part);
        let after = part[name.len()..].trim_start();
        let is_field = after.is_empty() || (after.starts_with('=') && !after.starts_with("=="));
        is_field.then_some(name)
    })
}

#[test]
fn a_field_is_found_however_it_is_written() {
    let text = "fn a() {\n    tracing::info!(level = f(1, level), \"level, target = 1\");\n    tracing::warn!(\n        \
                times, %target, other.level = 1,\n        \"x\"\n    );\n    tracing::info!(target: \"a\", now = level, ?message, \"{}\", level);\n}\n";
    let found = wrong_fields(&Source { path: "room/planted.rs".into(), text: text.into() });
    let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        ["room/planted.rs:2: level", "room/planted.rs:3: target", "room/planted.rs:7: message"]
    );
}
