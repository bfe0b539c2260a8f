//! Pieces of text that are exchanged, and the places in the tree where they begin and end.

use std::ops::Range;

use crate::schema::{Data, Entry, Node};

/// A piece of text that is exchanged; empty where something is put in.
pub(super) type Splice = (Range<usize>, String);

/// `text` with its pieces exchanged; `None` when they overlap, which they never should.
pub(super) fn spliced(text: &str, mut splices: Vec<Splice>) -> Option<String> {
    splices.sort_by_key(|(range, _)| range.start);
    let mut result = String::with_capacity(text.len() + 100);
    let mut done = 0;
    for (range, piece) in splices {
        result += text.get(done..range.start)?;
        result += &piece;
        done = range.end;
    }
    result += text.get(done..)?;
    Some(result)
}

/// The entry of a table that is last.
pub(super) fn last_entry(table: &Node) -> Option<&Entry> {
    table.entries().iter().max_by_key(|entry| entry.node.place.end)
}

/// Where the last thing that ends at or before `at` ends: what is between is blanks and comments.
pub(super) fn end_before(node: &Node, at: usize) -> usize {
    let own = if node.place.end <= at { node.place.end } else { 0 };
    let within = match &node.data {
        Data::Array(items) => items.iter().map(|item| end_before(item, at)).max(),
        Data::Table(entries) => entries.iter().map(|entry| end_before(&entry.node, at)).max(),
        Data::String(_) | Data::Integer(_) | Data::Float(_) | Data::Boolean(_) | Data::Datetime => None,
    };
    own.max(within.unwrap_or(0))
}
