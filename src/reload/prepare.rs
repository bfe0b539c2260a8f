//! The part of a reload that takes its time: reading, checking, building. On a thread of its own.

use std::{
    collections::HashSet,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{plan::Hashes, state::Failed, watch};
use crate::{
    cache::store::{Cache, CannotOpen, Change},
    config::{self, Beside, Config, Loaded, Problems, Step, include::Included},
    moment::Moment,
    runtime::{Snapshot, addresses::Addresses, build::Builder, overrides::Overrides, worker::Shared},
    schema::Problem,
    tls::tickets::Tickets,
};

/// What to prepare a generation from.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) path: PathBuf,
    /// The text to take; the file's when there is none.
    pub(super) text: Option<Arc<str>>,
    /// What it includes; what [`Self::beside`] lets it include when there is none.
    pub(super) included: Option<Arc<[Included]>>,
    pub(super) beside: Beside<'static>,
    pub(super) known: Known,
    pub(super) overrides: Overrides,
    /// Where names of backends lead.
    pub(super) names: Addresses,
    pub(super) shared: Arc<Shared>,
    pub(super) tickets: Arc<Tickets>,
}

/// What is known of the files that a generation is made of before they are read.
#[derive(Debug)]
pub(super) enum Known {
    /// They were tried last, and are looked at anew.
    Files(Vec<PathBuf>),
    /// What was in those that are in force, which hold for whatever is read of them now.
    Hashes(Hashes),
}

/// A configuration that is read and checked.
#[derive(Debug)]
struct Read {
    order: Order,
    text: Arc<str>,
    included: Arc<[Included]>,
    file: Config,
    files: Vec<PathBuf>,
    hashes: Hashes,
}

/// A generation that is built, and has nothing yet.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) text: Arc<str>,
    pub(super) included: Arc<[Included]>,
    pub(super) file: Config,
    pub(super) overrides: Overrides,
    pub(super) names: Addresses,
    pub(super) snapshot: Snapshot,
    /// What becomes of the folders of its caches, in their order.
    pub(super) folders: Vec<Change>,
    /// The files that it was made of.
    pub(super) files: Vec<PathBuf>,
    /// What was in them before they were read: what was read of one that changed since may be either.
    pub(super) hashes: Hashes,
}

impl Order {
    /// Reads, checks and builds.
    pub(super) fn prepare(self) -> Result<Prepared, Failed> {
        self.read()?.build()
    }

    fn read(self) -> Result<Read, Problems> {
        let begun = SystemTime::now();
        // Before they are read: a file that changes later is looked at again, also where the new one was read.
        let mut hashes = match &self.known {
            Known::Files(files) => watch::hashes(files),
            Known::Hashes(hashes) => hashes.clone(),
        };
        let text = match &self.text {
            Some(text) => text.clone(),
            None => config::read_text(&self.path)?.into(),
        };
        let (file, included, files) = loop {
            let beside = self.included.as_ref().map_or(self.beside, Beside::Given);
            let (file, included) = config::parse_with(&text, &self.path, beside)?;
            let files = files(&self.path, &file);
            let new: Vec<PathBuf> = files.iter().filter(|it| !hashes.contains_key(*it)).cloned().collect();
            hashes.extend(watch::hashes(&new));
            // One that was not named before may have been another a moment ago.
            if !new.iter().any(|file| is_newer(file, begun)) {
                break (file, included, files);
            }
        };
        let named: HashSet<&PathBuf> = files.iter().collect();
        hashes.retain(|file, _| named.contains(file));
        // What was read: the file may have been edited since.
        hashes.extend(read_hashes(&self.path, &text, &included));
        Ok(Read { order: self, text, included, file, files, hashes })
    }
}

