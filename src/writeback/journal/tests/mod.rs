//! The journal as a whole, on a real disk, and on one that loses what was not synced.

mod crash;
mod damage;
mod faults;
mod kill;
mod life;
mod model;
mod place;
mod power;
mod simulated;
mod usage;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{AppendError, Delivery, Entry, Id, Journal, Next, Options, Write};
use crate::moment::Moment;

/// A folder that is gone afterwards.
pub(in crate::writeback) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(in crate::writeback) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pointsman-journal-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    pub(in crate::writeback) fn options(&self, limit: u64, segment: u64) -> Options {
        Options { segment, ..Options::new(&self.0, limit) }
    }

    /// Segments, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        self.with_extension("journal")
    }

    fn with_extension(&self, extension: &str) -> Vec<PathBuf> {
        let mut found: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|own| own == extension))
            .collect();
        found.sort();
        found
    }

    fn refused(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.0.join("refused")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const PLENTY: u64 = 64 << 20;
/// Later than any backoff.
const LATER: Moment = Moment(u64::MAX / 2);

fn open(scratch: &Scratch) -> Arc<Journal> {
    Journal::open(&scratch.options(PLENTY, 16 << 20)).unwrap()
}

pub(in crate::writeback) fn write(uri: &str, body: &[u8]) -> Write {
    Write {
        uri: uri.as_bytes().into(),
        method: "PUT".into(),
        target: uri.into(),
        body: Bytes::copy_from_slice(body),
        accepted: 1_700_000_000,
        ..Write::default()
    }
}

/// Waits without a runtime of its own: nothing but the journal's thread wakes an append.
fn append(journal: &Journal, write: Write) -> Result<Id, AppendError> {
    wait(journal.append(write))
}

pub(in crate::writeback) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.unwrap() })
}

fn take(journal: &Arc<Journal>) -> Option<Delivery> {
    match journal.poll(LATER) {
        Next::Deliver(delivery) => Some(delivery),
        Next::Wait(_) => None,
    }
}

/// Delivers everything: id, URI and body, in the order of delivery.
pub(in crate::writeback) fn drain(journal: &Arc<Journal>) -> Vec<(u64, String, Vec<u8>)> {
    std::iter::from_fn(|| take(journal))
        .map(|delivery| {
            let write = delivery.write();
            let uri = String::from_utf8(write.uri.to_vec()).unwrap();
            let all = (delivery.id().0, uri, write.body.to_vec());
            delivery.delivered();
            all
        })
        .collect()
}

/// What the journal in a folder would deliver, without touching that folder.
fn contents(folder: &Path) -> (Vec<(u64, String, Vec<u8>)>, u64) {
    let copy = Scratch::new();
    fs::create_dir(&copy.0).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.0.join(path.file_name().unwrap())).unwrap();
    }
    let journal = open(&copy);
    (drain(&journal), journal.stats().damaged)
}
