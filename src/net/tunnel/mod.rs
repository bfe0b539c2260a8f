//! Two streams joined, byte for byte, until both are done, one breaks, or both are silent for too long.
//!
//! Used for upgraded connections and CONNECT (`http::upgrade`), and for connections that are passed on without being
//! understood (`l4::passing`). WebSockets are carried between ends of any kind ([`FramedJoint`]).

mod direction;
mod endpoint;
mod flow;
mod framed;
mod joint;
mod pace;
mod pipe;

pub use self::{
    endpoint::Endpoint,
    framed::{CLOSING, FramedJoint},
    joint::Joint,
    pace::{Carried, End, Limits, Silence, Watch},
};

#[cfg(test)]
mod tests;
