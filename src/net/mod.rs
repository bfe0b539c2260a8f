//! Byte streams as a worker sees them: blocks of memory, streams, deadlines, dialling, tunnels.
//!
//! Everything here belongs to one worker thread; the pools of memory and the timer are thread-local.

pub mod body_writer;
pub mod buffer;
pub mod dial;
pub mod http1_stream;
pub mod hyper_io;
pub mod proxy_protocol;
pub mod stream;
pub mod timer;
pub mod tunnel;
pub mod waiter;

pub use body_writer::BodyWriter;
pub use buffer::Buffer;
pub use http1_stream::{BodyFrame, BodyReader, Http1Stream};
pub use stream::{Plain, Stream};
pub use timer::Deadline;
pub use waiter::Waiter;
