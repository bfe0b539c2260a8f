//! Which file a request is answered with: the candidates in their order. It waits for the disk.

use std::{fs::File, io};

use rustix::fs::Stat;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Asked,
    beneath::{Entry, Folder},
    candidate::Candidate,
    conf::FilesConf,
};
use crate::filter::coding::Coding;

/// What the search came to.
#[derive(Debug)]
pub enum Outcome {
    /// A file.
    File(Found),
    /// The path is a folder's, and lacks the slash at its end.
    Folder,
    /// The search ends with this status.
    Status(u16),
    /// There is nothing.
    Nothing,
}

/// A file that is found and open.
#[derive(Debug)]
pub struct Found {
    /// It.
    pub file: File,
    /// Its name in the folder, without the ending of an encoding.
    pub name: String,
    /// Its encoding, where it stands for another one beside it.
    pub coding: Option<Coding>,
    /// Whether another client may get it in another encoding.
    pub varies: bool,
    /// Bytes.
    pub length: u64,
    /// When it was changed, in seconds since 1970; none before that.
    pub modified: Option<u64>,
    /// A number that is another one for what was changed, or put in its place: of its length, the time of its last change
    /// in nanoseconds, and its inode, since some tools give each file the same time.
    pub version: u64,
}

/// Looks for what is asked for.
pub(super) fn find(conf: &FilesConf, asked: &Asked) -> io::Result<Outcome> {
    let folder = Folder::open(&conf.root)?;
    for candidate in &conf.r#try {
        if let Candidate::Status(status) = candidate {
            return Ok(Outcome::Status(*status));
        }
        let Some(name) = candidate.fill(&asked.path, &asked.host) else { continue };
        let Some(name) = settle(conf, &folder, name)? else { continue };
        let is_folder_without_slash = candidate.is_own_folder() && !asked.path.ends_with(b"/");
        if is_folder_without_slash {
            return Ok(Outcome::Folder);
        }
        if let Some(found) = take(conf, &folder, name, asked)? {
            return Ok(Outcome::File(found));
        }
    }
    Ok(Outcome::Nothing)
}

/// The file that a name stands for: itself, or what stands for the folder that it names.
fn settle(conf: &FilesConf, folder: &Folder, name: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    if !name.ends_with(b"/") {
        return Ok(is_file(folder, &name)?.then_some(name));
    }
    if !matches!(folder.look(&name)?, Some(Entry::Folder)) {
        return Ok(None);
    }
    for index in &conf.index {
        let name = [&*name, index.as_bytes()].concat();
        if is_file(folder, &name)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn is_file(folder: &Folder, name: &[u8]) -> io::Result<bool> {
    Ok(matches!(folder.look(name)?, Some(Entry::File)))
}

/// Opens a file, or what stands beside it in an encoding that the client takes.
fn take(conf: &FilesConf, folder: &Folder, name: Vec<u8>, asked: &Asked) -> io::Result<Option<Found>> {
    let beside = |coding: Coding| [&*name, ending(coding)].concat();
    let mut there = Vec::new();
    for coding in &conf.precompressed {
        if is_file(folder, &beside(*coding))? {
            there.push(*coding);
        }
    }
    let coding = asked.codings.iter().copied().find(|coding| there.contains(coding));
    let opened = folder.read(&coding.map_or_else(|| name.clone(), beside))?;
    Ok(opened.map(|(file, stat)| {
        let name = String::from_utf8_lossy(name.strip_prefix(b"./").unwrap_or(&name)).into_owned();
        found(file, &stat, name, (coding, !there.is_empty()))
    }))
}

fn found(file: File, stat: &Stat, name: String, (coding, varies): (Option<Coding>, bool)) -> Found {
    let (modified, nanoseconds) = (stat.st_mtime, stat.st_mtime_nsec);
    let length = u64::try_from(stat.st_size).unwrap_or_default();
    let facts = [length, modified.cast_unsigned(), nanoseconds, stat.st_ino];
    Found {
        file,
        name,
        coding,
        varies,
        length,
        modified: u64::try_from(modified).ok(),
        version: xxh3_64(facts.map(u64::to_le_bytes).as_flattened()),
    }
}

/// What the name of a file in an encoding ends with.
fn ending(coding: Coding) -> &'static [u8] {
    match coding {
        Coding::Zstd => b".zst",
        Coding::Br => b".br",
        Coding::Gzip => b".gz",
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
