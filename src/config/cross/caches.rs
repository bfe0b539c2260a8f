//! What caches must not share.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crate::{
    cache::conf::CacheConf,
    schema::{Node, Place, Reader},
};

/// Reports a path that belongs to another cache's disk or journal, or to the other one of its own.
/// `configured` are all caches of the file, in its order.
pub(super) fn unique_paths(configured: &[CacheConf], root: &Node, reader: &mut Reader<'_>) {
    let mut seen: HashMap<PathBuf, (&str, &str, Place)> = HashMap::new();
    for (cache, node) in configured.iter().zip(root.items_of("cache")) {
        let disk = cache.disk.as_ref().map(|disk| ("disk", &disk.path));
        let journal = cache.journal.as_ref().map(|journal| ("journal", &journal.path));
        for (key, path) in disk.into_iter().chain(journal) {
            // A journal that is not written is beside the disk, and is told apart by it.
            let place = node.get(key).or_else(|| node.get("disk")).unwrap_or(node);
            let place = place.get("path").map_or(place.place, |path| path.place);
            let Some((name, other, first)) = seen.get(&spelled(path)) else {
                seen.insert(spelled(path), (&cache.name, key, place));
                continue;
            };
            let line = reader.source().line_seen_from(first.start, place.start);
            let message = format!("the {other} of `{name}` on {line} already uses this path");
            reader.problem_with(place, message, "give each cache's disk and journal its own path");
        }
    }
}

/// Without `.` and doubled slashes. `..` stays: what is before it may be a link to elsewhere.
fn spelled(path: &Path) -> PathBuf {
    path.components().collect()
}
