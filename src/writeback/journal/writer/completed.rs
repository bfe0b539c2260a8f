//! Writes that are done with, until that is durable.
//!
//! Previous stop: [`super::Delivery`]. They wait in two places: in [`super::Writer`], in the order in which they came,
//! until their records can be written, and then beside the segment in which these are, until it is synced.

use std::{collections::HashSet, mem, sync::Arc};

use crate::writeback::journal::{
    entry::{Entry, Id},
    replay::Place,
};

/// A write that is done with.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) id: Id,
    pub(super) uri: Box<[u8]>,
    /// Where it is.
    pub(super) place: Place,
    /// Until it is in the file of refused writes.
    pub(super) refused: Option<Refused>,
}

/// A write that the origin refused, and why.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) entry: Arc<Entry>,
    pub(super) why: String,
    /// It could not be kept in its file yet, and takes room still.
    pub(super) is_charged: bool,
}

/// Takes those out whose records may be written. What was refused has to be in its file first; and so have to be those
/// of its URI that came before, since the record of one completes all before it.
pub(super) fn take_ready(completed: &mut Vec<Completed>) -> Vec<Completed> {
    let mut held_back = HashSet::new();
    let (held, ready) = mem::take(completed).into_iter().partition(|one: &Completed| {
        if one.refused.is_some() {
            held_back.insert(one.uri.clone());
        }
        held_back.contains(&one.uri)
    });
    *completed = held;
    ready
}

/// Whether a segment has to stay for what is not durable. Once it is gone, what was completed in it cannot come back;
/// but one that was copied to a later segment still can, as long as its record can be lost. Then it would be delivered
/// again without those that came after it, and in their place.
pub(super) fn hold<'a>(segment: u64, mut completed: impl Iterator<Item = &'a Completed> + Clone) -> bool {
    let copied = completed.clone().filter(|one| one.place.is_copied);
    let copied: HashSet<&[u8]> = copied.map(|one| &*one.uri).collect();
    completed.any(|one| one.place.segment == segment && copied.contains(&*one.uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_write_holds_back_later_ones_of_its_uri() {
        let one = |id, uri: &str, is_refused: bool| {
            let entry = Arc::new(Entry { id: Id(id), write: crate::writeback::journal::Write::default() });
            let refused = is_refused.then(|| Refused { entry, why: String::new(), is_charged: false });
            let place = Place { segment: 1, is_copied: false };
            Completed { id: Id(id), uri: uri.as_bytes().into(), place, refused }
        };
        let ids = |all: &[Completed]| all.iter().map(|one| one.id.0).collect::<Vec<_>>();
        let mut all = vec![one(1, "/a", false), one(2, "/a", true), one(3, "/b", false), one(4, "/a", false)];
        assert_eq!(ids(&take_ready(&mut all)), [1, 3]);
        assert_eq!(ids(&all), [2, 4]);
        all[0].refused = None;
        assert_eq!(ids(&take_ready(&mut all)), [2, 4]);
        assert!(all.is_empty());
    }
}
