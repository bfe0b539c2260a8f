//! Objects that nobody asked for in a long time.

use super::{Gone, Index};

impl Index {
    /// Says whether it is to be noted when objects are asked for.
    pub(in crate::cache::disk) fn set_watches_idle(&mut self, is_on: bool) {
        self.asked.set(is_on, self.entries.capacity());
    }

    /// What is under a key was asked for elsewhere.
    pub(in crate::cache::disk) fn note_asked(&mut self, key: u128) {
        let slots: Vec<u32> = self.of_key(key).map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| self.asked.note(slot));
    }

    /// The next turn of the clock by which objects become idle.
    pub(in crate::cache::disk) fn next_turn(&mut self) {
        self.asked.advance();
    }

    /// Takes out what is idle among some objects, from slot `from` on; gives the slot to go on from.
    pub(in crate::cache::disk) fn remove_idle(
        &mut self,
        from: usize,
        most: usize,
        gone: &mut Vec<Gone>,
    ) -> Option<usize> {
        let (ids, next) = self.ids(from, most);
        for id in ids.into_iter().filter(|id| self.asked.is_idle(id.slot)).collect::<Vec<_>>() {
            self.remove(id, gone);
        }
        next
    }
}
