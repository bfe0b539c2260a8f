//! Which objects there are, for who looks at each.

use std::collections::HashSet;

use super::{Entry, Id, Index};
use crate::cache::disk::layout::Keyed;

impl Index {
    /// All under a key, also those that are not found any more since nobody asks for them.
    pub(in crate::cache::disk) fn ids_of_key(&self, key: u128) -> Vec<Id> {
        self.of_key(key).map(|(slot, entry)| Id { sequence: entry.sequence, slot }).collect()
    }

    /// Some ids, from slot `from` on, and the slot to go on from.
    pub(in crate::cache::disk) fn ids(&self, from: usize, most: usize) -> (Vec<Id>, Option<usize>) {
        self.ids_where(from, most, |_| true)
    }

    /// The same of those whose keys may have more than a URI, and are none of these.
    pub(in crate::cache::disk) fn ids_of_others(
        &self,
        keys: &HashSet<u128>,
        from: usize,
        most: usize,
    ) -> (Vec<Id>, Option<usize>) {
        match self.has_others() {
            true => {
                self.ids_where(from, most, |entry| entry.keyed != Keyed::Uri && !keys.contains(&entry.key))
            }
            false => (Vec::new(), None),
        }
    }

    /// Whether there are objects whose keys may have more than a URI.
    pub(in crate::cache::disk) fn has_others(&self) -> bool {
        self.kinds.has_others()
    }

    /// Whether there are objects whose keys are known to have more than a URI, or may turn out to.
    pub(in crate::cache::disk) fn may_have_fields(&self) -> bool {
        self.is_scanning || self.kinds.fields > 0
    }

    fn ids_where(
        &self,
        from: usize,
        most: usize,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> (Vec<Id>, Option<usize>) {
        let end = from.saturating_add(most);
        let id = |slot| {
            let entry = self.entries.get(slot).filter(|entry| is_wanted(entry))?;
            Some(Id { sequence: entry.sequence, slot: u32::try_from(slot).ok()? })
        };
        let ids = (from..end.min(self.entries.capacity())).filter_map(id).collect();
        (ids, (end < self.entries.capacity()).then_some(end))
    }
}
