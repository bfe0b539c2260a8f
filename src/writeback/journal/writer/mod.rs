//! The journal's thread: what many ask for is written at once, and synced once.
//!
//! Previous stop: [`super::Journal::append`] and [`super::Delivery`]. Next stop: [`super::segment`].
//!
//! While one sync runs the next group gathers, so the slower the disk, the larger the groups; nobody waits for a
//! group to fill. Writes are acknowledged when their sync has succeeded. What was completed is written at once, which
//! outlives the process, and synced with the next write or after [`SYNC_AFTER`].

mod compaction;
mod completed;
mod log;
mod parts;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use self::{
    completed::{Completed, Refused},
    parts::{Current, Part},
};
use super::{
    append_error::AppendError,
    entry::{Entry, Id, Write},
    options::Options,
    refused,
    replay::{Place, Replayed},
    segment::Folder,
    shared::Shared,
};

/// Completed writes are synced after this time at the latest; until then a crash of the machine delivers them again.
const SYNC_AFTER: Duration = Duration::from_millis(500);
/// A group is not made larger than this; a single write may be.
const GROUP: usize = 4 << 20;
/// What is said when a segment cannot be begun or written to.
const UNWRITABLE: &str = "the journal cannot be written: writes are refused";
/// How often it is said that the disk fails.
const COMPLAINT: Duration = Duration::from_secs(60);

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Message {
    /// Make it durable, and say so.
    Append(Box<Write>, oneshot::Sender<Result<Id, AppendError>>),
    /// It is done with.
    Complete(Id, Outcome),
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
    /// All that are not removed, oldest first.
    parts: VecDeque<Part>,
    /// Segments without a record, from before the start: they go as soon as there is a newer one, which says where the
    /// numbers of records go on.
    empty: Vec<u64>,
    /// Damaged ones of which a copy is to be kept before they go.
    uncopied: HashSet<u64>,
    /// The number of the next segment.
    number: u64,
    /// The sequence of the next record, and of the first that is not synced.
    next: u64,
    synced: u64,
    /// Writes that are in segments and not completed, and where.
    live: BTreeMap<Id, Live>,
    /// What these count as.
    live_bytes: u64,
    /// Completed, and in no segment that counts: to be written with the next group.
    completed: Vec<Completed>,
    /// A part of a line may be at the end of the file of refused writes.
    is_refused_torn: bool,
    /// The last thing on the disk failed, and that was said then.
    failing: Option<Instant>,
    /// Removing segments failed last, and that was said then. It goes its own way: records may be written all the while.
    kept_from_removing: Option<Instant>,
}

/// A write that is not completed.
#[derive(Debug)]
struct Live {
    entry: Arc<Entry>,
    place: Place,
}

/// Appends that are written and synced together.
#[derive(Debug, Default)]
struct Group {
    appends: Vec<(Write, oneshot::Sender<Result<Id, AppendError>>)>,
    bytes: usize,
    ends: bool,
}

impl Writer {
    /// Goes on behind what was read, in a new segment; where there is no room for one now, as after any error of the disk:
    /// what waits is delivered, and writes are refused until there is.
    pub(super) fn new(folder: Folder, options: &Options, shared: Arc<Shared>, replayed: Replayed) -> Self {
        let mut live = BTreeMap::new();
        for entry in replayed.index.entries() {
            let Some(&place) = replayed.places.get(&entry.id) else { continue };
            live.insert(entry.id, Live { entry: entry.clone(), place });
        }
        let mut counts = HashMap::<u64, usize>::new();
        live.values().for_each(|live: &Live| *counts.entry(live.place.segment).or_default() += 1);
        let part = |&(number, bytes)| Part { number, bytes, live: counts.get(&number).copied().unwrap_or(0) };
        let mut writer = Self {
            parts: replayed.segments.iter().map(part).collect(),
            empty: replayed.empty,
            uncopied: replayed.uncopied,
            live_bytes: live.values().map(|live| live.entry.write.cost()).sum(),
            folder,
            shared,
            segment: options.segment,
            current: None,
            number: replayed.number,
            next: replayed.next,
            synced: replayed.next,
            live,
            completed: Vec::new(),
            is_refused_torn: false,
            failing: None,
            kept_from_removing: None,
        };
        if let Err(error) = writer.begin_segment() {
            writer.failed(UNWRITABLE, &error);
        }
        let mut index = writer.shared.index();
        *index = replayed.index;
        writer.shared.note_entries(&index);
        drop(index);
        writer.compact();
        writer
    }

