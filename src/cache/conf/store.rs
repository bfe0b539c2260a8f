//! Where a cache keeps things, as configured.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::schema::{Node, Reader, Size, Table, Value, section};

section! {
    /// A second tier on disk, behind the memory.
    pub struct DiskConf {
        /// The folder; it is made when it is not there.
        pub path: StorePath;
        /// How much is kept there.
        pub size: Size, in "1MiB" to "1024TiB";
    }
    check Self::check;
}

impl DiskConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if self.path.is_file() {
            let message = format!("{} is a file, not a folder", self.path.display());
            let hint = "name a folder; it is made when it is not there";
            table.reader.problem_with(table.place_of("path"), message, hint);
        }
    }
}

section! {
    /// Where `write_policy = "back"` keeps writes until their backend has them.
    pub struct JournalConf {
        /// Where it stands; it is made when it is not there.
        pub path: StorePath;
        /// How much may wait there.
        pub size: Size = "1GiB", in "1MiB" to "1024TiB";
    }
}

impl JournalConf {
    /// The journal of a cache with this disk that names none.
    pub(super) fn beside(disk: &DiskConf) -> Self {
        Self { path: StorePath(disk.path.join("journal")), size: DEFAULT_SIZE }
    }
}

/// As the row has it.
const DEFAULT_SIZE: Size = Size(1 << 30);

/// A file or folder that a cache writes. What is read and watched is a plain [`PathBuf`]; a cache's own
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
            reader.problem_with(node.place, message, "name a place that only this cache writes to");
            return None;
        }
        Some(Self(reader.resolve(text)))
    }
}
