//! What is read at the start: every segment, oldest first, into the index.
//!
//! Previous stop: [`super::Journal::open`]. Next stop: [`super::writer`], which goes on behind it.
//!
//! Records are numbered without a gap, over all segments, so whatever is missing shows, wherever it is: damage in
//! the middle, a segment that was cut at the end of a record, a file that was removed. What is cut short at the end
//! was never acknowledged, and is no news.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    io,
    sync::Arc,
};

use super::{
    entry::{Id, Payload},
    index::Index,
    record::{Found, Records},
    segment::{Folder, HEADER, Header},
};

/// What the folder holds.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// The writes that are not delivered.
    pub(super) index: Index,
    /// Where each of them is.
    pub(super) places: BTreeMap<Id, Place>,
    /// Number and length of each segment with records, oldest first.
    pub(super) segments: VecDeque<(u64, u64)>,
    /// Segments without a record; they may go as soon as there is a newer one.
    pub(super) empty: Vec<u64>,
    /// Those of the segments of which something is damaged and no copy could be kept: they stay until one can.
    pub(super) uncopied: HashSet<u64>,
    /// The sequence of the next record.
    pub(super) next: u64,
    /// The number of the next segment.
    pub(super) number: u64,
    /// How often something was found missing or damaged.
    pub(super) damaged: u64,
}

/// Where a write is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u64,
    /// It is in more than one, or was: it may be behind later ones of its URI.
    pub(super) is_copied: bool,
}

/// Reads everything, cuts off a torn tail, and reports all that is not as it was written.
pub(super) fn replay(folder: &Folder) -> io::Result<Replayed> {
    let mut replayed = Replayed { next: 1, number: 1, ..Replayed::default() };
    let mut files = Vec::new();
    for number in folder.segments()? {
        replayed.number = number + 1;
        let bytes = folder.read(number)?;
        match Header::read(&bytes) {
            // The bytes are read again in their turn; only one segment is in memory at a time.
            Some(header) => files.push((number, header)),
            // Cut short while it was created: its header is durable before anything is written behind it.
            None if bytes.len() <= HEADER || bytes.iter().all(|&byte| byte == 0) => {
                replayed.empty.push(number);
            }
            None => replayed.without_header(folder, number)?,
        }
    }
    if let Some((_, header)) = files.first() {
        replayed.next = header.first;
    }
    for (at, (number, header)) in files.iter().enumerate() {
        let limit = files.get(at + 1).map(|(_, header)| header.first);
        replayed.segment(folder, *number, *header, limit)?;
    }
    Ok(replayed)
}

impl Replayed {
    fn without_header(&mut self, folder: &Folder, number: u64) -> io::Result<()> {
        self.damaged += 1;
        let kept = match folder.keep_copy(number) {
            Ok(copy) => {
                folder.remove(number)?;
                format!("it is kept as {}", copy.display())
            }
            // The next start comes by it again.
            Err(error) => format!("it stays there, since no copy of it can be kept: {error}"),
        };
        tracing::error!(
            "the journal's segment {} cannot be read at all: its header is damaged; acknowledged writes may be \
             lost; {kept}",
            folder.path_of(number).display()
        );
        Ok(())
    }

    /// Reads one segment. `limit` is the first record of the next one; there is none for the last.
    fn segment(
        &mut self,
        folder: &Folder,
        number: u64,
        header: Header,
        limit: Option<u64>,
    ) -> io::Result<()> {
        let bytes = folder.read(number)?;
        let (mut length, mut whole) = (bytes.len() as u64, true);
        let mut records = 0_u64;
        whole &= self.continues_at(folder, number, header.first);
        for found in Records::new(&bytes, header.seed, HEADER) {
            match found {
                // Written, but syncing it failed: the caller got the error, and the next segment began there again.
                Found::Record { sequence, .. } if limit.is_some_and(|limit| sequence >= limit) => break,
                Found::Record { sequence, payload, .. } => {
                    whole &= self.continues_at(folder, number, sequence);
                    self.next = sequence + 1;
                    records += 1;
                    whole &= self.record(folder, number, sequence, payload);
                }
                // What is missing behind it shows; only at the very end nothing does.
                Found::Damaged(range) if limit.is_none() && range.end == bytes.len() => {
                    whole = false;
                    self.damaged += 1;
                    tracing::error!(
                        "the last {} bytes of the journal's segment {} are not a record: one that was never \
                         acknowledged, or damage",
                        range.len(),
                        folder.path_of(number).display()
                    );
                }
                Found::Damaged(_) => {}
                Found::Torn(at) if limit.is_none() => {
                    tracing::info!(
                        "{} bytes cut off the journal's segment {}: a write that was never acknowledged",
                        bytes.len() - at,
                        folder.path_of(number).display()
                    );
                    folder.cut(number, at as u64)?;
                    length = at as u64;
                }
                Found::Torn(_) => {}
            }
        }
        match limit {
            Some(limit) => whole &= self.continues_at(folder, number, limit),
            // A process that was killed may have written it and not synced it. From here on it counts, so it has to be
            // as durable as everything that will be written behind it.
            None => folder.sync(number)?,
        }
        if !whole {
            match folder.keep_copy(number) {
                Ok(copy) => tracing::error!("the damaged segment is kept as {}", copy.display()),
                Err(error) => {
                    tracing::error!("the damaged segment stays, since no copy of it can be kept: {error}");
                    self.uncopied.insert(number);
                }
            }
        }
        if records == 0 && whole {
            self.empty.push(number);
        } else {
            self.segments.push_back((number, length));
        }
        Ok(())
    }

    /// Whether nothing is missing before `sequence`; reports where something is.
    fn continues_at(&mut self, folder: &Folder, number: u64, sequence: u64) -> bool {
        if sequence <= self.next {
            return true;
        }
        self.damaged += 1;
        tracing::error!(
            "{} records of the journal are missing or damaged, from {} to {}, in or before {}: acknowledged writes \
             may be lost, or delivered again",
            sequence - self.next,
            self.next,
            sequence - 1,
            folder.path_of(number).display()
        );
        self.next = sequence;
        false
    }

    fn record(&mut self, folder: &Folder, number: u64, sequence: u64, payload: &[u8]) -> bool {
        match Payload::read(payload) {
            Some(Payload::Write(entry)) => {
                // Its first record has its own number.
                let is_copied = entry.id != Id(sequence);
                self.places.insert(entry.id, Place { segment: number, is_copied });
                let cost = entry.write.cost();
                let entries = self.index.len();
                self.index.insert(Arc::from(entry));
                if self.index.len() > entries {
                    // What was acknowledged has room, also where the limit is lower now.
                    self.index.reserve(cost, u64::MAX);
                }
                true
            }
            Some(Payload::Completed(id, uri)) => {
                self.index.complete_up_to(&uri, id);
                true
            }
            None => {
                self.damaged += 1;
                tracing::error!(
                    "record {sequence} of the journal's segment {} is of a kind that this version does not know",
                    folder.path_of(number).display()
                );
                false
            }
        }
    }
}
