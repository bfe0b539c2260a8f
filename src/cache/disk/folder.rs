//! The store's folder: what is where, and the calls that touch it. Everything here may wait for the disk.
//!
//! ```text
//! lock                 held as long as the store is open, so that two processes never share a folder
//! new/                 files being written; emptied at start
//! objects-00000001/    a generation of objects, in 256 folders by the first byte of the key
//! missed-…             left by a program that did not have the folder when something was purged or written to: whoever
//!                      opens it next, and cannot know what that was, clears it
//! ```
//!
//! Clearing the store makes the next generation: one call, after which no older file counts, whenever it is deleted.
//! Whatever else is in the folder is left alone. Paths are taken from the folder as it was opened, and a link in
//! the place of a file of ours is not followed.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        },
    },
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};

use super::layout::{Name, OBJECTS};

const LOCK: &str = "lock";
const NEW: &str = "new";
const MISSED: &str = "missed-";

/// The open folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: OwnedFd,
    /// Another where somebody took the file away.
    lock: Mutex<File>,
}

impl Folder {
    /// Opens or makes the folder, and takes its lock; [`io::ErrorKind::WouldBlock`] while another has it. Gives the
    /// generation in force too.
    pub(super) fn open(path: &Path) -> io::Result<(Self, u32)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        if fs::metadata(path)?.permissions().mode() & 0o022 != 0 {
            tracing::warn!(path = %path.display(), "users other than its owner can write to the folder of \
                the disk cache");
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        let lock = Mutex::new(take_lock(&root)?);
        let folder = Self { root, lock };
        folder.make(NEW)?;
        for stale in folder.list(NEW)? {
            // What is not ours is a folder, or has another name.
            if is_number(&stale, 16) {
                let _ = folder.unlink(&format!("{NEW}/{stale}"));
            }
        }
        let generation = folder.generations()?.into_iter().max().unwrap_or(1);
        folder.make_generation(generation)?;
        Ok((folder, generation))
    }

    /// Another may have the folder.
    pub(super) fn unlock(&self) {
        let _ = rustix::fs::flock(&*self.own_lock(), FlockOperation::Unlock);
    }

    fn own_lock(&self) -> MutexGuard<'_, File> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All generations that are here; those before the last are to be deleted.
    pub(super) fn generations(&self) -> io::Result<Vec<u32>> {
        let folders = self.list(".")?;
        let numbers = folders.iter().filter_map(|name| name.strip_prefix(OBJECTS));
        let numbers = numbers.filter(|number| is_number(number, 8));
        Ok(numbers.filter_map(|number| u32::from_str_radix(number, 16).ok()).collect())
    }

    /// Makes the folder of a generation; those before it no longer count.
    pub(super) fn make_generation(&self, generation: u32) -> io::Result<()> {
        self.make(&format!("{OBJECTS}{generation:08x}"))
    }

    /// The objects in one of the 256 folders of a generation, as their names say.
    pub(super) fn objects(&self, generation: u32, folder: u8) -> io::Result<Vec<Name>> {
        let names = self.list(&format!("{OBJECTS}{generation:08x}/{folder:02x}"))?;
        Ok(names.iter().filter_map(|text| Name::parse(text)).filter(|name| name.folder() == folder).collect())
    }

    /// Begins a generation that is empty, behind this one: the next, or where there is no room for its folder, this one
    /// without its files.
    pub(super) fn begin_empty(&self, generation: u32) -> io::Result<u32> {
        let next = generation.wrapping_add(1);
        if self.make_generation(next).is_ok() {
            return Ok(next);
        }
        for folder in 0..=u8::MAX {
            for name in self.objects(generation, folder)? {
                self.remove_object(generation, &name)?;
            }
        }
        Ok(generation)
    }

    /// Deletes the folders of a generation whose files are gone. What is left in them keeps them.
    pub(super) fn remove_generation(&self, generation: u32) {
        for folder in 0..=u8::MAX {
            self.remove_folder(&format!("{OBJECTS}{generation:08x}/{folder:02x}"));
        }
        self.remove_folder(&format!("{OBJECTS}{generation:08x}"));
    }

