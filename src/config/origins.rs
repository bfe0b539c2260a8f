//! Which line says what is in force: a table's own, a policy's, or one of `[defaults]`.

use std::path::PathBuf;

use super::{Loaded, blocks, join};
use crate::schema::{Data, Node, Source};

/// Where a key of a table is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The key, from the table on: `response_headers.set.x-a`.
    pub key: String,
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// Where the keys of a route are said, in the order in which they are laid over each other; none for an unknown route.
pub fn of_route(loaded: &Loaded, name: &str) -> Vec<Origin> {
    let mut joined = join::of_text(&loaded.text, &loaded.path);
    loaded.included.iter().for_each(|it| joined.add(it));
    blocks::lay_under(&mut joined.root);
    let mut routes = joined.root.items_of("route").iter();
    let route = routes.find(|route| route.get("name").and_then(Node::text) == Some(name));
    let mut found = Vec::new();
    if let Some(route) = route {
        add(route, "", &joined.source, &mut found);
    }
    found
}

fn add(table: &Node, outer: &str, source: &Source, found: &mut Vec<Origin>) {
    for entry in table.entries() {
        let key = if outer.is_empty() { entry.key.clone() } else { format!("{outer}.{}", entry.key) };
        match &entry.node.data {
            Data::Table(entries) if !entries.is_empty() => add(&entry.node, &key, source, found),
            _ => {
                let (file, line) =
                    (source.file(entry.place.start).to_owned(), source.line(entry.place.start));
                found.push(Origin { key, file, line });
            }
        }
    }
}
