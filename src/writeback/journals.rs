//! Writes that a cache has accepted and its origin does not have yet: the journal that the configuration asks for, and
//! those that it asked for earlier and that are not empty.
//!
//! Previous stops: `http::cached`, which accepts writes and answers from them. Next stop: whoever delivers them, who
//! finds every journal in [`Journals`].
//!
//! Invariant: a journal is open as long as something waits in it or is on its way into it, whatever becomes of the
//! configuration, until the program ends or another takes over; as long it is found, by who delivers and by who reads.

mod adopted;

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
    former::Former,
    handed::Pending,
    journal::{Ends, Entry, Journal, Options, Stats},
    left::{Left, LeftBehind},
    waiting::AllWaiting,
};
use crate::owned_directory::{Held, OwnedDirectory};

/// Every journal of the program.
#[derive(Debug, Default)]
pub struct Journals {
    known: Mutex<Vec<Known>>,
    changed: Notify,
    is_closed: AtomicBool,
    ends: Arc<Ends>,
    /// Those that no configuration asked for when another program let go of them.
    adopted: Mutex<Vec<Arc<Journal>>>,
    /// Those that are to be, and that another program has still.
    pending: Mutex<Vec<Pending>>,
    /// Those of caches that no configuration had any more when a program before this one handed them over.
    orphans: Arc<Former>,
    /// What waits in those that are to be delivered from.
    waiting: AllWaiting,
    /// What waits where no configuration asks for it when the program ends.
    left: LeftBehind,
}

#[derive(Debug)]
struct Known {
    path: PathBuf,
    journal: Weak<Journal>,
    /// Whether a configuration in force asked for it, ever.
    is_in_force: bool,
    /// How many caches have it in force: two for a moment, where one takes it over from the other.
    asked: usize,
}

/// How often it is looked whether another program has let go.
const LOOK: Duration = Duration::from_millis(20);
/// How long one may take to let go of a journal that nobody needs any more.
const CLOSING: Duration = Duration::from_millis(500);

impl Journals {
    /// The journals that are to be delivered from.
    pub fn in_force(&self) -> Vec<Arc<Journal>> {
        let known = self.known();
        let in_force: Vec<_> =
            known.iter().filter(|one| one.is_in_force).filter_map(|one| one.journal.upgrade()).collect();
        drop(known);
        // Whoever was given them keeps them from here on, as long as they are needed.
        self.adopted().retain(|journal| journal.is_owing());
        self.orphans.let_go();
        in_force
    }

    /// Resolves when there is another one, or when all are closed. One waits.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The program ends, or another takes over: nothing more is to be delivered from here.
    pub fn close(&self) {
        self.note_left();
        self.is_closed.store(true, Ordering::Release);
        self.adopted().clear();
        self.orphans.close();
        self.note_waiting(&self.known());
        self.changed.notify_one();
    }

    /// Waits until those that nobody needs any more are closed, with everything in them that there is to note. For the
    /// end of the program, which would cut that off. Complains of what nobody delivers after it.
    pub fn finish(&self) {
        self.ends.wait_for_all();
        self.left.tell();
    }

    /// Takes note of what is in journals that no configuration asks for; before caches let go of theirs.
    pub fn note_left(&self) {
        let known = self.known();
        let unasked = known.iter().filter(|one| one.is_in_force && one.asked == 0);
        let open = unasked.filter_map(|one| Some((one.path.clone(), Some(one.journal.upgrade()?.waiting()))));
        let mut left: Vec<Left> = open.collect();
        drop(known);
        left.extend(self.pending().iter().map(|one| (one.path.clone(), None)));
        self.left.note(left);
    }

    /// The next program delivers from those that it was told of.
    pub fn leave_to_next(&self) {
        self.left.leave_to_next();
    }

    /// Whether nothing more is to be delivered.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// The journal in a folder: the one that is open there already, or it is opened.
    fn open(&self, path: &Path, limit: u64) -> io::Result<Arc<Journal>> {
        self.open_or(path, limit, |_| false)
    }

