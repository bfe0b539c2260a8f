//! A [`Change`] written into the configuration file: comments, order, formatting and line ends stay.
//!
//! The located tree of [`crate::schema`] says where things are, and pieces of text are exchanged
//! there; every other byte stays as it is by construction. The result is read again and must be the
//! configuration that [`Overrides::apply`] gives for the same change, else nothing is returned.
//!
//! Backends may be `[[upstream.backend]]` tables (`tables`) or an array of inline tables (`inline`).
//! A comment belongs to the backend that it is directly above, without a blank line between; behind
//! the last key, where a blank line or the end follows, to the backend above it.

mod inline;
mod lines;
mod splice;
mod tables;

use std::{fmt, path::Path};

use self::splice::{Splice, spliced};
use crate::{
    backend::Address,
    config::{self, Config, Problems},
    runtime::overrides::{Change, Overrides, Refusal, position},
    schema::{Node, environment},
    upstream::conf::{BackendConf, BackendState},
};

/// Why a file was not edited.
#[derive(Clone, Debug, PartialEq)]
pub enum EditError {
    /// The file is not good as it is.
    Problems(Problems),
    /// The change does not fit what the file says.
    Refused(Refusal),
    /// It is written in a way that cannot be edited without a person.
    ByHand,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems(problems) => write!(f, "the file is not good as it is:\n{problems}"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::ByHand => {
                f.write_str("the file is written in a way that cannot be edited here; change it by hand")
            }
        }
    }
}

impl std::error::Error for EditError {}

/// `text`, which is in `file`, with `change` made.
pub fn edit(text: &str, file: &Path, change: &Change) -> Result<String, EditError> {
    let config = config::parse(text, file).map_err(EditError::Problems)?;
    let overrides = Overrides::default().with(change, &config).map_err(EditError::Refused)?;
    let splices = splices(text, file, change, &config).ok_or(EditError::ByHand)?;
    let edited = spliced(text, splices).ok_or(EditError::ByHand)?;
    let mut wanted = config;
    overrides.apply(&mut wanted);
    match config::parse(&edited, file) {
        Ok(is) if is == wanted => Ok(edited),
        Ok(_) | Err(_) => Err(EditError::ByHand),
    }
}

fn splices(text: &str, file: &Path, change: &Change, config: &Config) -> Option<Vec<Splice>> {
    let (mut root, _) = Node::parse(text);
    // It was checked when the text was.
    let _ = root.expand(&environment::of_process);
    let index = config.upstream.iter().position(|it| it.name == change.upstream())?;
    let conf = config.upstream.get(index)?;
    let array = root.items_of("upstream").get(index)?.get("backend")?;
    let backends = Backends { text, root: &root, array, all: array.items() };
    let called = |backend: &str| position(&conf.backend, backend);
    match change {
        Change::Weight { backend, weight, .. } => {
            backends.set(called(backend)?, "weight", &weight.to_string(), *weight == 1)
        }
        Change::State { backend, state, .. } => {
            let is_default = *state == BackendState::Enabled;
            backends.set(called(backend)?, "state", &quoted(state.name()), is_default)
        }
        Change::Add { backend, .. } => backends.add(&keys(backend, file)),
        Change::Remove { backend, .. } => backends.remove(called(backend)?),
    }
}

/// The backends of an upstream as they are in the text.
struct Backends<'t> {
    text: &'t str,
    root: &'t Node,
    array: &'t Node,
    all: &'t [Node],
}

impl Backends<'_> {
    fn is_inline(&self, backend: &Node) -> bool {
        self.text.get(backend.place.start..).is_some_and(|text| text.starts_with('{'))
    }

    fn set(&self, index: usize, key: &str, value: &str, is_default: bool) -> Option<Vec<Splice>> {
        let backend = self.all.get(index)?;
        match backend.entry(key) {
            Some(entry) => Some(vec![(entry.node.place.start..entry.node.place.end, value.to_owned())]),
            None if is_default => Some(Vec::new()),
            None if self.is_inline(backend) => inline::put(self.text, backend, key, value),
            None => tables::put(self.text, backend, key, value),
        }
    }

    fn add(&self, keys: &[(&str, String)]) -> Option<Vec<Splice>> {
        let last = self.all.last()?;
        match self.is_inline(last) {
            true => inline::add(self.text, self.array, last, keys),
            false => tables::add(self.text, self.root, last, keys),
        }
    }

    fn remove(&self, index: usize) -> Option<Vec<Splice>> {
        let backend = self.all.get(index)?;
        match self.is_inline(backend) {
            true => inline::remove(self.text, self.array, index),
            false => tables::remove(self.text, self.root, backend),
        }
    }
}

/// The keys of a new backend as they are written: those that are not at their defaults.
fn keys(backend: &BackendConf, file: &Path) -> Vec<(&'static str, String)> {
    let address = match &backend.address {
        Address::Unix(path) => {
            let folder = file.parent().unwrap_or(Path::new(""));
            let from_folder = path.strip_prefix(folder).unwrap_or(path);
            format!("unix:{}", from_folder.display())
        }
        address @ (Address::Host { .. } | Address::Srv(_)) => address.to_string(),
    };
    let mut keys = Vec::new();
    if backend.name != backend.address.to_string() {
        keys.push(("name", quoted(&backend.name)));
    }
    keys.push(("address", quoted(&address)));
    if backend.weight != 1 {
        keys.push(("weight", backend.weight.to_string()));
    }
    if backend.max_connections != 0 {
        keys.push(("max_connections", backend.max_connections.to_string()));
    }
    if backend.backup {
        keys.push(("backup", "true".to_owned()));
    }
    if backend.state != BackendState::Enabled {
        keys.push(("state", quoted(backend.state.name())));
    }
    keys
}

/// `text` as a TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for sign in text.chars() {
        match sign {
            '"' | '\\' => quoted.extend(['\\', sign]),
            sign if sign.is_control() => quoted += &format!("\\u{:04X}", u32::from(sign)),
            sign => quoted.push(sign),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests;
