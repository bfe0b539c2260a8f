//! An object of the index, and what it is found by.

use std::num::{NonZeroU8, NonZeroU32};

use crate::{
    cache::disk::layout::{Keyed, Name},
    moment::Moment,
};

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
    /// When it came, or its head did.
    pub came: Came,
}

/// When an object came, or its newest head: milliseconds in four bytes, which begin anew after some seven weeks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came(u32);

impl Came {
    pub(super) fn at(moment: Moment) -> Self {
        const LOWER: u64 = 0xffff_ffff;
        Self(((moment.0 / 1000) & LOWER) as u32)
    }

    /// Whether that was later than this moment. Of what came weeks before it that may be said too: who asks looks closer
    /// then.
    pub fn is_after(self, moment: Moment) -> bool {
        let later = self.0.wrapping_sub(Self::at(moment).0);
        later > 0 && later < 1 << 31
    }
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
    pub(super) came: Came,
    /// The next object under the same half of a key.
    pub(super) next: u32,
    pub(super) block: NonZeroU8,
    pub(super) mark: Option<NonZeroU32>,
    pub(super) keyed: Keyed,
}

// As many of them as there are files.
const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    /// What it is found as in a slot.
    pub(super) fn found(&self, slot: u32) -> Found {
        Found { id: Id { sequence: self.sequence, slot }, length: self.length, came: self.came }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_later_is_known_when_numbers_begin_anew() {
        const MILLI: u64 = 1000;
        for now in [5, 1 << 31, (1 << 32) - 1, 1 << 32, (3 << 32) + 7].map(|millis| Moment(millis * MILLI)) {
            let came = Came::at(now);
            assert!(came.is_after(Moment(now.0 - MILLI)) && came.is_after(Moment(now.0 - 3 * MILLI)));
            assert!(!came.is_after(now) && !came.is_after(Moment(now.0 + 9 * MILLI)));
        }
    }
}
