//! Backends that are `[[upstream.backend]]` tables.

use std::ops::Range;

use super::{
    lines,
    splice::{Splice, end_before, last_entry},
};
use crate::schema::{Entry, Node};

/// A key put behind the last one of `backend`, on a line of its own.
pub(super) fn put(text: &str, backend: &Node, key: &str, value: &str) -> Option<Vec<Splice>> {
    let last = last_entry(backend)?;
    let line = key_line(text, last, key, value);
    let at = lines::end(text, last.node.place.end);
    Some(vec![(at..at, whole_lines(text, at, &line, last.node.place.end))])
}

/// A table put behind `last`, with a blank line between where there is one before `last`.
pub(super) fn add(text: &str, root: &Node, last: &Node, keys: &[(&str, String)]) -> Option<Vec<Splice>> {
    let section = section(text, root, last)?;
    let neighbour = last_entry(last)?;
    let line_break = lines::line_break(text, last.place.start);
    let mut table = String::new();
    if section.start > 0 && lines::is_blank(text, lines::start(text, section.start - 1)) {
        table += line_break;
    }
    let header = text.get(last.place.start..last.place.end)?;
    table += &format!("{}{header}{line_break}", lines::indent(text, last.place.start));
    let key_lines: Vec<_> = keys.iter().map(|(key, value)| key_line(text, neighbour, key, value)).collect();
    table += &key_lines.join(line_break);
    let at = section.end;
    Some(vec![(at..at, whole_lines(text, at, &table, last.place.start))])
}

/// The table taken out, with what belongs to it and one of the blank gaps beside it.
pub(super) fn remove(text: &str, root: &Node, backend: &Node) -> Option<Vec<Splice>> {
    let Range { mut start, mut end } = section(text, root, backend)?;
    let is_blank_above = |start: usize| start > 0 && lines::is_blank(text, lines::start(text, start - 1));
    let mut behind = end;
    while lines::is_blank(text, behind) {
        behind = lines::end(text, behind);
    }
    if behind == text.len() {
        while is_blank_above(start) {
            start = lines::start(text, start - 1);
        }
    } else if is_blank_above(start) || start == 0 {
        end = behind;
    }
    // A text without a line break at its end stays one.
    if end == text.len() && !text.ends_with('\n') && start > 0 {
        start = lines::end_of_content(text, lines::start(text, start - 1));
    }
    Some(vec![(start..end, String::new())])
}

/// The whole lines of a table: its comments above, its header, its keys, its comments beneath.
fn section(text: &str, root: &Node, backend: &Node) -> Option<Range<usize>> {
    let header = backend.place.start;
    let start = lines::comments_above(text, header, end_before(root, header));
    let end = lines::end(text, last_entry(backend)?.node.place.end);
    let mut behind = end;
    while lines::is_comment(text, behind) {
        behind = lines::end(text, behind);
    }
    let is_free = behind == text.len() || lines::is_blank(text, behind);
    Some(start..if is_free { behind } else { end })
}

/// A line with a key, as its neighbour is written: indented, and its `=` below the other.
fn key_line(text: &str, neighbour: &Entry, key: &str, value: &str) -> String {
    let between = text.get(neighbour.place.end..neighbour.node.place.start).unwrap_or(" = ");
    let (before, after) = between.split_once('=').unwrap_or((" ", " "));
    let indent = lines::indent(text, neighbour.place.start);
    let width = neighbour.place.end - neighbour.place.start + before.len();
    let before = match before.len() {
        0 | 1 => before.to_owned(),
        _ => " ".repeat(width.saturating_sub(key.len()).max(1)),
    };
    format!("{indent}{key}{before}={after}{value}")
}

/// `lines` as they are put in at `at`, where a line begins or the text ends. `near` has the line breaks.
fn whole_lines(text: &str, at: usize, lines: &str, near: usize) -> String {
    let line_break = lines::line_break(text, near);
    let is_open = at == text.len() && !text.ends_with('\n');
    if is_open { format!("{line_break}{lines}") } else { format!("{lines}{line_break}") }
}
