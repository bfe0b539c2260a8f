//! How a journal is opened.

use std::path::PathBuf;

/// Where the journal is, and how much it may hold.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder; made, for us alone, where it is missing.
    pub path: PathBuf,
    /// The most that undelivered writes may come to, in memory and, times two and a little, on disk.
    pub limit: u64,
    /// A segment that is this long is followed by a new one.
    pub(super) segment: u64,
}

impl Options {
    /// A journal in this folder, of so many bytes.
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> Self {
        Self { path: path.into(), limit, segment: 16 << 20 }
    }
}
