//! Takes keys out of tables by name, and keeps every problem that comes up.

use std::{
    cell::RefCell,
    collections::HashMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{Data, Entry, Node, Place, Problem, Problems, Source, Value, suggest, syntax::SyntaxErrors};

/// What reading a document needs and gathers.
#[derive(Debug)]
pub struct Reader<'s> {
    source: &'s Source,
    problems: Vec<(Place, String, Option<String>)>,
    /// Keys from the root to what is being read; the last one names it in messages.
    path: Vec<String>,
    /// Least and greatest value of what is being read, in TOML, where its row has them.
    pub range: Option<(&'static str, &'static str)>,
    /// Set when the text has syntax errors: what seems to be missing may only not have been understood.
    pub recovered: bool,
}

impl<'s> Reader<'s> {
    /// A reader of `source`, without problems yet.
    pub fn new(source: &'s Source) -> Self {
        Self { source, problems: Vec::new(), path: Vec::new(), range: None, recovered: false }
    }

    /// The text that is read.
    pub fn source(&self) -> &Source {
        self.source
    }

    /// Adds a problem.
    pub fn problem(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push((place, message.into(), None));
    }

    /// Adds a problem with a hint.
    pub fn problem_with(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        let problem = (place, message.into(), Some(hint.into()));
        self.problems.push(problem);
    }

    /// Adds a problem about something that is not there; nothing when the text has syntax errors.
    pub fn missing(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        if !self.recovered {
            self.problem_with(place, message, hint);
        }
    }

    /// Adds syntax errors, and drops problems that only come from them.
    pub fn add_syntax(&mut self, syntax: SyntaxErrors) {
        let source = self.source;
        self.problems.retain(|(place, ..)| !syntax.explain(*place, source));
        self.problems.extend(syntax.errors);
    }

    /// Whether a problem has been added.
    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// All problems in the order of the text, each once.
    pub fn into_problems(mut self) -> Problems {
        self.problems.sort_by_key(|(place, ..)| place.start);
        self.problems.dedup();
        let at = |(place, message, hint)| Problem::at(self.source, place, message, hint);
        Problems(self.problems.into_iter().map(at).collect())
    }

    /// The key being read, for messages.
    pub fn key(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    /// The keys from the root to what is being read: `upstream.backend`.
    pub fn title(&self) -> String {
        self.path.join(".")
    }

    /// "`key` must be `wanted`, not a string".
    pub fn wrong_type(&mut self, node: &Node, wanted: &str) {
        let message = format!("`{}` must be {wanted}, not {}", self.key(), node.kind());
        self.problem(node.place, message);
    }

    /// `path` from the folder of the file that is read.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.source.folder().join(Path::new(path))
    }

    /// The value at `node`, which is called `key` in messages.
    pub fn read_as<T: Value>(&mut self, key: &str, node: &Node) -> Option<T> {
        self.path.push(key.to_owned());
        let value = T::read(node, self);
        self.path.pop();
        value
    }

    /// The text of a string, or a problem.
    pub fn text<'n>(&mut self, node: &'n Node, wanted: &str) -> Option<&'n str> {
        let text = node.text();
        if text.is_none() {
            self.wrong_type(node, wanted);
        }
        text
    }

    /// The table that `node` is, or a problem.
    pub fn table<'r, 'n>(&'r mut self, node: &'n Node) -> Option<Table<'r, 's, 'n>> {
        let Data::Table(entries) = &node.data else {
            let title = self.title();
            let message = format!("`{}` must be a table, not {}", self.key(), node.kind());
            let hint = format!("a table has keys: `[{title}]` above them, or `{{ key = … }}`");
            self.problem_with(node.place, message, hint);
            return None;
        };
        Some(Table { reader: self, place: node.place, entries, used: Vec::new(), refused: Vec::new() })
    }
}

/// A table being read. A key is asked for by name; [`Table::finish`] reports those never asked for.
#[derive(Debug)]
pub struct Table<'r, 's, 'n> {
    /// Where problems go.
    pub reader: &'r mut Reader<'s>,
    /// The table's header.
    pub place: Place,
    entries: &'n [Entry],
    used: Vec<&'static str>,
    /// Keys that are known and refused, so that no hint names them.
    refused: Vec<&'static str>,
}

/// An option as its row has it; defaults and bounds are TOML, so that the one parser reads them.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its default.
    pub default: Option<&'static str>,
    /// Its least and greatest value.
    pub range: Option<(&'static str, &'static str)>,
}

