//! Files that are replaced whole: whoever reads one, and whatever happens meanwhile, it is the old one or the new one.
//!
//! It is written beside the one that it replaces, under a name that each program has for itself: during an upgrade there are
//! two. What a program leaves there that is killed in the middle is removed by the next that comes by.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
    process::{Pid, test_kill_process},
};

/// The ending of a file that is written beside the one that it replaces: who watches a folder takes no notice of it.
pub const BESIDE: &str = ".pointsman-new";

/// Replaces a file, or makes it, with these permissions. Waits for the disk.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // Without the sync a power failure may leave the name without what it stands for.
    put(path, bytes, mode, File::sync_all)?;
    // It is in its place already; only whether that outlives a power failure hangs on this.
    let _some_file_systems_cannot = File::open(folder(path)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The same for what is made anew where a power failure leaves a part of it, or nothing: it does not wait for the disk, which
/// may stand still.
pub fn replace_for_now(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    put(path, bytes, mode, |_| Ok(()))
}

fn put(path: &Path, bytes: &[u8], mode: u32, settle: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    remove_left(path);
    let beside = folder(path).join(name_of(path, &std::process::id().to_string()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    // By this others know that somebody writes it. Where there are no locks, nobody else removes what is left.
    let _there_may_be_none = flock(&file, FlockOperation::NonBlockingLockExclusive);
    let written = file.write_all(bytes).and_then(|()| settle(&file));
    let written = written.and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // It would take room, of which there may be none.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Removes what programs that ended left beside a file: those whose number no other has, also not one that locks it. In
/// another container the same number may be another program's.
pub fn remove_left(path: &Path) {
    let (begin, end) = (name_of(path, ""), BESIDE.as_bytes());
    // Up to the number.
    let begin = begin.as_encoded_bytes().strip_suffix(end).unwrap_or_default();
    for entry in fs::read_dir(folder(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.as_encoded_bytes().strip_prefix(begin).and_then(|name| name.strip_suffix(end));
        let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse::<i32>().ok());
        let Some(number) = number.filter(|number| *number > 0) else { continue };
        let is_own = u32::try_from(number) == Ok(std::process::id());
        if is_own || has_ended(number) {
            // Another time, where it cannot be said or done.
            let _stays = remove_unlocked(&entry.path(), is_own);
        }
    }
}

/// Whether no program has this number.
fn has_ended(number: i32) -> bool {
    Pid::from_raw(number).is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

fn remove_unlocked(path: &Path, is_own: bool) -> io::Result<()> {
    let Some(file) = open_left(path)? else { return Ok(()) };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(error) if is_locked(error, is_own) => Err(error.into()),
        Ok(()) | Err(_) => fs::remove_file(path),
    }
}

/// Opens what may be left, to lock it; none where it is no file. Over NFS a lock is one of fcntl(2), which only who may write
/// can have alone.
fn open_left(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Whether what could not be locked may be somebody's. Where there are no locks, that is said of others' alone: this
/// program's own would be in its way for good.
fn is_locked(error: Errno, is_own: bool) -> bool {
    !is_own || error == Errno::WOULDBLOCK
}

/// `.NAME.NUMBER.pointsman-new`
fn name_of(path: &Path, number: &str) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{number}{BESIDE}"));
    name
}

fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use rustix::fs::fcntl_getfl;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn file_is_replaced_whole_or_stays() {
        let folder = std::env::temp_dir().join(format!("pointsman-whole-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("copy.toml");
        replace(&path, b"first", 0o600).unwrap();
        let before = fs::metadata(&path).unwrap();
        assert_eq!(before.mode() & 0o777, 0o600);
        // Who has it open still reads what it was.
        let open = File::open(&path).unwrap();
        replace(&path, b"second", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(io::read_to_string(open).unwrap(), "first");
        assert_ne!(fs::metadata(&path).unwrap().ino(), before.ino());
        // What cannot take its place leaves nothing.
        fs::create_dir(folder.join("taken")).unwrap();
        fs::write(folder.join("taken/by"), "").unwrap();
        assert!(replace(&folder.join("taken"), b"third", 0o600).is_err());
        // So it does where it does not wait for the disk, and where that has failed.
        assert!(replace_for_now(&folder.join("taken"), b"third", 0o600).is_err());
        replace_for_now(&path, b"third", 0o600).unwrap();
        assert!(put(&path, b"fourth", 0o600, |_| Err(io::ErrorKind::StorageFull.into())).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(names(&folder), ["copy.toml", "taken"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_an_ended_program_left_is_removed_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("pointsman-left-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("copy.toml");
        // No process has such a number.
        let ended = folder.join(name_of(&path, &i32::MAX.to_string()));
        let own = folder.join(name_of(&path, &std::process::id().to_string()));
        let others = [
            // Of a program that runs, of another file, of another kind, and the file itself.
            ".copy.toml.1.pointsman-new",
            ".copy.toml.pointsman-new",
            ".copy.toml.x.pointsman-new",
            ".other.toml.2147483647.pointsman-new",
            "copy.toml",
        ];
        others.iter().for_each(|name| fs::write(folder.join(name), "").unwrap());
        for left in [&ended, &own] {
            fs::write(left, "a part").unwrap();
        }
        replace(&path, b"new", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(&folder), others);
        // Somebody else writes it, whom this machine, or this container, does not know by that number.
        let locked = File::create(&ended).unwrap();
        flock(&locked, FlockOperation::NonBlockingLockExclusive).unwrap();
        remove_left(&path);
        assert!(ended.exists());
        // A test beside this one may start a program, which has the descriptor until it runs.
        flock(&locked, FlockOperation::Unlock).unwrap();
        remove_left(&path);
        assert_eq!(names(&folder), others);
        fs::remove_dir_all(folder).unwrap();
    }

    /// On NFS the lock of a descriptor that only reads is refused, and elsewhere there may be none: in a container each program
    /// has the same number, and what one left kept the next from writing, for ever.
    #[test]
    fn leftover_of_the_own_number_needs_no_locks_to_go() {
        let folder = std::env::temp_dir().join(format!("pointsman-lockless-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (left, link) = (folder.join("left"), folder.join("link"));
        fs::write(&left, "a part").unwrap();
        let open = open_left(&left).unwrap().unwrap();
        assert!(fcntl_getfl(&open).unwrap().intersects(OFlags::WRONLY | OFlags::RDWR));
        symlink(&left, &link).unwrap();
        assert!(open_left(&link).is_err());
        assert!(open_left(Path::new("/dev/null")).unwrap().is_none());
        for error in [Errno::BADF, Errno::NOLCK, Errno::NOSYS] {
            assert!(!is_locked(error, true) && is_locked(error, false), "{error}");
        }
        assert!(is_locked(Errno::WOULDBLOCK, true) && is_locked(Errno::WOULDBLOCK, false));
        fs::remove_dir_all(folder).unwrap();
    }
}
