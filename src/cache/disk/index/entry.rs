//! An object of the index, and what it is found by.

use std::num::{NonZeroU8, NonZeroU32};

use crate::cache::disk::layout::{Keyed, Name};

/// An object of the store. It never means another object, also after its own is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    pub(super) sequence: u64,
    pub(super) slot: u32,
}

/// An object that is stored under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub id: Id,
    /// The bytes of its body.
    pub length: u64,
}

/// An object; 64 bytes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: u128,
    pub(super) sequence: u64,
    pub(super) length: u64,
    pub(super) rank: u64,
    pub(super) shift: u32,
    pub(super) head: u32,
    /// The next object under the same half of a key.
    pub(super) next: u32,
    pub(super) block: NonZeroU8,
    pub(super) mark: Option<NonZeroU32>,
    pub(super) keyed: Keyed,
}

// As many of them as there are files.
const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    /// Of its file.
    pub(super) fn name(&self) -> Name {
        let Self { key, sequence, length, shift, head, block, mark, keyed, .. } = *self;
        Name { key, sequence, length, shift, head, block, mark, keyed }
    }
}

/// The half of a key that the index looks for first; the whole is compared behind it.
pub(super) fn half(key: u128) -> u64 {
    const LOWER: u128 = 0xffff_ffff_ffff_ffff;
    (key & LOWER) as u64
}
