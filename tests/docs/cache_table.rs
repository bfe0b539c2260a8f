//! docs/rfc9111.md: the functions and tests that it names are there, and every test of the standards is named.

use std::{fs, path::PathBuf};

use super::files::{files, read, root};

/// The page says for each clause where it is kept and tested; what it names must be there.
#[test]
fn every_function_and_test_of_the_cache_table_is_there() {
    let text = fs::read_to_string(root().join("docs/rfc9111.md")).unwrap();
    let (mut rows, mut names) = (0, 0);
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.contains("| code | test |")) {
        rows += 1;
        let columns: Vec<&str> = row.trim_matches('|').split(" |").map(str::trim).collect();
        let [_, _, code, test, outside] = columns[..] else { panic!("not five columns: {row}") };
        for (column, place) in [(code, Place::Code), (test, Place::Test), (outside, Place::Outside)] {
            for name in column.split('`').skip(1).step_by(2) {
                names += 1;
                let found = name.split_once("::").is_some_and(|(file, name)| is_there(file, name, place));
                assert!(found, "{name} is not there: {row}");
            }
        }
    }
    assert!(rows > 80 && names > 300, "found {rows} rows with {names} names");
}

/// What only tests use keeps no clause.
#[test]
fn functions_of_the_cache_table_are_used_by_the_program() {
    let is_test = |path: &str| path.contains("/tests/") || path.ends_with("tests.rs");
    let sources: Vec<(String, String)> = files("src")
        .into_iter()
        .filter(|path| path.ends_with(".rs") && !is_test(path))
        .map(|path| (path.clone(), without_tests(&read(&path))))
        .collect();
    let text = read("docs/rfc9111.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.contains("| code | test |"));
    let mut count = 0;
    for code in rows.map(|row| row.trim_matches('|').split(" |").nth(2).unwrap()) {
        for named in code.split('`').skip(1).step_by(2) {
            count += 1;
            let (file, name) = named.split_once("::").unwrap();
            let home = format!("src/cache/{file}.rs");
            let is_used = sources.iter().any(|(path, text)| match *path == home {
                true => uses(&without_function(text, name), name),
                false => uses(text, name),
            });
            assert!(is_used, "the program does not use {named}");
        }
    }
    assert!(count > 80, "found {count} functions");
}

/// Whether something of this name is called, or passed on by its path.
fn uses(code: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + name.len()..]);
            let is_whole = !before.ends_with(is_part) && !after.starts_with(is_part);
            is_whole && !before.ends_with("fn ") && (after.starts_with('(') || before.ends_with("::"))
        })
    })
}

/// Code without the functions of this name, which may call themselves.
fn without_function(code: &str, name: &str) -> String {
    let begins =
        |line: &str| [format!("fn {name}("), format!("fn {name}<")].iter().any(|it| line.contains(it));
    without_items(code, begins)
}

/// Code without what is compiled for tests only.
fn without_tests(code: &str) -> String {
    without_items(code, |line| line.trim() == "#[cfg(test)]")
}

/// Code without the items that begin with such a line, and end with a semicolon or with the brace that is under
/// their beginning.
fn without_items(code: &str, begins: impl Fn(&str) -> bool) -> String {
    let (mut kept, mut lines) = (String::new(), code.lines());
    while let Some(first) = lines.next() {
        if !begins(first) {
            kept.push_str(first);
            kept.push('\n');
            continue;
        }
        let indent = &first[..first.len() - first.trim_start().len()];
        let is_last = |line: &str| {
            let is_at_indent =
                line.strip_prefix(indent).is_some_and(|line| !line.starts_with(char::is_whitespace));
            is_at_indent && line.ends_with([';', '}'])
        };
        if is_last(first) {
            continue;
        }
        lines.by_ref().find(|line| is_last(line));
    }
    kept
}

/// A test that goes by the standards has its place in the table of them.
#[test]
fn every_test_of_the_standards_of_caching_is_named() {
    let text = fs::read_to_string(root().join("docs/rfc9111.md")).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(root().join("tests/integration/rfc")).unwrap() {
        let path = entry.unwrap().path();
        let (file, tests) = (path.file_stem().unwrap().to_str().unwrap(), fs::read_to_string(&path).unwrap());
        for test in tests.split("#[test]\nfn ").skip(1) {
            count += 1;
            let name = format!("`{file}::{}`", test.split('(').next().unwrap());
            assert!(text.contains(&name), "docs/rfc9111.md does not name {name}");
        }
    }
    assert!(count > 80, "found {count} tests");
}

/// Where what a column names is.
#[derive(Clone, Copy)]
enum Place {
    /// In a file of the cache, before its tests.
    Code,
    /// In the tests of a file of the cache.
    Test,
    /// In the tests that see the cache from outside.
    Outside,
}

fn is_there(file: &str, name: &str, place: Place) -> bool {
    let folder = root().join("src/cache");
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let text = read(folder.join(file).with_extension("rs"));
    let (code, tests) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
    let holds = |text: &str, end: &str| text.contains(&format!("fn {name}{end}"));
    match place {
        Place::Code => holds(code, "(") || holds(code, "<"),
        Place::Test => holds(tests, "(") || holds(&read(folder.join(file).join("tests.rs")), "("),
        Place::Outside => {
            let tests = read(root().join("tests/integration/rfc").join(file).with_extension("rs"));
            tests.contains(&format!("#[test]\nfn {name}("))
        }
    }
}
