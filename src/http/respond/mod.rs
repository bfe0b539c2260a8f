//! THE one way out: every response begins here, whoever made it: a backend, the cache, the journal, or Pointsman itself.
//!
//! Previous stops: `http::proxy`, `http::cached`, `http::handle`. In this order (`send`): has it a body? → the fields that
//! are added (`fields`) → the filters of listener and route (`filter`) → the head → the body (`pump`), from its `source`, through what
//! its filters put it through (`staged`), to its sink; one that a page stands for is read behind that (`unwanted`).

mod discard;
mod error;
mod fields;
mod grpc;
mod keep;
mod patience;
mod pump;
mod reply;
mod send;
mod source;
mod staged;
mod unwanted;

pub(super) use discard::Discard;
pub use error::status_of;
pub(super) use grpc::trailers as grpc_trailers;
pub use patience::Patience;
pub(super) use pump::{Sink, pump};
pub(super) use reply::{Reply, own_head};
pub(super) use send::{begin, send, send_answer, send_error, send_own};
pub(super) use source::{Part, Source};
