//! Marks in the folders that are not in force, so that what is purged or written to meanwhile does not come back by way of a
//! program that cannot know of it: one that is started later, or that takes over while this one waits for the folder still.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use crate::{
    cache::disk::{leave_mark, name_of_mark, take_mark},
    telemetry::clock,
};

/// The marks that one cache of this program leaves.
#[derive(Debug)]
pub(super) struct Marks {
    /// Held while the disk is waited for: no event loop takes it.
    watched: Mutex<Watched>,
    /// Whether there is a folder without a mark, for those who may not wait.
    is_any_without: AtomicBool,
    name: String,
}

/// The folders that are not in force.
#[derive(Debug, Default)]
struct Watched {
    folders: HashMap<PathBuf, Away>,
    /// How often one was taken out of force.
    times: u64,
    /// That one cannot be marked was said.
    has_complained: bool,
}

/// A folder that is not in force.
#[derive(Debug, Default)]
struct Away {
    /// Which time that is: no other one, of no folder, is the same.
    time: u64,
    /// Whether there is a mark in it.
    is_marked: bool,
}

impl Default for Marks {
    fn default() -> Self {
        static CACHES: AtomicU64 = AtomicU64::new(0);
        // No other program, and no other cache of this one, has the same.
        let number = (u64::from(std::process::id()) << 32)
            ^ (clock::unix_millis() << 8)
            ^ CACHES.fetch_add(1, Relaxed);
        Self { watched: Mutex::default(), is_any_without: AtomicBool::new(false), name: name_of_mark(number) }
    }
}

impl Marks {
    /// What they are called, in every folder.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A folder is not in force from here on.
    pub(super) fn watch(&self, folder: &Path) {
        let mut watched = self.watched();
        watched.times += 1;
        let time = watched.times;
        watched.folders.entry(folder.to_owned()).or_default().time = time;
        self.is_any_without.store(true, Release);
    }

    /// Whether something that comes now is still to be marked somewhere, on a thread that may wait.
    pub(super) fn are_needed(&self) -> bool {
        self.is_any_without.load(Acquire)
    }

    /// Something came that these folders miss. Waits for the disk, until each has its mark.
    pub(super) fn mark(&self) {
        if !self.are_needed() {
            return;
        }
        let mut watched = self.watched();
        let mut failed = None;
        for (folder, away) in watched.folders.iter_mut().filter(|(_, away)| !away.is_marked) {
            match leave_mark(folder, &self.name) {
                Ok(()) => away.is_marked = true,
                Err(error) => failed = Some((folder.clone(), error)),
            }
        }
        // What comes next tries again: the disk may have been full.
        self.is_any_without.store(failed.is_some(), Release);
        if let Some((folder, error)) = failed
            && !std::mem::replace(&mut watched.has_complained, true)
        {
            tracing::error!(path = %folder.display(), "the folder of a disk cache cannot be marked, and a program that is \
                started later may serve from it what was purged meanwhile: {error}");
        }
    }

    /// Which time it is that a folder is not in force, for [`Self::remove`].
    pub(super) fn time(&self, folder: &Path) -> u64 {
        self.watched().folders.get(folder).map_or(0, |away| away.time)
    }

    /// What a folder missed is made up for, unless it was out of force again since that time. May wait for the disk.
    pub(super) fn remove(&self, folder: &Path, time: u64) {
        let mut watched = self.watched();
        if watched.folders.get(folder).is_none_or(|away| away.time != time) {
            return;
        }
        // With the lock: it may be out of force, and be marked, again at once.
        if watched.folders.remove(folder).is_some_and(|away| away.is_marked)
            && let Err(error) = take_mark(folder, &self.name)
        {
            tracing::warn!(path = %folder.display(), "the mark in the folder of a disk cache stays, and the next start empties \
                it: {error}");
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
