//! Folders that were in force, or were to be, and are not now: what is purged and written to meanwhile is there still when
//! they come back. Which of it is not remembered for so long, only whether there was any.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
};

/// Each by its path, as often as configurations have named another.
#[derive(Debug, Default)]
pub(super) struct Formers {
    /// Whether there was something that it missed.
    folders: Mutex<HashMap<PathBuf, bool>>,
    /// Whether there is one that has missed nothing, for those who only want to know that there is none.
    is_any: AtomicBool,
}

impl Formers {
    /// One is not in force from here on.
    pub(super) fn add(&self, path: &Path) {
        let mut folders = self.folders();
        folders.insert(path.to_owned(), false);
        self.is_any.store(true, Release);
    }

    /// A purge or a write came.
    pub(super) fn miss(&self) {
        if self.is_any.load(Acquire) {
            let mut folders = self.folders();
            folders.values_mut().for_each(|has_missed| *has_missed = true);
            self.is_any.store(false, Release);
        }
    }

    /// One is about to be in force again; whether it has missed something. From here on it is as one that has not.
    pub(super) fn come_back(&self, path: &Path) -> bool {
        let mut folders = self.folders();
        let Some(has_missed) = folders.get_mut(path) else { return false };
        self.is_any.store(true, Release);
        std::mem::take(has_missed)
    }

    /// One is in force again; whether it has missed something since.
    pub(super) fn remove(&self, path: &Path) -> bool {
        self.folders().remove(path).unwrap_or_default()
    }

    /// Held for a moment at a time: event loops take it.
    fn folders(&self) -> MutexGuard<'_, HashMap<PathBuf, bool>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_knows_whether_it_missed_something_while_away() {
        let (formers, [one, other]) = (Formers::default(), ["/one", "/other"].map(Path::new));
        formers.miss();
        assert!(!formers.come_back(one), "it is none of them");
        formers.add(one);
        formers.miss();
        formers.add(other);
        assert!(formers.come_back(one) && !formers.come_back(other));
        assert!(!formers.remove(other), "nothing came");
        formers.miss();
        assert!(formers.remove(one), "behind its coming back");
        assert!(!formers.remove(one));
    }
}
