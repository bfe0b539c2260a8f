//! Most recently used: the object that was asked for last leaves. Right where a loop is longer than what fits.

use super::{entries::Entries, list::List, order::Order};

/// Objects as they were last asked for.
#[derive(Debug, Default)]
pub(super) struct Mru(List);

impl Order for Mru {
    type Mark = ();

    fn place(&mut self, entries: &mut Entries<()>, slot: u32) {
        self.0.push(entries, slot);
    }

    fn displace(&mut self, entries: &mut Entries<()>, slot: u32) {
        self.0.remove(entries, slot);
    }

    fn touch(&mut self, entries: &mut Entries<()>, slot: u32) {
        self.0.renew(entries, slot);
    }

    fn victim(&mut self, _: &mut Entries<()>) -> u32 {
        self.0.newest()
    }
}
