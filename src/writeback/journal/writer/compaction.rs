//! Making room on disk: segments go, oldest first, and what is still needed of the oldest is copied behind the rest.
//!
//! Previous stop: [`Writer::commit`], after each group.

use std::{collections::HashSet, io, sync::atomic::Ordering};

use super::{Writer, completed, is_time};
use crate::writeback::journal::{
    entry::{self, Id},
    record,
    segment::Folder,
};

impl Writer {
    /// Removes old segments in which nothing is needed, and makes one needless where they take too much room.
    pub(super) fn compact(&mut self) {
        self.remove_unneeded();
        if self.is_sparse() {
            // One at a time: appends wait meanwhile.
            self.reclaim_oldest();
        }
        let disk: u64 = self.parts.iter().map(|part| part.bytes).sum();
        let most = 2 * self.shared.limit.load(Ordering::Relaxed) + 4 * self.segment;
        self.shared.is_overfull.store(self.holds_refused() && disk > most, Ordering::Relaxed);
        self.shared.counters.disk.store(disk, Ordering::Relaxed);
        self.shared.counters.segments.store(self.parts.len() as u64, Ordering::Relaxed);
    }

    /// Only from the front: a younger segment may complete what is in an older one. And not while a refused write is
    /// in a segment only, or while a write that was copied could come back alone.
    fn remove_unneeded(&mut self) {
        while let Some(oldest) = self.parts.front() {
            let current = self.current.as_ref().is_some_and(|it| it.segment.number == oldest.number);
            if current || oldest.live > 0 || self.holds_refused() {
                return;
            }
            if completed::hold(oldest.number, self.not_durable()) {
                return;
            }
            if let Err(error) = remove(&self.folder, oldest.number, &mut self.uncopied) {
                self.count(|counters| &counters.errors);
                if is_time(&mut self.kept_from_removing) {
                    tracing::error!("an old segment of the journal cannot be removed: {error}");
                }
                return;
            }
            self.kept_from_removing = None;
            self.parts.pop_front();
        }
    }

    /// Whether more than half of what is on disk is not needed, and that is much: one URI whose origin is down must
    /// not keep everything behind it.
    fn is_sparse(&self) -> bool {
        let disk: u64 = self.parts.iter().map(|part| part.bytes).sum();
        disk > 2 * self.live_bytes + 4 * self.segment
    }

    /// Makes the oldest segment needless, and removes it.
    pub(in crate::writeback::journal) fn reclaim_oldest(&mut self) {
        if self.parts.len() < 2 || self.holds_refused() {
            return;
        }
        match self.copy_oldest() {
            Ok(()) => self.remove_unneeded(),
            Err(error) => self.abandon(&error),
        }
    }

    /// Copies what is needed of the oldest segment behind everything else. Writes keep their numbers.
    fn copy_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.parts.front().map(|part| part.number) else { return Ok(()) };
        let ids: Vec<Id> =
            self.live.iter().filter(|(_, live)| live.place.segment == oldest).map(|(id, _)| *id).collect();
        let mut moved = Vec::with_capacity(ids.len());
        for id in ids {
            self.begin_segment()?;
            let (Some(current), Some(live)) = (&mut self.current, self.live.get_mut(&id)) else { continue };
            // Whatever becomes of this: a part of the copies may be durable when the rest fails.
            live.place.is_copied = true;
            let segment = &mut current.segment;
            let mut record = Vec::new();
            let write = &live.entry.write;
            record::write(segment.seed, self.next, &mut record, |out| entry::write_entry(id, write, out));
            segment.write(&record)?;
            self.next += 1;
            moved.push((id, segment.number));
        }
        self.sync()?;
        self.shared.counters.moved.fetch_add(moved.len() as u64, Ordering::Relaxed);
        // Until here they counted where they were: after an error they are still there.
        self.part(oldest, |part| part.live = 0);
        for (id, number) in moved {
            self.part(number, |part| part.live += 1);
            if let Some(live) = self.live.get_mut(&id) {
                live.place.segment = number;
            }
        }
        Ok(())
    }
}

/// Removes a segment; of a damaged one a copy is kept first.
fn remove(folder: &Folder, number: u64, uncopied: &mut HashSet<u64>) -> io::Result<()> {
    if uncopied.contains(&number) {
        let copy = folder.keep_copy(number)?;
        tracing::error!("the damaged segment is kept as {}", copy.display());
        uncopied.remove(&number);
    }
    folder.remove(number)
}
