//! All objects, or those that may be of a URI, one after the other, for purging. Runs on the caller's thread.

use std::{collections::HashSet, sync::PoisonError};

use super::{
    index::Id,
    judge::Visit,
    read::{self, Unread},
    shared::Shared,
    store::Disk,
    update::{self, Noted},
};

/// As many ids are taken from the index at once.
const STEP: usize = 1024;

/// Which objects are shown.
#[derive(Clone, Copy)]
enum Among<'a> {
    All,
    /// Those whose keys may have more than a URI, and are none of these.
    Others(&'a HashSet<u128>),
}

impl Disk {
    /// Shows every object's `meta` to `visit`, and does what that answers; returns when all are through. Waits for the
    /// scan at start, and for the disk: not for an event loop. Of what is stored meanwhile, what was judged before this is
    /// shown, and what is judged later may not be. What cannot be shown, since its file cannot be opened, is removed.
    pub fn visit(&self, visit: &mut dyn FnMut(&[u8]) -> Visit) {
        begin(&self.shared);
        show_all(&self.shared, Among::All, visit);
    }

    /// The same of those of one URI, by its key, where all keys are URIs. Else it shows none, and is false.
    pub fn visit_uri(&self, key: u128, visit: &mut dyn FnMut(&[u8]) -> Visit) -> bool {
        begin(&self.shared);
        let index = self.shared.lock_index();
        let ids = (!index.has_others()).then(|| index.ids_of_key(key));
        drop(index);
        let is_done = ids.is_some();
        ids.into_iter().flatten().for_each(|id| show(&self.shared, id, visit));
        is_done
    }

    /// The same of those that may be of some URIs: those under their keys, and those whose keys have more than a URI, or
    /// may.
    pub fn visit_uris(&self, keys: &HashSet<u128>, visit: &mut dyn FnMut(&[u8]) -> Visit) {
        begin(&self.shared);
        for key in keys {
            let ids = self.shared.lock_index().ids_of_key(*key);
            ids.into_iter().for_each(|id| show(&self.shared, id, visit));
        }
        show_all(&self.shared, Among::Others(keys), visit);
    }

    /// Whether there are objects whose keys are known to have more than a URI, or may turn out to.
    pub fn may_have_fields(&self) -> bool {
        self.shared.lock_index().may_have_fields()
    }
}

/// Waits until whatever is there can be shown.
fn begin(shared: &Shared) {
    wait_for_scan(shared);
    shared.wait_for_placing();
}

fn show_all(shared: &Shared, among: Among<'_>, visit: &mut dyn FnMut(&[u8]) -> Visit) {
    let mut from = Some(0);
    while let Some(slot) = from {
        let index = shared.lock_index();
        let (ids, next) = match among {
            Among::All => index.ids(slot, STEP),
            Among::Others(keys) => index.ids_of_others(keys, slot, STEP),
        };
        drop(index);
        from = next;
        ids.into_iter().for_each(|id| show(shared, id, visit));
    }
}

fn show(shared: &Shared, id: Id, visit: &mut dyn FnMut(&[u8]) -> Visit) {
    if shared.queue.is_closed() {
        return;
    }
    match shared.waiting_head(id).map_or_else(|| read::head(shared, id), Ok) {
        Ok(meta) => apply(shared, id, visit(&meta)),
        // It may be what the caller looks for, and would be found again once there are descriptors. To go takes none.
        Err(Unread::CannotOpen) => shared.remove_now(id),
        Err(Unread::Gone) => {}
    }
}

/// Does what was answered for an object.
pub(super) fn apply(shared: &Shared, id: Id, visit: Visit) {
    match visit {
        Visit::Keep => {}
        Visit::Remove => shared.remove_now(id),
        Visit::Update(meta) => match update::note(shared, id, meta) {
            Noted::Waits | Noted::Behind => update::put_in_force(shared, id),
            Noted::Unfit => shared.remove_now(id),
        },
    }
}

/// What the scan has not come by would be missed, and be there later.
fn wait_for_scan(shared: &Shared) {
    let mut index = shared.lock_index();
    while index.is_scanning {
        index = shared.scanned.wait(index).unwrap_or_else(PoisonError::into_inner);
    }
}
