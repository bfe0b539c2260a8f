//! Files and folders that the program writes.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{Node, Reader, Value};

/// A file or folder that is not read with the configuration: one that a cache writes, or whose files a route serves. What is read and watched is a plain [`PathBuf`]; a cache's own
/// writes must not look like a changed configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePath(pub PathBuf);

impl Deref for StorePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Value for StorePath {
    fn kind() -> String {
        "a file or folder".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "minLength": 1})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "the name of a file or folder")?;
        if text.is_empty() {
            let message = format!("`{}` is empty", reader.key());
            reader.problem_with(node.place, message, "use a path that only this cache writes to");
            return None;
        }
        Some(Self(reader.resolve(node, text)))
    }
}