impl Read {
    fn build(self) -> Result<Prepared, Failed> {
        let Self { order, text, included, file, files, hashes } = self;
        let mut names = order.names;
        let overrides = order.overrides.kept(&file).without_forgotten(&names, Moment::now());
        let mut effective = file.clone();
        overrides.apply(&mut effective);
        names.retain(&effective.upstream);
        effective.clone_from(&file);
        overrides.apply_with(&mut effective, &names);
        let before = order.shared.snapshot.load();
        let builder = Builder {
            generation: before.generation + 1,
            registry: &order.shared.registry,
            tickets: &order.tickets,
            before: Some(&before),
        };
        // The text is good: of the files that it names one is another since, or cannot be read a second time.
        let snapshot = builder.build(effective).map_err(|message| {
            Failed::Lacking(Problems(vec![Problem::with_file(order.path.clone(), message, None)]))
        })?;
        let folders = snapshot
            .caches
            .iter()
            .map(|cache| {
                let problem = |failure: CannotOpen| {
                    let another = of_another(&before.caches, cache).filter(|_| failure.part == "disk");
                    let failure = CannotOpen { hint: another.or(failure.hint), ..failure };
                    Problems(vec![cannot_open((&text, &order.path), &included, cache, failure)])
                };
                cache.store.prepare(&cache.conf).map_err(|failure| Failed::Lacking(problem(failure)))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Prepared { text, included, file, overrides, names, snapshot, folders, files, hashes })
    }
}

/// What is in the files of a configuration that was read a moment ago, before anything is built of it.
pub fn hashes_of(loaded: &Loaded) -> Hashes {
    let mut hashes = watch::hashes(&files(&loaded.path, &loaded.config));
    // What was read: the file may have been edited since.
    hashes.extend(read_hashes(&loaded.path, &loaded.text, &loaded.included));
    hashes
}

/// What was read of the configuration's texts comes to.
fn read_hashes(path: &Path, text: &str, included: &[Included]) -> Hashes {
    let own = (path.to_owned(), watch::hash(text.as_bytes()));
    let others = included.iter().map(|it| (it.path.clone(), watch::hash(it.text.as_bytes())));
    others.chain([own]).collect()
}

/// What to do where another cache has the folder: it is free once a configuration is in force by which that has another, or
/// none. A cache with a new name alone has its own.
fn of_another(before: &[Arc<Cache>], cache: &Cache) -> Option<String> {
    let is_other = |other: &&Arc<Cache>| {
        !Arc::ptr_eq(&other.store, &cache.store) && other.conf.has_folder_of(&cache.conf)
    };
    let name = &before.iter().find(is_other)?.conf.name;
    Some(format!(
        "cache `{name}` has this folder as long as this configuration is not in force: give that one another `path` in one \
         reload, and this one its folder in the next"
    ))
}

/// Why a folder of a cache could not be opened, at the place that names it.
pub fn cannot_open(
    text: (&str, &Path),
    included: &[Included],
    cache: &Cache,
    failure: CannotOpen,
) -> Problem {
    let CannotOpen { part, message, hint } = failure;
    let steps = [Step::Key("cache"), Step::Named(&cache.conf.name), Step::Key(part), Step::Key("path")];
    config::problem_at(text, included, &steps, &message, hint.as_deref())
}

/// The configuration file and those that it names.
pub(super) fn files(path: &Path, config: &Config) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    files.extend(config.files());
    files
}

/// Whether a file changed after that: was written, or renamed to this name.
fn is_newer(file: &Path, than: SystemTime) -> bool {
    file.metadata().is_ok_and(|it| {
        let seconds = u64::try_from(it.ctime()).unwrap_or_default();
        let changed = Duration::new(seconds, u32::try_from(it.ctime_nsec()).unwrap_or_default());
        // The clock of file systems is that of the last tick.
        SystemTime::UNIX_EPOCH + changed + Duration::from_millis(20) >= than
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use arc_swap::ArcSwap;

    use super::*;
    use crate::{
        runtime::{build, drain::Drain, registry::Registry},
        tls::demo::demo_certificates,
    };

    #[test]
    fn file_that_changes_while_it_is_built_counts_anew() {
        let folder = std::env::temp_dir().join(format!("pointsman-prepare-{}", std::process::id()));
        demo_certificates(&folder).unwrap();
        let (path, chain) = (folder.join("x.toml"), folder.join("demo.pem"));
        let text = "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\nprotocol = \"https\"\n\
            certificate = [{ chain = \"demo.pem\", key = \"demo.key\" }]\n\
            [[route]]\nname = \"r\"\nrespond = { status = 200 }\n";
        fs::write(&path, text).unwrap();
        let (registry, tickets) = (Registry::new(1), Tickets::new(Moment(1)).unwrap());
        let first = build::build(config::parse(text, &path).unwrap(), 1, &registry, &tickets).unwrap();
        let snapshot = ArcSwap::from_pointee(first);
        let shared = Arc::new(Shared { snapshot, registry, drain: Drain::default(), flows: Arc::default() });
        let files = files(&path, &config::parse(text, &path).unwrap());
        for known in
            [Known::Files(Vec::new()), Known::Files(files.clone()), Known::Files(vec![folder.clone()])]
        {
            let order = Order {
                path: path.clone(),
                text: None,
                included: None,
                beside: Beside::OnDisk,
                known,
                overrides: Overrides::default(),
                names: Addresses::default(),
                shared: shared.clone(),
                tickets: tickets.clone(),
            };
            let read = order.read().unwrap();
            let before = watch::hashes(&files);
            demo_certificates(&folder).unwrap();
            let prepared = read.build().unwrap();
            assert_eq!(prepared.hashes, before);
            assert_ne!(prepared.hashes[&chain], watch::hashes(&files)[&chain]);
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
