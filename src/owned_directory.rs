//! Something that is in a folder: how it is opened, changed and closed over the generations of the configuration. The
//! folder has one owner at a time.
//!
//! Invariants: what is opened for a configuration counts from [`OwnedDirectory::apply`] on only; dropped before that,
//! nothing has changed. A folder that stays the same, or that comes back while somebody still uses it, is not opened again.
//! Who waits for a folder opens it only while nothing else was asked for.

mod attempts;

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;

pub use self::attempts::Attempts;

/// What is in a folder.
pub trait Held: fmt::Debug + Send + Sync + Sized + 'static {
    /// The part of the configuration that asks for it.
    type Conf: Clone + fmt::Debug + Send + Sync + 'static;
    /// What it needs to be opened, and to be known by.
    type Context: fmt::Debug + Default + Send + Sync;

    /// What it is, for people.
    const NAME: &'static str;

    /// The folder and the size that a configuration asks for, if it does.
    fn asked(conf: &Self::Conf) -> Option<(&Path, u64)>;

    /// Opens it. Waits for the disk; [`io::ErrorKind::WouldBlock`] while another program has the folder.
    fn open(conf: &Self::Conf, folder: (&Path, u64), context: &Self::Context) -> io::Result<Arc<Self>>;

    /// Takes on what a configuration says of it, and this size.
    fn take_on(&self, conf: &Self::Conf, size: u64);

    /// Another program has this folder, and it is waited for from here on.
    fn wait_for(_path: &Path, _context: &Self::Context) {}

    /// It is in force from here on.
    fn begin(self: &Arc<Self>, _path: &Path, _context: &Self::Context) {}

    /// It is in force, and whoever asks from here on finds it.
    fn begun(self: &Arc<Self>, _path: &Path, _context: &Self::Context) {}

    /// What is in this folder, or was to be, is not in force from here on.
    fn leave(_path: &Path, _context: &Self::Context) {}

    /// What was to be in a folder is not waited for any more to be in force.
    fn leave_awaited(conf: &Self::Conf, context: &Self::Context) {
        Self::asked(conf).into_iter().for_each(|(path, _)| Self::leave(path, context));
    }

    /// Another one, or none, is in force.
    fn end(self: Arc<Self>, _context: &Self::Context) {}
}

/// Where something in a folder is, if it is.
#[derive(Debug)]
pub struct OwnedDirectory<T: Held> {
    open: ArcSwapOption<Open<T>>,
    /// Held by whoever changes what is open.
    asked: Mutex<Asked<T::Conf>>,
    /// Whether a folder is waited for: until what comes of that is in force.
    is_waiting: AtomicBool,
    /// Whether a configuration asked for a folder, ever.
    is_used: AtomicBool,
    /// What was opened in each folder. Held for a moment at a time, as the next one is.
    opened: Mutex<HashMap<PathBuf, Weak<T>>>,
    /// What was in force when another program was to have it.
    left: Mutex<Weak<T>>,
    /// As [`Held::Context`] says.
    pub context: T::Context,
}

impl<T: Held> Default for OwnedDirectory<T> {
    fn default() -> Self {
        Self::new(T::Context::default())
    }
}

#[derive(Debug)]
struct Asked<C> {
    /// How often something was asked for.
    times: u64,
    /// Whether another program is to have the folder.
    is_closed: bool,
    /// What asked last for the folder that another program has still, and that is waited for.
    awaited: Option<C>,
}

#[derive(Debug)]
struct Open<T> {
    path: PathBuf,
    held: Arc<T>,
}

/// What a new configuration makes of it: opened, and not in force yet.
#[derive(Debug)]
pub struct Change<T: Held>(Step<T>);

#[derive(Debug)]
enum Step<T: Held> {
    None,
    /// Who waits for the folder goes on.
    Wait(T::Conf),
    Open(Open<T>, T::Conf),
}

/// How often a folder is tried that this program had.
const AGAIN: Duration = Duration::from_millis(100);
/// So often a folder is tried that this program had: who was last to use it may be about to be done with it.
const TRIES: u32 = 50;

impl<T: Held> OwnedDirectory<T> {
    /// Empty, in this context.
    pub fn new(context: T::Context) -> Self {
        Self {
            open: ArcSwapOption::empty(),
            asked: Mutex::new(Asked { times: 0, is_closed: false, awaited: None }),
            is_waiting: AtomicBool::new(false),
            is_used: AtomicBool::new(false),
            opened: Mutex::default(),
            left: Mutex::default(),
            context,
        }
    }

