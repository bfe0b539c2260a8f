//! From a text to a checked [`Config`], or to all problems: the files that it includes are read, what tables share is laid
//! under them, and what that comes to is read by rows.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Config, blocks, cross, include::Included, join, read_text_or_pipe};
use crate::{
    cluster::store::document,
    schema::{Problems, Reader, section::read},
};

/// A configuration file as it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub text: Arc<str>,
    /// The files that it includes.
    pub included: Arc<[Included]>,
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
    /// The write that is in force at the start; none where that is a copy of an older one.
    pub in_force: document::Mark,
    /// The write that need not be looked at: it is in force, or was stopped.
    pub seen: document::Mark,
    /// Why the copy is used, where that is not as it should be.
    pub problem: Option<String>,
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Config, Problems> {
    load_file(path).map(|loaded| loaded.config)
}

/// Reads and checks a configuration file, and gives its text too.
pub fn load_file(path: &Path) -> Result<Loaded, Problems> {
    let text = read_text_or_pipe(path)?;
    let (config, included) = parse_with(&text, path, Beside::OnDisk)?;
    Ok(Loaded { path: path.to_owned(), text: text.into(), included, config, fleet: None })
}

/// Checks a configuration text as if it was in `file`.
pub fn parse(text: &str, file: &Path) -> Result<Config, Problems> {
    parse_with(text, file, Beside::OnDisk).map(|(config, _)| config)
}

/// What a text may include.
#[derive(Clone, Copy, Debug)]
pub enum Beside<'i> {
    /// Files as they are now.
    OnDisk,
    /// These, as they were.
    Given(&'i Arc<[Included]>),
    /// None: the text is one that nodes share, and a file that it names would be another on each.
    Nothing,
}

/// Checks a configuration text as if it was in `file`, and gives what it includes.
pub fn parse_with(
    text: &str,
    file: &Path,
    beside: Beside<'_>,
) -> Result<(Config, Arc<[Included]>), Problems> {
    let mut joined = join::of_text(text, file);
    let mut include = joined.include();
    let included = match beside {
        Beside::Given(included) => included.clone(),
        Beside::OnDisk if include.patterns.is_empty() => Arc::default(),
        Beside::OnDisk => {
            let (included, wrong) = include.read_files(file);
            let wrong = wrong.into_iter().map(|(place, message, hint)| (place, message, hint.to_owned()));
            joined.problems.extend(wrong);
            included.into()
        }
        Beside::Nothing => {
            if let Some(entry) = joined.root.entry("include") {
                let message = "a shared configuration cannot include files".to_owned();
                let hint = "each node has its own files; put everything in the one text".to_owned();
                joined.problems.push((entry.place, message, hint));
            }
            Arc::default()
        }
    };
    included.iter().for_each(|it| joined.add(it));
    include.files = included.iter().map(|it| it.path.clone()).collect();
    let join::Joined { source, mut root, syntax, problems } = joined;
    blocks::lay_under(&mut root);
    let mut reader = Reader::new(&source);
    for (place, message, hint) in problems {
        reader.problem_with(place, message, hint);
    }
    reader.recovered = !syntax.is_empty();
    let config = read::<Config>(&root, &mut reader).map(|mut config| {
        cross::check(&mut config, &root, &mut reader);
        config
    });
    syntax.into_iter().for_each(|syntax| reader.add_syntax(syntax));
    match config {
        Some(mut config) if !reader.has_problems() => {
            config.include = include;
            Ok((config, included))
        }
        _ => Err(reader.into_problems()),
    }
}
