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

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::splice::{Splice, spliced};
use super::state::InForce;
use crate::{
    backend::Address,
    config::{self, Beside, Config, Problems, include::Included},
    runtime::{
        addresses::Addresses,
        overrides::{Change, Overrides, Refusal, position},
    },
    schema::{Node, environment},
    upstream::conf::{BackendConf, BackendState, NameAddresses},
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
            Self::Problems(problems) => write!(f, "the file already has problems:\n{problems}"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::ByHand => {
                f.write_str("the layout of the file cannot be edited automatically; change it by hand")
            }
        }
    }
}

impl std::error::Error for EditError {}

/// The texts that a configuration is made of.
#[derive(Clone, Debug)]
pub struct Texts {
    /// The configuration file.
    pub path: PathBuf,
    /// What is in it.
    pub text: Arc<str>,
    /// The files that it includes.
    pub included: Arc<[Included]>,
}

/// A file that is replaced.
#[derive(Debug)]
pub(super) struct Over {
    /// The configuration file, or one that it includes.
    pub(super) path: PathBuf,
    /// The text that it must still have.
    pub(super) old: Arc<str>,
    pub(super) new: Arc<str>,
}

impl Texts {
    /// Those that are in force.
    pub fn of(in_force: &InForce) -> Self {
        let InForce { path, text, included, .. } = in_force;
        Self { path: path.clone(), text: text.clone(), included: included.clone() }
    }

    /// What they mean.
    pub fn parse(&self) -> Result<Config, Problems> {
        let beside = Beside::Given(&self.included);
        config::parse_with(&self.text, &self.path, beside).map(|(config, _)| config)
    }

    /// The one file whose text is another in `new`; the configuration file where there is none, since an override may go
    /// nevertheless.
    pub(super) fn changed(&self, new: &Self) -> Result<Over, EditError> {
        let mut changed = self.parts().zip(new.parts()).filter(|((_, old), (_, new))| old != new);
        let first = changed.next();
        match changed.next() {
            // Two files cannot be replaced at once.
            Some(_) => Err(EditError::ByHand),
            None => {
                let own = ((self.path.as_path(), &self.text), (new.path.as_path(), &new.text));
                let ((path, old), (_, new)) = first.unwrap_or(own);
                Ok(Over { path: path.to_owned(), old: old.clone(), new: new.clone() })
            }
        }
    }

    fn parts(&self) -> impl Iterator<Item = (&Path, &Arc<str>)> {
        let own = (self.path.as_path(), &self.text);
        std::iter::once(own).chain(self.included.iter().map(|it| (it.path.as_path(), &it.text)))
    }

    /// With another text at a place among [`Texts::parts`].
    fn with(&self, index: usize, text: String) -> Self {
        let mut this = self.clone();
        match index.checked_sub(1) {
            None => this.text = text.into(),
            Some(index) => {
                let mut included = self.included.to_vec();
                if let Some(it) = included.get_mut(index) {
                    it.text = text.into();
                }
                this.included = included.into();
            }
        }
        this
    }
}

/// The texts with `change` made in the one that has the upstream.
pub fn edit_texts(texts: &Texts, change: &Change) -> Result<Texts, EditError> {
    let config = texts.parse().map_err(EditError::Problems)?;
    let overrides = Overrides::default().with(change, &config, &Addresses::default());
    let overrides = overrides.map_err(EditError::Refused)?;
    let holds = |text: &str| Node::parse(text).0.items_of("upstream").iter().any(|it| is_named(it, change));
    let found = texts.parts().enumerate().find(|(_, (_, text))| holds(text));
    let (index, (file, text)) = found.ok_or(EditError::ByHand)?;
    let splices = splices(text, file, change, &config).ok_or(EditError::ByHand)?;
    let edited = texts.with(index, spliced(text, splices).ok_or(EditError::ByHand)?);
    let mut wanted = config;
    overrides.apply(&mut wanted);
    match edited.parse() {
        Ok(is) if is == wanted => Ok(edited),
        Ok(_) | Err(_) => Err(EditError::ByHand),
    }
}

fn is_named(upstream: &Node, change: &Change) -> bool {
    upstream.get("name").and_then(Node::text) == Some(change.upstream())
}

fn splices(text: &str, file: &Path, change: &Change, config: &Config) -> Option<Vec<Splice>> {
    let (mut root, _) = Node::parse(text);
    // It was checked when the text was.
    let _ = root.expand(&environment::of_process);
    let conf = config.upstream.iter().find(|it| it.name == change.upstream())?;
    let array = root.items_of("upstream").iter().find(|it| is_named(it, change))?.get("backend")?;
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
        address @ (Address::Host { .. } | Address::OfName { .. } | Address::Srv(_)) => address.configured(),
    };
    let mut keys = Vec::new();
    if backend.name != backend.address.to_string() {
        keys.push(("name", quoted(&backend.name)));
    }
    keys.push(("address", quoted(&address)));
    if backend.addresses != NameAddresses::Each {
        keys.push(("addresses", quoted(backend.addresses.name())));
    }
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
