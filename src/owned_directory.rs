//! Something that is in a folder: how it is opened, changed and closed over the generations of the configuration. The
//! folder has one owner at a time.
//!
//! Invariants: what is opened for a configuration counts from [`OwnedDirectory::apply`] on only; dropped before that,
//! nothing has changed. A folder that stays the same is not opened again.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
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
    /// As [`Held::Context`] says.
    pub context: T::Context,
}

impl<T: Held> Default for OwnedDirectory<T> {
    fn default() -> Self {
        Self::new(T::Context::default())
    }
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
        Self { open: ArcSwapOption::empty(), context }
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

    /// Puts in force what was prepared.
    pub fn apply(&self, change: Change<T>) {
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
        self.open.store(None);
    }

    /// Opens what a configuration asks for and puts it in force, at a start. A program that takes over from another
    /// waits for that to be done with the folder, in the background, and goes on without it meanwhile; `cache` is whose
    /// it is, for the log.
    pub fn start(self: &Arc<Self>, cache: &str, conf: &T::Conf, takes_over: bool) -> io::Result<()> {
        match self.prepare(conf) {
            Ok(change) => self.apply(change),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && takes_over => {
                let (place, cache, conf) = (self.clone(), cache.to_owned(), conf.clone());
                let name = format!("cache-{}", T::NAME);
                std::thread::Builder::new().name(name).spawn(move || place.wait(&cache, &conf))?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn wait(&self, cache: &str, conf: &T::Conf) {
        loop {
            std::thread::sleep(AGAIN);
            match self.prepare(conf) {
                // A reload may have come first, and has its own way.
                Ok(_) if self.is_open() => return,
                Ok(change) => {
                    self.apply(change);
                    tracing::info!(cache, "took over the {} of the cache", T::NAME);
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
