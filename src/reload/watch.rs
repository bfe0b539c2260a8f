//! Watches the files that the configuration is made of.
//!
//! Folders are watched first of all: editors write another file and rename it over the old one, Kubernetes
//! swaps a symbolic link two steps away, and a watch on the file alone would go on with what is no longer
//! there. The files themselves are watched for what is written behind a mount of a single file. What came of
//! an event is decided by content. Where events do not come (network file systems, some bind
//! mounts, no watches left), [`signature`] is looked at every few seconds.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use notify::{
    ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::mpsc::Sender;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::plan::Hashes;
use crate::{config::include, schema::regular_file};

/// Tells that something may have changed.
#[derive(Debug)]
pub(super) struct Watcher {
    inner: Option<RecommendedWatcher>,
    folders: HashSet<PathBuf>,
}

impl Watcher {
    /// Sends to `events` at each event in the folders that are watched, none yet, where there is room: what waits there says
    /// the same.
    pub(super) fn new(events: Sender<()>) -> Self {
        let send = move |event: notify::Result<Event>| {
            if !event.is_ok_and(|event| is_reading(event.kind)) {
                // Nobody listens any more when the program ends.
                let _ = events.try_send(());
            }
        };
        let inner = notify::recommended_watcher(send)
            .inspect_err(|error| {
                tracing::warn!("cannot watch files; they are checked every few seconds instead: {error}");
            })
            .ok();
        Self { inner, folders: HashSet::new() }
    }

    /// Watches these files and their folders, and no others.
    pub(super) fn set(&mut self, files: &[PathBuf]) {
        let Some(inner) = &mut self.inner else { return };
        let with_folders = |file: &PathBuf| folders(file).into_iter().chain([file.clone()]);
        let wanted: HashSet<PathBuf> = files.iter().flat_map(with_folders).collect();
        for gone in self.folders.difference(&wanted) {
            // It may be gone altogether, and its watch with it.
            let _ = inner.unwatch(gone);
        }
        for folder in &wanted {
            // Also those that were watched before: a folder of the same name may have taken the place.
            if let Err(error) = inner.watch(folder, RecursiveMode::NonRecursive)
                && !self.folders.contains(folder)
                && !matches!(error.kind, ErrorKind::PathNotFound)
            {
                let folder = folder.display();
                tracing::warn!("cannot watch {folder}; it is checked every few seconds instead: {error}");
            }
        }
        self.folders = wanted;
    }
}

/// Whether the event only says that somebody read: we do so ourselves.
fn is_reading(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => false,
    }
}

/// The folders in which something happens when the file at `path` becomes another: its own, those of the
/// symbolic links on the way, and those of what they lead to.
fn folders(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(mut path) = std::path::absolute(path) else { return found };
    for _ in 0..MOST_LINKS {
        let mut link = None;
        // From the root downwards, so that the first link is followed first.
        let mut prefixes: Vec<&Path> = path.ancestors().collect();
        prefixes.reverse();
        for prefix in prefixes {
            if let Ok(target) = fs::read_link(prefix) {
                let parent = prefix.parent().unwrap_or(prefix);
                let rest = path.strip_prefix(prefix).unwrap_or(Path::new(""));
                found.push(parent.to_owned());
                let target = parent.join(target);
                link = Some(if rest.as_os_str().is_empty() { target } else { target.join(rest) });
                break;
            }
        }
        match link {
            Some(next) => path = next,
            None => break,
        }
    }
    found.extend(path.parent().map(Path::to_owned));
    // `a/../b` and `b` are one.
    found.into_iter().map(|folder| fs::canonicalize(&folder).unwrap_or(folder)).collect()
}

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// What is in these files, or, of a folder, which names. A file that cannot be read counts as one that says so.
pub(super) fn hashes(files: &[PathBuf]) -> Hashes {
    let of = |file: &PathBuf| match contents(file) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => hash(&names(file)),
        Err(error) => hash(error.kind().to_string().as_bytes()),
    };
    files.iter().map(|file| (file.clone(), of(file))).collect()
}

/// What is in a folder, by name.
fn names(folder: &Path) -> Vec<u8> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names.iter().flat_map(|name| [name.as_encoded_bytes(), b"\0"]).flatten().copied().collect()
}

