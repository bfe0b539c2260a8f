//! The scan at start, which fills the index, and the deletion of generations that were cleared.
//!
//! The scan reads the 256 folders and opens no file: names say all ([`super::layout::Name`]). What is damaged shows
//! when it is read. Within a folder older objects come first, so that the order of eviction is about what it was.

use std::sync::PoisonError;

use super::{layout::Name, shared::Shared};

/// As many names are taken in between two looks at who else wants the index.
const STEP: usize = 256;

/// Takes all objects of the generation in force into the index.
pub(super) fn scan(shared: &Shared) {
    let generation = shared.lock_index().generation;
    for folder in 0..=u8::MAX {
        let mut names = match shared.folder.objects(generation, folder) {
            Ok(names) => names,
            Err(error) => {
                shared.failed("the scan of the disk cache", &error);
                continue;
            }
        };
        names.sort_unstable_by_key(|name| name.sequence);
        for names in names.chunks(STEP) {
            if shared.queue.is_closed() || !adopt(shared, names, generation) {
                return;
            }
        }
    }
    // Of a program that ended before it was done with a clearing: nobody counts what this takes.
    delete_old_generations(shared, || shared.queue.is_closed());
}

/// False when the store was cleared in the meantime.
fn adopt(shared: &Shared, names: &[Name], generation: u32) -> bool {
    let mut gone = Vec::new();
    let mut index = shared.lock_index();
    if index.generation != generation {
        return false;
    }
    for name in names {
        if !index.adopt(*name, &mut gone) {
            gone.push((generation, *name));
        }
    }
    drop(index);
    shared.unlink_now(&gone);
    true
}

/// Deletes what the generations before the one in force have left, unless it is over before.
pub(super) fn delete_old_generations(shared: &Shared, is_over: impl Fn() -> bool) {
    // Two at once would count the same files.
    let _deleting = shared.deleting.lock().unwrap_or_else(PoisonError::into_inner);
    let (current, leaving) = {
        let index = shared.lock_index();
        (index.generation, index.leaving)
    };
    let generations = match shared.folder.generations() {
        Ok(generations) => generations,
        Err(error) => return shared.failed("the deletion of what was cleared", &error),
    };
    let mut left = leaving;
    for generation in generations.into_iter().filter(|generation| *generation < current) {
        for folder in 0..=u8::MAX {
            for name in shared.folder.objects(generation, folder).unwrap_or_default() {
                if is_over() {
                    return;
                }
                shared.unlink_now(&[(generation, name)]);
                let size = name.size().min(left);
                left -= size;
                shared.lock_index().leaving -= size;
            }
        }
        shared.folder.remove_generation(generation);
    }
    // Files that were on their way out, or that somebody else deleted, were not met.
    let mut index = shared.lock_index();
    index.leaving = index.leaving.saturating_sub(left);
}
