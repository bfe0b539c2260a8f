//! TOML text as a tree in which everything has a place. The only file that knows the TOML crate, beside `depth`.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Place, depth};

/// A value and where it is.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value's text; for a `[table]` its header.
    pub place: Place,
    /// The value.
    pub data: Data,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub enum Data {
    /// A string of any kind.
    String(String),
    /// An integer of any size; what does not fit is the largest.
    Integer(i128),
    /// A floating-point number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or time, which no option takes.
    Datetime,
    /// An array, or an array of tables.
    Array(Vec<Node>),
    /// A table, in the order of the file.
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// The tree of `text`, as far as it could be understood, and every syntax error in the TOML crate's words. Of one that is
    /// too deep nothing is understood.
    pub fn parse(text: &str) -> (Self, Vec<(Place, String)>) {
        if let Some(place) = depth::beyond(text) {
            let message = format!("tables and arrays are nested more than {} levels deep", depth::MOST);
            let root = Self { place: Place::default(), data: Data::Table(Vec::new()) };
            return (root, vec![(place, message)]);
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        let errors = errors.iter().map(|error| {
            let span = error.span().unwrap_or(0..0);
            (place(span), error.message().to_owned())
        });
        let root = Self { place: Place::default(), data: Data::Table(entries(table.get_ref())) };
        (root, errors.collect())
    }

    /// The tree of one value, such as a default; `None` when it is none.
    pub fn parse_value(text: &str) -> Option<Self> {
        DeValue::parse(text).ok().map(|value| node(&value))
    }

    /// Moves every place behind `by` bytes, where the text is put behind another.
    pub fn shift(&mut self, by: usize) {
        self.place.shift(by);
        match &mut self.data {
            Data::Array(items) => items.iter_mut().for_each(|item| item.shift(by)),
            Data::Table(entries) => entries.iter_mut().for_each(|entry| {
                entry.place.shift(by);
                entry.node.shift(by);
            }),
            Data::String(_) | Data::Integer(_) | Data::Float(_) | Data::Boolean(_) | Data::Datetime => {}
        }
    }

    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::String(_) => "a string",
            Data::Integer(_) => "an integer",
            Data::Float(_) => "a number",
            Data::Boolean(_) => "a boolean",
            Data::Datetime => "a date",
            Data::Array(_) => "an array",
            Data::Table(_) => "a table",
        }
    }

    /// The value of `key`, when this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The entry of `key`, when this is a table that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a table; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.data {
            Data::Table(entries) => entries.iter_mut().find(|entry| entry.key == key).map(|it| &mut it.node),
            _ => None,
        }
    }

    /// The items of an array; none of anything else.
    pub fn items(&self) -> &[Self] {
        match &self.data {
            Data::Array(items) => items,
            _ => &[],
        }
    }

    /// The text of a string; `None` of anything else.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::String(text) => Some(text),
            _ => None,
        }
    }

    /// The items of the array at `key`, such as all `[[upstream]]`.
    pub fn items_of(&self, key: &str) -> &[Self] {
        self.get(key).map_or(&[], Self::items)
    }
}

fn entries(table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            place: place(key.span()),
            node: node(value),
        })
        .collect();
    // The TOML crate sorts by name; what people see is the order in which they wrote.
    entries.sort_by_key(|entry| entry.place);
    entries
}

fn node(value: &Spanned<DeValue<'_>>) -> Node {
    let data = match value.get_ref() {
        DeValue::String(text) => Data::String(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i128::from_str_radix(number.as_str(), number.radix());
            Data::Integer(parsed.unwrap_or(i128::MAX))
        }
        DeValue::Float(number) => Data::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(yes) => Data::Boolean(*yes),
        DeValue::Datetime(_) => Data::Datetime,
        DeValue::Array(items) => Data::Array(items.iter().map(node).collect()),
        DeValue::Table(table) => Data::Table(entries(table)),
    };
    Node { place: place(value.span()), data }
}

fn place(span: std::ops::Range<usize>) -> Place {
    Place { start: span.start, end: span.end }
}
