//! Opening what is below a folder, and nothing else. The kernel resolves each name with `RESOLVE_BENEATH` (openat2(2)), so
//! that neither dots nor symbolic links lead out, whoever changes the folder meanwhile.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat2},
    io::Errno,
};

/// So often a name is resolved again while somebody moves folders about.
const ATTEMPTS: usize = 8;

/// A folder that is open.
pub(super) struct Folder(OwnedFd);

/// What there is under a name.
pub(super) enum Entry {
    /// A regular file.
    File,
    /// A folder.
    Folder,
}

impl Folder {
    /// Opens the folder, wherever its name leads.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(open(path, flags, Mode::empty())?))
    }

    /// What is under this name; nothing where that is none that is served: devices, pipes, sockets, what leads out of the
    /// folder, what has no such name. Nothing is opened for reading.
    pub(super) fn look(&self, name: &[u8]) -> io::Result<Option<Entry>> {
        let Some(found) = self.resolve(name, OFlags::PATH)? else { return Ok(None) };
        let stat = fstat(&found)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(Entry::File),
            FileType::Directory => Some(Entry::Folder),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => None,
        })
    }

    /// Opens a regular file for reading.
    pub(super) fn read(&self, name: &[u8]) -> io::Result<Option<(File, Stat)>> {
        // Should it have become a pipe or a terminal meanwhile, opening it neither waits nor has an effect.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Some(file) = self.resolve(name, flags)? else { return Ok(None) };
        let stat = fstat(&file)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(is_file.then(|| (File::from(file), stat)))
    }

    fn resolve(&self, name: &[u8], flags: OFlags) -> io::Result<Option<OwnedFd>> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            return match openat2(self.0.as_fd(), name, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Ok(file) => Ok(Some(file)),
                Err(Errno::AGAIN | Errno::INTR) if left > 0 => continue,
                Err(error) if is_absent(error) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
    }
}

/// Whether it says that there is no such thing, or nothing that is below the folder.
fn is_absent(error: Errno) -> bool {
    [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::LOOP,
        Errno::XDEV,
        Errno::NAMETOOLONG,
        Errno::INVAL,
        Errno::NXIO,
        Errno::NODEV,
    ]
    .contains(&error)
}
