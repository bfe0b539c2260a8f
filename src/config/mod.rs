//! The configuration file: TOML text → checked plain values, or **all** problems with place and hint.
//!
//! Previous stop: [`crate::schema`], which reads located TOML; each room left of here owns its `Conf`.
//! Next stop: `runtime::snapshot`, which builds live objects from a [`Config`].
//! Nothing is opened or bound here; files that the configuration names are read to be checked.

pub mod admin;
pub mod collector;
mod cross;
mod files;
pub mod listen;
pub mod log;
mod place;
mod report;
pub mod runtime;
pub mod trace;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    cache::conf::CacheConf,
    route::conf::RouteConf,
    schema::{
        Anything, Node, Place, Problem, Reader, Source, section, section::read, syntax::SyntaxErrors,
        unreadable,
    },
    upstream::conf::UpstreamConf,
};

pub use crate::schema::Problems;
pub use place::{Step, problem_at};
pub use report::{CheckFormat, check_report, reference, schema};

use admin::AdminConf;
use listen::ListenerConf;
use log::LogConf;
use runtime::RuntimeConf;
use trace::TraceConf;

section! {
    /// The whole file.
    pub struct Config {
        /// The process.
        pub runtime: RuntimeConf;
        /// The log and the access log.
        pub log: LogConf;
        /// The admin endpoint; off when absent.
        pub admin: Option<AdminConf>;
        /// Where connections are accepted.
        pub listener: Vec<ListenerConf>;
        /// What becomes of requests.
        pub route: Vec<RouteConf>;
        /// Groups of backends.
        pub upstream: Vec<UpstreamConf>;
        /// Stores of responses.
        pub cache: Vec<CacheConf>;
        /// Traces.
        pub trace: TraceConf;
    }
    later {
        /// A peer that takes over.
        cluster: Anything;
    }
}

/// A configuration file as it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// What stands in it.
    pub text: Arc<str>,
    /// What that means.
    pub config: Config,
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Config, Problems> {
    load_file(path).map(|loaded| loaded.config)
}

/// Reads and checks a configuration file, and gives its text too.
pub fn load_file(path: &Path) -> Result<Loaded, Problems> {
    let text = read_text(path)?;
    let config = parse(&text, path)?;
    Ok(Loaded { path: path.to_owned(), text: text.into(), config })
}

/// The text of a configuration file.
pub fn read_text(path: &Path) -> Result<String, Problems> {
    let whole = |message: String, hint: &str| {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Problems(vec![Problem::with_file(path.to_owned(), message, hint)])
    };
    let bytes = fs::read(path).map_err(|error| {
        whole(unreadable(path, &error), "name the configuration file with `--config FILE`")
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let place = Place { start: good, end: good + 1 };
            let hint = "save the file as UTF-8".to_owned();
            let source = Source::new(&text, path);
            let message = "this is not UTF-8, which TOML has to be".to_owned();
            Err(Problems(vec![Problem::at(&source, place, message, Some(hint))]))
        }
    }
}

/// Checks a configuration text as if it stood in `file`.
pub fn parse(text: &str, file: &Path) -> Result<Config, Problems> {
    let source = Source::new(text, file);
    let mut reader = Reader::new(&source);
    let (root, errors) = Node::parse(text);
    reader.recovered = !errors.is_empty();
    let syntax = SyntaxErrors::new(errors, &source);
    let config = read::<Config>(&root, &mut reader).map(|mut config| {
        cross::check(&mut config, &root, &mut reader);
        config
    });
    reader.add_syntax(syntax);
    match config {
        Some(config) if !reader.has_problems() => Ok(config),
        _ => Err(reader.into_problems()),
    }
}

#[cfg(test)]
mod tests;