    /// A new file for an object that is being written; also where somebody emptied the folder.
    pub(super) fn create(&self, sequence: u64) -> io::Result<File> {
        self.keep_lock()?;
        match self.create_new(sequence) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make(NEW)?;
                self.create_new(sequence)
            }
            done => done,
        }
    }

    /// Locks the folder anew where the file of the lock was deleted: whoever opens the folder then makes another, and has a
    /// lock too. An error where that has happened: the folder is the other's now.
    fn keep_lock(&self) -> io::Result<()> {
        let mut own = self.own_lock();
        if own.metadata()?.nlink() == 0 {
            *own = take_lock(&self.root).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => io::Error::new(
                    error.kind(),
                    "its folder was emptied, and another program has taken it since",
                ),
                _ => error,
            })?;
        }
        Ok(())
    }

    fn create_new(&self, sequence: u64) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.root, new_path(sequence), flags, PRIVATE)?.into())
    }

    /// Deletes such a file.
    pub(super) fn discard(&self, sequence: u64) -> io::Result<()> {
        self.unlink(&new_path(sequence))
    }

    /// Such a file is whole, and takes its place.
    pub(super) fn publish(&self, generation: u32, name: &Name) -> io::Result<()> {
        let (from, to) = (new_path(name.sequence), name.path(generation));
        match rustix::fs::renameat(&self.root, &from, &self.root, &to) {
            Err(rustix::io::Errno::NOENT) => {
                self.make_generation(generation)?;
                self.make(&format!("{OBJECTS}{generation:08x}/{:02x}", name.folder()))?;
                Ok(rustix::fs::renameat(&self.root, &from, &self.root, &to)?)
            }
            done => Ok(done?),
        }
    }

    /// The file of an object, for reading; or for writing a new head too.
    pub(super) fn open_object(&self, generation: u32, name: &Name, writes: bool) -> io::Result<File> {
        let mode = if writes { OFlags::RDWR } else { OFlags::RDONLY };
        // Without NONBLOCK, a pipe that somebody put there would stop the thread.
        let flags = mode | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.root, name.path(generation), flags, Mode::empty())?.into())
    }

    /// The object has another head: its file has another name.
    pub(super) fn rename_object(&self, generation: u32, old: &Name, new: &Name) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.root, old.path(generation), &self.root, new.path(generation))?)
    }

    /// Deletes the file of an object; that it is not there any more is no error.
    pub(super) fn remove_object(&self, generation: u32, name: &Name) -> io::Result<()> {
        match self.unlink(&name.path(generation)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// The marks that were left here, but for this one.
    pub(super) fn marks(&self, own: Option<&str>) -> io::Result<Vec<String>> {
        let mut names = self.list_of(".", FileType::RegularFile)?;
        names.retain(|name| name.starts_with(MISSED) && Some(&**name) != own);
        Ok(names)
    }

    /// Takes such a mark away.
    pub(super) fn remove_mark(&self, name: &str) -> io::Result<()> {
        self.unlink(name)
    }

    fn make(&self, path: &str) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.root, path, Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) => {
                let there = rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW)?;
                match FileType::from_raw_mode(there.st_mode) {
                    FileType::Directory => Ok(()),
                    _ => Err(io::ErrorKind::NotADirectory.into()),
                }
            }
            done => Ok(done?),
        }
    }

    /// The names of what is in a folder and is neither a folder nor a link; of a folder that is not there, none.
    /// At the top it is the folders.
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.list_of(path, if path == "." { FileType::Directory } else { FileType::RegularFile })
    }

    fn list_of(&self, path: &str, wanted: FileType) -> io::Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match rustix::fs::openat(&self.root, path, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut names = Vec::new();
        for entry in Dir::new(folder)? {
            let entry = entry?;
            // Some file systems do not say what it is; then its name has to do.
            if entry.file_type() == wanted || entry.file_type() == FileType::Unknown {
                names.extend(
                    std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()).to_str().map(str::to_owned),
                );
            }
        }
        Ok(names)
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.root, path, AtFlags::empty())?)
    }

    fn remove_folder(&self, path: &str) {
        let _ = rustix::fs::unlinkat(&self.root, path, AtFlags::REMOVEDIR);
    }
}

/// The name of the mark that one program, and one cache of it, leaves; by this number.
pub fn name_of_mark(number: u64) -> String {
    format!("{MISSED}{number:016x}")
}

/// Leaves a mark in a folder that another may have, so that whoever opens it next clears it. Of a folder that is not there,
/// nothing can come back.
pub fn leave_mark(folder: &Path, name: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(folder.join(name), flags, PRIVATE) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        made => Ok(made.map(drop)?),
    }
}

/// Takes the mark away again, if it is there.
pub fn take_mark(folder: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn take_lock(root: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = File::from(rustix::fs::openat(root, LOCK, flags, PRIVATE)?);
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

/// For the owner only: what is cached may be somebody's own.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

fn new_path(sequence: u64) -> String {
    format!("{NEW}/{sequence:016x}")
}

fn is_number(name: &str, digits: usize) -> bool {
    name.len() == digits && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