    /// The same; where it is opened, `begin` is called before anybody else may have it, and says whether it is in force.
    fn open_or(
        &self,
        path: &Path,
        limit: u64,
        begin: impl FnOnce(&Arc<Journal>) -> bool,
    ) -> io::Result<Arc<Journal>> {
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
        let is_in_force = begin(&journal);
        let known = Known { path: path.to_owned(), journal: Arc::downgrade(&journal), is_in_force, asked: 0 };
        let mut all = self.known();
        all.retain(|one| one.journal.strong_count() > 0);
        all.push(known);
        self.note_waiting(&all);
        Ok(journal)
    }

    /// Whether any write waits in any journal, or may in one that another program has still and that is of no cache here.
    pub fn is_owing(&self) -> bool {
        self.waiting.is_owing() || self.orphans.is_awaiting()
    }

    /// Waits until no write of a URI waits in any journal.
    pub async fn until_delivered(&self, uri: &[u8]) {
        while self.orphans.is_awaiting() && !self.is_closed() {
            tokio::time::sleep(LOOK).await;
        }
        self.waiting.until_delivered(uri, None).await;
    }

    /// To be called with what is known, which is held meanwhile, when that has changed, and at the end.
    fn note_waiting(&self, known: &[Known]) {
        // What comes when all are closed is another program's to know.
        let known = if self.is_closed() { &[] } else { known };
        let in_force: Vec<_> =
            known.iter().filter(|one| one.is_in_force).filter_map(|one| one.journal.upgrade()).collect();
        self.waiting.set(in_force.iter());
    }

    fn begin(&self, journal: &Arc<Journal>) {
        let mut known = self.known();
        for one in known.iter_mut().filter(|one| one.journal.ptr_eq(&Arc::downgrade(journal))) {
            one.is_in_force = true;
            one.asked += 1;
        }
        self.note_waiting(&known);
        drop(known);
        self.orphans.remove(journal);
        self.changed.notify_one();
    }

    /// One of the caches has it in force no more.
    fn end(&self, journal: &Arc<Journal>) {
        let mut known = self.known();
        for one in known.iter_mut().filter(|one| one.journal.ptr_eq(&Arc::downgrade(journal))) {
            one.asked = one.asked.saturating_sub(1);
            let writes = journal.stats().entries;
            if one.asked == 0 && writes > 0 && !self.is_closed() {
                tracing::warn!(path = %one.path.display(), writes, "{FORMER}");
            }
        }
    }

