//! The part of a reload that takes its time: reading, checking, building. On a thread of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{plan::Hashes, watch};
use crate::{
    cache::store::{Cache, CannotOpen, Change},
    config::{self, Beside, Config, Problems, Step, include::Included},
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
    /// What it includes; what is there now when there is none.
    pub(super) included: Option<Arc<[Included]>>,
    pub(super) overrides: Overrides,
    /// Where names of backends lead.
    pub(super) names: Addresses,
    pub(super) shared: Arc<Shared>,
    pub(super) tickets: Arc<Tickets>,
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
    /// What was in them.
    pub(super) hashes: Hashes,
    /// Whether one of them may have changed meanwhile.
    pub(super) is_overtaken: bool,
}

impl Order {
    /// Reads, checks and builds.
    pub(super) fn prepare(self) -> Result<Prepared, Problems> {
        let begun = SystemTime::now();
        let text = match self.text {
            Some(text) => text,
            None => config::read_text(&self.path)?.into(),
        };
        let beside = self.included.as_ref().map_or(Beside::OnDisk, Beside::Given);
        let (file, included) = config::parse_with(&text, &self.path, beside)?;
        let mut names = self.names;
        let overrides = self.overrides.kept(&file).without_forgotten(&names, Moment::now());
        let mut effective = file.clone();
        overrides.apply(&mut effective);
        names.retain(&effective.upstream);
        effective.clone_from(&file);
        overrides.apply_with(&mut effective, &names);
        let before = self.shared.snapshot.load();
        let builder = Builder {
            generation: before.generation + 1,
            registry: &self.shared.registry,
            tickets: &self.tickets,
            before: Some(&before),
        };
        let snapshot = builder
            .build(effective)
            .map_err(|message| Problems(vec![Problem::with_file(self.path.clone(), message, None)]))?;
        let folders = snapshot
            .caches
            .iter()
            .map(|cache| {
                let problem =
                    |failure| Problems(vec![cannot_open((&text, &self.path), &included, cache, failure)]);
                cache.store.prepare(&cache.conf).map_err(problem)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let files = files(&self.path, &file);
        let mut hashes = watch::hashes(&files);
        // What was read: the file may have been edited since.
        hashes.extend(read_hashes(&self.path, &text, &included));
        let is_overtaken = files.iter().any(|file| is_newer(file, begun));
        Ok(Prepared {
            text,
            included,
            file,
            overrides,
            names,
            snapshot,
            folders,
            files,
            hashes,
            is_overtaken,
        })
    }
}

/// What was read of the configuration's texts comes to.
pub(super) fn read_hashes(path: &Path, text: &str, included: &[Included]) -> Hashes {
    let own = (path.to_owned(), watch::hash(text.as_bytes()));
    let others = included.iter().map(|it| (it.path.clone(), watch::hash(it.text.as_bytes())));
    others.chain([own]).collect()
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

fn is_newer(file: &Path, than: SystemTime) -> bool {
    // The clock of file systems is that of the last tick.
    let modified = file.metadata().and_then(|it| it.modified());
    modified.is_ok_and(|modified| modified + Duration::from_millis(20) >= than)
}
