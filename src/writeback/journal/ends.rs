//! Journals that are closing, each on its own thread: nobody but who asks for it waits for the disk.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

/// The threads of journals that were let go of. What a journal still has to note may take as long as a sync.
#[derive(Debug, Default)]
pub struct Ends(Mutex<Vec<(PathBuf, JoinHandle<()>)>>);

impl Ends {
    pub(super) fn add(&self, path: PathBuf, thread: JoinHandle<()>) {
        let mut ends = self.ends();
        ends.retain(|(_, thread)| !thread.is_finished());
        ends.push((path, thread));
    }

    /// Waits until the folder is free of those that had it.
    pub fn wait_for(&self, path: &Path) {
        self.join(|other| other == path);
    }

    /// Waits for all of them. For the end of the program, which would cut them off.
    pub fn wait_for_all(&self) {
        self.join(|_| true);
    }

    fn join(&self, is_meant: impl Fn(&Path) -> bool) {
        let meant: Vec<_> = self.ends().extract_if(.., |(path, _)| is_meant(path)).collect();
        for (_, thread) in meant {
            let _it_panicked = thread.join();
        }
    }

    fn ends(&self) -> MutexGuard<'_, Vec<(PathBuf, JoinHandle<()>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
