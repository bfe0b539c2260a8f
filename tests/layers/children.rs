//! Children that unit tests begin: a test with paused time fails now and then beside one that begins as it likes.

use super::{
    code::only_code,
    source::{Source, root, sources},
};

/// Begin children of the running program only, by no unit test.
const NOT_IN_TESTS: [&str; 1] = ["reload/upgrade.rs"];

#[test]
fn children_of_tests_begin_while_no_time_is_paused() {
    let all = sources(&root());
    let (kept, wrong): (Vec<_>, Vec<_>) =
        all.iter().filter(|source| begins_a_child(source)).partition(|source| keeps_the_rule(source));
    assert!(kept.len() > 10, "found only {} files: is the scanner looking for the right thing?", kept.len());
    let wrong: Vec<_> = wrong.iter().map(|source| source.path.display().to_string()).collect();
    assert!(wrong.is_empty(), "without `sync::children::begin`:\n{}", wrong.join("\n"));
}

fn begins_a_child(source: &Source) -> bool {
    only_code(&source.text).contains("Command::new(")
}

fn keeps_the_rule(source: &Source) -> bool {
    only_code(&source.text).contains("children::begin(")
        || NOT_IN_TESTS.iter().any(|path| source.path.ends_with(path))
}

#[test]
fn a_file_without_the_rule_is_found() {
    let of = |text: &str| Source { path: "room/part.rs".into(), text: text.into() };
    let without = of("fn it() { Command::new(\"true\").status(); } // children::begin(");
    assert!(begins_a_child(&without) && !keeps_the_rule(&without));
    let with = of("fn it() { children::begin(|| Command::new(\"true\").status()); }");
    assert!(begins_a_child(&with) && keeps_the_rule(&with));
    assert!(!begins_a_child(&of("// Command::new(\"true\")")));
}
