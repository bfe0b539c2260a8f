//! All objects, one after the other, for purging by prefix and by tag. Runs on the caller's thread.

use std::sync::PoisonError;

use super::{
    index::Id,
    judge::Visit,
    read,
    shared::Shared,
    store::Disk,
    update::{self, Noted},
};

/// As many ids are taken from the index at once.
const STEP: usize = 1024;

impl Disk {
    /// Shows every object's `meta` to `visit`, and does what that answers; returns when all are through. Waits for
    /// the scan at start, and for the disk: not for an event loop. Of what is stored meanwhile, what
    /// was judged before this is shown, and what is judged later may not be.
    pub fn visit(&self, visit: &mut dyn FnMut(&[u8]) -> Visit) {
        all(&self.shared, visit);
    }
}

/// Shows all objects.
fn all(shared: &Shared, visit: &mut dyn FnMut(&[u8]) -> Visit) {
    wait_for_scan(shared);
    shared.wait_for_placing();
    let mut from = Some(0);
    while let Some(slot) = from {
        let (ids, next) = shared.lock_index().ids(slot, STEP);
        from = next;
        for id in ids {
            if shared.queue.is_closed() {
                return;
            }
            let Some(meta) = shared.waiting_head(id).or_else(|| read::head(shared, id)) else { continue };
            apply(shared, id, visit(&meta));
        }
    }
}

/// Does what was answered for an object.
pub(super) fn apply(shared: &Shared, id: Id, visit: Visit) {
    match visit {
        Visit::Keep => {}
        Visit::Remove => remove_now(shared, id),
        Visit::Update(meta) => match update::note(shared, id, meta) {
            Noted::Waits | Noted::Behind => update::put_in_force(shared, id),
            Noted::Unfit => remove_now(shared, id),
        },
    }
}

/// Takes an object out, and deletes its file now, so that it does not come back however soon the process is killed.
fn remove_now(shared: &Shared, id: Id) {
    let mut gone = Vec::new();
    // No update gives it another name between the two.
    let _moving = shared.lock_moving();
    shared.lock_index().remove(id, &mut gone);
    shared.unlink_now(&gone);
}

/// What the scan has not come by would be missed, and be there later.
fn wait_for_scan(shared: &Shared) {
    let mut index = shared.lock_index();
    while index.is_scanning {
        index = shared.scanned.wait(index).unwrap_or_else(PoisonError::into_inner);
    }
}
