//! "Where to add things" in docs/architecture.md: what it names is there, and what is there was added as it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::files::{files, read, root};

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
    let [folder, list, options] = &paths_of("a balancing policy")[..] else { panic!("other places") };
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
fn every_filter_is_in_its_places() {
    let [folder, _, list, order] = &paths_of("a filter")[..] else { panic!("other places") };
    let (list, order, page) = (read(list), read(order), read("docs/architecture.md"));
    let names = list.split_once("\nfilters! {").unwrap().1.split_once("\n}\n").unwrap().0;
    let named: Vec<(&str, &str)> = names
        .lines()
        .filter_map(|line| line.trim().strip_suffix("\",")?.split_once(" = \""))
        .filter(|(filter, _)| !filter.starts_with('/'))
        .collect();
    let mut count = 0;
    for file in files(folder).iter().filter(|file| read(file).contains("\nimpl Hooks for ")) {
        count += 1;
        let name = in_camel_case(module(file));
        assert!(read(file).contains(&format!("\nimpl Hooks for {name} {{")), "{file} has another name");
        assert!(named.iter().any(|(filter, _)| *filter == name), "{file} is no filter of the list");
        assert!(order.contains(&format!("Filter::{name})")), "{file} is made from no configuration");
    }
    assert_eq!(count, named.len());
    // Those of one hook stand in the order in which they act.
    let mut hooks: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `on_")?.split_once("`: `")) {
        let name = row.1.split('`').next().unwrap();
        let at = named.iter().position(|(_, known)| *known == name);
        hooks.entry(row.0).or_default().push(at.unwrap_or_else(|| panic!("{name} is no filter")));
    }
    for (hook, acting) in &hooks {
        assert!(acting.is_sorted(), "the rows of on_{hook} are in another order than `filters!`");
    }
    let shown: BTreeSet<usize> = hooks.into_values().flatten().collect();
    assert_eq!(shown.len(), named.len(), "a filter has no row in the order of what is done");
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
