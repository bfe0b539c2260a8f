//! Connections of HTTP/2 over sockets, around the codec of `http2`.
//!
//! [`Link`] and [`Pipe`] are of both sides: `http::h2` serves clients with them. The rest is the side towards backends: a
//! [`BackendConnection`] is shared by the exchanges of one worker, each of which is a [`RequestStream`] of it, and one
//! task per connection ([`run`]) reads and writes. Next stop: `upstream::attempt`, and `health::active`.

mod ask;
mod backend;
mod link;
mod pipe;
mod stream;
mod task;

pub use ask::{Answer, Question, ask};
pub use backend::{BackendConnection, Failure};
pub use link::Link;
pub use pipe::Pipe;
pub use stream::RequestStream;
pub use task::{Times, run};
