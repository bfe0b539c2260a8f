//! What the end of the program leaves in folders that its configuration does not ask for: nothing delivers from them until
//! one does again, so that people have to know.

use std::{
    mem,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
};

use super::journal::Waiting;

/// What is in one folder; none where another program had it to the end.
pub(super) type Left = (PathBuf, Option<Waiting>);

/// What is left behind.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    /// Empty until the end begins.
    noted: Mutex<Option<Vec<Left>>>,
    is_taken: AtomicBool,
}

impl LeftBehind {
    /// Takes note of it, unless that was done: later, caches have let go of what they have.
    pub(super) fn note(&self, left: Vec<Left>) {
        let mut noted = self.noted();
        if noted.is_none() {
            *noted = Some(left);
        }
    }

    /// Each folder in which something waits, with how much, once.
    pub(super) fn take(&self) -> Vec<(PathBuf, Option<usize>)> {
        let noted = self.noted().as_mut().map(mem::take).unwrap_or_default();
        let counted = noted.into_iter().map(|(path, waiting)| (path, waiting.map(|waiting| waiting.count())));
        counted.filter(|(_, count)| *count != Some(0)).collect()
    }

    /// Complains of it.
    pub(super) fn tell(&self) {
        let left = self.take();
        if self.is_taken.load(Acquire) {
            return;
        }
        for (path, count) in left {
            let path = path.display();
            match count {
                Some(writes) => tracing::warn!(%path, writes, "{LEFT}"),
                None => tracing::warn!(%path, "{LEFT}, if there are any: another program has it still"),
            }
        }
    }

    /// The next program delivers from those that it was told of.
    pub(super) fn leave_to_next(&self) {
        self.is_taken.store(true, Release);
    }

    fn noted(&self) -> MutexGuard<'_, Option<Vec<Left>>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of them.
const LEFT: &str = "accepted writes are left in a journal that the configuration does not ask for: they are delivered \
    once a configuration asks for that folder again";
