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

    /// Whether that was later than this moment, as it is known `now`.
    pub fn is_after(self, moment: Moment, now: Moment) -> bool {
        // Nothing comes later than now, so that what did before the moment, by which numbers say "later", is told apart.
        let age = Self::at(now).0.wrapping_sub(self.0);
        u64::from(age) < (now.0 / 1000).saturating_sub(moment.0 / 1000)
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_came_later_is_known_when_numbers_begin_anew() {
        const MILLI: u64 = 1000;
        for now in [5, 1 << 31, (1 << 32) - 1, 1 << 32, (3 << 32) + 7].map(|millis| Moment(millis * MILLI)) {
            let came = Came::at(now);
            for asked in [now, Moment(now.0 + 2 * MILLI)] {
                let is_after = |moment| came.is_after(moment, asked);
                assert!(is_after(Moment(now.0 - MILLI)) && is_after(Moment(now.0 - 3 * MILLI)));
                assert!(!is_after(now) && !is_after(Moment(now.0 + 9 * MILLI)));
            }
        }
    }

    /// What had been on disk for 25 to 49 days counted as overtaken: it came into memory no more, and what validated it was
    /// stored nowhere.
    #[test]
    fn what_came_long_ago_came_before_now() {
        const DAY: u64 = 86_400_000_000;
        let came = Came::at(Moment(DAY));
        for days in [1, 24, 25, 30, 40, 49] {
            let now = Moment((1 + days) * DAY);
            assert!(!came.is_after(now, now), "{days} days");
            assert!(!came.is_after(now.minus(Duration::from_secs(60)), now), "{days} days");
            assert!(came.is_after(Moment(DAY - 1000), now), "{days} days");
        }
    }
}