    /// Works until there is nobody left to ask for anything.
    pub(super) fn run(mut self, receiver: &Receiver<Message>) {
        let mut sync_by: Option<Instant> = None;
        loop {
            let first = match sync_by {
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(by) => receiver.recv_timeout(by.saturating_duration_since(Instant::now())),
            };
            let first = match first {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Message::End),
            };
            let is_overdue = sync_by.is_some_and(|by| by <= Instant::now());
            if self.turn(first, receiver, is_overdue) {
                return;
            }
            sync_by = match sync_by {
                Some(by) if self.owes_sync() && !is_overdue => Some(by),
                _ if self.owes_sync() => Some(Instant::now() + SYNC_AFTER),
                _ => None,
            };
        }
    }

    /// Does what was asked for since the last turn, as one group. True when nothing comes after it.
    pub(super) fn turn(
        &mut self,
        first: Option<Message>,
        receiver: &Receiver<Message>,
        is_overdue: bool,
    ) -> bool {
        let mut group = Group::default();
        first.into_iter().for_each(|message| self.take(message, &mut group));
        self.gather(receiver, &mut group);
        let ends = group.ends;
        self.commit(group, is_overdue || ends);
        if ends {
            self.finish();
        }
        ends
    }

    /// What could not be synced has no later turn: it is tried once more, in another segment. One has to follow an
    /// abandoned one in any case, to say what of it does not count.
    fn finish(&mut self) {
        if self.owes_sync() || self.current.is_none() {
            self.commit(Group::default(), true);
        }
        let left = self.not_durable().count();
        if left > 0 {
            tracing::error!(
                "{left} deliveries could not be recorded, and will be repeated at the next start"
            );
        }
    }

    /// What was completed, and may come back after a crash.
    fn not_durable(&self) -> impl Iterator<Item = &Completed> + Clone {
        self.completed.iter().chain(self.current.iter().flat_map(|current| &current.unsynced))
    }

    fn owes_sync(&self) -> bool {
        self.not_durable().next().is_some()
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
            Message::Complete(id, outcome) => {
                let Some(Live { entry, place }) = self.forget(id) else { return };
                let uri = entry.write.uri.clone();
                let refused = match outcome {
                    Outcome::Delivered => {
                        self.count(|counters| &counters.delivered);
                        None
                    }
                    Outcome::Refused(why) => {
                        self.count(|counters| &counters.refused);
                        Some(Refused { entry, why, is_charged: false })
                    }
                };
                self.completed.push(Completed { id, uri, place, refused });
            }
            Message::End => group.ends = true,
        }
    }

    fn forget(&mut self, id: Id) -> Option<Live> {
        let live = self.live.remove(&id)?;
        self.live_bytes = self.live_bytes.saturating_sub(live.entry.write.cost());
        self.part(live.place.segment, |part| part.live = part.live.saturating_sub(1));
        Some(live)
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
        self.compact();
    }

    /// The writes of a group are durable: they can be found, and their clients be answered.
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
            self.live.insert(id, Live { entry, place: Place { segment, is_copied: false } });
        }
        self.shared.note_entries(&index);
        drop(index);
        self.part(segment, |part| part.live += waiting.len());
        self.shared.counters.appended.fetch_add(waiting.len() as u64, Ordering::Relaxed);
        for (id, done) in (first..).map(Id).zip(waiting) {
            let _gone = done.send(Ok(id));
        }
        self.shared.changed.notify_one();
    }

    /// Puts refused writes into their file; what does not get there stays, takes room as before, and is tried again.
    fn note_refused(&mut self) {
        let limit = self.shared.limit.load(Ordering::Relaxed);
        let mut completed = mem::take(&mut self.completed);
        let mut failed = None;
        for one in &mut completed {
            let Some(Refused { entry, why, is_charged }) = &mut one.refused else { continue };
            let cost = entry.write.cost();
            if failed.is_none() {
                failed = refused::add(&self.folder, entry, why, limit, &mut self.is_refused_torn).err();
            }
            if failed.is_some() {
                if !mem::replace(is_charged, true) {
                    self.shared.index().reserve(cost, u64::MAX);
                }
                continue;
            }
            if *is_charged {
                self.shared.index().release(cost);
            }
            one.refused = None;
        }
        self.completed = completed;
        if let Some(error) = failed {
            self.failed("a refused write cannot be kept in its file, and will be retried", &error);
        }
    }

    /// Whether a refused write is in a segment only.
    fn holds_refused(&self) -> bool {
        self.completed.iter().any(|one| one.refused.is_some())
    }

    fn failed(&mut self, what: &str, error: &io::Error) {
        self.count(|counters| &counters.errors);
        if is_time(&mut self.failing) {
            tracing::error!("{what}: {error}");
        }
    }

    fn recovered(&mut self) {
        if !self.holds_refused() && self.failing.take().is_some() {
            tracing::info!("the journal can be written again");
        }
    }

    fn count(&self, counter: impl FnOnce(&super::stats::Counters) -> &AtomicU64) {
        counter(&self.shared.counters).fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether something is to be said that was said then, and now again.
fn is_time(said: &mut Option<Instant>) -> bool {
    let is_time = said.is_none_or(|said| said.elapsed() >= COMPLAINT);
    if is_time {
        *said = Some(Instant::now());
    }
    is_time
}