/// What the contents of a file come to; of a path with wildcards, the names of what it leads to.
fn contents(file: &Path) -> io::Result<u64> {
    if !include::is_pattern(file) || file.exists() {
        return match regular_file::open(file)? {
            Some(file) => hash_of_all(file),
            None if file.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::InvalidInput.into()),
        };
    }
    let names = include::matching(file)?;
    let names = names.iter().flat_map(|name| [name.as_os_str().as_encoded_bytes(), b"\n"].concat());
    Ok(hash(&names.collect::<Vec<_>>()))
}

/// What all that is read comes to, block by block: a file may be larger than memory, whoever will have none that is so large.
fn hash_of_all(mut reader: impl Read) -> io::Result<u64> {
    let (mut all, mut block) = (Xxh3::new(), vec![0; BLOCK]);
    loop {
        match reader.read(&mut block) {
            Ok(0) => return Ok(all.digest()),
            Ok(length) => all.update(block.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Bytes that are read at once.
const BLOCK: usize = 64 * 1024;

/// What contents come to.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// What all of it comes to.
pub(super) fn fingerprint(hashes: &Hashes) -> u64 {
    let mut sorted: Vec<_> = hashes.iter().collect();
    sorted.sort_unstable();
    let mut all = Xxh3::new();
    for (file, hash) in sorted {
        all.update(file.as_os_str().as_encoded_bytes());
        all.update(&hash.to_le_bytes());
    }
    all.digest()
}

/// What can be seen of these files without reading them: another one means that they are to be read.
pub(super) fn signature(files: &[PathBuf]) -> u64 {
    let mut all = Xxh3::new();
    for file in files {
        let seen = fs::metadata(file).map_or([0; 5], |it| {
            [
                it.ino(),
                it.len(),
                it.mtime().unsigned_abs(),
                it.mtime_nsec().unsigned_abs(),
                it.ctime_nsec().unsigned_abs(),
            ]
        });
        seen.iter().for_each(|number| all.update(&number.to_le_bytes()));
    }
    all.digest()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Gives so many bytes, of which the last is another, and sees how much room it is given for them.
    struct Long {
        left: usize,
        last: u8,
        most: usize,
    }

    impl Read for Long {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let length = room.len().min(self.left).min(10_000);
            self.most = self.most.max(room.len());
            self.left -= length;
            room[..length].fill(0);
            if length > 0 && self.left == 0 {
                room[length - 1] = self.last;
            }
            Ok(length)
        }
    }

    #[test]
    fn a_file_of_any_length_is_read_in_blocks() {
        const LENGTH: usize = 1 << 20;
        let hash_with = |last| {
            let mut long = Long { left: LENGTH, last, most: 0 };
            let hash = hash_of_all(&mut long).unwrap();
            assert_eq!((long.left, long.most), (0, BLOCK), "no more is held");
            hash
        };
        let mut bytes = vec![0; LENGTH];
        assert_eq!(hash_with(0), hash(&bytes), "as of what is read at once");
        bytes[LENGTH - 1] = 1;
        assert_eq!(hash_with(1), hash(&bytes));
        assert_ne!(hash_with(1), hash_with(0), "the last byte counts");
        assert_eq!(hash_of_all(&b""[..]).unwrap(), hash(b""));
    }

    #[test]
    fn every_folder_on_the_way_is_watched() {
        let root = std::env::temp_dir().join(format!("pointsman-watch-{}", std::process::id()));
        let root = {
            fs::create_dir_all(root.join("mount/..2026_1")).unwrap();
            fs::canonicalize(root).unwrap()
        };
        // As Kubernetes mounts a ConfigMap.
        fs::write(root.join("mount/..2026_1/a.toml"), "").unwrap();
        symlink("..2026_1", root.join("mount/..data")).unwrap();
        symlink("..data/a.toml", root.join("mount/a.toml")).unwrap();
        symlink(root.join("mount"), root.join("conf")).unwrap();
        let found = folders(&root.join("conf/a.toml"));
        let expected = [root.clone(), root.join("mount"), root.join("mount"), root.join("mount/..2026_1")];
        assert_eq!(found, expected);
        // One that is not there yet has a folder all the same.
        assert_eq!(folders(&root.join("none.toml")), std::slice::from_ref(&root));
        let files = [root.join("mount/a.toml")];
        let (before, seen) = (fingerprint(&hashes(&files)), signature(&files));
        fs::write(root.join("mount/..2026_1/a.toml"), "x").unwrap();
        assert_ne!(before, fingerprint(&hashes(&files)));
        assert_ne!(seen, signature(&files));
        fs::remove_dir_all(&root).unwrap();
        assert_ne!(before, fingerprint(&hashes(&files)));
    }
}
