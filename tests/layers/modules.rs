//! The modules of the program, and which of them uses which.

use std::{
    collections::{BTreeMap, BTreeSet},
    path,
};

use super::{
    code::{stands_alone, tested_code},
    paths::{Path, imports, paths, without_imports},
    source::{Source, holds_only_tests},
};

/// A module's path, without `crate`.
pub(crate) type Name = Vec<String>;

/// The modules of a crate by name.
pub(crate) struct Modules(BTreeMap<Name, Module>);

/// What is in a module's file.
struct Module {
    paths: Vec<Path>,
    imports: Vec<Path>,
    /// Its code but for the imports.
    body: String,
}

impl Modules {
    pub(crate) fn of(sources: &[Source]) -> Self {
        let sources = sources.iter().filter(|source| !holds_only_tests(&source.path));
        Self(sources.map(|source| (name(&source.path), Module::of(&source.text))).collect())
    }

    /// Each module that has others below it, with the names of those that are next below.
    pub(crate) fn families(&self) -> BTreeMap<Name, BTreeSet<String>> {
        let mut families = BTreeMap::<Name, BTreeSet<String>>::new();
        for name in self.0.keys() {
            if let Some((last, parent)) = name.split_last() {
                families.entry(parent.to_vec()).or_default().insert(last.clone());
            }
        }
        families
    }

    /// Each module with another in which something that it names is defined. A parent that only declares what is
    /// below it, and gives it on, does not use it.
    pub(crate) fn uses(&self) -> BTreeSet<(Name, Name)> {
        let mut uses = BTreeSet::new();
        for (user, module) in &self.0 {
            let named = module.paths.iter().filter_map(|path| self.definer(user, &path.segments, 0));
            let named = named.filter(|used| used != user && !used.starts_with(user));
            uses.extend(named.map(|used| (user.clone(), used)));
            uses.extend(self.used_below(user, module).into_iter().map(|used| (user.clone(), used)));
        }
        uses
    }

    /// The modules below `user` that its own code speaks of, by a path or by a name that it imported.
    fn used_below(&self, user: &[String], module: &Module) -> BTreeSet<Name> {
        let next = self.0.keys().filter(|name| name.len() == user.len() + 1 && name.starts_with(user));
        let spoken = next.filter(|name| has_path_from(&module.body, name.last().unwrap()));
        let imported = module.imports.iter().filter(|import| has_word(&module.body, &import.name));
        let imported = imported.filter_map(|import| self.definer(user, &import.segments, 0));
        let imported = imported.filter(|used| used.len() > user.len() && used.starts_with(user));
        spoken.cloned().chain(imported).collect()
    }

    /// The module in which what `path` names is defined, through what others import and give on; `None` when it is
    /// none of ours.
    fn definer(&self, from: &[String], path: &[String], depth: usize) -> Option<Name> {
        // Imports in a ring do not compile, but a scanner must end.
        if depth > MOST_STEPS {
            return None;
        }
        let mut here = from.to_vec();
        let rest = match path.split_first()? {
            (first, rest) if first == "crate" => {
                here.clear();
                rest
            }
            (first, rest) if first == "self" => rest,
            _ => path,
        };
        let is_bare = rest.len() == path.len() && path[0] != "super";
        for (at, segment) in rest.iter().enumerate() {
            if segment == "super" {
                here.pop();
                continue;
            }
            here.push(segment.clone());
            if self.0.contains_key(&here) {
                continue;
            }
            here.pop();
            let imports = &self.0.get(&here)?.imports;
            let import = imports.iter().find(|import| import.name == *segment && import.segments != path);
            let Some(import) = import else {
                // An item that is defined here; another crate's where a bare path begins with it.
                return (!is_bare || at > 0).then_some(here);
            };
            let through = [&import.segments[..], &rest[at + 1..]].concat();
            return self.definer(&here, &through, depth + 1);
        }
        Some(here)
    }
}

impl Module {
    fn of(text: &str) -> Self {
        let code = tested_code(text);
        Self {
            paths: paths(&code).into_iter().map(|(path, _)| path).collect(),
            imports: imports(&code),
            body: without_imports(&code),
        }
    }
}

/// The name of the module in the file at `path`.
fn name(path: &path::Path) -> Name {
    let path = path.with_extension("");
    let mut name: Name = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if name.last().is_some_and(|last| last == "mod") || name == ["lib"] {
        name.pop();
    }
    name
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| stands_alone(code, at, word.len()))
}

/// Whether a path in `code` begins with `word`.
fn has_path_from(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let is_first = !code[..at].ends_with("::");
        is_first && stands_alone(code, at, word.len()) && code[at + word.len()..].starts_with("::")
    })
}

const MOST_STEPS: usize = 16;

#[test]
fn names_given_on_are_used_where_they_are_defined() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let modules = Modules::of(&[
        source("lib.rs", "pub mod a; pub mod b;"),
        source(
            "a/mod.rs",
            "mod one; mod two; pub use self::{one::One, two as second}; use std::fmt; struct Own;",
        ),
        source(
            "a/one.rs",
            "use super::second::Two; pub struct One; fn f() -> super::fmt::Result { loop {} }",
        ),
        source("a/two/mod.rs", "pub mod deep; pub struct Two; fn f() { deep::g(super::Own) }"),
        source("a/two/deep.rs", "pub fn g() { super::super::One }"),
        source("a/two/tests.rs", "use super::super::one::One;"),
        source("b.rs", "use crate::a::{self, One, second::deep}; use std::a;"),
    ]);
    let uses = modules.uses();
    let uses: Vec<String> =
        uses.iter().map(|(user, used)| format!("{} {}", user.join("::"), used.join("::"))).collect();
    assert_eq!(
        uses,
        [
            "a::one a::two",
            "a::two a",
            "a::two a::two::deep",
            "a::two::deep a::one",
            "b a",
            "b a::one",
            "b a::two::deep",
        ]
    );
    let families = modules.families();
    assert_eq!(families[&vec!["a".to_owned()]], ["one", "two"].map(str::to_owned).into());
    assert_eq!(families.len(), 3);
}
