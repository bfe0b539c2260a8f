//! The documentation holds: configurations in it are good, files it names are there, verbs it names exist.
#![allow(clippy::unwrap_used, reason = "a test's helpers may stop as a test does")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use pointsman::{cli::Arguments, config, tls::demo::demo_certificates};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages that people write, with their text.
fn pages() -> Vec<(PathBuf, String)> {
    let pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "certs/README.md"];
    let mut paths: Vec<PathBuf> = pages.iter().map(|page| root().join(page)).collect();
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        paths.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some()));
    }
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_configuration_in_the_documentation_is_good() {
    let folder = std::env::temp_dir().join(format!("pointsman-docs-{}", std::process::id()));
    demo_certificates(&folder.join("certs")).unwrap();
    let mut count = 0;
    for (page, text) in pages() {
        for block in blocks(&text, "toml") {
            count += 1;
            let config = config::parse(block, &folder.join("my.toml"));
            assert!(config.is_ok(), "{}:\n{}", page.display(), config.unwrap_err());
        }
    }
    fs::remove_dir_all(folder).unwrap();
    assert!(count >= 2, "found {count} configurations: is the test looking in the right place?");
}

#[test]
fn every_linked_file_is_there() {
    let mut count = 0;
    for (page, text) in pages() {
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap();
            if link.is_empty() || link.starts_with("http") {
                continue;
            }
            count += 1;
            assert!(page.parent().unwrap().join(link).exists(), "{} links {link}", page.display());
        }
    }
    assert!(count > 10, "found {count} links");
}

#[test]
fn every_path_in_backticks_is_there() {
    for (page, text) in pages() {
        for word in text.split('`').skip(1).step_by(2) {
            let is_path =
                ["src/", "docs/", "config/", "benches/", "tests/"].iter().any(|it| word.starts_with(it))
                    && !word.contains(char::is_whitespace);
            assert!(!is_path || root().join(word).exists(), "{} names {word}", page.display());
        }
    }
}

#[test]
fn every_script_that_is_to_be_run_is_there() {
    let pages = pages();
    let lines =
        pages.iter().flat_map(|(page, text)| blocks(text, "sh").into_iter().map(move |it| (page, it)));
    for (page, block) in lines {
        for word in block.lines().filter_map(|line| line.split_whitespace().next()) {
            let is_ours = word.starts_with("tests/") || word.starts_with("benches/");
            assert!(!is_ours || root().join(word).exists(), "{} runs {word}", page.display());
        }
    }
}

