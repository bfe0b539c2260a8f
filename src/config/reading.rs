//! From a text to a checked [`Config`], or to all problems.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Config, cross, read_text};
use crate::{
    cluster::store::document,
    schema::{Node, Problems, Reader, Source, environment, section::read, syntax::SyntaxErrors},
};

/// A configuration file as it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub text: Arc<str>,
    /// What that means.
    pub config: Config,
    /// Where it is the copy of what a store has for many nodes.
    pub fleet: Option<Arc<Fleet>>,
}

/// Where a configuration comes from that many nodes share.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The store and the key.
    pub source: document::Source,
    /// The number of the write that was read at the start; 0 where the copy is older.
    pub revision: u64,
    /// Why the copy is used.
    pub problem: Option<String>,
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Config, Problems> {
    load_file(path).map(|loaded| loaded.config)
}

/// Reads and checks a configuration file, and gives its text too.
pub fn load_file(path: &Path) -> Result<Loaded, Problems> {
    let text = read_text(path)?;
    let config = parse(&text, path)?;
    Ok(Loaded { path: path.to_owned(), text: text.into(), config, fleet: None })
}

/// Checks a configuration text as if it was in `file`.
pub fn parse(text: &str, file: &Path) -> Result<Config, Problems> {
    let source = Source::new(text, file);
    let mut reader = Reader::new(&source);
    let (mut root, errors) = Node::parse(text);
    for (place, message, hint) in root.expand(&environment::of_process) {
        reader.problem_with(place, message, hint);
    }
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
