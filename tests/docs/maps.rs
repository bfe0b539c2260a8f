//! The rooms and modules that pages and comments name.

use super::files::{files, read, root};

/// The picture for people and the map in the code have the same rooms in the same order, and all of them.
#[test]
fn the_rooms_are_the_same_in_both_maps() {
    let words = |line: &str| -> Vec<String> {
        let words = line.split('`').skip(1).step_by(2);
        words.map(|word| word.strip_prefix("mod@").unwrap_or(word).to_owned()).collect()
    };
    let (page, map) = (read("docs/architecture.md"), read("src/lib.rs"));
    let table = page.split_once("| room | holds |\n").unwrap().1.lines().skip(1);
    let table: Vec<_> = table
        .map_while(|line| line.strip_prefix("| ")?.split_once(" | "))
        .map(|(_, row)| words(row.split_once(" |").unwrap().0))
        .collect();
    let list = map.split_once("//! # Rooms\n").unwrap().1.lines();
    let numbered =
        list.filter(|line| line.split_once(". ").is_some_and(|(at, _)| at[4..].parse::<u8>().is_ok()));
    assert_eq!(table, numbered.map(words).collect::<Vec<_>>());

    let mut rooms: Vec<_> = files("src").iter().filter_map(|path| room(path)).collect();
    rooms.retain(|room| room != "lib" && room != "main");
    rooms.dedup();
    let mut named = table.concat();
    named.sort();
    assert_eq!(named, rooms);
}

/// Paths in backticks such as `room::module::item`, in comments of the code; capitals are items of other crates.
#[test]
fn every_module_that_a_comment_names_is_there() {
    let rooms: Vec<String> = files("src").iter().filter_map(|it| room(it)).collect();
    let mut count = 0;
    for file in files("src").iter().filter(|file| file.ends_with(".rs")) {
        let text = read(file);
        for comment in text.lines().map(str::trim_start).filter(|line| line.starts_with("//")) {
            for named in comment.split('`').skip(1).step_by(2) {
                let steps: Vec<&str> = named.split("::").collect();
                let is_plain =
                    |step: &&str| step.chars().all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c));
                if steps.len() > 1
                    && rooms.iter().any(|room| room == steps[0])
                    && steps[1..2].iter().all(is_plain)
                {
                    count += 1;
                    assert!(leads_somewhere(&steps), "{file} names `{named}`");
                }
            }
        }
    }
    assert!(count > 60, "found {count} names");
}

/// The room that a path belongs to.
fn room(path: &str) -> Option<String> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first).to_owned())
}

/// Whether the steps are modules as far as they go, and then words of the module that they lead to.
fn leads_somewhere(steps: &[&str]) -> bool {
    let (mut folder, mut file) = ("src".to_owned(), "src/lib.rs".to_owned());
    let mut steps = steps.iter().peekable();
    let is_there = |path: &str| root().join(path).exists();
    while let Some(step) = steps.next_if(|step| {
        let path = format!("{folder}/{step}");
        is_there(&path) || is_there(&format!("{path}.rs"))
    }) {
        folder = format!("{folder}/{step}");
        let own = format!("{folder}.rs");
        file = if is_there(&own) { own } else { format!("{folder}/mod.rs") };
    }
    let text = read(&file);
    steps.all(|step| text.contains(step.trim_end_matches("()")))
}
