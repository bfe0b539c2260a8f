//! Byte streams: buffers, sockets with and without TLS, the bytes of an HTTP/1.1 connection, deadlines,
//! connecting to backends, tunnels, and the PROXY header.
//!
//! Previous stop: `listen::connection` for clients, `upstream::acquire` for backends. Next stop: `http::h1` and
//! `upstream::attempt`, which read and write heads and bodies over an [`Http1Stream`]; `http::upgrade`, which joins two
//! connections.
//!
//! Invariant: on the path of a request everything here belongs to one thread, a worker's; the pool of buffers and the
//! timer are thread-local. The control side connects by [`dial`] too, and [`hyper_io`] is for it.

pub mod body_writer;
pub mod buffer;
pub mod departure;
pub mod descriptors;
pub mod dial;
pub mod happy_eyeballs;
pub mod http1_stream;
pub mod http_client;
pub mod hyper_io;
pub mod least_rate;
pub mod linger;
pub mod proxy_protocol;
pub mod starttls;
pub mod stream;
pub mod timer;
pub mod tunnel;
pub mod waiter;

pub use body_writer::BodyWriter;
pub use buffer::Buffer;
pub use departure::Departure;
pub use http1_stream::{BodyFrame, BodyReader, Http1Stream};
pub use least_rate::LeastRate;
pub use linger::linger;
pub use stream::{Plain, Stream, poll_at_once};
pub use timer::Deadline;
pub use waiter::Waiter;
