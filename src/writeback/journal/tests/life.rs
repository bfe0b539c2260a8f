//! A journal between a start and a stop, on a simulated disk and without its thread: a test says what comes in which
//! group, and when half a second is over.

use std::{io, sync::mpsc::Receiver};

use super::{simulated::SimulatedDisk, *};
use crate::writeback::journal::{
    segment::Folder,
    writer::{Message, Writer},
};

pub(super) struct Life {
    pub(super) journal: Arc<Journal>,
    writer: Writer,
    receiver: Receiver<Message>,
}

impl Life {
    /// With segments that are full at this length.
    pub(super) fn open(disk: &SimulatedDisk, segment: u64) -> io::Result<Self> {
        let options = Options { segment, ..Options::new("simulated", PLENTY) };
        let (journal, writer, receiver) = Journal::prepare(Folder::of(Box::new(disk.clone())), &options)?;
        Ok(Self { journal: Arc::new(journal), writer, receiver })
    }

    /// The thread does what was asked for since, as one group, and syncs what waits for that when it `is_overdue`.
    pub(super) fn turn(&mut self, is_overdue: bool) {
        assert!(!self.writer.turn(None, &self.receiver, is_overdue));
    }

    /// Copies what is needed of the oldest segment, though there may be room enough without.
    pub(super) fn reclaim_oldest(&mut self) {
        self.writer.reclaim_oldest();
    }

    /// Appends, as a group of its own.
    pub(super) fn append(&mut self, write: Write) -> Result<Id, AppendError> {
        let mut appended = self.journal.begin(write)?;
        self.turn(false);
        appended.try_recv().unwrap()
    }

    /// Takes the next delivery of a URI.
    pub(super) fn take(&self, uri: &str) -> Delivery {
        let all: Vec<_> = std::iter::from_fn(|| take(&self.journal)).collect();
        let mut found = None;
        for delivery in all {
            if &*delivery.write().uri == uri.as_bytes() {
                found = Some(delivery);
            } else {
                // Soonest of all, so that what is left is as it was.
                delivery.failed(Moment(0));
            }
        }
        found.unwrap()
    }

    /// The URIs of what waits, oldest first.
    pub(super) fn uris(&self) -> Vec<String> {
        let index = self.journal.shared.index();
        index.entries().map(|entry| entry.write.target.clone()).collect()
    }

    /// A clean stop.
    pub(super) fn stop(self) {
        let Self { journal, mut writer, receiver } = self;
        drop(journal);
        assert!(writer.turn(None, &receiver, false));
    }
}
