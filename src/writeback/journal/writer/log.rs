//! Segments as the writer sees them: which one is written to, what of it is durable, and which others there are.
//!
//! Previous stop: [`super::Writer`]. Next stop: [`crate::writeback::journal::segment`].

use std::{io, mem};

use super::{
    UNWRITABLE, Writer,
    completed::{self, Completed},
    parts::{Current, Part},
};
use crate::writeback::journal::{
    entry,
    entry::{Id, Write},
    record,
    segment::HEADER,
};

impl Writer {
    /// Writes a record for each write, then what was completed, and syncs.
    pub(super) fn write(&mut self, writes: &[Write], sync: bool) -> io::Result<()> {
        self.begin_segment()?;
        let Some(current) = &mut self.current else { return Ok(()) };
        let (mut records, seed) = (Vec::new(), current.segment.seed);
        for write in writes {
            let id = Id(self.next);
            record::write(seed, self.next, &mut records, |out| entry::write_entry(id, write, out));
            self.next += 1;
        }
        let mut ready = completed::take_ready(&mut self.completed);
        for Completed { id, uri, .. } in &ready {
            record::write(seed, self.next, &mut records, |out| entry::write_completed(*id, uri, out));
            self.next += 1;
        }
        // Whatever becomes of it: it is not durable before the segment is.
        current.unsynced.append(&mut ready);
        current.segment.write(&records)?;
        if sync && self.next > self.synced { self.sync() } else { Ok(()) }
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.segment.sync()?;
        // Where somebody has moved the folder away, the next start would not find what is acknowledged here.
        self.folder.directory().check_place()?;
        current.unsynced.clear();
        current.synced = current.segment.bytes;
        let (number, bytes) = (current.segment.number, current.synced);
        self.part(number, |part| part.bytes = bytes);
        self.count(|counters| &counters.syncs);
        self.synced = self.next;
        Ok(())
    }

    /// After an error nothing more goes into the segment: a later sync that succeeds would prove nothing. What of
    /// it was not synced does not count, and is written again to the next one.
    pub(super) fn abandon(&mut self, error: &io::Error) {
        self.failed(UNWRITABLE, error);
        self.next = self.synced;
        let Some(Current { segment, synced, unsynced }) = self.current.take() else { return };
        let number = segment.number;
        // Before those that came since: in the journal, writes of a URI are completed in order.
        self.completed.splice(..0, unsynced);
        segment.abandon(synced);
        if synced == HEADER as u64 {
            self.discard(number);
        }
    }

    /// Removes a segment in which nothing counts. Where that fails it has its place among the others, and goes before
    /// those behind it: the one that follows says what of it does not count.
    fn discard(&mut self, number: u64) {
        match self.folder.remove(number) {
            Ok(()) => self.parts.retain(|part| part.number != number),
            Err(_) if self.parts.iter().any(|part| part.number == number) => {}
            Err(_) => self.parts.push_back(Part { number, bytes: HEADER as u64, live: 0 }),
        }
    }

    /// Makes sure that there is a segment with room.
    pub(super) fn begin_segment(&mut self) -> io::Result<()> {
        match &self.current {
            Some(current) if current.segment.bytes < self.segment => return Ok(()),
            Some(_) if self.synced < self.next => self.sync()?,
            Some(_) | None => {}
        }
        let number = self.number;
        self.number += 1;
        let segment = match self.folder.create(number, self.next) {
            Ok(segment) => segment,
            Err(error) => {
                self.discard(number);
                return Err(error);
            }
        };
        self.parts.push_back(Part { number, bytes: segment.bytes, live: 0 });
        self.current = Some(Current { synced: segment.bytes, segment, unsynced: Vec::new() });
        for number in mem::take(&mut self.empty) {
            self.remove_empty(number);
        }
        Ok(())
    }

    /// Removes a segment without a record. Where that fails it has its place among the others, and goes with them.
    fn remove_empty(&mut self, number: u64) {
        if self.folder.remove(number).is_err() {
            let at = self.parts.partition_point(|part| part.number < number);
            self.parts.insert(at, Part { number, bytes: HEADER as u64, live: 0 });
        }
    }

    /// Changes what is known of a segment.
    pub(super) fn part(&mut self, number: u64, change: impl FnOnce(&mut Part)) {
        let at = self.parts.binary_search_by_key(&number, |part| part.number);
        if let Some(part) = at.ok().and_then(|at| self.parts.get_mut(at)) {
            change(part);
        }
    }
}
