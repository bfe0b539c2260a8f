//! The journal's thread: what many ask for is written at once, and synced once.
//!
//! Previous stop: [`super::Journal::append`] and [`super::Delivery`]. Next stop: [`super::segment`].
//!
//! While one sync runs the next group gathers, so the slower the disk, the larger the groups; nobody waits for a
//! group to fill. Writes are acknowledged when their sync has succeeded. What was settled is written at once, which
//! outlives the process, and synced with the next write or after [`SYNC_AFTER`].

#[cfg(test)]
mod tests;
mod tidy;

use std::{
    collections::{BTreeMap, VecDeque},
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    AppendError, Options, Shared, entry,
    entry::{Entry, Id, Write},
    record, refused,
    replay::Replayed,
    segment::{Folder, HEADER, Segment},
};

/// Settled writes are synced after this time at the latest; until then a crash of the machine delivers them again.
const SYNC_AFTER: Duration = Duration::from_millis(500);
/// A group is not made larger than this; a single write may be.
const GROUP: usize = 4 << 20;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Message {
    /// Make it durable, and say so.
    Append(Box<Write>, oneshot::Sender<Result<Id, AppendError>>),
    /// It is done with.
    Settle(Id, Outcome),
    /// Nothing comes after this.
    End,
}

/// What became of a write.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The origin took it.
    Delivered,
    /// The origin refused it, and why.
    Refused(String),
}

/// The disk side of the journal.
#[derive(Debug)]
pub(super) struct Writer {
    folder: Folder,
    shared: Arc<Shared>,
    /// How long a segment may grow.
    segment: u64,
    /// The one that is written to; none after an error.
    current: Option<Current>,
    /// All that are not removed, oldest first; `current` is the last of them.
    parts: VecDeque<Part>,
    /// The number of the next segment.
    number: u64,
    /// The sequence of the next record, and of the first that is not synced.
    next: u64,
    synced: u64,
    /// Writes that are in segments and not settled, and where.
    live: BTreeMap<Id, Place>,
    /// What these count as.
    live_bytes: u64,
    /// Settled, and in no segment that counts: to be written with the next group.
    settled: Vec<Settled>,
    /// Settled as refused, and not in the file of these yet.
    refused: Vec<(Arc<Entry>, String)>,
    /// The last thing on the disk failed, and that was said.
    ailing: bool,
    /// The same of removing segments, which goes its own way: records may be written all the while.
    kept_from_removing: bool,
}

/// The segment that is written to, and what of it no sync has covered yet. A sync covers what was written to the file
/// before it, and nothing else: so what it makes durable is kept with the file, and nowhere else is anything let go of.
#[derive(Debug)]
struct Current {
    segment: Segment,
    unsynced: Vec<Settled>,
}

/// A write that was settled, whose record is not durable yet.
#[derive(Debug)]
struct Settled {
    id: Id,
    uri: Box<[u8]>,
}

/// A segment that is kept.
#[derive(Debug)]
struct Part {
    number: u64,
    bytes: u64,
    live: usize,
}

/// Where a write is.
#[derive(Debug)]
struct Place {
    entry: Arc<Entry>,
    segment: u64,
}

/// Appends that are written and synced together.
#[derive(Debug, Default)]
struct Group {
    appends: Vec<(Write, oneshot::Sender<Result<Id, AppendError>>)>,
    bytes: usize,
    ends: bool,
}

impl Writer {
    /// Goes on behind what was read, in a new segment.
    pub(super) fn new(
        folder: Folder,
        options: &Options,
        shared: Arc<Shared>,
        replayed: Replayed,
    ) -> io::Result<Self> {
        let mut live = BTreeMap::new();
        for entry in replayed.index.entries() {
            let segment = replayed.places.get(&entry.id).copied().unwrap_or_default();
            live.insert(entry.id, Place { entry: entry.clone(), segment });
        }
        let count = |number| live.values().filter(|place| place.segment == number).count();
        let parts = replayed.segments.iter();
        let mut writer = Self {
            parts: parts.map(|&(number, bytes)| Part { number, bytes, live: count(number) }).collect(),
            live_bytes: live.values().map(|place| place.entry.write.cost()).sum(),
            folder,
            shared,
            segment: options.segment,
            current: None,
            number: replayed.number,
            next: replayed.next,
            synced: replayed.next,
            live,
            settled: Vec::new(),
            refused: Vec::new(),
            ailing: false,
            kept_from_removing: false,
        };
        writer.begin_segment()?;
        for number in replayed.empty {
            writer.folder.remove(number)?;
        }
        let mut index = writer.shared.index();
        *index = replayed.index;
        writer.shared.note_entries(&index);
        drop(index);
        writer.tidy();
        Ok(writer)
    }

