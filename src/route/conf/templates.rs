//! The placeholders in a route's texts.

use super::PathPattern;
use crate::{
    schema::{Node, Place, Table},
    template::{Context, Fault, Template, Use},
};

/// Reports what is wrong with placeholders, and groups that no regular expression of the route has.
pub(super) fn check(paths: &[PathPattern], table: &mut Table<'_, '_, '_>) {
    let mut problems = Vec::new();
    for (node, of) in texts(table) {
        let Some(text) = node.text() else { continue };
        // How values are escaped makes no difference here.
        match Template::parse(text, of, Context::Field) {
            Ok(template) => problems.extend(template.captures().filter_map(|group| {
                let (message, hint) = no_group(group, paths)?;
                Some((node.place, message, hint))
            })),
            Err(Fault { message, hint }) => problems.push((node.place, message, hint)),
        }
    }
    for (place, message, hint) in problems {
        let _: Place = place;
        table.reader.problem_with(place, message, hint);
    }
}

/// Every text with placeholders, and what it is for.
fn texts<'n>(table: &Table<'_, '_, 'n>) -> Vec<(&'n Node, Use)> {
    let mut texts = Vec::new();
    for (key, of) in [("request_headers", Use::RequestField), ("response_headers", Use::ResponseField)] {
        let Some(edits) = table.entry(key) else { continue };
        for kind in ["set", "set_if_missing", "add"] {
            let entries = edits.node.get(kind).map_or(&[][..], Node::entries);
            texts.extend(entries.iter().map(|entry| (&entry.node, of)));
        }
    }
    let query = table.entry("rewrite").and_then(|entry| entry.node.get("query"));
    for entries in query.iter().flat_map(|query| ["set", "add"].map(|kind| query.get(kind))).flatten() {
        texts.extend(entries.entries().iter().map(|entry| (&entry.node, Use::Rewrite)));
    }
    let single = [
        ("rewrite", "path", Use::Rewrite),
        ("rewrite", "host", Use::Rewrite),
        ("redirect", "to", Use::Redirect),
        ("respond", "body", Use::Body),
    ];
    for (section, key, of) in single {
        texts.extend(table.entry(section).and_then(|entry| entry.node.get(key)).map(|node| (node, of)));
    }
    texts
}

/// Why a group can never be there.
fn no_group(group: &str, paths: &[PathPattern]) -> Option<(String, String)> {
    let mut regexes = paths.iter().filter_map(|path| match path {
        PathPattern::Regex(pattern) => regex::Regex::new(pattern).ok(),
        PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
    });
    let has = |regex: regex::Regex| match group.parse::<usize>() {
        Ok(number) => number < regex.captures_len(),
        Err(_) => regex.capture_names().flatten().any(|name| name == group),
    };
    (!regexes.any(has)).then(|| {
        let message = format!("`{{path.{group}}}` is a group that is in no regular expression of `paths`");
        (message, "groups are written `(…)` or `(?P<name>…)`: `paths = ['~^/users/([0-9]+)$']`".to_owned())
    })
}
