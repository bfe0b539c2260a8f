//! The disk tier of the cache: larger than memory, and there again after a restart. A file per object; it becomes
//! visible when it is whole, and every byte that is read back is vouched for by a checksum.
//!
//! - `layout`: how an object is stored in its file, and what the file's name says;
//! - `folder`: what is where; every call to the file system;
//! - `index`: what is stored, and what leaves; in memory;
//! - `queue`: the jobs; `shared`: what callers and io threads have in common; `store`: what callers hold;
//! - `read`, `write`, `update`: the jobs done; `visit`: all objects for purging, and `judge`: what becomes of each;
//!   `idle`: those that nobody asks for;
//! - `scan`: the index filled at start; `threads`: those that do all this.
//!
//! Invariants. No call here waits for the disk, but for [`Disk::open`], [`Disk::clear`] and [`Disk::visit`]: io is on
//! threads of its own. What is read is what was written, or nothing: a damaged object is a miss, and removed. The
//! files together never cost more than the limit; of an object that is removed while it is being read, the room
//! comes free when the reading ends. An error of the disk loses objects and nothing else: it is counted, and logged
//! once in a while. No lock that an event loop takes is held over io.
//!
//! Nothing is synced. What the process has written is the kernel's, which kill −9 does not touch; what a failing
//! power supply tears, the checksums show. `docs/decisions/015-disk-tier.md` says why all this is so.

mod folder;
mod heads;
mod idle;
mod index;
mod judge;
mod layout;
mod options;
mod queue;
mod read;
mod read_stream;
mod scan;
mod shared;
mod stats;
mod store;
#[cfg(test)]
pub(super) mod tests;
mod threads;
mod update;
mod visit;
mod write;
mod write_stream;

pub use self::{
    folder::{leave_mark, name_of_mark, take_mark},
    index::{Came, Found, Id},
    judge::{Finished, Judge, Visit},
    layout::Keyed,
    options::Options,
    read::{Damaged, Reading},
    stats::Stats,
    store::{Disk, Ending},
    write::Writing,
};
