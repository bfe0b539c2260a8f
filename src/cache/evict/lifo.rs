//! Last in, first out: the object that came last leaves, so what came first stays for good.

use super::{entries::Entries, list::List, order::Order};

/// Objects as they came.
#[derive(Debug, Default)]
pub(super) struct Lifo(List);

impl Order for Lifo {
    type Mark = ();

    fn place(&mut self, entries: &mut Entries<()>, slot: u32) {
        self.0.push(entries, slot);
    }

    fn displace(&mut self, entries: &mut Entries<()>, slot: u32) {
        self.0.remove(entries, slot);
    }

    fn touch(&mut self, _: &mut Entries<()>, _: u32) {}

    fn victim(&mut self, _: &mut Entries<()>) -> u32 {
        self.0.newest()
    }
}
