//! The last good copy of a configuration that a store has for many nodes. It is written once a program serves with it, and
//! not when it was read: what cannot be served with is not good, and would take the place of what could.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Loaded;
use crate::{cluster::store::kept, schema::whole_file};

/// What is to be the copy.
#[derive(Debug)]
pub struct KeptCopy {
    path: PathBuf,
    text: Arc<str>,
    /// What it is a copy of, for people.
    url: String,
}

impl KeptCopy {
    /// Of a configuration that was read from a store; none of one that was read from its copy, or is of a file.
    pub fn of(loaded: &Loaded) -> Option<Self> {
        let fleet = loaded.fleet.as_deref().filter(|fleet| fleet.in_force.revision > 0)?;
        Some(Self { path: loaded.path.clone(), text: loaded.text.clone(), url: fleet.source.url.clone() })
    }

    /// Makes the folder where it is missing. The error is for people.
    pub fn prepare(&self) -> Result<(), String> {
        self.told(fs::create_dir_all(self.folder()).and_then(|()| is_writable(self.folder())))
    }

    /// Writes it. The error is for people.
    pub fn write(&self) -> Result<(), String> {
        if fs::read(&self.path).is_ok_and(|before| before == self.text.as_bytes()) {
            whole_file::remove_left(&self.path);
            return Ok(());
        }
        self.told(kept::write(&self.path, self.text.as_bytes()))
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    fn told(&self, result: io::Result<()>) -> Result<(), String> {
        let (url, folder) = (&self.url, self.folder().display());
        result.map_err(|error| {
            format!(
                "cannot keep a copy of {url} in {folder}: {error}; create the folder, or set STATE_DIRECTORY"
            )
        })
    }
}

fn is_writable(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)?)
}
