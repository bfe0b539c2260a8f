//! Byte streams as a worker sees them: blocks of memory, streams, deadlines, dialling, tunnels.
//!
//! Everything here belongs to one worker thread; the pools of memory and the timer are thread-local.

pub mod block;
pub mod dial;
pub mod hyper_io;
pub mod outgoing;
pub mod proxy_protocol;
pub mod stream;
pub mod timer;
pub mod wire;

pub use block::Block;
pub use outgoing::Outgoing;
pub use stream::{Plain, Stream};
pub use timer::Deadline;
pub use wire::{Incoming, Piece, Wire};
