//! The files of unix sockets, which go with the program that has them.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::bind::Owner;
use crate::config::listen::ListenAddress;

/// Device and number of a file: who bound its path after us has another one there.
type Identity = (u64, u64);

/// Files of sockets that this program has; dropped, they are removed, as at a start that fails behind the binding. None is
/// that has become another's, nor one that still is that of the program before this one: it goes on where this one does not
/// prove itself.
#[derive(Debug, Default)]
pub struct SocketFiles(Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    own: HashMap<PathBuf, Identity>,
    /// Those of the program before; whether this one has the socket.
    handed: HashMap<PathBuf, (Identity, bool)>,
}

impl SocketFiles {
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the file that is at `path` now.
    pub fn add(&self, path: &Path, owner: Owner) {
        let Some(identity) = identity(path) else { return };
        let mut files = self.lock();
        match owner {
            Owner::Own => {
                files.own.insert(path.to_owned(), identity);
            }
            Owner::Before => {
                files.handed.insert(path.to_owned(), (identity, true));
            }
            Owner::Manager => {}
        }
    }

    /// Adds the file of a socket that the program before has, and this one does not: nobody shall queue up there once that
    /// one is gone.
    pub fn add_unused(&self, path: &Path, owner: Owner) {
        if let Some(identity) = identity(path).filter(|_| owner == Owner::Before) {
            self.lock().handed.insert(path.to_owned(), (identity, false));
        }
    }

    /// The program before has let go: what was its is this one's.
    pub fn take_over(&self) {
        let mut files = self.lock();
        for (path, (identity, is_used)) in std::mem::take(&mut files.handed) {
            if is_used {
                files.own.insert(path, identity);
            } else {
                remove(&path, identity);
            }
        }
    }

    /// Removes the file at `path`.
    pub fn remove(&self, path: &Path) {
        let known = self.lock().own.remove(path);
        known.into_iter().for_each(|identity| remove(path, identity));
    }

    /// Removes all of them.
    pub fn remove_all(&self) {
        let own = std::mem::take(&mut self.lock().own);
        own.into_iter().for_each(|(path, identity)| remove(&path, identity));
    }

    /// Leaves them to the program that has the sockets now.
    pub fn leave(&self) {
        *self.lock() = Files::default();
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        self.remove_all();
    }
}

/// The file of a socket that was bound for something that may come to nothing: dropped, it is removed, since nobody shall
/// queue up at a socket that nobody accepts on.
#[derive(Debug)]
pub struct NewFile(Option<(PathBuf, Identity)>);

impl NewFile {
    /// That of a socket which was just bound; none where there is no file, or it is another's.
    pub fn of(address: &ListenAddress, owner: Owner) -> Self {
        let path = match (address, owner) {
            (ListenAddress::Unix(path), Owner::Own) => Some(path),
            (ListenAddress::Unix(_), Owner::Before | Owner::Manager)
            | (ListenAddress::Tcp(_) | ListenAddress::Udp(_), _) => None,
        };
        Self(path.and_then(|path| Some((path.clone(), identity(path)?))))
    }

    /// Leaves it there, among those that go with the program: the socket is used.
    pub fn keep_among(mut self, files: &SocketFiles) {
        files.lock().own.extend(self.0.take());
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|(path, known)| remove(&path, known));
    }
}

fn remove(path: &Path, known: Identity) {
    if identity(path) == Some(known) {
        // It may be gone meanwhile, or its folder be read-only: it then stays, and can be bound over.
        let _ = fs::remove_file(path);
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
            files.add(path, Owner::Own);
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
        files.add(&paths[2], Owner::Own);
        files.remove_all();
        assert!(!paths[2].exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn files_are_of_the_program_before_until_it_lets_go() {
        let folder = std::env::temp_dir().join(format!("pointsman-handed-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let paths = ["used", "unused", "lent"].map(|name| folder.join(name));
        paths.iter().for_each(|path| fs::write(path, "").unwrap());
        let are_there = || paths.each_ref().map(|path| path.exists());
        let files = SocketFiles::default();
        let add = || {
            files.add(&paths[0], Owner::Before);
            files.add_unused(&paths[1], Owner::Before);
            files.add_unused(&paths[2], Owner::Manager);
        };
        add();
        files.remove(&paths[0]);
        files.remove_all();
        assert_eq!(are_there(), [true; 3], "this program ends, and the one before goes on");
        add();
        files.take_over();
        assert_eq!(are_there(), [true, false, true]);
        files.remove(&paths[0]);
        files.take_over();
        assert_eq!(are_there(), [false, false, true]);
        fs::remove_dir_all(folder).unwrap();
    }

    /// As a start does that fails when all is bound.
    #[test]
    fn dropped_they_take_their_own_files_with_them() {
        let folder = std::env::temp_dir().join(format!("pointsman-dropped-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let paths = ["new", "own", "before", "lent", "taken"].map(|name| folder.join(name));
        paths.iter().for_each(|path| fs::write(path, "").unwrap());
        let files = SocketFiles::default();
        NewFile::of(&ListenAddress::Unix(paths[0].clone()), Owner::Own).keep_among(&files);
        files.add(&paths[1], Owner::Own);
        files.add(&paths[2], Owner::Before);
        files.add(&paths[3], Owner::Manager);
        NewFile::of(&ListenAddress::Unix(paths[4].clone()), Owner::Own).keep_among(&files);
        // Another program made it anew, beside the old one, so that the number differs.
        fs::write(folder.join("other"), "").unwrap();
        fs::rename(folder.join("other"), &paths[4]).unwrap();
        drop(files);
        assert_eq!(paths.each_ref().map(|path| path.exists()), [false, false, true, true, true]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn new_file_goes_unless_kept_or_made_anew() {
        let folder = std::env::temp_dir().join(format!("pointsman-new-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("web.sock");
        let address = ListenAddress::Unix(path.clone());
        fs::write(&path, "").unwrap();
        let files = SocketFiles::default();
        NewFile::of(&address, Owner::Own).keep_among(&files);
        drop([Owner::Before, Owner::Manager].map(|owner| NewFile::of(&address, owner)));
        assert!(path.exists());
        files.leave();
        let new = NewFile::of(&address, Owner::Own);
        drop(new);
        assert!(!path.exists());
        // Another program made it anew, beside the old one, so that the number differs.
        fs::write(&path, "").unwrap();
        let new = NewFile::of(&address, Owner::Own);
        fs::write(folder.join("new"), "").unwrap();
        fs::rename(folder.join("new"), &path).unwrap();
        drop(new);
        assert!(path.exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
