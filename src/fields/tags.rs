//! Which of the known names may be among some fields: asked first, so that what is not there is not looked for.

use super::Known;

/// A set of tags, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tags(u64);

const _: () = assert!((Known::Other as u8) < 64, "a tag is a bit of 64");

impl Tags {
    /// These tags.
    #[inline]
    pub(super) fn of(all: &[Known]) -> Self {
        all.iter().fold(Self::default(), |tags, known| Self(tags.0 | Self::bit(*known)))
    }

    /// Adds one.
    #[inline]
    pub(super) fn add(&mut self, known: Known) {
        self.0 |= Self::bit(known);
    }

    /// Adds all of these.
    #[inline]
    pub(super) fn join(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// Takes one out.
    #[inline]
    pub(super) fn remove(&mut self, known: Known) {
        self.0 &= !Self::bit(known);
    }

    /// Whether this one is in it.
    #[inline]
    pub(super) fn has(self, known: Known) -> bool {
        self.0 & Self::bit(known) != 0
    }

    /// Whether one of these is in it.
    #[inline]
    pub(super) fn meets(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    #[inline]
    fn bit(known: Known) -> u64 {
        1 << known as u8
    }
}
