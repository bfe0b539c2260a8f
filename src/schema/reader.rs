//! Walks the keys of tables, and keeps every problem that comes up. What a key holds is read by `typed`.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::{Data, Entry, Node, Place, Problem, Problems, Source, suggest, syntax::SyntaxErrors};

/// What reading a document needs and gathers.
#[derive(Debug)]
pub struct Reader<'s> {
    source: &'s Source,
    pub(super) problems: Vec<(Place, String, Option<String>)>,
    /// Those of them that are this machine's and not the text's.
    lacking: HashSet<(Place, String)>,
    /// Keys from the root to what is being read; the last one names it in messages.
    pub(super) path: Vec<String>,
    /// Least and greatest value of what is being read, in TOML, where its row has them.
    pub range: Option<(&'static str, &'static str)>,
    /// Set when the text has syntax errors: what seems to be missing may only not have been understood.
    pub recovered: bool,
}

impl<'s> Reader<'s> {
    /// A reader of `source`, without problems yet.
    pub fn new(source: &'s Source) -> Self {
        let (problems, path) = (Vec::new(), Vec::new());
        Self { source, problems, lacking: HashSet::new(), path, range: None, recovered: false }
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

    /// Adds a problem with what the text names, such as a file: it cannot be had on this machine now, and may be later.
    pub fn lacking(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        let message = message.into();
        self.lacking.insert((place, message.clone()));
        self.problem_with(place, message, hint);
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

    /// All problems in the order of the text, each once: what many tables share is read with each of them.
    pub fn into_problems(mut self) -> Problems {
        let mut seen = HashSet::new();
        self.problems.retain(|(place, message, _)| seen.insert((*place, message.clone())));
        self.problems.sort_by_key(|(place, ..)| place.start);
        let (source, lacking, recovered) = (self.source, self.lacking, self.recovered);
        let at = |(place, message, hint): (Place, String, Option<String>)| {
            // Whatever may come, a text with syntax errors will not be good.
            let is_lacking = !recovered && lacking.contains(&(place, message.clone()));
            Problem { is_lacking, ..Problem::at(source, place, message, hint) }
        };
        Problems(self.problems.into_iter().map(at).collect())
    }

    /// Reads on as if at the top level at `key`; gives what it was called before, for [`Reader::call`].
    pub fn called(&mut self, key: &str) -> Vec<String> {
        std::mem::replace(&mut self.path, vec![key.to_owned()])
    }

    /// Reads on with these keys from the root.
    pub fn call(&mut self, path: Vec<String>) {
        self.path = path;
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

    /// `path`, which is at `node`, from the folder of the file that says it.
    pub fn resolve(&self, node: &Node, path: &str) -> PathBuf {
        self.source.folder(node.place.start).join(Path::new(path))
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
            let hint = format!("write `[{title}]` above its keys, or `{{ key = … }}`");
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
    pub(super) used: Vec<&'static str>,
    /// Keys that are known and refused, so that no hint names them.
    pub(super) refused: Vec<&'static str>,
}

impl<'n> Table<'_, '_, 'n> {
    /// The entry of `key`, when it is written.
    pub fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Where the value of `key` is; the table's own place when it is not written.
    pub fn place_of(&self, key: &str) -> Place {
        self.entry(key).map_or(self.place, |entry| entry.node.place)
    }

    /// Where the items of the array at `key` are.
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
}
