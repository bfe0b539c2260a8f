//! How many words a function's name has, a test's too: a longer one is a sentence that belongs above it.

use std::path::Path;

use super::{
    code::{line_of, stands_alone, word},
    source::{Source, sources},
};

/// Words of a name at most.
const MOST_WORDS: usize = 10;

#[test]
fn names_of_functions_have_at_most_ten_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all: Vec<_> =
        ["src", "tests", "benches"].iter().flat_map(|folder| sources(&root.join(folder))).collect();
    assert!(all.len() > 100, "found only {} files: is the scanner looking in the right place?", all.len());
    let wrong: Vec<String> = all.iter().flat_map(too_long).collect();
    assert!(wrong.is_empty(), "{} names of more than {MOST_WORDS} words:\n{}", wrong.len(), wrong.join("\n"));
}

/// The functions of a file whose names have more words than they may; a line each.
fn too_long(source: &Source) -> Vec<String> {
    let text = &source.text;
    let starts = text.match_indices("fn ").map(|(at, _)| at).filter(|&at| stands_alone(text, at, 2));
    let names = starts.map(|at| (at, word(text[at + 2..].trim_start())));
    let long = names.filter(|(_, name)| name.split('_').count() > MOST_WORDS);
    long.map(|(at, name)| format!("{}:{}: {name}", source.path.display(), line_of(text, at))).collect()
}

#[test]
fn a_long_name_is_found_wherever_it_is() {
    let long = "it_has_one_word_more_than_a_name_may_have_here";
    let text = format!(
        "fn {}() {{}}\n#[cfg(test)]\nmod tests {{\n    #[test]\n    fn {long}() {{}}\n    proptest! {{\n        \
         #[test]\n        fn {long}(x in 0..1) {{}}\n    }}\n}}\n",
        &long[..long.rfind('_').unwrap()]
    );
    let found = too_long(&Source { path: "room/planted.rs".into(), text });
    assert_eq!(found, [format!("room/planted.rs:5: {long}"), format!("room/planted.rs:8: {long}")]);
}
