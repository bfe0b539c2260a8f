//! How a store is opened.

use std::path::PathBuf;

use crate::cache::conf::Eviction;

/// What a store is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder. It is made where it is missing; what else is in it is left alone.
    pub path: PathBuf,
    /// The most bytes that the files may cost, heads, checksums and the rounding to 4 KiB included.
    pub limit: u64,
    /// Which object leaves when room is needed.
    pub eviction: Eviction,
    /// The bytes that one checksum covers, and that are read at once; rounded up to a power of two from 512 bytes
    /// to 16 MiB. Files written with another size stay readable.
    pub block: usize,
    /// The bytes that may wait to be written.
    pub queue: usize,
    /// The io threads.
    pub threads: usize,
    /// The mark in the folder that is the caller's own: it knows what it missed. With any other, nothing that is there
    /// counts.
    pub mark: Option<String>,
}

impl Options {
    /// A folder and a limit, and the rest as it suits most: blocks of 64 KiB, 64 MiB that may wait, four threads.
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> Self {
        Self {
            path: path.into(),
            limit,
            eviction: Eviction::default(),
            block: 64 << 10,
            queue: 64 << 20,
            threads: 4,
            mark: None,
        }
    }
}
