//! How many objects there are, by what is known of their keys.

use crate::cache::disk::layout::Keyed;

/// How many there are; of those with the key of a URI alone nobody needs to know.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    pub(super) unknown: usize,
    pub(super) fields: usize,
}

impl Kinds {
    /// One more.
    pub(super) fn add(&mut self, keyed: Keyed) {
        match keyed {
            Keyed::Unknown => self.unknown += 1,
            Keyed::Uri => {}
            Keyed::Fields => self.fields += 1,
        }
    }

    /// One less.
    pub(super) fn remove(&mut self, keyed: Keyed) {
        match keyed {
            Keyed::Unknown => self.unknown = self.unknown.saturating_sub(1),
            Keyed::Uri => {}
            Keyed::Fields => self.fields = self.fields.saturating_sub(1),
        }
    }

    /// Whether some may have more than a URI.
    pub(super) fn has_others(&self) -> bool {
        self.unknown > 0 || self.fields > 0
    }
}
