//! Takes values out of tables by the names of their keys: what is written, else the default.

use std::{cell::RefCell, collections::HashMap, path::Path, rc::Rc};

use super::{Entry, Node, Reader, Source, Table, Value, row::Key};

impl Reader<'_> {
    /// The value at `node`, which is called `key` in messages.
    pub fn read_as<T: Value>(&mut self, key: &str, node: &Node) -> Option<T> {
        self.path.push(key.to_owned());
        let value = T::read(node, self);
        self.path.pop();
        value
    }
}

impl Table<'_, '_, '_> {
    /// The value of an option: what is written, else its default. `None` after a problem that leaves
    /// nothing to go on with; after any other the default takes its place, so that reading goes on.
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
                Some(default) => format!("leave it out, or set it to its default, `{default}`"),
                None => "leave it out".to_owned(),
            };
            self.reader.problem_with(entry.place, message, hint);
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
        let text = self.reader.source().text();
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

/// A value from TOML that is in our own code; `None` when it is wrong, which a test rules out.
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
