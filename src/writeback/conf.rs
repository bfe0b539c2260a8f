//! What becomes of writes, as configured.

use std::path::Path;

use crate::schema::{Size, StorePath, choice, section};

choice! {
    /// What becomes of a request that changes something, such as a `PUT`.
    pub enum WritePolicy {
        /// It goes to the backend, and what is stored for its URL is used no more.
        Around = "around",
        /// It goes to the backend; what a successful `PUT` sent is stored, where the response allows it.
        Through = "through",
        /// It is answered once it is in the journal, and goes to the backend afterwards.
        Back = "back",
    }
}

section! {
    /// Where `write_policy = "back"` keeps writes until their backend has them.
    pub struct JournalConf {
        /// Where it is; it is made when it is not there.
        pub path: StorePath;
        /// How much may wait there.
        pub size: Size = "1GiB", in "1MiB" to "1024TiB";
    }
}

impl JournalConf {
    /// The journal of a cache that names none and has a disk there.
    pub fn below(disk: &Path) -> Self {
        Self { path: StorePath(disk.join("journal")), size: DEFAULT_SIZE }
    }
}

/// As the row has it.
const DEFAULT_SIZE: Size = Size(1 << 30);
