//! Writes that a cache has accepted and its origin does not have yet: the journal that the configuration asks for, and
//! those that it asked for earlier and that are not empty.
//!
//! Previous stops: `http::cached`, which accepts writes and answers from them. Next stop: whoever delivers them, who
//! finds every journal in [`Journals`].
//!
//! Invariant: a journal is open as long as something waits in it or is on its way into it, whatever becomes of the
//! configuration, until the program ends or another takes over; as long it is found, by who delivers and by who reads.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    conf::JournalConf,
    journal::{Ends, Entry, Journal, Options, Stats},
};
use crate::owned_directory::{Held, OwnedDirectory};

/// Every journal of the program.
#[derive(Debug, Default)]
pub struct Journals {
    known: Mutex<Vec<Known>>,
    changed: Notify,
    is_closed: AtomicBool,
    ends: Arc<Ends>,
}

#[derive(Debug)]
struct Known {
    path: PathBuf,
    journal: Weak<Journal>,
    /// Whether a configuration in force asked for it, ever.
    is_in_force: bool,
}

/// How long one may take to let go of a journal that nobody needs any more.
const CLOSING: Duration = Duration::from_millis(500);

impl Journals {
    /// The journals that are to be delivered from.
    pub fn in_force(&self) -> Vec<Arc<Journal>> {
        let known = self.known();
        known.iter().filter(|one| one.is_in_force).filter_map(|one| one.journal.upgrade()).collect()
    }

    /// Resolves when there is another one, or when all are closed. One waits.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The program ends, or another takes over: nothing more is to be delivered from here.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Waits until those that nobody needs any more are closed, with everything in them that there is to note. For the
    /// end of the program, which would cut that off.
    pub fn finish(&self) {
        self.ends.wait_for_all();
    }

