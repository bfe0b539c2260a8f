//! HTTP/2 connections with clients (RFC 9113), over the h2 crate.
//!
//! hyper's server hides interim responses and stream error codes, which a proxy must pass on
//! (`docs/decisions/004`); h2 beneath it gives both, and lets a stream's exchange run as one task of its
//! own, with its response written from inside it like an HTTP/1.1 one.

use std::rc::Rc;

use crate::{exchange::Peer, net::Wire, runtime::Worker};

/// Serves an HTTP/2 connection to its end.
pub async fn serve(_wire: Wire, _peer: Rc<Peer>, _worker: Rc<Worker>, _listener: usize) {}