impl<'n> Table<'_, '_, 'n> {
    /// The value of an option: what is written, else its default. `None` after a problem that leaves
    /// nothing to go on with; after any other the default stands in, so that reading goes on.
    pub fn read<T: Value>(&mut self, key: &Key) -> Option<T> {
        self.used.push(key.name);
        let Some(entry) = self.entry(key.name) else {
            return default(key).or_else(T::absent).or_else(|| {
                let message = format!("{} needs `{}`", self.title(), key.name);
                let hint = format!("add `{}`, {}", key.name, T::kind());
                self.reader.missing(self.place, message, hint);
                None
            });
        };
        self.reader.path.push(key.name.to_owned());
        self.reader.range = key.range;
        let value = T::read(&entry.node, self.reader);
        self.reader.range = None;
        let value = value.filter(|value| self.within(key, value, entry));
        self.reader.path.pop();
        value.or_else(|| default(key)).or_else(T::absent)
    }

    /// Refuses an option of the contract that this version does not have, unless it is at its default.
    pub fn refuse<T: Value + PartialEq>(&mut self, key: &Key) {
        self.refused.push(key.name);
        let Some(entry) = self.entry(key.name) else {
            return;
        };
        let before = self.reader.problems.len();
        let Some(value) = self.read::<T>(key) else {
            return;
        };
        if self.reader.problems.len() == before && Some(value) != default(key) {
            let message = format!("`{}` is not implemented in this version", key.name);
            let hint = match key.default {
                Some(default) => format!("leave it out, or at its default, `{default}`"),
                None => "leave it out".to_owned(),
            };
            self.reader.problem_with(entry.place, message, hint);
        }
    }

    /// The entry of `key`, when it is written.
    pub fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Where the value of `key` stands; the table's own place when it is not written.
    pub fn place_of(&self, key: &str) -> Place {
        self.entry(key).map_or(self.place, |entry| entry.node.place)
    }

    /// Where the items of the array at `key` stand.
    pub fn places_in(&self, key: &str) -> Vec<Place> {
        let items = self.entry(key).map_or(&[][..], |entry| entry.node.items());
        items.iter().map(|item| item.place).collect()
    }

    /// The entries of the table at `key`.
    pub fn entries_of(&self, key: &str) -> &'n [Entry] {
        self.entry(key).map_or(&[][..], |entry| entry.node.entries())
    }

    /// The table's name in messages.
    pub fn title(&self) -> String {
        match self.reader.path.as_slice() {
            [] => "the file".to_owned(),
            path => format!("`{}`", path.join(".")),
        }
    }

    /// Reports every key that was never asked for.
    pub fn finish(self) {
        let title = self.title();
        for entry in self.entries {
            let key = entry.key.as_str();
            if !self.used.contains(&key) && !self.refused.contains(&key) {
                let message = format!("unknown key `{}` in {title}", entry.key);
                let known = self.used.iter().filter(|key| !self.refused.contains(key));
                let hint = suggest::did_you_mean(key, known.copied());
                self.reader.problem_with(entry.place, message, hint);
            }
        }
    }

    fn within<T: Value>(&mut self, key: &Key, value: &T, entry: &Entry) -> bool {
        let Some((least, greatest)) = key.range else {
            return true;
        };
        let bound = |text| literal::<T>(text).and_then(|bound| bound.magnitude());
        let (Some(low), Some(high), Some(is)) = (bound(least), bound(greatest), value.magnitude()) else {
            return true;
        };
        // Written so that NaN is out of every range.
        if is >= low && is <= high {
            return true;
        }
        let text = self.reader.source.text();
        let written = text.get(entry.node.place.start..entry.node.place.end);
        let message =
            format!("`{}` must be from {least} to {greatest}, not {}", key.name, written.unwrap_or("this"));
        self.reader.problem(entry.node.place, message);
        false
    }
}

fn default<T: Value>(key: &Key) -> Option<T> {
    key.default.and_then(literal)
}

/// A value from TOML that stands in our own code; `None` when it is wrong, which a test rules out.
fn literal<T: Value>(text: &'static str) -> Option<T> {
    let parsed =
        LITERALS.with_borrow_mut(|known| known.entry(text).or_insert_with(|| parse(text)).clone())?;
    let (source, node) = &*parsed;
    let mut reader = Reader::new(source);
    let value = T::read(node, &mut reader);
    value.filter(|_| !reader.has_problems())
}

fn parse(text: &str) -> Option<Rc<(Source, Node)>> {
    Some(Rc::new((Source::new(text, Path::new("")), Node::parse_value(text)?)))
}

type Literal = Option<Rc<(Source, Node)>>;

thread_local! {
    /// Each parsed once: ten thousand routes leave a hundred thousand keys to their defaults.
    static LITERALS: RefCell<HashMap<&'static str, Literal>> = RefCell::default();
}
