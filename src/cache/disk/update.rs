//! A new head for an object whose body stays: appended to the file, and put in force by a rename.
//!
//! One head at most waits for an object, the newest; it is what [`super::Disk::head`] gives from then on. An update
//! that cannot be written takes the object with it: the older head may promise what no longer holds.

use std::{collections::hash_map, fs::File, io, os::unix::fs::FileExt, time::Duration};

use super::{
    heads::Head,
    index::Id,
    layout::{LONGEST_META, Name},
    queue::Job,
    shared::Shared,
    store::Disk,
};

/// How long a thread waits for another to write a head.
const PATIENCE: Duration = Duration::from_secs(5);

impl Disk {
    /// Gives the object a new `meta`; its body stays. [`Self::head`] gives it from now on.
    pub fn update(&self, id: Id, meta: Vec<u8>) {
        match note(&self.shared, id, meta) {
            Noted::Waits => schedule(&self.shared, id),
            Noted::Behind => {}
            Noted::Unfit => self.shared.remove(id),
        }
    }
}

/// What became of a new head.
pub(super) enum Noted {
    /// Somebody has to [`run`] it.
    Waits,
    /// Who runs the one before it runs it too, or its object is gone.
    Behind,
    /// It cannot be kept, and its object has to go.
    Unfit,
}

/// Notes a new head.
pub(super) fn note(shared: &Shared, id: Id, meta: Vec<u8>) -> Noted {
    if shared.lock_index().name(id).is_none() {
        return Noted::Behind;
    }
    if meta.len() > LONGEST_META || !shared.take_place(meta.len()) {
        return Noted::Unfit;
    }
    let mut heads = shared.lock_heads();
    match heads.entry(id) {
        hash_map::Entry::Occupied(mut waiting) => {
            let head = waiting.get_mut();
            shared.give_place(head.meta.len());
            head.meta = meta;
            head.is_newer = head.is_running;
            Noted::Behind
        }
        hash_map::Entry::Vacant(place) => {
            place.insert(Head { meta, is_newer: false, is_running: false });
            Noted::Waits
        }
    }
}

/// Has it written by an io thread.
fn schedule(shared: &Shared, id: Id) {
    if !shared.queue.push(Job::Update(id)) {
        forget(shared, id);
    }
}

/// Writes the head that waits for an object, also where a job for it waits, and returns when it is in force; for a thread
/// that may wait.
pub(super) fn put_in_force(shared: &Shared, id: Id) {
    run(shared, id);
    // Another has it in hand.
    let heads = shared.lock_heads();
    drop(shared.put.wait_timeout_while(heads, PATIENCE, |heads| heads.contains_key(&id)));
}

/// Writes the head that waits for an object, and those that come meanwhile, unless another does.
pub(super) fn run(shared: &Shared, id: Id) {
    let mut is_own = false;
    loop {
        let meta = {
            let mut heads = shared.lock_heads();
            let Some(head) = heads.get_mut(&id).filter(|head| is_own || !head.is_running) else { return };
            is_own = true;
            head.is_newer = false;
            head.is_running = true;
            head.meta.clone()
        };
        if let Err(error) = write(shared, id, &meta) {
            shared.failed("a head cannot be written, and its object was removed", &error);
            // A purge that waits for the head answers when this is through.
            shared.remove_now(id);
        }
        let mut heads = shared.lock_heads();
        if let hash_map::Entry::Occupied(head) = heads.entry(id)
            && !head.get().is_newer
        {
            shared.give_place(head.remove().meta.len());
            shared.put.notify_all();
            return;
        }
    }
}

fn forget(shared: &Shared, id: Id) {
    let mut heads = shared.lock_heads();
    if let Some(head) = heads.remove(&id) {
        shared.give_place(head.meta.len());
        shared.put.notify_all();
    }
}

fn write(shared: &Shared, id: Id, meta: &[u8]) -> io::Result<()> {
    let (old, generation) = {
        let index = shared.lock_index();
        let Some(name) = index.name(id) else { return Ok(()) };
        (name, index.generation)
    };
    let head = old.encode(meta);
    let new = old.with_head(&head);
    let growth = new.size().saturating_sub(old.size());
    let mut gone = Vec::new();
    let has_room = shared.lock_index().reserve(growth, &mut gone);
    shared.unlink_now(&gone);
    if !has_room {
        shared.remove_now(id);
        return Ok(());
    }
    let file = put(shared, generation, (&old, &new), &head);
    let mut gone = Vec::new();
    // Whoever finds no file of the older name waits for the newer one to be known.
    let moving = shared.lock_moving();
    let mut is_renamed = false;
    let written = file.and_then(|file| {
        shared.folder.rename_object(generation, &old, &new)?;
        is_renamed = true;
        // With the head in front, the older one behind it is not in force any more.
        if new.shift == 0 { file.set_len(new.end()) } else { Ok(()) }
    });
    let mut index = shared.lock_index();
    index.release(growth);
    let is_there =
        written.is_ok() && index.generation == generation && index.move_head(id, old, new, &mut gone);
    let is_gone = index.name(id) != Some(new);
    drop(index);
    drop(moving);
    if !is_there && is_renamed {
        // It left between the rename and now, or leaves since the file could not be cut; who takes it out deletes the older
        // name, and the next start would find this one.
        gone.push((generation, new));
    }
    shared.unlink_now(&gone);
    match written {
        // Evicted or removed meanwhile: its file went away under our hands.
        Err(error) if is_gone && error.kind() == io::ErrorKind::NotFound => {
            shared.remove(id);
            Ok(())
        }
        done => done,
    }
}

/// Writes a head to where the older one is not.
fn put(shared: &Shared, generation: u32, (old, new): (&Name, &Name), head: &[u8]) -> io::Result<File> {
    let file = shared.folder.open_object(generation, old, true)?;
    file.write_all_at(head, new.head_at())?;
    Ok(file)
}
