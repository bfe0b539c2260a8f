//! A disk that fails when it is told to.

use std::{
    fs::File,
    io::{self, Write as _},
};

use super::*;
use crate::cache::journal::segment::Folder;

/// How many times from now each step fails.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    create: AtomicU32,
    write: AtomicU32,
    sync: AtomicU32,
    cut: AtomicU32,
    refuse: AtomicU32,
}

impl Faults {
    pub(crate) fn creating(&self) -> io::Result<()> {
        fault(&self.create)
    }

    /// Half of it is written then.
    pub(crate) fn writing(&self, file: &mut File, records: &[u8]) -> io::Result<()> {
        fault(&self.write).inspect_err(|_| file.write_all(&records[..records.len() / 2]).unwrap())
    }

    /// The bytes may be there, or not.
    pub(crate) fn syncing(&self) -> io::Result<()> {
        fault(&self.sync)
    }

    pub(crate) fn cutting(&self) -> io::Result<()> {
        fault(&self.cut)
    }

    pub(crate) fn refusing(&self) -> io::Result<()> {
        fault(&self.refuse)
    }
}

fn fault(left: &AtomicU32) -> io::Result<()> {
    match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
        Ok(_) => Err(io::Error::other("a fault of the test")),
        Err(_) => Ok(()),
    }
}

fn open_with_faults(scratch: &Scratch) -> (Arc<Journal>, Arc<Faults>) {
    let folder = Folder::open(&scratch.0).unwrap();
    let faults = folder.faults.clone();
    (Journal::open_in(folder, &scratch.options(PLENTY, 16 << 20)).unwrap(), faults)
}

fn bodies(scratch: &Scratch) -> Vec<Vec<u8>> {
    let (contents, damaged) = contents(&scratch.0);
    assert_eq!(damaged, 0);
    contents.into_iter().map(|(_, _, body)| body).collect()
}

/// Each way to fail: the write is refused, is not delivered later, and what comes behind it is well.
#[test]
fn a_write_that_was_refused_is_not_delivered_whatever_is_on_the_disk() {
    for (name, uncut) in [("create", 0), ("write", 0), ("write", 1), ("sync", 0), ("sync", 1)] {
        let scratch = Scratch::new();
        let (journal, faults) = open_with_faults(&scratch);
        append(&journal, write("/a", b"before")).unwrap();
        faults.cut.store(uncut, Ordering::Relaxed);
        match name {
            "create" => {
                faults.create.store(1, Ordering::Relaxed);
                faults.sync.store(1, Ordering::Relaxed);
                assert!(append(&journal, write("/a", b"lost")).is_err());
            }
            "write" => faults.write.store(1, Ordering::Relaxed),
            _ => faults.sync.store(1, Ordering::Relaxed),
        }
        let refused = append(&journal, write("/a", b"refused"));
        assert!(matches!(refused, Err(AppendError::Io(_))), "{name}: {refused:?}");
        assert_eq!(journal.latest(b"/a").unwrap().write.body, "before", "{name}");
        let room = journal.stats().bytes;
        append(&journal, write("/a", b"behind")).unwrap();
        assert_eq!(journal.stats().bytes, 2 * room, "{name}: room is lost");
        assert_eq!(bodies(&scratch), [&b"before"[..], b"behind"], "{name} {uncut}");
        drop(journal);
        assert_eq!(bodies(&scratch), [&b"before"[..], b"behind"], "{name} {uncut}");
    }
}

#[test]
fn a_disk_that_stays_broken_leaves_no_files_behind_and_heals() {
    let scratch = Scratch::new();
    let (journal, faults) = open_with_faults(&scratch);
    append(&journal, write("/a", b"before")).unwrap();
    faults.sync.store(50, Ordering::Relaxed);
    (0..50).for_each(|_| assert!(append(&journal, write("/a", b"x")).is_err()));
    assert!(scratch.segments().len() <= 3, "{:?}", scratch.segments());
    append(&journal, write("/a", b"behind")).unwrap();
    assert_eq!(journal.stats().errors, 50);
    drop(journal);
    assert_eq!(bodies(&scratch), [&b"before"[..], b"behind"]);
}

/// What was settled went into the segment that is abandoned; it must not come back.
#[test]
fn what_was_delivered_before_a_failed_sync_is_not_delivered_again() {
    let scratch = Scratch::new();
    let (journal, faults) = open_with_faults(&scratch);
    append(&journal, write("/a", b"1")).unwrap();
    append(&journal, write("/a", b"2")).unwrap();
    faults.sync.store(1, Ordering::Relaxed);
    take(&journal).unwrap().delivered();
    // Whether the delivery and this are one group or two, one sync fails.
    let third = append(&journal, write("/a", b"3"));
    assert!(third.is_err());
    append(&journal, write("/a", b"4")).unwrap();
    drop(journal);
    assert_eq!(bodies(&scratch), [b"2", b"4"]);
}

#[test]
fn a_refused_write_stays_until_its_file_can_be_written() {
    let scratch = Scratch::new();
    let (journal, faults) = open_with_faults(&scratch);
    append(&journal, write("/a", b"poison")).unwrap();
    faults.refuse.store(1, Ordering::Relaxed);
    take(&journal).unwrap().set_aside("no");
    append(&journal, write("/b", b"")).unwrap();
    drop(journal);
    let lines = scratch.refused();
    assert_eq!((lines.len(), &lines[0]["body"]), (1, &"poison".into()));
    assert_eq!(bodies(&scratch), [b""]);
}
