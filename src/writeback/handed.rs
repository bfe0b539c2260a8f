//! Journals that are to be had from another program, and those that it is told of.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
};

use super::former::Former;

/// A journal that the next program may have to deliver from, whatever its configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedJournal {
    /// Its folder.
    pub path: PathBuf,
    /// The most that may wait in it.
    pub size: u64,
    /// The cache that has it, or had it before; none where that is gone.
    pub cache: Option<Arc<str>>,
}

/// One that is not had yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) path: PathBuf,
    pub(super) limit: u64,
    pub(super) former: Weak<Former>,
}
