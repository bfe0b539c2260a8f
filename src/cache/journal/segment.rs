//! Segments: the files of the journal, in a folder that one process holds.
//!
//! Previous stop: [`super::writer`]. Next stop: the disk.
//!
//! A segment is created whole (header, synced, folder synced) before a record goes into it, is appended to by one
//! process only, and is removed, oldest first, when nothing in it is needed. Its header says which record it
//! begins with: what older segments hold from that number on was never acknowledged, because syncing it failed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use xxhash_rust::xxh3::xxh3_64;

#[cfg(test)]
use super::tests::faults::Faults;

/// Bytes before the first record: the header twice, so that one damaged byte does not cost the segment.
pub(super) const HEADER: usize = 2 * ONCE;
const ONCE: usize = 32;
/// The last byte is the version.
const MAGIC: [u8; 8] = *b"pwback\0\x01";
const EXTENSION: &str = "journal";

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The seed of its checksums.
    pub(super) seed: u64,
    /// The sequence of its first record.
    pub(super) first: u64,
}

impl Header {
    fn once(self) -> [u8; ONCE] {
        let mut bytes = [0; ONCE];
        let mut rest = &mut bytes[..];
        let three = [MAGIC, self.seed.to_le_bytes(), self.first.to_le_bytes()];
        for eight in three.iter().chain([&xxh3_64(three.as_flattened()).to_le_bytes()]) {
            // Writing to a slice only fails when it is full: four times eight bytes fit.
            let _fits = rest.write_all(eight);
        }
        bytes
    }

    /// Reads the first of the two that is whole.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        bytes.get(..HEADER)?.chunks_exact(ONCE).find_map(|once| {
            let (content, checksum) = once.split_at_checked(ONCE - 8)?;
            let whole = content.starts_with(&MAGIC) && xxh3_64(content).to_le_bytes() == *checksum;
            let number =
                |from: usize| Some(u64::from_le_bytes(content.get(from..from + 8)?.try_into().ok()?));
            if whole { Some(Self { seed: number(8)?, first: number(16)? }) } else { None }
        })
    }
}

/// The journal's folder, locked.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// For syncing names.
    own: File,
    /// flock(2) on a file in it; given back when the process ends, however it ends.
    lock: File,
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<Faults>,
}

impl Folder {
    /// Makes the folder where it is missing, and locks it. `WouldBlock` where another process holds it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
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
        let own = File::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            own,
            lock,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        })
    }

    /// The numbers of its segments, oldest first.
    pub(super) fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = PathBuf::from(entry?.file_name());
            if name.extension().is_some_and(|extension| extension == EXTENSION) {
                numbers.extend(name.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()));
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Where a segment is.
    pub(super) fn path_of(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:020}.{EXTENSION}"))
    }

    /// A file beside the segments.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes new names, and that names are gone, durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.own.sync_all()
    }

    /// Removes a segment. Durable when it returns: an older one must never outlive a younger one, else what the
    /// younger one settled would be delivered again, behind what came later.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        fs::remove_file(self.path_of(number))?;
        self.sync()
    }

    /// Keeps a copy of a damaged segment for people, since the segment itself goes once it is not needed.
    pub(super) fn keep_copy(&self, number: u64) -> io::Result<PathBuf> {
        let copy = self.path_of(number).with_extension("damaged");
        if !copy.exists() {
            fs::copy(self.path_of(number), &copy)?;
            File::open(&copy)?.sync_all()?;
            self.sync()?;
        }
        Ok(copy)
    }

    /// Cuts off a torn tail.
    pub(super) fn cut(&self, number: u64, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path_of(number))?;
        file.set_len(length)?;
        file.sync_all()
    }

    /// A new, empty segment, durable when this returns.
    pub(super) fn create(&self, number: u64, first: u64) -> io::Result<Segment> {
        let path = self.path_of(number);
        let created = self.try_create(&path, number, first);
        if created.is_err() {
            // Nothing is in it; if it stays it is found empty, and removed, at the next start.
            let _best_effort = fs::remove_file(&path);
        }
        created
    }

    fn try_create(&self, path: &Path, number: u64, first: u64) -> io::Result<Segment> {
        let mut seed = [0; 8];
        rand::fill(&mut seed).map_err(|_| io::Error::other("no random numbers"))?;
        let header = Header { seed: u64::from_le_bytes(seed), first };
        #[cfg(test)]
        self.faults.creating()?;
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        let mut segment = Segment {
            number,
            seed: header.seed,
            bytes: 0,
            file,
            #[cfg(test)]
            faults: self.faults.clone(),
        };
        segment.file.write_all(&[header.once(), header.once()].concat())?;
        segment.bytes = HEADER as u64;
        segment.file.sync_all()?;
        self.sync()?;
        Ok(segment)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing alone would not do while a program that is being started has a copy of the descriptor.
        let _closed_anyway = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its place in the order of segments, and its name.
    pub(super) number: u64,
    /// The seed of its checksums.
    pub(super) seed: u64,
    /// Its length.
    pub(super) bytes: u64,
    file: File,
    #[cfg(test)]
    faults: std::sync::Arc<Faults>,
}

impl Segment {
    /// Adds records. After an error nobody knows what is in the file: it must be abandoned.
    pub(super) fn write(&mut self, records: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.writing(&mut self.file, records)?;
        self.file.write_all(records)?;
        self.bytes += records.len() as u64;
        Ok(())
    }

    /// Makes what was written durable. After an error it must be abandoned: the kernel may have dropped what it
    /// could not write, and the next sync would succeed without it.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.syncing()?;
        // With the file's length, which is what of its metadata is needed to read it (fdatasync(2)).
        self.file.sync_data()
    }

    /// Cuts off what was never synced, as far as that is possible still.
    pub(super) fn abandon(self, synced: u64) {
        #[cfg(test)]
        if self.faults.cutting().is_err() {
            return;
        }
        // Where it fails, the next segment's header says what of this one does not count.
        let _best_effort = self.file.set_len(synced).and_then(|()| self.file.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_when_either_copy_is_whole() {
        let header = Header { seed: 0x0123_4567_89ab_cdef, first: 42 };
        let bytes = [header.once(), header.once()].concat();
        assert_eq!(Header::read(&bytes), Some(header));
        for at in 0..HEADER {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(Header::read(&flipped), Some(header));
            flipped[(at + ONCE) % HEADER] ^= 1;
            assert_eq!(Header::read(&flipped), None);
        }
        assert!((0..HEADER).all(|length| Header::read(&bytes[..length]).is_none()));
    }
}
