//! An object on disk that answers a request.

use std::sync::Arc;

use crate::cache::{
    disk::{Damaged, Disk, Id, Reading},
    disk_head::DiskHead,
    stored_head::StoredHead,
    stored_response::{Body, StoredResponse},
    vary::Variant,
};

/// An object on disk that answers a request.
#[derive(Clone, Debug)]
pub struct DiskObject {
    /// Its head.
    pub record: DiskHead,
    /// The bytes of its body.
    pub length: u64,
    pub(super) disk: Arc<Disk>,
    pub(super) id: Id,
}

impl DiskObject {
    /// What it is chosen by.
    pub(super) fn as_variant(&self) -> Variant<'_> {
        let DiskHead { variant, entry, .. } = &self.record;
        Variant { vary: &entry.vary, key: variant, date: entry.date }
    }

    /// Whether another, which has come to disk behind it, was asked for earlier, and is older.
    pub(super) fn is_more_recent_than(&self, other: &Self, now: u64) -> bool {
        self.record.is_more_recent_than((other.record.entry.date, other.record.begun), now)
    }

    /// The bytes of its body from an offset to before another.
    pub fn read(&self, from: u64, to: u64) -> Reading {
        self.disk.read(self.id, from, to)
    }

    /// All of it, in memory; nothing where it is damaged or gone.
    pub async fn load(&self) -> Option<StoredResponse> {
        let mut reading = self.read(0, self.length);
        let mut chunks = Vec::new();
        loop {
            match std::future::poll_fn(|cx| reading.poll_next(cx)).await {
                Some(Ok(chunk)) => chunks.push(chunk),
                Some(Err(Damaged)) => return None,
                None => break,
            }
        }
        let DiskHead { key, variant, entry, .. } = self.record.clone();
        let body = Body::of(chunks);
        (body.length == self.length).then(|| StoredResponse::assembled(key, variant, entry, body))
    }

    /// An object of its head without its body: for what only asks the head.
    pub fn head(&self) -> StoredResponse {
        let DiskHead { key, variant, entry, .. } = self.record.clone();
        StoredResponse::assembled(key, variant, entry, Body::of([]))
    }

    /// This object with another head, which is not kept.
    pub fn with(mut self, entry: StoredHead) -> Self {
        self.record = DiskHead { entry, ..self.record };
        self
    }

    /// Takes it out.
    pub fn remove(&self) {
        self.disk.remove(self.id);
    }
}
