//! HTTP/1.1 (RFC 9112): bytes in, heads and frames out. Pure, and strict on both sides.
//!
//! Used by `http::h1` towards clients and `upstream::attempt` towards backends, both over a
//! `net::http1_stream`. Nothing is ever passed on as it came: what goes out is written anew from the
//! parsed head ([`head`]), by the framing that we chose ([`framing`], [`chunked`]), so that no two
//! parties can disagree on where a message ends.

pub mod chunked;
pub mod framing;
pub mod grammar;
pub mod head;
pub mod method;
mod one_pass;
pub mod trailers;

pub use chunked::{Chunk, Decoder};
pub use framing::Framing;
pub use grammar::{HeadLimits, Version};
pub use head::{HeadError, RequestHead, ResponseHead, Scan};
pub use method::Method;
pub use trailers::Message;
