//! What a policy is: the order in which objects leave.

use std::fmt::Debug;

use super::entries::Entries;

/// The order in which objects leave: what a policy is. Whether, and how many bytes, is not its matter.
pub(super) trait Order: Debug + Send {
    /// What it notes with each object.
    type Mark: Copy + Default + Debug + Send;

    /// An object takes its place: a new one, whose mark is the default, or one that was displaced and has another
    /// size now.
    fn place(&mut self, entries: &mut Entries<Self::Mark>, slot: u32);

    /// An object gives up its place.
    fn displace(&mut self, entries: &mut Entries<Self::Mark>, slot: u32);

    /// An object was asked for.
    fn touch(&mut self, entries: &mut Entries<Self::Mark>, slot: u32);

    /// The placed object that leaves next; it is displaced after this. `NONE` where none is placed.
    fn victim(&mut self, entries: &mut Entries<Self::Mark>) -> u32;

    /// The bytes of memory that it has allocated.
    fn memory(&self) -> usize {
        0
    }
}
