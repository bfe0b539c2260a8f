//! A disk that fails when it is to.

use std::io;

use super::*;
use crate::writeback::journal::{
    files::{AppendFile, Directory, LockedDirectory},
    refused,
    segment::Folder,
};

/// How many times from now each step fails.
#[derive(Debug, Default)]
struct Faults {
    create: AtomicU32,
    write: AtomicU32,
    sync: AtomicU32,
    cut: AtomicU32,
    refuse: AtomicU32,
    /// Opening the file of refused writes.
    open_refused: AtomicU32,
}

/// A real directory with faults.
#[derive(Debug)]
struct Failing(LockedDirectory, Arc<Faults>);

impl Failing {
    fn file(&self, name: &str, file: Box<dyn AppendFile>) -> Box<dyn AppendFile> {
        Box::new(FailingFile { file, is_refused: name == refused::NAME, faults: self.1.clone() })
    }
}

impl Directory for Failing {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.read(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        fault(&self.1.create)?;
        Ok(self.file(name, self.0.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        if name == refused::NAME {
            fault(&self.1.open_refused)?;
        }
        Ok(self.file(name, self.0.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn check_place(&self) -> io::Result<()> {
        self.0.check_place()
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Box<dyn AppendFile>,
    is_refused: bool,
    faults: Arc<Faults>,
}

impl AppendFile for FailingFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn last(&self) -> io::Result<Option<u8>> {
        self.file.last()
    }

    /// Half of what is for a segment is written when it fails.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_refused {
            fault(&self.faults.refuse)?;
        } else {
            fault(&self.faults.write)
                .inspect_err(|_| self.file.append(&bytes[..bytes.len() / 2]).unwrap())?;
        }
        self.file.append(bytes)
    }

    /// The bytes may be there, or not, when it fails.
    fn sync(&self) -> io::Result<()> {
        fault(&self.faults.sync)?;
        self.file.sync()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        fault(&self.faults.cut)?;
        self.file.cut(length)
    }
}

fn fault(left: &AtomicU32) -> io::Result<()> {
    match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
        Ok(_) => Err(io::Error::other("a fault of the test")),
        Err(_) => Ok(()),
    }
}

fn open_with_faults(scratch: &Scratch) -> (Arc<Journal>, Arc<Faults>) {
    open_with(scratch, &scratch.options(PLENTY, 16 << 20))
}

fn open_with(scratch: &Scratch, options: &Options) -> (Arc<Journal>, Arc<Faults>) {
    let faults = Arc::<Faults>::default();
    (open_failing(scratch, options, &faults), faults)
}

fn open_failing(scratch: &Scratch, options: &Options, faults: &Arc<Faults>) -> Arc<Journal> {
    let directory = Failing(LockedDirectory::open(&scratch.0).unwrap(), faults.clone());
    let folder = Folder::of(Box::new(directory));
    Journal::open_in(folder, options).unwrap()
}

fn bodies(scratch: &Scratch) -> Vec<Vec<u8>> {
    let (contents, damaged) = contents(&scratch.0);
    assert_eq!(damaged, 0);
    contents.into_iter().map(|(_, _, body)| body).collect()
}

/// Each way to fail: the write is refused, is not delivered later, and what comes behind it is well.
#[test]
fn a_refused_append_is_never_delivered() {
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
fn a_broken_disk_leaves_no_files_and_heals() {
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

/// What was completed went into the segment that is abandoned; it must not come back.
#[test]
fn deliveries_before_a_failed_sync_are_not_repeated() {
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

/// Appends such writes and has done with each, until the journal is full; how many there were.
fn append_until_full(journal: &Arc<Journal>, uri: &str, done: fn(Delivery)) -> usize {
    let is_accepted = |_: &u32| match append(journal, write(uri, &[b'x'; 1000])) {
        Ok(_) => {
            done(take(journal).unwrap());
            true
        }
        Err(error) => {
            assert!(matches!(error, AppendError::Full), "{error}");
            false
        }
    };
    (0..500).take_while(is_accepted).count()
}

/// The disk is well again: soon there is room.
fn heal(journal: &Journal, faults: &Faults) {
    faults.open_refused.store(0, Ordering::Relaxed);
    let began = std::time::Instant::now();
    while append(journal, write("/last", b"")).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}

/// The file is somebody else's, or a folder has its name: in memory they would pile up for as long as it is so.
#[test]
fn refused_writes_that_cannot_be_kept_take_their_room() {
    let scratch = Scratch::new();
    let limit = 10 * write("/a", &[b'x'; 1000]).cost();
    let (journal, faults) = open_with(&scratch, &scratch.options(limit, 16 << 20));
    faults.open_refused.store(u32::MAX, Ordering::Relaxed);
    let accepted = append_until_full(&journal, "/a", |delivery| delivery.set_aside("no"));
    assert!((10..=11).contains(&accepted), "{accepted}");
    heal(&journal, &faults);
    assert_eq!(journal.stats().bytes, write("/last", b"").cost());
    drop(journal);
    assert_eq!(scratch.refused().len(), accepted);
    assert_eq!(bodies(&scratch), [b""]);
}

/// No segment goes while a refused write is in one only.
#[test]
fn one_refused_write_does_not_fill_the_disk() {
    let (scratch, limit, segment) = (Scratch::new(), 16 << 10, 4 << 10);
    let (journal, faults) = open_with(&scratch, &scratch.options(limit, segment));
    append(&journal, write("/a", b"poison")).unwrap();
    faults.open_refused.store(u32::MAX, Ordering::Relaxed);
    take(&journal).unwrap().set_aside("no");
    let accepted = append_until_full(&journal, "/b", Delivery::delivered);
    let disk = journal.stats().disk;
    assert!(accepted < 100 && disk <= 2 * limit + 6 * segment, "{accepted} writes, {disk} bytes");
    heal(&journal, &faults);
    drop(journal);
    assert_eq!(scratch.refused().len(), 1);
    assert!(scratch.segments().len() <= 2, "{:?}", scratch.segments());
}

/// The program did not start, and so the writes were not delivered that would have made room.
#[test]
fn a_full_disk_keeps_no_journal_closed() {
    let scratch = Scratch::new();
    let options = scratch.options(PLENTY, 16 << 20);
    for round in 0..3 {
        let journal = open(&scratch);
        append(&journal, write("/a", format!("{round}").as_bytes())).unwrap();
        drop(journal);
        // Its own segment is empty, and is left behind.
        drop(open(&scratch));
        let faults = Arc::<Faults>::default();
        faults.create.store(u32::MAX, Ordering::Relaxed);
        let journal = open_failing(&scratch, &options, &faults);
        assert_eq!(journal.latest(b"/a").unwrap().write.body, format!("{round}"));
        let refused = append(&journal, write("/b", b"refused"));
        assert!(matches!(refused, Err(AppendError::Io(_))), "{refused:?}");
        take(&journal).unwrap().delivered();
        faults.create.store(0, Ordering::Relaxed);
        append(&journal, write("/c", b"behind")).unwrap();
        drop(journal);
        assert_eq!(bodies(&scratch), [b"behind"], "{round}");
        assert!(scratch.segments().len() <= 2, "{:?}", scratch.segments());
        drain(&open(&scratch));
    }
    assert!(bodies(&scratch).is_empty());
}

/// What is damaged is all that there is of what was acknowledged.
#[test]
fn a_damaged_segment_stays_until_its_copy_has_room() {
    let scratch = Scratch::new();
    let options = scratch.options(PLENTY, 16 << 20);
    let journal = open(&scratch);
    for uri in ["/a", "/damaged", "/c"] {
        append(&journal, write(uri, b"0123456789")).unwrap();
    }
    drop(journal);
    let segment = scratch.segments().remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(8).position(|it| it == b"/damaged").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let faults = Arc::<Faults>::default();
    faults.create.store(u32::MAX, Ordering::Relaxed);
    let journal = open_failing(&scratch, &options, &faults);
    assert_eq!(drain(&journal).len(), 2);
    // All of it is done with but for what is damaged, and what is done with would go by now.
    assert!(append(&journal, write("/d", b"")).is_err());
    assert_eq!(fs::read(&segment).unwrap(), bytes);
    faults.create.store(0, Ordering::Relaxed);
    append(&journal, write("/d", b"")).unwrap();
    drop(journal);
    let copies = scratch.with_extension("damaged");
    assert_eq!(copies.iter().map(|copy| fs::read(copy).unwrap()).collect::<Vec<_>>(), [bytes]);
    assert!(!segment.exists());
}
