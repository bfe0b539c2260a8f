//! What comes while an object is on its way to its place.

use std::{
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use super::*;

/// Says what it was given to say, each once, and that it stays behind that.
#[derive(Debug)]
pub(super) struct Says(pub(super) Mutex<Vec<Visit>>);

impl Judge for Says {
    fn judge(&self, _: &[u8], _: Finished) -> Visit {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or(Visit::Keep)
    }
}

/// Has one written, of which this becomes.
fn write_judged(disk: &Arc<Disk>, judge: Arc<dyn Judge>) {
    let mut writing = disk.begin(1, meta(1, 2_000, "old"), Some(2_000)).unwrap();
    assert!(writing.push(Bytes::from(body(1, 2_000))));
    writing.finish_before(&[], Keyed::Uri, (judge, Finished { purges: 0, writes: 0 }));
    until_written(disk);
}

#[test]
fn an_object_is_judged_before_it_is_there_and_again() {
    let newer = || Visit::Update(meta(1, 2_000, "newer"));
    for (before, after, expected) in [
        (Visit::Keep, Visit::Keep, Some("old")),
        (newer(), Visit::Keep, Some("newer")),
        // Who brings another head looks through the objects, and comes by it.
        (Visit::Keep, newer(), Some("old")),
        (Visit::Remove, Visit::Keep, None),
        (Visit::Keep, Visit::Remove, None),
    ] {
        let folder = Temporary::new();
        let mut disk = open(folder.path(), 1 << 20);
        write_judged(&disk, Arc::new(Says(Mutex::new(vec![after, before]))));
        balance(&disk, folder.path());
        for _ in 0..2 {
            let found = disk.find(1).first().and_then(|found| check(&disk, found.id));
            assert_eq!(found.map(|(_, _, note)| note).as_deref(), expected);
            drop(disk);
            disk = open(folder.path(), 1 << 20);
        }
    }
}

/// Has all objects looked through when it is asked, and says that this one stays.
#[derive(Debug)]
struct Looks {
    disk: Arc<Disk>,
    seen: mpsc::Sender<u32>,
}

impl Judge for Looks {
    fn judge(&self, _: &[u8], _: Finished) -> Visit {
        let (begun, has_begun) = mpsc::channel();
        let (disk, seen) = (self.disk.clone(), self.seen.clone());
        thread::spawn(move || {
            begun.send(()).unwrap();
            let mut count = 0;
            disk.visit(&mut |_| {
                count += 1;
                Visit::Keep
            });
            // Nobody listens any more to the second time.
            let _ = seen.send(count);
        });
        has_begun.recv().unwrap();
        // Time in which it would be through, were it not to wait.
        (0..1_000).for_each(|_| thread::yield_now());
        Visit::Keep
    }
}

/// Whoever answers that all have been looked through may be killed just then: it is there already, or is never.
#[test]
fn who_looks_through_all_waits_for_what_was_judged() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    let (seen, first) = mpsc::channel();
    write_judged(&disk, Arc::new(Looks { disk: disk.clone(), seen }));
    assert_eq!(first.recv().unwrap(), 1);
}

/// An answer to a soft purge is given when its visit is through; killed then, nobody writes what waits.
#[test]
fn who_looks_through_all_leaves_no_head_waiting() {
    let folder = Temporary::new();
    let disk = open(folder.path(), 1 << 20);
    let id = store(&disk, 1, 1, 2_000, &[]);
    let stalled = Stalled::new(disk.clone());
    let before = objects(folder.path());
    disk.update(id, meta(1, 2_000, "validated"));
    assert_eq!((objects(folder.path()) == before, disk.stats().waiting > 0), (true, true), "it waits");
    disk.visit(&mut |shown| {
        assert_eq!(read_meta(shown).2, "validated");
        Visit::Update(meta(1, 2_000, "purged"))
    });
    assert_eq!((objects(folder.path()) == before, disk.stats().waiting), (false, 0));
    drop(stalled);
    balance(&disk, folder.path());
    assert_eq!(check(&disk, id).map(|found| found.2).as_deref(), Some("purged"));
}
