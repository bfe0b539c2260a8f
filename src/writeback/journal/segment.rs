//! Segments: the files of the journal, in a folder that one process holds.
//!
//! Previous stop: [`super::writer`]. Next stop: [`super::files`].
//!
//! A segment is created whole (header, synced, folder synced) before a record goes into it, is appended to by one
//! process only, and is removed, oldest first, when nothing in it is needed. Its header says which record it
//! begins with: what older segments hold from that number on was never acknowledged, because syncing it failed.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use xxhash_rust::xxh3::xxh3_64;

use super::files::{AppendFile, Directory, LockedDirectory};

/// Bytes before the first record: the header twice, so that one damaged byte does not cost the segment.
pub(super) const HEADER: usize = 2 * ONCE;
const ONCE: usize = 32;
/// The last byte is the version.
const MAGIC: [u8; 8] = *b"pwback\0\x01";

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

/// The journal's folder.
#[derive(Debug)]
pub(super) struct Folder {
    directory: Box<dyn Directory>,
}

impl Folder {
    /// Makes the folder where it is missing, and locks it. `WouldBlock` where another process holds it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::of(Box::new(LockedDirectory::open(path)?)))
    }

    /// The folder that is this directory.
    pub(super) fn of(directory: Box<dyn Directory>) -> Self {
        Self { directory }
    }

    /// What is in it.
    pub(super) fn directory(&self) -> &dyn Directory {
        &*self.directory
    }

    /// The numbers of its segments, oldest first.
    pub(super) fn segments(&self) -> io::Result<Vec<u64>> {
        let names = self.directory.names()?;
        let stems = names.iter().filter_map(|name| name.strip_suffix(SEGMENT));
        let mut numbers: Vec<u64> = stems.filter_map(|stem| stem.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Where a segment is, for people.
    pub(super) fn path_of(&self, number: u64) -> PathBuf {
        self.directory.path().join(name_of(number))
    }

    /// All bytes of a segment.
    pub(super) fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        self.directory.read(&name_of(number))
    }

    /// Removes a segment, if it is there. Durable when it returns: an older one must never outlive a younger one, else
    /// what the younger one completed would be delivered again, behind what came later.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        match self.directory.remove(&name_of(number)) {
            // It was removed before, and only the sync failed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        self.directory.sync()
    }

    /// Keeps a copy of a damaged segment for people, since the segment itself goes once it is not needed.
    pub(super) fn keep_copy(&self, number: u64) -> io::Result<PathBuf> {
        let (name, part) = (format!("{number:020}{DAMAGED}"), format!("{number:020}{PART}"));
        let names = self.directory.names()?;
        if !names.contains(&name) {
            if names.contains(&part) {
                // Of a start that did not come to its end.
                self.directory.remove(&part)?;
            }
            self.copy(number, &part).inspect_err(|_| {
                // It would take room, of which there may be none.
                let _best_effort = self.directory.remove(&part);
            })?;
            self.directory.rename(&part, &name)?;
        }
        self.directory.sync()?;
        Ok(self.directory.path().join(name))
    }

    fn copy(&self, number: u64, name: &str) -> io::Result<()> {
        let mut copy = self.directory.create(name)?;
        copy.append(&self.read(number)?)?;
        copy.sync()
    }

    /// Makes durable what is in a segment.
    pub(super) fn sync(&self, number: u64) -> io::Result<()> {
        self.directory.open(&name_of(number))?.sync()
    }

    /// Cuts off a torn tail.
    pub(super) fn cut(&self, number: u64, length: u64) -> io::Result<()> {
        self.directory.open(&name_of(number))?.cut(length)
    }

    /// A new, empty segment, durable when this returns. After an error there may be one.
    pub(super) fn create(&self, number: u64, first: u64) -> io::Result<Segment> {
        let mut seed = [0; 8];
        rand::fill(&mut seed).map_err(|_| io::Error::other("no random numbers"))?;
        let header = Header { seed: u64::from_le_bytes(seed), first };
        let mut file = self.directory.create(&name_of(number))?;
        file.append(&[header.once(), header.once()].concat())?;
        file.sync()?;
        self.directory.sync()?;
        Ok(Segment { number, seed: header.seed, bytes: HEADER as u64, file })
    }
}

fn name_of(number: u64) -> String {
    format!("{number:020}{SEGMENT}")
}

/// What the names of segments end with.
const SEGMENT: &str = ".journal";
/// The ending of the names of copies of damaged segments.
const DAMAGED: &str = ".damaged";
/// The ending of the names of such copies that are not whole.
const PART: &str = ".part";

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its place in the order of segments, and its name.
    pub(super) number: u64,
    /// The seed of its checksums.
    pub(super) seed: u64,
    /// Its length.
    pub(super) bytes: u64,
    file: Box<dyn AppendFile>,
}

impl Segment {
    /// Adds records. After an error nobody knows what is in the file: it must be abandoned.
    pub(super) fn write(&mut self, records: &[u8]) -> io::Result<()> {
        self.file.append(records)?;
        self.bytes += records.len() as u64;
        Ok(())
    }

    /// Makes what was written durable. After an error it must be abandoned: the kernel may have dropped what it
    /// could not write, and the next sync would succeed without it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Cuts off what was never synced, as far as that is possible still.
    pub(super) fn abandon(self, synced: u64) {
        // Where it fails, the next segment's header says what of this one does not count.
        let _best_effort = self.file.cut(synced);
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
