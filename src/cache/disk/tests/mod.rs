//! The disk tier as a whole, over real folders. What is stored says by its `meta` what its body must be, so that
//! any reader can say whether what it got is right.

mod damage;
mod judged;
mod keyed;
mod kill;
mod layout;
mod limits;
mod model;
mod races;
mod store;

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::*;
use crate::{cache::conf::Eviction, rng::Rng};

/// A folder that goes with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let path = env::temp_dir().join(format!("pointsman-disk-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Small blocks, so that little bodies have several.
fn options(path: &Path, limit: u64) -> Options {
    Options { block: 512, threads: 2, eviction: Eviction::Lru, ..Options::new(path, limit) }
}

/// Opens a folder once the store before it has let it go, and waits for the scan.
fn open_with(options: &Options) -> Arc<Disk> {
    let mut disk = None;
    until("the folder is free", || match Disk::open(options) {
        Ok(opened) => {
            disk = Some(opened);
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
            false
        }
    });
    let disk = disk.unwrap();
    until("the scan is through", || !disk.stats().is_scanning);
    disk
}

fn open(path: &Path, limit: u64) -> Arc<Disk> {
    open_with(&options(path, limit))
}

pub(in crate::cache) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in 30 seconds: {what}");
        std::thread::yield_now();
    }
}

pub(in crate::cache) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A store that writes nothing until this is dropped.
pub(in crate::cache) struct Stalled(Arc<Disk>);

impl Stalled {
    pub(in crate::cache) fn new(disk: Arc<Disk>) -> Self {
        disk.shared.queue.stop_writing();
        Self(disk)
    }

    /// Its scan is not through.
    pub(in crate::cache) fn scanning(disk: Arc<Disk>) -> Self {
        disk.shared.lock_index().is_scanning = true;
        Self::new(disk)
    }

    /// The scan is through, and writing still to begin.
    pub(in crate::cache) fn end_scan(&self) {
        self.0.shared.lock_index().end_scan();
        self.0.shared.scanned.notify_all();
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.0.shared.queue.begin_writing();
    }
}

/// The body that belongs to a seed.
fn body(seed: u64, length: u64) -> Vec<u8> {
    let mut chance = Rng::new(seed);
    let mut body = Vec::new();
    while (body.len() as u64) < length {
        body.extend_from_slice(&chance.next_number().to_le_bytes());
    }
    body.truncate(length as usize);
    body
}

fn meta(seed: u64, length: u64, note: &str) -> Vec<u8> {
    format!("{seed} {length} {note}").into_bytes()
}

/// Seed, length and note out of a `meta`.
fn read_meta(meta: &[u8]) -> (u64, u64, String) {
    let text = std::str::from_utf8(meta).unwrap();
    let mut words = text.splitn(3, ' ');
    let mut word = || words.next().unwrap().to_owned();
    (word().parse().unwrap(), word().parse().unwrap(), word())
}

/// Begins, pushes in uneven pieces and finishes; false where it was refused.
fn write(disk: &Arc<Disk>, key: u128, seed: u64, length: u64, replaces: &[Id]) -> bool {
    let Some(mut writing) =
        disk.begin(key, meta(seed, length, "-"), seed.is_multiple_of(2).then_some(length))
    else {
        return false;
    };
    let body = Bytes::from(body(seed, length));
    let mut chance = Rng::new(seed);
    let mut at = 0;
    while at < body.len() {
        let end = body.len().min(at + chance.below(1400) as usize);
        if !writing.push(body.slice(at..end)) {
            return false;
        }
        at = end;
    }
    writing.finish(replaces);
    true
}

/// Waits until nothing waits to be written.
fn until_written(disk: &Disk) {
    until("all is written", || disk.stats().waiting == 0);
}

fn store(disk: &Arc<Disk>, key: u128, seed: u64, length: u64, replaces: &[Id]) -> Id {
    assert!(write(disk, key, seed, length, replaces));
    until_written(disk);
    disk.find(key).first().expect("it was stored").id
}

/// What a reading gives, to its end.
fn drain(mut reading: Reading) -> Result<Vec<u8>, Damaged> {
    wait(async {
        let mut all = Vec::new();
        while let Some(bytes) = std::future::poll_fn(|cx| reading.poll_next(cx)).await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all)
    })
}

/// Head and body, both compared with what they must be.
fn check(disk: &Arc<Disk>, id: Id) -> Option<(u64, u64, String)> {
    let (seed, length, note) = read_meta(&wait(disk.head(id))?);
    let all = drain(disk.read(id, 0, u64::MAX)).ok()?;
    assert!(all == body(seed, length), "wrong bytes of {seed}");
    Some((seed, length, note))
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

/// The files of objects, whole or not.
fn objects(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| path.file_name().unwrap() != "lock").collect()
}

/// What the files of objects cost.
fn cost(folder: &Path) -> u64 {
    let size = |path: PathBuf| fs::metadata(path).map_or(0, |file| super::layout::on_disk(file.size()));
    objects(folder).into_iter().map(size).sum()
}

/// What is counted is what is there, and no more than may be.
fn balance(disk: &Disk, folder: &Path) {
    until("the files cost what is counted", || {
        let stats = disk.stats();
        assert!(stats.bytes <= stats.limit, "{stats:?}");
        stats.waiting == 0 && cost(folder) == stats.bytes && objects(folder).len() as u64 == stats.objects
    });
}
