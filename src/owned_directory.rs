//! Something that is in a folder: how it is opened, changed and closed over the generations of the configuration. The
//! folder has one owner at a time.
//!
//! Invariants: what is opened for a configuration counts from [`OwnedDirectory::apply`] on only; dropped before that,
//! nothing has changed. A folder that stays the same is not opened again. Who waits for a folder opens it only while
//! nothing else was asked for.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwapOption;

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

    /// Gives it another size.
    fn set_limit(&self, limit: u64);

    /// It is in force from here on.
    fn begin(self: &Arc<Self>, _context: &Self::Context) {}

    /// Another one, or none, is in force.
    fn end(self: Arc<Self>, _context: &Self::Context) {}
}

/// Where something in a folder is, if it is.
#[derive(Debug)]
pub struct OwnedDirectory<T: Held> {
    open: ArcSwapOption<Open<T>>,
    /// Held by whoever changes what is open.
    asked: Mutex<Asked>,
    /// As [`Held::Context`] says.
    pub context: T::Context,
}

impl<T: Held> Default for OwnedDirectory<T> {
    fn default() -> Self {
        Self::new(T::Context::default())
    }
}

#[derive(Debug, Default)]
struct Asked {
    /// How often something was asked for.
    times: u64,
    /// Whether another program is to have the folder.
    is_closed: bool,
}

#[derive(Debug)]
struct Open<T> {
    path: PathBuf,
    held: Arc<T>,
}

/// What a new configuration makes of it: opened, and not in force yet.
#[derive(Debug)]
pub struct Change<T>(Step<T>);

#[derive(Debug)]
enum Step<T> {
    None,
    Keep(u64),
    Open(Open<T>, u64),
}

/// How often a folder is tried that another program has still.
const AGAIN: Duration = Duration::from_millis(100);

impl<T: Held> OwnedDirectory<T> {
    /// Empty, in this context.
    pub fn new(context: T::Context) -> Self {
        Self { open: ArcSwapOption::empty(), asked: Mutex::default(), context }
    }

    /// Opens what a configuration asks for, without putting it in force. Waits for the disk.
    pub fn prepare(&self, conf: &T::Conf) -> io::Result<Change<T>> {
        let Some((path, size)) = T::asked(conf) else { return Ok(Change(Step::None)) };
        if self.open.load().as_ref().is_some_and(|open| open.path == path) {
            return Ok(Change(Step::Keep(size)));
        }
        let held = T::open(conf, (path, size), &self.context)?;
        Ok(Change(Step::Open(Open { path: path.to_owned(), held }, size)))
    }

    /// Puts in force what was prepared, unless it was let go of.
    pub fn apply(&self, change: Change<T>) {
        let mut asked = self.asked();
        asked.times += 1;
        if !asked.is_closed {
            self.put(change);
        }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, change: Change<T>) {
        match change.0 {
            Step::None => self.replace(None),
            Step::Keep(limit) => {
                if let Some(open) = &*self.open.load() {
                    open.held.set_limit(limit);
                }
            }
            Step::Open(open, limit) => {
                open.held.set_limit(limit);
                open.held.begin(&self.context);
                self.replace(Some(Arc::new(open)));
            }
        }
    }

    fn replace(&self, open: Option<Arc<Open<T>>>) {
        if let Some(before) = self.open.swap(open) {
            before.held.clone().end(&self.context);
        }
    }

    /// Lets go of it: the folder is free for another program once nobody uses it any more.
    pub fn close(&self) {
        let mut asked = self.asked();
        asked.times += 1;
        asked.is_closed = true;
        self.open.store(None);
    }

    /// Opens what a configuration asks for and puts it in force, at a start. A program that takes over from another
    /// waits for that to be done with the folder, in the background, and goes on without it meanwhile; `cache` is whose
    /// it is, for the log.
    pub fn start(self: &Arc<Self>, cache: &str, conf: &T::Conf, takes_over: bool) -> io::Result<()> {
        let asked = self.asked().times;
        match self.prepare(conf) {
            Ok(change) => self.apply(change),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && takes_over => {
                // A cache that is gone needs nothing of it.
                let (place, cache, conf) = (Arc::downgrade(self), cache.to_owned(), conf.clone());
                let name = format!("cache-{}", T::NAME);
                std::thread::Builder::new().name(name).spawn(move || wait(&place, &cache, &conf, asked))?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Opens what a configuration asks for, and puts it in force unless something else was asked for since `asked`; false
    /// where that was, and nothing is open for it.
    fn open_unless_changed(&self, conf: &T::Conf, asked: u64) -> io::Result<bool> {
        if self.asked().times != asked {
            return Ok(false);
        }
        let change = self.prepare(conf)?;
        // Opening it took its time.
        let mut now = self.asked();
        if now.times != asked {
            return Ok(false);
        }
        now.times += 1;
        self.put(change);
        Ok(true)
    }

    /// What is in force.
    pub fn held(&self) -> Option<Arc<T>> {
        self.open.load().as_ref().map(|open| open.held.clone())
    }

    /// Whether this is in force.
    pub fn is_held(&self, held: &Arc<T>) -> bool {
        self.open.load().as_ref().is_some_and(|open| Arc::ptr_eq(&open.held, held))
    }

    /// Whether something is in force.
    pub fn is_open(&self) -> bool {
        self.open.load().is_some()
    }
}

/// Waits until another program is done with a folder, and opens it; no longer than it is wanted.
fn wait<T: Held>(place: &Weak<OwnedDirectory<T>>, cache: &str, conf: &T::Conf, asked: u64) {
    loop {
        std::thread::sleep(AGAIN);
        let Some(place) = place.upgrade() else { return };
        match place.open_unless_changed(conf, asked) {
            Ok(is_open) => {
                if is_open {
                    tracing::info!(cache, "took over the {} of the cache", T::NAME);
                }
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::error!(cache, "the {} of the cache cannot be opened: {error}", T::NAME);
                return;
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
                return Err(io::ErrorKind::WouldBlock.into());
            }
            conf.state.opened.fetch_add(1, SeqCst);
            Ok(Arc::new(Self))
        }

        fn set_limit(&self, _: u64) {}
    }

    /// What becomes of a place that waits for a folder, once `then` was done and another program has given it up: whether
    /// it is open, and how often it was opened.
    fn after(then: impl FnOnce(&OwnedDirectory<Folder>)) -> (bool, usize) {
        let place = Arc::new(OwnedDirectory::<Folder>::default());
        let state = Arc::new(State { is_taken: true.into(), ..State::default() });
        let conf = Conf { path: Some("/disk".into()), state: state.clone() };
        place.start("c", &conf, true).unwrap();
        assert!(!place.is_open());
        then(&place);
        state.is_taken.store(false, SeqCst);
        // Who waits has a configuration of its own.
        while Arc::strong_count(&state) > 2 {
            std::thread::yield_now();
        }
        (place.is_open(), state.opened.load(SeqCst))
    }

    #[test]
    fn a_folder_that_is_given_up_is_opened() {
        assert_eq!(after(|_| {}), (true, 1));
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
        assert_eq!(after(|place| place.close()), (false, 0));
        let closed_in_a_reload = |place: &OwnedDirectory<Folder>| {
            let conf = Conf { path: Some("/other".into()), state: Arc::default() };
            let change = place.prepare(&conf).unwrap();
            place.close();
            place.apply(change);
        };
        assert_eq!(after(closed_in_a_reload), (false, 0));
    }
}
