//! The file operations that the journal is made of. All of them go through here, so that a test can stand in for the
//! disk, and fail or lose power at any of them.
//!
//! Previous stop: [`super::segment`], [`super::refused`]. Next stop: the disk.
//!
//! What the journal may rely on, and nothing beyond it:
//! - What was appended is durable once a sync of its file has succeeded that began after it; a name, and that a name is
//!   gone, once a sync of the directory has. Until then any part of it may be on the disk, or nothing.
//! - After a sync of a file that failed nobody knows what of it is durable, and one that succeeds later proves nothing
//!   about it.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// A directory that nobody else writes to.
pub(super) trait Directory: fmt::Debug + Send {
    /// Where it is, for people.
    fn path(&self) -> &Path;

    /// The names in it, in no order.
    fn names(&self) -> io::Result<Vec<String>>;

    /// All bytes of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// A new file; an error where there is one of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>>;

    /// The file of a name; a new one where there is none.
    fn open(&self, name: &str) -> io::Result<Box<dyn AppendFile>>;

    /// Gives a file another name, at once: whatever happens, it has one of them.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file out.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    fn sync(&self) -> io::Result<()>;

    /// An error where its path does not lead to it any more: nobody would find what is in it.
    fn check_place(&self) -> io::Result<()>;
}

/// A file that is appended to.
pub(super) trait AppendFile: fmt::Debug + Send {
    /// Its length.
    fn length(&self) -> io::Result<u64>;

    /// Its last byte, if it has one.
    fn last(&self) -> io::Result<Option<u8>>;

    /// Adds bytes. After an error any part of them may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended durable; an error where the file has no name any more.
    fn sync(&self) -> io::Result<()>;

    /// Takes out what is behind `length`; durable when it returns.
    fn cut(&self, length: u64) -> io::Result<()>;
}

/// A directory on a disk, with a lock that one process at a time has.
#[derive(Debug)]
pub(super) struct LockedDirectory {
    path: PathBuf,
    /// For syncing names.
    own: File,
    /// flock(2) on a file in it; given back when the process ends, however it ends.
    lock: File,
}

impl LockedDirectory {
    /// Makes the directory where it is missing, and locks it. `WouldBlock` where another process holds it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        make_durably(path)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            Errno::WOULDBLOCK => io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("another process holds the journal in {}", path.display()),
            ),
            other => other.into(),
        })?;
        Ok(Self { path: path.to_owned(), own: File::open(path)?, lock })
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        options
    }
}

/// Makes a directory, and those that it is in, and syncs their names: without those, all that is in it would be gone
/// with it. Also where it is there already: who made it may have lost power before the sync.
fn make_durably(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let Some(parent) = path.parent() else { return Ok(()) };
    if !parent.is_dir() {
        make_durably(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    match File::open(parent) {
        // Who may not read it made nothing in it either.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        parent => parent?.sync_all(),
    }
}

impl Drop for LockedDirectory {
    fn drop(&mut self) {
        // Closing alone would not do while a program that is being started has a copy of the descriptor.
        let _closed_anyway = flock(&self.lock, FlockOperation::Unlock);
    }
}

impl Directory for LockedDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // What is not text is not ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(Self::options().create_new(true).open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(Self::options().create(true).open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.own.sync_all()
    }

    fn check_place(&self) -> io::Result<()> {
        let (there, own) = (fs::metadata(&self.path)?, self.own.metadata()?);
        if (there.dev(), there.ino()) == (own.dev(), own.ino()) {
            return Ok(());
        }
        Err(io::Error::other(format!("another folder is in the place of {}", self.path.display())))
    }
}

impl AppendFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn last(&self) -> io::Result<Option<u8>> {
        let mut last = [0];
        let Some(at) = self.length()?.checked_sub(1) else { return Ok(None) };
        self.read_exact_at(&mut last, at)?;
        Ok(Some(u8::from_le_bytes(last)))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        // With the file's length, which is what of its metadata is needed to read it (fdatasync(2)).
        self.sync_data()?;
        // It succeeds all the same where somebody has removed the file, and with it goes what was written.
        match self.metadata()?.nlink() {
            0 => Err(io::Error::other("a file of the journal was removed while it was written to")),
            _ => Ok(()),
        }
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::writeback::journal::tests::Scratch;

    #[test]
    fn directories_are_made_down_to_it_for_us_alone() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a/b");
        for _ in 0..2 {
            drop(LockedDirectory::open(&path).unwrap());
        }
        for path in [&scratch.0, &scratch.0.join("a"), &path] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        fs::write(path.join("file"), "").unwrap();
        let error = LockedDirectory::open(&path.join("file")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
