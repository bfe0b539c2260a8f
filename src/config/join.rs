//! A configuration's texts as one tree: its file, and those that it includes.

use std::path::Path;

use super::include::{Include, Included};
use crate::schema::{Data, Entry, Node, Place, Reader, Source, environment, syntax::SyntaxErrors};

/// What the texts came to.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) source: Source,
    pub(super) root: Node,
    /// Of each text that has any.
    pub(super) syntax: Vec<SyntaxErrors>,
    /// Where, what, and what to do about it.
    pub(super) problems: Vec<(Place, String, String)>,
}

/// The tree of a text, with what the environment says put in.
pub(super) fn of_text(text: &str, file: &Path) -> Joined {
    let source = Source::new(text, file);
    let (mut root, errors) = Node::parse(text);
    let problems = root.expand(&environment::of_process);
    let mut syntax = Vec::new();
    if !errors.is_empty() {
        syntax.push(SyntaxErrors::new(errors, text.len(), &source));
    }
    Joined { source, root, syntax, problems }
}

/// The tree of a text with what it includes, as far as that can be read.
pub(super) fn with_included(text: &str, file: &Path) -> Joined {
    let mut joined = of_text(text, file);
    let (included, _) = joined.include().read_files(file);
    included.iter().for_each(|it| joined.add(it));
    joined
}

impl Joined {
    /// What the text says of files beside it; what is wrong with that is reported when all of it is read.
    pub(super) fn include(&self) -> Include {
        let mut reader = Reader::new(&self.source);
        let node = self.root.get("include");
        node.and_then(|node| reader.read_as("include", node)).unwrap_or_default()
    }

    /// Adds a text that is included.
    pub(super) fn add(&mut self, included: &Included) {
        let start = self.source.include(&included.text, &included.path);
        let (mut root, errors) = Node::parse(&included.text);
        root.shift(start);
        self.problems.extend(root.expand(&environment::of_process));
        if !errors.is_empty() {
            let mut errors = errors;
            errors.iter_mut().for_each(|(place, _)| place.shift(start));
            self.syntax.push(SyntaxErrors::new(errors, start + included.text.len(), &self.source));
        }
        if let (Data::Table(all), Data::Table(mut entries)) = (&mut self.root.data, root.data) {
            entries.retain(|entry| {
                let is_include = entry.key == "include";
                if is_include {
                    let message = "an included file cannot include others".to_owned();
                    self.problems.push((entry.place, message, "include it from the main file".to_owned()));
                }
                !is_include
            });
            join(all, entries, &self.source, &mut self.problems);
        }
    }
}

/// Adds entries to those of another file: lists of tables become one, tables too, and nothing is said twice.
fn join(
    all: &mut Vec<Entry>,
    more: Vec<Entry>,
    source: &Source,
    problems: &mut Vec<(Place, String, String)>,
) {
    for entry in more {
        let Some(before) = all.iter_mut().find(|it| it.key == entry.key) else {
            all.push(entry);
            continue;
        };
        match (&mut before.node.data, entry.node.data) {
            (Data::Array(items), Data::Array(others)) if are_tables(items) && are_tables(&others) => {
                items.extend(others);
            }
            (Data::Table(entries), Data::Table(others)) => join(entries, others, source, problems),
            _ => {
                let line = source.line_seen_from(before.place.start, entry.place.start);
                let message = format!("`{}` is already set on {line}", entry.key);
                problems.push((entry.place, message, "a key can be set only once; remove one".to_owned()));
            }
        }
    }
}

fn are_tables(items: &[Node]) -> bool {
    items.iter().all(|item| matches!(item.data, Data::Table(_)))
}
