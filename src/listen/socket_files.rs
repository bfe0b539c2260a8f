//! The files of unix sockets, which go with the program that has them.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Device and number of a file: who bound its path after us has another one there.
type Identity = (u64, u64);

/// Files of sockets that this program has. None is removed that has become another's.
#[derive(Debug, Default)]
pub struct SocketFiles(Mutex<HashMap<PathBuf, Identity>>);

impl SocketFiles {
    /// Adds the file that is at `path` now.
    pub fn add(&self, path: &Path) {
        if let Some(identity) = identity(path) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), identity);
        }
    }

    /// Removes the file at `path`.
    pub fn remove(&self, path: &Path) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        if known.is_some() && identity(path) == known {
            // It may be gone meanwhile, or its folder be read-only: it then stays, and can be bound over.
            let _ = fs::remove_file(path);
        }
    }

    /// Removes all of them.
    pub fn remove_all(&self) {
        let paths: Vec<PathBuf> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        paths.iter().for_each(|path| self.remove(path));
    }

    /// Leaves them to the program that has the sockets now.
    pub fn leave(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_are_still_ours_are_removed() {
        let folder = std::env::temp_dir().join(format!("pointsman-socket-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let paths = ["kept", "taken", "left"].map(|name| folder.join(name));
        let files = SocketFiles::default();
        paths.iter().for_each(|path| {
            fs::write(path, "").unwrap();
            files.add(path);
        });
        // Another program made it anew, beside the old one, so that the number differs.
        fs::write(folder.join("new"), "").unwrap();
        fs::rename(folder.join("new"), &paths[1]).unwrap();
        files.remove(&paths[0]);
        files.remove(&paths[1]);
        assert_eq!(paths.each_ref().map(|path| path.exists()), [false, true, true]);
        files.leave();
        files.remove_all();
        assert!(paths[2].exists());
        files.add(&paths[2]);
        files.remove_all();
        assert!(!paths[2].exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
