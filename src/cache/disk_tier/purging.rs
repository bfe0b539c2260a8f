//! Purges and writes on their way through the files: who looks through them, for whom, and how often.

use std::{collections::HashSet, path::Path, slice, sync::Arc};

use super::{
    marks::Marks,
    past::{Past, Purge, look},
};
use crate::{
    cache::{
        disk::{Disk, Visit},
        disk_head::DiskHead,
        key::Key,
    },
    owned_directory::OwnedDirectory,
    telemetry::clock,
};

/// A purge whose files are to be looked through; until then, and when this is dropped without it, they are compared
/// with it one by one.
#[derive(Debug)]
pub struct Purging {
    search: Arc<Search>,
    what: What,
}

/// What the files are looked through for.
#[derive(Debug)]
enum What {
    Purge(Arc<Purge>),
    /// URIs that were written to: one looks for them all.
    Writes,
    /// Nothing: folders that are not in force miss what came.
    Marks,
}

impl Purging {
    /// This purge.
    pub(super) fn of(search: &Arc<Search>, purge: Arc<Purge>) -> Self {
        Self { search: search.clone(), what: What::Purge(purge) }
    }

    /// URIs that were written to.
    pub(super) fn of_writes(search: &Arc<Search>) -> Self {
        Self { search: search.clone(), what: What::Writes }
    }

    /// Something that only folders miss that are not in force.
    pub(super) fn of_marks(search: &Arc<Search>) -> Self {
        Self { search: search.clone(), what: What::Marks }
    }

    /// Takes out, or makes stale, what is meant; gives how many. Waits for the disk. Purges that wait for another's
    /// turn have theirs together.
    pub fn run(self) -> u64 {
        self.search.marks.mark();
        let purge = match &self.what {
            What::Purge(purge) => purge,
            What::Writes => {
                self.search.sweep();
                return 0;
            }
            What::Marks => return 0,
        };
        // Without waiting for anybody's turn: it takes a moment.
        if !self.search.look_alone(purge) {
            self.search.look_together(|| purge.is_done());
        }
        purge.count()
    }
}

/// Who looks through the files of a disk tier, in turns.
#[derive(Debug)]
pub(super) struct Search {
    place: Arc<OwnedDirectory<Disk>>,
    past: Arc<Past>,
    marks: Arc<Marks>,
    /// Held by the one who looks through all files, in the order of those who wait for it: writes would let nobody else have
    /// it, as long as they come.
    looking: tokio::sync::Mutex<()>,
}

impl Search {
    /// Through the store that is in this place, for what came.
    pub(super) fn new(place: Arc<OwnedDirectory<Disk>>, past: Arc<Past>, marks: Arc<Marks>) -> Self {
        Self { place, past, marks, looking: tokio::sync::Mutex::default() }
    }

    /// This folder was just opened: what was purged and written to before goes from it, and then the mark. Does not wait for
    /// the files to be looked through, but may wait for the disk.
    pub(super) fn catch_up(self: &Arc<Self>, disk: &Disk, folder: &Path) {
        let time = self.marks.time(folder);
        if self.past.purges().are_of_everything() {
            disk.clear();
        }
        let written = self.past.written.waiting();
        written.iter().for_each(|uri| disk.remove_key(*uri));
        if written.is_empty() && self.past.purges().under_way().is_empty() {
            return self.marks.remove(folder, time);
        }
        let (search, folder) = (self.clone(), folder.to_owned());
        let look = move || {
            search.look_together(|| false);
            if search.past.written.sweep_for_waiting() {
                search.sweep();
            }
            // Where the program ends meanwhile, not all was looked at.
            if search.on_disk(Disk::is_closed) == Some(false) {
                search.marks.remove(&folder, time);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("cache-purges".to_owned()).spawn(look) {
            // They hold all the same, and the files go with those of the next purge or write.
            tracing::warn!("purges cannot be carried on to disk yet: {error}");
        }
    }

    /// Looks among the files of its URI alone, where a purge is about one and no other key can have it; else it is false.
    fn look_alone(&self, purge: &Arc<Purge>) -> bool {
        let Some(uri) = purge.uri().map(Key::uri_hash).filter(|_| purge.begin_alone()) else { return false };
        let mut look = |meta: &[u8]| look(meta, slice::from_ref(purge));
        let is_done = self.on_disk(|disk| disk.visit_uri(uri, &mut look)) == Some(true);
        if is_done {
            purge.end(clock::unix_millis());
        }
        purge.end_alone();
        is_done
    }

    /// Looks through all files for all purges that want it, unless this has been done when the caller's turn comes.
    fn look_together(&self, is_done: impl Fn() -> bool) {
        let _looking = self.looking.blocking_lock();
        if is_done() {
            return;
        }
        let mut purges = self.past.purges().under_way();
        purges.retain(|purge| purge.begin_together());
        if purges.is_empty() {
            return;
        }
        let uris = purges.iter().map(|purge| purge.uri().map(Key::uri_hash)).collect::<Option<_>>();
        let mut look = |meta: &[u8]| look(meta, &purges);
        let looked = self.on_disk(|disk| match &uris {
            Some(uris) => disk.visit_uris(uris, &mut look),
            None => disk.visit(&mut look),
        });
        // A reload took the folder; or another program has it still, and then they wait.
        if looked.is_some() || !self.place.is_waiting() {
            purges.iter().for_each(|purge| purge.end(clock::unix_millis()));
        }
    }

    /// Takes out what is older than a write of its URI, as long as writes come.
    fn sweep(&self) {
        let written = &self.past.written;
        while written.begin_sweep() {
            let _looking = self.looking.blocking_lock();
            let mut look = |meta: &[u8]| match DiskHead::decode(meta) {
                Some(record)
                    if !written.is_older(record.key.uri_hash(), record.begun, clock::unix_millis()) =>
                {
                    Visit::Keep
                }
                Some(_) | None => Visit::Remove,
            };
            self.on_disk(|disk| disk.visit_uris(&HashSet::new(), &mut look));
        }
    }

    /// Does something with the store, and again with another one that came in its place meanwhile; nothing where there is
    /// none.
    fn on_disk<T>(&self, mut act: impl FnMut(&Disk) -> T) -> Option<T> {
        loop {
            let disk = self.place.held_still()?;
            let done = act(&disk);
            if self.place.held_still().is_none_or(|now| Arc::ptr_eq(&now, &disk)) {
                return Some(done);
            }
        }
    }
}
