//! A configuration that a store has for many nodes: read at the start, and kept in a file for when the store is gone.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::runtime::{Builder, LocalOptions};
use xxhash_rust::xxh3::xxh3_64;

use super::Failure;
use crate::{
    cluster::store::{
        document::{Document, Source},
        stopped,
    },
    config::{self, Beside, Loaded},
};

/// How long the store may take at the start, where there is a copy to go on with.
const PATIENCE: Duration = Duration::from_secs(5);

/// The source that an argument names; none where it names a file.
pub(super) fn source(config: Option<&Path>) -> Result<Option<Source>, Failure> {
    let text = config.and_then(Path::to_str).and_then(Source::parse);
    text.transpose().map_err(Failure::usage)
}

/// Where the last good copy of what a source has is kept: in the folder that the service manager gives, or in its usual
/// place.
pub(super) fn copy_of(source: &Source) -> PathBuf {
    let folder = std::env::var("STATE_DIRECTORY").ok().filter(|folders| !folders.is_empty());
    let folder = folder.as_deref().map_or("/var/lib/pointsman", |it| it.split(':').next().unwrap_or(it));
    Path::new(folder).join(format!("fleet-{:016x}.toml", xxh3_64(source.url.as_bytes())))
}

/// Reads the configuration: from the store where it is there and good, else the copy. Where the copy says that nodes take
/// turns, it is begun with: a program that begins takes its turn as one that runs does.
pub(super) fn load(source: Source) -> Result<Loaded, Failure> {
    let path = copy_of(&source);
    let copy = path.exists();
    let document = read(&source);
    if let Ok(Some(document)) = &document
        && let Some(mut loaded) = copy_with_turns(&path, document)
    {
        let problem = stopped::find(&path, document);
        let seen = if problem.is_some() { document.revision } else { 0 };
        loaded.fleet = Some(Arc::new(config::Fleet { source, revision: 0, seen, problem }));
        return Ok(loaded);
    }
    let (problem, failure) = match document {
        Ok(Some(document)) => match config::parse_with(&document.text, &path, Beside::Nothing) {
            Ok((config, included)) => {
                keep(&path, &document.text).map_err(|error| {
                    let folder = path.parent().unwrap_or(&path).display();
                    Failure::new(format!(
                        "cannot keep a copy of {} in {folder}: {error}; create the folder, or set \
                         STATE_DIRECTORY",
                        source.url
                    ))
                })?;
                let text = document.text.into();
                let revision = document.revision;
                let fleet = config::Fleet { source, revision, seen: revision, problem: None };
                return Ok(Loaded { path, text, included, config, fleet: Some(Arc::new(fleet)) });
            }
            Err(problems) => (
                format!("the configuration in {} is not valid: {problems}", source.url),
                Failure::usage(problems),
            ),
        },
        Ok(None) => {
            let message = format!("there is no {}", source.url);
            (message.clone(), Failure::usage(format!("{message}; put the configuration there")))
        }
        Err(error) => {
            let message = format!("cannot read {}: {error}", source.url);
            (message.clone(), Failure::new(message))
        }
    };
    if !copy {
        return Err(failure);
    }
    let mut loaded = config::load_file(&path).map_err(Failure::usage)?;
    loaded.fleet = Some(Arc::new(config::Fleet { source, revision: 0, seen: 0, problem: Some(problem) }));
    Ok(loaded)
}

/// The copy, where it is good, is another text than the store's, and says that nodes take turns.
fn copy_with_turns(path: &Path, document: &Document) -> Option<Loaded> {
    let loaded = config::load_file(path).ok()?;
    let has_turns = loaded.config.cluster.as_ref().is_some_and(|cluster| cluster.rollout.is_some());
    (has_turns && *loaded.text != *document.text).then_some(loaded)
}

/// Asks the store.
fn read(source: &Source) -> Result<Option<Document>, String> {
    let runtime =
        Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
    let runtime = runtime.map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async {
        let mut reader = source.open();
        let all = async {
            loop {
                // Each failure goes on to the next server.
                match reader.read().await {
                    Ok(document) => return Ok(document),
                    Err(error) if source.servers() == 1 => return Err(error),
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, all).await
    });
    runtime.shutdown_background();
    answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
}

/// Writes the copy so that it is whole or not there.
fn keep(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    // Without that a power failure may leave the name without the text.
    file.sync_all()?;
    fs::rename(&beside, path)
}