    /// Whether nothing more is to be delivered.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// The journal in a folder: the one that is open there already, or it is opened.
    fn open(&self, path: &Path, limit: u64) -> io::Result<Arc<Journal>> {
        let known = || self.known().iter().any(|one| one.path == path);
        let open = || {
            let is_it = |one: &&Known| one.path == path && one.journal.strong_count() > 0;
            self.known().iter().find(is_it).and_then(|one| one.journal.upgrade())
        };
        let mut was_known = known();
        let journal = loop {
            if let Some(journal) = open() {
                return Ok(journal);
            }
            self.ends.wait_for(path);
            let options = Options::new(path, limit).closing_among(&self.ends);
            match Journal::open(&options) {
                // Somebody is just about to let go of it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && was_known => {
                    std::thread::sleep(CLOSING);
                    was_known = false;
                }
                opened => break opened?,
            }
        };
        let known = Known { path: path.to_owned(), journal: Arc::downgrade(&journal), is_in_force: false };
        let mut all = self.known();
        all.retain(|one| one.journal.strong_count() > 0);
        all.push(known);
        Ok(journal)
    }

    fn begin(&self, journal: &Arc<Journal>) {
        for one in self.known().iter_mut() {
            one.is_in_force |= one.journal.ptr_eq(&Arc::downgrade(journal));
        }
        self.changed.notify_one();
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the journals of one cache have in common.
#[derive(Debug, Default)]
pub struct FormerJournals {
    journals: Arc<Journals>,
    /// Those that a configuration asked for earlier.
    former: Mutex<Former>,
    /// Whether there is one, for those who only want to know that there is none.
    is_any: AtomicBool,
}

#[derive(Debug, Default)]
struct Former {
    journals: Vec<Arc<Journal>>,
    /// Another program is to have them.
    is_closed: bool,
}

impl Held for Journal {
    type Conf = Option<JournalConf>;
    type Context = FormerJournals;

    const NAME: &'static str = "journal";

    fn asked(conf: &Self::Conf) -> Option<(&Path, u64)> {
        conf.as_ref().map(|journal| (&*journal.path, journal.size.0))
    }

    fn open(_: &Self::Conf, (path, limit): (&Path, u64), context: &FormerJournals) -> io::Result<Arc<Self>> {
        context.journals.open(path, limit)
    }

    fn set_limit(&self, limit: u64) {
        Self::set_limit(self, limit);
    }

    fn begin(self: &Arc<Self>, _: &Path, context: &FormerJournals) {
        context.journals.begin(self);
        context.former().journals.retain(|other| !Arc::ptr_eq(other, self));
    }

    fn end(self: Arc<Self>, context: &FormerJournals) {
        context.add(self);
    }
}

impl FormerJournals {
    fn former(&self) -> MutexGuard<'_, Former> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a journal among them, unless another program is to have it.
    fn add(&self, journal: Arc<Journal>) {
        let mut former = self.former();
        if !former.is_closed && !former.journals.iter().any(|other| Arc::ptr_eq(other, &journal)) {
            former.journals.push(journal);
            self.is_any.store(true, Ordering::Release);
        }
    }

    /// Those in which something waits, or is on its way.
    fn busy(&self) -> Vec<Arc<Journal>> {
        if !self.is_any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut former = self.former();
        former.journals.retain(|journal| journal.is_owing());
        let busy = former.journals.clone();
        self.is_any.store(!busy.is_empty(), Ordering::Release);
        busy
    }

    /// Lets go of them, and takes no more.
    fn close(&self) {
        let mut former = self.former();
        former.is_closed = true;
        former.journals.clear();
    }
}

/// The accepted writes of one cache.
#[derive(Debug)]
pub struct WriteBack {
    place: Arc<OwnedDirectory<Journal>>,
}

impl WriteBack {
    /// A cache without a journal; those to come are among `journals`.
    pub fn new(journals: Arc<Journals>) -> Self {
        let context = FormerJournals { journals, ..FormerJournals::default() };
        Self { place: Arc::new(OwnedDirectory::new(context)) }
    }

    /// Where its journal is.
    pub fn place(&self) -> &Arc<OwnedDirectory<Journal>> {
        &self.place
    }

    /// The journal that takes writes.
    pub fn journal(&self) -> Option<Arc<Journal>> {
        self.place.held()
    }

    /// To be called when a journal that [`Self::journal`] gave has got a write. Where it was taken out of force between
    /// the two, it may have been let go of since nothing waited in it; now something does, and is to be found.
    pub fn keep(&self, journal: &Arc<Journal>) {
        if !self.place.is_held(journal) {
            self.place.context.add(journal.clone());
        }
    }

    /// The newest write of a URI that the origin does not have yet.
    pub fn latest(&self, uri: &[u8]) -> Option<Arc<Entry>> {
        if let Some(entry) = self.place.held().and_then(|journal| journal.latest(uri)) {
            return Some(entry);
        }
        self.place.context.busy().iter().find_map(|journal| journal.latest(uri))
    }

    /// Waits until the origin has every write of a URI, save those in the journal that takes writes.
    pub async fn until_former_delivered(&self, uri: &[u8]) {
        let waits: Vec<_> =
            self.place.context.busy().iter().map(|journal| journal.until_delivered(uri)).collect();
        for wait in waits {
            wait.await;
        }
    }

    /// Waits until the origin has every write of a URI.
    pub async fn until_delivered(&self, uri: &[u8]) {
        self.until_former_delivered(uri).await;
        let wait = self.journal().map(|journal| journal.until_delivered(uri));
        if let Some(wait) = wait {
            wait.await;
        }
    }

    /// Lets go of the journals.
    pub fn close(&self) {
        self.place.close();
        self.place.context.close();
    }

    /// What its journals hold and did, as far as they are open.
    pub fn stats(&self) -> Option<Stats> {
        let journals = self.place.held().into_iter().chain(self.place.context.busy());
        journals.map(|journal| journal.stats()).reduce(|one, other| one.and(&other))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::channel,
        task::{Context, Waker},
    };

    use super::*;
    use crate::{
        schema::{Size, StorePath},
        writeback::journal::tests::{Scratch, drain, wait, write},
    };

    const LIMIT: u64 = 1 << 20;

    /// Whoever gets 202 for it later finds it, and it is delivered.
    #[test]
    fn a_former_journal_stays_while_a_write_is_under_way() {
        let (scratch, context) = (Scratch::new(), FormerJournals::default());
        let (go, stall) = channel::<()>();
        let journal = Journal::open_stalled(&scratch.options(LIMIT, LIMIT), move || _ = stall.recv());
        let appended = journal.append(write("/a", b"new"));
        journal.clone().end(&context);
        assert_eq!(context.busy().len(), 1, "a write is on its way into it");
        // This, and the one among the former: no cache has it.
        assert!(journal.is_needed(2));
        drop(go);
        wait(appended).unwrap();
        let busy = context.busy();
        assert!(busy.iter().any(|journal| journal.latest(b"/a").is_some()));
        drop(busy);
        assert!(journal.is_needed(2));
        assert_eq!(drain(&journal).len(), 1);
        assert_eq!(context.busy().len(), 0, "nothing waits in it any more");
        context.journals.finish();
        assert!(!journal.is_needed(1));
    }

    /// In force and former at once, it would keep writes waiting for themselves, and count twice.
    #[test]
    fn a_journal_of_two_generations_is_none_of_the_former() {
        let scratch = Scratch::new();
        let back = WriteBack::new(Arc::default());
        let path = StorePath(scratch.options(LIMIT, LIMIT).path);
        let conf = Some(JournalConf { path, size: Size(LIMIT) });
        // The second is prepared while the first is on its way into force.
        let [first, second] = [(), ()].map(|()| back.place.prepare(&conf).unwrap());
        back.place.apply(first);
        wait(back.journal().unwrap().append(write("/a", b"new"))).unwrap();
        back.place.apply(second);
        assert_eq!(back.place.context.busy().len(), 0);
        assert!(back.latest(b"/a").is_some());
    }

    #[test]
    fn a_write_that_comes_behind_a_reload_is_found() {
        let scratch = Scratch::new();
        let back = WriteBack::new(Arc::default());
        let apply = |conf: Option<JournalConf>| back.place.apply(back.place.prepare(&conf).unwrap());
        let path = StorePath(scratch.options(LIMIT, LIMIT).path);
        apply(Some(JournalConf { path, size: Size(LIMIT) }));
        let journal = back.journal().unwrap();
        apply(None);
        assert!(back.stats().is_none(), "nothing waits, and it is let go of");
        let appended = journal.append(write("/a", b"new"));
        back.keep(&journal);
        wait(appended).unwrap();
        assert!(back.latest(b"/a").is_some());
        // The next program has the folder from here on.
        back.close();
        back.keep(&journal);
        assert!(back.latest(b"/a").is_none());
        back.place.context.journals.finish();
        assert_eq!(Arc::strong_count(&journal), 1);
    }

    /// Else another program could not have its folder, and a worker's loop may be the last to let go of it.
    #[test]
    fn who_waits_for_deliveries_does_not_hold_the_journal() {
        let scratch = Scratch::new();
        let back = WriteBack::new(Arc::default());
        let path = StorePath(scratch.options(LIMIT, LIMIT).path);
        back.place.apply(back.place.prepare(&Some(JournalConf { path, size: Size(LIMIT) })).unwrap());
        let journal = back.journal().unwrap();
        wait(journal.append(write("/a", b"new"))).unwrap();
        let mut waiting = [Box::pin(back.until_delivered(b"/a")), Box::pin(back.until_delivered(b"/a"))];
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting[0].as_mut().poll(&mut cx).is_pending());
        back.place.apply(back.place.prepare(&None).unwrap());
        // A former one now, of which the other waits.
        assert!(waiting[1].as_mut().poll(&mut cx).is_pending());
        back.close();
        assert_eq!(Arc::strong_count(&journal), 1);
    }

    #[test]
    fn a_folder_is_opened_again_once_its_journal_is_closed() {
        let (scratch, journals) = (Scratch::new(), Journals::default());
        let path = scratch.options(LIMIT, LIMIT).path;
        let (go, stall) = channel::<()>();
        let options = Options::new(&path, LIMIT).closing_among(&journals.ends);
        let journal = Journal::open_stalled(&options, move || _ = stall.recv());
        let appended = journal.append(write("/a", b"new"));
        drop(journal);
        let opening = std::thread::scope(|scope| {
            let opening = scope.spawn(|| journals.open(&path, LIMIT));
            drop(go);
            opening.join().unwrap()
        });
        wait(appended).unwrap();
        assert!(opening.unwrap().latest(b"/a").is_some());
    }
}
