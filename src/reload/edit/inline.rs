//! Backends that are inline tables in an array.

use super::{
    lines,
    splice::{Splice, last_entry},
};
use crate::schema::Node;

/// A key put behind the last one of `backend`.
pub(super) fn put(text: &str, backend: &Node, key: &str, value: &str) -> Option<Vec<Splice>> {
    let at = last_entry(backend)?.node.place.end;
    let equals = equals(text, backend)?;
    Some(vec![(at..at, format!(", {key}{equals}{value}"))])
}

/// A table put behind `last`, on a line of its own where `last` has one.
pub(super) fn add(text: &str, array: &Node, last: &Node, keys: &[(&str, String)]) -> Option<Vec<Splice>> {
    let equals = equals(text, last)?;
    let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}{equals}{value}")).collect();
    let inside = text.get(last.place.start + 1..)?;
    let pad = if inside.starts_with([' ', '\t', '\r', '\n']) { " " } else { "" };
    let item = format!("{{{pad}{}{pad}}}", keys.join(", "));
    let end = last.place.end;
    let comma = comma_behind(text, end, array.place.end);
    let behind = comma.map_or(end, |comma| comma + 1);
    if !lines::is_first(text, last.place.start) || !lines::is_last(text, behind) {
        return Some(vec![(end..end, format!(", {item}"))]);
    }
    let line_break = lines::line_break(text, end);
    let indent = lines::indent(text, last.place.start);
    let at = lines::end(text, behind);
    Some(match comma {
        Some(_) => vec![(at..at, format!("{indent}{item},{line_break}"))],
        None => vec![(end..end, ",".to_owned()), (at..at, format!("{indent}{item}{line_break}"))],
    })
}

/// A table taken out, with its comma; with its lines and the comments above where it has lines of its own.
pub(super) fn remove(text: &str, array: &Node, index: usize) -> Option<Vec<Splice>> {
    let items = array.items();
    let item = items.get(index)?;
    let (start, end) = (item.place.start, item.place.end);
    let behind = comma_behind(text, end, array.place.end).map_or(end, |comma| comma + 1);
    let before = index.checked_sub(1).and_then(|before| items.get(before));
    let next = items.get(index + 1);
    let range = if lines::is_first(text, start) && lines::is_last(text, behind) {
        let floor = before.map_or(array.place.start, |before| before.place.end);
        lines::comments_above(text, start, lines::end(text, floor))..lines::end(text, behind)
    } else if let Some(next) = next {
        let is_on_line = !text.get(behind..next.place.start)?.contains('\n');
        start..if is_on_line { next.place.start } else { lines::end_of_content(text, behind) }
    } else if let Some(before) = before.filter(|before| is_plain(text, before.place.end, start)) {
        before.place.end..end
    } else {
        start..behind
    };
    Some(vec![(range, String::new())])
}

/// What is between a key and its value.
fn equals<'t>(text: &'t str, backend: &Node) -> Option<&'t str> {
    let entry = backend.entries().first()?;
    text.get(entry.place.end..entry.node.place.start)
}

/// Whether there is no comment between two items.
fn is_plain(text: &str, from: usize, to: usize) -> bool {
    text.get(from..to).is_some_and(|between| !between.contains('#'))
}

/// The comma behind an item that ends at `from`: there is nothing but blanks and comments between.
fn comma_behind(text: &str, from: usize, limit: usize) -> Option<usize> {
    let mut at = from;
    let bytes = text.as_bytes();
    while at < limit {
        match bytes.get(at)? {
            b',' => return Some(at),
            b'#' => at = lines::end(text, at),
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            _ => return None,
        }
    }
    None
}
