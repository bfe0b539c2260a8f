//! To which upstreams a node has a way: those with `relay` of which it can use a backend.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{moment::Moment, runtime::Snapshot};

/// Names that are read of one node.
const MOST: usize = 10_000;

/// The upstreams to which this node has a way; null where none is for peers.
pub(super) fn collect(snapshot: &Snapshot, now: Moment) -> Value {
    let mut relayed = snapshot.upstreams.iter().filter(|upstream| upstream.conf.relay).peekable();
    if relayed.peek().is_none() {
        return Value::Null;
    }
    let has_way = |backend: &std::sync::Arc<crate::backend::Backend>| backend.is_available(now);
    relayed
        .filter(|upstream| upstream.backends.iter().any(has_way))
        .map(|upstream| Value::from(upstream.conf.name.as_str()))
        .collect()
}

/// What another node says.
pub(super) fn read(entry: &Value) -> BTreeSet<String> {
    let names = entry.as_array().into_iter().flatten().take(MOST);
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}