    /// Works until there is nobody left to ask for anything.
    pub(super) fn run(mut self, receiver: &Receiver<Message>) {
        let mut sync_by: Option<Instant> = None;
        loop {
            let message = match sync_by {
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(by) => receiver.recv_timeout(by.saturating_duration_since(Instant::now())),
            };
            let mut group = Group::default();
            let overdue = match message {
                Ok(message) => {
                    self.take(message, &mut group);
                    self.gather(receiver, &mut group);
                    sync_by.is_some_and(|by| by <= Instant::now())
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => {
                    group.ends = true;
                    true
                }
            };
            let ends = group.ends;
            self.commit(group, overdue || ends);
            if ends {
                return;
            }
            sync_by = match sync_by {
                Some(by) if self.owes_sync() && !overdue => Some(by),
                _ if self.owes_sync() => Some(Instant::now() + SYNC_AFTER),
                _ => None,
            };
        }
    }

    /// Whether something was settled that is not durable.
    fn owes_sync(&self) -> bool {
        let unsynced = self.current.as_ref().is_some_and(|current| !current.unsynced.is_empty());
        unsynced || !self.settled.is_empty() || !self.refused.is_empty()
    }

    fn gather(&mut self, receiver: &Receiver<Message>, group: &mut Group) {
        while group.bytes < GROUP && !group.ends {
            match receiver.try_recv() {
                Ok(message) => self.take(message, group),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, message: Message, group: &mut Group) {
        match message {
            Message::Append(write, done) => {
                group.bytes += usize::try_from(write.cost()).unwrap_or(usize::MAX);
                group.appends.push((*write, done));
            }
            Message::Settle(id, outcome) => {
                let Some(place) = self.forget(id) else { return };
                match outcome {
                    Outcome::Delivered => {
                        self.count(|counters| &counters.delivered);
                        self.settled.push(Settled { id, uri: place.entry.write.uri.clone() });
                    }
                    Outcome::Refused(why) => {
                        self.count(|counters| &counters.refused);
                        self.refused.push((place.entry, why));
                    }
                }
            }
            Message::End => group.ends = true,
        }
    }

    fn forget(&mut self, id: Id) -> Option<Place> {
        let place = self.live.remove(&id)?;
        self.live_bytes = self.live_bytes.saturating_sub(place.entry.write.cost());
        self.part(place.segment, |part| part.live = part.live.saturating_sub(1));
        Some(place)
    }

    fn part(&mut self, number: u64, change: impl FnOnce(&mut Part)) {
        let at = self.parts.binary_search_by_key(&number, |part| part.number);
        if let Some(part) = at.ok().and_then(|at| self.parts.get_mut(at)) {
            change(part);
        }
    }

    fn commit(&mut self, group: Group, sync: bool) {
        self.note_refused();
        let (writes, waiting): (Vec<_>, Vec<_>) = group.appends.into_iter().unzip();
        let first = self.next;
        let done = self.write(&writes, sync || !writes.is_empty());
        match done {
            Ok(()) => {
                self.recovered();
                self.acknowledge(first, writes, waiting);
            }
            Err(error) => {
                self.abandon(&error);
                let cost = writes.iter().map(Write::cost).sum();
                self.shared.index().release(cost);
                let error = Arc::new(error);
                for done in waiting {
                    // Who does not wait any more needs no answer.
                    let _gone = done.send(Err(AppendError::Io(error.clone())));
                }
            }
        }
        self.tidy();
    }

    /// Writes a record for each write, then what was settled, and syncs.
    fn write(&mut self, writes: &[Write], sync: bool) -> io::Result<()> {
        self.begin_segment()?;
        let Some(current) = &mut self.current else { return Ok(()) };
        let (mut records, seed) = (Vec::new(), current.segment.seed);
        for write in writes {
            let id = Id(self.next);
            record::write(seed, self.next, &mut records, |out| entry::write_entry(id, write, out));
            self.next += 1;
        }
        for Settled { id, uri } in &self.settled {
            record::write(seed, self.next, &mut records, |out| entry::write_settled(*id, uri, out));
            self.next += 1;
        }
        current.segment.write(&records)?;
        current.unsynced.append(&mut self.settled);
        if sync && self.next > self.synced { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.segment.sync()?;
        current.unsynced.clear();
        let bytes = current.segment.bytes;
        self.count(|counters| &counters.syncs);
        self.synced = self.next;
        if let Some(part) = self.parts.back_mut() {
            part.bytes = bytes;
        }
        Ok(())
    }

    /// The writes of a group are durable: they can be found, and their clients be told.
    fn acknowledge(
        &mut self,
        first: u64,
        writes: Vec<Write>,
        waiting: Vec<oneshot::Sender<Result<Id, AppendError>>>,
    ) {
        if writes.is_empty() {
            return;
        }
        let segment = self.current.as_ref().map(|current| current.segment.number).unwrap_or_default();
        let mut index = self.shared.index();
        for (id, write) in (first..).map(Id).zip(writes) {
            self.live_bytes += write.cost();
            let entry = Arc::new(Entry { id, write });
            index.insert(entry.clone());
            self.live.insert(id, Place { entry, segment });
        }
        self.shared.note_entries(&index);
        drop(index);
        if let Some(part) = self.parts.back_mut() {
            part.live += waiting.len();
        }
        self.shared.counters.appended.fetch_add(waiting.len() as u64, Ordering::Relaxed);
        for (id, done) in (first..).map(Id).zip(waiting) {
            let _gone = done.send(Ok(id));
        }
        self.shared.changed.notify_one();
    }

    /// After an error nothing more goes into the segment: a later sync that succeeds would prove nothing. What of
    /// it was not synced does not count, and is written again to the next one.
    fn abandon(&mut self, error: &io::Error) {
        self.ail("the journal cannot be written: writes are refused", error);
        self.next = self.synced;
        let (Some(current), Some(part)) = (self.current.take(), self.parts.back()) else { return };
        let (number, synced) = (part.number, part.bytes);
        // Before those that came since: in the journal, writes of a URI are settled in order.
        self.settled.splice(..0, current.unsynced);
        current.segment.abandon(synced);
        if synced == HEADER as u64 {
            // Nothing in it counts. If it stays, the next start finds it empty.
            self.parts.pop_back();
            let _best_effort = self.folder.remove(number);
        }
    }

    /// Makes sure that there is a segment with room.
    fn begin_segment(&mut self) -> io::Result<()> {
        match &self.current {
            Some(current) if current.segment.bytes < self.segment => return Ok(()),
            Some(_) if self.synced < self.next => self.sync()?,
            Some(_) | None => {}
        }
        let number = self.number;
        self.number += 1;
        let segment = self.folder.create(number, self.next)?;
        self.parts.push_back(Part { number, bytes: segment.bytes, live: 0 });
        self.current = Some(Current { segment, unsynced: Vec::new() });
        Ok(())
    }

    /// Puts refused writes into their file; what does not get there stays, and is tried again.
    fn note_refused(&mut self) {
        let limit = self.shared.limit.load(Ordering::Relaxed);
        for (entry, why) in mem::take(&mut self.refused) {
            match refused::add(&self.folder, &entry, &why, limit) {
                Ok(()) => self.settled.push(Settled { id: entry.id, uri: entry.write.uri.clone() }),
                Err(error) => {
                    self.ail("a refused write cannot be kept in its file, and is tried again", &error);
                    self.refused.push((entry, why));
                }
            }
        }
    }

    fn ail(&mut self, what: &str, error: &io::Error) {
        self.count(|counters| &counters.errors);
        if !mem::replace(&mut self.ailing, true) {
            tracing::error!("{what}: {error}");
        }
    }

    fn recovered(&mut self) {
        if self.refused.is_empty() && mem::take(&mut self.ailing) {
            tracing::info!("the journal can be written again");
        }
    }

    fn count(&self, counter: impl FnOnce(&super::stats::Counters) -> &AtomicU64) {
        counter(&self.shared.counters).fetch_add(1, Ordering::Relaxed);
    }
}