    /// Opens what a configuration asks for, without putting it in force. Waits for the disk.
    pub fn prepare(&self, conf: &T::Conf) -> io::Result<Change<T>> {
        let Some((path, size)) = T::asked(conf) else { return Ok(Change(Step::None)) };
        self.is_used.store(true, Release);
        // Else nothing could change as long as the other program takes.
        if is_awaited::<T>(&self.asked(), path) {
            return Ok(Change(Step::Wait(conf.clone())));
        }
        Ok(Change(Step::Open(self.open_folder(conf, (path, size))?, conf.clone())))
    }

    /// What is open in a folder already, or it is opened.
    fn open_folder(&self, conf: &T::Conf, (path, size): (&Path, u64)) -> io::Result<Open<T>> {
        let mut tries = TRIES;
        let held = loop {
            let known = self.opened().get(path).cloned();
            if let Some(held) = known.as_ref().and_then(Weak::upgrade) {
                break held;
            }
            match T::open(conf, (path, size), &self.context) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && known.is_some() && tries > 0 => {
                    tries -= 1;
                    std::thread::sleep(AGAIN);
                }
                opened => break opened?,
            }
        };
        self.opened().insert(path.to_owned(), Arc::downgrade(&held));
        Ok(Open { path: path.to_owned(), held })
    }

    /// Puts in force what was prepared, unless it was let go of.
    pub fn apply(&self, change: Change<T>) {
        let mut asked = self.asked();
        if asked.is_closed {
            return;
        }
        match change.0 {
            Step::Wait(conf) => self.go_on(&mut asked, conf),
            Step::None => {
                self.stop_waiting(&mut asked);
                self.replace(None);
            }
            Step::Open(open, conf) => {
                self.stop_waiting(&mut asked);
                self.put(open, &conf);
            }
        }
    }

    /// Takes out of force what is here, as a configuration does that asks for nothing.
    pub fn take_out(&self) {
        self.apply(Change(Step::None));
    }

    fn asked(&self) -> MutexGuard<'_, Asked<T::Conf>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<PathBuf, Weak<T>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who waits for a folder has a newer configuration for it, or had it just opened.
    fn go_on(&self, asked: &mut Asked<T::Conf>, conf: T::Conf) {
        let Some((path, size)) = T::asked(&conf) else { return };
        if is_awaited::<T>(asked, path) {
            asked.awaited = Some(conf);
        } else if let Some(open) = self.open.load().as_ref().filter(|open| open.path == path) {
            open.held.take_on(&conf, size);
        }
    }

    /// Something else is asked for.
    fn stop_waiting(&self, asked: &mut Asked<T::Conf>) {
        asked.times += 1;
        if let Some(conf) = asked.awaited.take() {
            T::leave_awaited(&conf, &self.context);
            self.is_waiting.store(false, Release);
        }
    }

    fn put(&self, open: Open<T>, conf: &T::Conf) {
        T::asked(conf).into_iter().for_each(|(_, size)| open.held.take_on(conf, size));
        // Two generations may have been prepared before either was in force.
        if self.is_held(&open.held) {
            return;
        }
        open.held.begin(&open.path, &self.context);
        let open = Arc::new(open);
        self.replace(Some(open.clone()));
        open.held.begun(&open.path, &self.context);
    }

    fn replace(&self, open: Option<Arc<Open<T>>>) {
        self.open.load().iter().for_each(|before| T::leave(&before.path, &self.context));
        if let Some(before) = self.open.swap(open) {
            before.held.clone().end(&self.context);
        }
    }

    /// Lets go of it: the folder is free for another program once nobody uses it any more. Gives what was in force.
    pub fn close(&self) -> Option<Arc<T>> {
        let mut asked = self.asked();
        asked.times += 1;
        asked.is_closed = true;
        asked.awaited = None;
        let held = self.open.swap(None).map(|open| open.held.clone());
        if let Some(held) = &held {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(held);
        }
        self.is_waiting.store(false, Release);
        held
    }

    /// Opens what a configuration asks for and puts it in force, at a start. A program that takes over from another
    /// waits for that to be done with the folder, in the background, and goes on without it meanwhile; `cache` is whose
    /// it is, for the log.
    pub fn start(self: &Arc<Self>, cache: &str, conf: &T::Conf, takes_over: bool) -> io::Result<()> {
        match self.prepare(conf) {
            Ok(change) => self.apply(change),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && takes_over => {
                let mut asked = self.asked();
                asked.awaited = Some(conf.clone());
                T::asked(conf).into_iter().for_each(|(path, _)| T::wait_for(path, &self.context));
                self.is_waiting.store(true, Release);
                // A cache that is gone needs nothing of it.
                let (place, cache, times) = (Arc::downgrade(self), cache.to_owned(), asked.times);
                let name = format!("cache-{}", T::NAME);
                std::thread::Builder::new().name(name).spawn(move || wait(&place, &cache, times))?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Opens the folder that is waited for, and puts it in force unless something else was asked for since there were so
    /// many; false where that was, and nothing is open for it.
    fn open_unless_changed(&self, times: u64) -> io::Result<bool> {
        let asked = self.asked();
        let Some(conf) = asked.awaited.clone().filter(|_| asked.times == times) else { return Ok(false) };
        drop(asked);
        let Some((path, size)) = T::asked(&conf) else { return Ok(false) };
        let open = self.open_folder(&conf, (path, size))?;
        // Opening it took its time.
        let mut now = self.asked();
        if now.times != times {
            return Ok(false);
        }
        now.times += 1;
        let newest = now.awaited.take();
        self.put(open, newest.as_ref().unwrap_or(&conf));
        self.is_waiting.store(false, Release);
        Ok(true)
    }

    /// What is in force.
    pub fn held(&self) -> Option<Arc<T>> {
        self.open.load().as_ref().map(|open| open.held.clone())
    }

    /// The same; and where another program is to have the folder, what was in force, as long as somebody uses it: until
    /// then that program cannot have it.
    pub fn held_still(&self) -> Option<Arc<T>> {
        self.held().or_else(|| self.left.lock().unwrap_or_else(PoisonError::into_inner).upgrade())
    }

    /// Whether this is in force.
    pub fn is_held(&self, held: &Arc<T>) -> bool {
        self.open.load().as_ref().is_some_and(|open| Arc::ptr_eq(&open.held, held))
    }

    /// Whether something is in force.
    pub fn is_open(&self) -> bool {
        self.open.load().is_some()
    }

    /// Whether it was let go of, for another program to have.
    pub fn is_closed(&self) -> bool {
        self.asked().is_closed
    }

    /// Whether a folder is waited for. Who was told that none is finds what came of it in force, if something did.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting.load(Acquire)
    }

    /// Whether a configuration asked for a folder, ever.
    pub fn is_used(&self) -> bool {
        self.is_used.load(Acquire)
    }
}

fn is_awaited<T: Held>(asked: &Asked<T::Conf>, path: &Path) -> bool {
    asked.awaited.as_ref().and_then(T::asked).is_some_and(|(awaited, _)| awaited == path)
}

/// Waits until another program is done with a folder, and opens it; no longer than it is wanted.
fn wait<T: Held>(place: &Weak<OwnedDirectory<T>>, cache: &str, times: u64) {
    let mut attempts = Attempts::default();
    loop {
        attempts.pause();
        let Some(place) = place.upgrade() else { return };
        match place.open_unless_changed(times) {
            Ok(is_open) => {
                if is_open {
                    tracing::info!(cache, "took over the {} of the cache", T::NAME);
                }
                return;
            }
            Err(error) => {
                if attempts.failed(&error) {
                    tracing::error!(cache, "the {} of the cache cannot be opened yet: {error}", T::NAME);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[derive(Debug)]
    struct Folder;

    #[derive(Clone, Debug)]
    struct Conf {
        path: Option<PathBuf>,
        /// What all have in common.
        state: Arc<State>,
    }

    #[derive(Debug, Default)]
    struct State {
        is_taken: AtomicBool,
        /// So often there is no room for it.
        is_full: AtomicUsize,
        refused: AtomicUsize,
        opened: AtomicUsize,
    }

    impl Held for Folder {
        type Conf = Conf;
        type Context = ();

        const NAME: &'static str = "folder";

        fn asked(conf: &Conf) -> Option<(&Path, u64)> {
            conf.path.as_deref().map(|path| (path, 1))
        }

        fn open(conf: &Conf, _: (&Path, u64), (): &()) -> io::Result<Arc<Self>> {
            if conf.state.is_taken.load(SeqCst) {
                conf.state.refused.fetch_add(1, SeqCst);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            if conf.state.is_full.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            conf.state.opened.fetch_add(1, SeqCst);
            Ok(Arc::new(Self))
        }

        fn take_on(&self, _: &Conf, _: u64) {}
    }

    /// What becomes of a place that waits for a folder, once `then` was done and another program has given it up: whether
    /// it is open, and how often it was opened.
    fn after(then: impl FnOnce(&OwnedDirectory<Folder>)) -> (bool, usize) {
        after_errors(0, then)
    }

    /// The same where opening it fails so often then.
    fn after_errors(errors: usize, then: impl FnOnce(&OwnedDirectory<Folder>)) -> (bool, usize) {
        let place = Arc::new(OwnedDirectory::<Folder>::default());
        let state = Arc::new(State { is_taken: true.into(), is_full: errors.into(), ..State::default() });
        let conf = Conf { path: Some("/disk".into()), state: state.clone() };
        place.start("c", &conf, true).unwrap();
        assert!(!place.is_open());
        then(&place);
        state.is_taken.store(false, SeqCst);
        // Who waits has a place of its own.
        while Arc::weak_count(&place) > 0 || Arc::strong_count(&place) > 1 {
            std::thread::yield_now();
        }
        (place.is_open(), state.opened.load(SeqCst))
    }

    #[test]
    fn a_folder_that_is_given_up_is_opened() {
        assert_eq!(after(|_| {}), (true, 1));
    }

    /// There was no room, or no descriptor, just when the other program let go: without the folder until the next start,
    /// acknowledged writes would not be delivered, and no reload of the same configuration would help.
    #[test]
    fn a_folder_that_cannot_be_opened_once_is_opened_later() {
        assert_eq!(after_errors(2, |_| {}), (true, 1));
        assert_eq!(after_errors(2, |place| drop(place.close())), (false, 0), "it is not wanted any more");
    }

    /// A reload that took it away would be undone, and another program could not have it.
    #[test]
    fn a_folder_that_is_not_wanted_is_not_opened() {
        let reload = |path: Option<&'static str>| {
            move |place: &OwnedDirectory<Folder>| {
                let conf = Conf { path: path.map(Into::into), state: Arc::default() };
                place.apply(place.prepare(&conf).unwrap());
            }
        };
        assert_eq!(after(reload(None)), (false, 0));
        assert_eq!(after(reload(Some("/other"))), (true, 0), "the other is open");
        assert_eq!(after(|place| drop(place.close())), (false, 0));
        let closed_in_a_reload = |place: &OwnedDirectory<Folder>| {
            let conf = Conf { path: Some("/other".into()), state: Arc::default() };
            let change = place.prepare(&conf).unwrap();
            place.close();
            place.apply(change);
        };
        assert_eq!(after(closed_in_a_reload), (false, 0));
    }

    /// Else no reload, no change by an administrator and no new address of a name would come into force meanwhile.
    #[test]
    fn a_reload_that_keeps_a_folder_waits_for_it_too() {
        let keeps = |place: &OwnedDirectory<Folder>| {
            let state = Arc::new(State { is_taken: true.into(), ..State::default() });
            let conf = Conf { path: Some("/disk".into()), state: state.clone() };
            place.apply(place.prepare(&conf).unwrap());
            assert!(!place.is_open());
            state.is_taken.store(false, SeqCst);
        };
        assert_eq!(after(keeps), (true, 0), "by the newer configuration");
    }

    /// Somebody reads from it still, or another generation was prepared for it just before.
    #[test]
    fn a_folder_that_is_open_is_not_opened_again() {
        let place = OwnedDirectory::<Folder>::default();
        let state = Arc::<State>::default();
        let prepare = |path: Option<&'static str>| {
            place.prepare(&Conf { path: path.map(Into::into), state: state.clone() }).unwrap()
        };
        let (first, second) = (prepare(Some("/disk")), prepare(Some("/disk")));
        place.apply(first);
        let held = place.held().unwrap();
        place.apply(second);
        assert!(place.is_held(&held));
        place.apply(prepare(None));
        assert!(!place.is_open());
        place.apply(prepare(Some("/disk")));
        assert!(place.is_held(&held));
        assert_eq!(state.opened.load(SeqCst), 1);
    }

    /// Who was last to use it writes what was on its way, and then lets go of it.
    #[test]
    fn a_folder_that_was_just_let_go_is_waited_for() {
        let place = OwnedDirectory::<Folder>::default();
        let state = Arc::<State>::default();
        let prepare = |path: Option<&'static str>| {
            place.prepare(&Conf { path: path.map(Into::into), state: state.clone() })
        };
        place.apply(prepare(Some("/disk")).unwrap());
        place.apply(prepare(None).unwrap());
        state.is_taken.store(true, SeqCst);
        assert!(prepare(Some("/other")).is_err(), "another program's");
        std::thread::scope(|scope| {
            let refused = state.refused.load(SeqCst);
            let opening = scope.spawn(|| prepare(Some("/disk")).is_ok());
            // It is tried while somebody has it, and again.
            while state.refused.load(SeqCst) == refused {
                std::thread::yield_now();
            }
            state.is_taken.store(false, SeqCst);
            assert!(opening.join().unwrap());
        });
        assert_eq!(state.opened.load(SeqCst), 2);
    }
}
