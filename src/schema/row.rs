//! What is known of an option without its type: name, default, range, doc, schema.

use super::Table;

/// One option, for schema and reference.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name, default and range.
    pub key: Key,
    /// What it does.
    pub doc: &'static str,
    /// What it holds.
    pub kind: String,
    /// Its JSON Schema, without default and range.
    pub schema: serde_json::Value,
    /// Its own options, where it is a table.
    pub nested: Option<Nested>,
    /// Whether leaving it out is an error.
    pub required: bool,
    /// Whether it is in the contract, but not in this version.
    pub later: bool,
    /// Reads what is written for it, only for the problems.
    pub check: fn(&mut Table<'_, '_, '_>, &Key),
}

/// The options of a nested table, for the reference.
#[derive(Clone, Debug)]
pub struct Nested {
    /// What the table is.
    pub doc: &'static str,
    /// Its options.
    pub rows: Vec<Row>,
    /// Whether there can be many (`[[name]]`).
    pub repeated: bool,
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