#[test]
fn every_verb_that_is_named_exists_and_every_verb_is_in_the_readme() {
    let command = Arguments::command();
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let pages = pages();
    for (page, text) in &pages {
        for named in text.split("pointsman ").skip(1) {
            let word: String = named.chars().take_while(|c| c.is_ascii_lowercase()).collect();
            let is_command =
                ["`", "\n"].iter().any(|before| text.contains(&format!("{before}pointsman {word}")));
            assert!(
                word.is_empty() || !is_command || verbs.contains(&word.as_str()),
                "{} names `pointsman {word}`",
                page.display()
            );
        }
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for verb in verbs {
        assert!(readme.contains(&format!("`pointsman {verb}")), "the README does not name {verb}");
    }
}

/// The rows of "Where to add things", by what is added.
fn places() -> Vec<(String, String)> {
    let text = read("docs/architecture.md");
    let table = text.split_once("\n| what | where |\n|---|---|\n").unwrap().1;
    let rows = table.lines().map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    rows.map(|(what, place)| (what.to_owned(), place.to_owned())).collect()
}

/// The files and folders that the row names.
fn paths_of(what: &str) -> Vec<String> {
    let (_, place) = places().into_iter().find(|row| row.0 == what).unwrap();
    place.split('`').skip(1).step_by(2).filter(|it| it.contains('/')).map(Into::into).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The files of a folder and of those in it, by their path from the root.
fn files(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{}/{}", folder.trim_end_matches('/'), entry.file_name().into_string().unwrap());
        match entry.path().is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// The module that a file is.
fn module(path: &str) -> &str {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    path.strip_suffix("/mod").unwrap_or(path).rsplit('/').next().unwrap()
}

fn in_camel_case(name: &str) -> String {
    name.split('_').map(|part| part[..1].to_uppercase() + &part[1..]).collect()
}

/// Whether an item of this name is defined in the text.
fn defines(text: &str, name: &str) -> bool {
    ["enum", "struct", "trait", "const", "static", "fn"].iter().any(|word| {
        let item = format!("{word} {name}");
        text.split(&item).skip(1).any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// A name belongs to the path that comes next in its row.
#[test]
fn what_the_table_of_places_names_is_there() {
    let rows = places();
    assert!(rows.len() >= 7, "found {} rows", rows.len());
    for (what, place) in rows {
        let mut names = Vec::new();
        for word in place.split('`').skip(1).step_by(2) {
            if !word.contains('/') {
                names.push(word);
                continue;
            }
            assert!(root().join(word).exists(), "{what}: {word} is not there");
            for name in names.drain(..) {
                assert!(word.ends_with(".rs") && defines(&read(word), name), "{what}: no `{name}` in {word}");
            }
        }
        assert!(names.is_empty(), "{what}: where are {names:?}?");
    }
}

#[test]
fn every_balancing_policy_is_in_its_places() {
    let [folder, list, options, _] = &paths_of("a balancing policy")[..] else { panic!("other places") };
    let (list, options) = (read(list), read(options));
    let mut count = 0;
    for file in files(folder).iter().filter(|file| read(file).contains("\n    pub(super) fn pick(")) {
        count += 1;
        let name = in_camel_case(module(file));
        assert!(list.contains(&format!("\n    {name}({name}),\n")), "{file} is no variant of the algorithms");
        assert!(options.contains(&format!("\n        {name} = \"")), "{file} is no policy of the options");
    }
    assert!(count >= 9, "found {count} policies");
}

#[test]
fn every_eviction_policy_is_in_its_places() {
    let [folder, _, start, options] = &paths_of("an eviction policy")[..] else { panic!("other places") };
    let (start, options) = (read(start), read(options));
    let mut count = 0;
    for file in files(folder).iter().filter(|file| read(file).contains("\nimpl Order for ")) {
        count += 1;
        let (module, name) = (module(file), in_camel_case(module(file)));
        let line = format!("Self::{name} => Box::new(Evictor::new({module}::{name}::");
        assert!(start.contains(&line), "{file} is not started");
        assert!(options.contains(&format!("\n        {name} = \"")), "{file} is no variant of the options");
    }
    assert!(count >= 7, "found {count} policies");
}

#[test]
fn every_response_field_is_added() {
    let [file] = &paths_of("a response field")[..] else { panic!("other places") };
    let text = read(file);
    let add = text.split_once("fn add(").unwrap().1.split_once("\n}\n").unwrap().0;
    let mut count = 0;
    for field in text.split("\nfn ").skip(1).map(|rest| rest.split('(').next().unwrap()) {
        count += 1;
        assert!(add.contains(&format!("\n    {field}(")), "{file}: `{field}` is on no response");
    }
    assert!(count >= 6, "found {count} fields");
}

#[test]
fn every_table_of_options_is_in_a_place_of_options() {
    let places = paths_of("an option");
    let (mut count, macros) = (0, ["\nsection! {", "\nchoice! {"]);
    for file in files("src").iter().filter(|file| macros.iter().any(|it| read(file).contains(it))) {
        count += 1;
        assert!(places.iter().any(|place| file.starts_with(place)), "{file} has options");
    }
    assert!(count >= 14, "found {count} files");
}

#[test]
fn every_endpoint_has_a_row() {
    let [folder, _, list] = &paths_of("an admin endpoint")[..] else { panic!("other places") };
    let list = read(list);
    let mut count = 0;
    for file in files(folder) {
        let text = fs::read_to_string(root().join(&file)).unwrap_or_default();
        for name in text.split("\npub(super) const ").skip(1).filter_map(|rest| rest.split_once(": Spec =")) {
            let Some(name) = (!name.0.contains(char::is_whitespace)).then_some(name.0) else { continue };
            count += 1;
            let about = format!("about: &{}::{name},", module(&file));
            assert!(list.contains(&about), "{file}: no row has `{about}`");
        }
    }
    assert!(count >= 20, "found {count} endpoints");
}

/// The compiler asks in each file of the row, since none of them has a match for all the others.
#[test]
fn every_way_to_fail_is_in_its_places() {
    let places = paths_of("a way to fail");
    let text = read(&places[0]);
    let kinds = text.split_once("pub enum Kind {").unwrap().1.split_once("\n}\n").unwrap().0;
    let kinds: Vec<&str> = kinds
        .lines()
        .filter_map(|line| line.strip_prefix("    ").filter(|line| line.starts_with(char::is_uppercase)))
        .map(|line| line.split(['(', ',']).next().unwrap())
        .collect();
    assert!(kinds.len() >= 25 && places.len() == 5, "{kinds:?} {places:?}");
    for place in places {
        let text = read(&place);
        let has = |kind: &str, end| text.contains(&format!("::{kind}{end}"));
        for kind in &kinds {
            assert!(
                [" ", "\n", "(", ")", ","].iter().any(|end| has(kind, end)),
                "{place}: nothing of {kind}"
            );
        }
        assert!(!text.contains("\n        _ =>"), "{place} has a match for all the others");
    }
}

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
fn every_function_of_the_cache_table_is_used_by_the_program() {
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

/// Code without the items that begin with such a line, and end with a semicolon or with the brace that stands under
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

/// Where what a column names stands.
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
