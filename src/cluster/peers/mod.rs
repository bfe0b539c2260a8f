//! What nodes of a cluster tell each other.
//!
//! Each node tells the others all that it knows, every second and when something has changed: a message says the same when
//! it comes twice, and one that is lost is followed by the next. [`message`] is what is said, [`members`] what is known of
//! who says it, [`inbox`] the way from a worker, which hears it, to the control side, which takes it over. [`ring`] is which of the
//! nodes that are there owns a key, and [`mark`] what a node says of a request that it asks a peer for.

pub mod commands;
pub mod inbox;
pub mod mark;
pub mod members;
pub mod message;
pub mod ring;