    /// The folders that no configuration asks for, and of which something is to be delivered yet.
    pub fn former(&self) -> Vec<(PathBuf, Stats)> {
        let known = self.known();
        let unasked = known.iter().filter(|one| one.is_in_force && one.asked == 0);
        let open = unasked.filter_map(|one| Some((one.path.clone(), one.journal.upgrade()?.stats())));
        open.filter(|(_, stats)| stats.entries > 0).collect()
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adopted(&self) -> MutexGuard<'_, Vec<Arc<Journal>>> {
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said when a reload takes one away that is not empty.
const FORMER: &str = "a journal that the configuration does not ask for any more is not empty: its writes are delivered \
    from there as long as the program runs";

/// What the journals of one cache have in common.
#[derive(Debug, Default)]
pub struct FormerJournals {
    journals: Arc<Journals>,
    /// Those that a configuration asked for earlier.
    former: Arc<Former>,
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

    fn take_on(&self, _: &Self::Conf, size: u64) {
        self.set_limit(size);
    }

    fn begin(self: &Arc<Self>, _: &Path, context: &FormerJournals) {
        context.journals.begin(self);
        context.former.remove(self);
    }

    fn leave_awaited(conf: &Self::Conf, context: &FormerJournals) {
        let Some((path, limit)) = Self::asked(conf) else { return };
        context.journals.adopt_later(path, limit, &context.former);
    }

    fn end(self: Arc<Self>, context: &FormerJournals) {
        context.journals.end(&self);
        context.former.add(self);
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
            self.place.context.former.add(journal.clone());
        }
    }

    /// Whether what was accepted of late may be known here; with `needs_journal`, writes are to be accepted too. Not while
    /// another program has a journal still, from which this one takes over.
    pub fn is_ready(&self, needs_journal: bool) -> bool {
        let FormerJournals { former, journals } = &self.place.context;
        let is_awaiting = former.is_awaiting() || journals.orphans.is_awaiting();
        !is_awaiting && (!needs_journal || self.place.is_open())
    }

    /// Whether the journals were let go of, for another program to have.
    pub fn is_closed(&self) -> bool {
        self.place.is_closed()
    }

    /// The newest write of a URI that the origin does not have yet, whichever cache accepted it: its route may have had
    /// another one then.
    pub fn latest(&self, uri: &[u8]) -> Option<Arc<Entry>> {
        if let Some(entry) = self.place.held().and_then(|journal| journal.latest(uri)) {
            return Some(entry);
        }
        let FormerJournals { former, journals } = &self.place.context;
        former.let_go();
        journals.waiting.latest(uri)
    }

    /// Waits until the origin has every write of a URI, save those in the journal that takes writes.
    pub async fn until_former_delivered(&self, uri: &[u8]) {
        let own = self.journal().map(|journal| journal.waiting());
        self.place.context.journals.waiting.until_delivered(uri, own.as_ref()).await;
    }

    /// Waits until the origin has every write of a URI.
    pub async fn until_delivered(&self, uri: &[u8]) {
        self.place.context.journals.until_delivered(uri).await;
    }

    /// Lets go of the journals.
    pub fn close(&self) {
        self.place.close();
        self.place.context.former.close();
    }

    /// What its journals hold and did, as far as they are open.
    pub fn stats(&self) -> Option<Stats> {
        let journals = self.place.held().into_iter().chain(self.place.context.former.busy());
        journals.map(|journal| journal.stats()).reduce(|one, other| one.and(&other))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::channel,
        task::{Context, Waker},
        time::Instant,
    };

    use super::*;
    use crate::{
        schema::{Size, StorePath},
        writeback::journal::tests::{Scratch, drain, wait, write},
    };

    const LIMIT: u64 = 1 << 20;

    pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(20), "not in 20 seconds: {what}");
            std::thread::yield_now();
        }
    }

    /// Whoever gets 202 for it later finds it, and it is delivered.
    #[test]
    fn a_former_journal_stays_while_a_write_is_under_way() {
        let (scratch, context) = (Scratch::new(), FormerJournals::default());
        let (go, stall) = channel::<()>();
        let journal = Journal::open_stalled(&scratch.options(LIMIT, LIMIT), move || _ = stall.recv());
        let appended = journal.append(write("/a", b"new"));
        journal.clone().end(&context);
        assert_eq!(context.former.busy().len(), 1, "a write is on its way into it");
        // This, and the one among the former: no cache has it.
        assert!(journal.is_needed(2));
        drop(go);
        wait(appended).unwrap();
        let busy = context.former.busy();
        assert!(busy.iter().any(|journal| journal.latest(b"/a").is_some()));
        drop(busy);
        assert!(journal.is_needed(2));
        assert_eq!(drain(&journal).len(), 1);
        assert_eq!(context.former.busy().len(), 0, "nothing waits in it any more");
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
        assert_eq!(back.place.context.former.busy().len(), 0);
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
        back.place.context.journals.close();
        back.keep(&journal);
        assert!(back.latest(b"/a").is_none());
        back.place.context.journals.finish();
        assert_eq!(Arc::strong_count(&journal), 1);
    }

    /// The configuration that an upgrade began with asks for it, and a newer one does not, while the program before has it
    /// still: what waits in it was acknowledged.
    #[test]
    fn a_journal_no_longer_awaited_is_delivered_from() {
        for is_gone in [false, true] {
            let (scratch, journals) = (Scratch::new(), Arc::<Journals>::default());
            let path = scratch.options(LIMIT, LIMIT).path;
            let before = Journal::open(&Options::new(&path, LIMIT)).unwrap();
            wait(before.append(write("/a", b"new"))).unwrap();
            let back = WriteBack::new(journals.clone());
            let conf = Some(JournalConf { path: StorePath(path), size: Size(LIMIT) });
            back.place.start("c", &conf, true).unwrap();
            back.place.apply(back.place.prepare(&None).unwrap());
            assert!(!back.is_ready(false), "nobody knows what waits in it");
            let back = Some(back).filter(|_| !is_gone);
            drop(before);
            until("it is delivered from", || !journals.in_force().is_empty());
            let journal = journals.in_force().remove(0);
            assert!(journal.latest(b"/a").is_some());
            if let Some(back) = back {
                until("all is known", || back.is_ready(false));
                assert!(!back.place.is_open() && back.latest(b"/a").is_some());
            }
            assert_eq!(drain(&journal).len(), 1);
            assert_eq!(journals.in_force().len(), 1, "it is held here");
            drop(journal);
            assert!(journals.in_force().is_empty(), "nothing waits in it, {is_gone}");
            journals.finish();
        }
    }

    #[test]
    fn a_journal_awaited_earlier_comes_back_in_force_alone() {
        let (scratch, journals) = (Scratch::new(), Arc::<Journals>::default());
        let path = scratch.options(LIMIT, LIMIT).path;
        let back = WriteBack::new(journals.clone());
        let conf = Some(JournalConf { path: StorePath(path.clone()), size: Size(LIMIT) });
        let open = || back.place.prepare(&conf);
        let change = open().unwrap();
        assert!(!journals.adopt(&path, LIMIT, &Arc::downgrade(&back.place.context.former)).unwrap());
        back.place.apply(change);
        assert!(journals.adopt(&path, LIMIT, &Arc::downgrade(&back.place.context.former)).unwrap());
        wait(back.journal().unwrap().append(write("/a", b"new"))).unwrap();
        assert_eq!(back.place.context.former.busy().len(), 0);
        // And the other way round.
        back.place.apply(back.place.prepare(&None).unwrap());
        assert_eq!(back.place.context.former.busy().len(), 1);
        back.place.apply(open().unwrap());
        assert_eq!(back.place.context.former.busy().len(), 0);
    }

    /// Their routes may have had the other one before.
    #[test]
    fn what_one_cache_accepted_the_others_know() {
        let (first, second, journals) = (Scratch::new(), Scratch::new(), Arc::<Journals>::default());
        let open = |scratch: &Scratch| {
            let back = WriteBack::new(journals.clone());
            let path = StorePath(scratch.options(LIMIT, LIMIT).path);
            back.place.apply(back.place.prepare(&Some(JournalConf { path, size: Size(LIMIT) })).unwrap());
            back
        };
        let (one, other, without) = (open(&first), open(&second), WriteBack::new(journals.clone()));
        assert!(!journals.is_owing());
        let journal = one.journal().unwrap();
        wait(journal.append(write("/a", b"new"))).unwrap();
        assert!(journals.is_owing());
        let mut cx = Context::from_waker(Waker::noop());
        let mut is_held_up = |back: &WriteBack, uri: &[u8]| {
            assert_eq!(
                back.latest(uri).is_some(),
                Box::pin(back.until_delivered(uri)).as_mut().poll(&mut cx).is_pending()
            );
            Box::pin(back.until_former_delivered(uri)).as_mut().poll(&mut cx).is_pending()
        };
        assert!(is_held_up(&other, b"/a") && is_held_up(&without, b"/a"));
        assert!(!is_held_up(&one, b"/a"), "it goes behind it by itself");
        assert!(one.latest(b"/a").is_some() && !is_held_up(&other, b"/b"));
        assert_eq!(drain(&journal).len(), 1);
        assert!(!is_held_up(&other, b"/a") && !is_held_up(&without, b"/a") && !journals.is_owing());
    }

    /// Another upgrade: the next program has the folder from here on.
    #[test]
    fn a_journal_no_longer_awaited_is_left_when_closed() {
        let (scratch, journals) = (Scratch::new(), Arc::<Journals>::default());
        let path = scratch.options(LIMIT, LIMIT).path;
        let former = Arc::<Former>::default();
        drop(Journal::open(&Options::new(&path, LIMIT)).unwrap());
        former.close();
        journals.close();
        assert!(journals.adopt(&path, LIMIT, &Arc::downgrade(&former)).unwrap());
        assert!(journals.in_force().is_empty());
        journals.finish();
        assert!(Journal::open(&Options::new(&path, LIMIT)).is_ok());
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
