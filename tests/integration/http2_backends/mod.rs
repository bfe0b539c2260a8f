//! HTTP/2 with backends (RFC 9113), with prior knowledge and over TLS.

mod connections;
mod envoy;
mod grpc;
mod grpc_cases;
mod grpc_servers;
mod health;
mod hostile;
mod messages;
mod real;

use crate::support::{Proxy, http2_origin::Http2Origin, proxy::config};

/// A proxy with one worker, of which `origin` is the backend; `more` is of the upstream.
fn in_front_of(origin: &Http2Origin, more: &str) -> Proxy {
    Proxy::start(&text(origin, more))
}

fn text(origin: &Http2Origin, more: &str) -> String {
    config(&[origin.address()], &format!("protocol = \"h2\"\n{more}")).replace("workers = 2", "workers = 1")
}
