//! What comes before the proxy itself: finding and reading the configuration, the log, and the limit on
//! descriptors.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Failure, File, fleet};
use crate::{
    config::{
        self, Config, Loaded,
        log::{LogConf, LogFormat},
    },
    listen::handover::Predecessor,
    telemetry::program_log,
};

/// Where the configuration is looked for when none is named, in this order.
const DEFAULT_PATHS: [&str; 2] = ["config/pointsman.toml", "/etc/pointsman/pointsman.toml"];

/// The configuration file: the one that is named, or the first of the default ones that is there.
pub(super) fn find(file: File) -> Result<PathBuf, Failure> {
    if let Some(source) = fleet::source(file.config.as_deref())? {
        let copy = fleet::copy_of(&source);
        return if copy.exists() { Ok(copy) } else { Err(nothing_at(&[&copy])) };
    }
    match file.config {
        Some(path) if path.exists() => Ok(path),
        Some(path) => Err(nothing_at(&[&path])),
        None => {
            let paths = DEFAULT_PATHS.map(Path::new);
            let found = paths.into_iter().find(|path| path.exists());
            found.map(Path::to_owned).ok_or_else(|| nothing_at(&paths))
        }
    }
}

fn nothing_at(tried: &[&Path]) -> Failure {
    let tried: Vec<String> = tried.iter().map(|path| path.display().to_string()).collect();
    Failure::usage(format!(
        "no configuration at {}\n\n  pointsman demo                   see it at work without one\n  \
         pointsman check --config FILE    show what is wrong with a file\n  \
         pointsman run --config FILE      run with a file; docs/getting-started.md shows how to write one",
        tried.join(" or ")
    ))
}

/// Takes over from the program that started this one to take its place, if one did.
pub fn take_over() -> Result<Option<Predecessor>, Failure> {
    Predecessor::take()
        .map_err(|error| Failure::new(format!("cannot take over from the previous program: {error}")))
}

/// Finds and reads the configuration to run with; of one that a store has, a copy is kept.
pub fn load(file: File) -> Result<Loaded, Failure> {
    match fleet::source(file.config.as_deref())? {
        Some(source) => fleet::load(source),
        None => config::load_file(&find(file)?).map_err(Failure::usage),
    }
}

/// What to begin with: the last good copy of what a store has, where `rehearse` says that nobody could serve with that now.
pub fn servable(loaded: Loaded, rehearse: impl FnOnce(&Loaded) -> Result<(), String>) -> Loaded {
    fleet::servable(loaded, rehearse)
}

/// Finds and reads the configuration, and changes nothing: for verbs that only look.
pub(super) fn look(file: File) -> Result<Loaded, Failure> {
    match fleet::source(file.config.as_deref())? {
        Some(source) => fleet::look(source),
        None => config::load_file(&find(file)?).map_err(Failure::usage),
    }
}

/// Whether lines of the log are asked for in JSON, as far as the file can be read: why a start fails is told so too, also
/// where the rest of the file is not good.
pub fn is_json(file: &File) -> bool {
    let path = find(file.clone()).ok();
    path.and_then(|path| config::log::format_in(&path)) == Some(LogFormat::Json)
}

/// Begins the log on standard error.
pub fn begin_log(conf: &LogConf) -> Result<(), Failure> {
    let is_json = match conf.format {
        LogFormat::Auto => None,
        LogFormat::Text => Some(false),
        LogFormat::Json => Some(true),
    };
    program_log::begin(conf.level.filter(), is_json)
        .map_err(|error| Failure::new(format!("cannot open the log: {error}")))
}

/// Logs what of a configuration is worth a second look.
pub fn log_notes(conf: &Config) {
    config::notes(conf).iter().for_each(|note| tracing::warn!("{note}"));
}

/// Raises the limit on open descriptors as far as is allowed. It comes before all else: how many of them connections leave
/// alone goes by the limit that the first one meets, which may be one to a store.
pub fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it stays as it is, that is said once there is a log.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Warns when the connections that the listeners may have do not fit into the limit on open descriptors.
pub fn log_descriptor_limit(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // It was refused before, and says why now.
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!("cannot raise the limit on open descriptors: {error}");
    }
    let needed = descriptors_needed(config);
    match limit.current {
        Some(limit) if limit < needed => tracing::warn!(
            limit,
            needed,
            "the limit on open descriptors is below twice the sum of `max_connections`: \
             raise it (`ulimit -Hn`, `LimitNOFILE=`) or lower `max_connections`"
        ),
        _ => {}
    }
}

/// Leaves the kernel's huge pages alone: with them memory grows in steps of two megabytes, so that an idle connection
/// costs twice as much, and requests are served no faster.
pub fn leave_huge_pages() {
    // Where that cannot be said, more memory is used, and all works.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// A descriptor for each client's connection and one for the backend's.
fn descriptors_needed(config: &Config) -> u64 {
    config.listener.iter().map(|listener| u64::from(listener.max_connections) * 2).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_reported_with_what_to_type() {
        let failure = find(File { config: Some("nowhere/at.toml".into()) }).unwrap_err();
        assert_eq!(failure.status, 2);
        for part in ["nowhere/at.toml", "pointsman demo", "pointsman check"] {
            assert!(failure.text.contains(part), "{}", failure.text);
        }
    }

    #[test]
    fn every_connection_needs_two_descriptors() {
        let text = "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nmax_connections = 5\n\
                    [[listener]]\nname = \"b\"\naddress = \"127.0.0.1:2\"\nmax_connections = 7\n\
                    [[route]]\nname = \"r\"\nrespond = { status = 200 }\n";
        let config = config::parse(text, Path::new("test.toml")).unwrap();
        assert_eq!(descriptors_needed(&config), 24);
    }
}
