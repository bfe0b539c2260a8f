//! The configuration file replaced whole: whoever reads it, and whatever happens meanwhile, it is the old
//! one or the new one.
//!
//! A temporary file beside it is written, brought to the disk and renamed over it (rename(2): "there is no
//! point at which another process will find it missing"). Nothing is ever written in place. A symbolic link
//! stays a link: the file that it leads to is replaced.
//!
//! A lock on the folder (flock(2)) keeps other Pointsmen out, such as the next one during an upgrade. Editors
//! take no such lock: the contents are compared right before the rename, and an edit in the instant between
//! the two is lost.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, FlockOperation, access, flock},
    io::Errno,
};

use crate::{runtime::overrides::Reason, schema::whole_file::BESIDE};

/// Why the file was not replaced. It is as it was.
#[derive(Debug)]
pub enum WriteError {
    /// It is no longer the text that was edited.
    Edited(PathBuf),
    /// Another process replaces a file in this folder.
    Busy(PathBuf),
    /// It is a mount point, which cannot be renamed over.
    MountPoint(PathBuf),
    /// It, or its folder, may not be written.
    ReadOnly(PathBuf),
    /// The system said something else.
    Failed(PathBuf, io::Error),
}

impl WriteError {
    /// What kind of refusal it is.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Edited(_) | Self::Busy(_) | Self::MountPoint(_) | Self::ReadOnly(_) => Reason::Conflict,
            Self::Failed(..) => Reason::Failed,
        }
    }

    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Edited(_) => "edited_meanwhile",
            Self::Busy(_) => "busy",
            Self::MountPoint(_) => "mount_point",
            Self::ReadOnly(_) => "read_only",
            Self::Failed(..) => "not_written",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Edited(_) => "look at the file as it is now, and try again",
            Self::Busy(_) => "try again",
            Self::MountPoint(_) => "mount the folder that the file is in, instead of the file alone",
            Self::ReadOnly(_) => {
                "let this user write the file and its folder, or make the change where the file comes from"
            }
            Self::Failed(..) => "the file is as it was",
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited(path) => write!(f, "{} was edited meanwhile", path.display()),
            Self::Busy(path) => write!(f, "another process is writing in {}", path.display()),
            Self::MountPoint(path) => {
                write!(f, "{} is mounted as a single file, which cannot be replaced", path.display())
            }
            Self::ReadOnly(path) => write!(f, "{} is not writable by this user", path.display()),
            Self::Failed(path, error) => write!(f, "{} cannot be written: {error}", path.display()),
        }
    }
}

impl std::error::Error for WriteError {}

/// Replaces `path`, in which `old` was read, by `new`.
pub fn replace(path: &Path, old: &[u8], new: &[u8]) -> Result<(), WriteError> {
    let failed = |error: io::Error| of_system(path, error);
    let target = fs::canonicalize(path).map_err(failed)?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    // Root may write everything but a read-only file system; this asks for both.
    access(&target, Access::WRITE_OK).map_err(|errno| of_system(path, errno.into()))?;
    let lock = Lock::of(folder)?;
    let temporary = Temporary(folder.join(temporary_name(&target)));
    // With the lock held, this is one that a crash left.
    temporary.remove();
    unchanged(path, &target, old)?;
    temporary.write(&target, new).map_err(|error| of_system(folder, error))?;
    unchanged(path, &target, old)?;
    fs::rename(&temporary.0, &target).map_err(failed)?;
    // The new file is in place already; only whether it outlives a power failure hangs on this.
    let _some_file_systems_cannot = lock.0.sync_all();
    Ok(())
}

/// Held while a file in a folder is replaced.
struct Lock(File);

impl Lock {
    fn of(folder: &Path) -> Result<Self, WriteError> {
        let file = File::open(folder).map_err(|error| of_system(folder, error))?;
        // Any other error: a file system without locks. The comparison of contents is what is left then.
        if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Err(WriteError::Busy(folder.to_owned()));
        }
        Ok(Self(file))
    }
}

impl Drop for Lock {
    /// Not left to the descriptor's end: a program that is just being started has a copy of it until it runs.
    fn drop(&mut self) {
        let _closed_anyway = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Whether a file of this name is one that is about to be renamed, of which a watcher need take no notice.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(BESIDE.as_bytes())
}

/// `.NAME.pointsman-new`
fn temporary_name(target: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(BESIDE);
    name
}

/// A temporary file; gone when dropped, unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn write(&self, target: &Path, contents: &[u8]) -> io::Result<()> {
        let like = fs::metadata(target)?;
        // Nobody else may look before it has the old one's mode.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0)?;
        file.write_all(contents)?;
        // Only root may give files away; a group may still be one of ours.
        if fchown(&file, Some(like.uid()), Some(like.gid())).is_err() {
            let _best_effort = fchown(&file, None, Some(like.gid()));
        }
        file.set_permissions(like.permissions())?;
        file.sync_all()
    }

    fn remove(&self) {
        let _is_gone_already = fs::remove_file(&self.0);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}

fn unchanged(path: &Path, target: &Path, old: &[u8]) -> Result<(), WriteError> {
    let is = fs::read(target).map_err(|error| of_system(path, error))?;
    if is == old { Ok(()) } else { Err(WriteError::Edited(path.to_owned())) }
}

fn of_system(path: &Path, error: io::Error) -> WriteError {
    let path = path.to_owned();
    match Errno::from_io_error(&error) {
        Some(Errno::BUSY | Errno::XDEV) => WriteError::MountPoint(path),
        Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => WriteError::ReadOnly(path),
        _ => WriteError::Failed(path, error),
    }
}

#[cfg(test)]
mod tests;
