//! How a journal is opened.

use std::{path::PathBuf, sync::Arc};

use super::ends::Ends;

/// Where the journal is, and how much it may hold.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder; made, for us alone, where it is missing.
    pub path: PathBuf,
    /// The most that undelivered writes may come to, in memory and, times two and a little, on disk.
    pub limit: u64,
    /// Who knows its thread once it is let go of; whoever lets go of it last waits for it where nobody does.
    pub(super) ends: Option<Arc<Ends>>,
    /// A segment that is this long is followed by a new one.
    pub(super) segment: u64,
}

impl Options {
    /// A journal in this folder, of so many bytes.
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> Self {
        Self { path: path.into(), limit, ends: None, segment: 16 << 20 }
    }

    /// The same; once it is let go of, its thread is among these.
    pub fn closing_among(self, ends: &Arc<Ends>) -> Self {
        Self { ends: Some(ends.clone()), ..self }
    }
}
