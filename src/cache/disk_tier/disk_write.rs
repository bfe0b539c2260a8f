//! A response on its way to disk.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::past::Past;
use crate::{
    cache::disk::{Id, Keyed, Writing},
    telemetry::clock,
};

/// A response on its way to disk.
#[derive(Debug)]
pub struct DiskWrite {
    pub(super) writing: Option<Writing>,
    /// Purges of it and writes of its URI since its fetch began are not to be undone by it.
    pub(super) past: Arc<Past>,
    pub(super) uri: u128,
    /// What its key is.
    pub(super) keyed: Keyed,
    pub(super) begun: u64,
    /// What is on disk under its key and is to be replaced.
    pub(super) replaces: Vec<Id>,
}

impl DiskWrite {
    /// Adds bytes of the body; what cannot be taken is given up.
    pub fn push(&mut self, chunk: Bytes) {
        if self.writing.as_mut().is_some_and(|writing| !writing.push(chunk)) {
            self.writing = None;
        }
    }

    /// Ready when the disk is not too far behind to take more.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.writing.as_mut().map_or(Poll::Ready(()), |writing| writing.poll_room(cx))
    }

    /// Whether it is still being kept.
    pub fn is_on(&self) -> bool {
        self.writing.is_some()
    }

    /// The body is whole: it is found once it is on disk. False where it was given up, and what it was to replace is there
    /// still.
    pub fn finish(self) -> bool {
        // What comes from here on is looked for once it is there.
        let finished = self.past.finished();
        let may_keep = self.past.written.may_keep(self.uri, self.begun, clock::unix_millis());
        let Some(writing) = self.writing else { return false };
        // A write of its URI took out what is older.
        !may_keep || writing.finish_before(&self.replaces, self.keyed, (self.past, finished))
    }
}
